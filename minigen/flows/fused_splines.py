"""The rational-quadratic spline coupling as one autograd node, with its backward pass derived by hand.

`minigen.flows.splines` holds the definition and its formulas; a node here has the same values and gradients. Inside,
the numbers that move stand in one long row, one column each (M = moved features × points), and what belongs to their
bins or knots in K or K + 1 rows: sums over bins are then sums of whole rows, and knots one triangular matrix product.

The backward pass, for one number x in the bin with the left lower corner (a, b), width w, height h and slopes d₀, d₁ at
its ends. Forward: `s = h/w`, `t = (x − a)/w`, `q = t(1 − t)`, `den = s + (d₀ + d₁ − 2s)·q`, `num = s t² + d₀ q`,
`p = d₁ t² + 2s q + d₀(1 − t)²`, and then `z = b + h·num/den` and `L = 2 log s + log p − 2 log den`. Given ḡ_z and ḡ_L:

- from z and L: `ḡ_num = ḡ_z h/den`, `ḡ_den = −ḡ_num·num/den − 2ḡ_L/den`, `ḡ_p = ḡ_L/p`
- `ḡ_s = ḡ_num t² + ḡ_den (1 − 2q) + 2ḡ_p q + 2ḡ_L/s`
- `ḡ_d₀ = (ḡ_num + ḡ_den) q + ḡ_p (1 − t)²` and `ḡ_d₁ = ḡ_den q + ḡ_p t²`
- `ḡ_t = 2s t ḡ_num + 2ḡ_p (d₁ t − d₀(1 − t)) + (1 − 2t)·(d₀ ḡ_num + (d₀ + d₁ − 2s) ḡ_den + 2s ḡ_p)`
- t and s: `ḡ_x = ḡ_t/w`, `ḡ_a = −ḡ_x`, `ḡ_b = ḡ_z`, `ḡ_w = −(t ḡ_t + s ḡ_s)/w`, `ḡ_h = ḡ_z·num/den + ḡ_s/w`
- a is −bound plus the widths of all bins before this one, so each of those gets ḡ_a, and the bin itself ḡ_w; b and the
  heights likewise. A size is `c₀ + c₁·share`, and through the softmax `ḡ_raw = share·(ḡ − Σ share·ḡ)`, ḡ = c₁·ḡ_size
- a slope is softplus of its raw number, so `ḡ_raw = σ·ḡ_d`; those of the outer knots do not vary
- outside the interval z = x and L = 0: ḡ_x = ḡ_z, and nothing goes to the parameters

The inverse y = f⁻¹(x) returns −L(y). From x = f(y) follows `dy = (dx − ∂f)/f'`, ∂f being what the change of the
parameters does to f, so `ḡ_x = (ḡ_y − ḡ_log·dL/dy)/f'`, and the parameters get what they would get from the forward
direction with `ḡ_z = −ḡ_x` and `ḡ_L = −ḡ_log`.
"""

import functools
from dataclasses import replace
from typing import NamedTuple

import numpy

from minigen.fused import fuse, stack_backward, stack_forward

__all__ = ["MIN_BIN", "MIN_SLOPE", "SLOPE_OFFSET", "spline_coupling", "spline_coupling_plain"]

MIN_BIN = 1e-3  # the least width and height of a bin, as a share of the whole interval
MIN_SLOPE = 1e-3  # the least slope at a knot
SLOPE_OFFSET = float(numpy.log(numpy.expm1(1 - MIN_SLOPE)))  # softplus⁻¹(1 − MIN_SLOPE): raw 0 gives slope 1


class _Spline(NamedTuple):
    """What the backward pass finds again; rows of M numbers, two of them where it says (2, M)."""

    within: numpy.ndarray  # whether the point lies inside the interval
    shares: numpy.ndarray  # (2, K, M): softmax of the raw widths and heights
    passed: numpy.ndarray  # (K − 1, M): 1 for each bin that lies before the point's own, else 0
    flat: numpy.ndarray  # where its own bin's entry stands in K rows of M numbers
    sizes: numpy.ndarray  # (2, M): the bin's width and height
    slopes: numpy.ndarray  # (2, M): at the bin's left and right knot
    sigmoids: numpy.ndarray  # (2, M): the slopes of softplus there
    t: numpy.ndarray  # where in the bin, from 0 to 1


