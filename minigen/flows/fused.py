"""Fused nodes of the flows: a whole layer, with its conditioner, as one autograd node.

The layer's own `forward` and `inverse` are the definition; a node here has the same values and gradients, and costs
autograd one step in place of some twenty-five. Inside, features are rows and points are columns: the features that
move, their scales and their shifts are then whole rows, one after the other in memory, so that nothing strides.
"""

from dataclasses import replace
from itertools import accumulate

import autograd.numpy as np
import numpy
from autograd import elementwise_grad
from autograd.tracer import isbox

from minigen.foundations.distributions import Normal
from minigen.fused import BLOCK, fuse, fuse_mean, stack_backward, stack_forward, stack_matrices

__all__ = ["affine_coupling", "joined", "negative_log_likelihood"]


def affine_coupling_plain(x, context, *arrays, layer, inverse):
    """Apply an `AffineCoupling` whose conditioner is an MLP, with `arrays` = W₁, b₁, W₂, b₂, … as its parameters.

    The definition is the layer's own `forward` or `inverse`; this only puts the arrays back into params. The layer
    splits x into what passes, x₁, and what it moves, x₂; with `(raw, t) = net(x₁, context)`, `s = c·tanh(raw/c)` and
    the factor `f = exp(s)`:

    - forward: `z₁ = x₁`, `z₂ = f·x₂ + t`, log-determinant `Σ s`
    - inverse: `z₁ = x₁`, `z₂ = (x₂ − t)/f`, log-determinant `−Σ s`

    Backward pass, ḡ being the gradient with respect to what stands in its index; ḡ₁, ḡ₂ and ℓ, those of z₁, z₂ and the
    log-determinant, are given. First the affine part; each number is moved alone, so all is elementwise:

    - forward: `ḡ_x₂ = ḡ₂·f`, `ḡ_t = ḡ₂`, `ḡ_s = ḡ₂·f·x₂ + ℓ`
    - inverse: `ḡ_x₂ = ḡ₂/f`, `ḡ_t = −ḡ₂/f`, `ḡ_s = −(ḡ₂·z₂ + ℓ)`

    Then `ḡ_raw = ḡ_s·(1 − tanh²(raw/c))`, and (ḡ_raw, ḡ_t) goes down the dense layers as in `dense_stack`. x₁ is used
    twice, so what arrives at its end is added to what came directly: `ḡ_x₁ = ḡ₁ + ḡ_net`.

    The pass keeps the layers' inputs, tanh, f and f·x₂ (or z₂). Cost: one and two times the conditioner's products.
    Measured against points as rows: equal for D = 2, 1.1 times as fast at D = 8, and 1.2 to 1.6 times at D = 64.

    >>> from minigen.flows.coupling import AffineCoupling
    >>> x, W, b = numpy.array([[1.0, 3.0]]), numpy.array([[1.0], [0.0]]), numpy.array([0.0, 0.5])
    >>> z, log_det = affine_coupling(x, None, W, b, layer=AffineCoupling([1, 0], hidden=()), inverse=False)
    >>> z.round(4), log_det.round(4)
    (array([[1.    , 8.0598]]), array([0.9242]))
    """
    params = [{"weight": weight, "bias": bias} for weight, bias in zip(arrays[::2], arrays[1::2], strict=True)]
    plain = replace(layer, fused=False)
    return (plain.inverse if inverse else plain.forward)(params, x, context)


def _forward(x, context, *arrays, layer, inverse):
    x, (kept, moved), size = x.T, layer.rows, len(layer.moved)
    y, stack = stack_forward(x[kept], context, *arrays, activation=layer.conditioner.activation)
    unit, shift = y[:size], y[size:]
    unit /= layer.bound
    numpy.tanh(unit, out=unit)
    scale = (-layer.bound if inverse else layer.bound) * unit
    log_det = numpy.add.reduce(scale)
    numpy.exp(scale, out=scale)
    z = numpy.empty(x.shape, y.dtype)
    z[kept] = x[kept]
    if inverse:
        scaled = x[moved] - shift
        scaled *= scale
        z[moved] = scaled
    else:
        scaled = x[moved] * scale
        z[moved] = scaled + shift
    return (z.T, log_det), (stack, unit, scale, scaled)


