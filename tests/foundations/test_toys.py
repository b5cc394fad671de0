import dataclasses
import functools
import math
import pickle

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from scipy import integrate, stats

from minigen.foundations import toy_base
from minigen.foundations.distributions import Mixture, Normal, Uniform, kl_normal
from minigen.foundations.toys import (
    TOYS,
    Banana,
    Checkerboard,
    CorrelatedGaussian,
    EightGaussians,
    Funnel,
    Pinwheel,
    PushedNoise,
    Rings,
    SineWave,
    Spirals,
    Toy,
    TwoMoons,
    kl_to,
)

ALL = [pytest.param(toy, id=name) for name, toy in TOYS.items()]
PUSHED = [pytest.param(toy, id=name) for name, toy in TOYS.items() if isinstance(toy, PushedNoise)]


@functools.cache
def density_on_grid(toy, n=192):
    points, weights = toy.quadrature(n)
    return points, weights * np.exp(toy.log_prob(points))


# Mass and entropy


@pytest.mark.parametrize("toy", ALL)
def test_mass_is_one_and_lies_within_the_bounds(toy):
    points, mass = density_on_grid(toy)
    assert mass.sum() == pytest.approx(1, abs=1e-4)
    low, high = np.array(toy.bounds).T
    assert mass[((points > low) & (points < high)).all(axis=1)].sum() >= 1 - 1e-4


@pytest.mark.parametrize("toy", ALL)
def test_the_bounds_are_no_wider_than_the_draws(toy):
    x, (low, high) = toy.sample(np.random.default_rng(0), 100_000), np.array(toy.bounds).T
    for gap in (x.min(axis=0) - low, high - x.max(axis=0)):
        assert (gap < 0.12 * (high - low)).all()  # a wider box would waste the nodes of every quadrature


@pytest.mark.parametrize("toy", ALL)
def test_an_adaptive_rule_agrees_about_the_mass_of_a_strip(toy):
    # `quadrature` is the toy's own; SciPy knows nothing of it. The strip runs through the middle of the plane.
    low, high = 0.9, 1.1
    y_low, y_high = toy.bounds[1]
    ys = np.linspace(y_low, y_high, 1501)
    x = np.linspace(low, high, 21)
    marginal = [integrate.simpson(np.exp(toy.log_prob(np.stack([np.full_like(ys, a), ys], 1))), x=ys) for a in x]
    strip = toy.sample(np.random.default_rng(0), 200_000)[:, 0]
    inside = ((strip > low) & (strip < high)).mean()
    expected = integrate.simpson(marginal, x=x)
    assert (
        abs(inside - expected) < 4 * math.sqrt(expected / 200_000) + 2e-3 * expected
    )  # Simpson meets jumps in one toy


# What our exact values are, and the values that the table of toys states (some by sampling, some of fine mixtures).
ENTROPIES = {
    "two moons": (1.00758, 1.010),
    "eight gaussians": (2.83406, 2.833),
    "rings": (2.92602, 2.926),
    "pinwheel": (2.32059, 2.323),
    "spirals": (2.51567, 2.516),
    "banana": (math.log(2 * math.pi * math.e * 0.3), 1.65),
    "checkerboard": (math.log(8), math.log(8)),
    "funnel": (math.log(2 * math.pi * math.e * 1.5), 3.241),
    "sine wave": (math.log(2 * math.pi * math.e * 1.5 * 0.25), None),
    "correlated gaussian": (math.log(2 * math.pi * math.e) + 0.5 * math.log(1 - 0.9**2), None),
}


@pytest.mark.parametrize("toy", ALL)
def test_entropy_is_the_table_s(toy):
    exact, table = ENTROPIES[toy.name]
    assert toy.entropy() == pytest.approx(exact, abs=1e-5)
    assert table is None or toy.entropy() == pytest.approx(table, abs=0.02)


@pytest.mark.parametrize("toy", ALL)
def test_entropy_by_quadrature_has_converged(toy):
    points, mass = density_on_grid(toy, 128)
    log_probs = np.maximum(toy.log_prob(points), -1e4)  # 0 * log 0 = 0
    # The banana's bounds leave out 7e-5 of the mass, so its quadrature stops short of its closed form.
    assert -(mass @ log_probs) == pytest.approx(toy.entropy(), abs=1e-3 if toy.name == "banana" else 1e-4)


