import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, hessian, jacobian
from autograd.test_util import check_grads
from scipy.ndimage import correlate

from minigen.checks import batch_dependence, dependency_matrix
from minigen.errors import NoInverseError
from minigen.fused import ACTIVATIONS
from minigen.nets import MLP, CausalConv1D, Conv2D, Dense, MaskedMLP, Net
from minigen.tree import count_params, ravel, tree_leaves, tree_map
from tests.counting import counted_nodes

MASKS = [np.array([[1, 0, 1], [1, 1, 1], [0, 0, 1]]), np.array([[1, 1, 0], [0, 1, 1]])]

# name -> (net, shape of x without the batch axis, features of the context or 0, shape of y without the batch axis)
NETS = {
    "dense": (Dense(3, 2), (3,), 0, (2,)),
    "mlp": (MLP(3, (5, 4), 2), (3,), 0, (2,)),
    "mlp, no hidden layer": (MLP(3, (), 2), (3,), 0, (2,)),
    "mlp, one feature": (MLP(1, (4,), 1), (1,), 0, (1,)),
    "mlp, context": (MLP(3, (5,), 2, context_features=2), (3,), 2, (2,)),
    "mlp, plain": (MLP(3, (5, 4), 2, context_features=1, fused=False), (3,), 1, (2,)),
    "mlp, relu": (MLP(3, (5, 4), 2, activation="relu"), (3,), 0, (2,)),
    "mlp, softplus": (MLP(3, (5, 4), 2, activation="softplus"), (3,), 0, (2,)),
    "masked": (MaskedMLP(MASKS), (3,), 0, (2,)),
    "masked, context": (MaskedMLP(MASKS, context_features=1), (2,), 1, (2,)),
    "masked, plain": (MaskedMLP(MASKS, context_features=1, fused=False), (2,), 1, (2,)),
    "causal": (CausalConv1D(2, 3, kernel_size=2), (5, 2), 0, (5, 3)),
    "causal, dilated, context": (CausalConv1D(2, 3, 3, dilation=2, context_features=2), (5, 2), 2, (5, 3)),
    "conv": (Conv2D(2, 3), (4, 5, 2), 0, (4, 5, 3)),
    "conv 1x1, context": (Conv2D(2, 3, kernel_size=1, context_features=1), (4, 3, 2), 1, (4, 3, 3)),
}
of_all_nets = pytest.mark.parametrize("name", NETS)


def case(name, n=6, dtype=float, seed=0):
    """Return the net, jittered parameters, an x and a context (or None) of n rows, and the shape of y."""
    net, x_shape, context_features, y_shape = NETS[name]
    rng = np.random.default_rng(seed)
    params = tree_map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape).astype(dtype), net.init(rng, dtype))
    x = rng.normal(size=(n, *x_shape)).astype(dtype)
    context = rng.normal(size=(n, context_features)).astype(dtype) if context_features else None
    return net, params, x, context, (n, *y_shape)


@of_all_nets
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_shapes_and_dtypes_of_parameters_value_and_gradients(name, dtype):
    net, params, x, context, y_shape = case(name, dtype=dtype)
    y = net(params, x, context)
    assert y.shape == y_shape
    assert y.dtype == dtype
    for argument in (0, 1) if context is None else (0, 1, 2):
        gradient = grad(lambda params, x, context: anp.sum(net(params, x, context) ** 2), argument)(params, x, context)
        for got, leaf in zip(tree_leaves(gradient), tree_leaves((params, x, context)[argument]), strict=True):
            assert got.shape == leaf.shape
            assert got.dtype == dtype
    start = net.init(np.random.default_rng(0), dtype)
    assert {leaf.dtype for leaf in tree_leaves(start)} == {np.dtype(dtype)}


@of_all_nets
def test_float32_start_is_the_float64_start_rounded(name):
    net = NETS[name][0]
    wide, narrow = (ravel(net.init(np.random.default_rng(3), dtype))[0] for dtype in (np.float64, np.float32))
    np.testing.assert_array_equal(narrow, wide.astype(np.float32))
    np.testing.assert_array_equal(wide, ravel(net.init(np.random.default_rng(3)))[0])


