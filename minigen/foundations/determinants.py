"""Determinants: from the sum over n! permutations to log|det| by LU, their gradients, and low-rank updates.

Each public function is a door (it casts and checks its matrix) before a short kernel. The kernels use nothing but
arithmetic on the entries, so they can also be run on numbers that count their own multiplications.
"""

import itertools
import math
import warnings

import autograd.numpy as np
import numpy
from autograd.extend import defvjp, primitive
from autograd.tracer import getval, isbox

from minigen.errors import IllConditionedWarning, SingularMatrixError, check_integer, check_real, require

__all__ = [
    "LARGEST_EXPANSION",
    "adjugate",
    "det_gradient",
    "det_laplace",
    "det_leibniz",
    "det_lemma",
    "det_lu",
    "det_triangular",
    "log_abs_det",
    "log_abs_det_gradient",
    "log_abs_det_lemma",
    "lu",
    "multiplications_laplace",
    "multiplications_leibniz",
    "multiplications_lu",
    "parity",
    "woodbury_solve",
]

LARGEST_EXPANSION = 9  # 9! = 362,880 terms take a second; 10! would take ten, and gigabytes with a gradient


# ------------------------------------------------------------------------------------------------ doors


def _values(x):
    """Return the plain array inside autograd's boxes, however deeply they are nested."""
    while isbox(x):
        x = getval(x)
    return x


def _floats(who, name, x):
    x = check_real(who, x if isbox(x) else np.array(x), name)
    values = _values(x)
    bad = numpy.argwhere(~numpy.isfinite(values))
    if len(bad):
        position = ", ".join(map(str, bad[0]))
        raise ValueError(f"{who}: expected finite numbers, got {name}[{position}] = {values[tuple(bad[0])]}")
    return x


def _square(who, A):
    A = _floats(who, "A", A)
    require(A.ndim == 2 and A.shape[0] == A.shape[-1], f"{who}: expected a square matrix (n, n), got shape {A.shape}")
    return A


# ------------------------------------------------------------------------------------------------ definitions


def parity(permutation):
    """Sign of a permutation of 0, ..., n - 1: +1 for an even one, -1 for an odd one.

    `sgn σ = (−1)^m`, where m counts the pairs i < j with σ_i > σ_j.

    `permutation` is (n,) and gives an `int`, or (..., n), many at once, and gives an integer array (...). The empty
    permutation is even. O(n^2) comparisons each.

    Raises TypeError for anything but integers, ValueError where 0, ..., n - 1 do not each come once.

    Reference: Harville (1997), Matrix Algebra From a Statistician's Perspective, chapter 13, doi:10.1007/b98818

    >>> parity([0, 1, 2]), parity([1, 0, 2]), parity([1, 2, 0])
    (1, -1, 1)
    """
    permutation = numpy.asarray(permutation)
    if permutation.size and permutation.dtype.kind not in "iu":
        raise TypeError(f"parity: expected integers, got dtype {permutation.dtype}")
    require(permutation.ndim >= 1, "parity: expected a permutation of shape (n,) or (..., n), got shape ()")
    n = permutation.shape[-1]
    if not numpy.all(numpy.sort(permutation, axis=-1) == numpy.arange(n)):
        raise ValueError(f"parity: expected each of 0, ..., n - 1 once (n = {n}), got {permutation}")
    inversions = numpy.sum(numpy.triu(permutation[..., :, None] > permutation[..., None, :]), axis=(-2, -1))
    signs = 1 - 2 * (inversions % 2)
    return int(signs) if permutation.ndim == 1 else signs


def _expandable(who, A, multiplications):
    A = _square(who, A)
    n = A.shape[0]
    if n > LARGEST_EXPANSION:
        raise ValueError(
            f"{who}: n = {n} would take {multiplications(n):,} multiplications, and n is limited to "
            f"{LARGEST_EXPANSION}; det_lu(A) takes {multiplications_lu(n):,}"
        )
    return A