@functools.lru_cache
def _cuts(bins, bound, dtype):
    """Return c₁, c₂ of a bin's size `c₂ + c₁·share`, and (A, b) that make where all bins start, `A·shares + b`."""
    each, least = 2 * bound * (1 - bins * MIN_BIN), 2 * bound * MIN_BIN
    starts = least * numpy.arange(bins)[:, None] - bound
    return each, least, each * numpy.tri(bins, k=-1, dtype=dtype), starts.astype(dtype)


def _place(points, raw, bins, bound, inverse):
    """Return the `_Spline` of each point, t still missing, where its bin starts on both axes, and the cut points."""
    shares = raw[: 2 * bins].reshape(2, bins, -1)
    shares = shares - numpy.maximum.reduce(shares, axis=1, keepdims=True)
    numpy.exp(shares, out=shares)
    shares /= numpy.add.reduce(shares, axis=1, keepdims=True)
    each, least, sums, first = _cuts(bins, bound, raw.dtype)
    starts = numpy.matmul(sums, shares)  # of the sizes before it
    starts += first

    inside = numpy.minimum(numpy.maximum(points, -bound), bound)
    passed = (inside >= starts[int(inverse), 1:]).astype(raw.dtype)
    flat = numpy.add.reduce(passed, axis=0).astype(numpy.intp)
    flat *= len(points)
    flat += numpy.arange(len(points))
    padded = numpy.zeros((bins + 1, len(points)), raw.dtype)
    padded[1:-1] = raw[2 * bins :]  # the outer knots' raw slopes are 0
    v = numpy.empty((2, len(points)), raw.dtype)
    v[0], v[1] = padded.take(flat), padded.take(flat + len(points))
    v += SLOPE_OFFSET
    positive = numpy.maximum(v, 0)
    e = numpy.exp(v - 2 * positive)  # exp(−|v|)
    e += 1
    sigmoids = numpy.exp(v - positive)
    sigmoids /= e
    slopes = numpy.log(e, out=e)
    slopes += positive
    slopes += MIN_SLOPE
    sizes = shares.reshape(2, -1).take(flat, axis=1)
    sizes *= each
    sizes += least
    spline = _Spline(abs(points) < bound, shares, passed, flat, sizes, slopes, sigmoids, None)
    return spline, starts.reshape(2, -1).take(flat, axis=1), inside


def _apply(points, raw, bins, bound, inverse):
    """Return the moved points, the log-slopes, and what the backward pass needs."""
    spline, (left, bottom), inside = _place(points, raw, bins, bound, inverse)
    (width, height), (d0, d1) = spline.sizes, spline.slopes
    s = height / width
    bend = d0 + d1
    bend -= 2 * s
    if inverse:
        y = inside - bottom
        y /= height
        tilt = d0 * (1 - y) - d1 * y
        y *= 2 * s
        rest = 2 * s - y
        root = numpy.sqrt(tilt * tilt + y * rest)
        falls, t, after = tilt < 0, y, root + tilt
        numpy.copyto(t, root - tilt, where=falls)
        numpy.copyto(after, rest, where=falls)
        t /= t + after
    else:
        t = inside - left
        t /= width
    u = 1 - t
    tu = t * u
    den = bend * tu
    den += s
    tt = t * t
    ratio = (s * tt + d0 * tu) / den
    p = d1 * tt
    p += 2 * s * tu
    p += d0 * u * u
    steep = s / den
    slope = p * steep
    slope *= steep
    log_slope = numpy.log(slope)
    y = left + t * width if inverse else bottom + height * ratio
    y += points - inside
    return y, -log_slope if inverse else log_slope, (spline._replace(t=t), s, u, tu, tt, bend, den, ratio, p, slope)


