import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from scipy import integrate, stats

from minigen.errors import OutsideDomainError, SingularMatrixError
from minigen.foundations.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Logistic,
    Mixture,
    Normal,
    Uniform,
    kl_normal,
    log_normal,
)

COV = np.array([[2.0, 0.6, 0.1], [0.6, 1.0, -0.2], [0.1, -0.2, 0.5]])


def continuous():
    """One of each distribution of points, D in {1, 2, 3}."""
    return {
        "normal full": Normal([1.0, -1.0, 0.5], COV),
        "normal diagonal": Normal([1.0, -2.0], [0.25, 4.0]),
        "normal 1D": Normal([1.0], [[0.25]]),
        "uniform": Uniform([-1.0, 0.0], [1.0, 3.0]),
        "logistic": Logistic([0.5, -1.0], [0.5, 2.0]),
        "mixture": Mixture([0.3, 0.7], [Normal([-1.0, 0.0], [1.0, 0.5]), Uniform([0.0, 0.0], [2.0, 1.0])]),
    }


CASES = [pytest.param(distribution, id=name) for name, distribution in continuous().items()]


@pytest.mark.parametrize("cov", [COV, np.diag(COV)], ids=["full", "diagonal"])
def test_normal_is_scipys(cov):
    normal, rng = Normal([1.0, -1.0, 0.5], cov), np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    reference = stats.multivariate_normal(normal.mean, cov if cov.ndim == 2 else np.diag(cov))
    np.testing.assert_allclose(normal.log_prob(x), reference.logpdf(x), atol=1e-12)
    assert normal.entropy() == pytest.approx(reference.entropy(), abs=1e-12)


def test_logistic_uniform_bernoulli_and_categorical_are_scipys():
    rng = np.random.default_rng(0)
    x = 3 * rng.normal(size=(50, 2))
    logistic = Logistic([0.5, -1.0], [0.5, 2.0])
    reference = stats.logistic(logistic.loc, logistic.scale)
    np.testing.assert_allclose(logistic.log_prob(x), reference.logpdf(x).sum(axis=1), atol=1e-12)
    assert logistic.entropy() == pytest.approx(reference.entropy().sum(), abs=1e-8)
    box = Uniform([-1.0, 0.0], [1.0, 3.0])
    np.testing.assert_allclose(box.log_prob(x), stats.uniform([-1, 0], [2, 3]).logpdf(x).sum(axis=1), atol=1e-12)
    assert box.entropy() == pytest.approx(np.log(6))
    bits = Bernoulli([0.2, 0.9])
    b = rng.integers(2, size=(50, 2))
    np.testing.assert_allclose(bits.log_prob(b), stats.bernoulli([0.2, 0.9]).logpmf(b).sum(axis=1), atol=1e-12)
    assert bits.entropy() == pytest.approx(stats.bernoulli([0.2, 0.9]).entropy().sum())
    probs = [0.5, 0.2, 0.3]
    np.testing.assert_allclose(Categorical(probs).log_prob([2, 0, 1]), np.log([0.3, 0.5, 0.2]), atol=1e-12)
    assert Categorical(probs).entropy() == pytest.approx(stats.entropy(probs))


def test_mixture_is_the_weighted_sum_of_its_components():
    mixture = continuous()["mixture"]
    x = np.random.default_rng(0).normal(size=(200, 2))
    density = sum(w * np.exp(c.log_prob(x)) for w, c in zip(mixture.weights, mixture.components, strict=True))
    np.testing.assert_allclose(np.exp(mixture.log_prob(x)), density, rtol=1e-12)


def test_one_dimensional_masses_are_one():
    for distribution in (Normal([0.3], [0.5]), Logistic([0.3], [0.5]), Uniform([0.0], [2.0])):
        density = lambda t, d=distribution: np.exp(d.log_prob(np.array([[t]])))[0]  # noqa: E731
        assert integrate.quad(density, -30, 30, points=[0.0, 2.0])[0] == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("distribution", CASES)
