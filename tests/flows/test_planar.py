"""Planar and radial flows: every check, the constraint, the root, and the checks against real bugs."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from scipy.optimize import brentq

from minigen import checks
from minigen.flows.planar import Planar, Radial, solve_monotone
from minigen.foundations.change_of_variables import Chain, Inverse
from minigen.tree import tree_leaves, tree_map

MAPS = {
    "planar": lambda: Planar(),
    "radial": lambda: Radial(),
    "planar, context": lambda: Planar(context_features=2),
    "radial, context": lambda: Radial(context_features=2),
    "noise to data": lambda: Inverse(Chain([Planar(), Radial(), Planar()])),
    "chain": lambda: Chain([Planar(), Radial(), Planar()]),
}


def jitter(params, rng, size=0.7):
    return tree_map(lambda leaf: leaf + size * rng.normal(size=leaf.shape).astype(leaf.dtype), params)


def build(name, D, n=6, dtype=float, size=0.7):
    rng = np.random.default_rng(D)
    map, x = MAPS[name](), rng.normal(size=(n, D)).astype(dtype)
    context = rng.normal(size=(n, 2)).astype(dtype) if "context" in name else None
    return map, jitter(map.init(rng, x, context), rng, size), x, context


@pytest.mark.parametrize("D", [1, 2, 3, 5])
@pytest.mark.parametrize("name", MAPS)
def test_every_layer_passes_every_check(name, D):
    for size in (0.0, 0.7, 3.0):
        map, params, x, context = build(name, D, size=size)
        for given in (context,) if context is None else (context, context[:1]):
            assert checks.round_trip_error(map, params, x, given) <= 1e-10
            assert checks.log_det_cancel_error(map, params, x, given) <= 1e-8
            assert checks.log_det_error(map, params, x, given) <= 1e-7
            assert checks.batch_dependence(map, params, x, given) <= 1e-10
            assert checks.round_trip_error(map, params, 1e3 * x, given) <= 1e-9


@pytest.mark.parametrize("D", [1, 2, 5])
@pytest.mark.parametrize("name", MAPS)
def test_layers_start_as_the_identity(name, D):
    map, params, x, context = build(name, D, size=0.0)
    z, log_det = map.forward(params, x, context)
    np.testing.assert_allclose(z, x, atol=1e-13)
    np.testing.assert_allclose(log_det, 0, atol=1e-13)


@pytest.mark.parametrize("name", MAPS)
def test_gradients_of_both_directions(name):
    map, params, x, context = build(name, 3, n=3)
    for direction in (map.forward, map.inverse):

        def total(params, x, direction=direction):
            y, log_det = direction(params, x, context)
            return anp.sum(anp.sin(y)) + anp.sum(log_det**2)

        check_grads(total, modes=["rev"], order=2 if name in ("planar", "radial") else 1)(params, x)
        for leaf, gradient in zip(tree_leaves(params), tree_leaves(grad(total)(params, x)), strict=True):
            assert np.shape(gradient) == leaf.shape


@pytest.mark.parametrize("name", MAPS)
def test_float32_stays_float32(name):
    map, params, x, context = build(name, 3, dtype=np.float32)
    z, log_det = map.forward(params, x, context)
    back, log_det_back = map.inverse(params, z, context)
    assert {a.dtype for a in (z, log_det, back, log_det_back)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(back, x, atol=2e-5)
    for direction in (map.forward, map.inverse):

        def total(params, x, direction=direction):
            y, log_det = direction(params, x, context)
            return anp.sum(y * y) + anp.sum(log_det)

        assert grad(total, 1)(params, x).dtype == np.float32
        assert {leaf.dtype for leaf in tree_leaves(params)} == {np.dtype(np.float32)}
        assert {np.asarray(leaf).dtype for leaf in tree_leaves(grad(total)(params, x))} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", MAPS)
def test_batches_good_and_bad(name):
    map, params, x, context = build(name, 3)
    for direction in (map.forward, map.inverse):
        y, log_det = direction(params, np.zeros((0, 3)), None if context is None else context[:1])
        assert (y.shape, log_det.shape) == ((0, 3), (0,))
        ones = np.ones((6, 3), dtype=int)
        np.testing.assert_array_equal(
            direction(params, ones, context)[0], direction(params, ones.astype(float), context)[0]
        )
        for bad in ([["a", "b", "c"]], np.ones((6, 3), dtype=complex), None):
            with pytest.raises(TypeError, match="expected real numbers"):
                direction(params, bad, context)
        for bad in (np.ones(3), np.ones((6, 4)), np.ones((6, 1)), np.ones((6, 3, 1))):
            with pytest.raises(ValueError, match="expected points of shape|features"):
                direction(params, bad, context)
        for value in (np.nan, np.inf):
            broken = x.copy()
            broken[1] = value
            with np.errstate(invalid="ignore"):
                y, log_det = direction(params, broken, context)
            assert not np.isfinite(y[1]).any()
            assert np.isfinite(y[[0, 2, 3, 4, 5]]).all()
            assert np.isfinite(log_det[[0, 2, 3, 4, 5]]).all()
        if context is not None:
            for bad in (None, context[:2], context[:, :1], np.ones(2)):
                with pytest.raises(ValueError, match="context"):
                    direction(params, x, bad)
    for bad in (-1, 1.5):
        with pytest.raises(ValueError, match="expected context_features to be an integer >= 0"):
            type(MAPS[name]())(context_features=bad) if "context" in name else Planar(bad)


# ---------------------------------------------------------------- the constraint and the root


def test_the_constraint_holds_whatever_the_parameters():
    rng = np.random.default_rng(0)
    x = 3 * rng.normal(size=(200, 2))
    for size in (0.1, 1.0, 10.0):
        for map in (Planar(), Radial()):
            for _ in range(20):
                params = jitter(map.init(rng, x), rng, size)
                z, log_det = map.forward(params, x)
                assert np.isfinite(log_det).all()
                np.testing.assert_allclose(map.inverse(params, z)[0], x, atol=1e-6)
    params = {"w": np.array([3.0, 0.0]), "u": np.array([-30.0, 1.0]), "bias": np.zeros(())}  # wᵀû = −1 to 39 digits
    z, log_det = Planar().forward(params, np.zeros((1, 2)))
    np.testing.assert_allclose(log_det, [-90.0])
    np.testing.assert_allclose(Planar().inverse(params, z)[0], np.zeros((1, 2)))


def test_u_hat_is_the_paper_formula():
    rng = np.random.default_rng(0)
    w, u = rng.normal(size=(2, 3))
    x = rng.normal(size=(5, 3))
    s = w @ u
    u_hat = u + (np.log1p(np.exp(s)) - 1 - s) * w / (w @ w)
    z, log_det = Planar().forward({"w": w, "u": u, "bias": np.array(0.5)}, x)
    a = x @ w + 0.5
    np.testing.assert_allclose(z, x + np.tanh(a)[:, None] * u_hat, rtol=1e-12)
    np.testing.assert_allclose(log_det, np.log(1 + (1 - np.tanh(a) ** 2) * (w @ u_hat)), rtol=1e-12, atol=1e-14)


def test_a_radial_flow_at_its_own_centre():
    params = {"centre": np.ones(2), "log_alpha": np.array(0.3), "b": np.array(2.0)}
    x = np.ones((1, 2))
    z, log_det = Radial().forward(params, x)
    np.testing.assert_allclose(z, x)
    np.testing.assert_allclose(log_det, 2 * (np.log(np.log1p(np.exp(2.0))) - 0.3))
    for direction in (Radial().forward, Radial().inverse):
        assert np.isfinite(grad(lambda x, f=direction: anp.sum(f(params, x)[0] + f(params, x)[1][:, None]))(x)).all()


@pytest.mark.parametrize("gain", [1e-12, 1e-3, 0.5, 1.0, 3.0, 1e3, 1e6])
def test_the_root_is_a_root(gain):
    y = np.concatenate([[-1e6, -30.0, 0.0, 1e-12, 30.0, 1e6], np.linspace(-3, 3, 61), gain * np.linspace(-2, 2, 41)])
    a = solve_monotone(y, gain)
    np.testing.assert_allclose(a + (gain - 1) * np.tanh(a), y, rtol=1e-12, atol=1e-12 * max(1, gain))
    for value in y[::7]:
        width = abs(gain - 1) + 1
        root = brentq(lambda a, value=value: a + (gain - 1) * np.tanh(a) - value, value - width, value + width)
        steep = gain if abs(value) > 1e-3 else 1e-4
        assert abs(solve_monotone(np.array([value]), gain)[0] - root) <= 1e-8 / min(1, steep) ** 0.5 * (1 + abs(root))
    assert np.isnan(solve_monotone(np.array([np.nan, 1.0]), gain)[0])
    if 1e-3 <= gain <= 10:
        check_grads(lambda y, gain: solve_monotone(y, gain), modes=["rev"], order=2)(np.array([0.3, -1.0, 2.0]), gain)
