"""Neural spline flows: couplings that bend a number by a monotonic rational-quadratic spline.

An affine coupling can only stretch and shift what it moves; a spline with K bins puts K + 1 knots where it likes.
"""

from dataclasses import dataclass

import autograd.numpy as np
import numpy

from minigen.errors import as_float, check_integer, check_points, check_positive, require
from minigen.flows.coupling import _Coupling
from minigen.flows.fused_splines import MIN_BIN, MIN_SLOPE, SLOPE_OFFSET, spline_coupling
from minigen.nets import MLP, check_context, check_params
from minigen.numerics import logsumexp, softplus, sum_except_batch

__all__ = ["RationalQuadraticCoupling", "rational_quadratic_spline"]


def rational_quadratic_spline(x, raw, bound, inverse=False):
    """Monotonic rational-quadratic spline of every number, the identity outside [−bound, bound].

    K + 1 knots (aₖ, bₖ) go from (−bound, −bound) to (bound, bound), with slopes dₖ > 0, the outer two 1. In the bin
    that holds x, with the width w and height h, `s = h/w`, and `t = (x − aₖ)/w` from 0 to 1:

    - Forward: `z = bₖ + h·(s t² + dₖ t(1 − t))/(s + (dₖ + dₖ₊₁ − 2s)·t(1 − t))`.
    - Log-slope: `log dz/dx = log(s²·(dₖ₊₁ t² + 2s t(1 − t) + dₖ(1 − t)²)) − 2 log(s + (dₖ + dₖ₊₁ − 2s)·t(1 − t))`.
    - Inverse: `x = aₖ + w·t`, where t in [0, 1] solves the first formula, a quadratic equation. With
      `y = (z − bₖ)/h`, `Δ = dₖ(1 − y) − dₖ₊₁ y` and `r = √(Δ² + 4s² y(1 − y))`, the root is
      `t/(1 − t) = 2sy/(r + Δ) = (r − Δ)/(2s(1 − y))`: the first for Δ >= 0, the second for Δ < 0, and nothing cancels.
    - Inverse's log-slope: the negative of the log-slope at that t.

    Both go through the knots with the given slopes, so that the map is smooth (C¹) and strictly rising.

    x has any shape; `raw` (..., 3K − 1) holds for each number K raw widths, K raw heights and K − 1 raw slopes, all
    real numbers: softmax makes shares of the interval of the first two, none below 0.001, and softplus slopes of at
    least 0.001 of the third; raw = 0 is the identity. With `inverse` x is what comes out of the spline.
    Returns z and the log-slopes, in x's shape. Cost O(K) a number. NaN in x gives NaN. Raises ValueError if x and raw
    do not fit, or for a bound that is not positive.

    Reference: Durkan, Bekasov, Murray and Papamakarios (2019), arXiv:1906.04032; Gregory and Delbourgo (1982).

    >>> raw = numpy.array([[0.0, 0.0, 0.0, numpy.log(3.0), 0.0]])  # two bins; the upper one has 3/4 of the height
    >>> z, log_slope = rational_quadratic_spline(numpy.array([0.0]), raw, bound=1.0)
    >>> z.round(3), log_slope.round(12)  # the middle knot, where the slope is 1
    (array([-0.499]), array([0.]))
    """
    x, raw = as_float(x), as_float(raw)
    fits = raw.shape[:-1] == x.shape and raw.shape[-1:] > (1,) and raw.shape[-1] % 3 == 2
    require(fits, f"rational_quadratic_spline: expected raw of shape {x.shape} + (3K - 1,), got {raw.shape}")
    check_positive("rational_quadratic_spline", "bound", bound)
    bins = (raw.shape[-1] + 1) // 3

    def cut_interval(raw):  # into K bins: their sizes, and where each starts
        shares = MIN_BIN + (1 - bins * MIN_BIN) * np.exp(raw - np.expand_dims(logsumexp(raw), -1))
        sizes = 2 * bound * shares
        return sizes, np.cumsum(sizes, axis=-1) - sizes - bound

    widths, lefts = cut_interval(raw[..., :bins])
    heights, bottoms = cut_interval(raw[..., bins : 2 * bins])
    outer = numpy.zeros((*raw.shape[:-1], 1), dtype=raw.dtype)
    slopes = MIN_SLOPE + softplus(np.concatenate([outer, raw[..., 2 * bins :], outer], axis=-1) + SLOPE_OFFSET)

    inside = np.clip(x, -bound, bound)
    bin = np.sum(np.expand_dims(inside, -1) >= (bottoms if inverse else lefts)[..., 1:], axis=-1)
    here = (bin[..., None] == numpy.arange(bins)).astype(raw.dtype)  # 1 in the bin that holds x, and 0 elsewhere
    w, h, a, b, d0, d1 = (
        np.sum(here * values, axis=-1)
        for values in (widths, heights, lefts, bottoms, slopes[..., :-1], slopes[..., 1:])
    )
    s = h / w
    bend = d0 + d1 - 2 * s
    if inverse:
        y = (inside - b) / h
        tilt = d0 * (1 - y) - d1 * y
        root = np.sqrt(tilt**2 + 4 * s**2 * y * (1 - y))
        before = np.where(tilt < 0, root - tilt, 2 * s * y)  # t : 1 − t = before : after
        after = np.where(tilt < 0, 2 * s * (1 - y), root + tilt)
        t = before / (before + after)
    else:
        t = (inside - a) / w
    den = s + bend * t * (1 - t)
    log_slope = np.log(s**2 * (d1 * t**2 + 2 * s * t * (1 - t) + d0 * (1 - t) ** 2)) - 2 * np.log(den)
    beyond = x - inside  # 0 inside the interval; outside, slope 1 goes on from its end
    if inverse:
        return a + t * w + beyond, -log_slope
    return b + h * (s * t**2 + d0 * t * (1 - t)) / den + beyond, log_slope