def _leibniz(A):
    n = A.shape[0]
    permutations = numpy.array(list(itertools.permutations(range(n))), dtype=int)
    terms = parity(permutations).astype(A.dtype)
    for i in range(n):  # not np.prod, whose gradient is NaN where a factor is 0
        terms = terms * A[i, permutations[:, i]]
    return np.sum(terms)


def det_leibniz(A):
    """Sum over all n! permutations: the determinant by its definition.

    `det A = Σ_σ sgn(σ) Π_i A[i, σ_i]`

    `A` is (n, n), n <= 9; integers become float64, so that nothing wraps around. The empty matrix has determinant 1:
    there is one empty permutation. A polynomial in the entries, so autograd differentiates it everywhere, as often
    as one likes; at singular matrices too the gradient is the transposed adjugate.

    Cost: n! terms of n - 1 multiplications, O(n! n) time and memory. Terms beyond 1.8e308 give inf or NaN, with
    NumPy's warning.

    Raises TypeError for anything but real numbers, ValueError for a matrix that is not square, not finite or larger
    than 9 x 9.

    Reference: Harville (1997), chapter 13, doi:10.1007/b98818

    >>> print(det_leibniz([[1, 2], [3, 4]]))
    -2.0
    >>> from autograd import grad
    >>> print(grad(det_leibniz)(np.array([[1.0, 2.0], [2.0, 4.0]])))
    [[ 4. -2.]
     [-2.  1.]]
    """
    return _leibniz(_expandable("det_leibniz", A, multiplications_leibniz))


def _laplace(A):
    one = A.dtype.type(1)

    def minor(row, columns):
        """Expand the determinant of the rows from `row` on and of these columns."""
        if not columns:
            return one
        total = 0
        for j, column in enumerate(columns):
            total = total + (-1) ** j * A[row, column] * minor(row + 1, columns[:j] + columns[j + 1 :])
        return total

    return minor(0, tuple(range(A.shape[0])))


def det_laplace(A):
    """Expand the determinant along the first row, and its minors again (cofactor expansion).

    `det A = Σ_j (−1)^j A[0, j] det(A without row 0 and column j)`

    `A` is (n, n), n <= 9; integers become float64. The empty matrix has determinant 1. autograd differentiates it
    everywhere, at some 20 microseconds an operation.

    Cost: O(n!) time, about e - 1 multiplications for each permutation: the products of the definition, but with
    common factors taken out. O(n) memory.

    Raises TypeError for anything but real numbers, ValueError for a matrix that is not square, not finite or larger
    than 9 x 9.

    Reference: Harville (1997), chapter 13, doi:10.1007/b98818

    >>> print(det_laplace([[2, 0, 1], [1, 3, 2], [1, 1, 1]]))
    0.0
    """
    return _laplace(_expandable("det_laplace", A, multiplications_laplace))


# ------------------------------------------------------------------------------------------------ elimination


@primitive
def _lu(A):
    n = A.shape[0]
    both = A.copy()  # L grows below the diagonal, in the places that U leaves empty
    permutation = numpy.arange(n)
    for k in range(n):
        pivot = k + numpy.argmax(numpy.abs(both[k:, k]))
        if both[pivot, k] == 0:
            continue  # nothing to eliminate; A is singular
        both[[k, pivot]] = both[[pivot, k]]
        permutation[[k, pivot]] = permutation[[pivot, k]]
        both[k + 1 :, k] = both[k + 1 :, k] / both[k, k]
        both[k + 1 :, k + 1 :] -= both[k + 1 :, k, None] * both[k, k + 1 :]
    return permutation, numpy.tril(both, -1) + numpy.eye(n, dtype=A.dtype), numpy.triu(both)


