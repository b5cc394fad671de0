"""Flows: density, sampler and loss together; blocks; contexts; the doors."""

import math
import tracemalloc

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from scipy import stats

from minigen import checks
from minigen.errors import NoInverseError
from minigen.flows.coupling import AdditiveCoupling, AffineCoupling, Scale, alternating_mask, half_mask
from minigen.flows.flow import BLOCK, Flow, standard_normal
from minigen.flows.planar import Planar, Radial
from minigen.foundations.change_of_variables import Affine, Bijection, Chain, Inverse, Permute, same_log_det
from minigen.foundations.distributions import Logistic, Mixture, Normal
from minigen.train import Adam, fit
from minigen.tree import count_params, tree_leaves, tree_map


def realnvp(D, layers=4, fused=True, context_features=0):
    masks = [alternating_mask(D, k % 2) for k in range(layers)]
    return Chain([AffineCoupling(m, (8,), context_features=context_features, fused=fused) for m in masks])


MAPS = {
    "RealNVP": lambda D: realnvp(D),
    "RealNVP, plain": lambda D: realnvp(D, fused=False),
    "RealNVP, context": lambda D: realnvp(D, context_features=2),
    "NICE": lambda D: Chain([*(AdditiveCoupling(alternating_mask(D, k % 2), (8,)) for k in range(3)), Scale()]),
    "planar": lambda D: Chain([Planar(), Radial(), Planar()]),
    "planar, context": lambda D: Chain([Planar(2), Radial(2)]),
    "noise to data": lambda D: Inverse(Chain([Planar(), realnvp(D, 2)])),
    "mixed": lambda D: Chain([Affine(), realnvp(D, 2), Permute(range(D)[::-1]), Chain([realnvp(D, 2)])]),
    "nothing": lambda D: Chain([]),
}


def jitter(params, rng, size=0.3):
    return tree_map(lambda leaf: leaf + size * rng.normal(size=leaf.shape).astype(leaf.dtype), params)


def build(name, D=2, n=6, base=None, dtype=float, size=0.3):
    rng = np.random.default_rng(D)
    flow, x = Flow(base or standard_normal(D), MAPS[name](D)), rng.normal(size=(n, D)).astype(dtype)
    context = rng.normal(size=(n, 2)).astype(dtype) if "context" in name else None
    return flow, jitter(flow.init(rng, x, context), rng, size), x, context


@pytest.mark.parametrize("D", [2, 3, 5])
@pytest.mark.parametrize("name", MAPS)
def test_log_prob_is_the_change_of_variables(name, D):
    flow, params, x, context = build(name, D)
    assert set(params) == {"base", "map"}
    assert params["base"] == {}
    z, log_det = flow.map.forward(params["map"], x, context)
    np.testing.assert_allclose(flow.log_prob(params, x, context), flow.base.log_prob(z) + log_det, rtol=1e-12)


@pytest.mark.parametrize("name", MAPS)
def test_the_mass_is_one(name):
    flow, params, _, context = build(name, size=0.2)
    log_prob = lambda x: flow.log_prob(params, x, None if context is None else context[:1])  # noqa: E731
    assert checks.total_mass(log_prob, ((-14, 14), (-14, 14)), n=400) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", MAPS)
def test_samples_come_with_their_log_densities(name):
    flow, params, _, context = build(name)
    row = None if context is None else context[:1]
    x, log_prob = flow.sample_and_log_prob(params, np.random.default_rng(0), 50, row)
    np.testing.assert_allclose(flow.log_prob(params, x, row), log_prob, atol=1e-9)
    np.testing.assert_array_equal(flow.sample(params, np.random.default_rng(0), 50, row), x)
    z = flow.base.sample(np.random.default_rng(0), 50)
    np.testing.assert_array_equal(flow.from_noise(params, z, row)[0], x)
    zs = flow.trace(params, x, row)
    np.testing.assert_allclose(zs[-1], z, atol=1e-9)
    np.testing.assert_array_equal(zs[0], x)


