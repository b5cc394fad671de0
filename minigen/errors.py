"""Named errors, and the checks that stand at the doors (constructors, `log_prob`, `sample`, `fit`).

Every message says what was expected and what came. The checks look at shapes and dtypes only, never at
values, so that they cost nothing next to the work behind the door and also accept autograd's boxes.
"""

import math

import numpy

__all__ = [
    "IllConditionedWarning",
    "NoInverseError",
    "NonFiniteError",
    "OutsideDomainError",
    "SingularMatrixError",
    "as_float",
    "check_batch",
    "check_integer",
    "check_points",
    "check_positive",
    "check_real",
    "require",
]


class OutsideDomainError(ValueError):
    """A point lies where the map or the density is not defined."""


class NoInverseError(NotImplementedError):
    """The map has no inverse, or none that can be computed."""


class SingularMatrixError(numpy.linalg.LinAlgError):
    """The matrix is singular, so the inverse, log|det| or gradient that was asked for does not exist."""


class IllConditionedWarning(RuntimeWarning):
    """Rounding may have changed so much of the result that it should not be trusted."""


class NonFiniteError(FloatingPointError):
    """Training met a loss or a gradient that is NaN or infinite.

    Carries `step` (updates done so far), `path` (the first parameter whose gradient is not finite, such as
    ``params[0]['weight']``; None if only the loss is not), `history` (up to that step) and `params` (the last ones
    whose loss and gradient were finite; None if none were).
    """

    def __init__(self, message, step, path, history, params):
        super().__init__(message)
        self.step = step
        self.path = path
        self.history = history
        self.params = params


def require(condition, message):
    """Raise `ValueError(message)` unless `condition` holds.

    >>> require(1 + 1 == 2, "arithmetic works")
    >>> require(1 + 1 == 3, "expected 3, got 2")
    Traceback (most recent call last):
    ...
    ValueError: expected 3, got 2
    """
    if not condition:
        raise ValueError(message)


def as_float(x):
    """Return `x` as floats: float arrays and autograd's boxes unchanged, integers and lists as float64.

    Small integers must not pass: the negative of a uint8 wraps around, and its exponential is a float16. O(1) for
    float arrays. Raises TypeError for anything that is not real numbers.

    >>> as_float([1, 2])
    array([1., 2.])
    """
    dtype = getattr(x, "dtype", None)
    if dtype is not None and dtype.kind == "f":
        return x
    return numpy.asarray(x).astype(float, casting="same_kind", copy=False)


def check_integer(who, name, value, lowest):
    """Raise ValueError unless `value` is an integer of at least `lowest`.

    >>> check_integer("MLP", "outputs", 2.5, 1)
    Traceback (most recent call last):
    ...
    ValueError: MLP: expected outputs to be an integer >= 1, got 2.5
    """
    whole = isinstance(value, (int, numpy.integer)) and not isinstance(value, bool)
    require(whole and value >= lowest, f"{who}: expected {name} to be an integer >= {lowest}, got {value!r}")


def check_positive(who, name, value):
    """Raise ValueError unless `value` is a positive, finite number.

    >>> check_positive("MAF", "bound", 0.0)
    Traceback (most recent call last):
    ...
    ValueError: MAF: expected a positive, finite bound, got 0.0
    """
    require(0 < value < math.inf, f"{who}: expected a positive, finite {name}, got {value!r}")


def check_real(who, x, name=""):
    """Return `x` as an array of floats, or say that it is none; `name` says which argument it is.

    Like `as_float`, but booleans and other numbers that are no quantities are refused too. O(1) for float arrays.

    >>> check_real("det", [[True]], "A")
    Traceback (most recent call last):
    ...
    TypeError: det: expected real numbers in A, got dtype bool
    """
    x = x if hasattr(x, "dtype") else numpy.asarray(x)
    if numpy.dtype(x.dtype).kind not in "fiu":
        raise TypeError(f"{who}: expected real numbers{f' in {name}' if name else ''}, got dtype {x.dtype}")
    return as_float(x)


def check_points(who, x, features=None):
    """Return `x` as a batch of points of shape (N, D), or say what is wrong with it.

    Lists and integer arrays become float64; float arrays and autograd's boxes pass unchanged. `who` names the
    caller in the message; `features` is the D that is wanted. O(1) for arrays.

    Raises TypeError for anything that is not an array of real numbers, ValueError for a wrong shape.

    >>> check_points("Normal", [[1, 2]], 2)
    array([[1., 2.]])
    >>> check_points("Normal", [1.0, 2.0], 2)
    Traceback (most recent call last):
    ...
    ValueError: Normal: expected points of shape (N, 2), got shape (2,); one point is x[None, :], N numbers x[:, None]
    """
    x = check_real(who, x)
    wanted = f"(N, {'D' if features is None else features})"
    if x.ndim != 2:
        hint = "; one point is x[None, :], N numbers x[:, None]" if x.ndim == 1 else ""
        raise ValueError(f"{who}: expected points of shape {wanted}, got shape {x.shape}{hint}")
    if features is not None and x.shape[1] != features:
        raise ValueError(f"{who}: expected points of shape {wanted}, got shape {x.shape}")
    return x


def check_batch(who, x):
    """Return `x` as a batch, first axis points, last axis features, or say what is wrong with it.

    Like `check_points`, but images (N, H, W, C) and sequences (N, T, C) pass too.

    >>> check_batch("Affine", [[1, 2]])
    array([[1., 2.]])
    """
    x = check_real(who, x)
    return check_points(who, x) if x.ndim <= 2 else x