def lu(A):
    """LU factorization with partial pivoting: ``A[permutation] = L @ U``.

    `A` is (n, n). Returns `permutation` (n,), whose sign is `parity(permutation)`; `L` (n, n), lower triangular with
    ones on the diagonal and no entry above 1 in absolute value; `U` (n, n), upper triangular with the pivots on the
    diagonal. A singular matrix has a factorization too, with a pivot that is 0, or, after rounding, about 1e-16 times
    the entries. autograd does not pass through (NotImplementedError): see `log_abs_det` and `det_lu`.

    Cost: (n^3 - n) / 3 multiplications and divisions, O(n^2) memory.

    Raises TypeError for anything but real numbers, ValueError for a matrix that is not square or not finite.

    Reference: Higham (2002), Accuracy and Stability of Numerical Algorithms, chapter 9, doi:10.1137/1.9780898718027

    >>> permutation, L, U = lu([[1, 2], [4, 6]])
    >>> print(permutation, L.tolist(), U.tolist())
    [1 0] [[1.0, 0.0], [0.25, 1.0]] [[4.0, 6.0], [0.0, 0.5]]
    """
    return _lu(_square("lu", A))


def _product(factors, start=1.0):
    # Small factors while the product is large, large ones while it is small: no overflow but the result's own.
    factors = sorted(factors, key=abs)
    product = start
    with numpy.errstate(over="ignore", under="ignore"):
        while factors:
            product = product * factors.pop(-1 if abs(product) < 1 else 0)
    return product


def det_triangular(T):
    """Multiply the diagonal: the determinant of a triangular matrix.

    `det T = Π_i T[i, i]`

    `T` is (n, n), lower or upper triangular; integers become float64. Becomes inf or 0 without a warning where the
    product leaves the floats. autograd differentiates it, also with zeros on the diagonal, *within* the triangular
    matrices: the gradient is diagonal, while `det_gradient` also has the entries on the empty side.

    Cost: n - 1 multiplications (and O(n^2) comparisons to see that `T` is triangular).

    Raises TypeError for anything but real numbers, ValueError for a matrix that is not square, not finite or not
    triangular.

    Reference: Harville (1997), chapter 13, doi:10.1007/b98818

    >>> print(det_triangular([[2, 7], [0, 3]]))
    6.0
    """
    T = _square("det_triangular", T)
    values = _values(T)
    below, above = numpy.argwhere(numpy.tril(values, -1)), numpy.argwhere(numpy.triu(values, 1))
    require(
        len(below) == 0 or len(above) == 0,
        "det_triangular: expected a triangular matrix, got entries on both sides of the diagonal, "
        f"at {below[:1].tolist()} and {above[:1].tolist()}",
    )
    return _product([T[i, i] for i in range(T.shape[0])])


@primitive
def _det_lu(A):
    permutation, _, U = _lu(A)
    return _product(numpy.diag(U), start=float(parity(permutation))) + 0.0  # + 0.0 turns -0.0 into 0.0


def det_lu(A):
    """Eliminate: the determinant is the sign of the row exchanges times the product of the pivots.

    `A[π] = L U`, so `det A = sgn(π) Π_i U[i, i]`.

    `A` is (n, n); integers become float64, so that nothing wraps around. The empty matrix has determinant 1. Becomes
    inf or 0, *without a warning*, where the determinant leaves the floats (at n = 309 for ten times an orthogonal
    matrix): `log_abs_det` stands there, and it also warns where rounding has eaten the result, which this
    does not. The gradient is `det_gradient`, so it exists at singular matrices too, but costs O(n^5).

    Cost: (n^3 - n) / 3 + n - 1 multiplications and divisions, O(n^2) memory.

    Raises TypeError for anything but real numbers, ValueError for a matrix that is not square or not finite.

    Reference: Higham (2002), chapter 14.6, doi:10.1137/1.9780898718027

    >>> print(det_lu([[0, 2], [3, 4]]))
    -6.0
    """
    return _det_lu(_square("det_lu", A))


def _substitute(permutation, L, U, B):
    """Return A^-1 B, where A[permutation] = L U and B is (n, m): forward through L, then backward through U."""
    X = B[permutation]
    for i in range(len(X)):
        X[i] -= L[i, :i] @ X[:i]
    for i in reversed(range(len(X))):
        X[i] = (X[i] - U[i, i + 1 :] @ X[i + 1 :]) / U[i, i]
    return X


