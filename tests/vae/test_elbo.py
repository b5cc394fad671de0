"""Bounds on log p(x), held against a model on which log p(x), the posterior and every KL are exact."""

import itertools
import math

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from scipy import stats

from minigen.foundations.distributions import Normal, kl_normal
from minigen.reparameterization.estimators import CholeskyGaussian, DiagonalGaussian
from minigen.tree import tree_leaves, tree_map
from minigen.vae.elbo import (
    LinearGaussian,
    elbo_sampled,
    elbo_split,
    importance_sampled,
    importance_weighted_bound,
    log_weights,
)

FAMILIES = {"diagonal": DiagonalGaussian(), "cholesky": CholeskyGaussian()}
SIZES = [(1, 1), (2, 1), (3, 2), (2, 3), (5, 3)]  # (D, D_z)
of_sizes = pytest.mark.parametrize(("D", "latent"), SIZES)
of_families = pytest.mark.parametrize("name", FAMILIES)


def build(D, latent, n=4, seed=0):
    """Return a model and points of it."""
    rng = np.random.default_rng(seed)
    model = LinearGaussian(rng.standard_normal((D, latent)), rng.standard_normal(D), 0.6)
    return model, model.sample(rng, n)


def guess(name, model, x, seed=1, size=0.5):
    """Return params of the family at each x, not too far from the posterior."""
    rng, posterior = np.random.default_rng(seed), model.posterior(x)
    params = {"mean": posterior["mean"], "log_std": posterior["log_diag"]} if name == "diagonal" else posterior
    return tree_map(lambda leaf: leaf + size * rng.standard_normal(leaf.shape), params)


def quadrature(n, latent):
    """Return noise (K, N, D_z), the same for each point, and weights (K,): exact for polynomials in the noise."""
    points, weights = np.polynomial.hermite_e.hermegauss(4)
    grid = np.array(list(itertools.product(points, repeat=latent)))
    products = np.array([math.prod(w) for w in itertools.product(weights / weights.sum(), repeat=latent)])
    return np.repeat(grid[:, None, :], n, axis=1), products


# ---------------------------------------------------------------- the linear Gaussian model


@of_sizes
def test_evidence_and_posterior_are_those_of_the_joint_gaussian(D, latent):
    model, x = build(D, latent)
    W, cov = model.W, model.W @ model.W.T + 0.36 * np.eye(D)
    np.testing.assert_allclose(model.log_prob(x), stats.multivariate_normal(model.b, cov).logpdf(x), atol=1e-10)
    assert model.entropy() == pytest.approx(stats.multivariate_normal(model.b, cov).entropy())
    gain = W.T @ np.linalg.inv(cov)  # conditioning of the joint Gaussian of (z, x), without Woodbury
    posterior, q = model.posterior(x), CholeskyGaussian()
    L = q.factor(posterior)
    np.testing.assert_allclose(posterior["mean"], (x - model.b) @ gain.T, atol=1e-11)
    np.testing.assert_allclose(L @ np.transpose(L, (0, 2, 1)), np.stack([np.eye(latent) - gain @ W] * 4), atol=1e-11)
    z = np.random.default_rng(3).standard_normal((4, latent))
    bayes = model.log_joint(x, z) - q.log_prob(posterior, z)
    np.testing.assert_allclose(bayes, model.log_prob(x), atol=1e-9)


def test_samples_have_the_models_moments():
    model, x = build(3, 2, n=100_000)
    np.testing.assert_allclose(x.mean(0), model.b, atol=0.03)
    np.testing.assert_allclose(np.cov(x.T), model.W @ model.W.T + 0.36 * np.eye(3), atol=0.06)
    assert model.log_prob(x).mean() == pytest.approx(-model.entropy(), abs=0.02)


@of_sizes
@of_families
@pytest.mark.parametrize("size", [0.01, 0.5, 2.0])
def test_log_p_is_the_elbo_plus_the_kl(D, latent, name, size):
    model, x = build(D, latent)
    q, params = FAMILIES[name], guess(name, model, x, size=size)
    gap = model.kl_to_posterior(q, params, x)
    assert (gap > 0).all()
    np.testing.assert_allclose(model.elbo(q, params, x) + gap, model.log_prob(x), rtol=1e-12, atol=1e-10)
    L, exact = q.factor(params), model.posterior(x)
    other = CholeskyGaussian().factor(exact)
    pairs = [
        Normal(m, F @ F.T)
        for mean, factor in ((params["mean"], L), (exact["mean"], other))
        for m, F in zip(mean, factor, strict=True)
    ]
    np.testing.assert_allclose(gap, [kl_normal(pairs[i], pairs[4 + i]) for i in range(4)], rtol=1e-9)


