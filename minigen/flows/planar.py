"""Planar and radial flows: layers that push points along one direction, or to and from one centre.

Both have cheap log-determinants by the matrix determinant lemma, and are invertible only under a constraint, which is
built into their parameters here. They move points little at a time, so a flow needs many of them.
"""

import math
from dataclasses import dataclass

import autograd.numpy as np
import numpy
from autograd.extend import defvjp, primitive

from minigen.errors import check_integer, check_points, require
from minigen.foundations.change_of_variables import Bijection, check_shape
from minigen.numerics import softplus, tanh

__all__ = ["Planar", "Radial", "solve_monotone"]

UNIT = math.log(math.e - 1)  # softplus(UNIT) = 1


@primitive
def solve_monotone(y, gain):
    """Return the a with `a + (gain − 1)·tanh(a) = y`, for every entry of y; gain is one positive number.

    The left side rises everywhere, since its slope is `tanh² a + gain·(1 − tanh² a) > 0`, and |a − y| <= |gain − 1|: a
    Newton step is replaced by the middle of this bracket, which shrinks, where it would leave it or is not half as long
    as the step before (two points can send Newton to each other for ever). Gradient by the implicit function
    theorem: da/dy = 1/slope, da/dgain = −tanh(a)/slope. Cost: some 5 to 10 passes over y; NaN gives NaN.

    >>> a = solve_monotone(numpy.array([-1.0, 0.1, 30.0]), 0.01)
    >>> numpy.abs(a - 0.99 * numpy.tanh(a) - [-1.0, 0.1, 30.0]).max() < 1e-14
    True
    """
    low, high, a, change = y - abs(gain - 1), y + abs(gain - 1), y, numpy.full(y.shape, numpy.inf, dtype=y.dtype)
    with numpy.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for _ in range(100):
            t = numpy.tanh(a)
            error = a + (gain - 1) * t - y
            low, high = np.where(error < 0, a, low), np.where(error > 0, a, high)
            step = a - error / (t * t + gain * (1 - t * t))
            good = (low <= step) & (step <= high) & (2 * abs(step - a) <= change)
            step = np.where(good, step, 0.5 * low + 0.5 * high)
            change, a = abs(step - a), step
            if not (change > 4 * numpy.finfo(y.dtype).eps * numpy.maximum(1, abs(a))).any():  # NaN does not wait
                break
    return a


def _slope(a, gain):
    square = tanh(a) ** 2
    return square + gain * (1 - square)


defvjp(
    solve_monotone,
    lambda a, y, gain: lambda g: g / _slope(a, gain),
    lambda a, y, gain: lambda g: -np.sum(g * tanh(a) / _slope(a, gain)),
)


@dataclass(frozen=True)
class Planar(Bijection):
    """Planar flow: points are pushed along one direction, by how far they lie on one side of a plane.

    - Forward: `z = x + û·tanh(a)`, with `a = wᵀx + b`, `û = u + (m(wᵀu) − wᵀu)·w/|w|²` and
      `m(s) = log(1 + exp(s)) − 1`.
    - Log-determinant: log(1 + wᵀû·(1 − tanh² a)), by det(I + û hᵀ) = 1 + hᵀû.
    - Inverse: `x = z − û·tanh(a)`, where a is the root of `a + wᵀû·tanh(a) = wᵀz + b` (`solve_monotone`).
    - Inverse's log-determinant: the negative, at that a.

    With û in place of u, wᵀû = m(wᵀu) > −1, without which two points could meet in one. Dividing by |w| in place of
    |w|², as some codes do, loses that. So that nothing cancels, the determinant is taken as `tanh² a + (1 − tanh² a)·
    log(1 + exp(wᵀu))`, which is positive term by term.

    Parameters: `w` and `u` (D,), `bias` (), and with a context `context` (C,), which adds `context · row` to b. w
    starts random, of length about 1, and u so that û = 0, which is the identity. Cost O(D) a point, the inverse some
    ten times as much. NaN gives NaN, and so does w = 0. Raises ValueError if shapes do not fit.

    Reference: Rezende and Mohamed (2015), arXiv:1505.05770, where it maps noise to data: `Inverse(Planar())` does.

    >>> params = {"w": numpy.array([2.0, 0.0]), "u": numpy.array([0.0, 1.0]), "bias": numpy.array(0.0)}
    >>> z, log_det = Planar().forward(params, numpy.array([[0.0, 0.0], [9.0, 0.0]]))
    >>> z.round(4), log_det.round(4) + 0.0  # the plane x₁ = 0 keeps its points, and m(0) = log 2 − 1
    (array([[0.    , 0.    ],
           [8.8466, 1.    ]]), array([-0.3665,  0.    ]))
    """

    context_features: int = 0

    def __post_init__(self):
        check_integer("Planar", "context_features", self.context_features, 0)

    def init(self, rng, x, context=None):
        """Draw w; everything else makes the identity."""
        x = check_points("Planar", x)
        w = rng.normal(size=x.shape[1]) / math.sqrt(x.shape[1])
        params = {"w": w, "u": UNIT * w / numpy.sum(w**2), "bias": numpy.zeros(())}
        if self.context_features:
            params["context"] = numpy.zeros(self.context_features)
        return {name: value.astype(x.dtype) for name, value in params.items()}

    def forward(self, params, x, context=None):
        """Push."""
        x, u, gain, bias = self._prepare("Planar", params, x, context)
        a = np.dot(x, params["w"]) + bias
        return x + np.outer(tanh(a), u), np.log(_slope(a, gain))

    def inverse(self, params, z, context=None):
        """Find how far each point had been pushed, and push it back."""
        z, u, gain, bias = self._prepare("Planar.inverse", params, z, context)
        a = solve_monotone(np.dot(z, params["w"]) + bias, gain)
        return z - np.outer(tanh(a), u), -np.log(_slope(a, gain))

    def _prepare(self, who, params, x, context):
        x = check_points(who, x)
        for name in ("w", "u"):
            check_shape(who, name, params[name], (x.shape[1],), x)
        w, u = params["w"], params["u"]
        along = np.dot(w, u)
        gain = softplus(along)  # 1 + m(wᵀu)
        u = u + (gain - 1 - along) * w / np.sum(w**2)
        return x, u, gain, _with_context(self, params["bias"], params, context, x)