@dataclass(frozen=True, eq=False)
class RationalQuadraticCoupling(_Coupling):
    """Spline coupling: some features go through splines whose knots and slopes the others choose.

    - Forward: `zᵢ = xᵢ` where the mask is 1, else `zᵢ = fᵢ(xᵢ)`, a `rational_quadratic_spline` with the raw numbers
      `net(x where the mask is 1, context)`.
    - Log-determinant: Σᵢ log fᵢ'(xᵢ) over the moved features, since the Jacobian is triangular.
    - Inverse: `xᵢ = fᵢ⁻¹(zᵢ)` with the same splines.
    - Inverse's log-determinant: −Σᵢ log fᵢ'(xᵢ).

    `mask` (D,) is 1 where features pass through; D >= 2. `bins` is K; beyond ±`bound` the map is the identity, so data
    should come standardized, and heavy tails want an affine coupling before. The conditioner is an `MLP` with the
    widths `hidden`, its `activation` and `context_features`, whose last layer starts at 0, so that the layer starts as
    the identity; its 3K − 1 numbers for each moved feature come in 3K − 1 blocks, each with one for every such feature.

    x (N, D). Parameters: the conditioner's. Cost: one call of the conditioner and O(K) a moved number, either way.
    NaN in gives NaN out. With `fused` the layer is one autograd node (`minigen.flows.fused_splines`): same values and
    gradients, several times faster. Raises ValueError for a mask without ones or zeros (so D = 1 has no coupling), bins
    not in 1, …, 999, a bound that is not positive, or if mask or context do not fit x.

    Reference: Durkan, Bekasov, Murray and Papamakarios (2019), arXiv:1906.04032.

    >>> layer = RationalQuadraticCoupling([1, 0], bins=8)
    >>> x = numpy.array([[1.0, 3.0], [0.0, 1000.0]])
    >>> z, log_det = layer.forward(layer.init(numpy.random.default_rng(0), x), x)
    >>> z, abs(log_det.round(12))
    (array([[   1.,    3.],
           [   0., 1000.]]), array([0., 0.]))
    """

    bins: int = 16
    bound: float = 5.0

    def __post_init__(self):
        who = "RationalQuadraticCoupling"
        check_integer(who, "bins", self.bins, 1)
        require(self.bins < 1 / MIN_BIN, f"{who}: expected fewer than {1 / MIN_BIN:.0f} bins, got {self.bins}")
        check_positive(who, "bound", self.bound)
        super().__post_init__()
        require(self.mask.ndim == 1, f"{who}: expected a mask of shape (D,), got {self.mask.shape}")
        require(type(self.conditioner) is MLP, f"{who}: expected an MLP as net, got {self.net!r}")

    @property
    def per_feature(self):
        """How many numbers the conditioner gives for each number that is moved."""
        return 3 * self.bins - 1

    def forward(self, params, x, context=None):
        """Send what is moved through the splines."""
        return self._apply(params, x, context, inverse=False)

    def inverse(self, params, z, context=None):
        """Send it back."""
        return self._apply(params, z, context, inverse=True)

    def _check_points(self, x, inverse):
        direction = ".inverse" if inverse else ""
        return check_points(f"RationalQuadraticCoupling{direction}", self._check(direction, x))

    def _apply(self, params, x, context, inverse):
        x = self._check_points(x, inverse)
        if self.fused:
            node, arrays, structure = self.fused_node(params, x, context, inverse)
            return node(x, *arrays, **structure)
        raw = self.conditioner(params, x[:, self.kept], context)
        raw = np.reshape(raw, (x.shape[0], self.per_feature, len(self.moved)))
        raw = np.transpose(raw, (0, 2, 1))
        moved, log_slope = rational_quadratic_spline(x[:, self.moved], raw, self.bound, inverse)
        places = numpy.argsort(numpy.concatenate([self.kept, self.moved]))
        z = np.concatenate([x[:, self.kept], moved], axis=1)[:, places]
        return z, sum_except_batch(log_slope)

    def fused_node(self, params, x, context, inverse):
        """Return (node, arrays, structure): the call `node(x, *arrays, **structure)` that this layer is, or None."""
        if not self.fused:
            return None
        x = self._check_points(x, inverse)
        check_params(self.conditioner, params, len(self.conditioner.hidden) + 1)
        context = check_context(self.conditioner, context, x.shape[0])
        arrays = (context, *(layer[name] for layer in params for name in ("weight", "bias")))
        return spline_coupling, arrays, {"layer": self, "inverse": inverse}