@of_sizes
@of_families
def test_both_sampled_forms_have_the_exact_elbo_as_their_mean(D, latent, name):
    model, x = build(D, latent)
    q, params = FAMILIES[name], guess(name, model, x)
    eps, weights = quadrature(4, latent)
    each = log_weights(q, params, model.log_joint, x, eps)
    np.testing.assert_allclose(weights @ each, model.elbo(q, params, x), atol=1e-9)
    split = np.array([elbo_split(q, params, model.log_likelihood, x, e[None]) for e in eps])
    np.testing.assert_allclose(weights @ split, model.elbo(q, params, x), atol=1e-9)


def test_at_the_posterior_every_bound_is_log_p_whatever_the_noise():
    model, x = build(3, 2)
    q, exact = CholeskyGaussian(), model.posterior(x)
    eps = np.random.default_rng(0).standard_normal((7, 4, 2))
    for bound in (elbo_sampled, importance_weighted_bound):
        np.testing.assert_allclose(bound(q, exact, model.log_joint, x, eps), model.log_prob(x), atol=1e-10)
    assert abs(model.kl_to_posterior(q, exact, x)).max() < 1e-12
    _, error = importance_sampled(log_weights(q, exact, model.log_joint, x, eps))
    assert error.max() < 1e-10


# ---------------------------------------------------------------- the bounds


@of_families
def test_one_draw_makes_the_importance_weighted_bound_the_elbos_estimate(name):
    model, x = build(3, 2)
    q, params = FAMILIES[name], guess(name, model, x)
    eps = np.random.default_rng(0).standard_normal((1, 4, 2))
    np.testing.assert_array_equal(
        importance_weighted_bound(q, params, model.log_joint, x, eps), elbo_sampled(q, params, model.log_joint, x, eps)
    )


def test_the_bound_rises_with_the_draws_towards_log_p_and_single_estimates_may_pass_it():
    model, x = build(3, 2, n=1)
    q, params = DiagonalGaussian(), guess("diagonal", model, x, size=0.4)
    exact, repeats = model.log_prob(x)[0], 2000
    rows, x = tree_map(lambda leaf: np.repeat(leaf, repeats, 0), params), np.repeat(x, repeats, 0)
    means, errors, above = [], [], []
    for K in (1, 2, 10, 100):
        eps = np.random.default_rng(K).standard_normal((K, repeats, 2))
        bound = importance_weighted_bound(q, rows, model.log_joint, x, eps)
        means.append(bound.mean())
        errors.append(stats.sem(bound))
        above.append((bound > exact).mean())
    assert abs(means[0] - model.elbo(q, params, x[:1])[0]) < 4 * errors[0]
    assert all(b - a > 3 * math.hypot(e, f) for a, b, e, f in zip(means, means[1:], errors, errors[1:], strict=False))
    assert all(mean <= exact + 3 * error for mean, error in zip(means, errors, strict=True))
    assert exact - means[-1] < 0.02 < exact - means[0]
    assert all(0.05 < share < 0.95 for share in above)


def test_the_bounds_gradient_weighs_the_draws_by_their_normalised_weights():
    model, x = build(3, 2)
    q, params = CholeskyGaussian(), guess("cholesky", model, x)
    eps = np.random.default_rng(0).standard_normal((5, 4, 2))
    w = log_weights(q, params, model.log_joint, x, eps)
    normalised = np.exp(w - w.max(0)) / np.exp(w - w.max(0)).sum(0)
    bound = lambda p: anp.sum(importance_weighted_bound(q, p, model.log_joint, x, eps))  # noqa: E731
    weighted = lambda p: anp.sum(normalised * log_weights(q, p, model.log_joint, x, eps))  # noqa: E731
    for got, expected in zip(tree_leaves(grad(bound)(params)), tree_leaves(grad(weighted)(params)), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-11)
    check_grads(bound, modes=["rev"], order=1)(params)


def test_log_weights_keep_draws_and_points_apart():
    model, x = build(3, 2)
    q, params = CholeskyGaussian(), guess("cholesky", model, x)
    eps = np.random.default_rng(0).standard_normal((5, 4, 2))
    together = log_weights(q, params, model.log_joint, x, eps)
    assert together.shape == (5, 4)
    for k, i in itertools.product(range(5), range(4)):
        one = tree_map(lambda leaf, i=i: leaf[i : i + 1], params)
        alone = log_weights(q, one, model.log_joint, x[i : i + 1], eps[k : k + 1, i : i + 1])
        np.testing.assert_allclose(together[k, i], alone[0, 0], atol=1e-12)


