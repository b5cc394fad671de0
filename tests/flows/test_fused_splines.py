"""The fused spline coupling against its plain twin: values, gradients, re-entrancy, second order."""

from dataclasses import replace

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, hessian, jacobian, make_jvp, make_vjp
from autograd.test_util import check_grads

from minigen.flows.flow import Flow, standard_normal
from minigen.flows.splines import RationalQuadraticCoupling
from minigen.foundations.change_of_variables import Chain
from minigen.train import FlatGradient
from minigen.tree import tree_leaves, tree_map
from tests.counting import counted_nodes

MASKS = {2: [1, 0], 3: [0, 1, 0], 5: [1, 0, 1, 0, 0]}


def build(D=3, bins=5, n=7, context_rows=None, dtype=float, seed=0, **options):
    """Return the fused layer, its plain twin, and (params, x, context)."""
    rng = np.random.default_rng(seed)
    features = 0 if context_rows is None else 2
    layer = RationalQuadraticCoupling(MASKS[D], (6,), features, bins=bins, bound=3.0, **options)
    x = 2 * rng.normal(size=(n, D)).astype(dtype)
    context = None if context_rows is None else rng.normal(size=(context_rows, 2)).astype(dtype)
    params = layer.init(rng, x, context)
    params = tree_map(lambda leaf: leaf + 0.4 * rng.normal(size=leaf.shape).astype(leaf.dtype), params)
    return layer, replace(layer, fused=False), (params, x, context)


def loss_of(layer, inverse=False, seed=1):
    """Return a loss in which z and log_det both weigh, differently for each point."""

    def loss(params, x, context):
        z, log_det = (layer.inverse if inverse else layer.forward)(params, x, context)
        rng = np.random.default_rng(seed)
        weights = rng.normal(size=z.shape).astype(z.dtype), rng.normal(size=log_det.shape).astype(z.dtype)
        return anp.sum(z * weights[0]) + anp.sum(log_det * weights[1])

    return loss


def gradients(loss, arguments):
    present = (0, 1) if arguments[2] is None else (0, 1, 2)
    return tree_leaves(list(grad(loss, present)(*arguments)))


def compare(ours, theirs, tolerance=1e-10):
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("bins", [1, 2, 3, 16])
@pytest.mark.parametrize("context_rows", [None, 1, 7])
@pytest.mark.parametrize("D", MASKS)
def test_fused_equals_plain_in_value_and_gradient(D, context_rows, bins, inverse):
    fused, plain, arguments = build(D, bins, context_rows=context_rows)
    directions = (fused.inverse, plain.inverse) if inverse else (fused.forward, plain.forward)
    compare(*(direction(*arguments) for direction in directions))
    compare(*(gradients(loss_of(layer, inverse), arguments) for layer in (fused, plain)))


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("activation", ["relu", "softplus"])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_other_activations_and_far_points(activation, inverse, scale):
    fused, plain, (params, x, _) = build(activation=activation)
    x = scale * np.concatenate([x, [[3.0, -3.0, 3.0]], [[-3.0, 0.5, -3.0]]])  # at scale 1 some lie on the bounds
    if activation != "tanh" and scale > 1:
        x[:, 1] /= scale  # the feature that passes: the raw numbers grow with it, without a bound
    compare(*(gradients(loss_of(layer, inverse), (params, x, None)) for layer in (fused, plain)))


@pytest.mark.parametrize("inverse", [False, True])
def test_extreme_raw_numbers_overflow_nowhere(inverse):
    fused, plain, (params, x, _) = build()
    params = params[:-1] + [tree_map(lambda leaf: 300 * leaf, params[-1])]
    for layer in (fused, plain):
        z, log_det = (layer.inverse if inverse else layer.forward)(params, x)
        assert np.isfinite(z).all()
        assert np.isfinite(log_det).all()
        assert all(np.isfinite(g).all() for g in gradients(loss_of(layer, inverse), (params, x, None)))
    if not inverse:
        compare(*(gradients(loss_of(layer), (params, x, None)) for layer in (fused, plain)), tolerance=1e-7)


@pytest.mark.parametrize("inverse", [False, True])
def test_gradients_are_those_of_finite_differences(inverse):
    fused, _, (params, x, context) = build(n=3, context_rows=1)
    check_grads(loss_of(fused, inverse), modes=["rev"], order=1)(params, x, context)


@pytest.mark.parametrize("inverse", [False, True])
def test_float32(inverse):
    # Tolerance: 1e-4 of a value, 2e-3 of the largest entry of a gradient; the slopes here go from 0.05 to 20.
    fused, plain, (params, x, context) = build(bins=8, context_rows=7, dtype=np.float32)
    wide = tree_map(lambda leaf: leaf.astype(float), [params, x, context])
    ours, theirs = ((layer.inverse if inverse else layer.forward) for layer in (fused, plain))
    for a, b in zip(ours(params, x, context), theirs(*wide), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=1e-4)
    narrow_gradients = gradients(loss_of(fused, inverse), (params, x, context))
    for a, b in zip(narrow_gradients, gradients(loss_of(plain, inverse), wide), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=2e-3 * np.abs(b).max())


def test_a_float64_gradient_does_not_widen_float32():
    fused, _, (params, x, _) = build(dtype=np.float32)
    pull_back, _ = make_vjp(lambda x: anp.sum(fused.forward(params, x)[0].astype(float)))(x)
    assert pull_back(np.ones(())).dtype == np.float32


