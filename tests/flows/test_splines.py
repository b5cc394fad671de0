"""Rational-quadratic splines by hand, through every check, and as couplings, fused and plain alike."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad, grad
from autograd.test_util import check_grads

from minigen import checks
from minigen.flows.coupling import AffineCoupling, alternating_mask, half_mask
from minigen.flows.splines import RationalQuadraticCoupling, rational_quadratic_spline
from minigen.foundations.change_of_variables import Chain, Inverse, Pushforward
from minigen.foundations.distributions import Normal
from minigen.tree import tree_leaves, tree_map
from tests.mutants.splines import Splines, raw_numbers

# ---------------------------------------------------------------- the spline


@pytest.mark.parametrize("bins", [1, 2, 5, 16])
@pytest.mark.parametrize("D", [1, 2, 3, 5])
def test_splines_pass_every_check(D, bins):
    params, x = raw_numbers(bins, D), 2 * np.random.default_rng(1).normal(size=(6, D))
    assert checks.round_trip_error(Splines(), params, x) <= 1e-11
    assert checks.log_det_cancel_error(Splines(), params, x) <= 1e-10
    assert checks.log_det_error(Splines(), params, x) <= 1e-10
    assert checks.log_det_error(Splines(), params, x, jacobian="finite") <= 1e-4
    assert checks.batch_dependence(Splines(), params, x) == 0
    assert checks.round_trip_error(Splines(), params, 1e3 * x) <= 1e-10
    np.testing.assert_array_equal(
        checks.dependency_matrix(lambda x: Splines().forward(params, x)[0], x), np.eye(D, dtype=bool)
    )


def test_one_bin_by_hand():
    # K = 1: both ends have slope 1 and so has the only bin: the identity, whatever the raw numbers.
    x = np.linspace(-4, 4, 9)
    z, log_slope = rational_quadratic_spline(x, np.full((9, 2), 7.0), 3.0)
    np.testing.assert_allclose(z, x, atol=1e-15)
    np.testing.assert_allclose(log_slope, 0, atol=1e-15)


def test_two_bins_by_hand():
    # Raw log 3 makes shares 1/4 and 3/4 but for the least ones of 0.001.
    share = 0.001 + 0.998 * 0.75
    raw = np.array([np.log(3.0), 0.0, 0.0, np.log(3.0), np.log(np.expm1(2 - 0.001)) - np.log(np.expm1(1 - 0.001))])
    knot = (2 * share - 1, 1 - 2 * share)
    z, log_slope = rational_quadratic_spline(np.array([-1.0, knot[0], 1.0]), raw + np.zeros((3, 1)), 1.0)
    np.testing.assert_allclose(z, [-1, knot[1], 1])
    np.testing.assert_allclose(log_slope, [0, np.log(2), 0], atol=1e-14)
    # The middle of the first bin, by the formula: t = 1/2, d₀ = 1, d₁ = 2.
    w, h = 2 * share, 2 * (1 - share)
    s = h / w
    z, _ = rational_quadratic_spline(np.array([-1 + w / 2]), raw[None], 1.0)
    np.testing.assert_allclose(z, -1 + h * (s / 4 + 1 / 4) / (s + (3 - 2 * s) / 4))


@pytest.mark.parametrize("seed", range(3))
def test_the_spline_passes_through_its_knots_and_rises(seed):
    raw = raw_numbers(8, 1, scale=2.0, seed=seed)
    x = np.linspace(-4, 4, 4001)
    z, log_slope = rational_quadratic_spline(x, raw + np.zeros((len(x), 1)), 3.0)
    assert (np.diff(z) > 0).all()
    np.testing.assert_allclose(z[abs(x) > 3.01], x[abs(x) > 3.01], rtol=1e-15)
    slope = elementwise_grad(lambda x: rational_quadratic_spline(x, raw + np.zeros((len(x), 1)), 3.0)[0])(x)
    np.testing.assert_allclose(log_slope, np.log(slope), atol=1e-9)
    # C¹: at the knots the log-slope does not jump, and is the one that the raw numbers say.
    shares = 0.001 + (1 - 0.008) * np.exp(raw[:, :16].reshape(2, 8)) / np.exp(raw[:, :16].reshape(2, 8)).sum(1)[:, None]
    knots, heights = 6 * np.cumsum(shares, axis=1)[:, :-1] - 3
    slopes = 0.001 + np.logaddexp(0, raw[0, 16:] + np.log(np.expm1(0.999)))
    for side in (-1e-10, 1e-10):
        z, log_slope = rational_quadratic_spline(knots + side, raw + np.zeros((7, 1)), 3.0)
        np.testing.assert_allclose(z, heights, atol=1e-7)
        np.testing.assert_allclose(log_slope, np.log(slopes), atol=1e-4)


@pytest.mark.parametrize("bins", [1, 4, 16])
def test_raw_zero_is_the_identity(bins):
    x = np.linspace(-4, 4, 50)
    for inverse in (False, True):
        z, log_slope = rational_quadratic_spline(x, np.zeros((50, 3 * bins - 1)), 3.0, inverse)
        np.testing.assert_allclose(z, x, atol=1e-14)
        np.testing.assert_allclose(log_slope, 0, atol=1e-13)


def test_at_the_bounds_and_at_the_knots():
    raw = raw_numbers(4, 1) + np.zeros((2, 1))
    z, log_slope = rational_quadratic_spline(np.array([-3.0, 3.0]), raw, 3.0)
    np.testing.assert_allclose(z, [-3, 3])
    np.testing.assert_allclose(log_slope, 0, atol=1e-14)
    slopes = elementwise_grad(lambda x: rational_quadratic_spline(x, raw, 3.0)[0])(np.array([-3.0, 3.0]))
    np.testing.assert_allclose(slopes, 1)
    x = np.array([np.inf, -np.inf])
    np.testing.assert_array_equal(rational_quadratic_spline(x, raw, 3.0)[0], x)
    assert np.isnan(rational_quadratic_spline(np.array([np.nan, 0.0]), raw, 3.0)[0]).tolist() == [True, False]


@pytest.mark.parametrize("slope", [1e2, 1e4, 1e6])
def test_the_inverse_loses_no_digits_at_either_end_of_a_steep_bin(slope):
    raw = np.array([0, 0, 0, 0, slope])  # two equal bins that meet steeply: one is the other, mirrored
    z = np.random.default_rng(0).uniform(0, 1, 1000)
    (above, log_above), (below, log_below) = (
        rational_quadratic_spline(sign * z, np.tile(raw, (len(z), 1)), 1.0, inverse=True) for sign in (1, -1)
    )
    np.testing.assert_allclose(above, -below, rtol=0, atol=1e-15)
    np.testing.assert_allclose(log_above, log_below, rtol=0, atol=1e-14 * slope)


@pytest.mark.parametrize("scale", [30.0, 1e3])
def test_extreme_raw_numbers_leave_every_bin_its_least_size(scale):
    params, x = raw_numbers(8, 3, scale=scale), 2 * np.random.default_rng(1).normal(size=(20, 3))
    z, log_det = Splines().forward(params, x)
    assert np.isfinite(log_det).all()
    slopes = grad(lambda raw: anp.sum(Splines().forward(raw, x)[1]))(params)
    assert np.isfinite(slopes).all()
    assert checks.round_trip_error(Splines(), params, x) <= 1e-6  # slopes from 1e-3 to 1e3 magnify the rounding
    assert np.isfinite(Splines().inverse(params, x)[1]).all()


@pytest.mark.parametrize("inverse", [False, True])
def test_gradients(inverse):
    raw, x = raw_numbers(4, 3), np.array([0.3, -1.2, 2.0])

    def total(x, raw):
        z, log_slope = rational_quadratic_spline(x, raw, 3.0, inverse)
        return anp.sum(anp.sin(z)) + anp.sum(log_slope**2)

    check_grads(total, modes=["rev"], order=2)(x, raw)
    outside = grad(total, 1)(np.array([5.0, -4.0, 1e3]), raw)
    np.testing.assert_allclose(outside, 0, atol=1e-13)


@pytest.mark.parametrize("inverse", [False, True])
def test_a_spline_in_float32(inverse):
    raw, x = raw_numbers(8, 3).astype(np.float32), np.array([0.3, -1.2, 7.0], np.float32)
    z, log_slope = rational_quadratic_spline(x, raw, 3.0, inverse)
    assert z.dtype == log_slope.dtype == np.float32
    wanted, log_wanted = rational_quadratic_spline(x.astype(float), raw.astype(float), 3.0, inverse)
    np.testing.assert_allclose(z, wanted, atol=1e-5)
    np.testing.assert_allclose(log_slope, log_wanted, atol=1e-4)
    total = lambda x, raw: anp.sum(anp.add(*rational_quadratic_spline(x, raw, 3.0, inverse)))  # noqa: E731
    assert {g.dtype for g in grad(total, (0, 1))(x, raw)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("shape", [(3,), (3, 6), (2, 5), (3, 1), ()])
def test_raw_numbers_of_another_shape(shape):
    with pytest.raises(ValueError, match="rational_quadratic_spline: expected raw of shape"):
        rational_quadratic_spline(np.zeros(3), np.zeros(shape), 3.0)


def test_spline_of_other_things():
    z, _ = rational_quadratic_spline([1, 2], [[0, 0]] * 2, 3)
    np.testing.assert_allclose(z, [1.0, 2.0])
    with pytest.raises((TypeError, ValueError)):
        rational_quadratic_spline(["a"], np.zeros((1, 2)), 3.0)
    assert rational_quadratic_spline(np.zeros((0, 2)), np.zeros((0, 2, 5)), 3.0)[0].shape == (0, 2)


# ---------------------------------------------------------------- the coupling

LAYERS = {
    "spline": lambda D, **o: RationalQuadraticCoupling(alternating_mask(D), (7,), bins=5, **o),
    "plain": lambda D, **o: RationalQuadraticCoupling(alternating_mask(D), (7,), bins=5, fused=False, **o),
    "other half": lambda D, **o: RationalQuadraticCoupling(half_mask(D, 1), (7, 6), bins=8, bound=2.0, **o),
    "one bin": lambda D, **o: RationalQuadraticCoupling(alternating_mask(D), (7,), bins=1, **o),
    "no hidden layer": lambda D, **o: RationalQuadraticCoupling(alternating_mask(D), (), bins=3, **o),
    "relu": lambda D, **o: RationalQuadraticCoupling(alternating_mask(D), (7,), bins=3, activation="relu", **o),
    "inverse": lambda D, **o: Inverse(RationalQuadraticCoupling(alternating_mask(D, 1), (7,), bins=5, **o)),
    "chain": lambda D, **o: Chain(
        [
            AffineCoupling(half_mask(D), (5,), **o),
            RationalQuadraticCoupling(half_mask(D), (5,), bins=4, **o),
            RationalQuadraticCoupling(half_mask(D, 1), (5,), bins=4, **o),
        ]
    ),
}


def jitter(params, rng):
    return tree_map(lambda leaf: leaf + 0.4 * rng.normal(size=leaf.shape).astype(leaf.dtype), params)


def build(name, D, n=5, dtype=float, context_rows=None):
    rng = np.random.default_rng(D)
    options = {} if context_rows is None else {"context_features": 2}
    layer, x = LAYERS[name](D, **options), 2 * rng.normal(size=(n, D)).astype(dtype)
    context = None if context_rows is None else rng.normal(size=(context_rows, 2)).astype(dtype)
    return layer, jitter(layer.init(rng, x, context), rng), x, context


@pytest.mark.parametrize(("D", "context_rows"), [(2, None), (2, 5), (3, None), (3, 1), (5, 5)])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_passes_every_check(name, D, context_rows):
    layer, params, x, context = build(name, D, context_rows=context_rows)
    assert checks.round_trip_error(layer, params, x, context) <= 1e-10
    assert checks.log_det_cancel_error(layer, params, x, context) <= 1e-10
    assert checks.log_det_error(layer, params, x, context) <= 1e-10
    assert checks.batch_dependence(layer, params, x, context) <= 1e-12
    assert checks.round_trip_error(layer, params, 1e3 * x, context) <= 1e-9


@pytest.mark.parametrize("name", ["spline", "plain", "inverse"])
def test_log_determinants_by_finite_differences(name):
    layer, params, x, _ = build(name, 3)
    assert checks.log_det_error(layer, params, x, jacobian="finite") <= 1e-5


@pytest.mark.parametrize("name", LAYERS)
def test_the_start_is_the_identity(name):
    rng = np.random.default_rng(0)
    layer, x = LAYERS[name](4), 4 * rng.normal(size=(20, 4))
    params = layer.init(rng, x)
    for direction in (layer.forward, layer.inverse):
        z, log_det = direction(params, x)
        np.testing.assert_allclose(z, x, atol=1e-14)
        np.testing.assert_allclose(log_det, 0, atol=1e-13)


@pytest.mark.parametrize("name", ["spline", "plain", "other half", "inverse"])
def test_the_density_has_mass_1(name):
    layer, params, _, _ = build(name, 2)
    pushed = Pushforward(Normal([0.0, 0.0], [1.0, 1.0]), layer, params)
    assert abs(checks.total_mass(pushed.log_prob, ((-8, 8), (-8, 8)), n=400) - 1) <= 1e-3


@pytest.mark.parametrize("name", LAYERS)
def test_float32_stays_float32(name):
    layer, params, x, context = build(name, 3, dtype=np.float32, context_rows=5)
    z, log_det = layer.forward(params, x, context)
    back, log_det_back = layer.inverse(params, z, context)
    assert {a.dtype for a in (z, log_det, back, log_det_back)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(back, x, atol=5e-4)
    np.testing.assert_allclose(log_det, -log_det_back, atol=5e-4)
    for direction in (layer.forward, layer.inverse):

        def total(params, x, context, direction=direction):
            y, log_det = direction(params, x, context)
            return anp.sum(y * y) + anp.sum(log_det)

        gradients = tree_leaves(list(grad(total, (0, 1, 2))(params, x, context)))
        assert {g.dtype for g in gradients} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", ["spline", "plain"])
def test_batches_good_and_bad(name):
    layer, params, x, _ = build(name, 3)
    for direction in (layer.forward, layer.inverse):
        y, log_det = direction(params, np.zeros((0, 3)))
        assert y.shape == (0, 3)
        assert log_det.shape == (0,)
        for given in (np.ones((2, 3), dtype=int), [[1, 1, 1], [1, 1, 1]]):
            np.testing.assert_array_equal(direction(params, given)[0], direction(params, np.ones((2, 3)))[0])
        for bad in ([["a", "b", "c"]], np.ones((2, 3), dtype=complex), None):
            with pytest.raises(TypeError, match="expected real numbers"):
                direction(params, bad)
        with pytest.raises(ValueError, match=r"expected points of shape \(N, D\)"):
            direction(params, np.ones(3))
        who, name = (
            ("RationalQuadraticCoupling", "x")
            if direction == layer.forward
            else ("RationalQuadraticCoupling.inverse", "z")
        )
        message = rf"^{who}: mask has 3 entries but {name} has 4 features \({name}.shape = \(256, 4\)\)"
        with pytest.raises(ValueError, match=message):
            direction(params, np.zeros((256, 4)))
        with pytest.raises(ValueError, match="expected"):
            direction(params, np.zeros((2, 4, 3)))
        with_nan = x.copy()
        with_nan[1] = np.nan
        y, _ = direction(params, with_nan)
        assert np.isnan(y[1]).all()
        assert np.isfinite(y[[0, 2, 3, 4]]).all()
        z, log_det = direction(params, np.array([[0.0, np.inf, 0.0], [0.0, -np.inf, 0.0]]))
        np.testing.assert_array_equal(z[:, 1], [np.inf, -np.inf])
        assert np.isfinite(log_det).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: RationalQuadraticCoupling([1]),
            "RationalQuadraticCoupling: expected a mask with ones.*D = 1 has none",
        ),
        (lambda: RationalQuadraticCoupling([1, 2]), "expected a mask of zeros and ones"),
        (lambda: RationalQuadraticCoupling([[1, 0], [0, 1]]), "a mask of shape"),
        (lambda: RationalQuadraticCoupling([1, 0], bins=0), "expected bins to be an integer >= 1"),
        (lambda: RationalQuadraticCoupling([1, 0], bins=2.0), "expected bins to be an integer >= 1"),
        (lambda: RationalQuadraticCoupling([1, 0], bins=1000), "expected fewer than 1000 bins, got 1000"),
        (lambda: RationalQuadraticCoupling([1, 0], bound=0), "expected a positive, finite bound"),
        (lambda: RationalQuadraticCoupling([1, 0], bound=np.inf), "expected a positive, finite bound"),
        (lambda: RationalQuadraticCoupling([1, 0], activation="sine"), "expected an activation"),
    ],
)
def test_constructors_refuse(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("fused", [True, False])
def test_params_of_another_depth(fused):
    layer, x = RationalQuadraticCoupling([1, 0], hidden=(4, 4), fused=fused), np.zeros((2, 2))
    with pytest.raises(ValueError, match="MLP: 3 layers but 2 entries in the list params"):
        layer.forward(layer.init(np.random.default_rng(0), x)[1:], x)


@pytest.mark.parametrize("name", ["spline", "plain"])
def test_contexts_of_other_shapes(name):
    layer, params, x, _ = build(name, 3, context_rows=1)
    with pytest.raises(ValueError, match="context: expected shape"):
        layer.forward(params, x)
    for bad in (np.zeros((5, 3)), np.zeros((4, 2)), np.zeros(2)):
        with pytest.raises(ValueError, match="context: expected"):
            layer.forward(params, x, bad)


@pytest.mark.parametrize("name", ["spline", "plain"])
def test_a_thousand_features(name):
    rng = np.random.default_rng(0)
    layer, x = LAYERS[name](1000), rng.normal(size=(3, 1000))
    params = jitter(layer.init(rng, x), rng)
    assert checks.round_trip_error(layer, params, x) <= 1e-9
    assert checks.log_det_cancel_error(layer, params, x) <= 1e-8
