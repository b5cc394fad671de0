"""Fused flow layers against their definitions: values, gradients, re-entrancy, second order, and how many nodes."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, hessian, jacobian, make_jvp, make_vjp, value_and_grad

from minigen.flows.coupling import AffineCoupling, Scale, alternating_mask, half_mask
from minigen.flows.flow import Flow, standard_normal
from minigen.flows.fused import affine_coupling, affine_coupling_plain, joined
from minigen.foundations.change_of_variables import Bijection, Chain, Inverse, Permute
from minigen.foundations.distributions import Logistic, Normal
from minigen.fused import ACTIVATIONS, BLOCK, Workspace
from minigen.train import FlatGradient
from minigen.tree import ravel, tree_leaves, tree_map
from tests.counting import counted_nodes, peak_memory

BITS = {np.float64: 1e-10, np.float32: 2e-4}


def jitter(params, rng, size=0.3):
    return tree_map(lambda leaf: leaf + size * rng.normal(size=leaf.shape).astype(leaf.dtype), params)


def pair(D=3, hidden=(7, 5), mask=half_mask, **options):
    """Return the same layer fused and plain."""
    return [AffineCoupling(mask(D), hidden, fused=fused, **options) for fused in (True, False)]


def arguments(layer, n=6, context_rows=None, dtype=float, seed=0):
    """Return params, x, context, and weights for z and log_det."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, len(layer.mask))).astype(dtype)
    context = None if context_rows is None else rng.normal(size=(context_rows, layer.context_features)).astype(dtype)
    params = jitter(layer.init(rng, x, context), rng)
    return params, x, context, rng.normal(size=x.shape).astype(dtype), rng.normal(size=n).astype(dtype)


def loss(layer, inverse, weights):
    """Return a scalar function of (params, x, context) that uses both outputs."""

    def of(params, x, context):
        z, log_det = (layer.inverse if inverse else layer.forward)(params, x, context)
        return anp.sum(anp.sin(z) * weights[0]) + anp.sum(log_det**2 * weights[1])

    return of


def close(ours, theirs, atol):
    for a, b in zip(tree_leaves(ours), tree_leaves(theirs), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("context_rows", [None, 1, 6])
@pytest.mark.parametrize(
    ("D", "hidden", "mask"), [(2, (7,), alternating_mask), (3, (7, 5), half_mask), (5, (), half_mask)]
)
def test_fused_equals_plain_in_value_and_gradient(D, hidden, mask, context_rows, activation, inverse, dtype):
    features = 0 if context_rows is None else 2
    fused, plain = pair(D, hidden, mask, activation=activation, context_features=features)
    params, x, context, *weights = arguments(fused, context_rows=context_rows, dtype=dtype)
    outputs = [(layer.inverse if inverse else layer.forward)(params, x, context) for layer in (fused, plain)]
    close(list(outputs[0]), list(outputs[1]), BITS[dtype])
    for position in (0, 1) if context is None else (0, 1, 2):
        ours, theirs = (grad(loss(layer, inverse, weights), position)(params, x, context) for layer in (fused, plain))
        if dtype is np.float64:
            close(ours, theirs, BITS[dtype])
        for a, b, given in zip(*map(tree_leaves, (ours, theirs, (params, x, context)[position])), strict=True):
            assert (a.shape, a.dtype) == (given.shape, dtype)
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=BITS[dtype])


@pytest.mark.parametrize("inverse", [False, True])
def test_any_subset_of_the_arguments(inverse):
    fused, plain = pair(context_features=2)
    params, x, context, *_ = arguments(fused, context_rows=6)
    arrays = [x, context, *[layer[name] for layer in params for name in ("weight", "bias")]]

    def total(f):
        def of(*arrays):
            z, log_det = f(*arrays, layer=fused, inverse=inverse)
            return anp.sum(z**2) + anp.sum(anp.sin(log_det))

        return of

    for needed in ((0,), (1,), (2,), (3,), (0, 4), (1, 7), tuple(range(8))):
        ours, theirs = (grad(total(f), needed)(*arrays) for f in (affine_coupling, affine_coupling_plain))
        close(list(ours), list(theirs), 1e-10)


