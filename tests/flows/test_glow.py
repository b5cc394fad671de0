"""Actnorm and the invertible 1×1 convolutions: every one through every check, on points, sequences and images."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from scipy import stats

from minigen import checks
from minigen.errors import SingularMatrixError
from minigen.flows.coupling import AffineCoupling, half_mask
from minigen.flows.glow import ActNorm, Invertible1x1, Invertible1x1LU, random_rotation
from minigen.foundations.change_of_variables import Affine, Chain, Inverse
from minigen.foundations.linear import DenseLinear
from minigen.tree import tree_leaves, tree_map


def rotation(C):
    return random_rotation(np.random.default_rng(C), C)


LAYERS = {
    "actnorm": lambda C: ActNorm(),
    "1×1": lambda C: Invertible1x1(),
    "1×1 lu": lambda C: Invertible1x1LU(rotation(C)),
    "inverse actnorm": lambda C: Inverse(ActNorm()),
    "inverse 1×1": lambda C: Inverse(Invertible1x1()),
    "inverse 1×1 lu": lambda C: Inverse(Invertible1x1LU(rotation(C))),
    "chain": lambda C: Chain([ActNorm(), Invertible1x1(), Affine(), ActNorm(), Invertible1x1LU(rotation(C))]),
}
SHAPES = [(1,), (2,), (3,), (5,), (3, 2), (2, 2, 1), (2, 3, 2), (1, 1, 5)]


def jitter(params, rng):
    return tree_map(lambda leaf: leaf + 0.2 * rng.normal(size=leaf.shape).astype(leaf.dtype), params)


def build(name, shape, n=5):
    rng = np.random.default_rng(len(shape))
    layer, x = LAYERS[name](shape[-1]), 3 * rng.normal(size=(n, *shape)) + 1
    return layer, jitter(layer.init(rng, x), rng), x


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_passes_every_check(name, shape):
    layer, params, x = build(name, shape)
    assert checks.round_trip_error(layer, params, x) <= 1e-12
    assert checks.log_det_cancel_error(layer, params, x) <= 1e-12
    assert checks.log_det_error(layer, params, x) <= 1e-11
    assert checks.log_det_error(layer, params, x, jacobian="finite") <= 1e-5
    assert checks.batch_dependence(layer, params, x) <= 1e-13
    assert checks.round_trip_error(layer, params, 1e3 * x) <= 1e-9


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_both_directions(name):
    layer, params, x = build(name, (2, 1, 3), n=2)
    for direction in (layer.forward, layer.inverse):

        def total(params, x, direction=direction):
            y, log_det = direction(params, x)
            return anp.sum(anp.sin(y)) + anp.sum(log_det**2)

        check_grads(total, modes=["rev"], order=1)(params, x)
        for leaf, slope in zip(tree_leaves(params), tree_leaves(grad(total)(params, x)), strict=True):
            assert leaf.shape == slope.shape


@pytest.mark.parametrize("shape", [(3,), (2, 2, 3)])
@pytest.mark.parametrize("name", LAYERS)
def test_float32_stays_float32(name, shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, *shape)).astype(np.float32)
    layer = LAYERS[name](3)
    params = jitter(layer.init(rng, x), rng)
    assert {leaf.dtype for leaf in tree_leaves(params)} == {np.dtype(np.float32)}
    z, log_det = layer.forward(params, x)
    back, log_det_back = layer.inverse(params, z)
    assert {a.dtype for a in (z, log_det, back, log_det_back)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(back, x, atol=1e-4)
    for direction in (layer.forward, layer.inverse):

        def total(params, x, direction=direction):
            y, log_det = direction(params, x)
            return anp.sum(y * y) + anp.sum(log_det)

        gradients = [grad(total, 1)(params, x), *tree_leaves(grad(total)(params, x))]
        assert {g.dtype for g in gradients} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", LAYERS)
def test_batches_good_and_bad(name):
    layer, params, x = build(name, (3,))
    for direction in (layer.forward, layer.inverse):
        for shape in ((0, 3), (0, 2, 2, 3)):
            if name != "chain" or len(shape) == 2:
                y, log_det = direction(params, np.zeros(shape))
                assert y.shape == shape
                assert log_det.shape == (0,)
        for given in (np.ones((2, 3), dtype=int), [[1, 1, 1], [1, 1, 1]], np.ones((2, 3), dtype=np.uint8)):
            np.testing.assert_array_equal(direction(params, given)[0], direction(params, np.ones((2, 3)))[0])
        np.testing.assert_array_equal(direction(params, x, np.ones((5, 1)))[0], direction(params, x)[0])
        for bad in ([["a", "b", "c"]], np.ones((2, 3), dtype=complex), None):
            with pytest.raises(TypeError, match="expected real numbers"):
                direction(params, bad)
        with pytest.raises(ValueError, match=r"expected points of shape \(N, D\)"):
            direction(params, np.ones(3))
        with pytest.raises(ValueError, match=r"but [xz] has 4 features \([xz].shape = \(256, 4\)\)"):
            direction(params, np.zeros((256, 4)))
        with_nan = x.copy()
        with_nan[1, 0] = np.nan
        y, _ = direction(params, with_nan)
        assert np.isnan(y[1]).any()
        assert np.isfinite(y[[0, 2, 3, 4]]).all()


# ---------------------------------------------------------------- how actnorm starts


@pytest.mark.parametrize("shape", [(3,), (7, 3), (4, 4, 3)])
def test_actnorm_starts_by_normalizing(shape):
    rng = np.random.default_rng(0)
    x = rng.normal([1.0, -20.0, 300.0], [0.01, 5.0, 100.0], size=(50, *shape))
    axes = tuple(range(x.ndim - 1))
    z, log_det = ActNorm().forward(ActNorm().init(rng, x), x)
    np.testing.assert_allclose(z.mean(axis=axes), 0, atol=1e-11)
    np.testing.assert_allclose(z.std(axis=axes), 1, rtol=1e-11)
    np.testing.assert_allclose(log_det, -np.prod(shape[:-1]) * np.log(x.std(axis=axes)).sum())


def test_actnorm_under_inverse_starts_by_normalizing_too():
    rng = np.random.default_rng(0)
    z = rng.normal([1.0, -20.0], [0.01, 5.0], size=(50, 2))
    layer = Inverse(ActNorm())
    x, _ = layer.forward(layer.init(rng, z), z)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(axis=0), 1, rtol=1e-12)
    twice = Inverse(layer)
    for name, leaf in ActNorm().init(rng, z).items():
        np.testing.assert_array_equal(twice.init(rng, z)[name], leaf)
    chain = Inverse(Chain([ActNorm(), Invertible1x1(), ActNorm()]))
    x, _ = chain.forward(chain.init(rng, z), z)
    np.testing.assert_allclose(x.std(axis=0), 1, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6, 1e-3])
@pytest.mark.parametrize("n", [1, 3, 1000])
def test_a_channel_without_spread_gets_its_shift_only(n, value, dtype):
    x = np.full((n, 2), value, dtype=dtype)
    x[:, 1] = np.arange(n)
    params = ActNorm().init(np.random.default_rng(0), x)
    assert params["log_scale"][0] == 0.0
    assert params["log_scale"].dtype == dtype
    z, log_det = ActNorm().forward(params, x)
    assert np.isfinite(z).all()
    assert np.isfinite(log_det).all()
    np.testing.assert_allclose(z[:, 0], 0, atol=1e-6 * abs(value))
    if n == 1:
        np.testing.assert_array_equal(params["log_scale"], [0, 0])


def test_a_batch_of_one_image_is_enough():
    x = np.random.default_rng(0).normal(3, 2, size=(1, 8, 8, 2))
    z, _ = ActNorm().forward(ActNorm().init(None, x), x)
    np.testing.assert_allclose(z.std(axis=(0, 1, 2)), 1)


def test_a_spread_too_small_to_divide_by_counts_as_none():
    x = np.array([[0.0], [1e-320]])
    assert ActNorm().init(None, x)["log_scale"][0] == 0.0


def test_actnorm_keeps_its_start_and_sees_no_batch():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 2))
    params = jitter(ActNorm().init(rng, x), rng)
    other = 10 * rng.normal(size=(7, 2)) + 4
    expected = np.exp(params["log_scale"]) * other + params["shift"]
    np.testing.assert_array_equal(ActNorm().forward(params, other)[0], expected)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((0, 2)), "expected at least one point to start from"),
        (np.array([[np.nan, 1.0]]), "expected finite numbers to start from"),
        (np.array([[np.inf, 1.0]]), "expected finite numbers to start from"),
        (np.ones(3), "expected points of shape"),
    ],
)
def test_actnorm_refuses_a_bad_start(x, message):
    for start in (ActNorm().init, ActNorm().init_inverse):
        with pytest.raises(ValueError, match=rf"ActNorm(.inverse)?: {message}"):
            start(np.random.default_rng(0), x)


def test_integers_start_as_float64():
    assert ActNorm().init(None, [[1, 2], [3, 5]])["shift"].dtype == float


# ---------------------------------------------------------------- rotations and 1×1 convolutions


@pytest.mark.parametrize("C", [1, 2, 3, 8])
def test_rotations_are_rotations(C):
    for seed in range(10):
        W = random_rotation(np.random.default_rng(seed), C)
        np.testing.assert_allclose(W @ W.T, np.eye(C), atol=1e-14)
        np.testing.assert_allclose(np.linalg.det(W), 1, atol=1e-13)


def test_rotations_are_uniform():
    rng = np.random.default_rng(0)
    angles = [np.arctan2(W[1, 0], W[0, 0]) for W in (random_rotation(rng, 2) for _ in range(2000))]
    assert stats.kstest(angles, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 0.01
    first = np.array([random_rotation(rng, 3)[:, 2] for _ in range(2000)])
    for column in first.T:  # a coordinate of a uniform point on the sphere is uniform (Archimedes)
        assert stats.kstest(column, stats.uniform(-1, 2).cdf).pvalue > 0.001


@pytest.mark.parametrize("bad", [0, -1, 2.0, "2", None])
def test_rotations_of_no_size(bad):
    with pytest.raises(ValueError, match="random_rotation: expected features to be an integer >= 1"):
        random_rotation(np.random.default_rng(0), bad)


def test_the_1x1_convolution_is_a_matrix_product_at_every_pixel():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4, 5))
    params = jitter(Invertible1x1().init(rng, x), rng)
    z, log_det = Invertible1x1().forward(params, x)
    np.testing.assert_allclose(z[1, 2, 3], params["weight"] @ x[1, 2, 3])
    np.testing.assert_allclose(log_det, 12 * np.linalg.slogdet(params["weight"])[1])
    points = rng.normal(size=(4, 5))
    for ours, theirs in zip(
        Invertible1x1().forward(params, points), DenseLinear().forward(params, points), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-13)


@pytest.mark.parametrize("C", [1, 2, 3, 7])
def test_lu_starts_as_the_matrix_it_was_given(C):
    rng = np.random.default_rng(1)
    for start in (rotation(C), rng.normal(size=(C, C))):
        layer, x = Invertible1x1LU(start), rng.normal(size=(4, C))
        params = layer.init(rng, x)
        dense = {"weight": start}
        for ours, theirs in zip(layer.forward(params, x), Invertible1x1().forward(dense, x), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-11)
        for ours, theirs in zip(layer.inverse(params, x), Invertible1x1().inverse(dense, x), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-8)


def test_lu_is_invertible_whatever_its_parameters():
    layer = Invertible1x1LU(rotation(3))
    x = np.random.default_rng(0).normal(size=(4, 3))
    params = tree_map(np.zeros_like, layer.init(None, x)) | {"log_diag": np.array([-200.0, 0.0, 200.0])}
    assert checks.round_trip_error(layer, params, x) <= 1e-12
    across = {"lower": np.triu(np.full((3, 3), 7.0)), "upper": np.tril(np.full((3, 3), 7.0))}
    changed = {name: leaf + across.get(name, 0.0) for name, leaf in params.items()}
    np.testing.assert_array_equal(layer.forward(changed, x)[0], layer.forward(params, x)[0])


def test_the_start_of_a_1x1_convolution_has_log_determinant_0():
    x = np.ones((2, 4, 4, 6))
    for layer in (Invertible1x1(), Invertible1x1LU(rotation(6))):
        params = layer.init(np.random.default_rng(0), x)
        np.testing.assert_allclose(layer.forward(params, x)[1], 0, atol=1e-12)


SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])


def test_a_singular_matrix_is_named():
    x = np.ones((3, 2))
    for who, call in (("Invertible1x1", Invertible1x1().forward), ("Invertible1x1.inverse", Invertible1x1().inverse)):
        with pytest.raises(SingularMatrixError, match=rf"^{who}: expected an invertible weight, got one of det"):
            call({"weight": SINGULAR}, x)
        with pytest.raises(SingularMatrixError):
            grad(lambda p, call=call: anp.sum(call(p, x)[0]))({"weight": SINGULAR})
    with pytest.raises(SingularMatrixError, match="Invertible1x1LU: expected an invertible start"):
        Invertible1x1LU(SINGULAR)


@pytest.mark.parametrize("bad", [np.ones((2, 3)), np.full((2, 2), np.nan), np.ones(4)])
def test_lu_refuses_what_is_no_matrix(bad):
    with pytest.raises(ValueError, match="expected"):
        Invertible1x1LU(bad)


def test_lu_refuses_other_channels_and_parameters():
    layer, x = Invertible1x1LU(rotation(3)), np.ones((2, 3))
    with pytest.raises(ValueError, match=r"Invertible1x1LU: start is \(3, 3\) but x has 2 features"):
        layer.init(None, np.ones((4, 2)))
    for name in ("lower", "upper", "log_diag"):
        with pytest.raises(ValueError, match=rf"Invertible1x1LU.inverse: {name} is \(1,\) but z has 3 features"):
            layer.inverse(layer.init(None, x) | {name: np.zeros(1)}, x)


def test_a_step_of_glow_with_a_context():
    rng = np.random.default_rng(0)
    x, context = rng.normal(size=(6, 4)), rng.normal(size=(6, 2))
    step = Chain([ActNorm(), Invertible1x1(), AffineCoupling(half_mask(4), (5,), context_features=2)])
    params = jitter(step.init(rng, x, context), rng)
    assert checks.round_trip_error(step, params, x, context) <= 1e-12
    assert checks.log_det_error(step, params, x, context) <= 1e-11
    assert checks.batch_dependence(step, params, x, context) <= 1e-13


def test_a_thousand_features_need_no_loop_over_them_forward():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 1000))
    layer = Invertible1x1()
    params = layer.init(rng, x)
    z, log_det = layer.forward(params, x)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), np.linalg.norm(x, axis=1))
    np.testing.assert_allclose(log_det, 0, atol=1e-9)
    np.testing.assert_allclose(ActNorm().forward(ActNorm().init(rng, x), x)[0].std(axis=0), 1)
