import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad, grad, hessian, jacobian, make_jvp, make_vjp
from autograd.test_util import check_grads

from minigen.fused import ACTIVATIONS, BLOCK, dense_stack, dense_stack_plain, fuse, fuse_mean, relu
from tests.counting import counted_nodes

BITS = {np.float64: 1e-10, np.float32: 2e-5}


def stack(rng, sizes=(3, 7, 5, 2), masked=False, dtype=float):
    """Return the arrays W, b, W, b, ... of a dense stack, and its masks or None."""
    layers, masks = [], []
    for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [rng.normal(size=(outputs, inputs)).astype(dtype), rng.normal(size=outputs).astype(dtype)]
        masks.append(rng.random((outputs, inputs)) < 0.6)
    return layers, (masks if masked else None)


def arguments(rng, n=6, features=2, context_rows=6, **options):
    """Return x, the context (one feature) or None, the layers, and the structure."""
    activation = options.pop("activation", "tanh")
    dtype = options.get("dtype", float)
    x = rng.normal(size=(n, features)).astype(dtype)
    context = None if context_rows is None else rng.normal(size=(context_rows, 1)).astype(dtype)
    inputs = features + (context is not None)
    layers, masks = stack(rng, (inputs, *options.pop("hidden", (7, 5)), 2), **options)
    return (x, context, *layers), {"activation": activation, "masks": masks}


def gradients(f, arrays, structure, weight):
    """Return the gradient of a weighted sum of f's outputs with respect to every array that is there."""
    present = tuple(i for i, array in enumerate(arrays) if array is not None)
    return grad(lambda *arrays: anp.sum(f(*arrays, **structure) * weight), present)(*arrays)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("context_rows", [None, 1, 6])
@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)])
def test_fused_equals_plain_in_value_and_gradient(hidden, context_rows, masked, activation, dtype):
    rng = np.random.default_rng(0)
    arrays, structure = arguments(
        rng, context_rows=context_rows, hidden=hidden, masked=masked, activation=activation, dtype=dtype
    )
    weight = rng.normal(size=(6, 2)).astype(dtype)
    y, y_plain = dense_stack(*arrays, **structure), dense_stack_plain(*arrays, **structure)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, y_plain, rtol=0, atol=BITS[dtype])
    fused, plain = (gradients(f, arrays, structure, weight) for f in (dense_stack, dense_stack_plain))
    for array, ours, theirs in zip((a for a in arrays if a is not None), fused, plain, strict=True):
        assert ours.shape == array.shape
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=BITS[dtype])


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_those_of_finite_differences(activation, masked):
    arrays, structure = arguments(np.random.default_rng(1), context_rows=1, masked=masked, activation=activation)
    check_grads(lambda *arrays: dense_stack(*arrays, **structure), modes=["rev"], order=1)(*arrays)


@pytest.mark.parametrize("needed", [(0,), (1,), (2,), (3,), (0, 4), (1, 7)])
def test_any_subset_of_the_arguments(needed):
    arrays, structure = arguments(np.random.default_rng(2))

    def loss(f):
        return lambda *arrays: anp.sum(f(*arrays, **structure) ** 2)

    ours, theirs = (grad(loss(f), needed)(*arrays) for f in (dense_stack, dense_stack_plain))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


def test_it_is_one_node():
    arrays, structure = arguments(np.random.default_rng(3))
    with counted_nodes() as nodes:
        grad(lambda W: anp.sum(dense_stack(*arrays[:2], W, *arrays[3:], **structure)))(arrays[2])
    assert nodes == ["dense_stack_plain", "sum"]


def test_a_float64_gradient_does_not_widen_float32():
    arrays, structure = arguments(np.random.default_rng(4), dtype=np.float32)
    pull_back, y = make_vjp(lambda *arrays: dense_stack(*arrays, **structure), (0, 1, 2, 3))(*arrays)
    assert {g.dtype for g in pull_back(np.ones(y.shape))} == {np.dtype(np.float32)}


