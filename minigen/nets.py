"""Networks: what the flows, autoregressive models and autoencoders compute their numbers with.

A net is an object that knows its shapes, and ``params`` are plain dicts and lists of arrays: ``net.init(rng)`` draws
them, ``net(params, x, context=None)`` applies them. Batches come first and features last. A weight acts on each row as
on a column vector, y = W x, so on a batch as x @ W.T, and is stored as (outputs, inputs).

Weights start as N(0, 1 / fan_in), fan_in being how many inputs each output sums over: numbers of variance 1 then give
numbers of variance 1. Biases start at 0. Same seed, same start: float32 parameters are the rounded float64 ones.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import autograd.numpy as np
import numpy

from minigen.errors import as_float, check_integer, check_points, require
from minigen.fused import ACTIVATIONS, dense_stack, dense_stack_plain

__all__ = ["MLP", "CausalConv1D", "Conv2D", "Dense", "MaskedMLP", "Net"]


class Net:
    """A differentiable function with parameters: the contract of every network.

    `context` is what the function is conditioned on, (N, C) or one row (1, C) for all points; a net made with
    `context_features` = C > 0 wants it, the others ignore it. NaN in gives NaN out.

    >>> class Double(Net):
    ...     def __call__(self, params, x, context=None):
    ...         return 2 * x
    >>> Double()(Double().init(numpy.random.default_rng(0)), numpy.ones((1, 2)))
    array([[2., 2.]])
    """

    def init(self, rng, dtype=float):
        """Return the starting `params`, drawn from `rng`; a layer that holds a net hands down its data's dtype."""
        return {}

    def __call__(self, params, x, context=None):
        """Return y, one row for each row of x."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__")


def _check_sizes(net, **sizes):
    for name, size in sizes.items():
        check_integer(type(net).__name__, name, size, 0 if name == "context_features" else 1)


def check_hidden(who, hidden):
    """Return the widths of the hidden layers as a tuple of integers >= 1, or say what is wrong with them."""
    require(numpy.ndim(hidden) == 1, f"{who}: expected widths such as (64, 64) as hidden, got {hidden!r}")
    for k, width in enumerate(hidden):
        check_integer(who, f"hidden[{k}]", width, 1)
    return tuple(hidden)


def _check_scale(net, name, scale):
    require(0 <= scale < math.inf, f"{type(net).__name__}: expected {name} >= 0 and finite, got {scale!r}")


def _check_activation(net, activation):
    who, known = type(net).__name__, sorted(ACTIVATIONS)
    require(activation in known, f"{who}: expected an activation out of {known}, got {activation!r}")


def check_context(net, context, rows):
    """Return the context that `net` is to use, (rows, C) or (1, C), or None."""
    if net.context_features == 0:
        return None
    who = f"{type(net).__name__}: context"
    require(context is not None, f"{who}: expected shape ({rows}, {net.context_features}), got none")
    context = check_points(who, context, net.context_features)
    found = context.shape[0]
    require(found in (1, rows), f"{who}: expected {rows} rows as x has, or one, got {found}")
    return context


def _check_last_axis(net, x, ndim=None):
    """Return `x` as floats if its last axis has the features that `net` wants (and it has `ndim` axes)."""
    x = as_float(x)
    axes = {None: "..., ", 3: "N, T, ", 4: "N, H, W, "}[ndim]
    require(
        x.ndim > 0 and x.shape[-1] == net.inputs and ndim in (None, x.ndim),
        f"{type(net).__name__}: expected shape ({axes}{net.inputs}), got shape {x.shape}",
    )
    return x


def check_params(net, params, depth):
    """Raise ValueError unless the list `params` has one entry for each of the `depth` layers of `net`."""
    if len(params) != depth:
        raise ValueError(f"{type(net).__name__}: {depth} layers but {len(params)} entries in the list params")


def _start(rng, shape, fan_in, scale, dtype):
    """Draw weights from N(0, scale² / fan_in)."""
    if numpy.dtype(dtype).kind != "f":
        raise TypeError(f"init: expected a float dtype, got {dtype}")
    return rng.normal(0.0, scale / numpy.sqrt(numpy.maximum(fan_in, 1)), shape).astype(dtype)


@dataclass(frozen=True)
class Dense(Net):
    """One dense layer, `y = W x + b`.

    Parameters: `weight` (outputs, inputs), from N(0, scale² / inputs), so `scale` = 0 starts at y = 0; `bias`
    (outputs,), from 0. x (..., inputs) gives y (..., outputs); cost O(inputs · outputs) a point. No context.
    Raises ValueError for sizes below 1 or an x of another shape.

    >>> net = Dense(3, 2)
    >>> net(net.init(numpy.random.default_rng(0)), numpy.ones((5, 3))).shape
    (5, 2)
    """

    inputs: int
    outputs: int
    scale: float = 1.0

    def __post_init__(self):
        _check_sizes(self, inputs=self.inputs, outputs=self.outputs)
        _check_scale(self, "scale", self.scale)

    def init(self, rng, dtype=float):
        """Draw the weight; the bias is 0."""
        weight = _start(rng, (self.outputs, self.inputs), self.inputs, self.scale, dtype)
        return {"weight": weight, "bias": numpy.zeros(self.outputs, dtype)}

    def __call__(self, params, x, context=None):
        """Multiply and add."""
        return np.dot(_check_last_axis(self, x), params["weight"].T) + params["bias"]


def _apply_stack(net, params, x, context, masks=None):
    """Apply a list of dense layers to points: the fused node, or its plain twin."""
    context = check_context(net, context, x.shape[0])
    layers = [layer[name] for layer in params for name in ("weight", "bias")]
    stack = dense_stack if net.fused else dense_stack_plain
    return stack(x, context, *layers, activation=net.activation, masks=masks)


@dataclass(frozen=True)
class MLP(Net):
    """Multilayer perceptron: dense layers with an activation between them.

    - `h₀ = [x, context]`
    - `hₖ = f(Wₖ hₖ₋₁ + bₖ)`, one for each entry of `hidden`
    - `y = W h + b`, with no activation

    `hidden` holds the widths, and may be empty; `activation` is "tanh", "relu" or "softplus". Parameters: a list with a
    `Dense` layer's dict for each layer. The last layer's weights start `output_scale` times smaller: with 0 the net
    starts at y = 0, so that a layer conditioned on it starts as the identity.

    x (N, inputs) gives y (N, outputs); cost O(number of weights) a point. With `fused` the whole net is one autograd
    node with a backward pass derived by hand (`minigen.fused.dense_stack`): same values, same gradients, faster.
    Raises ValueError for sizes below 1, an unknown activation, or x and context of another shape.

    >>> net = MLP(2, (64, 64), 1, context_features=3)
    >>> params = net.init(numpy.random.default_rng(0))
    >>> net(params, numpy.ones((5, 2)), context=numpy.ones((1, 3))).shape
    (5, 1)
    """

    inputs: int
    hidden: Sequence[int]
    outputs: int
    context_features: int = 0
    activation: str = "tanh"
    output_scale: float = 1.0
    fused: bool = True

    def __post_init__(self):
        object.__setattr__(self, "hidden", check_hidden("MLP", self.hidden))
        _check_sizes(self, inputs=self.inputs, outputs=self.outputs, context_features=self.context_features)
        _check_activation(self, self.activation)
        _check_scale(self, "output_scale", self.output_scale)

    def init(self, rng, dtype=float):
        """Draw the layers from the first to the last."""
        sizes = (self.inputs + self.context_features, *self.hidden, self.outputs)
        scales = [1.0] * len(self.hidden) + [self.output_scale]
        layers = zip(sizes[:-1], sizes[1:], scales, strict=True)
        return [Dense(inputs, outputs, scale).init(rng, dtype) for inputs, outputs, scale in layers]

    def __call__(self, params, x, context=None):
        """Apply all layers."""
        x = check_points("MLP", x, self.inputs)
        check_params(self, params, len(self.hidden) + 1)
        return _apply_stack(self, params, x, context)


@dataclass(frozen=True, eq=False)
class MaskedMLP(Net):
    """An MLP some of whose connections are cut: `hₖ = f((Mₖ ∘ Wₖ) hₖ₋₁ + bₖ)`, with masks Mₖ of zeros and ones.

    `masks` holds one array (outputs, inputs) for each layer, hidden ones first; 1 passes, 0 cuts. The first one's
    columns are x's features and then the context's, so the masks decide what the context reaches. Which masks make a
    net autoregressive is MADE's matter, not ours.

    A weight starts as N(0, 1/fan_in), where fan_in counts its output's open connections only; cut ones start at 0, and
    their gradient is 0. Everything else (parameters, `activation`, `output_scale`, `fused`) is as for `MLP`.
    x (N, D) gives y (N, outputs); cost O(number of weights) a point, cut or not.
    Raises ValueError for masks that are not of zeros and ones or do not fit together, or as `MLP` does.

    >>> net = MaskedMLP([numpy.ones((8, 2)), numpy.ones((2, 8))])
    >>> net(net.init(numpy.random.default_rng(0)), numpy.ones((5, 2))).shape
    (5, 2)
    """

    masks: Sequence[numpy.ndarray]
    context_features: int = 0
    activation: str = "tanh"
    output_scale: float = 1.0
    fused: bool = True

    def __post_init__(self):
        masks = [numpy.asarray(mask) for mask in self.masks]
        require(len(masks) > 0, "MaskedMLP: expected at least one mask, got none")
        for k, mask in enumerate(masks):
            require(mask.ndim == 2, f"MaskedMLP: expected masks[{k}] of shape (outputs, inputs), got {mask.shape}")
            binary = mask.dtype.kind in "fiub" and bool(((mask == 0) | (mask == 1)).all())
            require(binary, f"MaskedMLP: expected zeros and ones in masks[{k}], got other entries")
            fits = k == 0 or mask.shape[1] == masks[k - 1].shape[0]
            require(fits, f"MaskedMLP: masks[{k}] is {mask.shape}, but masks[{k - 1}] is {masks[k - 1].shape}")
        # As bool they widen no float32.
        object.__setattr__(self, "masks", tuple(mask.astype(bool) for mask in masks))
        _check_sizes(self, inputs=self.inputs, context_features=self.context_features)
        _check_activation(self, self.activation)
        _check_scale(self, "output_scale", self.output_scale)

    @property
    def inputs(self):
        """The number of features of x."""
        return self.masks[0].shape[1] - self.context_features

    @property
    def outputs(self):
        """The number of features of y."""
        return self.masks[-1].shape[0]

    def init(self, rng, dtype=float):
        """Draw the layers from the first to the last."""
        scales = [1.0] * (len(self.masks) - 1) + [self.output_scale]
        params = []
        for mask, scale in zip(self.masks, scales, strict=True):
            open_inputs = mask.sum(axis=1, keepdims=True)
            weight = _start(rng, mask.shape, open_inputs, scale, dtype) * mask
            params.append({"weight": weight, "bias": numpy.zeros(len(mask), dtype)})
        return params

    def __call__(self, params, x, context=None):
        """Apply all layers, each weight times its mask."""
        x = check_points("MaskedMLP", x, self.inputs)
        check_params(self, params, len(self.masks))
        return _apply_stack(self, params, x, context, self.masks)


class _Convolution(Net):
    """What the convolutions share: `y = b + V context + Σ (weight of a tap) · (x shifted by that tap)`, zeros outside.

    A subclass gives the kernel's shape, the zeros to add before and after each axis of positions, and where in the
    padded x the window of a tap starts.
    """

    def _check(self):
        _check_sizes(self, inputs=self.inputs, outputs=self.outputs, kernel_size=self.kernel_size)
        _check_sizes(self, context_features=self.context_features)
        _check_scale(self, "scale", self.scale)

    def init(self, rng, dtype=float):
        """Draw the weights; the bias is 0."""
        fan_in = math.prod(self._kernel) * self.inputs + self.context_features
        draw = lambda *shape: _start(rng, shape, fan_in, self.scale, dtype)  # noqa: E731
        params = {"weight": draw(*self._kernel, self.outputs, self.inputs), "bias": numpy.zeros(self.outputs, dtype)}
        if self.context_features:
            params["context"] = draw(self.outputs, self.context_features)
        return params

    def __call__(self, params, x, context=None):
        """Sum one matrix product for each tap."""
        axes = len(self._kernel)
        x = _check_last_axis(self, x, axes + 2)
        context = check_context(self, context, x.shape[0])
        padded = np.pad(x, [(0, 0), *self._padding, (0, 0)], "constant")
        y = params["bias"]
        for tap in numpy.ndindex(*self._kernel):
            starts = self._window(tap)
            window = [slice(start, start + n) for start, n in zip(starts, x.shape[1:-1], strict=True)]
            y = y + np.dot(padded[(slice(None), *window)], params["weight"][tap].T)
        if context is not None:
            effect = np.dot(context, params["context"].T)
            y = y + np.reshape(effect, (context.shape[0], *[1] * axes, self.outputs))
        return y


@dataclass(frozen=True)
class CausalConv1D(_Convolution):
    """Causal convolution over time: `yₜ = b + V context + Σₖ Wₖ x_(t − k·dilation)`, k = 0, …, kernel_size − 1.

    Before the first step x counts as 0. Output t sees the inputs t, t − dilation, …, and none that comes later; a model
    that must not see step t itself shifts its input by one.

    Parameters: `weight` (kernel_size, outputs, inputs), `bias` (outputs,) and, with a context, `context`
    (outputs, context_features); weights from N(0, scale² / fan_in), fan_in = kernel_size · inputs + context_features.
    x (N, T, inputs) gives y (N, T, outputs); cost O(kernel_size · inputs · outputs) a step, by one matrix product for
    each tap. Raises ValueError for sizes below 1, or x and context of another shape.

    >>> net = CausalConv1D(1, 1, kernel_size=2)
    >>> params = {"weight": numpy.array([[[1.0]], [[10.0]]]), "bias": numpy.zeros(1)}
    >>> net(params, numpy.array([[[1.0], [2.0], [3.0]]]))[0, :, 0]
    array([ 1., 12., 23.])
    """

    inputs: int
    outputs: int
    kernel_size: int
    dilation: int = 1
    context_features: int = 0
    scale: float = 1.0

    def __post_init__(self):
        self._check()
        _check_sizes(self, dilation=self.dilation)

    @property
    def _kernel(self):
        return (self.kernel_size,)

    @property
    def _padding(self):
        return [((self.kernel_size - 1) * self.dilation, 0)]

    def _window(self, tap):
        return [(self.kernel_size - 1 - tap[0]) * self.dilation]


@dataclass(frozen=True)
class Conv2D(_Convolution):
    """Convolution of images, same size out: `y_ij = b + V context + Σ W_ab x_(i + a − r, j + b − r)`.

    a and b run over 0, …, kernel_size − 1, which is odd, and r = (kernel_size − 1)/2; outside the image x counts as 0.

    Parameters: `weight` (kernel_size, kernel_size, outputs, inputs), `bias` (outputs,) and, with a context, `context`
    (outputs, context_features); weights from N(0, scale² / fan_in), fan_in = kernel_size² · inputs + context_features.
    x (N, H, W, inputs) gives y (N, H, W, outputs); cost O(kernel_size² · inputs · outputs) a pixel, by one matrix
    product for each tap. Raises ValueError for sizes below 1, an even kernel_size, or x and context of another shape.

    >>> net = Conv2D(3, 8)
    >>> net(net.init(numpy.random.default_rng(0)), numpy.ones((5, 4, 4, 3))).shape
    (5, 4, 4, 8)
    """

    inputs: int
    outputs: int
    kernel_size: int = 3
    context_features: int = 0
    scale: float = 1.0

    def __post_init__(self):
        self._check()
        require(self.kernel_size % 2 == 1, f"Conv2D: expected an odd kernel_size, got {self.kernel_size}")

    @property
    def _kernel(self):
        return (self.kernel_size, self.kernel_size)

    @property
    def _padding(self):
        return [(self.kernel_size // 2, self.kernel_size // 2)] * 2

    def _window(self, tap):
        return tap