@pytest.mark.parametrize("toy", ALL)
def test_entropy_is_the_mean_of_minus_log_p(toy):
    log_probs = toy.log_prob(toy.sample(np.random.default_rng(2), 60_000))
    assert abs(-log_probs.mean() - toy.entropy()) <= 4 * log_probs.std() / math.sqrt(60_000) + 1e-12


def test_entropy_by_quadrature_is_computed_once():
    moons = TwoMoons()
    assert "_entropy" not in moons.__dict__  # nothing at creation, so nothing at import
    moons.entropy()
    assert moons.__dict__["_entropy"] == moons.entropy()


# Samples against the density


def chi_square(toy, x, cells=64):
    """Chi-square p-value of samples x in a grid of cells whose masses come from quadrature; rare cells are pooled."""
    points, mass = density_on_grid(toy)
    if isinstance(toy, Funnel):  # the grid is a grid in (x_1, z_2)
        points, x = (np.stack([p[:, 0], p[:, 1] * np.exp(-p[:, 0] / 2)], axis=1) for p in (points, x))
        low, high = np.array([-8 * toy.spread, -8.0]), np.array([8 * toy.spread, 8.0])
    else:
        low, high = np.array(toy.bounds).T
    expected, observed = (
        np.histogram2d(*p.T, bins=cells, range=np.stack([low, high], axis=1), weights=w)[0].ravel()
        for p, w in ((points, len(x) * mass), (x, np.ones(len(x))))
    )
    rare = expected < 10
    rest = len(x) - expected[~rare].sum()
    expected = np.append(expected[~rare], max(rest, 1e-9))
    observed = np.append(observed[~rare], len(x) - observed[~rare].sum())
    return stats.chi2.sf(((observed - expected) ** 2 / expected)[expected > 1].sum(), (expected > 1).sum() - 1)


@pytest.mark.parametrize("toy", ALL)
def test_samples_pass_chi_square_and_samples_that_are_3_percent_too_wide_fail(toy):
    x = toy.sample(np.random.default_rng(3), 60_000)
    assert chi_square(toy, x) > 1e-3
    assert chi_square(toy, 1.03 * x) < 1e-6


@pytest.mark.parametrize("toy", [TwoMoons(), EightGaussians(), Rings(), Spirals()], ids=lambda toy: toy.name)
def test_chi_square_sees_noise_that_is_3_percent_too_wide(toy):
    wide = dataclasses.replace(toy, scale=1.03 * toy.scale)
    assert chi_square(toy, wide.sample(np.random.default_rng(4), 400_000)) < 1e-4


# Densities against formulas of their own


@pytest.mark.parametrize(
    ("toy", "curve", "low", "high"), [(TwoMoons(), TwoMoons.arcs, 0, np.pi), (Spirals(), Spirals.arms, 0.02, 1)]
)
def test_smeared_curves_are_the_integrals_along_the_curve(toy, curve, low, high):
    rng = np.random.default_rng(5)
    near = toy.sample(rng, 4)
    x = np.concatenate([near, rng.uniform(*np.array(toy.bounds).T, (4, 2))])

    def integrand(t, point):
        squares = ((curve(np.array([t]))[:, 0] - point) ** 2).sum(axis=1)
        return np.exp(-0.5 * (squares - nearest) / toy.scale**2).mean() / (2 * np.pi * toy.scale**2) / (high - low)

    for point, log_prob in zip(x, toy.log_prob(x), strict=True):
        squares = ((curve(np.linspace(low, high, 20_001)) - point) ** 2).sum(axis=2)
        nearest = squares.min()
        peaks = np.linspace(low, high, 60)[1:-1]
        value, _ = integrate.quad(integrand, low, high, args=(point,), points=peaks, limit=600, epsabs=0, epsrel=1e-11)
        assert log_prob == pytest.approx(np.log(value) - 0.5 * nearest / toy.scale**2, abs=1e-9)


