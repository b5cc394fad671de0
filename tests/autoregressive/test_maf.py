"""MAF and IAF: every check, the passes of the inverse, and wrong layers that must be caught."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from scipy import stats

from minigen import checks
from minigen.autoregressive.made import MADE
from minigen.autoregressive.maf import MAF
from minigen.flows.flow import Flow
from minigen.foundations.change_of_variables import Affine, Chain, Inverse, Pushforward
from minigen.foundations.distributions import Normal
from minigen.train import FlatGradient
from minigen.tree import ravel, tree_leaves, tree_map
from tests.counting import counted_nodes

HIDDEN = (6, 6)


def backwards(D):
    return range(D)[::-1]


# name -> (constructor from D, features of the context)
MAPS = {
    "maf": (lambda D: MAF(D, HIDDEN), 0),
    "maf, plain": (lambda D: MAF(D, HIDDEN, fused=False), 0),
    "maf, order": (lambda D: MAF(D, HIDDEN, order=np.random.default_rng(4).permutation(D)), 0),
    "maf, context": (lambda D: MAF(D, HIDDEN, backwards(D), context_features=2), 2),
    "maf, context, plain": (lambda D: MAF(D, HIDDEN, context_features=2, fused=False), 2),
    "maf, no hidden layer": (lambda D: MAF(D, ()), 0),
    "maf, relu, bound": (lambda D: MAF(D, HIDDEN, activation="relu", bound=0.7), 0),
    "maf, softplus": (lambda D: MAF(D, (5,), activation="softplus"), 0),
    "iaf": (lambda D: Inverse(MAF(D, HIDDEN)), 0),
    "iaf, context": (lambda D: Inverse(MAF(D, HIDDEN, backwards(D), context_features=1)), 1),
    "chain, orders turned round": (lambda D: Chain([MAF(D, HIDDEN), Affine(), MAF(D, HIDDEN, backwards(D))]), 0),
    "chain, context": (lambda D: Chain([MAF(D, (6,), None, 1), MAF(D, (6,), backwards(D), 1)]), 1),
    "chain of both": (lambda D: Chain([MAF(D, (6,)), Inverse(MAF(D, (6,), backwards(D)))]), 0),
}
of_all_maps = pytest.mark.parametrize("name", MAPS)


def jitter(params, rng, scale=0.3):
    return tree_map(lambda leaf: leaf + scale * rng.normal(size=leaf.shape).astype(leaf.dtype), params)


def build(name, D, n=5, dtype=float):
    make, context_features = MAPS[name]
    rng = np.random.default_rng(D)
    map, x = make(D), rng.normal(size=(n, D)).astype(dtype)
    context = rng.normal(size=(n, context_features)).astype(dtype) if context_features else None
    return map, jitter(map.init(rng, x, context), rng), x, context


# ---------------------------------------------------------------- every map, every check


@pytest.mark.parametrize("D", [1, 2, 3, 5])
@of_all_maps
def test_every_map_passes_every_check(name, D):
    map, params, x, context = build(name, D)
    assert checks.round_trip_error(map, params, x, context) <= 1e-11
    assert checks.log_det_cancel_error(map, params, x, context) <= 1e-11
    assert checks.log_det_error(map, params, x, context) <= 1e-10
    assert checks.batch_dependence(map, params, x, context) <= 1e-12
    _, log_det = map.forward(params, x, context)
    assert np.abs(log_det).max() > 1e-3


@of_all_maps
def test_log_dets_against_finite_differences(name):
    map, params, x, context = build(name, 3, n=3)
    assert checks.log_det_error(map, params, x, context, jacobian="finite") <= 1e-5


@pytest.mark.parametrize("D", [1, 2, 5])
@of_all_maps
def test_far_out(name, D):
    map, params, x, context = build(name, D)
    x = 1e3 * x
    z, log_det = map.forward(params, x, context)
    assert np.isfinite(z).all()
    assert np.isfinite(log_det).all()
    assert checks.round_trip_error(map, params, x, context) <= 1e-9 * np.abs(x).max()
    gradient = grad(lambda params: anp.sum(map.forward(params, x, context)[1]))(params)
    assert all(np.isfinite(leaf).all() for leaf in tree_leaves(gradient))


@pytest.mark.parametrize("D", [1, 3])
@of_all_maps
def test_the_start_is_the_identity(name, D):
    make, context_features = MAPS[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, D))
    context = rng.normal(size=(4, context_features)) if context_features else None
    map = make(D)
    params = map.init(rng, x, context)
    for direction in (map.forward, map.inverse):
        y, log_det = direction(params, x, context)
        np.testing.assert_array_equal(y, x)
        np.testing.assert_array_equal(log_det, np.zeros(4))


@of_all_maps
def test_gradients_of_both_directions(name):
    map, params, x, context = build(name, 3, n=2)
    if "relu" in name:
        x = x + 0.1
    vector, unravel = ravel(params)
    for direction in (map.forward, map.inverse):

        def total(vector, x, direction=direction):
            y, log_det = direction(unravel(vector), x, context)
            return anp.sum(anp.sin(y)) + anp.sum(log_det**2)

        check_grads(total, modes=["rev"], order=1)(vector, x)


@of_all_maps
def test_float32_stays_float32_in_values_and_gradients(name):
    map, params, x, context = build(name, 3, dtype=np.float32)
    assert {leaf.dtype for leaf in tree_leaves(params)} == {np.dtype(np.float32)}
    z, log_det = map.forward(params, x, context)
    back, log_det_back = map.inverse(params, z, context)
    assert {a.dtype for a in (z, log_det, back, log_det_back)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(back, x, atol=1e-4)
    for direction in (map.forward, map.inverse):

        def total(params, x, direction=direction):
            y, log_det = direction(params, x, context)
            return anp.sum(y * y) + anp.mean(log_det)

        for argument, given in ((0, params), (1, x)):
            gradients = tree_leaves(grad(total, argument)(params, x))
            for leaf, gradient in zip(tree_leaves(given), gradients, strict=True):
                assert (gradient.shape, gradient.dtype) == (leaf.shape, np.float32)


@of_all_maps
def test_batches_good_and_bad(name):
    map, params, x, context = build(name, 3)
    row = None if context is None else context[:1]
    for direction in (map.forward, map.inverse):
        y, log_det = direction(params, np.zeros((0, 3)), row)
        assert (y.shape, log_det.shape) == ((0, 3), (0,))
        whole = np.ones((2, 3), dtype=int)
        for given in (whole, whole.tolist(), whole.astype(np.uint8)):
            np.testing.assert_array_equal(direction(params, given, row)[0], direction(params, np.ones((2, 3)), row)[0])
        for strange in (np.nan, np.inf):
            with_strange = x.copy()
            with_strange[1, 0] = strange
            with np.errstate(invalid="ignore"):
                y, _ = direction(params, with_strange, context)
            assert not np.isfinite(y[1]).all()
            assert np.isfinite(y[[0, 2, 3, 4]]).all()
        for bad in ([["a", "b", "c"]], np.ones((2, 3), dtype=complex), None):
            with pytest.raises(TypeError, match="expected real numbers"):
                direction(params, bad, row)
        for bad in (np.ones(3), np.ones((2, 4))):
            with pytest.raises(ValueError, match="expected points of shape"):
                direction(params, bad, row)
    for bad in (np.ones(3), np.ones((2, 4))) if "chain" not in name else (np.ones(3),):
        with pytest.raises(ValueError, match="MAF: expected points of shape"):
            map.init(np.random.default_rng(0), bad)


# ---------------------------------------------------------------- context


@pytest.mark.parametrize("name", [name for name, (_, features) in MAPS.items() if features])
def test_context_of_one_row_and_of_many(name):
    map, params, x, context = build(name, 3)
    for direction in (map.forward, map.inverse):
        one, many = (direction(params, x, c) for c in (context[:1], np.repeat(context[:1], 5, 0)))
        for a, b in zip(one, many, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)
        rows = checks.dependency_matrix(lambda c, d=direction: d(params, x[:1], c)[0], context[:1])
        assert rows.all(), "some feature does not hear of the context"
        for bad, message in ((None, "got none"), (context[:3], "got 3"), (context[0], "expected points of shape")):
            with pytest.raises(ValueError, match=message):
                direction(params, x, bad)


def test_the_context_that_is_missing_is_asked_for_by_name():
    maf = MAF(2, (4,), context_features=3)
    params = maf.init(np.random.default_rng(0), np.zeros((1, 2)))
    for direction in (maf.forward, maf.inverse):
        with pytest.raises(ValueError, match=r"^MAF: context: expected shape \(4, 3\), got none$"):
            direction(params, np.zeros((4, 2)))


# ---------------------------------------------------------------- what makes it MAF


@pytest.mark.parametrize("context_features", [0, 1])
@pytest.mark.parametrize("D", [1, 2, 3, 5])
def test_both_directions_are_triangular_in_the_order(D, context_features):
    rng = np.random.default_rng(D)
    maf = MAF(D, HIDDEN, rng.permutation(D), context_features)
    x = rng.normal(size=(3, D))
    context = np.ones((1, 1)) if context_features else None
    params = jitter(maf.init(rng, x), rng)
    order = maf.made.order
    for direction in (maf.forward, maf.inverse):
        found = checks.dependency_matrix(lambda x, d=direction: d(params, x, context)[0], x)
        np.testing.assert_array_equal(found[np.ix_(order, order)], np.tri(D, dtype=bool))


@pytest.mark.parametrize("D", [1, 2, 5])
def test_maf_and_iaf_with_the_same_parameters_are_inverse_maps(D):
    maf, params, x, _ = build("maf, order", D)
    iaf = Inverse(maf)
    z, log_det = maf.forward(params, x)
    back, log_det_back = iaf.forward(params, z)
    np.testing.assert_allclose(back, x, atol=1e-12)
    np.testing.assert_allclose(log_det_back, -log_det, atol=1e-12)
    np.testing.assert_array_equal(iaf.inverse(params, x)[0], z)
    assert checks.round_trip_error(Chain([maf, iaf]), [params, params], x) <= 1e-11
    np.testing.assert_allclose(Chain([maf, iaf]).forward([params, params], x)[0], x, atol=1e-11)
    start = ravel(iaf.init(np.random.default_rng(7), x))[0]
    np.testing.assert_array_equal(start, ravel(maf.init(np.random.default_rng(7), x))[0])


def test_forward_by_hand():
    rng = np.random.default_rng(0)
    maf, params, x, _ = build("maf, order", 3)
    y = maf.made(params, x)
    log_scale = 2.0 * np.tanh(y[:, 1] / 2.0)
    z, log_det = maf.forward(params, x)
    np.testing.assert_allclose(z, (x - y[:, 0]) / np.exp(log_scale), rtol=1e-12)
    np.testing.assert_allclose(log_det, -log_scale.sum(axis=1), rtol=1e-12)
    wild = tree_map(lambda leaf: 50 * rng.normal(size=leaf.shape), params)
    assert np.abs(maf.forward(wild, x)[1]).max() <= 3 * 2.0 + 1e-12


def test_density_has_mass_one_and_samples_fit_it():
    for name in ("maf", "iaf", "chain, orders turned round"):
        map, params, _, _ = build(name, 2)
        pushed = Pushforward(Normal([0.0, 0.0], [1.0, 1.0]), map, params)
        assert abs(checks.total_mass(pushed.log_prob, ((-25, 25), (-25, 25)), n=400) - 1) < 1e-3, name
        drawn = pushed.sample(np.random.default_rng(0), 3000)
        assert stats.kstest(map.forward(params, drawn)[0].ravel(), stats.norm.cdf).pvalue > 0.01


# ---------------------------------------------------------------- passes


@pytest.fixture
def calls(monkeypatch):
    """Count how often a network is applied."""
    counted = []
    call = MADE.__call__

    def count(self, params, x, context=None):
        counted.append(len(x))
        return call(self, params, x, context)

    monkeypatch.setattr(MADE, "__call__", count)
    return counted


@pytest.mark.parametrize("D", [1, 2, 5])
def test_the_inverse_takes_d_passes_the_first_one_free_without_context(D, calls):
    for name, wanted in (("maf, order", D - 1), ("maf, context", D)):
        maf, params, x, context = build(name, D)
        z, _ = maf.forward(params, x, context)
        calls.clear()
        maf.inverse(params, z, context)
        assert len(calls) == wanted
        assert len(list(maf.passes(params, z, context))) == D


def test_each_pass_finds_one_more_feature():
    for name in ("maf, order", "maf, context"):
        maf, params, x, context = build(name, 5)
        z, log_det = maf.forward(params, x, context)
        order = maf.made.order
        passes = list(maf.passes(params, z, context))
        for k, (found, _) in enumerate(passes):
            np.testing.assert_allclose(found[:, order[: k + 1]], x[:, order[: k + 1]], atol=1e-11)
            assert not found[:, order[k + 1 :]].any()
        np.testing.assert_allclose(passes[-1][1].sum(axis=1), -log_det, atol=1e-11)


def test_a_thousand_features_go_forward_without_a_loop():
    rng = np.random.default_rng(0)
    for fused in (True, False):
        counts = []
        for D in (2, 1000):
            maf, x = MAF(D, (16,), fused=fused), rng.normal(size=(4, D))
            params = jitter(maf.init(rng, x), rng, 0.01)
            with counted_nodes() as nodes:
                grad(lambda params, maf=maf, x=x: anp.sum(maf.forward(params, x)[1]))(params)
            counts.append(len(nodes))
            z, log_det = maf.forward(params, x)
            assert (z.shape, log_det.shape) == ((4, D), (4,))
        assert counts[0] == counts[1]
    back, _ = maf.inverse(params, z)
    np.testing.assert_allclose(back, x, atol=1e-9)


def test_the_fused_layer_is_one_node_forward_and_one_net_a_pass_in_inverse():
    def names(fused, direction):
        maf = MAF(3, (5, 5), fused=fused)
        x = np.ones((2, 3))
        with counted_nodes() as nodes:
            grad(lambda params: getattr(maf, direction)(params, x)[1][0])(maf.init(np.random.default_rng(0), x))
        return nodes

    assert names(True, "forward").count("masked_affine_plain") == 1
    assert names(True, "inverse").count("dense_stack_plain") == 2
    for direction in ("forward", "inverse"):
        assert "dot" not in names(True, direction)
        assert len(names(False, direction)) > len(names(True, direction)) + 10


@pytest.mark.parametrize("turned", [False, True])
def test_a_flow_of_fused_layers_is_one_node_and_equals_the_plain_one(turned):
    rng = np.random.default_rng(0)
    x, context = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    flows = []
    for fused in (True, False):
        layers = [MAF(3, (5, 6), order=order, context_features=2, fused=fused) for order in ([0, 1, 2], [2, 0, 1])]
        flows.append(Flow(Normal(np.zeros(3), np.ones(3)), Inverse(Chain(layers)) if turned else Chain(layers)))
    params = jitter(flows[0].init(rng, x, context), rng)
    losses = [lambda params, flow=flow: flow.loss(params, rng, (x, context)) for flow in flows]
    with counted_nodes() as nodes:
        FlatGradient(losses[0], params)()
    assert (len(nodes) == 1) != turned  # D passes are not fused
    ours, theirs = (ravel(grad(loss)(params))[0] for loss in losses)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)
    np.testing.assert_allclose(*(flow.log_prob(params, x, context) for flow in flows), atol=1e-12)


# ---------------------------------------------------------------- constructors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MAF(0), "expected features to be an integer >= 1, got 0"),
        (lambda: MAF(2, order=[0, 0]), "expected a permutation"),
        (lambda: MAF(2, order=[0]), "2 features but 1 entries in the order"),
        (lambda: MAF(2, bound=0.0), "MAF: expected a positive, finite bound, got 0.0"),
        (lambda: MAF(2, bound=np.inf), "MAF: expected a positive, finite bound, got inf"),
        (lambda: MAF(2, bound=np.nan), "MAF: expected a positive, finite bound, got nan"),
        (lambda: MAF(2, activation="sine"), "expected an activation out of"),
        (lambda: MAF(2, (0,)), r"expected hidden\[0\] to be an integer >= 1, got 0"),
    ],
)
def test_bad_constructors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_parameters_of_another_layer_are_refused():
    maf = MAF(2, (4,))
    params = MAF(2, (4, 4)).init(np.random.default_rng(0), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="MAF: 2 layers but 3 entries in the list params"):
        maf.forward(params, np.zeros((1, 2)))
    assert repr(maf).startswith("MAF(features=2, hidden=(4,)")
