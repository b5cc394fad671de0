"""Squeeze, split and multi-scale through every check; dequantization and bits per dimension against sums by hand."""

import math

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads

from minigen import checks
from minigen.errors import OutsideDomainError
from minigen.flows.coupling import AffineCoupling, half_mask
from minigen.flows.glow import ActNorm, Invertible1x1
from minigen.flows.multiscale import (
    Logit,
    MultiScale,
    Split,
    Squeeze,
    bits_per_dimension,
    dequantize,
    output_shape,
    quantize,
)
from minigen.foundations.change_of_variables import Affine, Chain, Exp, Inverse, Permute
from minigen.nets import Conv2D
from minigen.tree import tree_leaves, tree_map


def step(channels, context_features=0):
    net = Conv2D(channels // 2, 2 * (channels - channels // 2), 3, context_features, scale=0.0)
    return Chain([ActNorm(), Invertible1x1(), AffineCoupling(half_mask(channels), net=net)])


def glow(context_features=0):
    return MultiScale(
        (4, 4, 1), [Chain([Squeeze(), step(4, context_features)]), Chain([Squeeze(), step(8, context_features)])]
    )


# name -> (map, shape of a point)
MAPS = {
    "squeeze": (Squeeze(), (4, 2, 3)),
    "squeeze by 3": (Squeeze(3), (3, 6, 1)),
    "squeeze by 1": (Squeeze(1), (3, 2, 1)),
    "unsqueeze": (Inverse(Squeeze()), (1, 2, 8)),
    "squeeze, unsqueeze": (Chain([Squeeze(), ActNorm(), Inverse(Squeeze())]), (2, 2, 3)),
    "split of points": (Split(Affine(), (5,)), (5,)),
    "split of points, chained": (Chain([Affine(), Split(Exp(), (2,)), Permute([1, 0])]), (2,)),
    "split of images": (Split(step(2), (2, 2, 5)), (2, 2, 5)),
    "split of odd channels": (Split(Chain([Squeeze(), Affine()]), (2, 4, 3)), (2, 4, 3)),
    "split in a split": (Split(Split(Affine(), (2, 1, 2)), (2, 1, 5)), (2, 1, 5)),
    "one level": (MultiScale((2, 2, 2), [step(2)]), (2, 2, 2)),
    "three levels": (MultiScale((4, 4, 1), [Squeeze(), Chain([Squeeze(), Affine()]), ActNorm()]), (4, 4, 1)),
    "levels that split": (MultiScale((4, 2, 1), [Squeeze(), Split(Affine(), (2, 1, 2))]), (4, 2, 1)),
    "glow": (glow(), (4, 4, 1)),
    "inverse glow": (Inverse(glow()), (16,)),
    "logit": (Logit(), (2, 2, 1)),
    "logit of points": (Logit(0.01), (3,)),
    "all": (Chain([Logit(), glow()]), (4, 4, 1)),
}


def jitter(params, rng):
    return tree_map(lambda leaf: leaf + 0.2 * rng.normal(size=leaf.shape).astype(leaf.dtype), params)


def build(name, n=3, dtype=float):
    rng = np.random.default_rng(1)
    map, shape = MAPS[name]
    x = rng.random((n, *shape)).astype(dtype)
    return map, jitter(map.init(rng, x), rng), x


@pytest.mark.parametrize("name", MAPS)
def test_every_map_passes_every_check(name):
    map, params, x = build(name)
    assert checks.round_trip_error(map, params, x) <= 1e-12
    assert checks.log_det_cancel_error(map, params, x) <= 1e-12
    assert checks.log_det_error(map, params, x) <= 1e-11
    assert checks.batch_dependence(map, params, x) <= 1e-13
    if "logit" not in name and name not in ("all", "split of points, chained"):
        assert checks.round_trip_error(map, params, 1e3 * x) <= 1e-9


@pytest.mark.parametrize("name", ["squeeze", "split of points", "glow", "all"])
def test_log_determinants_by_finite_differences(name):
    map, params, x = build(name, n=2)
    assert checks.log_det_error(map, params, x, jacobian="finite") <= 1e-5


@pytest.mark.parametrize("name", MAPS)
def test_gradients_of_both_directions(name):
    map, params, x = build(name, n=2)
    for direction, at in ((map.forward, x), (map.inverse, map.forward(params, x)[0])):

        def total(params, x, direction=direction):
            y, log_det = direction(params, x)
            return anp.sum(anp.sin(y)) + anp.sum(log_det**2)

        check_grads(lambda x, total=total: total(params, x), modes=["rev"], order=1)(at)
        if tree_leaves(params):
            check_grads(lambda params, total=total, at=at: total(params, at), modes=["rev"], order=1)(params)


@pytest.mark.parametrize("name", MAPS)
def test_float32_stays_float32(name):
    map, params, x = build(name, dtype=np.float32)
    assert {leaf.dtype for leaf in tree_leaves(params)} <= {np.dtype(np.float32)}
    z, log_det = map.forward(params, x)
    back, log_det_back = map.inverse(params, z)
    assert {a.dtype for a in (z, log_det, back, log_det_back)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(back, x, atol=1e-4)
    for direction, at in ((map.forward, x), (map.inverse, z)):

        def total(params, x, direction=direction):
            y, log_det = direction(params, x)
            return anp.sum(y * y) + anp.sum(log_det)

        gradients = [grad(total, 1)(params, at)]
        if tree_leaves(params):
            gradients += tree_leaves(grad(total)(params, at))
        assert {g.dtype for g in gradients} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", MAPS)
def test_batches_good_and_bad(name):
    map, params, x = build(name)
    z, _ = map.forward(params, x)
    for direction, at in ((map.forward, x), (map.inverse, z)):
        y, log_det = direction(params, at[:0])
        assert y.shape[0] == 0
        assert log_det.shape == (0,)
        y, log_det = direction(params, at, np.ones((1, 2)))
        np.testing.assert_array_equal(log_det, direction(params, at)[1])
        for bad in (np.full(at.shape, "a"), at.astype(complex), None):
            with pytest.raises(TypeError, match="expected real numbers"):
                direction(params, bad)
        with pytest.raises(ValueError, match="expected"):
            direction(params, np.ones(3))
        if "logit" not in name and name != "squeeze by 1":
            with pytest.raises(ValueError, match="expected|features|entries"):
                direction(params, np.zeros((2, 7, 5, 3)))
        with_nan = at.copy()
        with_nan[1] = np.nan
        y, _ = direction(params, with_nan)
        assert np.isnan(y[1]).any()
        assert np.isfinite(y[[0, 2]]).all()


@pytest.mark.parametrize("name", ["squeeze", "split of points", "three levels"])
def test_integers_become_float64(name):
    map, params, x = build(name)
    whole = np.arange(x.size).reshape(x.shape)
    z, log_det = map.forward(params, whole)
    assert z.dtype == log_det.dtype == float
    np.testing.assert_array_equal(z, map.forward(params, whole.astype(float))[0])


# ---------------------------------------------------------------- shapes


def test_squeeze_by_hand():
    x = np.arange(2 * 4 * 4 * 2.0).reshape(2, 4, 4, 2)
    z, log_det = Squeeze().forward({}, x)
    assert z.shape == (2, 2, 2, 8)
    np.testing.assert_array_equal(log_det, [0, 0])
    for n, i, j in np.ndindex(2, 2, 2):
        block = x[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        np.testing.assert_array_equal(z[n, i, j], block.ravel())


@pytest.mark.parametrize("name", MAPS)
def test_output_shape_is_what_comes_out(name):
    map, params, x = build(name)
    if name == "inverse glow":  # a multi-scale flow turned round is met by no level
        return
    assert map.forward(params, x)[0].shape[1:] == output_shape(map, x.shape[1:])


@pytest.mark.parametrize("shape", [(3, 4, 1), (4, 3, 1), (1, 1, 4)])
def test_squeeze_refuses_uneven_sizes(shape):
    with pytest.raises(ValueError, match=r"Squeeze: expected an image \(H, W, C\) with H and W divisible by 2, got"):
        Squeeze().forward({}, np.zeros((2, *shape)))
    with pytest.raises(ValueError, match="Squeeze: expected an image"):
        MultiScale(shape, [Squeeze(), Affine()])


def test_squeeze_refuses_other_batches():
    with pytest.raises(
        ValueError, match=r"Squeeze.inverse: expected channels divisible by 4, got z.shape = \(2, 2, 2, 3\)"
    ):
        Squeeze().inverse({}, np.zeros((2, 2, 2, 3)))
    with pytest.raises(ValueError, match=r"Squeeze: expected images of shape \(N, H, W, C\), got shape \(2, 4\)"):
        Squeeze().forward({}, np.zeros((2, 4)))
    for bad in (0, 2.0, "2"):
        with pytest.raises(ValueError, match="Squeeze: expected factor to be an integer >= 1"):
            Squeeze(bad)


def test_split_keeps_what_it_factors_out():
    x = np.random.default_rng(0).normal(size=(3, 2, 2, 4))
    layer = Split(Affine(), (2, 2, 4))
    params = {"log_scale": np.full((2, 2, 2), 0.5), "shift": np.ones((2, 2, 2))}
    z, log_det = layer.forward(params, x)
    np.testing.assert_array_equal(z[:, :8], x[..., 2:].reshape(3, 8))
    np.testing.assert_allclose(z[:, 8:], (np.exp(0.5) * x[..., :2] + 1).reshape(3, 8))
    np.testing.assert_allclose(log_det, np.full(3, 8 * 0.5))


def test_multi_scale_is_its_levels_by_hand():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 4, 1))
    levels = [Chain([Squeeze(), ActNorm()]), Chain([Squeeze(), ActNorm()]), ActNorm()]
    flow = MultiScale((4, 4, 1), levels)
    first, (second, third) = jitter(flow.init(rng, x), rng)
    third = third[0]
    h, change1 = levels[0].forward(first, x)
    h, a1 = h[..., :2], h[..., 2:]
    h, change2 = levels[1].forward(second, h)
    h, a2 = h[..., :4], h[..., 4:]
    a3, change3 = levels[2].forward(third, h)
    z, log_det = flow.forward([first, [second, [third]]], x)
    np.testing.assert_array_equal(z, np.concatenate([a.reshape(2, -1) for a in (a1, a2, a3)], axis=1))
    np.testing.assert_allclose(log_det, change1 + change2 + change3)


def test_actnorm_in_every_level_starts_on_what_reaches_it():
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 5.0, size=(200, 4, 4, 1))
    flow = MultiScale((4, 4, 1), [Chain([Squeeze(), ActNorm()]), Chain([Squeeze(), ActNorm()])])
    z, _ = flow.forward(flow.init(rng, x), x)
    np.testing.assert_allclose(z.reshape(200, -1, 8).std(axis=(0, 2)), 1, atol=0.1)
    backwards = Inverse(flow)
    x, _ = backwards.forward(backwards.init(rng, z * 7 + 1), z * 7 + 1)
    np.testing.assert_allclose(x.std(), 1, atol=0.05)