def test_samples_follow_the_density():
    flow, params, *_ = build("RealNVP")
    x = flow.sample(params, np.random.default_rng(1), 20_000)
    # The mean of -log p over samples is the entropy, which quadrature on a grid knows too.
    side = np.linspace(-12, 12, 601)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    log_p = flow.log_prob(params, grid)
    entropy = -np.sum(np.exp(log_p) * log_p) * (side[1] - side[0]) ** 2
    estimates = -flow.log_prob(params, x)
    assert abs(estimates.mean() - entropy) <= 4 * estimates.std() / math.sqrt(len(x))
    # An affine flow of a Gaussian is a Gaussian.
    flow = Flow(standard_normal(1), Affine())
    params = {"base": {}, "map": {"log_scale": np.array([0.5]), "shift": np.array([-1.0])}}
    known = stats.norm(math.exp(-0.5), math.exp(-0.5))
    x = flow.sample(params, np.random.default_rng(0), 4000)
    np.testing.assert_allclose(flow.log_prob(params, x), known.logpdf(x[:, 0]))
    assert stats.kstest(x[:, 0], known.cdf).pvalue > 0.01


@pytest.mark.parametrize("base", [Logistic([0.0, 0.0], [1.0, 1.0]), Normal([1.0, 0.0], [[2.0, 0.5], [0.5, 1.0]])])
def test_other_bases(base):
    flow, params, x, _ = build("RealNVP", base=base)
    z, log_det = flow.map.forward(params["map"], x)
    np.testing.assert_allclose(flow.log_prob(params, x), base.log_prob(z) + log_det)
    assert checks.total_mass(lambda x: flow.log_prob(params, x), ((-40, 40), (-40, 40)), n=600) == pytest.approx(
        1, abs=1e-3
    )
    check_grads(lambda p: flow.loss(p, None, x), modes=["rev"], order=1)(params)


@pytest.mark.parametrize("name", MAPS)
def test_gradients_of_the_loss_and_of_samples(name):
    flow, params, x, context = build(name)
    batch = x if context is None else (x, context)
    np.testing.assert_allclose(flow.loss(params, None, batch), -flow.log_prob(params, x, context).mean())
    if name == "nothing":
        return
    check_grads(lambda map: flow.loss({"base": {}, "map": map}, None, batch), modes=["rev"], order=1)(params["map"])

    def reverse_kl(map):
        y, log_prob = flow.from_noise({"base": {}, "map": map}, x, context)
        return anp.mean(log_prob + anp.sum(y**2, axis=1))

    check_grads(reverse_kl, modes=["rev"], order=1)(params["map"])
    whole = grad(flow.loss)(params, None, batch)  # with no wrapper, the containers boxed
    for leaf, gradient in zip(tree_leaves(params), tree_leaves(whole), strict=True):
        assert np.shape(gradient) == leaf.shape


@pytest.mark.parametrize("name", MAPS)
def test_float32_stays_float32(name):
    if name == "nothing":
        return
    flow, params, x, context = build(name, dtype=np.float32)
    batch = x if context is None else (x, context)
    row = None if context is None else context[:1]
    assert {leaf.dtype for leaf in tree_leaves(params)} == {np.dtype(np.float32)}
    many, log_prob = flow.sample_and_log_prob(params, np.random.default_rng(0), BLOCK + 5, row)
    assert {a.dtype for a in (many, log_prob, flow.log_prob(params, x, context), flow.loss(params, None, batch))} == {
        np.dtype(np.float32)
    }
    assert {g.dtype for g in tree_leaves(grad(flow.loss)(params, None, batch))} == {np.dtype(np.float32)}
    np.testing.assert_allclose(flow.log_prob(params, many, row), log_prob, atol=1e-3)
    wide = tree_map(lambda leaf: leaf.astype(float), params)
    np.testing.assert_allclose(
        flow.log_prob(params, x, context), flow.log_prob(wide, x.astype(float), context), atol=1e-4
    )


# ---------------------------------------------------------------- blocks


