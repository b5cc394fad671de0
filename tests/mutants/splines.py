"""Splines with the mistakes that are easily made in them: the real source with one place changed."""

import inspect

import numpy as np

from minigen import checks
from minigen.flows import splines
from minigen.foundations.change_of_variables import Bijection
from minigen.numerics import sum_except_batch
from tests.mutants.exhibit import Exhibit, failing


def changed(name, bug, old, new):
    """Return `rational_quadratic_spline` with `old`, which stands once in its source, replaced by `new`."""
    source = inspect.getsource(splines.rational_quadratic_spline)
    assert source.count(old) == 1, f"{source.count(old)} times: {old}"
    scope = dict(vars(splines))
    exec(source.replace(old, new), scope)
    mutant = scope["rational_quadratic_spline"]
    mutant.__name__, mutant.__doc__ = name, bug
    return mutant


class Splines(Bijection):
    """A spline for each feature, its raw numbers being the parameters: what the couplings condition."""

    def __init__(self, spline=splines.rational_quadratic_spline, bound=3.0):
        self.spline, self.bound = spline, bound

    def _apply(self, raw, x, inverse):
        raw = raw + np.zeros((x.shape[0], 1, 1), dtype=x.dtype)
        y, log_slope = self.spline(x, raw, self.bound, inverse)
        return y, sum_except_batch(log_slope)

    def forward(self, params, x, context=None):
        return self._apply(params, x, False)

    def inverse(self, params, z, context=None):
        return self._apply(params, z, True)


def raw_numbers(bins, D, scale=1.0, seed=0):
    return scale * np.random.default_rng(seed).normal(size=(D, 3 * bins - 1))


def start_error(map, params, x):
    return checks.round_trip_error(map, 0 * params, x) + abs(map.forward(0 * params, x)[0] - x).max()


def tail_error(map, params, x):
    far = np.array([[1e3, -1e3, 3.5], [-40.0, 3.01, 1e3]])
    z, log_det = map.forward(params, far)
    return max(abs(z - far).max(), abs(log_det).max())


def extreme_error(map, params, x):
    z, log_det = map.forward(1e3 * params, x)
    return 0.0 if np.isfinite(z).all() and np.isfinite(log_det).all() else np.inf


CHECKS = {
    "round trip": checks.round_trip_error,
    "cancel": checks.log_det_cancel_error,
    "log-det": checks.log_det_error,
    "start": start_error,
    "tails": tail_error,
    "extreme": extreme_error,
}


def sound():
    """Return what the mutants spoil."""
    return [splines.rational_quadratic_spline]


def verdicts(spline):
    """Return the checks that find something wrong."""
    params, x = raw_numbers(6, 3), np.random.default_rng(1).normal(size=(20, 3)).clip(-2.9, 2.9)
    with np.errstate(all="ignore"):
        return failing(CHECKS, Splines(spline), params, x, tolerance=1e-8)


NEXT_BIN = """
    later = (np.minimum(bin + 1, bins - 1)[..., None] == numpy.arange(bins)).astype(raw.dtype)
    w1, h1, d0, d1 = (np.sum(later * v, axis=-1) for v in (widths, heights, slopes[..., :-1], slopes[..., 1:]))
    s = h1 / w1
    log_slope = 2 * np.log(s / (s + (d0 + d1 - 2 * s) * t * (1 - t)))
    log_slope = log_slope + np.log(d1 * t**2 + 2 * s * t * (1 - t) + d0 * (1 - t) ** 2)
    return z + beyond, log_slope
"""

EXHIBITS = [
    Exhibit(
        changed(
            "LogDetOfTheNextBin",
            "The forward log-determinant is that of the next bin.",
            "    return b + h * (s * t**2 + d0 * t * (1 - t)) / den + beyond, log_slope\n",
            "    z = b + h * (s * t**2 + d0 * t * (1 - t)) / den" + NEXT_BIN,
        ),
        "an index that is off by one in one of two look-ups",
        "the density jumps from bin to bin",
        {"cancel", "log-det", "tails"},
    ),
    Exhibit(
        changed(
            "SlopesExchanged",
            "The log-determinant takes a bin's two slopes for each other, in both directions alike.",
            "d1 * t**2 + 2 * s * t * (1 - t) + d0 * (1 - t)",
            "d0 * t**2 + 2 * s * t * (1 - t) + d1 * (1 - t)",
        ),
        "a formula copied with one sign of symmetry too many",
        "right for equal slopes, hence at the start",
        {"log-det", "tails"},
    ),
    Exhibit(
        changed(
            "BinOnTheWrongAxis",
            "The inverse looks its bin up among the x where it should among the z.",
            "bottoms if inverse else lefts",
            "lefts",
        ),
        "an inverse that was copied from the forward direction",
        "right at the start, where both axes are cut alike; later samples are wrong",
        {"round trip", "cancel", "log-det"},
    ),
    Exhibit(
        changed("OneBinTooFar", "The bin is looked up one too far.", "lefts)[..., 1:]", "lefts)[..., :-1]"),
        "an index that is off by one",
        "nothing fits, except where it should not matter",
        {"round trip", "cancel", "log-det", "tails", "extreme"},
    ),
    Exhibit(
        changed("NoIdentityAtTheStart", "Raw slopes of 0 give slopes of log 2, not 1.", "+ SLOPE_OFFSET", ""),
        "softplus without its inverse at the start",
        "training starts from wiggles, and the ends of the interval have a kink",
        {"start", "tails"},
    ),
    Exhibit(
        changed(
            "TailsNotCutOff",
            "Points beyond the interval go through its last bin's formula.",
            "np.clip(x, -bound, bound)",
            "x",
        ),
        "guarding the result in place of the input",
        "a far point lands anywhere; NaN in the gradient of a branch that is not taken",
        {"tails"},
    ),
    Exhibit(
        changed(
            "RootThatDividesByZero",
            "The quadratic equation is solved by the school formula, which divides by A.",
            "t = before / (before + after)",
            "t = (root - tilt - 2 * s * y) / (2 * (s - 2 * s * y - tilt))",
        ),
        "the formula of the school book",
        "NaN where a bin is straight, hence everywhere at the start",
        {"start"},
    ),
    Exhibit(
        changed(
            "SignOfTheInversesLogDet",
            "The inverse's log-determinant has the forward's sign.",
            "beyond, -log_slope",
            "beyond, log_slope",
        ),
        "a minus that each of two places leaves to the other",
        "samples are right, their log-densities are not",
        {"cancel", "log-det"},
    ),
    Exhibit(
        changed("BinsMayVanish", "No bin has a least width.", "MIN_BIN + (1 - bins * MIN_BIN) * ", ""),
        "a constant that seems to do nothing",
        "NaN after long training, when a bin has shrunk to nothing",
        {"extreme"},
    ),
]