def _warn_if_ill_conditioned(A, L, U):  # A with its rows exchanged, A = L U
    # Elimination gives the exact LU of some A + E, and log|det| moves by <A^-T, E>. The worst case is
    # |E| <= n eps |L||U| (Higham, theorem 9.3); in practice errors cancel, and the factor n is left out.
    # Unlike cond(A) eps, this does not mind badly scaled rows and columns, which harm no determinant.
    n = A.shape[0]
    with numpy.errstate(all="ignore"):
        inverse = _substitute(numpy.arange(n), L, U, numpy.eye(n, dtype=A.dtype))
        error = numpy.finfo(A.dtype).eps * numpy.sum(numpy.abs(inverse.T) * (numpy.abs(L) @ numpy.abs(U)))
        if not error <= 0.01:  # so that NaN warns too
            condition = numpy.linalg.norm(A, 1) * numpy.linalg.norm(inverse, 1)
            message = (
                f"log_abs_det: rounding may have moved log|det| by {error:.1e}, so do not trust it; "
                f"the condition number of this {n} x {n} matrix is {condition:.1e} in the 1-norm"
            )
            warnings.warn(message, IllConditionedWarning, stacklevel=5)


def _warn_if_pivots_grew(A, L, U):  # as above, with a pivot that is 0, so that there is no inverse
    n = A.shape[0]
    largest = numpy.max(numpy.abs(A))
    with numpy.errstate(all="ignore"):
        moved = numpy.finfo(A.dtype).eps * numpy.max(numpy.abs(L) @ numpy.abs(U))
    if not moved <= 1e-3 * largest:  # so that NaN warns too
        message = (
            f"log_abs_det: a pivot is 0, but the pivots grew, and rounding may have moved this {n} x {n} matrix by "
            f"{moved / largest:.1e} times its largest entry, so do not conclude that it is singular"
        )
        warnings.warn(message, IllConditionedWarning, stacklevel=5)


@primitive
def _log_abs_det(A):
    permutation, L, U = _lu(A)
    pivots = numpy.diag(U)
    signs = numpy.sign(pivots)
    sign = parity(permutation) * numpy.prod(signs) + 0.0  # 0.0 for -0.0
    warn = _warn_if_pivots_grew if sign == 0 else _warn_if_ill_conditioned
    warn(A[permutation], L, U)
    with numpy.errstate(divide="ignore"):
        return sign, numpy.sum(numpy.log(numpy.abs(pivots)))


def log_abs_det(A):
    """Sign and logarithm of the absolute value of the determinant: sums of logarithms do not overflow.

    `log|det A| = Σ_i log|U[i, i]|`, with the gradient `A⁻ᵀ`.

    `A` is (n, n); integers become float64. Returns ``(sign, log_abs)`` in nats, and (1, 0) for the empty matrix.
    ``(0, -inf)`` says that a pivot was exactly 0 in floats: A is singular, or as near to a singular matrix as rounding
    can tell. Differentiable by autograd to any order; the backward pass is the hand-derived `log_abs_det_gradient`,
    and raises its SingularMatrixError.

    Warns (`IllConditionedWarning`) where rounding may have moved log|det| by more than 0.01,

    `ε Σ_ij |A⁻ᵀ|_ij (|L| |U|)_ij > 0.01`,

    an estimate to first order; far above it the matrix cannot be told from a singular one. The warning
    names the condition number, but goes by the error bound: a diagonal matrix may be ill-conditioned, and yet its
    determinant is exact. With a pivot of 0 there is no A^-1 to estimate with, and singular matrices such as
    [[1, 2], [2, 4]] give no warning; one comes only where the pivots grew so much that rounding may have made the 0,
    `ε max(|L| |U|) > 0.001 max|A|`.

    Cost: (n^3 - n) / 3 multiplications for the LU and n^3 for the inverse that the warning needs; O(n^2) memory.

    Raises TypeError for anything but real numbers, ValueError for a matrix that is not square or not finite.

    Reference: Higham (2002), theorem 9.3 and chapter 14.6, doi:10.1137/1.9780898718027

    >>> sign, log_abs = log_abs_det(1e200 * np.array([[0.0, 1.0], [1.0, 0.0]]))
    >>> print(sign, bool(abs(log_abs - 400 * np.log(10)) < 1e-12))
    -1.0 True
    >>> sign, log_abs = log_abs_det([[1, 2], [2, 4]])
    >>> print(sign, log_abs)
    0.0 -inf
    """
    return _log_abs_det(_square("log_abs_det", A))


