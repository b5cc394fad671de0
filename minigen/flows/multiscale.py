"""Flows of images: from whole numbers to real ones, from space to channels, and a latent that is split off by scales.

Images are (N, H, W, C), channels last.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import autograd.numpy as np
import numpy

from minigen.errors import OutsideDomainError, as_float, check_batch, check_integer, require
from minigen.foundations.change_of_variables import Bijection, Chain, Inverse, Sigmoid, same_log_det

__all__ = ["Logit", "MultiScale", "Split", "Squeeze", "bits_per_dimension", "dequantize", "output_shape", "quantize"]


# ------------------------------------------------------------------------------------------------ numbers


def dequantize(rng, x, levels=256):
    """Turn whole numbers into real ones: `y = (x + u)/levels`, with u uniform on [0, 1); return y and the log-det.

    x holds 0, 1, …, levels − 1, as integers or floats, in any shape (N, ...); y has its shape and lies in (0, 1). It is
    float64 for integers, and otherwise of the dtype of x. u keeps away from 0 and 1 by a few rounding errors of
    that dtype, so that `quantize` always finds x again.

    The log-determinant, shape (N,), is that of the scaling, `−D·log(levels)` for D numbers a point, and makes of a
    density of y a bound on the probability of x: `E_u[log p(y)] + log_det <= log P(x)`, by Jensen's inequality.
    Cost O(size of x). Raises OutsideDomainError for other numbers; ValueError unless levels is an integer >= 2.

    Reference: Theis, van den Oord and Bethge (2016), arXiv:1511.01844, section 3.1.

    >>> y, log_det = dequantize(numpy.random.default_rng(0), numpy.array([[0, 255]]))
    >>> y.round(4), log_det.round(4)
    (array([[0.0025, 0.9971]]), array([-11.0904]))
    """
    check_integer("dequantize", "levels", levels, 2)
    x = check_batch("dequantize", x)
    bad = ~((x >= 0) & (x <= levels - 1) & (x == numpy.floor(x)))
    if bad.any():
        raise OutsideDomainError(f"dequantize: expected whole numbers 0, ..., {levels - 1}, got {x[bad][0]}")
    margin = 4 * levels * numpy.finfo(x.dtype).eps
    u = margin / 2 + (1 - margin) * rng.random(x.shape)
    y = ((numpy.asarray(x, dtype=float) + u) / levels).astype(x.dtype)
    return y, _scaling(x, -math.log(levels))


def quantize(y, levels=256):
    """Undo `dequantize`: `x = floor(levels·y)`, cut to 0, …, levels − 1; return x and the log-det `D·log(levels)`.

    y (N, ...) are real numbers, such as a flow's samples; x are integers of that shape. Cost O(size of y).
    Raises OutsideDomainError for NaN; ValueError unless levels is an integer >= 2.

    >>> x, log_det = quantize(numpy.array([[0.0025, 0.9972, 1.5]]))
    >>> x, log_det.round(4)
    (array([[  0, 255, 255]]), array([16.6355]))
    """
    check_integer("quantize", "levels", levels, 2)
    y = check_batch("quantize", y)
    if numpy.isnan(y).any():
        raise OutsideDomainError("quantize: expected numbers, got NaN")
    x = numpy.clip(numpy.floor(numpy.asarray(y, dtype=float) * levels), 0, levels - 1)
    return x.astype(int), _scaling(y, math.log(levels))


def _scaling(x, log_factor):
    return numpy.full(x.shape[0], math.prod(x.shape[1:]) * log_factor, dtype=x.dtype)


@dataclass(frozen=True)
class Logit(Bijection):
    """From [0, 1] to all numbers, staying away from the ends, where the logit is infinite.

    - Forward: `z = log s − log(1 − s)` with `s = α + (1 − 2α)·x`.
    - Log-determinant: Σᵢ (log(1 − 2α) − log sᵢ − log(1 − sᵢ)).
    - Inverse: `x = (σ(z) − α)/(1 − 2α)`.
    - Inverse's log-determinant: the negative of the above.

    x (N, ...), no parameters; cost O(1) a number. The inverse may leave [0, 1] by α/(1 − 2α); `quantize` cuts that off.
    Raises OutsideDomainError where s is not strictly between 0 and 1; ValueError unless 0 <= alpha < 1/2.

    Reference: Dinh, Sohl-Dickstein and Bengio (2017), arXiv:1605.08803, section 4.1 (α = 0.05).

    >>> z, log_det = Logit().forward({}, numpy.array([[0.0, 0.5, 1.0]]))
    >>> z.round(4), log_det.round(4)
    (array([[-2.9444,  0.    ,  2.9444]]), array([7.1643]))
    """

    alpha: float = 0.05

    def __post_init__(self):
        require(0 <= self.alpha < 0.5, f"Logit: expected 0 <= alpha < 0.5, got {self.alpha!r}")

    def forward(self, params, x, context=None):
        """Shrink, then take the logit."""
        x = check_batch("Logit", x)
        s = self.alpha + (1 - 2 * self.alpha) * x
        outside = (s <= 0) | (s >= 1)
        if outside.any():
            raise OutsideDomainError(f"Logit: expected 0 <= x <= 1, got {numpy.asarray(x)[outside][0]}")
        z, log_det = Sigmoid().inverse({}, s)
        return z, log_det + self._log_det_of_shrinking(x)

    def inverse(self, params, z, context=None):
        """Take the logistic function, then stretch."""
        s, log_det = Sigmoid().forward({}, check_batch("Logit.inverse", z))
        return (s - self.alpha) / (1 - 2 * self.alpha), log_det - self._log_det_of_shrinking(s)

    def _log_det_of_shrinking(self, x):
        return math.prod(x.shape[1:]) * math.log1p(-2 * self.alpha)


def bits_per_dimension(log_prob, dimensions, levels):
    """Return the length of an ideal code in bits a number: `−log p(y)/(D·log 2) + log₂(levels)`.

    `log_prob` (N,), in nats, is the log-density of y in [0, 1]^D, as `dequantize` makes it, and log₂(levels) is the
    dequantization's constant: the density is wanted of numbers that are 1 apart, and they are 1/levels apart. Where
    `dequantize`'s log-determinant has been added already, or x was not scaled, levels = 1. Zero is a perfect guess of
    every number, log₂(levels) the uniform density. Raises ValueError unless dimensions and levels are integers >= 1.

    >>> bits_per_dimension(numpy.zeros(1), dimensions=64, levels=256)  # the uniform density
    array([8.])
    """
    check_integer("bits_per_dimension", "dimensions", dimensions, 1)
    check_integer("bits_per_dimension", "levels", levels, 1)
    return -as_float(log_prob) / (dimensions * math.log(2)) + math.log2(levels)


# ------------------------------------------------------------------------------------------------ shapes


def _check_images(who, x):
    x = check_batch(who, x)
    require(x.ndim == 4, f"{who}: expected images of shape (N, H, W, C), got shape {x.shape}")
    return x


@dataclass(frozen=True)
class Squeeze(Bijection):
    """From space to channels: each block of factor × factor pixels becomes one pixel.

    - Forward: (N, H, W, C) -> (N, H/f, W/f, f²·C), `z_{ij(abc)} = x_{(i·f + a)(j·f + b)c}`.
    - Log-determinant: 0, since the numbers only move.
    - Inverse: the numbers move back ("unsqueeze").
    - Inverse's log-determinant: 0.

    The channels of a block's pixels follow each other row by row, so the first half of the new channels is the upper
    half of each block. No parameters; cost O(1) a number. Raises ValueError unless H and W (f² and C in the inverse)
    divide evenly.

    Reference: Dinh, Sohl-Dickstein and Bengio (2017), arXiv:1605.08803, section 3.6.

    >>> z, log_det = Squeeze().forward({}, numpy.arange(4.0).reshape(1, 2, 2, 1))
    >>> z, log_det
    (array([[[[0., 1., 2., 3.]]]]), array([0.]))
    """

    factor: int = 2

    def __post_init__(self):
        check_integer("Squeeze", "factor", self.factor, 1)

    def forward(self, params, x, context=None):
        """Move blocks into channels."""
        x, f = _check_images("Squeeze", x), self.factor
        n, (h, w, c) = x.shape[0], self.output_shape(x.shape[1:])
        blocks = np.reshape(x, (n, h, f, w, f, x.shape[3]))
        return np.reshape(np.transpose(blocks, (0, 1, 3, 2, 4, 5)), (n, h, w, c)), same_log_det(0.0, x)

    def inverse(self, params, z, context=None):
        """Move channels into blocks."""
        z, f = _check_images("Squeeze.inverse", z), self.factor
        n, h, w, c = z.shape
        require(c % f**2 == 0, f"Squeeze.inverse: expected channels divisible by {f**2}, got z.shape = {z.shape}")
        pixels = np.reshape(z, (n, h, w, f, f, c // f**2))
        moved = np.transpose(pixels, (0, 1, 3, 2, 4, 5))
        return np.reshape(moved, (n, h * f, w * f, c // f**2)), same_log_det(0.0, z)

    def output_shape(self, shape):
        """Return the shape of z for one x of the shape (H, W, C)."""
        f, found = self.factor, tuple(shape)
        fits = len(found) == 3 and found[0] % f == 0 and found[1] % f == 0
        require(fits, f"Squeeze: expected an image (H, W, C) with H and W divisible by {f}, got one of shape {found}")
        h, w, c = found
        return h // f, w // f, c * f**2


def output_shape(map, shape):
    """Return the shape of one point after `map`, for one of the given shape before it.

    Nearly all maps keep it; those that do not have a method ``output_shape(shape)``. Cost O(number of maps). Raises
    ValueError if `map` is no Bijection or does not take that shape.

    >>> output_shape(Chain([Squeeze(), Squeeze()]), (8, 8, 1))
    (2, 2, 16)
    """
    require(isinstance(map, Bijection), f"output_shape: expected a Bijection, got {map!r}")
    if isinstance(map, Chain):
        for part in map.maps:
            shape = output_shape(part, shape)
        return tuple(shape)
    if isinstance(map, Inverse) and isinstance(map.map, Squeeze):
        (h, w, c), f = shape, map.map.factor
        return h * f, w * f, c // f**2
    return tuple(map.output_shape(shape) if hasattr(map, "output_shape") else shape)


@dataclass(frozen=True)
class Split(Bijection):
    """Factor out half of the channels: they are latent as they are, and only the other half goes on through `rest`.

    - Forward: `z = [a, f(b)]`, where b is the first half of x's channels, a the second, f is `rest`; z is flat, (N, D).
    - Log-determinant: log|det df/db|.
    - Inverse: `x = [f⁻¹(·), a]`. It takes a out of z, where it was put: a is part of the latent, and is kept, not drawn
      again. (At sampling time all of z is drawn, a included.)
    - Inverse's log-determinant: that of f⁻¹.

    `shape` is that of one point, (H, W, C) or (D,), without the batch. What leaves is the half that a coupling with the
    mask `half_mask(C)` has just moved, with an odd C the larger one. `params` are those of `rest`. Cost: moving D
    numbers, and what `rest` costs for the half that it gets. Raises ValueError for a shape with fewer than 2 channels,
    or if the batch does not have that shape.

    Reference: Dinh, Sohl-Dickstein and Bengio (2017), arXiv:1605.08803, section 3.6.

    >>> from minigen.foundations.change_of_variables import Exp
    >>> Split(Exp(), (2,)).forward({}, numpy.array([[0.0, 3.0]]))
    (array([[3., 1.]]), array([0.]))
    """

    rest: Bijection
    shape: Sequence[int]

    def __post_init__(self):
        require(isinstance(self.rest, Bijection), f"Split: expected a Bijection as rest, got {self.rest!r}")
        object.__setattr__(self, "shape", _check_shape("Split", self.shape))
        require(self.shape[-1] >= 2, f"Split: expected at least 2 channels to split, got shape {self.shape}")

    def init(self, rng, x, context=None):
        """Start `rest` on the half that reaches it."""
        return self.rest.init(rng, self._halves("Split", x)[0], context)

    def init_inverse(self, rng, z, context=None):
        """Start `rest` from its other side, on its part of the latent."""
        return self.rest.init_inverse(rng, self._parts(z)[1], context)

    def forward(self, params, x, context=None):
        """Send half of the channels through `rest`, and flatten everything."""
        b, a = self._halves("Split", x)
        b, log_det = self.rest.forward(params, b, context)
        return np.concatenate([_flat(a), _flat(b)], axis=1), log_det

    def inverse(self, params, z, context=None):
        """Bring the half that went on back, and put the other one beside it."""
        a, b = self._parts(z)
        b, log_det = self.rest.inverse(params, b, context)
        return np.concatenate([b, a], axis=-1), log_det

    def output_shape(self, shape):
        """Return (D,): the latent is flat."""
        return (math.prod(shape),)

    def _halves(self, who, x):
        x, half = _check_points_of(who, x, self.shape), self.shape[-1] // 2
        return x[..., :half], x[..., half:]

    def _parts(self, z):
        z = _check_points_of("Split.inverse", z, (math.prod(self.shape),))
        *space, channels = self.shape
        a_shape, b_shape = (*space, channels - channels // 2), (*space, channels // 2)
        size = math.prod(a_shape)
        a = np.reshape(z[:, :size], (z.shape[0], *a_shape))
        return a, np.reshape(z[:, size:], (z.shape[0], *output_shape(self.rest, b_shape)))


def _flat(x):
    return np.reshape(x, (x.shape[0], math.prod(x.shape[1:])))


def _check_shape(who, shape):
    shape = tuple(shape)
    require(len(shape) > 0, f"{who}: expected the shape of one point, got ()")
    for axis, size in enumerate(shape):
        check_integer(who, f"shape[{axis}]", size, 1)
    return shape


def _check_points_of(who, x, shape):
    x = check_batch(who, x)
    wanted = ", ".join(map(str, ("N", *shape)))
    require(x.shape[1:] == shape, f"{who}: expected shape ({wanted}), got shape {x.shape}")
    return x


@dataclass(frozen=True)
class MultiScale(Bijection):
    """A flow of several scales: after each level but the last, half of the channels are factored out.

    - Forward: `z = [a₁, a₂, …, a_L]`, flat, where `[a₁, h₁] = f₁(x)`, `[a₂, h₂] = f₂(h₁)`, …, `a_L = f_L(h_(L−1))`.
    - Log-determinant: Σ_l log|det df_l|.
    - Inverse: from the last level to the first, each level's factored-out part taken from z, where it was put.
    - Inverse's log-determinant: the sum of the inverses'.

    `shape` is that of one image, (H, W, C); `levels` are Bijections, usually chains with a `Squeeze`. It is
    ``Chain([f₁, Split(Chain([f₂, Split(…)]))])``, and so `params` are nested: [of f₁, [of f₂, […]]]. Cost: level l
    works on D/2^(l−1) of the D numbers, so that all levels together cost less than two full ones.
    Raises ValueError for no levels, or where shapes do not fit.

    Reference: Dinh, Sohl-Dickstein and Bengio (2017), arXiv:1605.08803, section 3.6.

    >>> flow = MultiScale((4, 4, 1), [Squeeze(), Squeeze()])
    >>> x = numpy.arange(16.0).reshape(1, 4, 4, 1)
    >>> z, _ = flow.forward(flow.init(numpy.random.default_rng(0), x), x)
    >>> z[0, :8]  # the lower halves of all blocks leave at the first level
    array([ 4.,  5.,  6.,  7., 12., 13., 14., 15.])
    """

    shape: Sequence[int]
    levels: Sequence[Bijection]

    def __post_init__(self):
        object.__setattr__(self, "shape", _check_shape("MultiScale", self.shape))
        object.__setattr__(self, "levels", tuple(self.levels))
        require(len(self.levels) > 0, "MultiScale: expected at least one level, got none")
        object.__setattr__(self, "_map", self._nest(self.shape, self.levels))

    def _nest(self, shape, levels):
        first, *others = levels
        if not others:
            return Chain([first])
        shape = output_shape(first, shape)
        *space, channels = shape
        return Chain([first, Split(self._nest((*space, channels // 2), others), shape)])

    def init(self, rng, x, context=None):
        """Start every level on what reaches it."""
        return self._map.init(rng, _check_points_of("MultiScale", x, self.shape), context)

    def init_inverse(self, rng, z, context=None):
        """Start every level from its other side."""
        return self._map.init_inverse(rng, self._unflat(z), context)

    def forward(self, params, x, context=None):
        """Apply the levels, factoring out between them."""
        z, log_det = self._map.forward(params, _check_points_of("MultiScale", x, self.shape), context)
        return _flat(z), log_det

    def inverse(self, params, z, context=None):
        """Undo the levels, taking back what was factored out."""
        return self._map.inverse(params, self._unflat(z), context)

    def output_shape(self, shape):
        """Return (D,): the latent is flat."""
        return (math.prod(shape),)

    def _unflat(self, z):
        z = _check_points_of("MultiScale.inverse", z, (math.prod(self.shape),))
        return np.reshape(z, (z.shape[0], *output_shape(self._map, self.shape)))
