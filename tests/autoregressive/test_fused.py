"""The fused layer of MAF against its plain definition: values, gradients, re-entrancy, second order."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, hessian, jacobian, make_jvp, make_vjp
from autograd.test_util import check_grads

from minigen.autoregressive import fused
from minigen.autoregressive.fused import masked_affine, masked_affine_plain
from minigen.autoregressive.made import degrees, masks
from minigen.fused import ACTIVATIONS, fuse
from tests.counting import counted_nodes

TOLERANCE = {np.float64: 1e-10, np.float32: 2e-4}


def arguments(D=3, n=6, context_rows=6, hidden=(7, 5), activation="tanh", dtype=float, seed=0, scale=0.5):
    """Return x, the context (two features) or None, the layers, and the structure."""
    rng = np.random.default_rng(seed)
    context_features = 0 if context_rows is None else 2
    cut = masks(degrees(rng.permutation(D), hidden, context_features), 2)
    layers = []
    for mask in cut:
        layers += [scale * rng.normal(size=mask.shape), scale * rng.normal(size=len(mask))]
    x, context = rng.normal(size=(n, D)), None if context_rows is None else rng.normal(size=(context_rows, 2))
    arrays = tuple(None if array is None else array.astype(dtype) for array in (x, context, *layers))
    return arrays, {"activation": activation, "masks": tuple(cut), "bound": 1.5}


def loss_of(f, structure):
    """Return a loss that uses both outputs, with weights that tell the points and features apart."""

    def loss(*arrays):
        z, log_det = f(*arrays, **structure)
        weight = anp.cos(np.arange(z.size, dtype=arrays[0].dtype).reshape(z.shape))
        return anp.sum(weight * z * z) + anp.sum(weight[:, 0] * anp.sin(log_det))

    return loss


def present(arrays):
    return tuple(i for i, array in enumerate(arrays) if array is not None)


def both_gradients(arrays, structure, needed=None):
    needed = present(arrays) if needed is None else needed
    return [grad(loss_of(f, structure), needed)(*arrays) for f in (masked_affine, masked_affine_plain)]


def assert_equal(ours, theirs, atol=1e-10):
    for a, b in zip(ours, theirs, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("context_rows", [None, 1, 6])
@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)])
@pytest.mark.parametrize("D", [1, 2, 3, 5])
def test_fused_equals_plain_in_value_and_gradient(D, hidden, context_rows, activation, dtype):
    arrays, structure = arguments(D, 6, context_rows, hidden, activation, dtype)
    ours, theirs = (f(*arrays, **structure) for f in (masked_affine, masked_affine_plain))
    assert {a.dtype for a in ours} == {np.dtype(dtype)}
    assert_equal(ours, theirs, TOLERANCE[dtype])
    ours, theirs = both_gradients(arrays, structure)
    assert [g.dtype for g in ours] == [np.dtype(dtype)] * len(ours)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_gradients_are_those_of_finite_differences(activation):
    arrays, structure = arguments(context_rows=1, activation=activation)
    check_grads(loss_of(masked_affine, structure), modes=["rev"], order=1)(*arrays)


@pytest.mark.parametrize("needed", [(0,), (1,), (2,), (3,), (0, 4), (1, 7), (7,)])
def test_any_subset_of_the_arguments(needed):
    assert_equal(*both_gradients(*arguments(), needed))


@pytest.mark.parametrize("which", [0, 1])
def test_one_output_alone(which):
    arrays, structure = arguments()
    ours, theirs = (
        grad(lambda *arrays, f=f: anp.sum(f(*arrays, **structure)[which] ** 2), present(arrays))(*arrays)
        for f in (masked_affine, masked_affine_plain)
    )
    assert_equal(ours, theirs)


def test_it_is_one_node():
    arrays, structure = arguments()
    with counted_nodes() as nodes:
        grad(lambda W: anp.sum(masked_affine(*arrays[:2], W, *arrays[3:], **structure)[0]))(arrays[2])
    assert nodes == ["masked_affine_plain", "container_take", "sum"]


def test_a_float64_gradient_does_not_widen_float32():
    arrays, structure = arguments(dtype=np.float32)
    pull_back, y = make_vjp(lambda *arrays: masked_affine(*arrays, **structure)[0], present(arrays))(*arrays)
    assert {g.dtype for g in pull_back(np.ones(y.shape))} == {np.dtype(np.float32)}


# Re-entrancy: what a call saves belongs to that call.


def test_a_node_twice_in_one_graph():
    arrays, structure = arguments()

    def twice(f):
        def loss(x, *rest):
            z, first = f(x, *rest, **structure)
            z, second = f(z, *rest, **structure)
            return anp.sum(anp.sin(z)) + anp.sum(first * second)

        return grad(loss, present(arrays))(*arrays)

    assert_equal(twice(masked_affine), twice(masked_affine_plain))


@pytest.mark.parametrize("position", range(8))
@pytest.mark.parametrize("which", [0, 1])
def test_jacobian_runs_the_backward_pass_many_times(position, which):
    arrays, structure = arguments(n=3, context_rows=3)
    ours, theirs = (
        jacobian(lambda *arrays, f=f: f(*arrays, **structure)[which], position)(*arrays)
        for f in (masked_affine, masked_affine_plain)
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_two_live_results_and_writing_into_all_of_them():
    arrays, structure = arguments(context_rows=1)
    others = tuple(array + 1.0 for array in arrays)
    kept = [array.copy() for array in arrays]
    everything = present(arrays)
    weight = np.random.default_rng(1).normal(size=arrays[0].shape)

    def pull_back(f, arrays):
        return make_vjp(lambda *arrays: anp.sum(weight * f(*arrays, **structure)[0]), everything)(*arrays)[0]

    first, second = pull_back(masked_affine, arrays), pull_back(masked_affine, others)
    z, log_det = masked_affine(*arrays, **structure)
    z[...], log_det[...] = np.nan, np.nan
    for _ in range(2):
        assert_equal(first(1.0), pull_back(masked_affine_plain, arrays)(1.0))
        assert_equal(second(1.0), pull_back(masked_affine_plain, others)(1.0))
        for gradient in first(1.0):
            gradient[...] = np.nan
    for array, copy in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_results_and_incoming_gradients_are_left_alone():
    arrays, structure = arguments()
    (z, log_det), saved = fused._forward(*arrays, **structure)
    g = (np.ones_like(z), np.ones_like(log_det))
    before = [z.copy(), log_det.copy()]
    first = fused._backward(g, saved, present(arrays), *arrays, **structure)
    z[...], log_det[...] = np.nan, np.nan
    again = fused._backward(g, saved, present(arrays), *arrays, **structure)
    for i in present(arrays):
        np.testing.assert_array_equal(first[i], again[i])
        assert not np.shares_memory(first[i], again[i])
        assert not any(np.shares_memory(first[i], array) for array in (*arrays, z, log_det, *g))
    np.testing.assert_array_equal(g[0], np.ones_like(before[0]))
    np.testing.assert_array_equal(g[1], np.ones_like(before[1]))


# Second order and forward mode: the plain twin takes over.


@pytest.mark.parametrize("position", range(6))
def test_second_derivatives(position):
    arrays, structure = arguments(D=2, n=2, context_rows=1, hidden=(3,))
    ours, theirs = (hessian(loss_of(f, structure), position)(*arrays) for f in (masked_affine, masked_affine_plain))
    assert np.abs(ours).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_forward_mode():
    arrays, structure = arguments()
    x, *others = arrays
    ours, theirs = (
        make_jvp(lambda x, f=f: f(x, *others, **structure)[0])(x)(np.ones_like(x))
        for f in (masked_affine, masked_affine_plain)
    )
    assert_equal(ours, theirs)


# Values.


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_extreme_and_non_finite_numbers_as_in_the_plain_twin(activation):
    arrays, structure = arguments(context_rows=None, activation=activation)
    arrays[0][0] = 1e3
    arrays[0][1] = -1e3
    assert_equal(masked_affine(*arrays, **structure), masked_affine_plain(*arrays, **structure), atol=1e-9)
    ours, theirs = both_gradients(arrays, structure)
    for a, b in zip(ours, theirs, strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-10)
    arrays[0][2, 0] = np.nan
    ours, theirs = (f(*arrays, **structure) for f in (masked_affine, masked_affine_plain))
    assert_equal(ours, theirs, atol=1e-9)
    assert np.isnan(ours[1][2])


@pytest.mark.parametrize("context_rows", [None, 1])
def test_no_points(context_rows):
    arrays, structure = arguments(n=0, context_rows=context_rows)
    z, log_det = masked_affine(*arrays, **structure)
    assert (z.shape, log_det.shape) == ((0, 3), (0,))
    for gradients in both_gradients(arrays, structure):
        assert not any(g.any() for g in gradients)


# Wrong backward passes, and that the comparison with the plain twin catches each.


def without_the_log_det(g, *rest, **structure):
    return fused._backward((g[0], 0 * g[1]), *rest, **structure)


def without_the_direct_way(g, saved, needed, *arrays, **structure):
    gradients = dict(fused._backward(g, saved, needed, *arrays, **structure))
    gradients[0] = gradients[0] - g[0] * saved[2].T
    return gradients


def without_the_slope_of_the_bound(g, saved, *rest, **structure):
    stack, squashed, *others = saved
    return fused._backward(g, (stack, 0 * squashed, *others), *rest, **structure)


def without_the_masks(g, saved, needed, *arrays, masks, **structure):
    return fused._backward(g, saved, needed, *arrays, masks=[mask | True for mask in masks], **structure)


def with_the_sign_of_the_log_det(g, *rest, **structure):
    return fused._backward((g[0], -g[1]), *rest, **structure)


@pytest.mark.parametrize(
    "backward",
    [
        without_the_log_det,
        without_the_direct_way,
        without_the_slope_of_the_bound,
        without_the_masks,
        with_the_sign_of_the_log_det,
    ],
)
def test_wrong_backward_passes_are_caught(backward):
    arrays, structure = arguments()
    wrong = fuse(masked_affine_plain, fused._forward, backward)
    gradients = grad(loss_of(wrong, structure), present(arrays))(*arrays)
    theirs = grad(loss_of(masked_affine_plain, structure), present(arrays))(*arrays)
    assert max(np.abs(a - b).max() for a, b in zip(gradients, theirs, strict=True)) > 1e-3