@of_all_nets
def test_gradients_against_finite_differences(name):
    net, params, x, context, _ = case(name, n=2)
    vector, unravel = ravel(params)
    check_grads(lambda v, x: net(unravel(v), x, context), modes=["rev"], order=1)(vector, x)


@of_all_nets
def test_rows_do_not_see_each_other(name):
    net, params, x, context, _ = case(name)

    class AsMap:
        def forward(self, params, x, context=None):
            return net(params, x, context), np.zeros(len(x))

        def inverse(self, params, z, context=None):
            raise NoInverseError

    assert batch_dependence(AsMap(), params, x, context) <= 1e-12


@of_all_nets
def test_one_row_of_context_stands_for_all(name):
    net, params, x, context, y_shape = case(name)
    if context is None:  # what needs no context ignores it
        np.testing.assert_array_equal(net(params, x, np.ones((1, 7))), net(params, x))
        return
    row = context[:1]
    np.testing.assert_allclose(net(params, x, row), net(params, x, np.repeat(row, len(x), 0)), rtol=0, atol=1e-12)
    assert np.abs(net(params, x, row) - net(params, x, row + 1)).max() > 1e-3
    one = grad(lambda c: anp.sum(net(params, x, c) ** 2))(row)
    all_rows = grad(lambda c: anp.sum(net(params, x, c) ** 2))(np.repeat(row, len(x), 0))
    np.testing.assert_allclose(one, all_rows.sum(axis=0, keepdims=True), rtol=1e-10)


@of_all_nets
def test_no_rows(name):
    net, params, x, context, y_shape = case(name, n=0)
    assert net(params, x, context).shape == y_shape
    if context is not None:
        assert net(params, x, np.ones((1, context.shape[1]))).shape == y_shape


@of_all_nets
def test_integers_and_lists_are_taken_and_non_finite_numbers_passed_on(name):
    net, params, x, context, _ = case(name)
    whole = np.round(3 * x).astype(int)
    np.testing.assert_array_equal(net(params, whole, context), net(params, whole.astype(float), context))
    np.testing.assert_array_equal(net(params, whole.tolist(), context), net(params, whole.astype(float), context))
    x[0] = np.nan
    y = net(params, x, context)
    assert np.isnan(y[0]).any()
    assert np.isfinite(y[1:]).all()


@of_all_nets
def test_wrong_x(name):
    net, params, x, context, _ = case(name)
    who = type(net).__name__
    wrong = [x[..., :0], x[0, ..., 0], np.concatenate([x, x], axis=-1), np.float64(1.0)]
    wrong += [x[None]] if not isinstance(net, Dense) else []
    for bad in wrong:
        with pytest.raises(ValueError, match=rf"^{who}: expected .*shape \(.*, got shape \("):
            net(params, bad, context)
    for bad in ("text", np.array([["a", "b"]]), x + 1j, None):
        with pytest.raises((TypeError, ValueError)):
            net(params, bad, context)


@pytest.mark.parametrize("name", [name for name, (_, _, context_features, _) in NETS.items() if context_features])
def test_wrong_context(name):
    net, params, x, context, _ = case(name)
    who = type(net).__name__
    with pytest.raises(ValueError, match=rf"^{who}: context: expected shape \(6, {context.shape[1]}\), got none$"):
        net(params, x)
    with pytest.raises(ValueError, match=rf"^{who}: context: expected 6 rows as x has, or one, got 5$"):
        net(params, x, context[:5])
    for bad in (context[0], np.ones((6, 9))):
        with pytest.raises(ValueError, match=rf"^{who}: context: expected points of shape"):
            net(params, x, bad)


@of_all_nets
def test_wrong_dtype_of_the_parameters(name):
    with pytest.raises(TypeError, match="^init: expected a float dtype, got "):
        NETS[name][0].init(np.random.default_rng(0), int)