@pytest.mark.parametrize("scale", [0.1, 0.2])
@pytest.mark.parametrize(
    ("kind", "curve", "low", "high"), [(TwoMoons, TwoMoons.arcs, 0, np.pi), (Spirals, Spirals.arms, 0.02, 1)]
)
def test_more_nodes_change_nothing(kind, curve, low, high, scale):
    toy = kind(scale=scale)
    x = np.random.default_rng(6).uniform(*np.array(toy.bounds).T, (1000, 2))
    more = toy_base.smeared_curve(curve, low, high, scale / 1.4)
    np.testing.assert_allclose(toy.log_prob(x), toy_base.gaussians_log_prob(x, *more, scale), rtol=0, atol=1e-9)


def test_eight_gaussians_are_a_mixture_of_normals():
    toy = EightGaussians()
    mixture = Mixture(np.full(8, 1 / 8), [Normal(c, np.full(2, 0.354**2)) for c in toy.centres])
    x = 3 * np.random.default_rng(7).normal(size=(100, 2))
    np.testing.assert_allclose(toy.log_prob(x), mixture.log_prob(x), atol=1e-10)


def test_correlated_gaussian_is_a_normal():
    x = np.random.default_rng(8).normal(size=(100, 2))
    normal = Normal([0.0, 0.0], [[1.0, -0.7], [-0.7, 1.0]])
    np.testing.assert_allclose(CorrelatedGaussian(-0.7).log_prob(x), normal.log_prob(x), atol=1e-10)
    assert CorrelatedGaussian(-0.7).entropy() == pytest.approx(normal.entropy())


@pytest.mark.parametrize("toy", PUSHED)
def test_to_noise_undoes_from_noise_and_its_log_det_is_the_jacobians(toy):
    z = np.random.default_rng(9).normal(size=(20, 2))
    x = toy.from_noise(z)
    back, log_det = toy.to_noise(x)
    np.testing.assert_allclose(back, z, atol=1e-12)
    step = 1e-6
    columns = [(toy.to_noise(x + step * e)[0] - toy.to_noise(x - step * e)[0]) / (2 * step) for e in np.eye(2)]
    np.testing.assert_allclose(log_det, np.linalg.slogdet(np.stack(columns, axis=2))[1], atol=1e-5)


def test_rings_only_know_the_radius_and_wide_ones_fold():
    wide = Rings(radii=(1.0,), scale=1.0)  # a sixth of s is negative
    angle = np.linspace(0, 6, 7)
    x = 0.7 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    p_r = stats.foldnorm(1.0).pdf(0.7)
    np.testing.assert_allclose(wide.log_prob(x), np.log(p_r / (2 * np.pi * 0.7)), atol=1e-12)
    r = np.linalg.norm(wide.sample(np.random.default_rng(10), 50_000), axis=1)
    assert stats.kstest(r, stats.foldnorm(1.0).cdf).pvalue > 1e-3


def test_pinwheel_without_rotation_is_a_star_of_normals():
    star = Pinwheel(arms=1, rate=1e-300)
    x = np.random.default_rng(11).normal(size=(50, 2))
    normal = Normal([2.0, 0.0], [0.6**2, 0.2**2])
    np.testing.assert_allclose(star.log_prob(x), normal.log_prob(x), atol=1e-10)
    fifth = 2 * np.pi / 5
    turn = np.array([[np.cos(fifth), -np.sin(fifth)], [np.sin(fifth), np.cos(fifth)]])
    np.testing.assert_allclose(Pinwheel().log_prob(x), Pinwheel().log_prob(x @ turn.T), atol=1e-9)


def test_checkerboard_squares():
    centres = np.arange(4) - 1.5
    x, y = (a.ravel() for a in np.meshgrid(centres, centres))
    density = np.exp(Checkerboard().log_prob(np.stack([x, y], axis=1))).reshape(4, 4)
    np.testing.assert_allclose(density, np.kron(np.ones((2, 2)), np.eye(2)) / 8)
    off = np.array([[5.0, 0.0], [-np.inf, 0.5], [2.01, 1.5]])
    assert np.all(Checkerboard().log_prob(off) == -np.inf)


