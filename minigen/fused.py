"""Fused nodes: a whole computation as one autograd node, with its backward pass derived by hand.

autograd pays some 15 to 75 µs for every node that it records, far more than the arithmetic of a small network. A
fused node pays that once. Each one here stands beside its plain twin: the definition, which tests hold it equal to.
"""

import functools
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import autograd.numpy as np
import numpy
from autograd.builtins import tuple as traced_tuple  # one that autograd can follow
from autograd.core import make_jvp, make_vjp
from autograd.extend import defjvp, defjvp_argnums, defvjp, defvjp_argnums, primitive
from autograd.tracer import isbox
from autograd.util import subvals

from minigen.errors import as_float
from minigen.numerics import softplus, tanh

__all__ = ["ACTIVATIONS", "Activation", "dense_stack", "dense_stack_plain", "fuse", "fuse_mean", "relu"]

BLOCK = 1024  # points held at once where all others can wait: a layer's arrays then stay in the cache


def fuse(plain, forward, backward):
    """Return `plain` as a function that costs autograd one node.

    - ``plain(*arrays, **structure) -> y``: the definition, in `autograd.numpy`.
    - ``forward(*arrays, **structure) -> (y, saved)``: the same value in plain NumPy, and whatever the backward pass
      wants to find again. `saved` belongs to this call alone; `y` must not share memory with it.
    - ``backward(g, saved, needed, *arrays, **structure) -> gradients``: for `g`, the gradient with respect to y, a
      mapping from the position of each array in `needed` to the gradient with respect to it. It may run more than once
      on the same `saved` and the same `g`, so it changes neither, and returns new arrays.

    Only `arrays` are differentiated (None may stand for one that is missing); `structure` is what never changes. `y`
    may be a tuple of arrays, such as (z, log_det); `g` is a tuple then too (unpacking costs autograd another node an
    entry). Each gradient is cast to its array's dtype. A hand-written backward pass is itself invisible to autograd,
    so wherever a derivative of a derivative or a forward-mode derivative is asked for, the plain twin gives it.
    The function returned has the two as its `passes`.

    >>> from autograd import grad
    >>> square = fuse(
    ...     plain=lambda x: np.sum(x * x),
    ...     forward=lambda x: (numpy.dot(x, x), None),
    ...     backward=lambda g, saved, needed, x: {0: 2 * g * x},
    ... )
    >>> grad(square)(numpy.array([1.0, 2.0]))
    array([2., 4.])
    """

    @primitive
    @functools.wraps(plain)  # the name that counts of nodes and error messages show
    def node(*arrays, tape, **structure):
        y, saved = forward(*arrays, **structure)
        tape.append(saved)
        return y

    def twin(positions, arrays, structure):
        """Return the plain twin as a function of the tuple of those arrays that vary, and that tuple."""

        def of_varying(values):
            y = plain(*subvals(arrays, [(i, values[k]) for k, i in enumerate(positions)]), **structure)
            return traced_tuple(y) if type(y) is tuple else y

        return of_varying, tuple(arrays[i] for i in positions)

    def vjp(needed, y, arrays, keywords):
        structure = dict(keywords)
        (saved,) = structure.pop("tape")

        def pull_back(g):
            if isbox(g) or any(map(isbox, arrays)):  # someone is going to differentiate this gradient
                gradients = make_vjp(*twin(needed, arrays, structure))[0](g)
                return [gradients[k] for k in range(len(needed))]
            gradients = backward(g, saved, needed, *arrays, **structure)
            return [gradients[i].astype(arrays[i].dtype, copy=False) for i in needed]

        return pull_back

    def jvp(positions, tangents, y, arrays, keywords):
        structure = {name: value for name, value in keywords.items() if name != "tape"}
        return make_jvp(*twin(positions, arrays, structure))(tuple(tangents))[1]

    defvjp_argnums(node, vjp)
    defjvp_argnums(node, jvp)

    @functools.wraps(plain)
    def fused(*arrays, **structure):
        return node(*arrays, tape=[], **structure)  # a tape for each call: two results can live at once

    fused.passes = forward, backward  # for nodes that are made of several
    return fused


