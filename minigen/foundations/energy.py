"""The energy distance: how far apart two distributions are, from samples of both and no density at all."""

import autograd.numpy as np
import numpy

from minigen.errors import check_points, require

__all__ = ["energy_distance"]

PAIRS = 2**20  # held at once, so that memory is bounded by the block and not by the square of the sample


def _sum_of_distances(x, y):
    """Return the sum of |xᵢ − yⱼ| over all pairs, traced; where two points are one, the distance's gradient is 0."""
    rows = max(1, PAIRS // len(y))
    total = 0.0
    for start in range(0, len(x), rows):
        difference = np.expand_dims(x[start : start + rows], 1) - np.expand_dims(y, 0)
        squared = np.sum(difference * difference, axis=-1)
        same = squared == 0  # √0 has no slope: take √1 there, and 1 away
        total = total + np.sum(np.sqrt(squared + same)) - int(numpy.sum(same))
    return total


def energy_distance(x, y):
    """Unbiased estimate of the energy distance between two distributions, from samples x (N, D) and y (M, D).

    `2 E|X − Y| − E|X − X′| − E|Y − Y′|`, with independent X, X′ of the one and Y, Y′ of the other

    It is 0 if the two are equal and above 0 else, for distributions with a mean. The estimate averages over pairs of
    different points, so it may fall below 0 where the two are near. Traced in both arguments: a loss for samplers
    that have no density. In the units of x; a distance squared, if distances are what obeys the triangle inequality.
    Cost: O((N + M)² D) time, in blocks of a million pairs (all are kept while a gradient is traced).
    Raises ValueError for points of different dimension, or with fewer than two points in either sample.
    Reference: Székely and Rizzo (2013), doi:10.1016/j.jspi.2013.03.018.

    >>> print(energy_distance(numpy.array([[0.0], [2.0]]), numpy.array([[1.0], [3.0]])))  # 2·(1 + 3 + 1 + 1)/4 − 2 − 2
    -1.0
    >>> rng = numpy.random.default_rng(0)
    >>> near, far = rng.standard_normal((2, 500, 2)) + numpy.array([[[0.0]], [[3.0]]])
    >>> bool(energy_distance(near, far) > 10 * abs(energy_distance(near, rng.standard_normal((500, 2)))))
    True
    """
    x = check_points("energy_distance: x", x)
    y = check_points("energy_distance: y", y, x.shape[1])
    n, m = len(x), len(y)
    require(min(n, m) >= 2, f"energy_distance: expected two points or more in each sample, got {n} and {m}")
    between, within_x, within_y = (_sum_of_distances(a, b) for a, b in ((x, y), (x, x), (y, y)))
    return 2 * between / (n * m) - within_x / (n * (n - 1)) - within_y / (m * (m - 1))