def _backward(g, saved, needed, x, context, *arrays, layer, inverse):
    stack, unit, scale, scaled = saved
    (kept, moved), size = layer.rows, len(layer.moved)
    g_z, g_log_det = (numpy.asarray(part, dtype=scale.dtype) for part in g)
    g_z = g_z.T
    g_log_scale = g_z[moved] * scaled
    g_log_scale += g_log_det
    g_moved = g_z[moved] * scale
    g = numpy.empty((2 * size, g_z.shape[1]), scale.dtype)
    if inverse:
        numpy.negative(g_log_scale, out=g_log_scale)
        numpy.negative(g_moved, out=g[size:])
    else:
        g[size:] = g_z[moved]
    # raw's gradient: log_scale = bound·tanh(raw/bound) has the slope 1 − tanh²
    slope = unit * unit
    slope *= g_log_scale
    numpy.subtract(g_log_scale, slope, out=g[:size])

    options = {"activation": layer.conditioner.activation}
    gradients = stack_backward(g, stack, needed, x.T[kept], context, *arrays, **options)
    if 0 in needed:
        g_x = numpy.empty(g_z.shape, g.dtype)
        g_x[kept] = g_z[kept] + gradients[0]
        g_x[moved] = g_moved
        gradients[0] = g_x.T
    return gradients


affine_coupling = fuse(affine_coupling_plain, _forward, _backward)


def in_blocks(f, n):
    """Return the arrays f(rows) for all of n rows, with `rows` a slice of at most `BLOCK` of them at a time.

    >>> in_blocks(lambda rows: (2 * numpy.arange(3)[rows],), 3)
    (array([0, 2, 4]),)
    """
    if n <= BLOCK:
        return f(slice(n))
    results = None
    for start in range(0, n, BLOCK):
        rows = slice(start, start + BLOCK)
        parts = f(rows)
        if results is None:
            results = tuple(numpy.empty((n, *part.shape[1:]), part.dtype) for part in parts)
        for result, part in zip(results, parts, strict=True):
            result[rows] = part
    return results


def _joined_plain(x, *arrays, steps, base):
    log_det = 0.0
    for node, count, structure in steps:
        own, arrays = arrays[:count], arrays[count:]
        x, change = node(x, *own, **structure)
        log_det = log_det + change
    return (x, log_det) if base is None else base.log_prob(x) + log_det


def _joined_values(x, *arrays, steps, base):
    """Return the same where no gradient is asked for: nothing is kept, and a block goes through all layers at once."""
    layers = []
    for node, count, structure in steps:
        (context, *own), arrays = arrays[:count], arrays[count:]
        matrices = stack_matrices(*own, masks=structure.get("masks"))  # once for all blocks
        layers.append((node.passes[0], context, matrices, structure))

    def of_block(rows):
        z, log_det = x[rows], 0.0
        for forward, context, matrices, structure in layers:
            part = context if context is None or len(context) != len(x) else context[rows]
            z, change = forward(z, part, matrices, **structure)[0]  # what else it returns, the next layer borrows
            log_det = log_det + change
        return (z, log_det) if base is None else (base.log_prob(z) + log_det,)

    results = in_blocks(of_block, len(x))
    return results if base is None else results[0]


def _joined_forward(x, *arrays, steps, base):
    log_det, saved = 0.0, []
    for node, count, structure in steps:
        own, arrays = arrays[:count], arrays[count:]
        (y, change), kept = node.passes[0](x, *own, **structure)
        saved.append((x, own, kept))
        x, log_det = y, log_det + change
    if base is None:
        return (x, log_det), saved
    return base.log_prob(x) + log_det, (x, saved)


def _score(base, z):
    """Return the gradient of log p0 at every point."""
    if type(base) is Normal and base.cov.ndim == 1:
        mean, cov = (part.astype(z.dtype) for part in (base.mean, base.cov))
        return (mean - z) / cov
    return elementwise_grad(base.log_prob)(z)  # a point's log-density depends on that point alone


