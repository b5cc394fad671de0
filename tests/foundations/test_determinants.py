import itertools
import math
import warnings
from fractions import Fraction

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, hessian, jacobian
from autograd.test_util import check_grads
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minigen.errors import IllConditionedWarning, SingularMatrixError
from minigen.foundations import determinants
from minigen.foundations.determinants import (
    LARGEST_EXPANSION,
    adjugate,
    det_gradient,
    det_laplace,
    det_leibniz,
    det_lemma,
    det_lu,
    det_triangular,
    log_abs_det,
    log_abs_det_gradient,
    log_abs_det_lemma,
    lu,
    multiplications_laplace,
    multiplications_leibniz,
    multiplications_lu,
    parity,
    woodbury_solve,
)

DETS = [det_leibniz, det_laplace, det_lu]
SQUARE = [*DETS, det_triangular, lu, log_abs_det, log_abs_det_gradient, adjugate, det_gradient]


def name(function):
    return function.__name__


def random_matrix(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, n))


def hilbert(n):
    return 1 / (np.arange(n)[:, None] + np.arange(n) + 1)


def low_rank(n, rank, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, rank)) @ rng.normal(size=(rank, n))


def finite_difference(f, A, step=1e-6):
    gradient = np.zeros(A.shape)
    for position in np.ndindex(*A.shape):
        E = np.zeros(A.shape)
        E[position] = step
        gradient[position] = (f(A + E) - f(A - E)) / (2 * step)
    return gradient


def exact_det(A):
    """Determinant of the floats in A in rational arithmetic."""
    rows, det = [[Fraction(float(a)) for a in row] for row in A], Fraction(1)
    while rows:
        k = next((i for i, row in enumerate(rows) if row[0]), None)
        if k is None:
            return Fraction(0)
        head = rows.pop(k)
        det *= head[0] * (-1) ** k
        rows = [[b - row[0] / head[0] * a for a, b in zip(head[1:], row[1:], strict=True)] for row in rows]
    return det


def log_of(fraction):
    return math.log(abs(fraction.numerator)) - math.log(fraction.denominator)


# --------------------------------------------------------------------------------------------- parity


def test_parity_of_every_permutation_is_the_determinant_of_its_matrix():
    for n in range(6):
        for permutation in itertools.permutations(range(n)):
            assert parity(permutation) == round(np.linalg.det(np.eye(n)[list(permutation)]))


def test_parity_takes_many_permutations_at_once():
    many = np.array(list(itertools.permutations(range(4)))).reshape(4, 6, 4)
    signs = parity(many)
    assert signs.shape == (4, 6)
    assert signs.sum() == 0
    assert signs[1, 2] == parity(many[1, 2])
    assert parity([]) == 1
    assert isinstance(parity([1, 0]), int)


def test_parity_is_multiplicative():
    rng = np.random.default_rng(1)
    for _ in range(20):
        p, q = rng.permutation(7), rng.permutation(7)
        assert parity(p[q]) == parity(p) * parity(q)


@pytest.mark.parametrize("bad", [[0, 0], [1, 2], [-1, 0], [[0, 1], [1, 1]]])
def test_parity_refuses_what_is_no_permutation(bad):
    with pytest.raises(ValueError, match="parity: expected each of 0, ..., n - 1 once"):
        parity(bad)


@pytest.mark.parametrize("bad", [[0.0, 1.0], ["a", "b"], [np.nan], [None, 1]])
def test_parity_refuses_other_dtypes(bad):
    with pytest.raises(TypeError, match="parity: expected integers"):
        parity(bad)


def test_parity_refuses_a_number():
    with pytest.raises(ValueError, match="shape"):
        parity(0)


# --------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("det", DETS, ids=name)
@pytest.mark.parametrize("n", range(9))
def test_det_of_random_matrices(det, n):
    for seed in range(2):
        A = random_matrix(n, seed)
        assert det(A) == pytest.approx(np.linalg.det(A), rel=1e-11)


@pytest.mark.parametrize("det", DETS, ids=name)
def test_det_of_permutation_matrices_is_the_parity(det):
    for permutation in itertools.permutations(range(4)):
        assert det(np.eye(4)[list(permutation)]) == parity(permutation)