def fuse_mean(plain, forward, backward, of_points):
    """Return `plain`, a mean over points, as a function that costs autograd one node and little memory.

    `plain` as for `fuse`, with one number for y. `forward` and `backward` are those of a function that returns the
    numbers, (N,), whose mean y is; ``of_points(*arrays, **structure)`` gives the positions of the arrays that have a
    row for each point, of which x, the first array, is one.

    The gradient of one number is the same up to the factor ḡ, whatever ḡ is. So it is found together with the number,
    for ḡ = 1, and the backward pass only multiplies by ḡ. That way `BLOCK` points go all the way forward and back while
    what the layers keep is still in the cache; the blocks' gradients are added up.

    >>> from autograd import grad
    >>> mean_square = fuse_mean(
    ...     plain=lambda x: np.sum(x * x) / len(x),
    ...     forward=lambda x: (x * x, None),
    ...     backward=lambda g, saved, needed, x: {0: 2 * g * x},
    ...     of_points=lambda x: [0],
    ... )
    >>> grad(mean_square)(numpy.array([1.0, 3.0]))
    array([1., 3.])
    """

    def with_gradient(*arrays, varying, **structure):
        n, cut = len(arrays[0]), of_points(*arrays, **structure)
        total, blocks = 0.0, []
        for start in range(0, n, BLOCK):
            part = subvals(arrays, [(i, arrays[i][start : start + BLOCK]) for i in cut])
            values, saved = forward(*part, **structure)
            g = numpy.full(values.shape, 1 / n, values.dtype)
            total = total + numpy.dot(g, values)
            blocks.append(backward(g, saved, varying, *part, **structure))
            if len(blocks) > 1:
                for i in varying:
                    if i not in cut:
                        blocks[0][i] += blocks[-1].pop(i)
        if len(blocks) > 1:
            blocks[0].update({i: numpy.concatenate([found[i] for found in blocks]) for i in varying if i in cut})
        return total, [blocks[0]]

    def multiplied(g, saved, needed, *arrays, **structure):
        # Whoever comes first gets the gradients themselves, and may do with them what he likes.
        gradients = saved.pop() if saved else with_gradient(*arrays, **structure)[1].pop()
        if g != 1:
            for i in needed:
                gradients[i] *= float(g)
        return gradients

    @functools.wraps(plain)
    def value(*arrays, varying, **structure):
        return plain(*arrays, **structure)

    node = fuse(value, with_gradient, multiplied)

    @functools.wraps(plain)
    def fused(*arrays, **structure):
        varying = {i for i, array in enumerate(arrays) if isbox(array)}
        if not varying or len(arrays[0]) == 0:
            return plain(*arrays, **structure)
        return node(*arrays, varying=varying, **structure)

    return fused


@primitive
def _relu(x):
    return numpy.maximum(x, 0)


defvjp(_relu, lambda y, x: lambda g: g * (y > 0))
defjvp(_relu, lambda g, y, x: g * (y > 0))


def relu(x):
    """Rectified linear unit `max(x, 0)`, with the slope 1 where x > 0 and 0 elsewhere, also at 0.

    Any shape, elementwise, O(1) each; NaN stays NaN, and float32 stays float32 in the gradient.

    >>> relu([-1.0, 0.0, 2.0])
    array([0., 0., 2.])
    """
    return _relu(as_float(x))


class Activation(NamedTuple):
    """An activation whose slope can be told from its value: `h = f(a)`, `f'(a) = slope(h)`.

    `plain` is f for autograd, ``apply(h)`` writes f(h) over h, ``chain(g, h, scratch)`` multiplies g by slope(h) in
    place; what `scratch` holds, an array of their shape, it may overwrite.
    """

    plain: Callable
    apply: Callable
    chain: Callable


def _apply_tanh(h):
    numpy.tanh(h, out=h)


def _chain_tanh(g, h, scratch):  # g ← g·(1 − h²) = g − g·h·h
    numpy.multiply(h, h, out=scratch)
    scratch *= g
    g -= scratch


def _apply_relu(h):
    numpy.maximum(h, 0, out=h)


def _chain_relu(g, h, scratch):
    g *= h > 0


def _apply_softplus(h):  # as in `numerics.softplus`
    rest = numpy.abs(h)
    numpy.negative(rest, out=rest)
    numpy.exp(rest, out=rest)
    numpy.log1p(rest, out=rest)
    numpy.maximum(h, 0, out=h)
    h += rest


def _chain_softplus(g, h, scratch):  # σ(a) = 1 − exp(−h), since exp(h) = 1 + exp(a)
    numpy.negative(h, out=scratch)
    numpy.expm1(scratch, out=scratch)
    scratch *= g
    numpy.negative(scratch, out=g)


