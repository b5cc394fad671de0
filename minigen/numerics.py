"""Elementary functions whose values and gradients stay finite for every finite input.

Each elementwise function is one autograd node with a closed-form slope. Slopes are written with the same functions, so
second derivatives are exact as well, and nothing in them turns float32 into float64.
"""

import math

import autograd.numpy as np
import numpy
from autograd.extend import defjvp, defvjp, primitive
from autograd.tracer import getval

from minigen.errors import as_float, require

__all__ = [
    "log_mean_exp",
    "log_sigmoid",
    "logsumexp",
    "sigmoid",
    "softplus",
    "stop_gradient",
    "sum_except_batch",
    "tanh",
]


def _define_slope(f, slope):
    """Give the elementwise primitive `f` its derivative `slope(y, x)`, in both modes."""
    defvjp(f, lambda y, x: lambda g: g * slope(y, x))
    defjvp(f, lambda g, y, x: g * slope(y, x))


@primitive
def _tanh(x):
    return numpy.tanh(x)


@primitive
def _sigmoid(x):
    with numpy.errstate(over="ignore"):  # exp(-x) = inf gives 1 / inf = 0, as it should
        return 1 / (1 + numpy.exp(-x))


@primitive
def _softplus(x):
    return numpy.maximum(x, 0) + numpy.log1p(numpy.exp(-abs(x)))


_define_slope(_tanh, lambda y, x: 1 - y * y)
_define_slope(_sigmoid, lambda y, x: y * _sigmoid(-x))  # y * (1 - y) would be 0 from x = 37 on
_define_slope(_softplus, lambda y, x: _sigmoid(x))


def tanh(x):
    """Hyperbolic tangent, with the slope `1 − tanh² x` (autograd's own divides by cosh², which overflows).

    Any shape, elementwise, O(1) each; NaN stays NaN.

    >>> tanh([-1000.0, 0.0, 1000.0])
    array([-1.,  0.,  1.])
    """
    return _tanh(as_float(x))


def sigmoid(x):
    """Logistic function `σ(x) = 1/(1 + exp(−x))`, with the slope `σ(x)·σ(−x)`.

    Any shape, elementwise, O(1) each; full relative precision in the left tail; NaN stays NaN.

    >>> sigmoid([-1000.0, 0.0, 1000.0])
    array([0. , 0.5, 1. ])
    """
    return _sigmoid(as_float(x))


def softplus(x):
    """Smooth maximum of 0 and x: `log(1 + exp(x)) = max(x, 0) + log(1 + exp(−|x|))`, with the slope `σ(x)`.

    Any shape, elementwise, O(1) each; NaN stays NaN.

    >>> softplus([-1000.0, 0.0, 100.0])
    array([  0.        ,   0.69314718, 100.        ])
    """
    return _softplus(as_float(x))


def log_sigmoid(x):
    """Logarithm of the logistic function, `log σ(x) = −softplus(−x)`.

    Any shape, elementwise, O(1) each; NaN stays NaN.

    >>> log_sigmoid([-1000.0, 0.0, 1000.0])
    array([-1.00000000e+03, -6.93147181e-01, -0.00000000e+00])
    """
    return -_softplus(-as_float(x))


def _exp_below_max(x, axis):
    """Return exp(x - m) and m, the largest entry along `axis` (kept) cut to the finite floats: inf - inf is NaN."""
    limits = numpy.finfo(x.dtype)
    m = numpy.clip(numpy.max(x, axis, keepdims=True), limits.min, limits.max)
    with numpy.errstate(over="ignore"):  # entries further apart than the largest float
        return numpy.exp(x - m), m


@primitive
def _logsumexp(x, axis):
    e, m = _exp_below_max(x, axis)
    with numpy.errstate(divide="ignore"):  # a line of -inf: log 0 = -inf
        return numpy.log(numpy.sum(e, axis)) + numpy.squeeze(m, axis)


@primitive
def _softmax(x, axis):
    e, _ = _exp_below_max(x, axis)
    # The largest entry adds exp(0) = 1, so only a line of -inf sums to less than 1; its weights are 0 then.
    return e / numpy.maximum(numpy.sum(e, axis, keepdims=True), 1)


def _softmax_product(g, p, axis):
    """Multiply by the softmax's Jacobian, diag(p) - p pᵀ, which is symmetric: the same product in both modes."""
    return p * (g - np.sum(g * p, axis, keepdims=True))


defvjp(_logsumexp, lambda y, x, axis: lambda g: np.expand_dims(g, axis) * _softmax(x, axis))
defjvp(_logsumexp, lambda g, y, x, axis: np.sum(g * _softmax(x, axis), axis))
defvjp(_softmax, lambda p, x, axis: lambda g: _softmax_product(g, p, axis))
defjvp(_softmax, lambda g, p, x, axis: _softmax_product(g, p, axis))


def _along(who, x, axis):
    """Return x as floats, if its axis has entries."""
    x = as_float(x)
    fits = -x.ndim <= axis < x.ndim and x.shape[axis] > 0
    require(fits, f"{who}: expected at least one entry along axis {axis}, got shape {x.shape}")
    return x


def logsumexp(x, axis=-1):
    """Logarithm of a sum of exponentials along one axis: `m + log Σₖ exp(xₖ − m)`, with `m = maxₖ xₖ`.

    The gradient is the softmax of `x`. Entries of -inf add nothing and get gradient 0; a line of nothing but -inf
    gives -inf, without a warning, and gradient 0. An entry of +inf gives +inf, and no gradient (NaN); NaN gives NaN.

    Shape: `x` without `axis`. Cost: O(size of x). Raises ValueError if the axis is empty.

    >>> logsumexp([[-1000.0, -1000.0], [-numpy.inf, -numpy.inf]])
    array([-999.30685282,          -inf])
    """
    return _logsumexp(_along("logsumexp", x, axis), axis)


def log_mean_exp(x, axis=-1):
    """Logarithm of a mean of exponentials along one axis: `logsumexp(x) − log K`, K its length.

    What importance weighting needs. Shape, cost and behaviour at ±inf and NaN: as for `logsumexp`.

    >>> log_mean_exp([[1000.0, 1000.0]])
    array([1000.])
    """
    x = _along("log_mean_exp", x, axis)
    return _logsumexp(x, axis) - math.log(x.shape[axis])  # numpy.log's float64 would widen a float32


def sum_except_batch(x):
    """Sum over every axis but the first: (N, ...) -> (N,).

    How per-feature log-densities and log-scales become one number per point. Cost: O(size of x). Raises ValueError
    for a scalar.

    >>> sum_except_batch(numpy.ones((2, 4, 4, 3)))
    array([48., 48.])
    """
    x = as_float(x)
    require(x.ndim > 0, "sum_except_batch: expected shape (N, ...), got a scalar")
    return np.sum(x, axis=tuple(range(1, x.ndim)))


def stop_gradient(x):
    """Return the number or array `x` as a constant: its value is kept, every derivative through it is 0.

    Under nested differentiation (a Hessian, a gradient inside a gradient) it is a constant at every level, so that
    also the derivatives of the outer passes stop here. It acts on one array; for all the arrays in a container write
    ``tree_map(stop_gradient, params)``. O(1), nothing is copied.

    >>> from autograd import grad
    >>> print(grad(lambda x: x * stop_gradient(x))(3.0))
    3.0
    """
    return getval(x)