@pytest.mark.parametrize("det", [*DETS, det_triangular], ids=name)
def test_det_of_triangular_matrices(det):
    for T in (
        np.tril(random_matrix(6)),
        np.triu(random_matrix(6)),
        np.diag(np.arange(-2.0, 4.0)),
        np.eye(3),
        np.ones((1, 1)),
    ):
        assert det(T) == pytest.approx(np.prod(np.diag(T)), rel=1e-12)


@pytest.mark.parametrize("det", DETS, ids=name)
@pytest.mark.parametrize("n", [2, 4, 7])
def test_det_of_singular_matrices_is_zero_up_to_rounding(det, n):
    for rank in {1, n - 2}:
        assert abs(det(low_rank(n, rank))) < 1e-11
    assert det(np.zeros((n, n))) == 0
    assert det(np.ones((n, n))) == 0


@pytest.mark.parametrize("det", DETS, ids=name)
def test_det_of_hilbert_matrices(det):
    for n in range(1, 8):
        # O(cond eps) for elimination; the expansions subtract nearly equal terms, and lose digits against the largest.
        assert det(hilbert(n)) == pytest.approx(
            float(exact_det(hilbert(n))), rel=np.linalg.cond(hilbert(n)) * 1e-15, abs=1e-17
        )


def test_the_empty_matrix():
    empty = np.zeros((0, 0))
    assert [det(empty) for det in [*DETS, det_triangular]] == [1, 1, 1, 1]
    assert log_abs_det(empty) == (1, 0)
    assert [f(empty).shape for f in (log_abs_det_gradient, adjugate, det_gradient)] == [(0, 0)] * 3
    permutation, L, U = lu(empty)
    assert (permutation.shape, L.shape, U.shape) == ((0,), (0, 0), (0, 0))