def test_dense_by_hand():
    params = {"weight": np.array([[1.0, 2.0], [3.0, 4.0]]), "bias": np.array([10.0, 20.0])}
    np.testing.assert_array_equal(Dense(2, 2)(params, np.array([[1.0, -1.0]])), [[9.0, 19.0]])
    assert Dense(2, 2)(params, np.ones((3, 4, 2))).shape == (3, 4, 2)


def test_mlp_by_hand():
    rng = np.random.default_rng(0)
    net = MLP(2, (3, 4), 1, context_features=2)
    params, x, context = net.init(rng), rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    for fused in (True, False):
        h = np.hstack([x, context])
        for layer in params[:-1]:
            h = np.tanh(h @ layer["weight"].T + layer["bias"])
        wanted = h @ params[-1]["weight"].T + params[-1]["bias"]
        got = MLP(2, (3, 4), 1, context_features=2, fused=fused)(params, x, context)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-12)
    assert count_params(params) == 4 * 3 + 3 + 3 * 4 + 4 + 4 + 1


def test_weights_start_with_variance_one_over_fan_in_and_biases_at_zero():
    params = MLP(100, (400,), 100, output_scale=0.1).init(np.random.default_rng(0))
    assert abs(params[0]["weight"].std() * 10 - 1) < 0.02
    assert abs(params[1]["weight"].std() * 20 - 0.1) < 0.002
    assert abs(params[0]["weight"].mean()) < 0.002
    assert abs(Dense(1, 10_000).init(np.random.default_rng(0))["weight"].std() - 1) < 0.02
    assert not any(layer["bias"].any() for layer in params)
    conv = Conv2D(16, 64, 3, context_features=6).init(np.random.default_rng(0))
    assert abs(conv["weight"].std() * np.sqrt(9 * 16 + 6) - 1) < 0.02
    assert abs(CausalConv1D(16, 64, 4).init(np.random.default_rng(0))["weight"].std() * 8 - 1) < 0.05


def test_masked_weights_start_with_the_fan_in_that_is_open():
    mask = np.zeros((200, 500), dtype=bool)
    mask[:, :20] = True
    weight = MaskedMLP([mask]).init(np.random.default_rng(0))[0]["weight"]
    assert not weight[:, 20:].any()
    assert abs(weight[:, :20].std() * np.sqrt(20) - 1) < 0.05
    closed = MaskedMLP([np.zeros((2, 3))])
    assert not closed(closed.init(np.random.default_rng(0)), np.ones((1, 3))).any()


@pytest.mark.parametrize("net", [MLP(3, (5,), 2, output_scale=0.0), MaskedMLP(MASKS, output_scale=0.0)])
def test_a_net_may_start_at_zero_and_still_learn(net):
    rng = np.random.default_rng(0)
    params, x = net.init(rng), rng.normal(size=(4, 3))
    np.testing.assert_array_equal(net(params, x), np.zeros((4, 2)))
    gradient = grad(lambda params: anp.sum((net(params, x) - 1) ** 2))(params)
    assert np.abs(gradient[-1]["weight"]).max() > 1e-3


@pytest.mark.parametrize("net", [Dense(3, 2, 0.0), Conv2D(3, 2, scale=0.0), CausalConv1D(3, 2, 2, scale=0.0)])
def test_a_layer_may_start_at_zero(net):
    params = net.init(np.random.default_rng(0))
    assert not any(leaf.any() for leaf in tree_leaves(params))


def test_masks_decide_what_depends_on_what():
    net = MaskedMLP(MASKS, context_features=1)
    _, params, x, context, _ = case("masked, context")
    reached = (MASKS[1] @ MASKS[0]) > 0
    np.testing.assert_array_equal(dependency_matrix(lambda x: net(params, x, context[:1]), x), reached[:, :2])
    gradient = grad(lambda params: anp.sum(net(params, x, context) ** 2))(params)
    for layer, mask in zip(gradient, MASKS, strict=True):
        assert not layer["weight"][mask == 0].any()
        assert layer["weight"][mask == 1].all()
    changed = [{**layer, "weight": layer["weight"] + (mask == 0)} for layer, mask in zip(params, MASKS, strict=True)]
    np.testing.assert_array_equal(net(changed, x, context), net(params, x, context))