def test_a_float32_input_does_not_narrow_float64_parameters():
    rng = np.random.default_rng(4)
    arrays, structure = arguments(rng, context_rows=None, hidden=())
    narrow = (arrays[0].astype(np.float32), *arrays[1:])
    weight = rng.normal(size=(6, 2))
    for got, wanted in zip(
        gradients(dense_stack, narrow, structure, weight),
        gradients(dense_stack, (narrow[0].astype(float), *arrays[1:]), structure, weight),
        strict=True,
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-6 if got.dtype == np.float32 else 1e-12)
    assert gradients(dense_stack, narrow, structure, weight)[2].dtype == float


# Re-entrancy: a tape belongs to one call.


def twice(f, structure):
    """Return a loss with the same stack in it twice, the second time on the output of the first."""
    return lambda x, *layers: anp.sum(f(f(x, None, *layers, **structure), None, *layers, **structure) ** 2)


def test_a_node_twice_in_one_graph():
    rng = np.random.default_rng(5)
    layers, _ = stack(rng, (2, 5, 2))
    x, everything = rng.normal(size=(4, 2)), tuple(range(5))
    structure = {"activation": "tanh"}
    ours, theirs = (grad(twice(f, structure), everything)(x, *layers) for f in (dense_stack, dense_stack_plain))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("position", range(8))