@pytest.mark.parametrize("det", DETS, ids=name)
def test_integers_do_not_wrap_around(det):
    big = np.array([[2**40, 1], [1, 2**40]])
    assert det(big) == float(2**80 - 1)
    assert det(np.array([[200, 100], [100, 200]], dtype=np.uint8)) == 30000
    assert det([[1, 2], [3, 4]]) == pytest.approx(-2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_dtype_follows_the_input(dtype):
    A = random_matrix(4).astype(dtype)
    results = [det(A) for det in DETS] + [det_triangular(np.tril(A)), *log_abs_det(A), *lu(A)[1:]]
    results += [log_abs_det_gradient(A), adjugate(A), det_gradient(A)]
    assert {result.dtype for result in results} == {np.dtype(dtype)}


@pytest.mark.parametrize("function", SQUARE, ids=name)
def test_the_argument_is_left_alone(function):
    A = np.tril(random_matrix(4))[::-1][::-1]
    before = A.copy()
    function(A)
    np.testing.assert_array_equal(A, before)


# --------------------------------------------------------------------------------------------- LU


@pytest.mark.parametrize("n", range(1, 9))
def test_lu_factors(n):
    for A in (random_matrix(n), hilbert(n), low_rank(n, max(n - 2, 1)), np.zeros((n, n)), np.eye(n)[::-1]):
        permutation, L, U = lu(A)
        np.testing.assert_allclose(L @ U, A[permutation], atol=1e-14 * n * max(1, np.abs(A).max()))
        np.testing.assert_array_equal(L, np.tril(L))
        np.testing.assert_array_equal(np.diag(L), 1)
        np.testing.assert_array_equal(U, np.triu(U))
        assert np.abs(L).max() <= 1


def test_lu_pivots_where_plain_elimination_fails():
    A = np.array([[1e-20, 1.0], [1.0, 1.0]])
    permutation, L, U = lu(A)
    assert permutation.tolist() == [1, 0]
    np.testing.assert_array_equal(L @ U, A[permutation])


def test_lu_of_a_box_is_refused():
    with pytest.raises(NotImplementedError, match="_lu"):
        grad(lambda A: lu(A)[2][0, 0])(random_matrix(2))


# --------------------------------------------------------------------------------------------- log|det|


@pytest.mark.parametrize("n", range(1, 9))
def test_log_abs_det_is_slogdet(n):
    for A in (
        random_matrix(n),
        random_matrix(n)[::-1],
        1e200 * random_matrix(n),
        1e-200 * random_matrix(n),
        np.eye(n)[::-1],
    ):
        sign, log_abs = log_abs_det(A)
        expected = np.linalg.slogdet(A)
        assert sign == expected[0]
        assert log_abs == pytest.approx(expected[1], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    "A", [np.zeros((3, 3)), np.ones((4, 4)), [[1, 2], [2, 4]], [[0, 1], [0, 1]], [[1e-200, 0], [0, 0]]]
)
def test_log_abs_det_of_an_exactly_singular_matrix(A):
    sign, log_abs = log_abs_det(A)
    assert (sign, log_abs) == (0, -np.inf)
    assert not np.signbit(sign)


def test_det_overflows_where_log_abs_det_stands():
    Q = np.linalg.qr(random_matrix(400))[0]
    assert abs(det_lu(10 * Q)) == np.inf
    assert abs(det_lu(0.1 * Q)) == 0
    for scale in (10, 0.1):
        sign, log_abs = log_abs_det(scale * Q)
        assert sign == np.sign(np.linalg.det(Q))
        assert log_abs == pytest.approx(400 * np.log(scale), rel=1e-12)


def test_det_does_not_overflow_halfway():
    diagonal = np.array([1e200, 1e200, 1e-200, -3e-200])
    for order in itertools.permutations(range(4)):
        D = np.diag(diagonal[list(order)])
        assert det_lu(D) == pytest.approx(-3)
        assert det_triangular(D) == pytest.approx(-3)
    assert det_lu(np.diag([1e200, 1e200, 1e200, 0.0])) == 0
    assert det_triangular(np.diag([1e300, 1e300])) == np.inf


def test_ill_conditioned_matrices_warn_and_name_the_condition_number():
    with pytest.warns(IllConditionedWarning, match=r"12 x 12 matrix is [34]\.\de\+16 in the 1-norm") as caught:
        log_abs_det(hilbert(12))
    assert caught[0].filename == __file__
    with pytest.warns(IllConditionedWarning):
        log_abs_det([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    with pytest.warns(IllConditionedWarning):
        log_abs_det(low_rank(6, 4))
    with pytest.warns(IllConditionedWarning):
        log_abs_det(low_rank(6, 5).astype(np.float32))


def growing(n):
    """Pivots that double in every step, and yet a small condition number."""
    A = np.eye(n) - np.tril(np.ones((n, n)), -1)
    A[:, -2:] = np.random.default_rng(0).normal(size=(n, 2))
    return A


def test_a_zero_pivot_that_rounding_may_have_made_warns():
    A = growing(60)
    assert np.linalg.cond(A) < 1e3
    sign, log_abs = log_abs_det(A.T)  # no growth, no warning
    assert (sign, log_abs) == (1, pytest.approx(37.823458168953, abs=1e-11))
    with pytest.warns(IllConditionedWarning, match=r"a pivot is 0.* 60 x 60 matrix by \d.* do not conclude") as caught:
        log_abs_det(A)
    assert caught[0].filename == __file__
    with pytest.warns(IllConditionedWarning, match="so do not trust it"):
        log_abs_det(growing(50))  # no pivot of 0: the other warning
    with pytest.warns(IllConditionedWarning, match="a pivot is 0"):
        log_abs_det(1e-150 * A)


def test_singular_matrices_with_a_zero_pivot_do_not_warn():
    repeated = random_matrix(6)
    repeated[:, 3] = repeated[:, 1]
    for A in ([[1, 2], [2, 4]], np.zeros((3, 3)), np.ones((40, 40)), np.diag([1e30, 0.0, 1e-30]), repeated, repeated.T):
        assert log_abs_det(A) == (0, -np.inf)
        assert log_abs_det(np.array(A, dtype=np.float32)) == (0, -np.inf)


def test_no_warning_for_bad_scaling_that_harms_no_determinant():
    scales = np.array([1e-150, 1.0, 1e150, 1e30])
    A = random_matrix(4)
    for B in (scales[:, None] * A, A * scales, np.diag(scales)):
        log_abs_det(B)
    log_abs_det(random_matrix(48).astype(np.float32))
    log_abs_det(hilbert(10))


def test_what_does_not_warn_is_right():
    rng = np.random.default_rng(2)
    warned = 0
    for _ in range(60):
        n = rng.integers(2, 7)
        left, right = (np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(2))
        A = left * np.geomspace(1, 10 ** -rng.uniform(8, 17), n) @ right
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sign, log_abs = log_abs_det(A)
        warned += len(caught)
        if not caught:
            exact = exact_det(A)
            assert sign == (1 if exact > 0 else -1)
            assert abs(log_abs - log_of(exact)) < 0.01
    assert 5 < warned < 40


# --------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("n", range(1, 6))
def test_gradients_of_det(n):
    A = random_matrix(n)
    expected = np.linalg.det(A) * np.linalg.inv(A).T
    for gradient in (grad(det_leibniz), grad(det_laplace), grad(det_lu), det_gradient, grad(anp.linalg.det)):
        np.testing.assert_allclose(gradient(A), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(finite_difference(det_leibniz, A), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("n", "rank"), [(1, 0), (2, 1), (3, 0), (4, 1), (4, 2), (4, 3), (5, 4)])
def test_gradients_of_det_at_singular_matrices(n, rank):
    A = low_rank(n, rank)
    expected = finite_difference(det_leibniz, A)
    for gradient in (grad(det_leibniz), grad(det_laplace), grad(det_lu), det_gradient):
        np.testing.assert_allclose(gradient(A), expected, rtol=1e-6, atol=1e-7)
    assert np.linalg.matrix_rank(adjugate(A), tol=1e-9) == (1 if rank == n - 1 else 0)


def test_autograds_own_det_has_no_gradient_where_ours_has():
    A = np.array([[1.0, 2.0], [2.0, 4.0]])
    with pytest.raises(np.linalg.LinAlgError):
        grad(anp.linalg.det)(A)
    for det in DETS:
        np.testing.assert_array_equal(grad(det)(A), [[4, -2], [-2, 1]])


@pytest.mark.parametrize("n", range(1, 7))
def test_adjugate(n):
    for A in (random_matrix(n), low_rank(n, max(n - 1, 1))):
        np.testing.assert_allclose(A @ adjugate(A), np.linalg.det(A) * np.eye(n), atol=1e-12)
        np.testing.assert_array_equal(adjugate(A), det_gradient(A).T)


@pytest.mark.parametrize("n", range(1, 9))
def test_gradient_of_log_abs_det(n):
    A = random_matrix(n)
    expected = np.linalg.inv(A).T
    for gradient in (log_abs_det_gradient, grad(lambda A: log_abs_det(A)[1]), grad(lambda A: anp.linalg.slogdet(A)[1])):
        np.testing.assert_allclose(gradient(A), expected, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(finite_difference(lambda A: log_abs_det(A)[1], A), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(grad(lambda A: log_abs_det(A)[0])(A), 0)


def test_gradients_of_gradients():
    A = random_matrix(3)
    np.testing.assert_allclose(
        hessian(lambda A: log_abs_det(A)[1])(A), hessian(lambda A: anp.linalg.slogdet(A)[1])(A), rtol=1e-10, atol=1e-12
    )
    np.testing.assert_allclose(hessian(det_lu)(A), hessian(det_leibniz)(A), atol=1e-12)
    np.testing.assert_allclose(jacobian(det_gradient)(A), hessian(det_leibniz)(A), atol=1e-12)
    np.testing.assert_allclose(hessian(det_triangular)(np.diag([2.0, 3.0]))[0, 0], [[0, 0], [0, 1]], atol=1e-15)
    check_grads(log_abs_det_gradient, modes=["rev"], order=2)(A)
    check_grads(det_laplace, modes=["rev"], order=2)(A)


def test_gradient_of_det_triangular_with_zeros_on_the_diagonal():
    T = np.tril(random_matrix(4))
    T[1, 1] = 0
    d = np.diag(T)
    expected = np.diag([np.prod(np.delete(d, i)) for i in range(4)])
    np.testing.assert_allclose(grad(det_triangular)(T), expected, rtol=1e-12, atol=0)


def test_log_abs_det_in_the_middle_of_a_graph():
    x = np.random.default_rng(3).normal(size=4)

    def loss(x):
        A = anp.reshape(x, (2, 2))
        sign, log_abs = log_abs_det(anp.tanh(A) + anp.eye(2) * 2)
        return sign * log_abs**2 + log_abs_det(A)[1] + det_lu(A)

    check_grads(loss, modes=["rev"], order=2)(x)


@pytest.mark.parametrize("A", [[[1.0, 2.0], [2.0, 4.0]], np.zeros((3, 3)), np.ones((4, 4))])
def test_log_abs_det_has_no_gradient_at_singular_matrices(A):
    A = np.array(A)
    with pytest.raises(
        SingularMatrixError, match="log_abs_det_gradient: expected an invertible matrix, got pivot 1|pivot 0"
    ):
        log_abs_det_gradient(A)
    with pytest.raises(SingularMatrixError, match="log_abs_det_gradient"):
        grad(lambda A: log_abs_det(A)[1])(A)


# --------------------------------------------------------------------------------------------- rules

entries = st.integers(-9, 9)


@st.composite
def pairs(draw):
    n = draw(st.integers(1, 5))
    matrix = st.lists(st.lists(entries, min_size=n, max_size=n), min_size=n, max_size=n)
    return np.array(draw(matrix)), np.array(draw(matrix))


by_rule = settings(max_examples=60, deadline=None, derandomize=True)


@by_rule
@given(pairs())
def test_rules_of_the_determinant(matrices):
    A, B = matrices
    n = len(A)
    exact = int(exact_det(A))
    for det in DETS:
        assert det(A) == pytest.approx(exact, abs=1e-7)
        assert det(A @ B) == pytest.approx(exact * int(exact_det(B)), rel=1e-7, abs=1e-3)
        assert det(A.T) == pytest.approx(exact, abs=1e-7)
        assert det(3 * A) == pytest.approx(3**n * exact, rel=1e-9, abs=1e-5)
        assert det(A[:, ::-1]) == pytest.approx(parity(np.arange(n)[::-1]) * exact, abs=1e-7)


@by_rule
@given(pairs())
def test_inverse_rule(matrices):
    A = matrices[0]
    assume(exact_det(A) != 0)
    inverse = log_abs_det_gradient(A).T
    np.testing.assert_allclose(inverse @ A, np.eye(len(A)), atol=1e-8)
    largest_term = np.prod(np.abs(inverse).sum(axis=1)) * abs(det_lu(A))
    for det in DETS:
        assert det(inverse) * det(A) == pytest.approx(1, rel=1e-14 * np.linalg.cond(A) * largest_term)
    assert log_abs_det(inverse)[1] == pytest.approx(-log_abs_det(A)[1], abs=1e-8)


# --------------------------------------------------------------------------------------------- low rank


@pytest.mark.parametrize(("n", "k"), [(1, 1), (3, 1), (5, 2), (4, 4), (2, 5), (3, 0), (0, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_lemma_and_woodbury_against_the_dense_matrix(n, k, seed):
    rng = np.random.default_rng(seed)
    U, V = rng.normal(size=(2, n, k))
    d, dense = rng.normal(size=n), rng.normal(size=(n, n))
    given_solve = (lambda B: np.linalg.solve(dense, B), log_abs_det(dense))
    for A, full in ((d, np.diag(d) + U @ V.T), (given_solve, dense + U @ V.T)):
        expected = np.linalg.slogdet(full)
        sign, log_abs = log_abs_det_lemma(A, U, V)
        assert sign == expected[0]
        assert log_abs == pytest.approx(expected[1], abs=1e-10)
        assert det_lemma(A, U, V) == pytest.approx(np.linalg.det(full), rel=1e-10)
        for b in (rng.normal(size=n), rng.normal(size=(n, 3))) if n else ():
            np.testing.assert_allclose(woodbury_solve(A, U, V, b), np.linalg.solve(full, b), rtol=1e-8, atol=1e-9)
        if n:
            np.testing.assert_allclose(woodbury_solve(A, U, V, np.eye(n)), np.linalg.inv(full), rtol=1e-8, atol=1e-9)


def test_lemma_overflows_to_inf_where_its_logarithm_stands():
    u = np.ones((400, 1))
    assert det_lemma(np.full(400, 10.0), u, u) == np.inf
    assert log_abs_det_lemma(np.full(400, 10.0), u, u)[1] == pytest.approx(400 * np.log(10) + np.log(41))


def test_gradients_through_the_lemma_and_woodbury():
    rng = np.random.default_rng(4)
    d, U, V, b = rng.normal(size=4), rng.normal(size=(4, 2)), rng.normal(size=(4, 2)), rng.normal(size=4)
    check_grads(lambda *a: log_abs_det_lemma(*a)[1], modes=["rev"], order=2)(d, U, V)
    check_grads(det_lemma, modes=["rev"], order=1)(d, U, V)
    check_grads(woodbury_solve, modes=["rev"], order=2)(d, U, V, b)
    dense_gradient = grad(lambda d: anp.linalg.slogdet(anp.diag(d) + U @ V.T)[1])(d)
    np.testing.assert_allclose(grad(lambda d: log_abs_det_lemma(d, U, V)[1])(d), dense_gradient, rtol=1e-10)


def test_a_singular_sum():
    u = np.array([[1.0], [0.0]])
    assert log_abs_det_lemma([1.0, 2.0], u, -u) == (0, -np.inf)
    assert det_lemma([1.0, 2.0], u, -u) == 0
    with pytest.raises(SingularMatrixError, match="woodbury_solve: expected an invertible matrix, got pivot 0 of 1"):
        woodbury_solve([1.0, 2.0], u, -u, [1.0, 1.0])


LOW_RANK = [det_lemma, log_abs_det_lemma, lambda A, U, V: woodbury_solve(A, U, V, np.ones(2))]


@pytest.mark.parametrize("function", LOW_RANK)
@pytest.mark.parametrize(
    ("A", "U", "V", "error", "message"),
    [
        ([1.0, 0.0], np.ones((2, 1)), np.ones((2, 1)), SingularMatrixError, "got 0 on its diagonal, at 1"),
        ([1.0, 2.0], np.ones(2), np.ones(2), ValueError, r"one vector is u\[:, None\]"),
        ([1.0, 2.0], np.ones((2, 1)), np.ones((2, 2)), ValueError, r"one shape \(n, k\), got \(2, 1\) and \(2, 2\)"),
        ([1.0], np.ones((2, 1)), np.ones((2, 1)), ValueError, r"of shape \(2,\) like the rows of U, got \(1,\)"),
        (np.eye(2), np.ones((2, 1)), np.ones((2, 1)), ValueError, r"pair \(solve, log_abs_det\(A\)\)"),
        ((1.0, 2.0), np.ones((2, 1)), np.ones((2, 1)), ValueError, "got a tuple"),
        ([1.0, np.nan], np.ones((2, 1)), np.ones((2, 1)), ValueError, r"got A\[1\] = nan"),
        ([1.0, 2.0], np.full((2, 1), np.inf), np.ones((2, 1)), ValueError, r"got U\[0, 0\] = inf"),
        ([1.0, 2.0], np.ones((2, 1)), np.full((2, 1), -np.inf), ValueError, r"got V\[0, 0\] = -inf"),
        (["a", "b"], np.ones((2, 1)), np.ones((2, 1)), TypeError, "real numbers in A"),
        ([1.0, 2.0], np.ones((2, 1)) * 1j, np.ones((2, 1)), TypeError, "real numbers in U, got dtype complex128"),
    ],
)
def test_low_rank_functions_refuse(function, A, U, V, error, message):
    with pytest.raises(error, match=message):
        function(A, U, V)


@pytest.mark.parametrize(
    ("b", "error", "message"),
    [
        (np.ones(3), ValueError, r"expected b of shape \(2,\) or \(2, m\), got \(3,\)"),
        (np.ones((2, 2, 2)), ValueError, "expected b of shape"),
        (1.0, ValueError, "expected b of shape"),
        ([1.0, np.nan], ValueError, r"b\[1\] = nan"),
        (["a", "b"], TypeError, "real numbers in b"),
    ],
)
def test_woodbury_refuses_a_bad_right_hand_side(b, error, message):
    with pytest.raises(error, match=message):
        woodbury_solve([1.0, 1.0], np.ones((2, 1)), np.ones((2, 1)), b)


def test_low_rank_functions_take_integers():
    u = [[1], [1]]
    assert det_lemma([1, 1], u, u) == pytest.approx(3)
    np.testing.assert_allclose(woodbury_solve([1, 1], u, u, [3, 0]), [2, -1])


# --------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("function", SQUARE, ids=name)
@pytest.mark.parametrize(
    ("A", "error", "message"),
    [
        (np.ones((2, 3)), ValueError, r"expected a square matrix \(n, n\), got shape \(2, 3\)"),
        (np.ones(4), ValueError, r"got shape \(4,\)"),
        (np.ones((2, 2, 2)), ValueError, r"got shape \(2, 2, 2\)"),
        (1.0, ValueError, r"got shape \(\)"),
        ([], ValueError, r"got shape \(0,\)"),
        (np.zeros((0, 2)), ValueError, r"got shape \(0, 2\)"),
        ([[1.0, 0.0], [np.nan, np.inf]], ValueError, r"expected finite numbers, got A\[1, 0\] = nan"),
        ([[1.0, np.inf], [0.0, 1.0]], ValueError, r"got A\[0, 1\] = inf"),
        (np.ones((2, 2), dtype=object), TypeError, "expected real numbers in A, got dtype object"),
        ([["a", "b"], ["c", "d"]], TypeError, "got dtype <U1"),
        (np.ones((2, 2), dtype=bool), TypeError, "got dtype bool"),
        (np.ones((2, 2)) * 1j, TypeError, "got dtype complex128"),
        (None, TypeError, "got dtype object"),
    ],
)
def test_bad_matrices_are_refused_by_name(function, A, error, message):
    with pytest.raises(error, match=f"^{function.__name__}: .*{message}"):
        function(A)


def test_non_finite_entries_are_found_inside_boxes():
    with pytest.raises(ValueError, match=r"log_abs_det: expected finite numbers, got A\[0, 1\] = nan"):
        hessian(lambda A: log_abs_det(A)[1])(np.array([[1.0, np.nan], [0.0, 1.0]]))


@pytest.mark.parametrize("det", [det_leibniz, det_laplace], ids=name)
def test_expansions_refuse_large_matrices_and_name_the_cost(det):
    n = LARGEST_EXPANSION + 1
    with pytest.raises(ValueError, match=rf"{det.__name__}: n = 10 .*limited to 9; det_lu\(A\) takes 339"):
        det(np.eye(n))
    assert det(np.eye(n - 1)) == 1


def test_det_triangular_refuses_other_matrices():
    with pytest.raises(
        ValueError, match=r"det_triangular: expected a triangular matrix.*\[\[1, 0\]\] and \[\[0, 1\]\]"
    ):
        det_triangular(np.ones((2, 2)))


# --------------------------------------------------------------------------------------------- counts


class Counted:
    """A number that counts the products and quotients of two numbers of its kind; changes of sign are free."""

    count = 0

    def __init__(self, value):
        self.value = value

    def __add__(self, other):
        return Counted(self.value + getattr(other, "value", other))

    def __sub__(self, other):
        return Counted(self.value - other.value)

    def __mul__(self, other):
        if not isinstance(other, Counted):
            assert other in (1, -1)
            return Counted(self.value * other)
        Counted.count += 1
        return Counted(self.value * other.value)

    def __truediv__(self, other):
        Counted.count += 1
        return Counted(self.value / other.value)

    def __abs__(self):
        return Counted(abs(self.value))

    def __lt__(self, other):
        return self.value < getattr(other, "value", other)

    def __gt__(self, other):
        return self.value > getattr(other, "value", other)

    def __eq__(self, other):
        return self.value == getattr(other, "value", other)

    __radd__, __rmul__, __hash__ = __add__, __mul__, None


@pytest.mark.parametrize(
    ("kernel", "multiplications", "sizes"),
    [
        (determinants._leibniz, multiplications_leibniz, range(1, 8)),
        (determinants._laplace, multiplications_laplace, range(1, 8)),
        (determinants._det_lu, multiplications_lu, [1, 2, 3, 4, 5, 8, 13, 20]),
    ],
)
def test_closed_forms_count_what_the_kernels_do(kernel, multiplications, sizes):
    for n in sizes:
        A = random_matrix(n)
        Counted.count = 0
        det = kernel(np.array([[Counted(a) for a in row] for row in A], dtype=object))
        assert Counted.count == multiplications(n)
        assert det.value == pytest.approx(np.linalg.det(A), rel=1e-10)


@pytest.mark.parametrize(
    "multiplications", [multiplications_leibniz, multiplications_laplace, multiplications_lu], ids=name
)
def test_counts_refuse_what_is_no_size(multiplications):
    assert isinstance(multiplications(np.int64(30)), int)
    for bad in (0, -1, 2.0, "3", None, True):
        with pytest.raises(ValueError, match="expected n to be an integer >= 1, got"):
            multiplications(bad)