def test_a_float64_gradient_does_not_widen_float32():
    layer, _ = pair()
    params, x, *_ = arguments(layer, dtype=np.float32)
    pull_back, z = make_vjp(lambda x: layer.forward(params, x)[0])(x)
    assert pull_back(np.ones(z.shape)).dtype == np.float32
    flow = Flow(standard_normal(3), Chain([layer, layer]))
    everything = {"base": {}, "map": [params, params]}
    pull_back, _ = make_vjp(lambda p: flow.log_prob(p, x))(everything)
    assert {leaf.dtype for leaf in tree_leaves(pull_back(np.ones(6)))} == {np.dtype(np.float32)}


# Joined layers: a run of them is one node.

RUNS = {
    "one": lambda fused: AffineCoupling(half_mask(3), (5,), fused=fused),
    "chain": lambda fused: Chain([AffineCoupling(half_mask(3, k % 2), (5,), fused=fused) for k in range(3)]),
    "inverse": lambda fused: Inverse(Chain([AffineCoupling(half_mask(3, k % 2), (5,), fused=fused) for k in range(3)])),
    "nested": lambda fused: Chain(
        [Inverse(AffineCoupling(half_mask(3), (5,), fused=fused)), Chain([RUNS["chain"](fused)])]
    ),
    "interrupted": lambda fused: Chain(
        [RUNS["one"](fused), Permute([2, 0, 1]), RUNS["chain"](fused), Scale(), RUNS["one"](fused)]
    ),
    "ends with another": lambda fused: Chain([RUNS["chain"](fused), Scale()]),
    "context": lambda fused: Chain(
        [AffineCoupling(half_mask(3, k), (5,), context_features=2 * k, fused=fused) for k in (0, 1)]
    ),
}
BASES = {
    "standard normal": standard_normal(3),
    "normal": Normal([1.0, 0.0, -1.0], [1.0, 2.0, 0.5]),
    "full normal": Normal(np.zeros(3), np.eye(3) + 0.5),
    "logistic": Logistic(np.zeros(3), np.ones(3)),
}


def flows(run, base):
    rng = np.random.default_rng(3)
    x, context = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    fused, plain = (Flow(BASES[base], RUNS[run](fused)) for fused in (True, False))
    return fused, plain, jitter(fused.init(rng, x, context), rng), x, context


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("run", RUNS)
def test_joined_equals_plain(run, base):
    fused, plain, params, x, context = flows(run, base)

    def density(flow):
        return lambda params, x, context: anp.sum(anp.sin(flow.log_prob(params, x, context)))

    def sample(flow):
        def of(params, z, context):
            x, log_prob = flow.from_noise(params, z, context)
            return anp.sum(anp.sin(x)) + anp.sum(log_prob**2)

        return of

    np.testing.assert_allclose(fused.log_prob(params, x, context), plain.log_prob(params, x, context), rtol=1e-12)
    for total in (density, sample):
        for position in (0, 1, 2) if run == "context" else (0, 1):
            ours, theirs = (grad(total(flow), position)(params, x, context) for flow in (fused, plain))
            close(ours, theirs, 1e-10)


@pytest.mark.parametrize("run", ["chain", "inverse", "context", "interrupted"])
@pytest.mark.parametrize("rows", [1, BLOCK, 2 * BLOCK + 1])
def test_without_a_gradient_block_by_block_equals_plain(run, rows):
    fused, plain, params, *_ = flows(run, "normal")
    rng = np.random.default_rng(4)
    x = rng.normal(size=(rows, 3))
    for count in {1, rows}:
        context = rng.normal(size=(count, 2))
        densities, samples = zip(
            *(
                (f.log_prob(params, x, context), f.sample(params, np.random.default_rng(0), rows, context))
                for f in (fused, plain)
            ),
            strict=True,
        )
        close([densities[0], samples[0]], [densities[1], samples[1]], 1e-10)
        np.testing.assert_allclose(fused.log_prob(params, x[-1:], context[-1:]), densities[0][-1:], rtol=1e-12)