# Nodes.


def test_a_layer_is_one_node_and_a_flow_is_one_too():
    fused, plain, (params, x, _) = build()
    counts = []
    for layer in (fused, plain):
        with counted_nodes() as nodes:
            FlatGradient(lambda params, layer=layer: anp.sum(anp.multiply(*_both(layer, params, x))), params)()
        counts.append(len(nodes))
    assert counts[0] <= 6  # the node, its two results, and what the loss adds
    assert counts[1] > 40

    flow = Flow(standard_normal(3), Chain([fused, RationalQuadraticCoupling([1, 0, 1])]))
    params = flow.init(np.random.default_rng(0), x)
    with counted_nodes() as nodes:
        FlatGradient(lambda params: anp.sum(flow.log_prob(params, x)), params)()
    assert len(nodes) == 2


def _both(layer, params, x):
    z, log_det = layer.forward(params, x)
    return z[:, 0], log_det


def test_a_fused_flow_equals_a_plain_one():
    fused, plain, (_, x, _) = build()
    other = RationalQuadraticCoupling([1, 0, 1], (5,), bins=4)
    flows = [
        Flow(standard_normal(3), Chain([layer, replace(other, fused=layer.fused), layer])) for layer in (fused, plain)
    ]
    rng = np.random.default_rng(0)
    params = tree_map(lambda leaf: leaf + 0.4 * rng.normal(size=leaf.shape), flows[0].init(rng, x))
    ours, theirs = ([flow.log_prob(params, x)] for flow in flows)
    compare(ours, theirs)
    ours, theirs = (tree_leaves(grad(lambda p, f=flow: anp.mean(f.log_prob(p, x)))(params)) for flow in flows)
    compare(ours, theirs)
    ours, theirs = ([flow.sample(params, np.random.default_rng(1), 20)] for flow in flows)
    compare(ours, theirs, tolerance=1e-8)


# Re-entrancy: what is saved belongs to one call.


@pytest.mark.parametrize("inverse", [False, True])
def test_a_node_twice_in_one_graph_and_jacobians(inverse):
    fused, plain, (params, x, _) = build(n=3)

    def twice(layer):
        step = layer.inverse if inverse else layer.forward

        def f(x):
            z, first = step(params, x)
            z, second = step(params, z)
            return anp.concatenate([anp.ravel(z), first * second])

        return f

    compare([jacobian(twice(fused))(x)], [jacobian(twice(plain))(x)], tolerance=1e-9)


@pytest.mark.parametrize("inverse", [False, True])
def test_two_live_results_written_into_and_pulled_back_twice(inverse):
    fused, plain, (params, x, _) = build()

    def pull_back(layer, x):
        return make_vjp(lambda p, x: layer.inverse(p, x)[0] if inverse else layer.forward(p, x)[0], (0, 1))(params, x)

    (first, z), (second, other) = pull_back(fused, x), pull_back(fused, x + 1)
    before = [leaf.copy() for leaf in [*tree_leaves(params), x]]
    g = np.random.default_rng(2).normal(size=z.shape)
    g_before, plain_first, plain_second = g.copy(), pull_back(plain, x)[0](g), pull_back(plain, x + 1)[0](g)
    z[...] = np.nan
    for _ in range(2):
        for ours, theirs in ((first, plain_first), (second, plain_second)):
            got = tree_leaves(list(ours(g)))
            compare(got, tree_leaves(list(theirs)))
            for leaf in got:
                leaf[...] = np.nan
    np.testing.assert_array_equal(g, g_before)
    for leaf, kept in zip([*tree_leaves(params), x], before, strict=True):
        np.testing.assert_array_equal(leaf, kept)
    assert np.isfinite(other).all()


# Second order and forward mode: the plain twin takes over.


@pytest.mark.parametrize("inverse", [False, True])
def test_second_derivatives_and_forward_mode(inverse):
    fused, plain, (params, x, _) = build(D=2, bins=3, n=2)
    losses = [loss_of(layer, inverse) for layer in (fused, plain)]
    ours, theirs = (hessian(lambda x, f=loss: f(params, x, None))(x) for loss in losses)
    assert np.abs(ours).max() > 1e-3
    compare([ours], [theirs])
    ours, theirs = (grad(lambda p, f=loss: anp.sum(grad(f, 1)(p, x, None) ** 2))(params) for loss in losses)
    assert max(np.abs(leaf).max() for leaf in tree_leaves(ours)) > 1e-3
    compare(tree_leaves(ours), tree_leaves(theirs), tolerance=1e-9)
    step = [(layer.inverse if inverse else layer.forward) for layer in (fused, plain)]
    ours, theirs = (make_jvp(lambda x, f=f: f(params, x)[0] * 1.0)(x)(np.ones_like(x))[1] for f in step)
    compare([ours], [theirs])


@pytest.mark.parametrize("inverse", [False, True])
def test_no_points_and_nan(inverse):
    fused, plain, (params, x, _) = build()
    for layer in (fused, plain):
        assert all(not g.any() for g in gradients(loss_of(layer, inverse), (params, x[:0], None)))
    x[2] = np.nan
    for a, b in zip(*((f.inverse if inverse else f.forward)(params, x) for f in (fused, plain)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)
        assert np.isnan(a[2]).all()
        assert np.isfinite(np.delete(a, 2, axis=0)).all()
