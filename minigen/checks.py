"""Six checks that tell a correct model from a wrong one: the tests, chapters and exercises all use these.

Each returns a number or an array and asserts nothing; a chapter prints ``error <= 1e-12``. NaN is passed on, so a
model that returns NaN passes no such comparison. A *map* is any object with the two methods

- ``forward(params, x, context=None) -> (z, log_det)`` and
- ``inverse(params, z, context=None) -> (x, log_det)``,

on batches whose first axis counts the points; points may be vectors or images. A context has one row for every point,
or one row for all. Try the checks on jittered parameters (many layers start as the identity, which hides nearly every
mistake) and at D = 1, 2, 3 and 5 (at D = 2 halves, evens and odds are all the same).

``jacobian="finite"`` works for maps that autograd cannot trace, to about 1e-8 instead of 1e-12.
"""

import autograd.numpy as np
import numpy

from minigen.errors import NoInverseError, as_float, check_batch, require
from minigen.foundations.jacobians import jacobian_finite, jacobian_reverse

__all__ = [
    "batch_dependence",
    "dependency_matrix",
    "log_det_cancel_error",
    "log_det_error",
    "round_trip_error",
    "total_mass",
]

_JACOBIANS = {"autograd": jacobian_reverse, "finite": jacobian_finite}
_BLOCK = 2**14  # points at a time in `total_mass`


def _check_batch(who, x):
    x = check_batch(who, x)
    require(x.size > 0, f"{who}: expected at least one point, got shape {x.shape}")
    return x


def _apply(direction, params, x, context):
    """Call one direction of a map and look at the shapes, since broadcasting would hide a wrong one."""
    y, log_det = direction(params, x, context)
    who, found = getattr(direction, "__qualname__", "the map"), np.shape(log_det)
    require(found == (len(x),), f"{who}: expected a log_det of shape ({len(x)},), got shape {found}")
    require(len(y) == len(x), f"{who}: expected {len(x)} points back, got {len(y)}")
    return y, log_det


def _rows(context, index):
    """Return the context of the points `index`."""
    return context if context is None or len(context) == 1 else context[index]


def _directions(map, params, x, context):
    """Return the pairs (direction, points to try it at): forward, and inverse where the map has one."""
    z, _ = _apply(map.forward, params, x, context)
    try:
        _apply(map.inverse, params, z, context)
    except NoInverseError:
        return [(map.forward, x)]
    return [(map.forward, x), (map.inverse, z)]


def _max_abs(difference):
    return float(numpy.max(abs(difference)))  # numpy.max passes NaN on, Python's max may not


def _difference(a, b):
    with numpy.errstate(invalid="ignore"):  # inf - inf: the NaN says it
        return a - b


def _row_jacobian(f, row, jacobian):
    """Return the Jacobian, as a matrix, of the batch function `f` at a batch of one point."""
    require(jacobian in _JACOBIANS, f"jacobian should be one of {sorted(_JACOBIANS)}, got {jacobian!r}")
    return _JACOBIANS[jacobian](lambda v: np.ravel(f(np.reshape(v, (1, *row.shape)))), numpy.ravel(row))


def round_trip_error(map, params, x, context=None):
    """How far a map there and back misses: `max |inverse(forward(x)) − x|`.

    x (N, ...), at least one point; returns a float, 0 up to rounding for a correct map. Cost: one call of each
    direction. Finds a wrong inverse; sees no log-determinant. Raises ValueError for wrong shapes.

    >>> from minigen.foundations.change_of_variables import Sigmoid
    >>> round_trip_error(Sigmoid(), {}, numpy.array([[0.5, -1.0], [2.0, 0.0]])) <= 1e-12
    True
    """
    x = _check_batch("round_trip_error", x)
    z, _ = _apply(map.forward, params, x, context)
    back, _ = _apply(map.inverse, params, z, context)
    require(np.shape(back) == x.shape, f"round_trip_error: x has shape {x.shape} but comes back as {np.shape(back)}")
    return _max_abs(_difference(back, x))


def log_det_cancel_error(map, params, x, context=None):
    """Whether the two log-determinants cancel: `max |log|det dz/dx| + log|det dx/dz||` at `z = f(x)`.

    x (N, ...), at least one point; returns a float in nats, 0 up to rounding for a correct map. Cost: one call of
    each direction. Finds a wrong sign in one direction; blind to a mistake made in both. Raises ValueError for wrong
    shapes.

    >>> from minigen.foundations.change_of_variables import Sigmoid
    >>> log_det_cancel_error(Sigmoid(), {}, numpy.array([[0.5, -1.0], [2.0, 0.0]])) <= 1e-12
    True
    """
    z, log_det = _apply(map.forward, params, _check_batch("log_det_cancel_error", x), context)
    _, log_det_back = _apply(map.inverse, params, z, context)
    return _max_abs(_difference(log_det, -log_det_back))


