"""Coupling layers: every one through every check, on jittered parameters."""

from dataclasses import replace

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads

from minigen import checks
from minigen.flows.coupling import (
    AdditiveCoupling,
    AffineCoupling,
    Scale,
    alternating_mask,
    checkerboard_mask,
    half_mask,
)
from minigen.foundations.change_of_variables import Chain, Inverse
from minigen.nets import MLP, Conv2D, Net
from minigen.tree import tree_leaves, tree_map

IMAGE, CONTEXT = (4, 4, 2), 3


class Swish(Net):
    """A conditioner of one's own: a dense layer on the last axis, and something smooth."""

    def __init__(self, inputs, outputs):
        self.inputs, self.outputs = inputs, outputs

    def init(self, rng, dtype=float):
        return {"weight": rng.normal(size=(self.outputs, self.inputs)).astype(dtype)}

    def __call__(self, params, x, context=None):
        y = anp.dot(x, params["weight"].T)
        return y / (1 + y * y)


POINTS = {  # name -> how to build it for D features
    "additive": lambda D: AdditiveCoupling(alternating_mask(D), hidden=(8, 8)),
    "additive, half": lambda D: AdditiveCoupling(half_mask(D, 1), hidden=(8,), fused=False),
    "affine": lambda D: AffineCoupling(alternating_mask(D), hidden=(8, 8)),
    "affine, odd": lambda D: AffineCoupling(alternating_mask(D, 1), hidden=(8, 8)),
    "affine, half": lambda D: AffineCoupling(half_mask(D), hidden=(8,), activation="relu", bound=0.5),
    "affine, linear": lambda D: AffineCoupling(half_mask(D, 1), hidden=()),
    "affine, plain": lambda D: AffineCoupling(alternating_mask(D), hidden=(8, 8), fused=False),
    "affine, scattered": lambda D: AffineCoupling(np.arange(D) % 3 == 1, hidden=(8,), activation="softplus"),
    "affine, MLP": lambda D: AffineCoupling(half_mask(D), net=MLP(D // 2, (8,), 2 * (D - D // 2))),
    "affine, own net": lambda D: AffineCoupling(half_mask(D), net=Swish(D // 2, 2 * (D - D // 2))),
    "affine, context": lambda D: AffineCoupling(half_mask(D), hidden=(8,), context_features=CONTEXT),
    "affine, context, plain": lambda D: AffineCoupling(half_mask(D), (8,), context_features=CONTEXT, fused=False),
    "additive, context": lambda D: AdditiveCoupling(half_mask(D), hidden=(8,), context_features=CONTEXT),
    "scale": lambda D: Scale(),
    "inverse": lambda D: Inverse(AffineCoupling(half_mask(D), hidden=(8,))),
    "NICE": lambda D: Chain([*(AdditiveCoupling(alternating_mask(D, k % 2), hidden=(8,)) for k in range(3)), Scale()]),
    "RealNVP": lambda D: Chain([AffineCoupling(alternating_mask(D, k % 2), hidden=(8,)) for k in range(4)]),
}
IMAGES = {
    "additive, checkerboard": lambda: AdditiveCoupling(checkerboard_mask(4, 4), net=Conv2D(2, 2)),
    "affine, checkerboard": lambda: AffineCoupling(checkerboard_mask(4, 4, 1), net=Conv2D(2, 4)),
    "affine, mask of the whole image": lambda: AffineCoupling(
        np.arange(32).reshape(IMAGE) % 3 > 0, net=Conv2D(2, 4, kernel_size=1)
    ),
    "affine, channels": lambda: AffineCoupling([1, 0], net=Conv2D(1, 2)),
    "affine, checkerboard, context": lambda: AffineCoupling(
        checkerboard_mask(4, 4), net=Conv2D(2, 4, context_features=CONTEXT)
    ),
    "scale": lambda: Scale(),
}
CASES = [(name, (D,)) for name in POINTS for D in (2, 3, 5)] + [(f"image: {name}", IMAGE) for name in IMAGES]


def jitter(params, rng, size=0.3):
    return tree_map(lambda leaf: leaf + size * rng.normal(size=leaf.shape).astype(leaf.dtype), params)


def build(name, shape, n=5, dtype=float):
    rng = np.random.default_rng(sum(shape))
    map = IMAGES[name[7:]]() if name.startswith("image: ") else POINTS[name](*shape)
    x = rng.normal(size=(n, *shape)).astype(dtype)
    context = rng.normal(size=(n, CONTEXT)).astype(dtype) if "context" in name else None
    return map, jitter(map.init(rng, x, context), rng), x, context


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_every_layer_passes_every_check(name, shape):
    map, params, x, context = build(name, shape)
    for given in (context,) if context is None else (context, context[:1]):
        assert checks.round_trip_error(map, params, x, given) <= 1e-12
        assert checks.log_det_cancel_error(map, params, x, given) <= 1e-12
        few = x[: 5 if len(shape) == 1 else 2]
        rows = given if given is None or len(given) == 1 else given[: len(few)]
        assert checks.log_det_error(map, params, few, rows) <= 1e-11
        if len(shape) == 1:
            assert checks.log_det_error(map, params, x, given, jacobian="finite") <= 1e-5
        assert checks.batch_dependence(map, params, x, given) <= 1e-13
        assert checks.round_trip_error(map, params, 1e3 * x, given) <= 1e-8


def has_a_net_of_its_own(name):
    return name.startswith("image") or "MLP" in name or "own net" in name


@pytest.mark.parametrize(("name", "shape"), [case for case in CASES if not has_a_net_of_its_own(case[0])])
def test_layers_start_as_the_identity(name, shape):
    map, _, x, context = build(name, shape)
    z, log_det = map.forward(map.init(np.random.default_rng(0), x, context), x, context)
    np.testing.assert_array_equal(z, x)
    np.testing.assert_array_equal(log_det, np.zeros(len(x)))


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_gradients_of_both_directions(name, shape):
    map, params, x, context = build(name, shape, n=3)
    if "relu" in name:
        return
    for direction in (map.forward, map.inverse):

        def total(params, x, direction=direction):
            y, log_det = direction(params, x, context)
            return anp.sum(anp.sin(y)) + anp.sum(log_det**2)

        check_grads(total, modes=["rev"], order=1)(params, x)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_float32_stays_float32(name, shape):
    map, params, x, context = build(name, shape, dtype=np.float32)
    z, log_det = map.forward(params, x, context)
    back, log_det_back = map.inverse(params, z, context)
    assert {a.dtype for a in (z, log_det, back, log_det_back)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(back, x, atol=1e-5)

    def total(params, x):
        z, log_det = map.forward(params, x, context)
        return anp.sum(z * z) + anp.sum(log_det)

    assert grad(total, 1)(params, x).dtype == np.float32
    for leaf, gradient in zip(tree_leaves(params), tree_leaves(grad(total)(params, x)), strict=True):
        assert (gradient.shape, gradient.dtype) == (leaf.shape, np.float32)


def test_float32_also_with_a_bound_that_is_a_numpy_number():
    for fused in (True, False):
        layer, x = AffineCoupling([1, 0], bound=np.float64(2), fused=fused), np.ones((3, 2), np.float32)
        assert layer.forward(layer.init(np.random.default_rng(0), x), x)[0].dtype == np.float32


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_batches_good_and_bad(name, shape):
    map, params, x, context = build(name, shape)
    for direction in (map.forward, map.inverse):
        y, log_det = direction(params, np.zeros((0, *shape)), None if context is None else context[:1])
        assert (y.shape, log_det.shape) == ((0, *shape), (0,))
        ones = np.ones((5, *shape), dtype=int)
        np.testing.assert_array_equal(
            direction(params, ones, context)[0], direction(params, ones.astype(float), context)[0]
        )
        for bad in ([["a", "b"]], np.ones((5, *shape), dtype=complex), None):
            with pytest.raises(TypeError, match="expected real numbers"):
                direction(params, bad, context)
        for bad in (np.ones(3), np.ones((5, 7)), np.ones((5, 3, 4, 9)), np.ones((5, 4, 4, 7))):
            if bad.shape[1:] != shape:
                with pytest.raises(ValueError, match="shape|features|points"):
                    direction(params, bad, context)
        with_nan = x.copy()
        with_nan[1] = np.nan
        y, log_det = direction(params, with_nan, context)
        assert np.isnan(y[1]).all()
        assert np.isfinite(y[[0, 2, 3, 4]]).all()
        if context is not None:
            for bad in (None, context[:2], context[:, :1], np.ones(CONTEXT)):
                with pytest.raises(ValueError, match="context"):
                    direction(params, x, bad)


def test_an_infinite_number_that_is_moved_stays_in_its_place():
    layer = AffineCoupling([1, 1, 0])
    x = np.array([[1.0, 2.0, np.inf]])
    z, log_det = layer.forward(jitter(layer.init(np.random.default_rng(0), x), np.random.default_rng(1)), x)
    assert np.isinf(z[0, 2])
    assert np.isfinite(log_det).all()


def test_the_paper_formula():
    layer = AffineCoupling([1, 0, 1], hidden=(4,), fused=False)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 3))
    params = jitter(layer.init(rng, x), rng)
    b = np.array([1, 0, 1])
    raw, t = layer.conditioner(params, x[:, [0, 2]]).T
    s = 2 * np.tanh(raw / 2)
    wanted = b * x + (1 - b) * (x * np.exp(s)[:, None] + t[:, None])
    z, log_det = layer.forward(params, x)
    np.testing.assert_allclose(z, wanted, rtol=1e-14)
    np.testing.assert_allclose(log_det, s, rtol=1e-14)


def test_what_passes_passes_and_what_is_moved_moves_alone():
    for layer in (AffineCoupling(alternating_mask(5)), AdditiveCoupling(alternating_mask(5))):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(3, 5))
        params = jitter(layer.init(rng, x), rng)
        found = checks.dependency_matrix(lambda x, layer=layer, params=params: layer.forward(params, x)[0], x)
        wanted = np.eye(5, dtype=bool)
        wanted[1::2, ::2] = True
        np.testing.assert_array_equal(found, wanted)


def test_scales_stay_within_their_bound():
    layer = AffineCoupling([1, 0], hidden=(8,), bound=1.5)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 2))
    params = jitter(layer.init(rng, x), rng, size=1e3)
    assert np.abs(layer.forward(params, x)[1]).max() <= 1.5
    assert np.abs(layer.forward(params, x)[1]).max() > 1.4