def _pull_back(g_y, g_log, saved, bins, bound, inverse):
    """Return the gradients with respect to the points and to `raw`, for those of y and of the log-slopes."""
    spline, s, u, tu, tt, bend, den, ratio, p, slope = saved
    (width, height), (d0, d1), t, within = spline.sizes, spline.slopes, spline.t, spline.within
    tilt = d1 * t - d0 * u
    if inverse:
        curve = 2 * ((tilt + s * (u - t)) / p - bend * (u - t) / den) / width
        g_points = (g_y - g_log * curve) / slope
        numpy.copyto(g_points, g_y, where=~within)
        g_y, g_log = -g_points, -g_log
    g_num = g_y * height / den
    g_p = g_log / p
    g_den = g_log / den
    g_den *= -2
    g_den -= g_num * ratio
    g_t = g_num * d0 + g_den * bend + 2 * g_p * s
    g_t *= u - t
    g_t += 2 * (s * t * g_num + g_p * tilt)
    g_s = g_num * tt + g_den + 2 * (g_log / s + tu * (g_p - g_den))
    g_t /= width
    g_s /= width
    if not inverse:
        g_points = g_t.copy()
        numpy.copyto(g_points, g_y, where=~within)
    each = _cuts(bins, bound, t.dtype)[0]
    g_starts = numpy.empty((2, 1, len(t)), t.dtype)  # these two as they reach the shares: times c₁
    numpy.multiply(g_t, -each, out=g_starts[0, 0])
    numpy.multiply(g_y, each, out=g_starts[1, 0])
    g_sizes = numpy.empty((2, len(t)), t.dtype)
    g_sizes[0] = g_t * -t - g_s * s
    g_sizes[1] = g_y * ratio + g_s
    g_sizes *= each

    g_raw = numpy.empty((3 * bins - 1, len(t)), t.dtype)
    # A bin that lies before the point's own moves that one's start, and the point's own bin has its size.
    g = numpy.zeros((2, bins, len(t)), t.dtype)
    numpy.multiply(spline.passed, g_starts, out=g[:, :-1])
    g.reshape(2, -1)[:, spline.flat] = g_sizes
    out = g_raw[: 2 * bins].reshape(2, bins, -1)
    numpy.multiply(spline.shares, g, out=out)
    g -= numpy.add.reduce(out, axis=1, keepdims=True)
    numpy.multiply(spline.shares, g, out=out)
    padded = numpy.zeros((bins + 1, len(t)), t.dtype)
    g_both = g_den * tu
    padded.put(spline.flat, (g_both + g_num * tu + g_p * u * u) * spline.sigmoids[0])
    padded.put(spline.flat + len(t), (g_both + g_p * tt) * spline.sigmoids[1])
    g_raw[2 * bins :] = padded[1:-1]
    return g_points, g_raw


def spline_coupling_plain(x, context, *arrays, layer, inverse):
    """Apply a `RationalQuadraticCoupling`, or its inverse; returns (z, log_det).

    x (N, D), context None, (N, C) or (1, C), `arrays` the conditioner's W₁, b₁, W₂, b₂, …; the layer's own plain
    definition is used. `spline_coupling` is the same as one autograd node.

    >>> from minigen.flows.splines import RationalQuadraticCoupling
    >>> layer, x = RationalQuadraticCoupling([1, 0], hidden=(), bins=2), numpy.array([[1.0, 3.0]])
    >>> z, _ = spline_coupling(x, None, numpy.zeros((5, 1)), numpy.zeros(5), layer=layer, inverse=False)
    >>> z
    array([[1., 3.]])
    """
    params = [{"weight": weight, "bias": bias} for weight, bias in zip(arrays[::2], arrays[1::2], strict=True)]
    plain = replace(layer, fused=False)
    return (plain.inverse if inverse else plain.forward)(params, x, context)


def _forward(x, context, *arrays, layer, inverse):
    x, (kept, moved) = x.T, layer.rows
    raw, net = stack_forward(x[kept], context, *arrays, activation=layer.conditioner.activation)
    raw = raw.reshape(3 * layer.bins - 1, -1)
    y, log_slope, spline = _apply(x[moved].reshape(-1), raw, layer.bins, layer.bound, inverse)
    z = numpy.empty(x.shape, y.dtype)
    z[kept] = x[kept]
    z[moved] = y.reshape(len(layer.moved), -1)
    return (z.T, numpy.add.reduce(log_slope.reshape(len(layer.moved), -1))), (net, spline)


def _backward(g, saved, needed, x, context, *arrays, layer, inverse):
    net, spline = saved
    kept, moved = layer.rows
    g_z, g_log_det = (numpy.asarray(part, dtype=spline[0].t.dtype) for part in g)
    g_z = g_z.T
    g_moved = g_z[moved]
    g_log = numpy.empty_like(g_moved)
    g_log[:] = g_log_det
    g_points, g_raw = _pull_back(g_moved.reshape(-1), g_log.reshape(-1), spline, layer.bins, layer.bound, inverse)
    g_raw = g_raw.reshape(layer.per_feature * len(layer.moved), len(x))
    options = {"activation": layer.conditioner.activation}
    gradients = stack_backward(g_raw, net, needed, x.T[kept], context, *arrays, **options)
    if 0 in needed:
        g_x = numpy.empty(g_z.shape, g_z.dtype)
        g_x[kept] = g_z[kept] + gradients[0]
        g_x[moved] = g_points.reshape(len(layer.moved), -1)
        gradients[0] = g_x.T
    return gradients


spline_coupling = fuse(spline_coupling_plain, _forward, _backward)
