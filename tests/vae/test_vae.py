"""The variational autoencoder: every noise model, both posteriors, fused against plain, and models known exactly."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, hessian, jacobian
from scipy import stats

from minigen.errors import OutsideDomainError
from minigen.foundations.distributions import Normal
from minigen.fused import BLOCK
from minigen.numerics import log_mean_exp
from minigen.reparameterization.estimators import CholeskyGaussian, DiagonalGaussian
from minigen.train import Adam, FlatGradient, cosine, fit
from minigen.tree import ravel, tree_leaves, tree_map
from minigen.vae import fused as nodes
from minigen.vae import vae as vae_module
from minigen.vae.elbo import LinearGaussian
from minigen.vae.vae import VAE, BernoulliNoise, Decoder, Encoder, GaussianNoise, LearnedGaussian
from tests.counting import counted_nodes

NOISES = {
    "gaussian": GaussianNoise(0.3),
    "learned": LearnedGaussian(0.05),
    "shared": LearnedGaussian(0.05, shared=True),
    "bernoulli": BernoulliNoise(),
}
POSTERIORS = {"diagonal": DiagonalGaussian(), "cholesky": CholeskyGaussian()}
of_noises = pytest.mark.parametrize("noise", NOISES)
of_posteriors = pytest.mark.parametrize("posterior", POSTERIORS)


def build(noise, posterior="diagonal", D=3, latent=2, n=6, dtype=float, fused=True, activation="tanh", hidden=(5, 4)):
    """Return a VAE, jittered params, and data that its noise can make."""
    rng = np.random.default_rng(0)
    vae = VAE(
        Encoder(D, latent, hidden, POSTERIORS[posterior], activation, fused),
        Decoder(latent, D, hidden, NOISES[noise], "tanh", fused),
    )
    x = rng.standard_normal((n, D)).astype(dtype)
    x = (x > 0).astype(dtype) if noise == "bernoulli" else x
    params = tree_map(lambda leaf: leaf + 0.3 * np.asarray(rng.normal(size=leaf.shape), dtype), vae.init(rng, x))
    return vae, params, x


def noise_of(vae, x, *draws, seed=5):
    return np.random.default_rng(seed).standard_normal((*draws, len(x), vae.encoder.latent)).astype(x.dtype)


# ---------------------------------------------------------------- every noise, every posterior


@of_noises
@of_posteriors
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_shapes_and_dtypes_of_everything(noise, posterior, dtype, fused):
    vae, params, x = build(noise, posterior, dtype=dtype, fused=fused)
    eps, rng = noise_of(vae, x, 3), np.random.default_rng(0)
    elbo, weights = vae.elbo(params, rng, x), vae.log_weights(params, x, eps)
    log_likelihood, error = vae.log_likelihood(params, rng, x, 4)
    shapes = {"elbo": elbo.shape, "log p": log_likelihood.shape, "error": error.shape}
    assert set(shapes.values()) == {(6,)}
    assert weights.shape == (3, 6)
    points = vae.sample(params, rng, 7), vae.decode(params, eps[0])
    assert [p.shape for p in points] == [(7, 3), (6, 3)]
    outputs = [elbo, weights, log_likelihood, error, *points, *tree_leaves(vae.encode(params, x))]
    assert {a.dtype for a in outputs} == {np.dtype(dtype)}
    assert {leaf.dtype for leaf in tree_leaves(vae.init(rng, x))} == {np.dtype(dtype)}
    for loss in (vae.loss, lambda p, rng, x: -anp.sum(log_mean_exp(vae.log_weights(p, x, eps), 0))):
        gradient = grad(lambda p, loss=loss: loss(p, np.random.default_rng(0), x))(params)
        for got, leaf in zip(tree_leaves(gradient), tree_leaves(params), strict=True):
            assert (got.shape, got.dtype) == (np.shape(leaf), np.dtype(dtype))


@of_noises
@of_posteriors
@pytest.mark.parametrize("hidden", [(), (5, 4)])
def test_fused_equals_plain_in_value_and_gradient(noise, posterior, hidden):
    fused, params, x = build(noise, posterior, hidden=hidden)
    plain = build(noise, posterior, fused=False, hidden=hidden)[0]
    eps, g = noise_of(fused, x), np.random.default_rng(1).standard_normal(6)
    losses = [lambda p, x, v=v: v.loss(p, np.random.default_rng(5), x) for v in (fused, plain)]
    elbos = [lambda p, x, v=v: anp.dot(g, v.elbo_from_noise(p, x, eps)) for v in (fused, plain)]
    for one, other in (losses, elbos):
        np.testing.assert_allclose(one(params, x), other(params, x), atol=1e-12)
        for argument in (0, 1):
            a, b = (tree_leaves(grad(f, argument)(params, x)) for f in (one, other))
            for got, expected in zip(a, b, strict=True):
                np.testing.assert_allclose(got, expected, atol=1e-10)
    expected = -np.mean(fused.elbo_from_noise(params, x, eps))
    np.testing.assert_allclose(losses[0](params, x), expected, atol=1e-12)  # rng of seed 5 draws this eps


NODES = {  # name -> (node, plain twin, shapes of its arrays, constants)
    "sample": (nodes.sample, nodes.sample_plain, [(6, 4), (6, 2)], {}),
    "kl": (nodes.kl, nodes.kl_plain, [(6, 4)], {}),
    "gaussian": (nodes.gaussian_log_prob, nodes.gaussian_log_prob_plain, [(6, 3), (6, 3)], {"std": 0.3}),
    "learned": (
        nodes.learned_gaussian_log_prob, nodes.learned_gaussian_log_prob_plain, [(6, 6), (6, 3)], {"floor": 0.2},
    ),
    "bernoulli": (nodes.bernoulli_log_prob, nodes.bernoulli_log_prob_plain, [(6, 3), (6, 3)], {}),
    "negative elbo": (
        nodes.negative_elbo,
        nodes.negative_elbo_plain,
        [(6, 3), (6, 2), (5, 3), (5,), (4, 5), (4,), (3, 2), (3,)],
        {"depth": 2, "activations": ("tanh", "relu"), "likelihood": "gaussian", "constants": {"std": 0.4}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("size", [1.0, 30.0])
def test_every_node_equals_its_plain_twin_in_every_argument(name, size):
    node, plain, shapes, constants = NODES[name]
    rng = np.random.default_rng(0)
    arrays = [size * rng.standard_normal(shape) for shape in shapes]
    weights = rng.standard_normal(np.shape(plain(*arrays, **constants)))
    np.testing.assert_allclose(node(*arrays, **constants), plain(*arrays, **constants), rtol=1e-12)
    for argument in range(len(shapes)):
        got, expected = (
            grad(lambda *args, f=f: anp.sum(weights * f(*args, **constants)), argument)(*arrays) for f in (node, plain)
        )
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)


def test_the_loss_of_many_points_is_found_in_blocks():
    node, plain, shapes, constants = NODES["negative elbo"]
    rng, many = np.random.default_rng(0), 2 * BLOCK + 1
    arrays = [rng.standard_normal((many, *shape[1:]) if k < 2 else shape) for k, shape in enumerate(shapes)]
    everything = tuple(range(len(arrays)))
    np.testing.assert_allclose(node(*arrays, **constants), plain(*arrays, **constants), rtol=1e-12)
    ours, theirs = (grad(lambda *arrays, f=f: f(*arrays, **constants), everything)(*arrays) for f in (node, plain))
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
@of_noises
def test_fused_loss_with_other_activations(noise, activation):
    values = []
    for fused in (True, False):
        vae, params, x = build(noise, activation=activation, fused=fused)
        values.append(ravel(grad(lambda p, v=vae, x=x: v.loss(p, np.random.default_rng(5), x))(params))[0])
    np.testing.assert_allclose(*values, atol=1e-10)


@of_noises
def test_fused_nodes_are_re_entrant_and_have_second_derivatives(noise):
    vae, params, x = build(noise, n=3, hidden=(3,))
    plain = build(noise, n=3, hidden=(3,), fused=False)[0]
    vector, unravel = ravel(params)
    loss = lambda v, model, seed=5: model.loss(unravel(v), np.random.default_rng(seed), x)  # noqa: E731
    np.testing.assert_allclose(hessian(loss)(vector, vae), hessian(loss)(vector, plain), atol=1e-9)
    rows = lambda v, model: model.elbo_from_noise(unravel(v), x, noise_of(vae, x))  # noqa: E731
    np.testing.assert_allclose(jacobian(rows)(vector, vae), jacobian(rows)(vector, plain), atol=1e-10)
    twice = lambda v, model: loss(v, model, 1) * loss(v, model, 2)  # noqa: E731  (two live results)
    np.testing.assert_allclose(grad(twice)(vector, vae), grad(twice)(vector, plain), atol=1e-9)


def test_what_a_training_step_costs_in_autograd_nodes():
    counts = {}
    for noise in NOISES:
        vae, params, x = build(noise, dtype=np.float32)
        objective = FlatGradient(vae.loss, params)
        with counted_nodes() as names:
            objective(np.random.default_rng(0), x)
        counts[noise] = len(names)
    assert [counts[noise] for noise in ("gaussian", "learned", "bernoulli")] == [1, 1, 1]
    assert counts["shared"] <= 20
    vae, params, x = build("gaussian")
    with counted_nodes() as names:
        FlatGradient(lambda p, x: anp.sum(vae.elbo_from_noise(p, x, noise_of(vae, x))), params)(x)
    assert len(names) == 7  # encoder, draw, KL, decoder, likelihood, difference, sum


@of_noises
@of_posteriors
def test_points_do_not_see_each_other(noise, posterior):
    vae, params, x = build(noise, posterior)
    eps = noise_of(vae, x)
    together = vae.elbo_from_noise(params, x, eps)
    alone = [vae.elbo_from_noise(params, x[i : i + 1], eps[i : i + 1])[0] for i in range(6)]
    np.testing.assert_allclose(together, alone, atol=1e-12)


@of_posteriors
@pytest.mark.parametrize(("D", "latent"), [(1, 1), (1, 3), (5, 1), (1000, 2)])
def test_any_number_of_features(posterior, D, latent):
    for noise in NOISES:
        vae, params, x = build(noise, posterior, D, latent)
        assert np.isfinite(vae.elbo(params, np.random.default_rng(0), x)).all()
        assert vae.sample(params, np.random.default_rng(0), 2).shape == (2, D)


@of_noises
def test_large_points_stay_finite(noise):
    vae, params, x = build(noise)
    gradient = grad(lambda p: vae.loss(p, np.random.default_rng(0), 1e3 * x))(params)
    assert all(np.isfinite(leaf).all() for leaf in tree_leaves(gradient))
    huge = tree_map(lambda leaf: 1e3 * leaf, params)
    assert np.isfinite(vae.elbo(huge, np.random.default_rng(0), x)).all()


# ---------------------------------------------------------------- what the numbers mean


@of_posteriors
def test_the_encoder_starts_as_the_prior(posterior):
    vae, _, x = build("gaussian", posterior)
    params = vae.init(np.random.default_rng(0), x)
    assert not vae.encoder.posterior.kl_standard_normal(vae.encode(params, x)).any()
    moved = grad(lambda p: vae.loss(p, np.random.default_rng(0), x))(params)["encoder"]
    assert abs(moved[-1]["weight"]).max() > 1e-3  # and learns from there


@of_noises
def test_noise_models_are_the_distributions_they_claim(noise):
    vae, params, x = build(noise)
    z, model, own = noise_of(vae, x), NOISES[noise], params["decoder"]["noise"]
    y = vae.decoder.net(params["decoder"]["net"], z)
    mean = vae.decode(params, z)
    if noise == "bernoulli":
        expected, std = stats.bernoulli.logpmf(x, mean), np.sqrt(mean * (1 - mean))
    else:
        std = np.full(mean.shape, 0.3) if noise == "gaussian" else np.exp(model.log_std(own, y)) + 0 * mean
        expected = stats.norm.logpdf(x, mean, std)
    np.testing.assert_allclose(vae.decoder.log_likelihood(params["decoder"], x, z), expected.sum(1), atol=1e-10)
    draws = model.sample(own, np.random.default_rng(0), np.repeat(y[:1], 50_000, 0))
    np.testing.assert_allclose(draws.mean(0), mean[0], atol=0.025)
    np.testing.assert_allclose(draws.std(0), std[0], rtol=0.02)


def test_learned_scale_starts_at_one_and_never_falls_below_its_floor():
    for shared in (False, True):
        noise = LearnedGaussian(0.05, shared)
        for raw, std in ((0.0, 1.0), (-1e3, 0.05), (-1e6, 0.05)):
            own, y = {"raw_scale": np.array(raw)}, np.full((1, 2 - shared), raw)
            np.testing.assert_allclose(np.exp(noise.log_std(own, y)), std, rtol=1e-12)


def test_grey_pixels_are_refused_where_values_may_be_looked_at():
    vae, params, x = build("bernoulli")
    for call in (lambda x: vae.init(np.random.default_rng(0), x), lambda x: vae.log_likelihood(params, None, x, 2)):
        with pytest.raises(OutsideDomainError, match="values 0 and 1, got 18 others"):
            call(x * 0.5 + 0.2)


@of_posteriors
def test_elbo_is_below_the_log_likelihood_and_its_two_forms_agree(posterior):
    vae, params, x = build("gaussian", posterior)
    log_likelihood, error = vae.log_likelihood(params, np.random.default_rng(0), x, 20_000)
    assert error.max() < 0.3
    draws = np.array([vae.elbo(params, np.random.default_rng(seed), x) for seed in range(2000)])
    mean, spread = draws.mean(0), stats.sem(draws)
    assert (mean < log_likelihood + 3 * (error + spread)).all()
    weights = vae.log_weights(params, x, noise_of(vae, x, 20_000))
    assert (abs(weights.mean(0) - mean) < 4.5 * (stats.sem(weights) + spread)).all()


def test_log_likelihood_against_quadrature():
    vae, params, x = build("learned", latent=1)
    z = np.linspace(-8, 8, 4001)[:, None]
    exact = [
        log_mean_exp(vae.log_joint(params, np.repeat(row[None], len(z), 0), z)) + np.log(16 * len(z) / (len(z) - 1))
        for row in x
    ]
    estimate, error = vae.log_likelihood(params, np.random.default_rng(0), x, 20_000)
    assert (abs(estimate - exact) < 4 * error).all()
    assert error.max() < 0.1


def test_log_likelihood_in_blocks_is_the_same(monkeypatch):
    vae, params, x = build("gaussian")
    whole = vae.log_likelihood(params, np.random.default_rng(0), x, 10)
    for block in (1, 20, 59):
        monkeypatch.setattr(vae_module, "_BLOCK", block)
        np.testing.assert_allclose(vae.log_likelihood(params, np.random.default_rng(0), x, 10), whole, atol=1e-12)


# ---------------------------------------------------------------- trained


def linear_vae(model, posterior, noise):
    D, latent = model.W.shape
    return VAE(Encoder(D, latent, (), posterior), Decoder(latent, D, (), noise))


def test_linear_vae_recovers_probabilistic_pca():
    """Maximum likelihood (Tipping and Bishop): W Wᵀ + σ² I keeps the top eigenvalues and averages the others."""
    rng = np.random.default_rng(0)
    truth = LinearGaussian([[2.0, 0.0], [1.0, 1.0], [0.0, -1.5], [0.5, 0.5]], [1.0, -1.0, 0.0, 2.0], 0.5)
    data = truth.sample(rng, 2000)
    values, vectors = np.linalg.eigh(np.cov(data.T, bias=True))
    kept = np.array([values[:2].mean()] * 2 + [*values[2:]])  # ascending: the first two are noise
    best = Normal(data.mean(0), vectors @ np.diag(kept) @ vectors.T)

    vae = linear_vae(truth, DiagonalGaussian(), LearnedGaussian(0.01, shared=True))
    params, _ = fit(
        vae.loss, vae.init(rng, data), data, rng=rng, steps=1500, batch_size=200,
        optimizer=Adam(0.02), schedule=cosine(1500),
    )  # fmt: skip
    (layer,), own = params["decoder"]["net"], params["decoder"]["noise"]
    sigma = float(np.exp(vae.decoder.noise.log_std(own, data)))
    learned = LinearGaussian(layer["weight"], layer["bias"], sigma)
    gap = best.log_prob(data).mean() - learned.log_prob(data).mean()
    assert 0 <= gap < 0.005
    assert sigma**2 == pytest.approx(values[:2].mean(), rel=0.05)
    np.testing.assert_allclose(learned.W @ learned.W.T + sigma**2 * np.eye(4), best.cov, atol=0.25)
    # At the optimum the columns of W are orthogonal, so a diagonal q is exact and the bound tight.
    bound = learned.elbo(DiagonalGaussian(), vae.encode(params, data), data).mean()
    assert 0 < learned.log_prob(data).mean() - bound < 0.01
    estimate, error = vae.log_likelihood(params, rng, data[:200], 100)
    assert abs(estimate - learned.log_prob(data[:200])).mean() < 3 * error.mean() < 0.1


@pytest.mark.parametrize(("posterior", "gap"), [("cholesky", 0.0), ("diagonal", 0.3)])
def test_full_covariance_closes_the_gap_that_a_diagonal_one_must_leave(posterior, gap):
    rng = np.random.default_rng(0)
    model = LinearGaussian([[1.0, 0.8], [0.2, 0.6], [0.9, 0.5]], [0.0, 0.0, 0.0], 0.5)
    cov = np.linalg.inv(np.eye(2) + model.W.T @ model.W / 0.25)
    mean_field = 0.5 * (np.log(np.diag(np.linalg.inv(cov))).sum() + np.linalg.slogdet(cov)[1])
    assert (mean_field > 0.3) == (gap > 0) or posterior == "cholesky"
    data, family = model.sample(rng, 1000), POSTERIORS[posterior]
    encoder = linear_vae(model, family, GaussianNoise(0.5)).encoder
    loss = lambda params, rng, x: -anp.mean(model.elbo(family, encoder(params, x), x))  # noqa: E731  (no noise at all)
    params, _ = fit(
        loss, encoder.init(rng), data, rng=rng, steps=800, batch_size=200, optimizer=Adam(0.02), schedule=cosine(800)
    )
    found = model.kl_to_posterior(family, encoder(params, data), data).mean()
    assert found == pytest.approx(mean_field if gap else 0.0, abs=0.01)


def test_training_is_repeatable_and_float32_follows_float64():
    results = []
    for dtype in (np.float64, np.float64, np.float32):
        vae, _, x = build("gaussian", n=100, dtype=dtype)
        params = vae.init(np.random.default_rng(0), x)
        params, _ = fit(vae.loss, params, x, rng=np.random.default_rng(1), steps=30, batch_size=20)
        results.append(ravel(params)[0])
    np.testing.assert_array_equal(results[0], results[1])
    assert results[2].dtype == np.float32
    np.testing.assert_allclose(results[2], results[0], atol=1e-4)


# ---------------------------------------------------------------- doors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v, p, x: VAE(Encoder(3, 2), Decoder(3, 3)), "2 latents but the decoder 3"),
        (lambda v, p, x: VAE(Encoder(3, 2), Decoder(2, 4)), "takes 3 features but the decoder gives 4"),
        (lambda v, p, x: Encoder(3, 0), "latent"),
        (lambda v, p, x: Encoder(0, 2), "inputs"),
        (lambda v, p, x: Encoder(3, 2, hidden=(0,)), "hidden"),
        (lambda v, p, x: Encoder(3, 2, activation="sin"), "activation"),
        (lambda v, p, x: Decoder(2, 0), "outputs"),
        (lambda v, p, x: Decoder(0, 2), "inputs"),
        (lambda v, p, x: GaussianNoise(0.0), "std > 0"),
        (lambda v, p, x: GaussianNoise(np.inf), "std > 0"),
        (lambda v, p, x: LearnedGaussian(0.0), "0 < floor < 1"),
        (lambda v, p, x: LearnedGaussian(1.0), "0 < floor < 1"),
        (lambda v, p, x: v.init(None, x[:, :2]), r"VAE: expected points of shape \(N, 3\)"),
        (lambda v, p, x: v.loss(p, np.random.default_rng(0), x[:, :2]), "VAE: expected points"),
        (lambda v, p, x: v.elbo(p, np.random.default_rng(0), x[0]), r"shape \(3,\)"),
        (lambda v, p, x: v.encode(p, x[:, :2]), "expected points"),
        (lambda v, p, x: v.decode(p, x), "expected points"),
        (lambda v, p, x: v.log_likelihood(p, np.random.default_rng(0), x, 1), "draws"),
        (lambda v, p, x: v.log_likelihood(p, np.random.default_rng(0), x, 2.5), "draws"),
        (lambda v, p, x: v.log_weights(p, x, np.zeros((6, 2))), "expected noise"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*build("gaussian"))


def test_integers_strings_nan_and_empty():
    vae, params, x = build("gaussian")
    whole = np.array([[1, 2, 3]])
    np.testing.assert_array_equal(
        vae.elbo(params, np.random.default_rng(0), whole), vae.elbo(params, np.random.default_rng(0), whole * 1.0)
    )
    with pytest.raises(TypeError):
        vae.elbo(params, np.random.default_rng(0), np.array([["a", "b", "c"]]))
    assert np.isnan(vae.loss(params, np.random.default_rng(0), np.full((2, 3), np.nan)))
    assert vae.elbo(params, np.random.default_rng(0), x[:0]).shape == (0,)
    assert vae.log_likelihood(params, np.random.default_rng(0), x[:0], 5)[0].shape == (0,)
    assert vae.sample(params, np.random.default_rng(0), 0).shape == (0, 3)
