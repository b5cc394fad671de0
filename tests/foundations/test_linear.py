"""Linear layers: every one through every check, and each against its dense matrix."""

import contextlib

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from scipy import linalg, stats

from minigen import checks
from minigen.errors import IllConditionedWarning, SingularMatrixError
from minigen.foundations.change_of_variables import Affine, Chain, Inverse, Pushforward
from minigen.foundations.distributions import Normal
from minigen.foundations.linear import DenseLinear, LowRankLinear, LULinear, TriangularLinear, solve_triangular
from minigen.tree import tree_map

MAPS = {
    "dense": lambda D: DenseLinear(),
    "triangular": lambda D: TriangularLinear(),
    "lu": lambda D: LULinear(),
    "lu: permutation": lambda D: LULinear(permutation=np.roll(range(D), 1)),
    "lu: permutation, signs": lambda D: LULinear(np.random.default_rng(2).permutation(D), [-1] + [1] * (D - 1)),
    "low rank 1": lambda D: LowRankLinear(1),
    "low rank 2": lambda D: LowRankLinear(2),
    "inverse dense": lambda D: Inverse(DenseLinear()),
    "inverse lu": lambda D: Inverse(LULinear(np.roll(range(D), 1))),
    "chain": lambda D: Chain([LULinear(), Affine(), TriangularLinear(), LowRankLinear(1)]),
}
IDENTITY_AT_START = ["dense", "triangular", "lu", "low rank 1", "low rank 2", "inverse dense", "chain"]


def jitter(params, rng):
    return tree_map(lambda leaf: leaf + 0.2 * rng.normal(size=leaf.shape).astype(leaf.dtype), params)


def build(name, D, n=5):
    rng = np.random.default_rng(D)
    map, x = MAPS[name](D), rng.normal(size=(n, D))
    return map, jitter(map.init(rng, x), rng), x


def matrix_of(map, params, D):
    return (map.forward(params, np.eye(D))[0] - map.forward(params, np.zeros((1, D)))[0]).T


# ---------------------------------------------------------------- every map, every check


@pytest.mark.parametrize("D", [1, 2, 3, 5])
@pytest.mark.parametrize("name", MAPS)
def test_every_map_passes_every_check(name, D):
    map, params, x = build(name, D)
    assert checks.round_trip_error(map, params, x) <= 1e-12
    assert checks.log_det_cancel_error(map, params, x) <= 1e-12
    assert checks.log_det_error(map, params, x) <= 1e-11
    assert checks.log_det_error(map, params, x, jacobian="finite") <= 1e-6
    assert checks.batch_dependence(map, params, x) <= 1e-14
    assert checks.round_trip_error(map, params, 1e3 * x) <= 1e-9
    np.testing.assert_allclose(
        map.forward(params, x)[1][0], np.linalg.slogdet(matrix_of(map, params, D))[1], atol=1e-12
    )


@pytest.mark.parametrize("D", [1, 3])
@pytest.mark.parametrize("name", IDENTITY_AT_START)
def test_the_start_is_the_identity(name, D):
    x = np.random.default_rng(0).normal(size=(4, D))
    map = MAPS[name](D)
    params = map.init(np.random.default_rng(1), x)
    z, log_det = map.forward(params, x)
    np.testing.assert_allclose(z, x, atol=1e-15)
    np.testing.assert_array_equal(log_det, np.zeros(4))


@pytest.mark.parametrize("name", MAPS)
def test_an_example_context_is_accepted_and_ignored(name):
    x, map = np.random.default_rng(0).normal(size=(4, 3)), MAPS[name](3)
    given, none = (map.init(np.random.default_rng(1), x, context) for context in (np.ones((4, 2)), None))
    tree_map(np.testing.assert_array_equal, given, none)


@pytest.mark.parametrize("name", MAPS)
def test_every_parameter_has_a_gradient_at_the_start(name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 3))
    map = MAPS[name](3)
    params = map.init(rng, x)

    def loss(params):
        z, log_det = map.forward(params, x)
        return anp.mean(anp.sum(z**2, axis=1) / 2 - log_det)

    for leaf, gradient in _pairs(params, grad(loss)(params)):
        assert gradient.shape == leaf.shape
    moves = [abs(gradient).max() > 1e-3 for _, gradient in _pairs(params, grad(loss)(params))]
    assert sum(moves) >= len(moves) - ("low rank" in name or name == "chain")  # low rank: v waits for u to leave zero


def _pairs(params, gradients):
    pairs = []
    tree_map(lambda leaf, gradient: pairs.append((leaf, gradient)), params, gradients)
    return pairs