def test_masks_of_ones_give_the_mlp():
    mlp, masked = MLP(3, (5, 4), 2), MaskedMLP([np.ones((5, 3)), np.ones((4, 5)), np.ones((2, 4))])
    params, x = mlp.init(np.random.default_rng(0)), np.random.default_rng(1).normal(size=(6, 3))
    np.testing.assert_array_equal(ravel(masked.init(np.random.default_rng(0)))[0], ravel(params)[0])
    np.testing.assert_array_equal(mlp(params, x), masked(params, x))


@pytest.mark.parametrize("dilation", [1, 2])
def test_causal_convolution_by_loops_and_by_dependence(dilation):
    net = CausalConv1D(2, 3, kernel_size=3, dilation=dilation)
    rng = np.random.default_rng(0)
    params, x = net.init(rng), rng.normal(size=(2, 7, 2))
    params["bias"] = rng.normal(size=3)
    wanted = np.zeros((2, 7, 3)) + params["bias"]
    for t in range(7):
        for k in range(3):
            if t - k * dilation >= 0:
                wanted[:, t] += x[:, t - k * dilation] @ params["weight"][k].T
    np.testing.assert_allclose(net(params, x), wanted, rtol=0, atol=1e-12)
    J = jacobian(lambda x: anp.sum(net(params, x)[0], axis=1))(x)[:, 0].any(axis=-1)
    lags = np.subtract.outer(np.arange(7), np.arange(7))
    np.testing.assert_array_equal(J, (lags >= 0) & (lags <= 2 * dilation) & (lags % dilation == 0))


def test_short_sequences():
    net = CausalConv1D(1, 1, kernel_size=4, dilation=3)
    assert net(net.init(np.random.default_rng(0)), np.ones((2, 1, 1))).shape == (2, 1, 1)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_convolution_of_images_against_scipy(kernel_size):
    net = Conv2D(2, 3, kernel_size)
    rng = np.random.default_rng(0)
    params, x = net.init(rng), rng.normal(size=(2, 4, 6, 2))
    params["bias"] = rng.normal(size=3)
    y = net(params, x)
    for n in range(2):
        for o in range(3):
            pairs = ((x[n, :, :, i], params["weight"][:, :, o, i]) for i in range(2))
            wanted = sum(correlate(image, kernel, mode="constant") for image, kernel in pairs) + params["bias"][o]
            np.testing.assert_allclose(y[n, :, :, o], wanted, rtol=0, atol=1e-12)


def test_second_derivatives_through_a_fused_net():
    fused, plain = (MLP(2, (3,), 1, fused=fused) for fused in (True, False))
    vector, unravel = ravel(fused.init(np.random.default_rng(0)))
    x = np.random.default_rng(1).normal(size=(4, 2))
    ours, theirs = (hessian(lambda v, net=net: anp.sum(net(unravel(v), x) ** 2))(vector) for net in (fused, plain))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)
    assert np.abs(ours).max() > 1e-2