ACTIVATIONS = {
    "tanh": Activation(tanh, _apply_tanh, _chain_tanh),
    "relu": Activation(relu, _apply_relu, _chain_relu),
    "softplus": Activation(softplus, _apply_softplus, _chain_softplus),
}


def dense_stack_plain(x, context, *layers, activation, masks=None):
    """Dense layers with an activation between them, the definition.

    - `h₀ = [x, context]`
    - `hₖ = f(Wₖ hₖ₋₁ + bₖ)` for the hidden layers
    - `y = W_L h_(L−1) + b_L`

    x (N, D), context None, (N, C) or (1, C), `layers` = W₁, b₁, W₂, b₂, …, with Wₖ (outputs, inputs) and bₖ (outputs,);
    y (N, outputs). With `masks` (0/1, one for each W) each Wₖ is multiplied by its mask. `activation` is a name in
    `ACTIVATIONS`. Cost: O(N · number of weights).

    >>> W, b = numpy.array([[1.0, -1.0]]), numpy.array([0.5])
    >>> dense_stack_plain(numpy.array([[3.0, 1.0]]), None, W, b, activation="tanh")
    array([[2.5]])
    """
    h = x
    if context is not None:
        rows = context if context.shape[0] == x.shape[0] else context + np.zeros((x.shape[0], 1), dtype=context.dtype)
        h = np.concatenate([x, rows], axis=1)
    for k, (weight, bias) in enumerate(zip(layers[::2], layers[1::2], strict=True)):
        if k > 0:
            h = ACTIVATIONS[activation].plain(h)
        h = np.dot(h, (weight if masks is None else weight * masks[k]).T) + bias
    return h


class Workspace:
    """An `array` that one call borrows, and that goes to a later call when the last reference to this object is gone.

    Large arrays that are new in every call cost a training step up to a third of its time: the system hands memory out
    page by page, and takes it back when it is freed. Nothing that a caller gets to see is borrowed. At most 64 MB wait.

    >>> array = Workspace((2, 3), numpy.dtype(float)).array
    >>> Workspace((2, 3), numpy.dtype(float)).array is array
    True
    """

    _waiting: ClassVar[dict] = {}  # (shape, dtype) -> arrays
    _bytes: ClassVar[int] = 0  # of all that wait

    def __init__(self, shape, dtype):
        try:
            self.array = self._waiting[shape, dtype].pop()
            Workspace._bytes -= self.array.nbytes
        except (KeyError, IndexError):
            self.array = numpy.empty(shape, dtype)

    def __del__(self):
        array, most = self.array, 2**26
        if Workspace._bytes + array.nbytes > most:  # shapes that nobody asks for any more may be among them
            self._waiting.clear()
            Workspace._bytes = 0
        if array.nbytes <= most:
            self._waiting.setdefault((array.shape, array.dtype), []).append(array)
            Workspace._bytes += array.nbytes


def stack_matrices(*layers, masks=None):
    """Return `[Wₖ, bₖ]` for every layer: the bias is one more column of the weights."""
    matrices = []
    for k, (weight, bias) in enumerate(zip(layers[::2], layers[1::2], strict=True)):
        outputs, inputs = weight.shape
        matrix = numpy.empty((outputs, inputs + 1), weight.dtype)
        matrix[:, :-1] = weight if masks is None else weight * masks[k]
        matrix[:, -1] = bias
        matrices.append(matrix)
    return matrices


def stack_forward(x, context, *layers, activation, masks=None):
    """Return the stack's output, and what `stack_backward` wants to find again: for nodes that hold a stack.

    Features are rows here, x (D, N) and y (outputs, N); the context stays as it is. `layers` are W₁, b₁, …, or the one
    list that `stack_matrices` has made of them. y is borrowed: use it for as long as what comes with it is kept.
    """
    matrices = layers[0] if type(layers[0]) is list else stack_matrices(*layers, masks=masks)
    apply, (features, n) = ACTIVATIONS[activation].apply, x.shape
    dtype = numpy.result_type(x, matrices[0]) if context is None else numpy.result_type(x, context, matrices[0])
    start, stop = 0, matrices[0].shape[1]
    work = Workspace((stop + sum(map(len, matrices)) + len(matrices) - 1, n), dtype)
    h = work.array[:stop]  # each layer's input, with a row of ones below for the bias
    h[:features] = x
    if context is not None:
        h[features:-1] = context.T
    inputs = []
    for matrix in matrices:
        if inputs:
            apply(h[:-1])
        h[-1] = 1
        inputs.append(h)
        start, stop = stop, stop + len(matrix) + 1
        h = work.array[start:stop]
        numpy.dot(matrix.astype(dtype, copy=False), inputs[-1], out=work.array[start : start + len(matrix)])
    return h, (work, inputs)