@pytest.mark.parametrize("name", MAPS)
def test_gradients_of_both_directions(name):
    map, params, x = build(name, 3)
    for direction in (map.forward, map.inverse):

        def total(params, x, direction=direction):
            y, log_det = direction(params, x)
            return anp.sum(anp.sin(y)) + anp.sum(log_det**2)

        check_grads(total, modes=["rev"], order=2)(params, x)


@pytest.mark.parametrize("name", MAPS)
def test_float32_stays_float32_in_values_and_gradients(name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3)).astype(np.float32)
    map = MAPS[name](3)
    params = jitter(map.init(rng, x), rng)
    z, log_det = map.forward(params, x)
    back, log_det_back = map.inverse(params, z)
    assert {a.dtype for a in (z, log_det, back, log_det_back)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(back, x, atol=1e-5)
    for direction in (map.forward, map.inverse):

        def total(params, x, direction=direction):
            y, log_det = direction(params, x)
            return anp.sum(y * y) + anp.sum(log_det)

        assert grad(total, 1)(params, x).dtype == np.float32
        for leaf, gradient in _pairs(params, grad(total)(params, x)):
            assert (gradient.shape, gradient.dtype) == (leaf.shape, np.float32)


@pytest.mark.parametrize("name", MAPS)
def test_batches_good_and_bad(name):
    map, params, x = build(name, 3)
    for direction in (map.forward, map.inverse):
        y, log_det = direction(params, np.zeros((0, 3)))
        assert y.shape == (0, 3)
        assert log_det.shape == (0,)
        for given in (np.ones((2, 3), dtype=int), [[1, 1, 1], [1, 1, 1]]):
            np.testing.assert_array_equal(direction(params, given)[0], direction(params, np.ones((2, 3)))[0])
        np.testing.assert_array_equal(direction(params, x, np.ones((5, 1)))[0], direction(params, x)[0])
        for bad in ([["a", "b", "c"]], np.ones((2, 3), dtype=complex), None):
            with pytest.raises(TypeError, match="expected real numbers"):
                direction(params, bad)
        with pytest.raises(ValueError, match=r"expected points of shape \(N, D\)"):
            direction(params, np.ones(3))
        with pytest.raises(ValueError, match=r" is \(.*\) but [xz] has 4 features \([xz].shape = \(256, 4\)\)"):
            direction(params, np.zeros((256, 4)))
        with_nan = x.copy()
        with_nan[1, 0] = np.nan
        y, _ = direction(params, with_nan)
        assert np.isnan(y[1]).any()
        assert np.isfinite(y[[0, 2, 3, 4]]).all()
    if name != "chain":
        with pytest.raises(ValueError, match="expected points of shape"):
            map.init(np.random.default_rng(0), np.ones(3))


# ---------------------------------------------------------------- each map against its matrix


def test_dense_multiplies_by_its_weight():
    map, params, x = build("dense", 3)
    z, log_det = map.forward(params, x)
    np.testing.assert_allclose(z, [params["weight"] @ row for row in x])
    np.testing.assert_allclose(map.inverse(params, x)[0], np.linalg.solve(params["weight"], x.T).T)


@pytest.mark.parametrize(
    ("direction", "who", "name"), [("forward", "DenseLinear", "x"), ("inverse", "DenseLinear.inverse", "z")]
)
def test_the_message_of_a_wrong_shape(direction, who, name):
    message = rf"^{who}: weight is \(3, 3\) but {name} has 4 features \({name}.shape = \(256, 4\)\)$"
    with pytest.raises(ValueError, match=message):
        getattr(DenseLinear(), direction)({"weight": np.eye(3)}, np.zeros((256, 4)))


@pytest.mark.parametrize(
    ("name", "leaf"), [("triangular", "lower"), ("lu", "lower"), ("lu", "upper"), ("lu", "log_diag")]
)
def test_each_parameter_is_checked(name, leaf):
    map, params, x = build(name, 3)
    with pytest.raises(ValueError, match=rf"{leaf} is \(1,\) but x has 3 features"):
        map.forward(params | {leaf: np.zeros(1)}, x)
    with pytest.raises(KeyError, match=leaf):
        map.forward({key: value for key, value in params.items() if key != leaf}, x)


def test_what_lies_across_the_diagonal_does_not_count():
    for name, leaf, across in (("triangular", "lower", np.triu), ("lu", "lower", np.triu), ("lu", "upper", np.tril)):
        map, params, x = build(name, 3)
        changed = params | {leaf: params[leaf] + across(np.full((3, 3), np.inf))}
        with np.errstate(invalid="ignore"):
            changed[leaf][across(np.ones((3, 3))) == 1] = np.nan
        np.testing.assert_array_equal(map.forward(params, x)[0], map.forward(changed, x)[0])
        np.testing.assert_array_equal(map.inverse(params, x)[0], map.inverse(changed, x)[0])


def test_triangular_by_hand_and_its_dependencies():
    params = {"lower": np.array([[9.0, 9.0], [3.0, 9.0]]), "log_diag": np.log([2.0, 5.0])}
    np.testing.assert_allclose(matrix_of(TriangularLinear(), params, 2), [[2.0, 0.0], [3.0, 5.0]])
    np.testing.assert_allclose(TriangularLinear().forward(params, np.ones((1, 2)))[1], np.log([10.0]))
    map, params, x = build("triangular", 4)
    lower = np.tril(np.ones((4, 4), dtype=bool))
    np.testing.assert_array_equal(checks.dependency_matrix(lambda x: map.forward(params, x)[0], x), lower)
    np.testing.assert_array_equal(checks.dependency_matrix(lambda z: map.inverse(params, z)[0], x), lower)


def test_lu_is_the_product_of_its_factors():
    rng = np.random.default_rng(0)
    W = rng.normal(size=(4, 4))
    P, L, U = linalg.lu(W)
    map = LULinear(permutation=np.argmax(P, axis=1), signs=np.sign(np.diag(U)))
    params = {"lower": L, "upper": U, "log_diag": np.log(abs(np.diag(U)))}
    np.testing.assert_allclose(matrix_of(map, params, 4), W, atol=1e-14)
    x = rng.normal(size=(3, 4))
    np.testing.assert_allclose(map.forward(params, x)[1], np.full(3, np.linalg.slogdet(W)[1]))
    np.testing.assert_allclose(map.inverse(params, x)[0], np.linalg.solve(W, x.T).T)


def test_lu_starts_as_its_permutation_and_signs():
    map = LULinear(permutation=[1, 2, 0], signs=[1, -1, 1])
    x = np.array([[10.0, 20.0, 30.0]])
    z, log_det = map.forward(map.init(np.random.default_rng(0), x), x)
    np.testing.assert_array_equal(z, [[-20.0, 30.0, 10.0]])
    np.testing.assert_array_equal(log_det, [0.0])


@pytest.mark.parametrize("bad", [[0, 0], [1, 2], [0.5, 1], "ab", 3])
def test_lu_refuses_what_is_no_permutation(bad):
    with pytest.raises(ValueError, match="LULinear: expected a permutation"):
        LULinear(permutation=bad)


@pytest.mark.parametrize("bad", [[0, 1], [2, 1], [np.nan, 1], ["+", "-"], [[1, 1]], 1])
def test_lu_refuses_what_is_no_sign(bad):
    with pytest.raises(ValueError, match=r"LULinear: expected signs of \+1 and -1, got"):
        LULinear(signs=bad)


def test_lu_refuses_a_structure_of_another_size():
    params = LULinear().init(np.random.default_rng(0), np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"LULinear: permutation is \(2,\) but x has 3 features"):
        LULinear(permutation=[1, 0]).forward(params, np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"LULinear.inverse: signs is \(2,\) but z has 3 features"):
        LULinear(signs=[1, -1]).inverse(params, np.zeros((5, 3)))


def test_low_rank_is_the_identity_plus_its_product():
    map, params, x = build("low rank 2", 5)
    W = np.eye(5) + params["u"] @ params["v"].T
    np.testing.assert_allclose(matrix_of(map, params, 5), W)
    np.testing.assert_allclose(map.forward(params, x)[1], np.linalg.slogdet(W)[1])
    np.testing.assert_allclose(map.inverse(params, x)[0], np.linalg.solve(W, x.T).T)


@pytest.mark.parametrize("bad", [0, -1, 1.0, "2", None])
def test_low_rank_refuses_a_bad_rank(bad):
    with pytest.raises(ValueError, match="LowRankLinear: expected a positive integer as rank, got"):
        LowRankLinear(bad)


def test_low_rank_of_another_rank_is_refused():
    with pytest.raises(ValueError, match=r"LowRankLinear: u is \(3, 2\) but"):
        LowRankLinear(1).forward({"u": np.zeros((3, 2)), "v": np.zeros((3, 2))}, np.zeros((4, 3)))


SINGULAR = {
    "dense": (DenseLinear(), {"weight": np.array([[1.0, 2.0], [2.0, 4.0]])}),
    "dense, zero": (DenseLinear(), {"weight": np.zeros((2, 2))}),
    "low rank": (LowRankLinear(1), {"u": np.array([[-1.0], [0.0]]), "v": np.array([[1.0], [0.0]])}),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_singular_matrices(name):
    map, params = SINGULAR[name]
    x = np.ones((3, 2))
    np.testing.assert_array_equal(map.forward(params, x)[1], np.full(3, -np.inf))
    for call in (map.inverse, grad(lambda params, z: anp.sum(map.inverse(params, z)[0]))):
        with pytest.raises(SingularMatrixError, match=rf"{type(map).__name__}.inverse: expected an invertible matrix"):
            call(params, x)


def test_a_matrix_that_rounding_hides_is_warned_of():
    params = {"weight": np.arange(1.0, 10.0).reshape(3, 3)}
    with pytest.warns(IllConditionedWarning):
        DenseLinear().forward(params, np.ones((2, 3)))
    # Whether the solver meets a zero pivot here depends on its rounding; if so, it is our error that comes out.
    with pytest.warns(IllConditionedWarning), contextlib.suppress(SingularMatrixError):
        DenseLinear().inverse(params, np.ones((2, 3)))


def test_a_triangular_start_far_out_is_still_invertible():
    x = np.random.default_rng(0).normal(size=(3, 2))
    params = {"lower": np.zeros((2, 2)), "log_diag": np.array([-300.0, 300.0])}
    z, log_det = TriangularLinear().forward(params, x)
    np.testing.assert_allclose(TriangularLinear().inverse(params, z)[0], x)
    np.testing.assert_array_equal(log_det, np.zeros(3))


# ---------------------------------------------------------------- the triangular solve


@pytest.mark.parametrize("lower", [True, False])
def test_solve_triangular_agrees_with_scipy_and_ignores_the_other_side(lower):
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(5, 5)) + 4 * np.eye(5), rng.normal(size=(5, 3))
    np.testing.assert_allclose(solve_triangular(A, b, lower), linalg.solve_triangular(A, b, lower=lower), atol=1e-14)
    check_grads(lambda A, b: solve_triangular(A, b, lower), modes=["rev"], order=2)(A, b)
    across = grad(lambda A: anp.sum(solve_triangular(A, b, lower)))(A)
    np.testing.assert_array_equal(across, (np.tril if lower else np.triu)(across))


def test_solve_triangular_keeps_its_arguments():
    A, b = np.eye(2), np.ones((2, 1))
    x = solve_triangular(A, b)
    x[:] = 7.0
    np.testing.assert_array_equal(b, np.ones((2, 1)))
    assert solve_triangular(np.zeros((0, 0)), np.zeros((0, 2))).shape == (0, 2)


# ---------------------------------------------------------------- pushed Gaussians: the answer is known


@pytest.mark.parametrize("name", ["dense", "triangular", "lu: permutation, signs", "low rank 1", "chain"])
def test_a_gaussian_pushed_by_a_linear_map_is_the_gaussian_of_the_textbook(name):
    map, params, x = build(name, 2)
    pushed = Pushforward(Normal([0.0, 0.0], [1.0, 1.0]), map, params)
    offset = map.forward(params, np.zeros((1, 2)))[0][0]
    W = matrix_of(map, params, 2)
    inverse = np.linalg.inv(W)
    known = stats.multivariate_normal(-inverse @ offset, inverse @ inverse.T)
    np.testing.assert_allclose(pushed.log_prob(x), known.logpdf(x), atol=1e-11)
    assert checks.total_mass(pushed.log_prob, ((-15, 15), (-15, 15))) == pytest.approx(1, abs=1e-6)
    sample = pushed.sample(np.random.default_rng(0), 4000)
    white = (sample @ W.T + offset).ravel()
    assert stats.kstest(white, stats.norm.cdf).pvalue > 0.01


# ---------------------------------------------------------------- wrong maps, and the check that catches each


class NotTransposed(DenseLinear):
    def inverse(self, params, z, context=None):
        x, log_det = super().inverse(params, z)
        return anp.dot(z, anp.linalg.inv(params["weight"])), log_det


class NoInverseSign(LULinear):
    def inverse(self, params, z, context=None):
        x, log_det = super().inverse(params, z)
        return x, -log_det


class DiagonalOfTheWrongMatrix(TriangularLinear):
    """The sum of the diagonal, not of its logarithm, in both directions."""

    def forward(self, params, x, context=None):
        z, log_det = super().forward(params, x)
        return z, log_det * 0 + anp.sum(anp.exp(params["log_diag"]))

    def inverse(self, params, z, context=None):
        x, log_det = super().inverse(params, z)
        return x, log_det * 0 - anp.sum(anp.exp(params["log_diag"]))


class OrderNotUndone(LULinear):
    def inverse(self, params, z, context=None):
        return super().inverse(params, z[:, self.permutation][:, self.permutation])


MUTANTS = {
    "weight not transposed": (NotTransposed(), checks.round_trip_error),
    "sign of the inverse's log-det": (NoInverseSign(), checks.log_det_cancel_error),
    "no logarithm": (DiagonalOfTheWrongMatrix(), checks.log_det_error),
    "permutation not undone": (OrderNotUndone([1, 2, 0]), checks.round_trip_error),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_maps_are_caught(name):
    map, sees = MUTANTS[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 3))
    params = jitter(map.init(rng, x), rng)
    assert sees(map, params, x) > 1e-3
