"""Gradient estimators. Where f is a polynomial, means and variances are taken by Gauss-Hermite quadrature: exactly."""

import itertools
import math

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from scipy import stats

from minigen.foundations.distributions import Normal, kl_normal, log_normal
from minigen.foundations.jacobians import jacobian_reverse
from minigen.reparameterization import estimators
from minigen.reparameterization.estimators import (
    CholeskyGaussian,
    DiagonalGaussian,
    bounded_log_scale,
    leave_one_out,
    mean_and_standard_error,
    optimal_baseline,
    pathwise,
    pathwise_elbo,
    per_sample_gradients,
    score_function,
    sticking_the_landing,
)
from minigen.tree import tree_leaves, tree_map

FAMILIES = {"diagonal": DiagonalGaussian(), "cholesky": CholeskyGaussian()}
of_families = pytest.mark.parametrize("name", FAMILIES)


def draw_params(name, D, rng, rows=(), dtype=float):
    """Return params of the family with D features, one set or one for each row."""
    sizes = {"diagonal": {"mean": D, "log_std": D}, "cholesky": {"mean": D, "log_diag": D, "lower": D * (D - 1) // 2}}
    return {key: (0.5 * rng.standard_normal((*rows, size))).astype(dtype) for key, size in sizes[name].items()}


def nodes(D, n=16):
    """Return Gauss-Hermite points (n^D, D) and weights: exact for polynomials of degree 2n - 1 under N(0, I)."""
    points, weights = np.polynomial.hermite_e.hermegauss(n)
    grid = np.array(list(itertools.product(points, repeat=D)))
    return grid, np.array([math.prod(w) for w in itertools.product(weights / weights.sum(), repeat=D)])


def moments(samples, weights):
    """Return the exact mean and variance of every entry of a tree of per-sample gradients at `nodes`."""
    mean = tree_map(lambda leaf: np.tensordot(weights, leaf, 1), samples)
    return mean, tree_map(lambda leaf, m: np.tensordot(weights, (leaf - m) ** 2, 1), samples, mean)


def square(z):
    return anp.sum(z**2, axis=1)


# ---------------------------------------------------------------- the families


@of_families
@pytest.mark.parametrize("D", [1, 2, 3, 5])
def test_family_is_the_gaussian_that_its_factor_says(name, D):
    rng = np.random.default_rng(D)
    q, params = FAMILIES[name], draw_params(name, D, rng)
    L = q.factor(params)
    assert np.array_equal(L, np.tril(L))
    assert (np.diagonal(L) > 0).all()
    eps = rng.standard_normal((7, D))
    z = q.from_noise(params, eps)
    np.testing.assert_allclose(z, params["mean"] + eps @ L.T, atol=1e-13)
    np.testing.assert_allclose(q.log_det(params), np.linalg.slogdet(L)[1], atol=1e-13)
    expected = stats.multivariate_normal(params["mean"], L @ L.T).logpdf(z)
    np.testing.assert_allclose(q.log_prob(params, z), expected, atol=1e-10)
    np.testing.assert_allclose(q.log_prob_from_noise(params, eps), expected, atol=1e-10)
    kl = kl_normal(Normal(params["mean"], L @ L.T), Normal(np.zeros(D), np.ones(D)))
    np.testing.assert_allclose(q.kl_standard_normal(params), kl, atol=1e-12)


@of_families
def test_log_q_is_the_noise_less_the_log_det_of_the_draw(name):
    rng = np.random.default_rng(0)
    q, params, eps = FAMILIES[name], draw_params(name, 3, rng), rng.standard_normal(3)
    J = jacobian_reverse(lambda e: q.from_noise(params, e[None, :])[0], eps)
    expected = stats.norm.logpdf(eps).sum() - np.linalg.slogdet(J)[1]
    np.testing.assert_allclose(q.log_prob_from_noise(params, eps[None, :]), [expected], atol=1e-12)


@of_families
@pytest.mark.parametrize("D", [1, 3])
def test_parameters_with_rows_are_each_row_alone(name, D):
    rng = np.random.default_rng(0)
    q, rows, eps = FAMILIES[name], draw_params(name, D, rng, (4,)), rng.standard_normal((4, D))
    z = q.from_noise(rows, eps)
    for i in range(4):
        one = tree_map(lambda leaf, i=i: leaf[i], rows)
        np.testing.assert_allclose(q.from_noise(one, eps[i : i + 1]), z[i : i + 1], atol=1e-14)
        for method, argument in ((q.log_prob, z), (q.log_prob_from_noise, eps)):
            np.testing.assert_allclose(method(one, argument[i : i + 1]), method(rows, argument)[i : i + 1], atol=1e-12)
        np.testing.assert_allclose(q.kl_standard_normal(one), q.kl_standard_normal(rows)[i], atol=1e-14)
        np.testing.assert_allclose(q.factor(one), q.factor(rows)[i], atol=1e-14)


@of_families
@pytest.mark.parametrize("rows", [(), (4,)])
def test_family_gradients_against_finite_differences(name, rows):
    rng = np.random.default_rng(0)
    q, params, eps = FAMILIES[name], draw_params(name, 3, rng, rows), rng.standard_normal((4, 3))
    z = rng.standard_normal((4, 3))

    def total(params, z):
        path = anp.sum(anp.sin(q.from_noise(params, eps))) + anp.sum(q.log_prob_from_noise(params, eps) ** 2)
        return path + anp.sum(q.log_prob(params, z) ** 2) + anp.sum(q.kl_standard_normal(params))

    check_grads(total, modes=["rev"], order=1)(params, z)
    for got, leaf in zip(tree_leaves(grad(total)(params, z)), tree_leaves(params), strict=True):
        assert got.shape == leaf.shape


@of_families
def test_family_float32_stays_float32(name):
    rng = np.random.default_rng(0)
    q, params = FAMILIES[name], draw_params(name, 3, rng, (4,), np.float32)
    eps = rng.standard_normal((4, 3)).astype(np.float32)
    z = q.from_noise(params, eps)
    outputs = z, q.log_prob(params, z), q.log_prob_from_noise(params, eps), q.kl_standard_normal(params)
    assert {a.dtype for a in (*outputs, q.factor(params))} == {np.dtype(np.float32)}
    gradient = grad(lambda p: anp.sum(q.from_noise(p, eps)) + anp.sum(q.log_prob(p, z)))(params)
    assert {a.dtype for a in tree_leaves(gradient)} == {np.dtype(np.float32)}


@of_families
@pytest.mark.parametrize("D", [1, 2, 5])
def test_network_outputs_become_params(name, D):
    q, y = FAMILIES[name], np.random.default_rng(0).standard_normal((4, FAMILIES[name].outputs(D)))
    params = q.from_outputs(y)
    assert params.keys() == draw_params(name, D, np.random.default_rng(0)).keys()
    assert sum(leaf.shape[1] for leaf in params.values()) == y.shape[1]
    assert q.from_noise(params, np.zeros((4, D))).shape == (4, D)
    start = q.from_outputs(0 * y)
    assert (q.kl_standard_normal(start) == 0).all()  # a network that gives zeros gives the prior
    for extreme in (-1e3, 1e3):
        scales = np.diagonal(q.factor(q.from_outputs(np.full_like(y, extreme))), axis1=1, axis2=2)
        np.testing.assert_allclose(scales, np.exp(7 * np.sign(extreme)), rtol=1e-12)


def test_kl_near_the_prior_keeps_its_digits():
    params = {"mean": np.zeros(1), "log_std": np.array([1e-7])}  # the KL is s², and exp(2s) - 1 - 2s loses it
    np.testing.assert_allclose(DiagonalGaussian().kl_standard_normal(params), 1e-14, rtol=1e-2)
    assert bounded_log_scale(np.array([1e-9]))[0] == pytest.approx(1e-9, rel=1e-12)


def test_nan_goes_through():
    for name, q in FAMILIES.items():
        params = draw_params(name, 2, np.random.default_rng(0))
        params["mean"][0] = np.nan
        assert np.isnan(q.log_prob(params, np.zeros((1, 2)))).all()
        assert np.isnan(q.kl_standard_normal(params))


# ---------------------------------------------------------------- closed forms


@pytest.mark.parametrize(("mu", "s"), [(0, 1), (1, 1), (2, 1), (2, 0.5), (1, 0.1)])
def test_mean_and_variance_of_the_gradient_of_a_squares_expectation(mu, s):
    """E[x²] = mu² + s²; per s itself: params hold log s, so d/ds = (d/d log s)/s."""
    q, params = DiagonalGaussian(), {"mean": np.array([float(mu)]), "log_std": np.log([float(s)])}
    eps, weights = nodes(1)
    z, best = q.from_noise(params, eps), mu**2 + 3 * s**2
    variances = {
        "pathwise": (pathwise(q, params, square, eps), 4 * s**2, 4 * mu**2 + 8 * s**2),
        "score": (
            score_function(q, params, square, z),
            mu**4 / s**2 + 14 * mu**2 + 15 * s**2,
            2 * mu**4 / s**2 + 60 * mu**2 + 74 * s**2,
        ),
        "best baseline": (
            score_function(q, params, square, z, baseline=best),
            mu**4 / s**2 + 14 * mu**2 + 15 * s**2 - best**2 / s**2,
            None,
        ),
    }
    for gradients, of_mu, of_s in variances.values():
        mean, variance = moments(gradients, weights)
        np.testing.assert_allclose((mean["mean"][0], mean["log_std"][0] / s), (2 * mu, 2 * s), atol=1e-9)
        np.testing.assert_allclose(variance["mean"][0], of_mu, rtol=1e-9)
        if of_s is not None:
            np.testing.assert_allclose(variance["log_std"][0] / s**2, of_s, rtol=1e-9)
    for other in (best - 0.1, best + 0.1):
        worse = moments(score_function(q, params, square, z, baseline=other), weights)[1]["mean"][0]
        assert worse > moments(variances["best baseline"][0], weights)[1]["mean"][0]


@pytest.mark.parametrize(("D", "ratio"), [(1, 7.5), (2, 14)])
def test_variance_ratio_grows_with_dimension(D, ratio):
    q, params = DiagonalGaussian(), {"mean": np.ones(D), "log_std": np.zeros(D)}
    eps, weights = nodes(D)
    score = moments(score_function(q, params, square, q.from_noise(params, eps)), weights)[1]["mean"]
    np.testing.assert_allclose(score / moments(pathwise(q, params, square, eps), weights)[1]["mean"], ratio, rtol=1e-9)


@pytest.mark.parametrize(("frequency", "pathwise_is_better"), [(0.5, True), (10.0, False)])
def test_the_pathwise_gradient_may_be_the_noisier_one(frequency, pathwise_is_better):
    q, params = DiagonalGaussian(), {"mean": np.array([0.3]), "log_std": np.zeros(1)}
    eps, weights = nodes(1, 120)
    f = lambda z: anp.sin(frequency * z[:, 0])  # noqa: E731
    path = moments(pathwise(q, params, f, eps), weights)
    score = moments(score_function(q, params, f, q.from_noise(params, eps)), weights)
    expected = frequency * np.cos(0.3 * frequency) * np.exp(-(frequency**2) / 2)
    np.testing.assert_allclose((path[0]["mean"][0], score[0]["mean"][0]), expected, atol=1e-8)
    assert (path[1]["mean"][0] < score[1]["mean"][0]) == pathwise_is_better


def test_a_step_has_no_pathwise_gradient_but_a_score_function_one():
    q, params = DiagonalGaussian(), {"mean": np.array([0.5]), "log_std": np.zeros(1)}
    eps = np.random.default_rng(0).standard_normal((100_000, 1))
    step = lambda z: 0.5 + 0.5 * anp.sign(z[:, 0])  # noqa: E731
    with pytest.warns(UserWarning, match="independent of input"):  # autograd sees it, and gives zeros
        assert not pathwise(q, params, step, eps)["mean"].any()
    mean, error = mean_and_standard_error(score_function(q, params, step, q.from_noise(params, eps)))
    assert abs(mean["mean"][0] - stats.norm.pdf(0.5)) < 4 * error["mean"][0] < 0.02


@of_families
def test_both_estimators_of_a_quadratic_form_are_unbiased(name):
    """E[zᵀ A z + bᵀ z]: gradient (A + Aᵀ) m + b by the mean, and (A + Aᵀ) L by the factor."""
    rng = np.random.default_rng(1)
    A, b = rng.standard_normal((2, 2)), rng.standard_normal(2)
    q, params = FAMILIES[name], draw_params(name, 2, rng)
    L, S = q.factor(params), A + A.T
    of_diagonal = np.diagonal(S @ L) * np.diagonal(L)
    expected = {
        "mean": S @ params["mean"] + b,
        "log_std": of_diagonal,
        "log_diag": of_diagonal,
        "lower": (S @ L)[1:, 0],
    }
    f = lambda z: anp.sum(anp.dot(z, A) * z, axis=1) + anp.dot(z, b)  # noqa: E731
    eps, weights = nodes(2)
    z = q.from_noise(params, eps)
    for gradients in (
        pathwise(q, params, f, eps),
        score_function(q, params, f, z),
        score_function(q, params, f, z, baseline=3.0),
    ):
        for key, mean in moments(gradients, weights)[0].items():
            np.testing.assert_allclose(mean, expected[key], atol=1e-9)


@of_families
def test_elbo_gradients_agree_on_average_and_sticking_the_landing_lands(name):
    rng = np.random.default_rng(2)
    q, params, target = FAMILIES[name], draw_params(name, 2, rng), draw_params("cholesky", 2, rng)
    log_joint = lambda z: CholeskyGaussian().log_prob(target, z) - 1.7  # noqa: E731
    eps, weights = nodes(2)

    def log_weight(z):
        return log_joint(z) - q.log_prob(params, z)

    total, total_variance = moments(pathwise_elbo(q, params, log_joint, eps), weights)
    for gradients in (
        sticking_the_landing(q, params, log_joint, eps),
        score_function(q, params, log_weight, q.from_noise(params, eps)),
    ):
        for got, expected in zip(tree_leaves(moments(gradients, weights)[0]), tree_leaves(total), strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-9)
    assert all((leaf > 1e-3).all() for leaf in tree_leaves(total_variance))
    exact = lambda z: q.log_prob(params, z) + 0.4  # noqa: E731
    landed = sticking_the_landing(q, params, exact, eps)
    assert max(abs(leaf).max() for leaf in tree_leaves(landed)) < 1e-12
    assert abs(tree_leaves(pathwise_elbo(q, params, exact, eps))[0]).max() > 0.1


def test_pathwise_elbo_is_the_gradient_of_what_it_says():
    rng = np.random.default_rng(3)
    q, params, eps = CholeskyGaussian(), draw_params("cholesky", 2, rng), rng.standard_normal((5, 2))
    log_joint = lambda z: anp.sum(anp.sin(z), axis=1)  # noqa: E731

    def elbo(params):
        z = q.from_noise(params, eps)
        return anp.mean(log_joint(z) - q.log_prob_from_noise(params, eps))

    mean = tree_map(lambda leaf: leaf.mean(0), pathwise_elbo(q, params, log_joint, eps))
    for got, expected in zip(tree_leaves(mean), tree_leaves(grad(elbo)(params)), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-12)


# ---------------------------------------------------------------- pieces


def test_per_sample_gradients_are_each_samples_own():
    rng = np.random.default_rng(0)
    params, x = {"W": rng.standard_normal((2, 3)), "b": 0.5, "empty": np.zeros(0)}, rng.standard_normal((4, 3))

    def f(rows):
        return anp.sum(anp.tanh(anp.sum(rows["W"] * x[:, None, :], axis=2)), axis=1) * rows["b"]

    gradients = per_sample_gradients(f, params, 4)
    assert [leaf.shape for leaf in tree_leaves(gradients)] == [(4, 2, 3), (4,), (4, 0)]
    for i in range(4):
        one = grad(lambda p, i=i: anp.sum(anp.tanh(anp.dot(p["W"], x[i]))) * p["b"])(params)
        np.testing.assert_allclose(gradients["W"][i], one["W"], atol=1e-14)
        np.testing.assert_allclose(gradients["b"][i], one["b"], atol=1e-14)


def test_baselines_in_all_three_forms():
    rng = np.random.default_rng(0)
    q, params = DiagonalGaussian(), {"mean": np.ones(2), "log_std": np.zeros(2)}
    z = q.from_noise(params, rng.standard_normal((6, 2)))
    raw, scores = score_function(q, params, square, z), score_function(q, params, lambda z: np.ones(6), z)
    tree = {"mean": np.array([1.0, 2.0]), "log_std": np.array([3.0, 4.0])}
    per_sample = rng.standard_normal(6)
    for baseline, take in (
        (2.5, lambda key: 2.5),
        (per_sample, lambda key: per_sample[:, None]),
        (tree, lambda key: tree[key]),
    ):
        got = score_function(q, params, square, z, baseline)
        for key in params:
            np.testing.assert_allclose(got[key], raw[key] - take(key) * scores[key], atol=1e-12)


def test_leave_one_out_gives_the_unbiased_covariance():
    rng = np.random.default_rng(0)
    q, params = DiagonalGaussian(), {"mean": np.ones(1), "log_std": np.zeros(1)}
    z = q.from_noise(params, rng.standard_normal((8, 1)))
    gradients = score_function(q, params, square, z, leave_one_out(square(z)))
    scores = score_function(q, params, lambda z: np.ones(8), z)["mean"][:, 0]
    np.testing.assert_allclose(gradients["mean"].mean(), np.cov(scores, square(z))[0, 1], atol=1e-12)


def test_optimal_baseline_lowers_the_variance_of_every_parameter():
    rng = np.random.default_rng(0)
    q, params = DiagonalGaussian(), {"mean": np.array([1.0, 2.0]), "log_std": np.array([0.0, -1.0])}
    draw = lambda: q.from_noise(params, rng.standard_normal((50_000, 2)))  # noqa: E731
    baseline, z = optimal_baseline(q, params, square, draw()), draw()
    # E[f s²]/E[s²], coordinate by coordinate: m² + 3σ² there, m² + σ² from the other one
    np.testing.assert_allclose(baseline["mean"], [1 + 3 + 4 + np.exp(-2), 4 + 3 * np.exp(-2) + 1 + 1], rtol=0.03)
    for key in params:
        raw, better, mean = (
            score_function(q, params, square, z, b)[key].var(axis=0) for b in (0.0, baseline, square(z).mean())
        )
        assert (better < raw).all()
        assert (better < mean).all()
    constant = {"mean": np.zeros(1), "unused": np.zeros(2)}

    class Narrow:
        def log_prob(self, params, z):
            return log_normal(z, params["mean"], 0.0) + 0 * anp.sum(params["unused"], axis=-1)

    assert not optimal_baseline(Narrow(), constant, square, np.ones((3, 1)))["unused"].any()


def test_standard_error_covers_the_truth_as_often_as_it_should():
    rng = np.random.default_rng(0)
    samples = rng.exponential(size=(200, 2000))  # 200 draws, 2,000 times
    mean, error = mean_and_standard_error({"a": samples})
    np.testing.assert_allclose(error["a"], stats.sem(samples, axis=0))
    assert abs((abs(mean["a"] - 1) < 1.96 * error["a"]).mean() - 0.95) < 0.025


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda q, p, e: pathwise(q, p, lambda z: z, e), "one number for each draw"),
        (lambda q, p, e: pathwise(q, p, lambda z: anp.sum(z), e), "one number for each draw"),
        (lambda q, p, e: score_function(q, p, lambda z: z, e), "score_function: expected one number for each draw"),
        (lambda q, p, e: score_function(q, p, square, e, np.zeros((5, 1))), "expected one baseline"),
        (lambda q, p, e: score_function(q, p, square, 1.0), "got a scalar"),
        (lambda q, p, e: optimal_baseline(q, p, lambda z: z, e), "optimal_baseline"),
        (lambda q, p, e: leave_one_out(np.ones(1)), "N >= 2"),
        (lambda q, p, e: leave_one_out(np.ones((3, 1))), r"expected shape \(N,\)"),
        (lambda q, p, e: mean_and_standard_error(np.ones(1)), "N >= 2"),
        (lambda q, p, e: mean_and_standard_error(1.0), "N >= 2"),
        (lambda q, p, e: sticking_the_landing(q, p, lambda z: z[:2, 0], e), "shapes|one number|broadcast"),
    ],
)
def test_bad_input_is_named(call, message):
    q, params = DiagonalGaussian(), {"mean": np.zeros(2), "log_std": np.zeros(2)}
    with pytest.raises(ValueError, match=message):
        call(q, params, np.zeros((5, 2)))


def test_integers_are_floats_and_strings_are_refused():
    q, params = DiagonalGaussian(), {"mean": np.array([1, 2]), "log_std": np.array([0, 0])}
    z = np.array([[1, 2], [3, 4]])
    got = score_function(q, params, square, z)["mean"]
    np.testing.assert_allclose(got, square(z)[:, None] * (z - params["mean"]))
    with pytest.raises(TypeError):
        score_function(q, params, square, np.array([["a", "b"]]))


def test_all_names_exist():
    assert all(hasattr(estimators, name) for name in estimators.__all__)