# ------------------------------------------------------------------------------------------------ gradients


@primitive
def _solve(A, B, who):
    """Return A^-1 B by the LU of A; `who` is named if there is none."""
    permutation, L, U = _lu(A)
    zeros = numpy.flatnonzero(numpy.diag(U) == 0)
    if len(zeros):
        raise SingularMatrixError(f"{who}: expected an invertible matrix, got pivot {zeros[0]} of {len(U)} equal to 0")
    return _substitute(permutation, L, U, B)


def log_abs_det_gradient(A):
    """Gradient of log|det A|: the transposed inverse.

    `∂ log|det A| / ∂A_ij = (A⁻¹)_ji`

    `A` is (n, n), and so is the result. Cost: about 4 n^3 / 3 multiplications, by our LU.

    Raises SingularMatrixError where a pivot is exactly 0: log|det| is -inf there, and only `det_gradient` exists;
    TypeError for anything but real numbers, ValueError for a matrix that is not square or not finite.

    Reference: Magnus and Neudecker (2019), Matrix Differential Calculus, chapter 9, doi:10.1002/9781119541219

    >>> print(log_abs_det_gradient([[2, 1], [0, 4]]))
    [[ 0.5    0.   ]
     [-0.125  0.25 ]]
    """
    A = _square("log_abs_det_gradient", A)
    return np.transpose(_solve(A, numpy.eye(A.shape[0], dtype=A.dtype), "log_abs_det_gradient"))


def adjugate(A):
    """Adjugate, the transposed matrix of cofactors.

    `adj(A)_ji = (−1)^(i+j) det(A without row i and column j)`, so `A adj(A) = det(A) I`.

    `A` is (n, n), singular or not, and so is the result; it has rank 1 where A has rank n - 1, and is 0 below.
    Differentiable by autograd. Cost: n^2 determinants by LU, O(n^5); for an invertible matrix that is large,
    ``det_lu(A) * log_abs_det_gradient(A).T`` is the same in O(n^3).

    Raises TypeError for anything but real numbers, ValueError for a matrix that is not square or not finite.

    Reference: Harville (1997), chapter 13, doi:10.1007/b98818

    >>> print(adjugate([[1, 2], [3, 4]]))
    [[ 4. -2.]
     [-3.  1.]]
    """
    return np.transpose(det_gradient(_square("adjugate", A)))


def det_gradient(A):
    """Gradient of det A: the matrix of cofactors, which is the transposed adjugate (Jacobi's formula).

    `∂ det A / ∂A_ij = (−1)^(i+j) det(A without row i and column j) = adj(A)_ji`

    Exists everywhere, because det is a polynomial; where A is invertible it is det(A) A^-T, the formula by which
    `numpy.linalg.det` is differentiated in autograd, and which fails at singular matrices. `A` is (n, n), and so is
    the result. Differentiable by autograd. Cost: n^2 determinants by LU, O(n^5).

    Raises TypeError for anything but real numbers, ValueError for a matrix that is not square or not finite.

    Reference: Magnus and Neudecker (2019), chapter 8, doi:10.1002/9781119541219

    >>> print(det_gradient([[1, 2], [2, 4]]))
    [[ 4. -2.]
     [-2.  1.]]
    """
    A = _square("det_gradient", A)
    n = A.shape[0]
    others = [[k for k in range(n) if k != i] for i in range(n)]
    cofactors = [(-1) ** (i + j) * _det_lu(A[others[i]][:, others[j]]) for i in range(n) for j in range(n)]
    return np.reshape(np.array(cofactors, dtype=A.dtype), A.shape) + 0.0