def _joined_backward(g, saved, needed, x, *arrays, steps, base):
    if base is None:
        g_x, g_log_det = g
    else:
        z, saved = saved
        g_log_det = numpy.asarray(g, dtype=z.dtype)
        g_x = g_log_det[:, None] * _score(base, z)
    gradients, needed, end = {}, set(needed), 1 + len(arrays)
    for k in reversed(range(len(steps))):
        (node, count, structure), (x, own, kept) = steps[k], saved[k]
        start = end - count
        wanted = {i - start + 1 for i in needed.intersection(range(start, end))}
        if k > 0 or 0 in needed:
            wanted.add(0)
        found = node.passes[1]((g_x, g_log_det), kept, wanted, x, *own, **structure)
        g_x, end = found.pop(0, None), start
        gradients.update({i + start - 1: gradient for i, gradient in found.items()})
    gradients[0] = g_x
    return gradients


_joined = fuse(_joined_plain, _joined_forward, _joined_backward)


def joined(x, calls, base=None):
    """Apply fused layers one after the other as one autograd node, and score what comes out.

    `calls` is a list of (node, arrays, structure), what a layer's `fused_node` returns: the call
    ``node(x, *arrays, **structure)`` gives (z, log_det), ``node.passes`` are the two functions it was fused from, and
    `arrays` are the context and the weights and biases of a stack. Returns (z, log_det), the last z and the sum of all
    log-determinants, or, with a `base`, log p0(z) + log_det. Where nothing is differentiated, points go through block
    by block.

    Backward pass: that of each layer, from the last to the first. A layer's input has the gradient that the layer
    returns, and every log-determinant that of their sum. What reaches the last layer is given or, with a base,
    `ḡ_z = ḡ·∇ log p0(z)` and `ḡ_log_det = ḡ`.

    >>> from minigen.flows.coupling import AffineCoupling
    >>> x, rng = numpy.array([[1.0, 3.0]]), numpy.random.default_rng(0)
    >>> layers = [AffineCoupling(mask) for mask in ([1, 0], [0, 1])]
    >>> joined(x, [layer.fused_node(layer.init(rng, x), x, None, inverse=False) for layer in layers])
    (array([[1., 3.]]), array([0.]))
    """
    arrays, steps = _unpack(calls)
    apply = _joined if any(map(isbox, (x, *arrays))) else _joined_values
    return apply(x, *arrays, steps=steps, base=base)


def _unpack(calls):
    arrays = [array for _, own, _ in calls for array in own]
    return arrays, [(node, len(own), structure) for node, own, structure in calls]


def _likelihood_plain(x, *arrays, steps, base):
    return np.sum(_joined_plain(x, *arrays, steps=steps, base=base)) / -x.shape[0]


def _likelihood_forward(x, *arrays, **structure):
    log_prob, saved = _joined_forward(x, *arrays, **structure)
    return -log_prob, saved


def _likelihood_backward(g, *rest, **structure):
    return _joined_backward(-g, *rest, **structure)


def _of_points(x, *arrays, steps, base):
    contexts = {0, *accumulate(count for _, count, _ in steps[:-1])}  # every layer's first array is its context
    return [0, *(1 + i for i in contexts if arrays[i] is not None and len(arrays[i]) == len(x))]


_likelihood = fuse_mean(_likelihood_plain, _likelihood_forward, _likelihood_backward, _of_points)


def negative_log_likelihood(x, calls, base):
    """Return −mean(log p0(z) + log_det) of what `joined` gives, as one autograd node: the loss of a flow.

    Backward pass: that of `joined` with `ḡ = −1/N` at every point, found block by block as `minigen.fused.fuse_mean`
    says.

    >>> from minigen.flows.coupling import AffineCoupling
    >>> from minigen.foundations.distributions import Normal
    >>> layer, x = AffineCoupling([1, 0]), numpy.zeros((5, 2))
    >>> call = layer.fused_node(layer.init(numpy.random.default_rng(0), x), x, None, inverse=False)
    >>> print(negative_log_likelihood(x, [call], Normal(numpy.zeros(2), numpy.ones(2))).round(4))
    1.8379
    """
    arrays, steps = _unpack(calls)
    return _likelihood(x, *arrays, steps=steps, base=base)