class Counting(Bijection):
    """The identity, which remembers how many points came at a time, and with how many rows of context."""

    def __init__(self):
        self.seen = []

    def forward(self, params, x, context=None):
        self.seen.append((len(x), None if context is None else len(context)))
        return x, same_log_det(0.0, x)

    inverse = forward


@pytest.mark.parametrize("name", MAPS)
def test_blocks_change_nothing(name):
    flow, params, _, context = build(name)
    n = 2 * BLOCK + 7
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2))
    contexts = [None] if context is None else [rng.normal(size=(1, 2)), rng.normal(size=(n, 2))]
    for given in contexts:
        whole, log_det = flow.map.forward(params["map"], x, given)
        wanted = flow.base.log_prob(whole) + log_det
        np.testing.assert_allclose(flow.log_prob(params, x, given), wanted, rtol=1e-11, atol=1e-11)
        y, log_prob = flow.from_noise(params, x, given)
        wanted, log_det = flow.map.inverse(params["map"], x, given)
        np.testing.assert_allclose(y, wanted, atol=1e-10)
        np.testing.assert_allclose(log_prob, flow.base.log_prob(x) - log_det, atol=1e-10)


def test_how_points_are_cut_into_blocks():
    counting = Counting()
    flow = Flow(standard_normal(2), counting)
    params = {"base": {}, "map": {}}
    n = 2 * BLOCK + 7
    for call in (
        lambda context: flow.log_prob(params, np.zeros((n, 2)), context),
        lambda context: flow.from_noise(params, np.zeros((n, 2)), context),
        lambda context: flow.sample(params, np.random.default_rng(0), n, context),
        lambda context: flow.sample_and_log_prob(params, np.random.default_rng(0), n, context),
    ):
        for context, rows in ((None, [None] * 3), (np.zeros((1, 1)), [1] * 3), (np.zeros((n, 1)), [BLOCK, BLOCK, 7])):
            counting.seen.clear()
            call(context)
            assert counting.seen == list(zip([BLOCK, BLOCK, 7], rows, strict=True))
    counting.seen.clear()
    grad(lambda x: anp.sum(flow.log_prob(params, x)))(np.zeros((n, 2)))  # a tape needs them all anyway
    assert counting.seen == [(n, None)]


def test_memory_is_bounded_by_the_block():
    flow = Flow(standard_normal(2), Chain([AffineCoupling(alternating_mask(2, k % 2)) for k in range(4)]))
    rng = np.random.default_rng(0)
    params = flow.init(rng, np.zeros((1, 2)))

    def peak(n):
        x = np.zeros((n, 2))
        flow.log_prob(params, x)  # what is borrowed from here on has been borrowed before
        tracemalloc.start()
        flow.log_prob(params, x)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - 8 * n  # the result itself

    assert peak(8 * BLOCK) <= 1.2 * peak(2 * BLOCK)


# ---------------------------------------------------------------- doors


def test_input_good_and_bad():
    flow, params, x, context = build("RealNVP, context", 3)
    rng = np.random.default_rng(0)
    assert flow.log_prob(params, np.zeros((0, 3)), context[:1]).shape == (0,)
    assert flow.sample(params, rng, 0, context[:1]).shape == (0, 3)
    np.testing.assert_array_equal(
        flow.log_prob(params, np.ones((6, 3), int), context), flow.log_prob(params, np.ones((6, 3)), context)
    )
    with_nan = x.copy()
    with_nan[2, 1] = np.nan
    np.testing.assert_array_equal(np.isnan(flow.log_prob(params, with_nan, context)), np.arange(6) == 2)
    for bad in (None, "abc", np.ones((6, 3), complex)):
        with pytest.raises(TypeError, match="Flow: expected real numbers"):
            flow.log_prob(params, bad, context)
    for bad in (np.ones(3), np.ones((6, 4))):
        with pytest.raises(ValueError, match="Flow: expected points of shape|mask has 3 entries but x has 4 features"):
            flow.log_prob(params, bad, context)
    for bad in (context[:2], np.ones((7, 2))):
        for call in (
            lambda bad: flow.log_prob(params, x, bad),
            lambda bad: flow.from_noise(params, x, bad),
            lambda bad: flow.sample(params, rng, 6, bad),
            lambda bad: flow.init(rng, x, bad),
        ):
            with pytest.raises(ValueError, match="Flow: context: expected 6 rows as x has, or one, got"):
                call(bad)
    with pytest.raises(ValueError, match=r"MLP: context: expected shape \(6, 2\), got none"):
        flow.log_prob(params, x)
    for bad in (-1, 2.5, "3", None):
        with pytest.raises(ValueError, match="Flow: expected n to be an integer >= 0"):
            flow.sample(params, rng, bad, context[:1])
    with pytest.raises(ValueError, match="Chain: 4 maps but 0 entries"):
        flow.log_prob({"base": {}, "map": []}, x, context)
    with pytest.raises(ValueError, match="Normal: expected points of shape"):
        Flow(standard_normal(2), Scale()).log_prob({"map": {"log_scale": np.zeros(3)}}, x)