@dataclass(frozen=True)
class Radial(Bijection):
    """Radial flow: points are pulled towards a centre, or pushed away from it.

    - Forward: `z = x + β/(α + r)·(x − c)`, with `r = |x − c|`, `α = exp(log_alpha) > 0` and
      `β = log(1 + exp(b)) − α > −α`.
    - Log-determinant: (D − 1)·log(1 + β/(α + r)) + log(1 + αβ/(α + r)²).
    - Inverse: `x = c + (z − c)/(1 + β/(α + r))`, r being the positive root of `r² + (α + β − r')·r = α r'`, with
      `r' = |z − c|`.
    - Inverse's log-determinant: the negative, at that r.

    The radius maps to r' = r + βr/(α + r), which rises with r for β >= −α only. Each log-determinant is computed from
    sums of positive terms, so nothing cancels.

    Parameters: `centre` c (D,), `log_alpha` and `b` (), and with a context `context` (D, C), which adds
    `context · row` to c. c starts as N(0, I), and b so that β = 0, which is the identity. Cost O(D) a point either way.
    NaN gives NaN. Raises ValueError if shapes do not fit.

    Reference: Rezende and Mohamed (2015), arXiv:1505.05770, where it maps noise to data: `Inverse(Radial())` does.

    >>> params = {"centre": numpy.zeros(2), "log_alpha": numpy.array(0.0), "b": numpy.array(2.0)}
    >>> z, log_det = Radial().forward(params, numpy.array([[3.0, 4.0]]))
    >>> z.round(4), log_det.round(4)
    (array([[3.5635, 4.7513]]), array([0.2029]))
    """

    context_features: int = 0

    def __post_init__(self):
        check_integer("Radial", "context_features", self.context_features, 0)

    def init(self, rng, x, context=None):
        """Draw the centre; everything else makes the identity."""
        x = check_points("Radial", x)
        features = x.shape[1]
        params = {"centre": rng.normal(size=features), "log_alpha": numpy.zeros(()), "b": numpy.array(UNIT)}
        if self.context_features:
            params["context"] = numpy.zeros((features, self.context_features))
        return {name: value.astype(x.dtype) for name, value in params.items()}

    def forward(self, params, x, context=None):
        """Pull or push."""
        x, offset, alpha, total = self._prepare("Radial", params, x, context)
        r = _length(offset)
        ratio = (r + total) / (alpha + r)  # 1 + β/(α + r)
        return x + (ratio - 1)[:, None] * offset, self._log_det(x, r, alpha, total)

    def inverse(self, params, z, context=None):
        """Solve for the radius, and go back to it."""
        z, offset, alpha, total = self._prepare("Radial.inverse", params, z, context)
        length = _length(offset)
        p = total - length
        # Of r² + p r = α r' the positive root is q if p <= 0, and α r'/q if p > 0: neither subtracts what is alike.
        positive = (p > 0).astype(z.dtype)  # np.where would widen a float32 gradient
        q = 0.5 * ((2 * positive - 1) * p + np.sqrt(p**2 + 4 * alpha * length))
        r = positive * alpha * length / q + (1 - positive) * q
        ratio = (alpha + r) / (r + total)
        return z + (ratio - 1)[:, None] * offset, -self._log_det(z, r, alpha, total)

    def _log_det(self, x, r, alpha, total):
        near = alpha + r
        along = r**2 + 2 * alpha * r + alpha * total  # (α + r)² + αβ
        return (x.shape[1] - 1) * (np.log(r + total) - np.log(near)) + np.log(along) - 2 * np.log(near)

    def _prepare(self, who, params, x, context):
        x = check_points(who, x)
        check_shape(who, "centre", params["centre"], (x.shape[1],), x)
        centre = _with_context(self, params["centre"], params, context, x)
        return x, x - centre, np.exp(params["log_alpha"]), softplus(params["b"])  # the last one is α + β


def _length(offset):
    return np.sqrt(np.sum(offset**2, axis=1) + numpy.finfo(offset.dtype).tiny)  # at 0 the gradient is 0, not NaN


def _with_context(layer, value, params, context, x):
    """Return the parameter `value`, for each point shifted by what its context adds."""
    if layer.context_features == 0:
        return value
    who = type(layer).__name__
    require(context is not None, f"{who}: context: expected shape ({x.shape[0]}, {layer.context_features}), got none")
    context = check_points(f"{who}: context", context, layer.context_features)
    found = context.shape[0]
    require(found in (1, x.shape[0]), f"{who}: context: expected {x.shape[0]} rows as x has, or one, got {found}")
    return value + np.dot(context, params["context"].T)