def test_without_a_gradient_layers_are_prepared_once_and_share_one_workspace(monkeypatch):
    class Counted(AffineCoupling):
        def fused_node(self, *args):
            prepared.append(self)
            return super().fused_node(*args)

    prepared, layers = [], [Counted(alternating_mask(2, k), (7, 5)) for k in (0, 1, 0)]
    flow, rng = Flow(standard_normal(2), Chain(layers)), np.random.default_rng(0)
    params = flow.init(rng, np.zeros((1, 2)))
    monkeypatch.setattr(Workspace, "_waiting", {})
    monkeypatch.setattr(Workspace, "_bytes", 0)
    for call in (lambda: flow.log_prob(params, np.zeros((3 * BLOCK, 2))), lambda: flow.sample(params, rng, 3 * BLOCK)):
        prepared.clear()
        call()
        assert prepared in (layers, layers[::-1])
        assert [len(arrays) for arrays in Workspace._waiting.values()] == [1]


def test_how_many_nodes():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 3))

    def count(map):
        flow = Flow(standard_normal(3), map)
        objective = FlatGradient(flow.loss, flow.init(rng, x))
        with counted_nodes() as nodes:
            objective(rng, x)
        return nodes

    assert count(RUNS["chain"](True)) == ["_likelihood_plain"]
    assert count(RUNS["nested"](True)) == ["_likelihood_plain"]
    with counted_nodes() as nodes:  # the density of each point
        flow = Flow(standard_normal(3), RUNS["chain"](True))
        grad(lambda params: anp.sum(flow.log_prob(params, x)))(flow.init(rng, x))
    assert [name for name in nodes if name != "container_take"] == ["_joined_plain", "sum"]
    assert len(count(RUNS["chain"](False))) > 60
    with counted_nodes() as nodes:
        layer = AffineCoupling(half_mask(3))
        grad(lambda x: anp.sum(layer.forward(layer.init(rng, x), x)[0]))(x)
    assert nodes[0] == "affine_coupling_plain"
    assert len(nodes) <= 4


# Re-entrancy, second order, forward mode.


def test_a_node_twice_in_one_graph_and_a_jacobian():
    layers = pair(2, (5,))
    params, x, *_ = arguments(layers[0], n=3)

    def twice(layer):
        return lambda params: anp.sum(layer.forward(params, layer.forward(params, x)[0])[0] ** 2)

    close(*(grad(twice(layer))(params) for layer in layers), 1e-10)
    for output in (0, 1):
        close(*([jacobian(lambda x, layer=layer, k=output: layer.forward(params, x)[k])(x)] for layer in layers), 1e-10)
    flow = Flow(standard_normal(2), Chain([layers[0], layers[0]]))
    plain = Flow(standard_normal(2), Chain([layers[1], layers[1]]))
    p = {"base": {}, "map": [params, params]}
    close(*([jacobian(lambda x, flow=flow: flow.log_prob(p, x))(x)] for flow in (flow, plain)), 1e-10)


def test_two_live_results_and_a_backward_pass_run_twice():
    fused, plain, params, x, _ = flows("chain", "standard normal")
    other = jitter(params, np.random.default_rng(9))
    (first, y), (second, _) = (make_vjp(lambda p: fused.log_prob(p, x))(p) for p in (params, other))
    y_before, g = y.copy(), np.random.default_rng(1).normal(size=6)
    kept = g.copy(), x.copy(), tree_map(np.copy, params)
    for _ in range(2):
        for ours, p in ((first, params), (second, other)):
            close(ours(g), make_vjp(lambda p: plain.log_prob(p, x))(p)[0](g), 1e-10)
    np.testing.assert_array_equal(y, y_before)
    close([g, x, params], list(kept), 0)