def test_a_thousand_features_and_no_loop_over_them():
    layer = AffineCoupling(half_mask(1000), hidden=(16,))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 1000))
    params = jitter(layer.init(rng, x), rng, size=0.05)
    assert checks.round_trip_error(layer, params, x) <= 1e-12
    plain = AffineCoupling(half_mask(1000), hidden=(16,), fused=False)
    for ours, theirs in zip(layer.forward(params, x), plain.forward(params, x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------- masks and doors


def test_masks():
    assert alternating_mask(4).tolist() == [1, 0, 1, 0]
    assert alternating_mask(4, 1).tolist() == [0, 1, 0, 1]
    assert half_mask(3).tolist() == [1, 0, 0]
    board = checkerboard_mask(3, 5, 1)
    assert board.shape == (3, 5, 1)
    assert (board != checkerboard_mask(3, 5)).all()
    assert (board[1:] != board[:-1]).all()
    assert (board[:, 1:] != board[:, :-1]).all()
    for make in (alternating_mask, half_mask):
        with pytest.raises(ValueError, match="needs 2 or more, got 1"):
            make(1)
        for bad in (0, 2.5, "2", True):
            with pytest.raises(ValueError, match="expected features to be an integer >= 1"):
                make(bad)
        with pytest.raises(ValueError, match="expected parity 0 or 1, got 2"):
            make(3, 2)
    with pytest.raises(ValueError, match="needs 2 or more"):
        checkerboard_mask(1, 1)


@pytest.mark.parametrize("make", [AdditiveCoupling, AffineCoupling])
def test_constructors_refuse_what_does_not_fit(make):
    for bad in ([1, 2], [0.5, 0], "10", None, 1, [np.nan, 0]):
        with pytest.raises(ValueError, match=f"{make.__name__}: expected a mask of zeros and ones, got"):
            make(bad)
    for bad in ([1], [0], [1, 1], [0, 0, 0], []):
        with pytest.raises(ValueError, match=r"expected a mask with ones \(pass\) and zeros \(moved\), got .*; D = 1"):
            make(bad)
    with pytest.raises(ValueError, match=r"a mask of shape \(4, 4, 1\) needs a net"):
        make(checkerboard_mask(4, 4))
    with pytest.raises(ValueError, match="expected a Net, got"):
        make([1, 0], net=np.tanh)
    with pytest.raises(ValueError, match="MLP: expected hidden"):
        make([1, 0], hidden=(0,))


def test_the_messages_of_wrong_shapes():
    rng = np.random.default_rng(0)
    layer = AffineCoupling([1, 0, 1])
    params = layer.init(rng, np.zeros((1, 3)))
    message = r"^AffineCoupling: mask has 3 entries but x has 4 features \(x.shape = \(256, 4\)\)$"
    with pytest.raises(ValueError, match=message):
        layer.forward(params, np.zeros((256, 4)))
    with pytest.raises(ValueError, match=r"^AffineCoupling.inverse: mask has 3 entries but z has 4 features"):
        layer.inverse(params, np.zeros((256, 4)))
    with pytest.raises(ValueError, match="AffineCoupling: mask has 3 entries"):
        layer.init(rng, np.zeros((256, 4)))
    board = AffineCoupling(checkerboard_mask(4, 4), net=Conv2D(2, 4))
    with pytest.raises(ValueError, match=r"mask has shape \(4, 4, 1\) but x has points of shape \(6, 4, 2\)"):
        board.init(rng, np.zeros((5, 6, 4, 2)))
    for bad in (0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="AffineCoupling: expected a positive, finite bound, got"):
            AffineCoupling([1, 0], bound=bad)
    with pytest.raises(ValueError, match="MLP: 3 layers but 2 entries"):
        layer.forward(params[:2], np.zeros((5, 3)))
    wrong = AffineCoupling([1, 0], net=Swish(1, 3))
    with pytest.raises(ValueError, match=r"expected the net to return shape \(5, 2\), got \(5, 3\)"):
        wrong.forward(wrong.init(rng, np.zeros((5, 2))), np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"MLP takes points \(N, D\), got shape \(5, 4, 3\)"):
        layer.forward(params, np.zeros((5, 4, 3)))


def test_replacing_a_field_makes_the_conditioner_anew():
    layer = AffineCoupling([1, 0, 1, 0, 1], hidden=(8,))
    other = replace(layer, mask=[0, 0, 1, 0, 0], hidden=(6,), activation="relu", fused=False)
    conditioner = other.conditioner
    assert (conditioner.inputs, conditioner.hidden, conditioner.outputs) == (1, (6,), 8)
    assert (conditioner.activation, conditioner.fused) == ("relu", False)
    assert other.kept.tolist() == [2]
    own = AffineCoupling([1, 0], net=Swish(1, 2))
    assert replace(own, bound=1.0).conditioner is own.net


def test_a_net_of_your_own_must_still_fit():
    layer = AffineCoupling([1, 0], net=MLP(1, (4,), 2))
    with pytest.raises(ValueError, match=r"expected a net of \(1, 4\) inputs and outputs for this mask, got \(1, 2\)"):
        replace(layer, mask=[1, 0, 0])