def stack_backward(g, saved, needed, x, context, *layers, activation, masks=None):
    """Return the gradients with respect to the arrays at the positions `needed`, by position.

    x, g and x's gradient have features as rows. Positions: 0 for x, 1 for the context, 2, 3, … for the layers.
    """
    _, inputs = saved
    weights = layers[::2] if masks is None else list(map(numpy.multiply, layers[::2], masks))
    chain = ACTIVATIONS[activation].chain
    work = Workspace((2, max(map(len, inputs)), g.shape[1]), g.dtype)
    here, other = work.array  # they take turns: g of one layer, and of the one before
    gradients = {}
    for k in reversed(range(len(weights))):
        of_weight, of_bias = 2 + 2 * k, 3 + 2 * k
        if of_weight in needed or of_bias in needed:
            product = numpy.dot(g, inputs[k].T)
            gradients[of_weight], gradients[of_bias] = product[:, :-1], product[:, -1]
            if masks is not None:
                gradients[of_weight] *= masks[k]
        if k > 0:
            h = inputs[k][:-1]
            g = numpy.dot(weights[k].T, g, out=here[: len(h)])
            here, other = other, here
            chain(g, h, here[: len(h)])
    if 0 in needed or 1 in needed:
        g = numpy.dot(weights[0].T, g)
        gradients[0], rest = g[: len(x)], g[len(x) :].T
    if 1 in needed:
        gradients[1] = rest.copy() if len(context) == len(rest) else rest.sum(axis=0, keepdims=True)
    return gradients


def _stack_forward(x, context, *layers, **structure):
    y, saved = stack_forward(x.T, context, *layers, **structure)
    return y.T.copy(), saved


def _stack_backward(g, saved, needed, x, context, *layers, **structure):
    g = numpy.asarray(g, saved[0].array.dtype)  # autograd's mean hands float64 back to float32 networks
    gradients = stack_backward(g.T, saved, needed, x.T, context, *layers, **structure)
    if 0 in needed:
        gradients[0] = gradients[0].T
    return gradients


_fused_stack = fuse(dense_stack_plain, _stack_forward, _stack_backward)


def dense_stack(x, context, *layers, activation, masks=None):
    """Dense layers with an activation between them, as one autograd node: `dense_stack_plain`, faster.

    Backward pass, by the chain rule from the last layer to the first, where ḡ is the gradient of a scalar with respect
    to what stands in its index, one row for each point. With `aₖ = Wₖ hₖ₋₁ + bₖ` and `hₖ = f(aₖ)`, start from the given
    `ḡ_a = ḡ_y` at k = L; then, for k = L, …, 1:

    - aₖ is linear in Wₖ and bₖ: `ḡ_W = Σₙ ḡ_a hₖ₋₁ᵀ` (masked as W was) and `ḡ_b = Σₙ ḡ_a`, summed over the points n
    - aₖ is linear in hₖ₋₁: `ḡ_h = Wₖᵀ ḡ_a`
    - f acts on each number alone, and its slope is known from its value: `ḡ_a of layer k−1 = ḡ_h · f'`, with
      `f' = 1 − h²` for tanh, `1 if h > 0 else 0` for relu, `1 − exp(−h)` for softplus

    and what arrives at h₀ is the gradient of [x, context]. So the pass needs every hₖ and nothing else; these are kept
    from the forward pass. In a batch `Σₙ ḡ_a hₖ₋₁ᵀ` is one matrix product.

    Inside, features are rows and points are columns, with a row of ones below: `[Wₖ, bₖ]·[hₖ₋₁; 1]` is a whole layer,
    and `ḡ_a [hₖ₋₁; 1]ᵀ = [ḡ_W, ḡ_b]`. Measured, that is up to 10 % faster than points as rows and the bias by itself.

    Arguments, shapes and cost as for `dense_stack_plain`; the backward pass costs twice the forward pass.

    >>> from autograd import grad
    >>> x, W, b = numpy.array([[3.0, 1.0]]), numpy.array([[1.0, -1.0]]), numpy.array([0.5])
    >>> grad(lambda W: np.sum(dense_stack(x, None, W, b, activation="tanh")))(W)
    array([[3., 1.]])
    """
    return _fused_stack(x, context, *layers, activation=activation, masks=masks)