def test_jacobian_runs_the_backward_pass_many_times(position):
    arrays, structure = arguments(np.random.default_rng(6), n=3, context_rows=3)
    ours, theirs = (
        jacobian(lambda *arrays, f=f: f(*arrays, **structure), position)(*arrays)
        for f in (dense_stack, dense_stack_plain)
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_two_live_results_and_a_backward_pass_run_twice():
    rng = np.random.default_rng(7)
    arrays, structure = arguments(rng)
    others = tuple(array + 1.0 for array in arrays)
    everything = tuple(range(len(arrays)))

    def pull_back(f, arrays):
        return make_vjp(lambda *arrays: f(*arrays, **structure), everything)(*arrays)

    (first, y), (second, z) = pull_back(dense_stack, arrays), pull_back(dense_stack, others)
    y_before, g = y.copy(), rng.normal(size=y.shape)
    g_before = g.copy()
    for _ in range(2):
        for ours, theirs in (
            (first, pull_back(dense_stack_plain, arrays)),
            (second, pull_back(dense_stack_plain, others)),
        ):
            for a, b in zip(ours(g), theirs[0](g), strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(y, y_before)
    np.testing.assert_array_equal(g, g_before)
    np.testing.assert_allclose(z, dense_stack_plain(*others, **structure), rtol=0, atol=1e-10)


def test_writing_into_results_changes_nothing_else():
    arrays, structure = arguments(np.random.default_rng(8), context_rows=1)
    everything = tuple(range(len(arrays)))
    pull_back, y = make_vjp(lambda *arrays: dense_stack(*arrays, **structure), everything)(*arrays)
    kept = [array.copy() for array in arrays]
    g = np.ones(y.shape)
    first = pull_back(g)
    wanted = [gradient.copy() for gradient in first]
    y[...] = np.nan
    for gradient in first:
        gradient[...] = np.nan
    for a, b in zip(pull_back(g), wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    for array, copy in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


# Second order and forward mode: the plain twin takes over.


@pytest.mark.parametrize("activation", ["tanh", "softplus"])
@pytest.mark.parametrize("position", range(6))
def test_second_derivatives(activation, position):
    arrays, structure = arguments(np.random.default_rng(9), n=2, context_rows=1, hidden=(3,), activation=activation)

    def loss(f):
        return lambda *arrays: anp.sum(f(*arrays, **structure) ** 2)

    ours, theirs = (hessian(loss(f), position)(*arrays) for f in (dense_stack, dense_stack_plain))
    assert np.abs(ours).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_second_derivatives_of_a_linear_loss():
    # The gradient with respect to y is a constant here, so only the arguments tell that someone differentiates twice.
    arrays, structure = arguments(np.random.default_rng(9), n=2, context_rows=None, hidden=(3,))
    ours, theirs = (
        hessian(lambda x, f=f: anp.sum(f(x, *arrays[1:], **structure)))(arrays[0])
        for f in (dense_stack, dense_stack_plain)
    )
    assert np.abs(ours).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_second_derivative_that_comes_only_through_the_outgoing_gradient():
    # The inner gradient is with respect to W, the outer one to a scale that the node never sees.
    arrays, structure = arguments(np.random.default_rng(10))

    def outer(f):
        def inner(scale):
            g = grad(lambda W: anp.sum(anp.exp(scale * f(*arrays[:2], W, *arrays[3:], **structure))))(arrays[2])
            return anp.sum(g**2)

        return grad(inner)(0.3)

    assert abs(outer(dense_stack_plain)) > 1e-3
    np.testing.assert_allclose(outer(dense_stack), outer(dense_stack_plain), rtol=1e-10)


def test_forward_mode():
    arrays, structure = arguments(np.random.default_rng(11))
    x, *others = arrays
    ours, theirs = (
        make_jvp(lambda x, f=f: f(x, *others, **structure))(x)(np.ones_like(x))
        for f in (dense_stack, dense_stack_plain)
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


# Values.


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_extreme_and_non_finite_numbers_as_in_the_plain_twin(activation):
    x = np.array([[1e3, -1e3], [1e3, 1e3], [np.nan, 0.0]])
    layers = [np.eye(2), np.zeros(2), np.eye(2), np.zeros(2)]
    structure = {"activation": activation}
    y = dense_stack(x, None, *layers, **structure)
    np.testing.assert_array_equal(y, dense_stack_plain(x, None, *layers, **structure))
    assert np.isfinite(y[:2]).all()
    assert np.isnan(y[2]).any()
    for ours, theirs in zip(
        *(gradients(f, (x[:2], None, *layers), structure, 1.0) for f in (dense_stack, dense_stack_plain)), strict=True
    ):
        assert np.isfinite(ours).all()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("context_rows", [None, 1])
def test_no_points(context_rows):
    arrays, structure = arguments(np.random.default_rng(12), n=0, context_rows=context_rows)
    assert dense_stack(*arrays, **structure).shape == (0, 2)
    for f in (dense_stack, dense_stack_plain):
        for gradient in gradients(f, arrays, structure, 1.0):
            assert not gradient.any()


def test_relu():
    x = np.array([-1.0, 0.0, 2.0, np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(relu(x), [0.0, 0.0, 2.0, np.nan, np.inf, 0.0])
    np.testing.assert_array_equal(elementwise_grad(relu)(x)[:3], [0.0, 0.0, 1.0])
    np.testing.assert_array_equal(relu(np.array([-3, 3])), [0.0, 3.0])
    assert elementwise_grad(relu)(np.ones(2, np.float32)).dtype == np.float32
    np.testing.assert_array_equal(make_jvp(relu)(x[:3])(np.ones(3))[1], [0.0, 0.0, 1.0])
    with pytest.raises((TypeError, ValueError)):
        relu("text")


def test_fuse_hands_structure_on_and_casts_gradients():
    def plain(x, y, *, power):
        return anp.sum(x**power) + anp.sum(y)

    def backward(g, saved, needed, x, y, *, power):
        assert saved == "kept"
        assert needed == (0,)
        return {0: (g * power * x ** (power - 1)).astype(float)}

    f = fuse(plain, lambda x, y, *, power: (plain(x, y, power=power), "kept"), backward)
    x = np.array([1.0, 2.0], np.float32)
    gradient = grad(f)(x, np.ones(1, np.float32), power=3)
    assert gradient.dtype == np.float32
    np.testing.assert_allclose(gradient, [3.0, 12.0])
    assert hessian(lambda x: f(x, np.ones(1), power=3))(x.astype(float))[1, 1] == 12.0
    assert f.__name__ == "plain"


def test_fuse_with_two_outputs():
    def plain(x, scale):
        return anp.exp(scale) * x, anp.sum(scale) + 0.0 * x[:, 0]

    def forward(x, scale):
        factor = np.exp(scale)
        return (factor * x, np.full(len(x), scale.sum())), factor

    def backward(g, factor, needed, x, scale):
        g_z, g_log_det = g
        return {0: g_z * factor, 1: (g_z * x).sum(axis=0) * factor + g_log_det.sum()}

    f = fuse(plain, forward, backward)
    rng = np.random.default_rng(0)
    x, scale = rng.normal(size=(5, 3)), rng.normal(size=3)

    def loss(f):
        def of(x, scale):
            z, log_det = f(x, scale)
            return anp.sum(z**2) + anp.sum(anp.sin(log_det))

        return of

    for position in (0, 1):
        for derivative in (grad, hessian, lambda f, i: lambda *a: make_jvp(f, i)(*a)(np.ones_like(a[i]))[1]):
            ours, theirs = (derivative(loss(each), position)(x, scale) for each in (f, plain))
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)
    assert grad(lambda scale: anp.sum(f(x, scale)[0]))(scale).shape == (3,)  # only one of the two is used


def squared_errors(calls):
    """Return the mean of (x·w − y)² as `fuse_mean` makes it, and its plain twin; `calls` gets each block's size."""

    def plain(x, y, w):
        return anp.sum((anp.dot(x, w) - y) ** 2) / len(x)

    def forward(x, y, w):
        calls.append(len(x))
        error = x @ w - y
        return error**2, error

    def backward(g, error, needed, x, y, w):
        g = 2 * g * error
        return {0: np.outer(g, w), 1: -g, 2: x.T @ g}

    return fuse_mean(plain, forward, backward, lambda x, y, w: [0, 1]), plain


@pytest.mark.parametrize(("n", "blocks"), [(1, [1]), (BLOCK, [BLOCK]), (2 * BLOCK + 1, [BLOCK, BLOCK, 1])])
def test_fuse_mean_goes_block_by_block(n, blocks):
    rng, calls = np.random.default_rng(0), []
    fused, plain = squared_errors(calls)
    arrays = rng.normal(size=(n, 3)), rng.normal(size=n), rng.normal(size=3)
    np.testing.assert_allclose(fused(*arrays), plain(*arrays), rtol=1e-12)
    assert calls == []  # without a gradient it is the plain twin
    for needed in ((0,), (1,), (2,), (0, 1, 2)):
        calls.clear()
        ours, theirs = (grad(f, needed)(*arrays) for f in (fused, plain))
        assert calls == blocks
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_fuse_mean_is_re_entrant():
    rng = np.random.default_rng(1)
    fused, plain = squared_errors([])
    x, y, w = rng.normal(size=(5, 3)), rng.normal(size=5), rng.normal(size=3)
    pull_back, _ = make_vjp(fused, (0, 2))(x, y, w)
    wanted = make_vjp(plain, (0, 2))(x, y, w)[0](3.0)
    for _ in range(3):
        for got, expected in zip(pull_back(3.0), wanted, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-12)
            got[...] = np.nan  # what is handed out is nobody else's
    two = [grad(lambda w, f=f: f(x, y, w) * f(2 * x, y, w))(w) for f in (fused, plain)]
    np.testing.assert_allclose(*two, rtol=1e-12)
    np.testing.assert_allclose(*(hessian(f, 2)(x, y, w) for f in (fused, plain)), atol=1e-12)
    np.testing.assert_allclose(*(make_jvp(f, 2)(x, y, w)(np.ones(3))[1] for f in (fused, plain)), rtol=1e-12)
