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
    `(z, log_det)` with log_det = −Σᵢ log_scaleᵢ, (N,). Cost: O(N · number of weights).

    >>> W, b, mask = numpy.ones((2, 1)), numpy.array([1.0, 0.0]), numpy.zeros((2, 1))
    >>> z, log_det = masked_affine_plain(numpy.array([[3.0]]), None, W, b, activation="tanh", masks=[mask], bound=2.0)
    >>> z, log_det
    (array([[2.]]), array([-0.]))
    """
    y = dense_stack_plain(x, context, *layers, activation=activation, masks=masks)
    mean, log_scale = gaussian_conditionals(np.reshape(y, (x.shape[0], 2, x.shape[1])), bound)
    return (x - mean) * np.exp(-log_scale), -np.sum(log_scale, axis=1)


def _forward(x, context, *layers, activation, masks, bound):
    y, stack = stack_forward(x, context, *layers, activation=activation, masks=masks)
    features = x.shape[1]
    squashed = y[:, features:] / bound
    numpy.tanh(squashed, out=squashed)
    precision = numpy.exp(-bound * squashed)
    centred = x - y[:, :features]
    return (centred * precision, -bound * squashed.sum(axis=1)), (stack, squashed, precision, centred)


def _backward(g, saved, needed, x, context, *layers, activation, masks, bound):
    stack, squashed, precision, centred = saved
    g_z, g_log_det = g
    g_x = g_z * precision
    g_log_scale = -g_x * centred
    g_log_scale -= numpy.asarray(g_log_det)[:, None]
    g_y = numpy.concatenate([-g_x, g_log_scale * (1 - squashed * squashed)], axis=1)
    gradients = stack_backward(g_y, stack, needed, x, context, *layers, activation=activation, masks=masks)
    if 0 in needed:
        gradients[0] = gradients[0] + g_x
    return gradients


_fused_masked_affine = fuse(masked_affine_plain, _forward, _backward)


def masked_affine(x, context, *layers, activation, masks, bound):
    """Apply a masked autoregressive layer as one autograd node: `masked_affine_plain`, faster.

    Backward pass, by the chain rule; ḡ is the gradient of a scalar with respect to what stands in its index, one row
    for each point. With `s = bound·tanh(y₁/bound)`, `z = (x − y₀)·exp(−s)` and `log_det = −Σᵢ sᵢ`, and ḡ_z and
    ḡ_log_det given:

    - z is linear in x − y₀: `ḡ_y₀ = −ḡ_z·exp(−s)`, and as much with the sign + goes straight to x
    - dz/ds = −z and d log_det/dsᵢ = −1: `ḡ_s = −ḡ_z·z − ḡ_log_det`
    - tanh' = 1 − tanh²: `ḡ_y₁ = ḡ_s·(1 − tanh²(y₁/bound))`

    ḡ_y = [ḡ_y₀, ḡ_y₁] then goes back through the stack (derivation: `minigen.fused.dense_stack`), which gives the
    gradients of weights, biases and context, and the other part of x's: what x does by way of the network.

    Arguments, results and cost as for `masked_affine_plain`; the backward pass costs twice the forward pass.

    >>> from autograd import grad
    >>> W, b, mask = numpy.ones((2, 1)), numpy.array([1.0, 0.0]), numpy.zeros((2, 1))
    >>> log_det = lambda b: masked_affine(numpy.ones((1, 1)), None, W, b, activation="tanh", masks=[mask], bound=2.0)[1]
    >>> grad(lambda b: np.sum(log_det(b)))(b)
    array([ 0., -1.])
    """
    return _fused_masked_affine(x, context, *layers, activation=activation, masks=masks, bound=bound)
