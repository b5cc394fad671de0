"""The Jacobian of a map at a point, in three ways: forward mode, reverse mode, finite differences.

Here `f` takes one point of shape (D,) and returns an array of shape (M,); the Jacobian has the shape (M, D), with
`J_ij = ∂f_i/∂x_j`.
"""

import warnings

import autograd.numpy as np
import numpy
from autograd import make_jvp, make_vjp

from minigen.errors import as_float, require

__all__ = ["jacobian_finite", "jacobian_forward", "jacobian_reverse"]


def _check_point(who, x):
    x = as_float(x)
    require(x.ndim == 1 and x.size > 0, f"{who}: expected one point x of shape (D,) with D >= 1, got shape {x.shape}")
    return x


def _checked(who, f):
    """Return `f` with a look at its value: a list or an object array would lose the trace and give zeros."""

    def checked(x):
        y = f(x)
        if getattr(y, "dtype", None) is None or y.dtype.kind != "f":
            found = getattr(y, "dtype", type(y).__name__)
            raise TypeError(f"{who}: f should return a float array (traced: by autograd.numpy), got {found}")
        require(y.ndim == 1 and y.size > 0, f"{who}: f should return an array of shape (M,), got shape {y.shape}")
        return y

    return checked


def _quietly(pass_, *args):
    """Call without autograd's warning that the output does not depend on the input: zeros say it here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Output seems independent of input")
        return pass_(*args)


def jacobian_forward(f, x):
    """Jacobian by forward mode: column j is the Jacobian-vector product `J e_j`.

    Shapes: x (D,), f(x) (M,), result (M, D), exact to rounding. Cost: D passes through `f`, each about twice an
    evaluation plus autograd's bookkeeping, which dominates for small functions, with no memory of the steps in
    between; the right choice when D is far below M.

    Raises NotImplementedError if a function inside `f` has no forward-mode rule (in autograd: det, slogdet, inv and
    others): take `jacobian_reverse` then. NaN in, NaN out.

    >>> jacobian_forward(lambda x: np.array([x[0] * x[1], x[0], x[1] ** 2]), [2.0, 3.0])
    array([[3., 2.],
           [1., 0.],
           [0., 6.]])
    """
    x = _check_point("jacobian_forward", x)
    product = make_jvp(_checked("jacobian_forward", f))(x)
    try:
        columns = [_quietly(product, e) for e in numpy.eye(x.size, dtype=x.dtype)]
    except NotImplementedError as error:
        raise NotImplementedError(f"jacobian_forward: {error}; reverse mode is needed: jacobian_reverse") from error
    return np.stack([tangent for _, tangent in columns], axis=1)


def jacobian_reverse(f, x):
    """Jacobian by reverse mode: row i is the vector-Jacobian product `e_iᵀ J`, the gradient of output i.

    Shapes: x (D,), f(x) (M,), result (M, D), exact to rounding. Cost: one recorded pass through `f` and M passes
    back, each about twice an evaluation plus autograd's bookkeeping, which dominates for small functions, with every
    step in between kept in memory; the right choice when M is far below D (a loss has M = 1). NaN in, NaN out.

    >>> jacobian_reverse(lambda x: np.array([x[0] * x[1], x[0], x[1] ** 2]), [2.0, 3.0])
    array([[3., 2.],
           [1., 0.],
           [0., 6.]])
    """
    x = _check_point("jacobian_reverse", x)
    product, y = _quietly(make_vjp(_checked("jacobian_reverse", f)), x)
    return np.stack([product(e) for e in numpy.eye(y.size, dtype=y.dtype)])


def jacobian_finite(f, x, step=None, scheme="central"):
    """Jacobian by finite differences: column j from evaluations of `f` at x moved by h along axis j.

    - central: `(f(x + h e_j) − f(x − h e_j)) / 2h`, error O(h²) + O(ε/h);
    - forward: `(f(x + h e_j) − f(x)) / h`, error O(h) + O(ε/h).

    The two error terms, truncation and rounding, are balanced near `h = ε^(1/3)` and `h = ε^(1/2)`, with ε the machine
    epsilon of x's dtype. Default step: that h times `max(1, |x_j|)`; it leaves relative errors near 1e-10 and 1e-8 in
    float64. It bets that `f` varies on the scale of `|x_j|`; if it varies faster, as the sine does at 1e6, give `step`,
    which is h itself. The division is by the difference of the two rounded points, not by 2h or h.

    `f` may be any function of NumPy arrays; it is not traced. Shapes: x (D,), f(x) (M,), result (M, D). Cost: 2D
    evaluations (central), D + 1 (forward). NaN in, NaN out. Raises ValueError for an unknown scheme or a step <= 0.

    Reference: Press, Teukolsky, Vetterling, Flannery (2007), Numerical Recipes, 3rd ed., section 5.7.

    >>> jacobian_finite(lambda x: numpy.array([x[0] * x[1], x[0], x[1] ** 2]), [2.0, 3.0]).round(6)
    array([[3., 2.],
           [1., 0.],
           [0., 6.]])
    """
    who = "jacobian_finite"
    x = _check_point(who, x)
    require(scheme in ("central", "forward"), f"{who}: scheme should be 'central' or 'forward', got {scheme!r}")
    require(step is None or step > 0, f"{who}: step should be positive, got {step}")
    if step is None:
        step = float(numpy.finfo(x.dtype).eps) ** (1 / 3 if scheme == "central" else 1 / 2) * numpy.maximum(1, abs(x))
    value = _checked(who, lambda point: as_float(numpy.array(f(point))))  # a copy: `f` may reuse its buffer
    y = value(x) if scheme == "forward" else None
    columns = []
    for j, h in enumerate(numpy.broadcast_to(step, x.shape)):
        above, below = x.copy(), x.copy()
        above[j] += h
        if scheme == "central":
            below[j] -= h
            y = value(below)
        columns.append((value(above) - y) / (above[j] - below[j]))  # the step as it was rounded
    return numpy.stack(columns, axis=1)