# Other parameters: everything follows from the fields


OTHERS = [
    TwoMoons(scale=0.3),
    EightGaussians(scale=0.5, radius=1.0, modes=3),
    Rings(radii=(1.0, 1.5), scale=0.2),
    Pinwheel(arms=3, radial=0.2, tangential=0.2, rate=0.1),
    Spirals(scale=0.2),
    Banana(width=1.0),
    Checkerboard(cells=2, size=0.5),
    Funnel(spread=3.0),
    Funnel(spread=0.5),
    SineWave(frequency=1.0, spread=0.5, width=0.5),
    CorrelatedGaussian(correlation=-0.5),
]


@pytest.mark.parametrize("toy", OTHERS, ids=lambda toy: toy.name)
def test_other_parameters(toy):
    n = 1024 if isinstance(toy, Funnel) else 192
    points, mass = density_on_grid(toy, n)
    assert mass.sum() == pytest.approx(1, abs=1e-4)
    low, high = np.array(toy.bounds).T
    assert mass[((points > low) & (points < high)).all(axis=1)].sum() >= 1 - 1e-4
    log_probs = toy.log_prob(toy.sample(np.random.default_rng(12), 20_000))
    assert abs(-log_probs.mean() - toy.entropy()) <= 4 * log_probs.std() / math.sqrt(20_000) + 1e-12


# Gradients, doors, seeds


@pytest.mark.parametrize("toy", ALL)
def test_gradients_are_finite_differences(toy):
    x = toy.sample(np.random.default_rng(13), 4)
    check_grads(toy.log_prob, modes=["rev"])(x)
    gradient = grad(lambda x: anp.sum(toy.log_prob(x)))
    assert gradient(x).shape == x.shape
    assert np.all(np.isfinite(gradient(np.zeros((1, 2)))))
    np.testing.assert_allclose(gradient(x)[:1], gradient(x[:1]), atol=1e-10)


@pytest.mark.parametrize("toy", ALL)
def test_points_at_the_door(toy):
    assert toy.log_prob(np.zeros((0, 2))).shape == (0,)
    assert toy.sample(np.random.default_rng(0), 0).shape == (0, 2)
    integers = np.array([[1, 0], [0, 1]])
    np.testing.assert_array_equal(toy.log_prob(integers), toy.log_prob(integers.astype(float)))
    np.testing.assert_array_equal(toy.log_prob(integers.tolist()), toy.log_prob(integers))
    assert np.isnan(toy.log_prob(np.array([[np.nan, 0.5], [0.5, 0.5]]))).tolist() == [True, False]
    x = toy.sample(np.random.default_rng(1), 50)
    single = toy.log_prob(x.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, toy.log_prob(x), atol=2e-3)
    for shape in ((2,), (2, 3), (2, 1), ()):
        with pytest.raises(ValueError, match=rf"{type(toy).__name__}: expected points of shape \(N, 2\)"):
            toy.log_prob(np.zeros(shape))
    with pytest.raises(TypeError, match="expected real numbers"):
        toy.log_prob([["a", "b"]])