def test_constructors_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="Flow: expected a Distribution as base, got"):
        Flow(stats.norm, Chain([]))
    with pytest.raises(ValueError, match="Flow: expected a Bijection as map, got"):
        Flow(standard_normal(2), [Scale()])
    for bad in (0, 1.5, "2"):
        with pytest.raises(ValueError, match="standard_normal: expected features to be an integer >= 1"):
            standard_normal(bad)
    mixture = Mixture([0.5, 0.5], [standard_normal(2), Normal([3.0, 0.0], [1.0, 1.0])])
    assert Flow(mixture, Chain([])).sample({"map": []}, np.random.default_rng(0), 3).shape == (3, 2)


def test_a_map_without_inverse_has_a_density_and_no_samples():
    class OneWay(Bijection):
        def forward(self, params, x, context=None):
            return x, same_log_det(0.0, x)

    flow = Flow(standard_normal(2), Chain([OneWay()]))
    assert flow.log_prob({"map": [{}]}, np.zeros((3, 2))).shape == (3,)
    with pytest.raises(NoInverseError, match="OneWay has no inverse"):
        flow.sample({"map": [{}]}, np.random.default_rng(0), 3)


def test_trace_lays_chains_flat():
    flow, params, x, _ = build("mixed")
    zs = flow.trace(params, x)
    assert len(zs) == 1 + 1 + 2 + 1 + 2
    np.testing.assert_allclose(zs[-1], flow.map.forward(params["map"], x)[0])


# ---------------------------------------------------------------- training


def test_training_lowers_the_loss_and_reaches_a_gaussian():
    rng = np.random.default_rng(0)
    target = Normal([1.0, -2.0], [[1.0, 0.8], [0.8, 1.0]])
    flow = Flow(standard_normal(2), Chain([*(AffineCoupling(half_mask(2, k % 2), (16,)) for k in range(4)), Affine()]))
    params = flow.init(rng, target.sample(rng, 10))
    before = count_params(params)
    params, history = fit(
        flow.loss,
        params,
        lambda rng, n: target.sample(rng, n),
        rng=rng,
        steps=400,
        batch_size=128,
        optimizer=Adam(1e-2),
    )
    assert count_params(params) == before
    assert history["loss"][0] > 4.5
    x = target.sample(rng, 4000)
    assert np.mean(target.log_prob(x) - flow.log_prob(params, x)) < 0.05


def test_a_conditional_flow_learns_what_its_context_says():
    rng = np.random.default_rng(0)
    context = rng.normal(size=(2000, 1))
    x = context @ [[1.0, -1.0]] + 0.3 * rng.normal(size=(2000, 2))
    layers = [AffineCoupling(half_mask(2, k % 2), (16,), context_features=1) for k in range(4)]
    flow = Flow(standard_normal(2), Chain(layers))
    params, _ = fit(
        flow.loss, flow.init(rng, x, context), (x, context), rng=rng, steps=500, batch_size=128, optimizer=Adam(1e-2)
    )
    draws = flow.sample(params, rng, 1000, np.array([[1.5]]))
    np.testing.assert_allclose(draws.mean(axis=0), [1.5, -1.5], atol=0.15)
