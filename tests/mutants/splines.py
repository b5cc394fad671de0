"""Splines with the mistakes that are easily made in them: the real source with one place changed."""

import inspect

from minigen.flows import splines


def changed(old, new):
    """Return `rational_quadratic_spline` with `old`, which stands once in its source, replaced by `new`."""
    source = inspect.getsource(splines.rational_quadratic_spline)
    assert source.count(old) == 1, f"{source.count(old)} times: {old}"
    scope = dict(vars(splines))
    exec(source.replace(old, new), scope)
    return scope["rational_quadratic_spline"]


NEXT_BIN = """
    later = (np.minimum(bin + 1, bins - 1)[..., None] == numpy.arange(bins)).astype(raw.dtype)
    w1, h1, d0, d1 = (np.sum(later * v, axis=-1) for v in (widths, heights, slopes[..., :-1], slopes[..., 1:]))
    s = h1 / w1
    log_slope = 2 * np.log(s / (s + (d0 + d1 - 2 * s) * t * (1 - t)))
    log_slope = log_slope + np.log(d1 * t**2 + 2 * s * t * (1 - t) + d0 * (1 - t) ** 2)
    return z + beyond, log_slope
"""

# name -> (the spline, the checks of test_splines.py that see it)
MUTANTS = {
    "log-det in the wrong bin, forward": (
        changed(
            "    return b + h * (s * t**2 + d0 * t * (1 - t)) / den + beyond, log_slope\n",
            "    z = b + h * (s * t**2 + d0 * t * (1 - t)) / den" + NEXT_BIN,
        ),
        {"cancel", "log-det", "tails"},
    ),
    "log-det with exchanged slopes, both ways": (
        changed("d1 * t**2 + 2 * s * t * (1 - t) + d0 * (1 - t)", "d0 * t**2 + 2 * s * t * (1 - t) + d1 * (1 - t)"),
        {"log-det", "tails"},
    ),
    "bin looked up on the wrong axis": (
        changed("bottoms if inverse else lefts", "lefts"),
        {"round trip", "cancel", "log-det"},
    ),
    "bin looked up one too far": (
        changed("lefts)[..., 1:]", "lefts)[..., :-1]"),
        {"round trip", "cancel", "log-det", "tails", "extreme"},
    ),
    "start is not the identity": (changed("+ SLOPE_OFFSET", ""), {"start", "tails"}),
    "tails not cut off": (changed("np.clip(x, -bound, bound)", "x"), {"tails"}),
    "root that divides by 0": (
        changed("t = 2 * C / (B + np.sqrt(B**2 + 4 * A * C))", "t = (np.sqrt(B**2 + 4 * A * C) - B) / (2 * A)"),
        {"start"},
    ),
    "sign of the inverse's log-det": (changed("beyond, -log_slope", "beyond, log_slope"), {"cancel", "log-det"}),
    "bins may vanish": (changed("MIN_BIN + (1 - bins * MIN_BIN) * ", ""), {"extreme"}),
}