def test_entropy_is_the_mean_of_minus_log_p(distribution):
    # -E[log p] is the entropy; the shape of the marginals is the next test's.
    x = distribution.sample(np.random.default_rng(1), 100_000)
    assert x.shape == (100_000, distribution.features)
    log_probs = distribution.log_prob(x)
    assert log_probs.shape == (100_000,)
    if not isinstance(distribution, Mixture):
        error = log_probs.std() / np.sqrt(len(x)) + 1e-12
        assert abs(-log_probs.mean() - distribution.entropy()) < 4 * error


MARGINALS = [
    (
        Normal([1.0, -1.0, 0.5], COV),
        [stats.norm(m, s) for m, s in zip([1, -1, 0.5], COV.diagonal() ** 0.5, strict=True)],
    ),
    (Normal([1.0, -2.0], [0.25, 4.0]), [stats.norm(1, 0.5), stats.norm(-2, 2)]),
    (Uniform([-1.0, 0.0], [1.0, 3.0]), [stats.uniform(-1, 2), stats.uniform(0, 3)]),
    (Logistic([0.5, -1.0], [0.5, 2.0]), [stats.logistic(0.5, 0.5), stats.logistic(-1, 2)]),
]


@pytest.mark.parametrize(("distribution", "marginals"), MARGINALS)
@pytest.mark.parametrize("scale", [1.0, 1.03])
def test_marginal_samples_pass_kolmogorov_smirnov_and_mis_scaled_ones_fail(distribution, marginals, scale):
    x = scale * distribution.sample(np.random.default_rng(2), 100_000)
    p_value = min(stats.kstest(x[:, d], m.cdf).pvalue for d, m in enumerate(marginals))
    assert p_value > 1e-3 if scale == 1 else p_value < 1e-6


def test_full_normal_samples_have_the_covariance():
    x = Normal([1.0, -1.0, 0.5], COV).sample(np.random.default_rng(3), 200_000)
    np.testing.assert_allclose(np.cov(x.T), COV, atol=0.03)


def test_mixture_samples_pass_kolmogorov_smirnov():
    mixture = Mixture([0.25, 0.75], [Normal([-2.0], [1.0]), Normal([2.0], [0.25])])
    cdf = lambda t: 0.25 * stats.norm.cdf(t, -2, 1) + 0.75 * stats.norm.cdf(t, 2, 0.5)  # noqa: E731
    x = mixture.sample(np.random.default_rng(4), 50_000)[:, 0]
    assert stats.kstest(x, cdf).pvalue > 1e-3
    # The rows are in random order: neighbours know nothing of each other's component.
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 0.02


def test_discrete_samples_have_their_frequencies():
    rng, n = np.random.default_rng(5), 100_000
    bits = Bernoulli([0.0, 0.2, 1.0]).sample(rng, n)
    assert set(np.unique(bits)) == {0.0, 1.0}
    np.testing.assert_allclose(bits.mean(axis=0), [0, 0.2, 1], atol=0.006)
    outcomes = Categorical([0.5, 0.2, 0.3, 0.0]).sample(rng, n)
    assert outcomes.shape == (n,)
    assert outcomes.dtype.kind == "i"
    assert stats.chisquare(np.bincount(outcomes, minlength=4)[:3], n * np.array([0.5, 0.2, 0.3])).pvalue > 1e-3
    assert outcomes.max() == 2


def test_mixture_of_categoricals_draws_integers():
    mixture = Mixture([0.5, 0.5], [Categorical([1.0, 0.0]), Categorical([0.0, 1.0])])
    assert mixture.sample(np.random.default_rng(0), 10).dtype.kind == "i"
    np.testing.assert_allclose(mixture.log_prob(np.array([0, 1])), np.log([0.5, 0.5]))