defvjp(_det_lu, lambda det, A: lambda g: g * det_gradient(A))
defvjp(_log_abs_det, lambda sign_and_log, A: lambda g: g[1] * log_abs_det_gradient(A))
defvjp(
    _solve,
    lambda X, A, B, who: lambda g: -_solve(np.transpose(A), g, who) @ np.transpose(X),
    lambda X, A, B, who: lambda g: _solve(np.transpose(A), g, who),
)


# ------------------------------------------------------------------------------------------------ low-rank updates


def _updated(who, A, U, V):
    """Return A's solve, its (sign, log|det|), U, V, A^-1 U and the small matrix I + V^T A^-1 U."""
    U, V = _floats(who, "U", U), _floats(who, "V", V)
    require(
        U.ndim == 2 and U.shape == V.shape,
        f"{who}: expected U and V of one shape (n, k), got {U.shape} and {V.shape}; one vector is u[:, None]",
    )
    if isinstance(A, tuple):
        require(
            len(A) == 2 and callable(A[0]),
            f"{who}: expected the diagonal (n,) of A as an array, or the pair (solve, log_abs_det(A)), got a tuple {A}",
        )
        solve, sign_and_log = A
    else:
        diagonal = _floats(who, "A", A)
        require(
            diagonal.shape == U.shape[:1],
            f"{who}: expected the diagonal of A, of shape {U.shape[:1]} like the rows of U, got {diagonal.shape}; "
            "an A that is not diagonal comes as the pair (solve, log_abs_det(A))",
        )
        zeros = numpy.flatnonzero(_values(diagonal) == 0)
        if len(zeros):
            raise SingularMatrixError(f"{who}: expected an invertible A, got 0 on its diagonal, at {zeros[0]}")
        sign_and_log = numpy.prod(np.sign(diagonal)), np.sum(np.log(np.abs(diagonal)))

        def solve(B):
            return B / diagonal[:, None]

    solved = solve(U)
    return solve, sign_and_log, V, solved, numpy.eye(U.shape[1], dtype=U.dtype) + np.transpose(V) @ solved


def log_abs_det_lemma(A, U, V):
    """Sign and log|det| of A + U V^T by the matrix determinant lemma.

    `log|det(A + U Vᵀ)| = log|det(I_k + Vᵀ A⁻¹ U)| + log|det A|`

    `U` and `V` are (n, k). `A` is the diagonal (n,) of a diagonal matrix, or, for any other matrix whose solve and
    determinant are cheap or known, the pair ``(solve, log_abs_det(A))``, where ``solve(B)`` is A^-1 B for B (n, k).
    (For one dense matrix the lemma gains nothing: ``log_abs_det(A + U @ V.T)``.) Returns ``(sign, log_abs)`` in nats,
    ``(0, -inf)`` where the sum is singular. Differentiable by autograd. `IllConditionedWarning` comes from the
    small matrix; the digits that cancel while it is formed are not seen.

    Cost: O(n k^2 + k^3) for a diagonal A, against O(n^3).

    Raises SingularMatrixError for a diagonal A with a zero (the sum may be invertible, but the lemma needs A^-1);
    TypeError for anything but real numbers, ValueError for shapes that do not fit or numbers that are not finite.

    Reference: Harville (1997), theorem 18.1.1, doi:10.1007/b98818

    >>> u = np.array([[1.0], [1.0]])
    >>> sign, log_abs = log_abs_det_lemma([2.0, -4.0], u, u)
    >>> print(sign, bool(abs(log_abs - np.log(10.0)) < 1e-14))
    -1.0 True
    """
    _, (sign, log_abs), _, _, small = _updated("log_abs_det_lemma", A, U, V)
    sign_small, log_abs_small = _log_abs_det(small)
    return sign * sign_small, log_abs + log_abs_small


