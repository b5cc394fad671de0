"""A layer of a masked autoregressive flow as one autograd node, beside its plain definition."""

import autograd.numpy as np
import numpy

from minigen.autoregressive.made import gaussian_conditionals
from minigen.fused import dense_stack_plain, fuse, stack_backward, stack_forward

__all__ = ["masked_affine", "masked_affine_plain"]


def masked_affine_plain(x, context, *layers, activation, masks, bound):
    """Apply a masked autoregressive layer, the definition: `z = (x − mean)·exp(−log_scale)`.

    mean and log_scale (N, D) are the output of the masked stack of dense layers, as in `gaussian_conditionals`.
    x (N, D), context and `layers`, `activation` and `masks` as in `minigen.fused.dense_stack_plain`. Returns
    `(z, log_det)` with log_det = −Σᵢ log_scaleᵢ, (N,). `masked_affine` is the same as one autograd node.

    Backward pass, by the chain rule; ḡ is the gradient of a scalar with respect to what stands in its index. With the
    network's output (y₀, y₁), `s = bound·tanh(y₁/bound)`, `z = (x − y₀)·exp(−s)` and `log_det = −Σᵢ sᵢ`, and ḡ_z and
    ḡ_log_det given:

    - z is linear in x − y₀: `ḡ_y₀ = −ḡ_z·exp(−s)`, and as much with the sign + goes straight to x
    - dz/ds = −z and d log_det/dsᵢ = −1: `ḡ_s = −ḡ_z·z − ḡ_log_det`, where `ḡ_z·z = −ḡ_y₀·(x − y₀)`
    - tanh' = 1 − tanh²: `ḡ_y₁ = ḡ_s·(1 − tanh²(y₁/bound))`

    (ḡ_y₀, ḡ_y₁) then goes back through the stack (derivation: `minigen.fused.dense_stack`), which gives the gradients
    of weights, biases and context, and the other part of x's: what x does by way of the network.

    Cost: O(N · number of weights), and twice that for the backward pass.

    >>> W, b, mask = numpy.ones((2, 1)), numpy.array([1.0, 0.0]), numpy.zeros((2, 1))
    >>> z, log_det = masked_affine(numpy.array([[3.0]]), None, W, b, activation="tanh", masks=[mask], bound=2.0)
    >>> z, log_det
    (array([[2.]]), array([0.]))
    """
    y = dense_stack_plain(x, context, *layers, activation=activation, masks=masks)
    mean, log_scale = gaussian_conditionals(np.reshape(y, (x.shape[0], 2, x.shape[1])), bound)
    return (x - mean) * np.exp(-log_scale), -np.sum(log_scale, axis=1)


def _forward(x, context, *layers, activation, masks, bound):
    x = x.T
    y, stack = stack_forward(x, context, *layers, activation=activation, masks=masks)
    mean, squashed = y[: len(x)], y[len(x) :]
    squashed /= bound
    numpy.tanh(squashed, out=squashed)
    precision = -bound * squashed
    log_det = numpy.add.reduce(precision)
    numpy.exp(precision, out=precision)
    centred = x - mean
    return ((centred * precision).T, log_det), (stack, squashed, precision, centred)


def _backward(g, saved, needed, x, context, *layers, activation, masks, bound):
    stack, squashed, precision, centred = saved
    g_z, g_log_det = (numpy.asarray(part, dtype=precision.dtype) for part in g)
    g_x = g_z.T * precision
    g_y = numpy.empty((2 * len(g_x), len(x)), precision.dtype)
    g_mean, g_raw = g_y[: len(g_x)], g_y[len(g_x) :]
    numpy.negative(g_x, out=g_mean)
    numpy.multiply(g_mean, centred, out=g_raw)
    g_raw -= g_log_det  # the log-scale's, so far
    slope = squashed * squashed
    slope *= g_raw
    g_raw -= slope
    options = {"activation": activation, "masks": masks}
    gradients = stack_backward(g_y, stack, needed, x.T, context, *layers, **options)
    if 0 in needed:
        g_x += gradients[0]
        gradients[0] = g_x.T
    return gradients


masked_affine = fuse(masked_affine_plain, _forward, _backward)