@pytest.mark.parametrize("distribution", CASES)
def test_gradients_are_finite_differences(distribution):
    x = distribution.sample(np.random.default_rng(6), 5)
    check_grads(distribution.log_prob, modes=["rev"])(x)
    gradient = grad(lambda x: anp.sum(distribution.log_prob(x)))(x)
    assert gradient.shape == x.shape
    rows = [grad(lambda row: distribution.log_prob(row)[0])(row[None])[0] for row in x]
    np.testing.assert_allclose(gradient, rows, atol=1e-12)


def test_gradient_off_the_support_is_zero():
    box = Uniform([0.0], [1.0])
    assert np.all(grad(lambda x: anp.sum(box.log_prob(x)))(np.array([[0.5], [2.0]])) == 0)
    mixture = Mixture([0.5, 0.5], [box, Uniform([2.0], [3.0])])
    assert np.all(grad(lambda x: anp.sum(mixture.log_prob(x)))(np.array([[0.5], [1.5]])) == 0)


def test_off_the_support_is_minus_infinity_without_a_warning():
    box = Uniform([0.0, 0.0], [1.0, 1.0])
    x = np.array([[0.5, 0.5], [0.0, 1.0], [0.5, 1.1], [-np.inf, 0.5], [np.inf, np.inf]])
    np.testing.assert_array_equal(box.log_prob(x), [0, 0, -np.inf, -np.inf, -np.inf])
    mixture = Mixture([1.0, 0.0], [box, Normal([0.0, 0.0], [1.0, 1.0])])
    np.testing.assert_array_equal(mixture.log_prob(x[:3]), [0, 0, -np.inf])
    assert Bernoulli([0.0]).log_prob([[1], [0]]).tolist() == [-np.inf, 0]
    assert Categorical([1.0, 0.0]).log_prob([1, 0]).tolist() == [-np.inf, 0]
    assert Logistic([0.0], [1.0]).log_prob([[np.inf]]).tolist() == [-np.inf]
    assert Normal([0.0], [1.0]).log_prob([[np.inf]]).tolist() == [-np.inf]


def test_deterministic_entropies_are_zero():
    assert Bernoulli([0.0, 1.0]).entropy() == 0
    assert Categorical([0.0, 1.0]).entropy() == 0


PAIRS = {
    "full, full": (Normal([1.0, 0.0, 2.0], COV), Normal([0.0, 0.5, 1.0], 2 * COV + np.eye(3))),
    "diagonal, diagonal": (Normal([1.0, 0.0], [0.5, 2.0]), Normal([0.0, 0.5], [1.0, 3.0])),
    "diagonal, full": (Normal([1.0, 0.0, 2.0], [0.5, 2.0, 1.0]), Normal([0.0, 0.5, 1.0], COV)),
    "full, diagonal": (Normal([1.0, 0.0, 2.0], COV), Normal([0.0, 0.5, 1.0], [1.0, 3.0, 2.0])),
}


@pytest.mark.parametrize(("p", "q"), [pytest.param(*pair, id=name) for name, pair in PAIRS.items()])
def test_kl_normal_is_the_mean_log_ratio(p, q):
    x = p.sample(np.random.default_rng(7), 100_000)
    ratio = p.log_prob(x) - q.log_prob(x)
    kl = kl_normal(p, q)
    assert kl > 0.1
    assert abs(ratio.mean() - kl) < 4 * ratio.std() / np.sqrt(len(x))
    assert kl_normal(p, p) == pytest.approx(0, abs=1e-12)
    as_matrices = [Normal(d.mean, d.cov if d.cov.ndim == 2 else np.diag(d.cov)) for d in (p, q)]
    assert kl == pytest.approx(kl_normal(*as_matrices), rel=1e-12)


def test_kl_normal_refuses_what_it_does_not_know():
    with pytest.raises(TypeError, match="expected two Normals, got Uniform"):
        kl_normal(Normal([0.0], [1.0]), Uniform([0.0], [1.0]))
    with pytest.raises(ValueError, match="p has 1 features but q has 2"):
        kl_normal(Normal([0.0], [1.0]), Normal([0.0, 0.0], [1.0, 1.0]))