def det_lemma(A, U, V):
    """Return det(A + U V^T) by the matrix determinant lemma.

    `det(A + U Vᵀ) = det(I_k + Vᵀ A⁻¹ U) det A`

    Arguments, cost and errors are those of `log_abs_det_lemma`, of which this is the exponential: inf or 0, without
    a warning, where the determinant leaves the floats.

    Reference: Harville (1997), theorem 18.1.1, doi:10.1007/b98818

    >>> u = np.array([[1.0], [1.0]])
    >>> print(f"{det_lemma([2.0, -4.0], u, u):.6f}")
    -10.000000
    """
    sign, log_abs = log_abs_det_lemma(A, U, V)
    with numpy.errstate(over="ignore", under="ignore"):
        return sign * np.exp(log_abs)


def woodbury_solve(A, U, V, b):
    """Solution x of (A + U V^T) x = b by the Woodbury identity.

    `(A + U Vᵀ)⁻¹ b = A⁻¹ b − A⁻¹ U (I_k + Vᵀ A⁻¹ U)⁻¹ Vᵀ A⁻¹ b`

    `A`, `U` and `V` are those of `log_abs_det_lemma`; `b` is (n,) or (n, m), and so is the result: the identity
    matrix for `b` gives the inverse. Differentiable by autograd.

    Cost: O(n k (k + m) + k^3) for a diagonal A, against O(n^3 + n^2 m).

    Raises SingularMatrixError where A + U V^T is exactly singular, or a diagonal A has a zero; TypeError for anything
    but real numbers, ValueError for shapes that do not fit or numbers that are not finite.

    Reference: Hager (1989), Updating the inverse of a matrix, doi:10.1137/1031049

    >>> u = np.array([[1.0], [1.0]])
    >>> print(woodbury_solve([1.0, 1.0], u, u, [3.0, 0.0]))
    [ 2. -1.]
    """
    solve, _, V, solved, small = _updated("woodbury_solve", A, U, V)
    b = _floats("woodbury_solve", "b", b)
    require(
        b.ndim in (1, 2) and b.shape[0] == V.shape[0],
        f"woodbury_solve: expected b of shape ({V.shape[0]},) or ({V.shape[0]}, m), got {b.shape}",
    )
    y = solve(np.reshape(b, (V.shape[0], -1)))
    return np.reshape(y - solved @ _solve(small, np.transpose(V) @ y, "woodbury_solve"), b.shape)


# ------------------------------------------------------------------------------------------------ costs


def _size(who, n):
    check_integer(who, "n", n, 1)
    return int(n)


def multiplications_leibniz(n):
    """Multiplications in `det_leibniz` of an n x n matrix (changes of sign are free).

    `M(n) = (n − 1) n!`

    Exact, an `int` of any size. Raises ValueError unless n is an integer of at least 1.

    >>> multiplications_leibniz(3), multiplications_leibniz(20)
    (12, 46225138155356160000)
    """
    n = _size("multiplications_leibniz", n)
    return (n - 1) * math.factorial(n)


def multiplications_laplace(n):
    """Multiplications in `det_laplace` of an n x n matrix (changes of sign are free).

    `M(n) = n (M(n − 1) + 1) = Σ_{k=1}^{n−1} n!/k!`, about `(e − 1) n!`.

    Exact, an `int` of any size. Raises ValueError unless n is an integer of at least 1.

    >>> multiplications_laplace(3), multiplications_laplace(20)
    (9, 4180411311071440000)
    """
    n = _size("multiplications_laplace", n)
    return sum(math.factorial(n) // math.factorial(k) for k in range(1, n))


def multiplications_lu(n):
    """Multiplications and divisions in `det_lu` of an n x n matrix (changes of sign are free).

    `M(n) = (n³ − n)/3 + (n − 1)`

    Elimination, then the product of the pivots. Exact, an `int` of any size. Raises ValueError unless n is an integer
    of at least 1.

    >>> multiplications_lu(3), multiplications_lu(20)
    (10, 2679)
    """
    n = _size("multiplications_lu", n)
    return (n**3 - n) // 3 + n - 1