@pytest.mark.parametrize("inverse", [False, True])
def test_writing_into_results_changes_nothing_else(inverse):
    layer, _ = pair(context_features=2)
    params, x, context, *_ = arguments(layer, context_rows=1)
    arrays = [x, context, *[each[name] for each in params for name in ("weight", "bias")]]

    def packed(*arrays):
        z, log_det = affine_coupling(*arrays, layer=layer, inverse=inverse)
        return z + 0 * log_det[:, None]

    pull_back, y = make_vjp(packed, tuple(range(8)))(*arrays)
    outputs = affine_coupling(*arrays, layer=layer, inverse=inverse)
    kept, g = [array.copy() for array in arrays], np.ones(y.shape)
    first = pull_back(g)
    wanted = [gradient.copy() for gradient in first]
    for array in (y, *outputs, *first):
        array[...] = np.nan
    close(list(pull_back(g)), wanted, 0)
    close(arrays, kept, 0)


def test_memory_is_borrowed_by_one_call_at_a_time_and_comes_back():
    layer, _ = pair(2, (64, 64))
    params, x, *_ = arguments(layer, n=200)
    Workspace._waiting.clear()
    Workspace._bytes = 0

    def waiting():
        found = [array for arrays in Workspace._waiting.values() for array in arrays]
        assert Workspace._bytes == sum(array.nbytes for array in found)
        return len(found)

    pull_back, _ = make_vjp(lambda x: layer.forward(params, x)[0])(x)
    assert waiting() == 0  # the tape holds what it borrowed
    first = pull_back(x)
    assert waiting() == 1  # the backward pass gives back at once
    other = arguments(layer, n=200, seed=1)
    for _ in range(3):
        make_vjp(lambda x: layer.forward(other[0], x)[0])(other[1])[0](x)
    np.testing.assert_array_equal(pull_back(x), first)
    del pull_back
    assert waiting() == 3  # two tapes' and a backward pass's
    for n in (190, 10_000, 20_000, 40_000):  # in all, more than is kept
        layer.forward(params, np.zeros((n, 2)))
        waiting()
        assert Workspace._bytes <= 2**26
    layer.forward(params, np.zeros((100_000, 2)))  # one array that is larger than that is not kept
    waiting()
    assert Workspace._bytes <= 2**26


@pytest.mark.parametrize("inverse", [False, True])
def test_second_derivatives_and_forward_mode(inverse):
    layers = pair(2, (3,))
    params, x, _, *weights = arguments(layers[0], n=2)
    weight = params[0]["weight"]

    def of_weight(layer):
        def total(weight):
            changed = [{"weight": weight, "bias": params[0]["bias"]}, params[1]]
            return loss(layer, inverse, weights)(changed, x, None)

        return total

    ours, theirs = (hessian(of_weight(layer))(weight) for layer in layers)
    assert np.abs(ours).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)
    ours, theirs = (make_jvp(of_weight(layer))(weight)(np.ones_like(weight)) for layer in layers)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_second_derivatives_of_a_joined_density():
    fused, plain, params, x, _ = flows("chain", "logistic")
    ours, theirs = (hessian(lambda x, flow=flow: anp.sum(flow.log_prob(params, x)))(x[:2]) for flow in (fused, plain))
    assert np.abs(ours).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_extreme_and_non_finite_numbers_as_in_the_definition():
    layers = pair(2, (5,))
    params, _, *_ = arguments(layers[0])
    x = np.array([[1e3, -1e3], [-1e3, 1e3], [np.nan, 0.0], [0.0, np.nan], [0.0, np.inf]])
    for inverse in (False, True):
        ours, theirs = ((layer.inverse if inverse else layer.forward)(params, x) for layer in layers)
        close(list(ours), list(theirs), 1e-9)
        assert np.isfinite(ours[0][:2]).all()
        assert np.isnan(ours[0][2]).all()
        assert np.isfinite(ours[1][[0, 1, 3, 4]]).all()


def test_no_points_and_no_layers():
    layer, _ = pair()
    params, *_ = arguments(layer)
    z, log_det = layer.forward(params, np.zeros((0, 3)))
    assert (z.shape, log_det.shape) == ((0, 3), (0,))
    gradient = grad(lambda p: anp.sum(layer.forward(p, np.zeros((0, 3)))[0]))(params)
    assert not any(leaf.any() for leaf in tree_leaves(gradient))
    assert joined(np.ones((2, 3)), [layer.fused_node(params, np.ones((2, 3)), None, False)])[0].shape == (2, 3)


# The loss of a flow: value and gradient block by block.