def test_log_normal_is_scipys_and_traced_in_all_three():
    rng = np.random.default_rng(8)
    x, mean, log_std = rng.normal(size=(3, 6, 4))
    np.testing.assert_allclose(
        log_normal(x, mean, log_std), stats.norm(mean, np.exp(log_std)).logpdf(x).sum(1), atol=1e-12
    )
    check_grads(log_normal, modes=["rev"], order=2)(x, mean, log_std)
    for shape in ((4,), (1,), (6, 1), ()):  # broadcasts: the value is the full one's, the gradient keeps the shape
        small = rng.normal(size=shape)
        np.testing.assert_allclose(
            log_normal(x, mean, small), log_normal(x, mean, small + np.zeros((6, 4))), atol=1e-12
        )
        assert np.shape(grad(lambda s: anp.sum(log_normal(x, mean, s)))(small)) == shape
    assert np.isnan(log_normal(np.array([[np.nan, 0.0]]), 0.0, 0.0)).all()


@pytest.mark.parametrize("distribution", CASES)
def test_points_at_the_door(distribution):
    d = distribution.features
    assert distribution.log_prob(np.zeros((0, d))).shape == (0,)
    assert distribution.sample(np.random.default_rng(0), 0).shape == (0, d)
    integers = np.ones((3, d), dtype=int)
    np.testing.assert_array_equal(distribution.log_prob(integers), distribution.log_prob(integers.astype(float)))
    np.testing.assert_array_equal(distribution.log_prob(integers.tolist()), distribution.log_prob(integers))
    x = np.ones((2, d))
    x[0, 0] = np.nan
    assert np.isnan(distribution.log_prob(x)).tolist() == [True, False]
    single = distribution.log_prob(np.full((2, d), 0.5, dtype=np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, distribution.log_prob(np.full((2, d), 0.5)), rtol=1e-5)
    with pytest.raises(ValueError, match=rf"expected points of shape \(N, {d}\), got shape \({d},\)"):
        distribution.log_prob(np.ones(d))
    with pytest.raises(ValueError, match=rf"expected points of shape \(N, {d}\), got shape \(2, {d + 1}\)"):
        distribution.log_prob(np.ones((2, d + 1)))
    with pytest.raises(TypeError, match="expected real numbers"):
        distribution.log_prob([["a"] * d])
    with pytest.raises(TypeError, match="expected real numbers"):
        distribution.log_prob(np.ones((2, d), dtype=complex))


def everything():
    return [*continuous().values(), Bernoulli([0.2, 0.9]), Categorical([0.5, 0.2, 0.3])]


@pytest.mark.parametrize("distribution", everything(), ids=lambda d: type(d).__name__)
def test_seeds_and_counts(distribution):
    first, again, other = (distribution.sample(np.random.default_rng(s), 20) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    for n in (-1, 2.5):
        with pytest.raises((ValueError, TypeError)):
            distribution.sample(np.random.default_rng(0), n)


def test_parameters_are_copied_and_frozen():
    mean = np.zeros(2)
    normal = Normal(mean, np.ones(2))
    mean[0] = 5
    assert normal.log_prob([[0.0, 0.0]])[0] == pytest.approx(-np.log(2 * np.pi))
    with pytest.raises(AttributeError):
        normal.mean = mean


BAD_CONSTRUCTIONS = [
    (lambda: Normal(0.0, [1.0]), ValueError, r"expected mean of shape \(D,\), got shape \(\)"),
    (lambda: Normal([[0.0]], [1.0]), ValueError, "expected mean of shape"),
    (lambda: Normal([], []), ValueError, "expected mean of shape"),
    (lambda: Normal([0.0, np.nan], [1.0, 1.0]), ValueError, "mean has entries that are not finite"),
    (lambda: Normal(["a"], [1.0]), ValueError, "could not convert"),
    (lambda: Normal([0.0, 0.0], [1.0]), ValueError, r"expected cov of shape \(2,\) or \(2, 2\), got shape \(1,\)"),
    (lambda: Normal([0.0, 0.0], np.ones((2, 3))), ValueError, r"got shape \(2, 3\)"),
    (lambda: Normal([0.0, 0.0], [[1.0, 0.5], [0.4, 1.0]]), ValueError, r"symmetric cov, got max \|cov - cov.T\| = 0.1"),
    (lambda: Normal([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]), SingularMatrixError, "smallest eigenvalue is -1"),
    (lambda: Normal([0.0, 0.0], np.ones((2, 2))), SingularMatrixError, "smallest eigenvalue is"),
    (lambda: Normal([0.0, 0.0], [1.0, 0.0]), SingularMatrixError, "smallest eigenvalue is 0"),
    (lambda: Normal([0.0], [np.inf]), ValueError, "cov has entries that are not finite"),
    (lambda: Uniform([0.0, 1.0], [1.0, 1.0]), ValueError, "expected low < high"),
    (lambda: Uniform([0.0], [1.0, 1.0]), ValueError, r"low has shape \(1,\) but high has shape \(2,\)"),
    (lambda: Uniform([-np.inf], [1.0]), ValueError, "low has entries that are not finite"),
    (lambda: Logistic([0.0], [0.0]), ValueError, "expected scale > 0"),
    (lambda: Bernoulli([1.1]), ValueError, r"expected probs in \[0, 1\]"),
    (lambda: Categorical([0.5, 0.4]), ValueError, "expected probs that sum to 1, got the sum 0.9"),
    (lambda: Categorical([1.5, -0.5]), ValueError, "expected probs >= 0"),
    (lambda: Mixture([0.5, 0.4], [Normal([0.0], [1.0])] * 2), ValueError, "expected weights that sum to 1"),
    (lambda: Mixture([0.5, 0.5], [Normal([0.0], [1.0])]), ValueError, "expected 2 components .* got 1"),
    (lambda: Mixture([0.5, 0.5], [Normal([0.0], [1.0]), Normal([0.0] * 2, [1.0] * 2)]), ValueError, r"got \[1, 2\]"),
]


@pytest.mark.parametrize(("build", "error", "message"), BAD_CONSTRUCTIONS)
def test_bad_parameters_are_named(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_probabilities_of_a_float32_softmax_are_accepted():
    weights = np.full(3, 1 / 3, dtype=np.float32)
    assert Categorical(weights).probs.sum() == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("x", [[[0.5, 1.0]], [[np.nan, 1.0]], [[2, 1]], [[-1, 0]]])
def test_bernoulli_refuses_what_is_no_bit(x):
    with pytest.raises(OutsideDomainError, match="expected values 0 and 1, got 1 others"):
        Bernoulli([0.5, 0.5]).log_prob(x)


def test_categorical_refuses_what_is_no_outcome():
    dice = Categorical([0.5, 0.5])
    with pytest.raises(OutsideDomainError, match=r"expected outcomes 0 \.\.\. 1, got 2 others"):
        dice.log_prob([-1, 2, 0])
    with pytest.raises(TypeError, match="expected integer outcomes, got dtype float64"):
        dice.log_prob([0.0])
    with pytest.raises(ValueError, match=r"expected outcomes of shape \(N,\), got shape \(1, 1\)"):
        dice.log_prob([[0]])
    assert dice.log_prob(np.zeros(0, dtype=int)).shape == (0,)


def test_unknown_entropy_and_the_bare_contract():
    with pytest.raises(NotImplementedError, match="Mixture: the entropy has no closed form; estimate it by"):
        continuous()["mixture"].entropy()
    with pytest.raises(NotImplementedError, match="log_prob is not defined"):
        Distribution().log_prob(np.zeros((1, 1)))
    with pytest.raises(NotImplementedError, match="sample is not defined"):
        Distribution().sample(np.random.default_rng(0), 1)