def test_a_context_reaches_every_level():
    rng = np.random.default_rng(0)
    flow, x, context = glow(2), rng.normal(size=(3, 4, 4, 1)), rng.normal(size=(3, 2))
    params = jitter(flow.init(rng, x, context), rng)
    assert checks.round_trip_error(flow, params, x, context) <= 1e-12
    assert checks.log_det_error(flow, params, x, context) <= 1e-11
    assert checks.batch_dependence(flow, params, x, context) <= 1e-13
    moved = flow.forward(params, x, context + 1)[0] - flow.forward(params, x, context)[0]
    assert np.abs(moved[:, :8]).max() > 1e-3
    assert np.abs(moved[:, 8:]).max() > 1e-3
    one_row = flow.forward(params, x, context[:1])[0]
    np.testing.assert_allclose(one_row, flow.forward(params, x, context[[0, 0, 0]])[0], atol=1e-13)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Split(Affine(), (4, 4, 1)), "Split: expected at least 2 channels to split"),
        (lambda: Split(Affine(), ()), r"Split: expected the shape of one point, got \(\)"),
        (lambda: Split(Affine(), (4, 2.0)), r"Split: expected shape\[1\] to be an integer >= 1"),
        (lambda: Split("rest", (2,)), "Split: expected a Bijection as rest"),
        (lambda: MultiScale((2, 2, 2), []), "MultiScale: expected at least one level, got none"),
        (lambda: MultiScale((2, 2, 2), [None]), "Chain: expected Bijections"),
        (lambda: MultiScale((2, 2, 1), [Affine(), Affine()]), "Split: expected at least 2 channels"),
        (lambda: MultiScale((2, 2, 0), [Affine()]), r"MultiScale: expected shape\[2\] to be an integer >= 1"),
        (lambda: Logit(0.5), "Logit: expected 0 <= alpha < 0.5, got 0.5"),
        (lambda: Logit(-0.1), "Logit: expected 0 <= alpha < 0.5"),
        (lambda: Logit(math.nan), "Logit: expected 0 <= alpha < 0.5"),
    ],
)
def test_constructors_refuse(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_batches_of_another_shape_are_named():
    flow = glow()
    params = flow.init(np.random.default_rng(0), np.random.default_rng(0).normal(size=(2, 4, 4, 1)))
    for call in (flow.forward, lambda p, x: flow.init(np.random.default_rng(0), x)):
        with pytest.raises(ValueError, match=r"MultiScale: expected shape \(N, 4, 4, 1\), got shape \(2, 4, 4, 2\)"):
            call(params, np.zeros((2, 4, 4, 2)))
    with pytest.raises(ValueError, match=r"MultiScale.inverse: expected shape \(N, 16\), got shape \(2, 15\)"):
        flow.inverse(params, np.zeros((2, 15)))


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("levels", [2, 3, 10, 17, 256, 1000])
def test_whole_numbers_come_back_from_any_noise(levels, dtype):
    x = np.repeat(np.arange(levels), 200)[None].astype(dtype)

    class Ends:
        """Noise that is as close to 0 and 1 as it can be, and everything between."""

        def random(self, shape):
            u = np.random.default_rng(0).random(shape).astype(dtype)
            u[:, ::3], u[:, 1::3] = 0.0, np.nextafter(dtype(1), dtype(0))
            return u

    y, log_det = dequantize(Ends(), x, levels)
    assert y.dtype == log_det.dtype == dtype
    assert 0 < y.min() < y.max() < 1
    back, log_det_back = quantize(y, levels)
    np.testing.assert_array_equal(back, x)
    np.testing.assert_allclose(log_det, [-x.size * math.log(levels)], rtol=1e-6)
    np.testing.assert_array_equal(log_det + log_det_back, [0.0])


def test_dequantized_numbers_are_uniform_in_their_cell():
    x = np.full((1, 100_000), 3)
    y, _ = dequantize(np.random.default_rng(0), x, 8)
    u = y * 8 - 3
    assert y.dtype == float
    assert abs(u.mean() - 0.5) < 4 / np.sqrt(12 * u.size)
    assert abs(u.var() - 1 / 12) < 1e-3


def test_dequantization_bounds_the_probability_and_is_exact_for_a_flat_density():
    probs = np.array([0.1, 0.2, 0.3, 0.4])  # of the levels; the density 4·p on each cell is flat there
    x = np.random.default_rng(0).choice(4, p=probs, size=(50, 1))
    y, log_det = dequantize(np.random.default_rng(1), x, 4)
    flat = np.log(4 * probs[np.floor(4 * y).astype(int)])[:, 0]
    np.testing.assert_allclose(flat + log_det, np.log(probs[x[:, 0]]))
    # p(y) = 2y is not flat: E_u[log p(y)] + log_det lies below log P(x), the log of its integral over the cell
    many, log_det = dequantize(np.random.default_rng(1), np.full((20_000, 1), 2), 4)
    bound = (np.log(2 * many[:, 0]) + log_det).mean()
    exact = math.log(0.75**2 - 0.5**2)
    assert exact - 0.01 < bound < exact


@pytest.mark.parametrize("bad", [[[-1]], [[256]], [[0.5]], [[np.nan]], [[np.inf]]])
def test_dequantize_refuses_other_numbers(bad):
    with pytest.raises(OutsideDomainError, match=r"dequantize: expected whole numbers 0, ..., 255, got"):
        dequantize(np.random.default_rng(0), bad)


def test_numbers_of_other_kinds():
    rng = np.random.default_rng(0)
    for bad in (1, 2.0, "2", None):
        for call in (lambda levels: dequantize(rng, [[0]], levels), lambda levels: quantize([[0.1]], levels)):
            with pytest.raises(ValueError, match="expected levels to be an integer >= 2"):
                call(bad)
    with pytest.raises(TypeError, match="expected real numbers"):
        dequantize(rng, [["a"]])
    with pytest.raises(ValueError, match="expected points of shape"):
        dequantize(rng, [1, 2])
    with pytest.raises(OutsideDomainError, match="quantize: expected numbers, got NaN"):
        quantize([[np.nan]])
    assert dequantize(rng, np.zeros((0, 3)))[0].shape == (0, 3)
    assert dequantize(rng, np.zeros((2, 3), np.uint8))[0].dtype == float
    x, _ = quantize([[-0.5, 0.0, 0.999, 1.0, 7.0, np.inf]])
    np.testing.assert_array_equal(x, [[0, 0, 255, 255, 255, 255]])


def test_logit_by_hand_and_its_limits():
    x = np.array([[0.0, 0.25, 1.0]])
    s = 0.05 + 0.9 * x
    z, log_det = Logit().forward({}, x)
    np.testing.assert_allclose(z, np.log(s / (1 - s)))
    np.testing.assert_allclose(log_det, np.sum(np.log(0.9 / (s * (1 - s)))))
    for bad in (-0.1, 1.1, np.inf):
        with pytest.raises(OutsideDomainError, match=rf"Logit: expected 0 <= x <= 1, got {bad}"):
            Logit().forward({}, np.array([[0.5, bad]]))
    with pytest.raises(OutsideDomainError):
        Logit(0.0).forward({}, np.array([[1.0]]))
    x, log_det = Logit().inverse({}, np.array([[-1e3, 1e3]]))
    np.testing.assert_allclose(x, [[-0.05 / 0.9, 0.95 / 0.9]])
    np.testing.assert_allclose(log_det, -2000 - 2 * math.log(0.9))
    with pytest.raises(OutsideDomainError):
        grad(lambda x: anp.sum(Logit().forward({}, x)[0]))(np.array([[2.0]]))


def test_bits_per_dimension():
    # Both ways to count the constant agree.
    rng = np.random.default_rng(0)
    y, log_det = dequantize(rng, rng.integers(256, size=(5, 12)))
    log_prob = -np.sum(y**2, axis=1)
    ours = bits_per_dimension(log_prob, 12, 256)
    np.testing.assert_allclose(ours, bits_per_dimension(log_prob + log_det, 12, 1))
    np.testing.assert_allclose(bits_per_dimension(np.zeros(3), 12, 256), 8)
    np.testing.assert_allclose(bits_per_dimension(0.0, 12, 2), 1)
    assert bits_per_dimension(np.zeros(3, np.float32), 12, 17).dtype == np.float32
    for bad in ({"dimensions": 0, "levels": 2}, {"dimensions": 2, "levels": 0.5}):
        with pytest.raises(ValueError, match="bits_per_dimension: expected"):
            bits_per_dimension(np.zeros(3), **bad)
    with pytest.raises(TypeError):
        bits_per_dimension("a", 1, 1)