@pytest.mark.parametrize("run", ["chain", "inverse", "context"])
@pytest.mark.parametrize("base", ["standard normal", "logistic"])
@pytest.mark.parametrize("rows", [1, 3 * BLOCK, 2 * BLOCK + 1])
def test_the_loss_in_blocks_equals_the_plain_one(run, base, rows):
    fused, plain, params, *_ = flows(run, base)
    rng = np.random.default_rng(5)
    x = rng.normal(size=(rows, 3))
    for count in {1, rows}:
        batch = x, rng.normal(size=(count, 2))
        (value, ours), (wanted, theirs) = (
            value_and_grad(lambda p, f=flow, batch=batch: f.loss(p, rng, batch))(params) for flow in (fused, plain)
        )
        np.testing.assert_allclose(value, wanted, rtol=1e-12)
        close(ours, theirs, 1e-10)


def test_the_loss_where_data_vary_too_or_nothing_does():
    fused, plain, params, x, context = flows("context", "normal")
    for position in (0, 1):
        of = [grad(lambda *batch, flow=flow: flow.loss(params, None, batch), position) for flow in (fused, plain)]
        close(*([each(x, context)] for each in of), 1e-10)
    np.testing.assert_allclose(fused.loss(params, None, (x, context)), plain.loss(params, None, (x, context)))


def test_the_loss_where_only_a_late_layer_varies_or_points_change_their_shape():
    class Flatten(Bijection):
        def forward(self, params, x, context=None):
            return anp.reshape(x, (x.shape[0], -1)), np.zeros(x.shape[0])

    fused, plain, params, x, _ = flows("chain", "normal")

    def of_last(flow):
        return lambda last: flow.loss({"base": {}, "map": [*params["map"][:-1], last]}, None, x)

    close(*([grad(of_last(flow))(params["map"][-1])] for flow in (fused, plain)), 1e-10)
    flows_ = [Flow(flow.base, Chain([Flatten(), flow.map])) for flow in (fused, plain)]
    params = {"base": {}, "map": [{}, params["map"]]}
    close(*([grad(flow.loss)(params, None, x[:, :, None])] for flow in flows_), 1e-10)


def test_the_loss_is_re_entrant_and_has_second_derivatives():
    fused, plain, params, x, _ = flows("chain", "standard normal")
    vector, unravel = ravel(params)
    losses = [lambda v, flow=flow: flow.loss(unravel(v), None, x[:2]) for flow in (fused, plain)]
    ours, theirs = (hessian(loss)(vector) for loss in losses)
    assert np.abs(ours).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)
    close(*([grad(lambda v, f=loss: f(v) * f(2 * v))(vector)] for loss in losses), 1e-10)
    pull_back, _ = make_vjp(lambda p: fused.loss(p, None, x))(params)
    wanted = [leaf.copy() for leaf in tree_leaves(pull_back(2.0))]
    for leaf in tree_leaves(pull_back(2.0)):
        leaf[...] = np.nan
    close(tree_leaves(pull_back(2.0)), wanted, 0)


def test_the_loss_of_float32_is_float32():
    layer, _ = pair()
    params, x, *_ = arguments(layer, n=2 * BLOCK + 1, dtype=np.float32)
    flow = Flow(standard_normal(3), Chain([layer, layer]))
    pull_back, value = make_vjp(lambda p: flow.loss(p, None, x))({"base": {}, "map": [params, params]})
    assert value.dtype == np.float32
    assert {leaf.dtype for leaf in tree_leaves(pull_back(np.ones(())))} == {np.dtype(np.float32)}


def test_memory_of_a_training_step_does_not_grow_with_the_batch():
    layers = [AffineCoupling(half_mask(3, k), (64, 64)) for k in (0, 1)]
    flow, rng = Flow(standard_normal(3), Chain(layers)), np.random.default_rng(0)
    objective = FlatGradient(flow.loss, flow.init(rng, np.zeros((1, 3))))

    def peak(n):
        x = np.zeros((n, 3))
        return peak_memory(lambda: objective(rng, x))

    assert peak(8 * BLOCK) <= 1.2 * peak(2 * BLOCK)