def test_context_that_comes_from_another_net():
    encoder, net = MLP(3, (4,), 2), MLP(1, (4,), 1, context_features=2)
    rng = np.random.default_rng(0)
    params = {"encoder": encoder.init(rng), "net": net.init(rng)}
    x, y = rng.normal(size=(5, 1)), rng.normal(size=(5, 3))
    loss = lambda params: anp.sum(net(params["net"], x, encoder(params["encoder"], y)) ** 2)  # noqa: E731
    with counted_nodes() as nodes:
        gradient = grad(loss)(params)
    assert nodes.count("dense_stack_plain") == 2
    assert all(np.abs(leaf).max() > 0 for leaf in tree_leaves(gradient))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP(0, (4,), 1), r"MLP: expected inputs to be an integer >= 1, got 0"),
        (lambda: MLP(2, (4, 0), 1), r"MLP: expected hidden\[1\] to be an integer >= 1, got 0"),
        (lambda: MLP(2, (4,), 1.5), r"MLP: expected outputs to be an integer >= 1, got 1.5"),
        (lambda: MLP(2, (4,), 1, context_features=-1), r"MLP: expected context_features to be an integer >= 0, got -1"),
        (
            lambda: MLP(2, (4,), 1, activation="sine"),
            r"MLP: expected an activation out of \['relu', 'softplus', 'tanh'\], got 'sine'",
        ),
        (lambda: MLP(2, (4,), 1, output_scale=-1.0), r"MLP: expected output_scale >= 0 and finite, got -1.0"),
        (lambda: Dense(2, True), r"Dense: expected outputs to be an integer >= 1, got True"),
        (lambda: Dense(2, 1, scale=np.nan), r"Dense: expected scale >= 0 and finite, got nan"),
        (lambda: Conv2D(2, 1, kernel_size=2), r"Conv2D: expected an odd kernel_size, got 2"),
        (lambda: Conv2D(2, 0), r"Conv2D: expected outputs to be an integer >= 1, got 0"),
        (lambda: CausalConv1D(2, 1, 0), r"CausalConv1D: expected kernel_size to be an integer >= 1, got 0"),
        (lambda: CausalConv1D(2, 1, 2, dilation=0), r"CausalConv1D: expected dilation to be an integer >= 1, got 0"),
        (lambda: MaskedMLP([]), r"MaskedMLP: expected at least one mask, got none"),
        (lambda: MaskedMLP([np.ones(3)]), r"MaskedMLP: expected masks\[0\] of shape \(outputs, inputs\), got \(3,\)"),
        (lambda: MaskedMLP([[[0.5]]]), r"MaskedMLP: expected zeros and ones in masks\[0\], got other entries"),
        (lambda: MaskedMLP([[["x"]]]), r"MaskedMLP: expected zeros and ones in masks\[0\], got other entries"),
        (
            lambda: MaskedMLP([np.ones((4, 2)), np.ones((2, 3))]),
            r"MaskedMLP: masks\[1\] is \(2, 3\), but masks\[0\] is \(4, 2\)",
        ),
        (
            lambda: MaskedMLP([np.ones((4, 2))], context_features=2),
            r"MaskedMLP: expected inputs to be an integer >= 1, got 0",
        ),
    ],
)
def test_constructors_refuse(make, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()


def test_parameters_of_another_net():
    x = np.ones((4, 2))
    with pytest.raises(ValueError, match=r"^MLP: 2 layers but 1 entries in the list params$"):
        MLP(2, (4,), 1)(MLP(2, (), 1).init(np.random.default_rng(0)), x)
    masked = MaskedMLP([np.ones((1, 2))])
    with pytest.raises(ValueError, match=r"^MaskedMLP: 1 layers but 2 entries in the list params$"):
        masked(MLP(2, (4,), 1).init(np.random.default_rng(0)), x)


def test_masks_are_copied():
    mask = np.ones((2, 3), dtype=bool)
    net = MaskedMLP([mask])
    mask[:] = False
    assert net.masks[0].all()


def test_a_net_must_say_what_it_computes():
    with pytest.raises(NotImplementedError, match="^Net does not define __call__$"):
        Net()({}, np.ones((1, 2)))


def test_every_activation_has_a_net():
    assert sorted(ACTIVATIONS) == ["relu", "softplus", "tanh"]
    nets = [MLP(2, (8,), 1, activation=activation) for activation in ACTIVATIONS]
    params = nets[0].init(np.random.default_rng(0))
    values = [net(params, np.ones((1, 2))).item() for net in nets]
    assert len(set(values)) == len(values)