def log_det_error(map, params, x, context=None, jacobian="autograd"):
    """Whether the log-determinants are right: `max |log_det − log|det J||`, both directions.

    J is the Jacobian of the map at each point alone (a batch of one), by autograd or by finite differences; the
    inverse is left out where the map raises NoInverseError. Points of any shape are flattened.

    x (N, ...), at least one point; returns a float in nats. Cost: for N points of D numbers, N D passes through each
    direction and N determinants, O(N D³). Raises ValueError for wrong shapes, and where D numbers do not map to D.

    >>> from minigen.foundations.change_of_variables import Sigmoid
    >>> log_det_error(Sigmoid(), {}, numpy.array([[0.5, -1.0], [2.0, 0.0]])) <= 1e-12
    True
    """
    x = _check_batch("log_det_error", x)
    errors = []
    for direction, points in _directions(map, params, x, context):
        _, log_det = _apply(direction, params, points, context)
        for i, row in enumerate(points):
            row_context = _rows(context, [i])
            J = _row_jacobian(lambda v, c=row_context, call=direction: call(params, v, c)[0], row, jacobian)
            sizes = f"{J.shape[1]} numbers to {J.shape[0]}"
            require(J.shape[0] == J.shape[1], f"log_det_error: a map of {sizes} has no determinant")
            with numpy.errstate(invalid="ignore"):  # NaN in J: the result says it
                errors.append(log_det[i] - numpy.linalg.slogdet(J)[1])
    return _max_abs(numpy.array(errors))


def batch_dependence(map, params, x, context=None):
    """How much a point's output (value or log-determinant, either direction) changes when the other points change.

    Point i keeps its place in the batch and all others become copies of it; a correct map then returns the same for
    point i. The inverse is left out where the map raises NoInverseError.

    x (N, ...), at least two points that differ; returns a float, 0 up to rounding for a correct map. Cost: N + 1
    calls of each direction. Finds batch normalization, rows mixed up by a wrong reshape. Raises ValueError for wrong
    shapes.

    >>> from minigen.foundations.change_of_variables import Sigmoid
    >>> batch_dependence(Sigmoid(), {}, numpy.array([[0.5, -1.0], [2.0, 0.0]])) <= 1e-12
    True
    """
    x = _check_batch("batch_dependence", x)
    require(len(x) > 1, "batch_dependence: expected at least two points, got one")
    changes = []
    for direction, points in _directions(map, params, x, context):
        outputs = _apply(direction, params, points, context)
        for i in range(len(points)):
            copies = numpy.full(len(points), i)
            changed = _apply(direction, params, points[copies], _rows(context, copies))
            changes += [_max_abs(_difference(a[i], b[i])) for a, b in zip(outputs, changed, strict=True)]
    return _max_abs(numpy.array(changes))


def total_mass(log_prob, bounds, n=200):
    """Mass of a density on the plane: `∫∫ exp(log p(x, y)) dx dy` over `bounds`, 1 if it is normalised.

    Midpoint rule on n × n cells: the mean of the density at the cells' centres, times the area. Where the density
    is smooth and dies out before the bounds, its error falls faster than any power of the cell's width (a Gaussian
    with σ = one cell: 1e-8); jumps cost O(1 / n) unless they lie on cells' edges.

    log_prob takes (N, 2) and returns (N,), in nats; bounds is ((x_low, x_high), (y_low, y_high)); returns a float.
    Cost: n² evaluations, in blocks of at most 16,384 points. Raises ValueError for bounds or a log_prob of another
    shape.

    >>> standard_normal = lambda x: -0.5 * numpy.sum(x**2, axis=1) - numpy.log(2 * numpy.pi)
    >>> round(total_mass(standard_normal, ((-8, 8), (-8, 8))), 12)
    1.0
    """
    bounds = as_float(bounds)
    require(bounds.shape == (2, 2), f"total_mass: expected bounds ((x_low, x_high), (y_low, y_high)), got {bounds}")
    low, width = bounds[:, 0], bounds[:, 1] - bounds[:, 0]
    require((width > 0).all(), f"total_mass: expected bounds with low < high, got {bounds.tolist()}")
    require(n >= 1, f"total_mass: expected n >= 1 cells a side, got {n}")
    total = 0.0
    for start in range(0, n * n, _BLOCK):
        cells = numpy.arange(start, min(start + _BLOCK, n * n))
        centres = numpy.stack(numpy.divmod(cells, n), axis=1) + 0.5
        values = log_prob(low + width * centres / n)
        found = np.shape(values)
        require(found == cells.shape, f"total_mass: expected log_prob of shape ({cells.size},), got shape {found}")
        total += float(numpy.sum(numpy.exp(values)))
    return total * float(width[0] * width[1]) / n**2


def dependency_matrix(f, x, jacobian="autograd"):
    """Which output of `f` depends on which input: a (D_out, D_in) matrix of bool, from the Jacobian at each point.

    Entry (i, j) is True if the derivative of output i by input j is not 0 at some point of `x`; under
    ``jacobian="finite"``, if it exceeds the rounding error (1e-9 of the largest entry). NaN counts as a dependence.
    Autoregressive models have strictly (networks) or weakly (maps) lower triangular ones, in their own order.

    `f` takes a batch (N, ...) and returns one, x (N, ...) has at least one point; points of any shape are flattened.
    Cost: N Jacobians. Raises ValueError for wrong shapes.

    >>> dependency_matrix(lambda x: np.stack([x[:, 0], x[:, 0] * x[:, 1]], axis=1), numpy.ones((3, 2)))
    array([[ True, False],
           [ True,  True]])
    """
    x = _check_batch("dependency_matrix", x)
    size = abs(numpy.array([_row_jacobian(f, row, jacobian) for row in x]))
    noise = 1e-9 * numpy.max(size) if jacobian == "finite" else 0.0
    return ~(size <= noise).all(axis=0)  # so written that NaN gives True