@pytest.mark.parametrize("toy", ALL)
def test_seeds(toy):
    first, again, other = (toy.sample(np.random.default_rng(s), 20) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    with pytest.raises((ValueError, TypeError)):
        toy.sample(np.random.default_rng(0), -1)


def test_blocks_are_no_seams():
    moons = TwoMoons()
    x = moons.sample(np.random.default_rng(14), 2000)
    np.testing.assert_allclose(moons.log_prob(x), np.concatenate([moons.log_prob(row[None]) for row in x]), atol=1e-11)
    gradient = grad(lambda x: anp.sum(moons.log_prob(x)))
    np.testing.assert_allclose(gradient(x)[-7:], gradient(x[-7:]), atol=1e-9)


def test_the_catalogue():
    assert list(TOYS) == [toy.name for toy in TOYS.values()]
    assert list(TOYS)[:3] == ["two moons", "eight gaussians", "rings"]
    assert len(TOYS) == 10
    for toy in TOYS.values():
        assert isinstance(toy, Toy)
        assert toy.features == 2
        assert pickle.loads(pickle.dumps(toy)) == toy
        with pytest.raises(dataclasses.FrozenInstanceError):
            toy.scale = 1.0
        (x_low, x_high), (y_low, y_high) = toy.bounds
        assert x_low < x_high
        assert y_low < y_high


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TwoMoons(scale=0.0), "TwoMoons: expected scale > 0, got 0.0"),
        (lambda: Spirals(scale=-1.0), "Spirals: expected scale > 0, got -1.0"),
        (lambda: EightGaussians(radius=np.nan), "EightGaussians: expected radius > 0, got nan"),
        (lambda: EightGaussians(modes=2.5), "EightGaussians: expected a whole number of modes, got 2.5"),
        (lambda: Rings(radii=(1.0, -2.0)), "Rings: expected radii > 0"),
        (lambda: Pinwheel(arms=0), "Pinwheel: expected arms > 0, got 0"),
        (lambda: Banana(width=np.inf), "Banana: expected width > 0, got inf"),
        (lambda: Checkerboard(cells=3), "Checkerboard: expected an even number of cells, got 3"),
        (lambda: Funnel(spread=0), "Funnel: expected spread > 0, got 0"),
        (lambda: SineWave(frequency=-1.0), "SineWave: expected frequency > 0, got -1.0"),
        (lambda: CorrelatedGaussian(1.0), r"CorrelatedGaussian: expected \|correlation\| < 1, got 1.0"),
        (lambda: CorrelatedGaussian(np.nan), "got nan"),
        (lambda: TwoMoons().quadrature(0), "expected n >= 1"),
    ],
)
def test_bad_parameters_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# kl_to


def test_kl_to_is_the_closed_form_for_gaussians():
    toy, model = CorrelatedGaussian(0.9), Normal([0.1, 0.0], [1.2, 0.9])
    kl, error = kl_to(toy, model.log_prob, np.random.default_rng(15), 50_000)
    assert abs(kl - kl_normal(Normal([0.0, 0.0], [[1.0, 0.9], [0.9, 1.0]]), model)) < 4 * error
    assert 0 < error < 0.01


def test_kl_to_the_truth_is_zero_and_the_standard_error_tells_the_spread():
    toy = TOYS["banana"]
    assert kl_to(toy, toy.log_prob, np.random.default_rng(0), 100) == (0, 0)
    near = Banana(width=0.33).log_prob
    runs = np.array([kl_to(toy, near, np.random.default_rng(seed), 1000) for seed in range(200)])
    assert runs[:, 0].std() == pytest.approx(runs[:, 1].mean(), rel=0.2)
    # The other estimator, cross-entropy minus the exact entropy, spreads several times as far.
    unpaired = [-near(toy.sample(np.random.default_rng(seed), 1000)).mean() - toy.entropy() for seed in range(200)]
    assert np.std(unpaired) > 4 * runs[:, 0].std()


def test_kl_to_a_model_without_mass_is_infinite():
    kl, error = kl_to(TOYS["funnel"], Uniform([-1.0, -1.0], [1.0, 1.0]).log_prob, np.random.default_rng(0), 100)
    assert kl == math.inf
    assert math.isnan(error)


@pytest.mark.parametrize(
    ("model", "n", "message"),
    [
        (lambda x: x, 10, r"expected model_log_prob to return shape \(10,\), got shape \(10, 2\)"),
        (lambda x: 0.0, 10, r"got shape \(\)"),
        (lambda x: np.repeat([np.nan, 0.0], [3, 7]), 10, "got 3 of 10 values that are NaN or"),
        (lambda x: np.repeat([np.inf, -np.inf], [2, 8]), 10, "got 2 of 10 values"),
        (lambda x: x[:, 0], 1, "expected n >= 2"),
    ],
)
def test_kl_to_refuses_what_is_no_log_density(model, n, message):
    with pytest.raises(ValueError, match=message):
        kl_to(TOYS["banana"], model, np.random.default_rng(0), n)