def test_importance_sampled_error_is_the_spread_of_the_estimate():
    model, x = build(2, 1, n=1)
    params = guess("diagonal", model, x, size=0.3)
    rows, x = tree_map(lambda leaf: np.repeat(leaf, 2000, 0), params), np.repeat(x, 2000, 0)
    eps = np.random.default_rng(0).standard_normal((200, 2000, 1))
    estimate, error = importance_sampled(log_weights(DiagonalGaussian(), rows, model.log_joint, x, eps))
    assert error.mean() == pytest.approx(estimate.std(), rel=0.1)
    inside = (abs(estimate - model.log_prob(x)) < 1.96 * error).mean()
    assert abs(inside - 0.95) < 0.03
    shifted = importance_sampled(log_weights(DiagonalGaussian(), rows, model.log_joint, x, eps) - 2000.0)
    np.testing.assert_allclose(shifted[0], estimate - 2000, atol=1e-9)  # weights of exp(-2000) are no matter
    np.testing.assert_allclose(shifted[1], error, atol=1e-9)


def test_float32_stays_float32():
    model, x = build(3, 2)
    narrow = lambda leaf: leaf.astype(np.float32)  # noqa: E731
    q, params = DiagonalGaussian(), tree_map(narrow, guess("diagonal", model, x))
    log_joint = lambda x, z: -anp.sum(z * z, axis=1) - anp.sum(x * x, axis=1)  # noqa: E731
    eps = narrow(np.random.default_rng(0).standard_normal((3, 4, 2)))
    for bound in (elbo_sampled, elbo_split, importance_weighted_bound):
        assert bound(q, params, log_joint, narrow(x), eps).dtype == np.float32
        gradient = grad(lambda p, b=bound: anp.sum(b(q, p, log_joint, narrow(x), eps)))(params)
        assert {leaf.dtype for leaf in tree_leaves(gradient)} == {np.dtype(np.float32)}
    assert {a.dtype for a in importance_sampled(log_weights(q, params, log_joint, narrow(x), eps))} == {
        np.dtype(np.float32)
    }


# ---------------------------------------------------------------- doors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m, q, p, x: log_weights(q, p, m.log_joint, x, np.zeros((4, 2))),
            r"expected noise of shape \(K, 4, D_z",
        ),
        (lambda m, q, p, x: log_weights(q, p, m.log_joint, x, np.zeros((3, 5, 2))), "expected noise"),
        (lambda m, q, p, x: log_weights(q, p, m.log_joint, x, np.zeros((0, 4, 2))), "at least one draw"),
        (lambda m, q, p, x: log_weights(q, p, lambda x, z: z, x, np.zeros((1, 4, 2))), "a number a draw"),
        (lambda m, q, p, x: elbo_split(q, p, lambda x, z: z, x, np.zeros((1, 4, 2))), "elbo_split"),
        (lambda m, q, p, x: importance_sampled(np.zeros((1, 4))), "K >= 2"),
        (lambda m, q, p, x: importance_sampled(np.zeros(4)), "K >= 2"),
        (lambda m, q, p, x: m.log_prob(x[:, :2]), r"expected points of shape \(N, 3\)"),
        (lambda m, q, p, x: m.log_likelihood(x, np.zeros((4, 3))), "LinearGaussian: z"),
        (lambda m, q, p, x: m.posterior(x[0]), "LinearGaussian"),
        (lambda m, q, p, x: LinearGaussian([1.0], [0.0], 1.0), "W of shape"),
        (lambda m, q, p, x: LinearGaussian([[1.0]], [0.0, 0.0], 1.0), "1 rows but b"),
        (lambda m, q, p, x: LinearGaussian([[1.0]], [0.0], 0.0), "sigma > 0"),
        (lambda m, q, p, x: LinearGaussian([[1.0]], [0.0], np.nan), "sigma > 0"),
    ],
)
def test_bad_input_is_named(call, message):
    model, x = build(3, 2)
    with pytest.raises(ValueError, match=message):
        call(model, DiagonalGaussian(), guess("diagonal", model, x), x)


def test_integers_nan_strings_and_empty():
    model, x = build(3, 2)
    whole = np.array([[1, 2, 3]])
    np.testing.assert_array_equal(model.log_prob(whole), model.log_prob(whole.astype(float)))
    assert np.isnan(model.log_likelihood(np.full((1, 3), np.nan), np.zeros((1, 2)))).all()
    with pytest.raises(TypeError):
        model.log_prob(np.array([["a", "b", "c"]]))
    empty = x[:0]
    assert model.log_prob(empty).shape == (0,)
    q, params = CholeskyGaussian(), model.posterior(empty)
    assert model.elbo(q, params, empty).shape == model.kl_to_posterior(q, params, empty).shape == (0,)
    assert importance_weighted_bound(q, params, model.log_joint, empty, np.zeros((2, 0, 2))).shape == (0,)
