"""Maps and pushed densities: every map through every check, and the checks against wrong maps."""

import math
import pickle

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, hessian, jacobian
from scipy import stats

from minigen import checks
from minigen.errors import NoInverseError, OutsideDomainError
from minigen.foundations.change_of_variables import (
    Affine,
    Bijection,
    Branches,
    Chain,
    Elementwise,
    Exp,
    Inverse,
    Permute,
    Pushforward,
    Sigmoid,
    SignedPower,
    Softplus,
    Tanh,
    check_batch,
    check_permutation,
    check_shape,
    same_log_det,
)
from minigen.foundations.distributions import Normal, Uniform
from minigen.tree import count_params, tree_map

DIMENSIONS = [1, 2, 3, 5]
NORMAL = Normal([0.0], [1.0])

# name -> (how to build it for D features, how to bring standard normal numbers into its domain)
MAPS = {
    "affine": (lambda D: Affine(), lambda x: x),
    "permute: reversed": (lambda D: Permute(range(D)[::-1]), lambda x: x),
    "permute: random": (lambda D: Permute(np.random.default_rng(1).permutation(D)), lambda x: x),
    "exp": (lambda D: Exp(), lambda x: x),
    "tanh": (lambda D: Tanh(), lambda x: x),
    "sigmoid": (lambda D: Sigmoid(), lambda x: x),
    "softplus": (lambda D: Softplus(), lambda x: x),
    "cube": (lambda D: SignedPower(3), lambda x: x),
    "cube root": (lambda D: SignedPower(1 / 3), lambda x: x),
    "power 1": (lambda D: SignedPower(1.0), lambda x: x),
    "log": (lambda D: Inverse(Exp()), np.exp),
    "logit": (lambda D: Inverse(Sigmoid()), stats.norm.cdf),
    "artanh": (lambda D: Inverse(Tanh()), np.tanh),
    "inverse softplus": (lambda D: Inverse(Softplus()), np.exp),
    "inverse affine": (lambda D: Inverse(Affine()), lambda x: x),
    "inverse of inverse": (lambda D: Inverse(Inverse(Tanh())), lambda x: x),
    "empty chain": (lambda D: Chain([]), lambda x: x),
    "chain": (lambda D: Chain([Affine(), Permute(np.roll(range(D), 1)), Tanh(), Affine()]), lambda x: x),
    "chain in chain": (lambda D: Chain([Chain([Affine(), SignedPower(1 / 3)]), Affine(), Sigmoid()]), lambda x: x),
    "inverse chain": (lambda D: Inverse(Chain([Affine(), Permute(range(D)[::-1]), Inverse(Exp())])), lambda x: x),
}


def jitter(params, rng):
    return tree_map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape).astype(leaf.dtype), params)


def build(name, D, n=6):
    make, to_domain = MAPS[name]
    rng = np.random.default_rng(D)
    map, x = make(D), to_domain(rng.normal(size=(n, D)))
    return map, jitter(map.init(rng, x), rng), x


# ---------------------------------------------------------------- every map, every check


@pytest.mark.parametrize("D", DIMENSIONS)
@pytest.mark.parametrize("name", MAPS)
def test_every_map_passes_every_check(name, D):
    map, params, x = build(name, D)
    assert checks.round_trip_error(map, params, x) <= 1e-12
    assert checks.log_det_cancel_error(map, params, x) <= 1e-11
    assert checks.log_det_error(map, params, x) <= 1e-11
    assert checks.log_det_error(map, params, x, jacobian="finite") <= 1e-2  # flat slopes leave it few digits
    assert checks.batch_dependence(map, params, x) == 0


@pytest.mark.parametrize("name", MAPS)
def test_context_is_accepted_and_ignored(name):
    map, params, x = build(name, 2)
    context = np.ones((6, 4))
    z, log_det = map.forward(params, x)
    for plain, given in ((map.forward(params, x), map.forward(params, x, context)),) + (
        (map.inverse(params, z), map.inverse(params, z, context=context)),
    ):
        np.testing.assert_array_equal(plain[0], given[0])
        np.testing.assert_array_equal(plain[1], given[1])


@pytest.mark.parametrize("name", MAPS)
def test_the_input_stays_as_it_is_and_no_log_det_is_shared(name):
    map, params, x = build(name, 3)
    before = x.copy()
    z, log_det = map.forward(params, x)
    kept = log_det.copy()
    log_det += 1.0  # a caller may do so: the next call must not see it
    np.testing.assert_array_equal(map.forward(params, x)[1], kept)
    map.inverse(params, z)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", MAPS)
def test_empty_batches_and_integers_and_lists(name):
    map, params, x = build(name, 3)
    for direction in (map.forward, map.inverse):
        y, log_det = direction(params, np.zeros((0, 3)))
        assert y.shape == (0, 3)
        assert log_det.shape == (0,)
    inside = name not in {"logit", "artanh"}
    if inside:
        ones = np.ones((2, 3))
        for given in (ones.astype(int), ones.astype(np.uint8), ones.tolist()):
            z, log_det = map.forward(params, given)
            np.testing.assert_array_equal(z, map.forward(params, ones)[0])
            assert z.dtype == log_det.dtype == float


@pytest.mark.parametrize("name", MAPS)
def test_bad_batches_are_refused_by_name(name):
    map, params, _ = build(name, 3)
    for direction in (map.forward, map.inverse):
        for bad in (np.array([["a", "b", "c"]]), np.ones((2, 3), dtype=complex), None, np.ones((2, 3), dtype=bool)):
            with pytest.raises(TypeError, match="expected real numbers"):
                direction(params, bad)
        for bad in (np.ones(3), 1.0):
            with pytest.raises(ValueError, match=r"expected points of shape \(N, D\)"):
                direction(params, bad)


@pytest.mark.parametrize("name", MAPS)
def test_nan_comes_out_where_nan_goes_in_and_nowhere_else(name):
    map, params, x = build(name, 3)
    x[1, 2] = np.nan
    z, log_det = map.forward(params, x)
    assert np.isnan(z[1]).sum() == 1
    assert np.isfinite(z[[0, 2, 3, 4, 5]]).all()
    assert np.isfinite(log_det[[0, 2, 3, 4, 5]]).all()
    back, log_det = map.inverse(params, z)
    assert np.isnan(back[1]).sum() == 1
    assert np.isfinite(back[[0, 2, 3, 4, 5]]).all()


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.filterwarnings("error")
def test_float32_stays_float32_in_values_and_gradients(name):
    make, to_domain = MAPS[name]
    rng = np.random.default_rng(0)
    x = to_domain(rng.normal(size=(4, 3))).astype(np.float32)
    map = make(3)
    params = jitter(map.init(rng, x), rng)
    z, log_det = map.forward(params, x)
    back, log_det_back = map.inverse(params, z)
    assert {a.dtype for a in (z, log_det, back, log_det_back)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(back, x, rtol=2e-4, atol=2e-5)
    for direction, points in ((map.forward, x), (map.inverse, z)):

        def total(params, points, direction=direction):
            y, log_det = direction(params, points)
            return anp.sum(y * y) + anp.sum(log_det)

        for leaf, gradient in [(points, grad(total, 1)(params, points))]:
            assert gradient.dtype == np.float32
            assert gradient.shape == leaf.shape
        if params:
            tree_map(lambda p, g: _same_kind(p, g), params, grad(total)(params, points))


def _same_kind(leaf, gradient):
    assert (gradient.shape, gradient.dtype) == (leaf.shape, leaf.dtype)


@pytest.mark.parametrize("name", MAPS)
def test_images_are_mapped_like_their_pixels(name):
    make, to_domain = MAPS[name]
    rng = np.random.default_rng(3)
    x = to_domain(rng.normal(size=(2, 2, 2, 3)))
    map = make(3)
    params = jitter(map.init(rng, x), rng)
    z, log_det = map.forward(params, x)
    assert z.shape == x.shape
    assert checks.round_trip_error(map, params, x) <= 1e-12
    assert checks.log_det_error(map, params, x) <= 1e-11
    assert map.forward(params, x[:0])[1].shape == (0,)


# ---------------------------------------------------------------- values against formulas that are known elsewhere

REFERENCE = {  # f, log f' in a form that is exact at |x| = 1000
    "tanh": (Tanh(), np.tanh, lambda x: 2 * (np.log(2) - abs(x) - np.log1p(np.exp(-2 * abs(x))))),
    "sigmoid": (Sigmoid(), stats.logistic.cdf, stats.logistic.logpdf),
    "softplus": (Softplus(), lambda x: np.logaddexp(0, x), stats.logistic.logcdf),
    "cube": (SignedPower(3), lambda x: x**3, lambda x: np.log(3) + 2 * np.log(abs(x))),
    "cube root": (SignedPower(1 / 3), np.cbrt, lambda x: -np.log(3) - 2 / 3 * np.log(abs(x))),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_values_and_log_dets_from_tiny_to_huge(name):
    map, f, log_slope = REFERENCE[name]
    x = np.array([-1000.0, -40.0, -1.5, -1e-9, 1e-9, 0.3, 40.0, 1000.0])[:, None]
    z, log_det = map.forward({}, x)
    np.testing.assert_allclose(z, f(x), rtol=1e-13)
    np.testing.assert_allclose(log_det, log_slope(x)[:, 0], rtol=1e-13, atol=1e-15)
    assert np.isfinite(grad(lambda x: anp.sum(map.forward({}, x)[1]))(x)).all()


@pytest.mark.parametrize("name", ["affine", "permute: reversed", "cube", "cube root", "power 1", "inverse affine"])
def test_extreme_inputs_come_back(name):
    map, params, _ = build(name, 2)
    x = np.array([[-1e3, 1e3], [1e3, 1e-3], [1e-90, -1e-9]])
    np.testing.assert_allclose(map.inverse(params, map.forward(params, x)[0])[0], x, rtol=1e-12, atol=1e-12)
    assert checks.log_det_cancel_error(map, params, x) <= 1e-9


def test_inverses_near_zero_keep_their_digits():
    z = np.array([[1e-12], [1e-300]])
    np.testing.assert_allclose(Tanh().inverse({}, z)[0], np.arctanh(z), rtol=1e-14)
    np.testing.assert_allclose(Softplus().inverse({}, z)[0], np.log(np.expm1(z)), rtol=1e-14)


def test_softplus_and_exp_come_back_from_far_out():
    x = np.array([[-700.0], [-30.0], [30.0], [700.0]])
    for map in (Exp(), Softplus()):
        np.testing.assert_allclose(map.inverse({}, map.forward({}, x)[0])[0], x, rtol=1e-13)
        assert checks.log_det_cancel_error(map, {}, x) <= 1e-11


def test_log_dets_of_exp_survive_where_its_value_does_not():
    with np.errstate(over="ignore"):
        z, log_det = Exp().forward({}, np.array([[1000.0], [-1000.0]]))
    np.testing.assert_array_equal(z, [[np.inf], [0.0]])
    np.testing.assert_array_equal(log_det, [1000.0, -1000.0])


def test_affine_by_hand_and_its_start():
    params = {"log_scale": np.log([2.0, 3.0]), "shift": np.array([1.0, -1.0])}
    z, log_det = Affine().forward(params, np.array([[1.0, 1.0], [0.0, 2.0]]))
    np.testing.assert_allclose(z, [[3.0, 2.0], [1.0, 5.0]])
    np.testing.assert_allclose(log_det, np.log([6.0, 6.0]))
    x = np.random.default_rng(0).normal(size=(3, 2))
    z, log_det = Affine().forward(Affine().init(np.random.default_rng(0), x), x)
    np.testing.assert_array_equal(z, x)
    np.testing.assert_array_equal(log_det, np.zeros(3))


def test_affine_refuses_parameters_that_do_not_fit():
    params = {"log_scale": np.zeros(3), "shift": np.zeros(3)}
    for direction, who, name in ((Affine().forward, "Affine", "x"), (Affine().inverse, "Affine.inverse", "z")):
        with pytest.raises(ValueError, match=rf"^{who}: log_scale is \(3,\) but {name} has 4 features .*\(256, 4\)"):
            direction(params, np.zeros((256, 4)))
    with pytest.raises(ValueError, match=r"shift is \(1,\) but x has 3 features"):
        Affine().forward({"log_scale": np.zeros(3), "shift": np.zeros(1)}, np.zeros((2, 3)))  # would broadcast
    with pytest.raises(KeyError, match="log_scale"):
        Affine().forward({}, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="Affine: expected points"):
        Affine().init(np.random.default_rng(0), np.zeros(3))


def test_permute_by_hand():
    z, _ = Permute([2, 0, 1]).forward({}, np.array([[10.0, 11.0, 12.0]]))
    np.testing.assert_array_equal(z, [[12.0, 10.0, 11.0]])
    order = np.array([1, 0])
    map = Permute(order)
    order[:] = 0  # the caller's array is the caller's
    np.testing.assert_array_equal(map.permutation, [1, 0])


@pytest.mark.parametrize(
    "bad", [[0, 0], [1, 2], [0.0, 1.0], [[0, 1]], ["a"], [True, False], [-1, 0], None, 3, [0, None]]
)
def test_permute_refuses_what_is_no_permutation(bad):
    with pytest.raises(ValueError, match="Permute: expected a permutation of 0, 1, ..., D - 1, got"):
        Permute(bad)
    with pytest.raises(ValueError, match="me: expected a permutation"):
        check_permutation("me", bad)


def test_permute_refuses_the_wrong_number_of_features():
    with pytest.raises(ValueError, match=r"Permute: permutation is \(2,\) but x has 3 features \(x.shape = \(5, 3\)\)"):
        Permute([1, 0]).forward({}, np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"Permute.inverse: permutation is \(2,\) but z has 1 features"):
        Permute([1, 0]).inverse({}, np.zeros((5, 1)))


# ---------------------------------------------------------------- domains

RANGES = {
    "exp": (Exp(), [0.0, -1.0, -np.inf, np.inf]),
    "softplus": (Softplus(), [0.0, -1.0, np.inf]),
    "tanh": (Tanh(), [1.0, -1.0, 2.0, -np.inf, np.inf]),
    "sigmoid": (Sigmoid(), [0.0, 1.0, -0.5, 1.5, np.inf]),
    "cube": (SignedPower(3), [np.inf, -np.inf]),
}


@pytest.mark.parametrize("name", RANGES)
def test_inverse_names_the_first_value_outside_the_range(name):
    map, outside = RANGES[name]
    for bad in outside:
        z = np.full((3, 2), 0.5)
        z[1, 1] = z[2, 0] = bad
        for call in (map.inverse, Inverse(map).forward):
            with pytest.raises(OutsideDomainError, match=rf"inverse: expected .* < z < .*, got {bad} at \(1, 1\)"):
                call({}, z)
        image = np.full((1, 2, 2, 1), 0.5)
        image[0, 1, 0, 0] = bad
        with pytest.raises(OutsideDomainError, match=rf"got {bad} at \(0, 1, 0, 0\)"):
            map.inverse({}, image)


@pytest.mark.parametrize("derivative", [grad, hessian])
def test_the_domain_is_checked_under_autograd_too(derivative):
    with pytest.raises(OutsideDomainError, match=r"expected 0.0 < z < inf, got -2.0 at \(0, 1\)"):
        derivative(lambda z: anp.sum(Exp().inverse({}, z)[0]))(np.array([[1.0, -2.0]]))
    assert np.isfinite(derivative(lambda z: anp.sum(Exp().inverse({}, z)[0]))(np.array([[1.0, 2.0]]))).all()


def test_saturated_values_have_no_way_back():
    for map, x in ((Tanh(), 20.0), (Sigmoid(), 40.0), (Softplus(), -1000.0)):
        z, log_det = map.forward({}, np.array([[x]]))
        assert np.isfinite(log_det).all()
        with pytest.raises(OutsideDomainError):
            map.inverse({}, z)


def test_signed_power_at_zero_has_no_log_det():
    zero = np.array([[0.0, 2.0]])
    for exponent, expected in ((3, -np.inf), (1 / 3, np.inf), (1, 0.0)):
        z, log_det = SignedPower(exponent).forward({}, zero)
        assert z[0, 0] == 0
        assert log_det[0] == expected
    assert jacobian(lambda x: SignedPower(3).forward({}, x[None])[0])(np.zeros(1)).item() == 0  # f'(0) = 0


@pytest.mark.parametrize("bad", [0, -1, np.nan, np.inf])
def test_signed_power_refuses_bad_exponents(bad):
    with pytest.raises(ValueError, match="SignedPower: expected a positive, finite exponent, got"):
        SignedPower(bad)


def test_signed_power_refuses_what_is_no_number():
    with pytest.raises(TypeError):
        SignedPower("3")


# ---------------------------------------------------------------- composition


def test_a_chain_runs_from_left_to_right_and_adds_log_dets():
    maps = [Affine(), Exp(), Affine(), Tanh()]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 2))
    chain = Chain(maps)
    params = jitter(chain.init(rng, x), rng)
    z, total = x, 0.0
    for map, map_params in zip(maps, params, strict=True):
        z, log_det = map.forward(map_params, z)
        total = total + log_det
    np.testing.assert_array_equal(chain.forward(params, x)[0], z)
    np.testing.assert_allclose(chain.forward(params, x)[1], total, rtol=1e-14)
    nested = Chain([Chain(maps[:2]), Chain(maps[2:])])
    np.testing.assert_allclose(nested.forward([params[:2], params[2:]], x)[1], total, rtol=1e-14)


def test_a_chain_of_fifty_maps_is_still_exact():
    D, rng = 3, np.random.default_rng(0)
    maps = [m for k in range(25) for m in (Affine(), Permute(rng.permutation(D)))]
    chain, x = Chain(maps), rng.normal(size=(4, D))
    params = jitter(chain.init(rng, x), rng)
    assert len(params) == 50
    assert checks.round_trip_error(chain, params, x) <= 1e-12
    assert checks.log_det_error(chain, params, x) <= 1e-11
    gradients = grad(lambda params: anp.sum(chain.inverse(params, x)[0]) + anp.sum(chain.forward(params, x)[1]))(params)
    tree_map(_same_kind, params, gradients)


@pytest.mark.parametrize("name", MAPS)
def test_twice_inverted_is_not_inverted(name):
    map, params, x = build(name, 3)
    twice = Inverse(Inverse(map))
    for a, b in zip(
        map.forward(params, x) + map.inverse(params, map.forward(params, x)[0]),
        twice.forward(params, x) + twice.inverse(params, twice.forward(params, x)[0]),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    tree_map(
        np.testing.assert_array_equal, map.init(np.random.default_rng(5), x), twice.init(np.random.default_rng(5), x)
    )


class Standardize(Bijection):
    """A layer whose start depends on data: after init, its output has mean 0."""

    data_dependent_init = True

    def init(self, rng, x, context=None):
        return {"mean": np.mean(x, axis=0)}

    def forward(self, params, x, context=None):
        return x - params["mean"], same_log_det(0.0, x)

    def inverse(self, params, z, context=None):
        return z + params["mean"], same_log_det(0.0, z)


class StandardizeBackwards(Standardize):
    def init_inverse(self, rng, z, context=None):
        return {"mean": -np.mean(z, axis=0)}


def test_a_chain_starts_each_layer_on_what_reaches_it():
    rng = np.random.default_rng(0)
    x = rng.normal(5.0, 2.0, size=(100, 2))
    for chain in (
        Chain([Standardize()]),
        Chain([Exp(), Standardize()]),
        Chain([Standardize(), Affine(), Standardize()]),
    ):
        z, _ = chain.forward(chain.init(rng, x), x)
        np.testing.assert_allclose(z.mean(0), 0, atol=1e-10)


class Seen(Bijection):
    """A layer that moves points by the mean of their context, and starts with what context it was shown."""

    def init(self, rng, x, context=None):
        return {"seen": context}

    def forward(self, params, x, context=None):
        return x + np.mean(context), same_log_det(0.0, x)

    def inverse(self, params, z, context=None):
        return z - np.mean(context), same_log_det(0.0, z)


def test_the_example_context_reaches_every_start():
    rng, x, context = np.random.default_rng(0), np.zeros((4, 2)), np.ones((4, 3))
    for map in (Seen(), Inverse(Seen()), Inverse(Inverse(Seen())), Chain([Seen()]), Inverse(Chain([Inverse(Seen())]))):
        for start in (map.init, map.init_inverse):
            params = start(rng, x, context)
            assert (params[0] if type(params) is list else params)["seen"] is context
    # It also moves the batch on its way: what reaches the second layer has been shifted by the first.
    start = Chain([Seen(), Standardize()]).init(rng, x, context)[1]["mean"]
    np.testing.assert_array_equal(start, [1.0, 1.0])
    start = Inverse(Chain([StandardizeBackwards(), Seen()])).init(rng, x, context)[0]["mean"]
    np.testing.assert_array_equal(start, [1.0, 1.0])
    for name in MAPS:
        map, _, x = build(name, 2)
        assert count_params(map.init(rng, x, context=np.ones((1, 3)))) == count_params(map.init(rng, x))


def test_inverse_refuses_a_start_that_depends_on_data_unless_it_is_told_how():
    rng = np.random.default_rng(0)
    z = rng.normal(5.0, 2.0, size=(100, 2))
    for map in (Standardize(), Chain([Affine(), Standardize()]), Inverse(Inverse(Standardize()))):
        with pytest.raises(ValueError, match=r"Inverse\(Standardize\): the start of Standardize depends on the data"):
            Inverse(map).init(rng, z)
    for map in (Chain([StandardizeBackwards()]), Chain([StandardizeBackwards(), Affine()])):
        x, _ = Inverse(map).forward(Inverse(map).init(rng, z), z)
        np.testing.assert_allclose(x.mean(0), 0, atol=1e-10)
    with pytest.raises(ValueError, match="Standardize"):
        Chain([Affine(), Inverse(Standardize())]).init(rng, z)
    x, _ = Chain([Inverse(StandardizeBackwards())]).forward(Chain([Inverse(StandardizeBackwards())]).init(rng, z), z)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-10)


def test_an_inverse_chain_starts_from_its_own_side():
    class Halve(Bijection):  # changes the shape, so that a start on the wrong side would show
        def forward(self, params, x, context=None):
            return x.reshape(x.shape[0], -1), same_log_det(0.0, x)

        def inverse(self, params, z, context=None):
            return z.reshape(z.shape[0], 2, -1), same_log_det(0.0, z)

    params = Inverse(Chain([Affine(), Halve(), Affine()])).init(np.random.default_rng(0), np.zeros((5, 6)))
    assert [p.get("shift", np.zeros(0)).shape for p in params] == [(2, 3), (0,), (6,)]


def test_chain_and_inverse_refuse_what_is_no_bijection():
    with pytest.raises(ValueError, match="Chain: expected Bijections, got 3 at position 1"):
        Chain([Exp(), 3])
    with pytest.raises(ValueError, match="at position 0"):
        Chain([Exp])  # the class, not an instance
    with pytest.raises(TypeError):
        Chain(Exp())
    for bad in (Exp, None, "exp"):
        with pytest.raises(ValueError, match="Inverse: expected a Bijection, got"):
            Inverse(bad)


def test_chain_refuses_parameters_of_another_length():
    for params in ([], [{}], [{}, {}, {}], {}):
        for direction in (Chain([Exp(), Tanh()]).forward, Chain([Exp(), Tanh()]).inverse):
            with pytest.raises(ValueError, match=f"Chain: 2 maps but {len(params)} entries in the list params"):
                direction(params, np.zeros((2, 2)))


def test_the_bare_contract_says_what_is_missing():
    with pytest.raises(NotImplementedError, match="Bijection does not define forward"):
        Bijection().forward({}, np.zeros((2, 2)))
    with pytest.raises(NoInverseError, match="Bijection has no inverse"):
        Bijection().inverse({}, np.zeros((2, 2)))
    assert Bijection().init(np.random.default_rng(0), np.zeros((2, 2))) == {}
    assert (Elementwise.low, Elementwise.high) == (-math.inf, math.inf)


def test_structures_are_frozen_and_say_what_they_are():
    with pytest.raises(AttributeError):
        SignedPower(3).exponent = 2
    assert repr(Chain([Exp(), Inverse(SignedPower(3))])) == "Chain(maps=(Exp(), Inverse(map=SignedPower(exponent=3))))"
    assert pickle.loads(pickle.dumps(Chain([Exp(), Permute([1, 0])]))).maps[0] == Exp()


# ---------------------------------------------------------------- the small helpers


def test_check_batch_takes_every_batch_and_names_the_caller():
    assert check_batch("me", np.ones((2, 3, 4, 5), dtype=np.float32)).dtype == np.float32
    assert check_batch("me", np.ones((2, 3, 4), dtype=int)).dtype == float
    assert check_batch("me", np.ones((0, 3, 4))).shape == (0, 3, 4)
    for bad in (np.array([[["a"]]]), np.ones((2, 2, 2), dtype=complex), np.ones((2, 2, 2), dtype=bool)):
        with pytest.raises(TypeError, match="^me: expected real numbers"):
            check_batch("me", bad)
    with pytest.raises(ValueError, match="^me: expected points"):
        check_batch("me", [1.0, 2.0])


def test_check_shape_and_same_log_det():
    check_shape("me", "weight", np.zeros((2, 2)), (2, 2), np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"me: weight is \(\) but x has 2 features \(x.shape = \(5, 2\)\)"):
        check_shape("me", "weight", 1.0, (2, 2), np.zeros((5, 2)))
    assert same_log_det(2.0, np.zeros((3, 2), dtype=np.float32)).dtype == np.float32
    assert grad(lambda a: anp.sum(same_log_det(a, np.zeros((3, 2)))))(1.0) == 3.0


# ---------------------------------------------------------------- wrong maps, and the check that catches each


class WrongSign(Exp):
    def _inverse(self, z):
        x = np.log(z)
        return x, x


class WrongScaleBothWays(Tanh):
    def _forward(self, x):
        z, log_slope = super()._forward(x)
        return z, 2 * log_slope

    def _inverse(self, z):
        x, log_slope = super()._inverse(z)
        return x, 2 * log_slope


class WrongInverse(Affine):
    def inverse(self, params, z, context=None):
        x, log_det = super().inverse(params, z)
        return x + params["shift"] * (np.exp(-params["log_scale"]) - 1), log_det  # scales back, then shifts back


class WrongPermute(Permute):
    def inverse(self, params, z, context=None):
        return self.forward(params, z)  # right only for permutations that are their own inverse


class WrongOrder(Chain):
    def inverse(self, params, z, context=None):
        return Chain([Inverse(m) for m in self.maps]).forward(params, z)


class BatchNorm(Affine):
    def forward(self, params, x, context=None):
        return super().forward(params, x - anp.mean(x, axis=0))


class Mean(Exp):
    """A log-determinant that averages over the features, as one that forgets they add up."""

    def _forward(self, x):
        return np.exp(x), x / x.shape[1]

    def _inverse(self, z):
        x = np.log(z)
        return x, -x / z.shape[1]


MUTANTS = {  # name -> (map, D, check that sees it, check that does not)
    "sign of the inverse's log-det": (WrongSign(), 2, checks.log_det_cancel_error, checks.round_trip_error),
    "log-det wrong both ways": (WrongScaleBothWays(), 2, checks.log_det_error, checks.log_det_cancel_error),
    "inverse in the wrong order": (WrongInverse(), 2, checks.round_trip_error, checks.log_det_error),
    "permutation not inverted": (WrongPermute([1, 2, 0]), 3, checks.round_trip_error, checks.log_det_error),
    "chain not reversed": (WrongOrder([Affine(), Permute([1, 0])]), 2, checks.round_trip_error, checks.log_det_error),
    "batch coupled": (BatchNorm(), 2, checks.batch_dependence, checks.log_det_cancel_error),
    "features averaged": (Mean(), 2, checks.log_det_error, checks.log_det_cancel_error),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_maps_are_caught(name):
    map, D, sees, blind = MUTANTS[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, D))
    params = jitter(map.init(rng, x), rng)
    assert sees(map, params, x) > 1e-3
    assert blind(map, params, x) <= 1e-10


def test_what_hides_a_mutant():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 2))
    assert checks.round_trip_error(WrongInverse(), WrongInverse().init(rng, x), x) == 0  # unjittered: the identity
    assert checks.round_trip_error(WrongPermute([1, 0]), {}, x) == 0  # D = 2: every permutation is its own inverse
    assert checks.log_det_error(Mean(), {}, x[:, :1]) <= 1e-12  # D = 1: nothing to average


# ---------------------------------------------------------------- pushforwards

AFFINE = {"log_scale": np.array([0.5]), "shift": np.array([-1.0])}
ON_THE_LINE = {  # the same in SciPy, or its distribution function
    "log-normal": (Pushforward(NORMAL, Inverse(Exp())), stats.lognorm(1.0)),
    "logit-normal": (Pushforward(NORMAL, Inverse(Sigmoid())), lambda x: stats.norm.cdf(np.log(x / (1 - x)))),
    "gaussian": (Pushforward(NORMAL, Affine(), AFFINE), stats.norm(np.exp(-0.5), np.exp(-0.5))),
    "logistic": (Pushforward(Uniform([0.0], [1.0]), Sigmoid()), stats.logistic()),
    "cubed": (Pushforward(NORMAL, SignedPower(1 / 3)), lambda x: stats.norm.cdf(np.cbrt(x))),
}


@pytest.mark.parametrize("name", ON_THE_LINE)
def test_pushed_densities_agree_with_scipy_and_with_their_samples(name):
    density, known = ON_THE_LINE[name]
    x = density.sample(np.random.default_rng(0), 4000)
    assert x.shape == (4000, 1)
    cdf = getattr(known, "cdf", known)
    if cdf is not known:
        np.testing.assert_allclose(density.log_prob(x), known.logpdf(x[:, 0]), rtol=1e-9, atol=1e-9)
    assert stats.kstest(x[:, 0], cdf).pvalue > 0.01


def test_minus_log_of_a_uniform_variable_is_exponential():
    class Negate(Elementwise):
        def _forward(self, x):
            return -x, 0.0 * x

        _inverse = _forward

    exponential = Pushforward(Uniform([0.0], [1.0]), Chain([Negate(), Exp()]), [{}, {}])
    x = exponential.sample(np.random.default_rng(0), 4000)
    np.testing.assert_allclose(exponential.log_prob(x), -x[:, 0], atol=1e-12)
    assert stats.kstest(x[:, 0], stats.expon.cdf).pvalue > 0.01


PLANE = {  # name -> (map, bounds, cells a side)
    "log-normal": (Inverse(Exp()), ((0.0, 60.0), (0.0, 60.0)), 800),
    "in a square": (Inverse(Tanh()), ((-1.0, 1.0), (-1.0, 1.0)), 400),
    "positive": (Inverse(Softplus()), ((0.0, 10.0), (0.0, 10.0)), 400),
    "affine": (Affine(), ((-9.0, 9.0), (-9.0, 9.0)), 200),
    "chain": (Chain([Affine(), Permute([1, 0]), SignedPower(3), Affine()]), ((-9.0, 9.0), (-9.0, 9.0)), 400),
}


@pytest.mark.parametrize("name", PLANE)
def test_pushed_densities_have_mass_one(name):
    map, bounds, n = PLANE[name]
    rng = np.random.default_rng(4)
    params = jitter(map.init(rng, np.full((3, 2), 0.5)), rng)
    density = Pushforward(Normal([0.0, 0.0], [1.0, 1.0]), map, params)
    assert checks.total_mass(density.log_prob, bounds, n=n) == pytest.approx(1, abs=1e-3)
    wrong = checks.total_mass(lambda x: density.base.log_prob(map.forward(params, x)[0]), bounds, n=n)
    assert abs(wrong - 1) > 1e-2  # without the log-determinant it has not


def test_pushforward_is_differentiable_and_keeps_its_features():
    density = Pushforward(Normal([0.0, 0.0], [1.0, 1.0]), Inverse(Exp()))
    assert density.features == 2
    x = np.array([[1.0, 2.0], [0.5, 3.0]])
    np.testing.assert_allclose(grad(lambda x: anp.sum(density.log_prob(x)))(x), -np.log(x) / x - 1 / x)
    assert density.log_prob(np.zeros((0, 2))).shape == (0,)
    assert density.log_prob([[1, 2]]).shape == (1,)
    assert np.isnan(density.log_prob(np.array([[np.nan, 1.0]]))).all()
    assert density.sample(np.random.default_rng(0), 0).shape == (0, 2)
    with pytest.raises(NotImplementedError, match="Pushforward: the entropy has no closed form"):
        density.entropy()


def test_pushforward_refuses_bad_input():
    density = Pushforward(NORMAL, Inverse(Exp()))
    with pytest.raises(OutsideDomainError, match=r"Exp.inverse: .*, got -1.0 at \(0, 0\)"):
        density.log_prob(np.array([[-1.0]]))
    with pytest.raises(ValueError, match="expected points"):
        density.log_prob(np.ones(3))
    with pytest.raises(ValueError, match="points of shape"):
        density.log_prob(np.ones((3, 2)))
    with pytest.raises(TypeError, match="expected real numbers"):
        density.log_prob([["a"]])
    with pytest.raises(ValueError, match="Pushforward: expected a Bijection as map"):
        Pushforward(NORMAL, np.exp)
    with pytest.raises(ValueError, match="Pushforward: expected a Distribution as base"):
        Pushforward(stats.norm, Exp())
    with pytest.raises(ValueError, match="Chain: 1 maps but 0 entries"):
        Pushforward(NORMAL, Chain([Exp()])).log_prob(np.ones((3, 1)))


# ---------------------------------------------------------------- many-to-one

SQUARE = [(anp.sqrt, 0.0, np.inf), (lambda y: -anp.sqrt(y), 0.0, np.inf)]
MANY_TO_ONE = {
    "square": (Branches(NORMAL, anp.square, SQUARE), stats.chi2(1).cdf, stats.chi2(1).logpdf),
    "absolute value": (
        Branches(NORMAL, anp.abs, [(lambda y: y, 0.0, np.inf), (lambda y: -y, 0.0, np.inf)]),
        stats.halfnorm.cdf,
        stats.halfnorm.logpdf,
    ),
    "sine": (  # of a uniform angle: the arcsine distribution on (-1, 1)
        Branches(
            Uniform([-np.pi], [np.pi]),
            anp.sin,
            [(lambda y, k=k: k * np.pi + (-1) ** k * anp.arcsin(y), -1.0, 1.0) for k in (-1, 0, 1)],
        ),
        stats.arcsine(-1, 2).cdf,
        stats.arcsine(-1, 2).logpdf,
    ),
    "one-to-one": (
        Branches(NORMAL, anp.exp, [(anp.log, 1e-300, np.inf)]),
        stats.lognorm(1).cdf,
        stats.lognorm(1).logpdf,
    ),
}


@pytest.mark.parametrize("name", MANY_TO_ONE)
def test_branches_agree_with_scipy_and_with_their_samples(name):
    density, cdf, logpdf = MANY_TO_ONE[name]
    y = density.sample(np.random.default_rng(1), 4000)
    assert y.shape == (4000, 1)
    assert stats.kstest(y[:, 0], cdf).pvalue > 0.01
    np.testing.assert_allclose(density.log_prob(y), logpdf(y[:, 0]), atol=1e-6)
    inside, everywhere = np.array([[0.3], [0.7]]), np.array([[-2.0], [0.3], [0.7], [-0.1]])
    np.testing.assert_allclose(density.log_prob(everywhere), logpdf(everywhere[:, 0]), atol=1e-12)
    finite = grad(lambda y: anp.sum(density.log_prob(y)))(inside)
    by_hand = (logpdf(inside + 1e-6) - logpdf(inside - 1e-6)) / 2e-6
    np.testing.assert_allclose(finite, by_hand, rtol=1e-6)


def test_branches_of_different_intervals():
    # y = x (x - 1) (x + 1) is too hard by hand; y = |x| - [x > 1] is not: three branches, on (0, 1), (0, inf), (0, inf)
    density = Branches(
        Normal([0.2], [1.0]),
        lambda x: anp.abs(x) - (x > 1),
        [(lambda y: -y, 0.0, np.inf), (lambda y: y, 0.0, 1.0), (lambda y: y + 1, 0.0, np.inf)],
    )
    cells = (np.arange(40_000) + 0.5) / 4000
    mass = np.exp(density.log_prob(cells[:, None])).sum() / 4000
    assert mass == pytest.approx(1, abs=1e-6)


def test_sine_of_a_gaussian_needs_as_many_branches_as_the_gaussian_is_wide():
    def mass(turns):
        roots = [(lambda y, k=k: k * np.pi + (-1) ** k * anp.arcsin(y), -1.0, 1.0) for k in range(-turns, turns + 1)]
        theta = np.pi * ((np.arange(2000) + 0.5) / 2000 - 0.5)  # y = sin(theta) takes the poles at ±1 away
        log_p = Branches(Normal([0.0], [4.0]), anp.sin, roots).log_prob(np.sin(theta)[:, None])
        return np.sum(np.exp(log_p) * np.cos(theta)) * np.pi / 2000

    assert mass(5) == pytest.approx(1, abs=1e-6)
    assert mass(1) < 0.99  # a branch that is left out takes its mass with it


def test_a_forgotten_branch_loses_its_mass():
    y = (np.arange(20_000) + 0.5) / 1000
    mass = lambda roots: np.exp(Branches(NORMAL, anp.square, roots).log_prob(y[:, None])).sum() / 1000  # noqa: E731
    assert mass(SQUARE[:1]) == pytest.approx(mass(SQUARE) / 2)


def test_branches_at_the_edges():
    density = Branches(NORMAL, anp.square, SQUARE)
    np.testing.assert_array_equal(density.log_prob(np.array([[0.0], [-1.0]])), [np.inf, -np.inf])  # f'(0) = 0
    np.testing.assert_array_equal(density.log_prob(np.array([[-1.0], [-2.0]])), [-np.inf, -np.inf])
    np.testing.assert_array_equal(np.isnan(density.log_prob(np.array([[np.nan], [1.0], [-1.0]]))), [True, False, False])
    assert density.log_prob(np.zeros((0, 1))).shape == (0,)
    assert density.log_prob([[1]]).dtype == float
    np.testing.assert_array_equal(grad(lambda y: anp.sum(density.log_prob(y)))(np.array([[-1.0]])), [[0.0]])
    mixed = grad(lambda y: density.log_prob(y)[1])(np.array([[-1.0], [1.0]]))
    np.testing.assert_allclose(mixed, [[0.0], [-1.0]])  # d/dy (-y/2 - log(y)/2) at 1
    assert density.features == 1


def test_branches_refuse_bad_input():
    for bad in (np.ones(3), np.ones((3, 2))):
        with pytest.raises(ValueError, match=r"Branches: expected points of shape \(N, 1\)"):
            Branches(NORMAL, anp.square, SQUARE).log_prob(bad)
    with pytest.raises(TypeError, match="Branches: expected real numbers"):
        Branches(NORMAL, anp.square, SQUARE).log_prob([["a"]])
    for bad in ([(anp.sqrt, 1.0, 0.0)], [(anp.sqrt,)], [(1.0, 0.0, 2.0)], [(anp.sqrt, 0.0, np.nan)]):
        with pytest.raises(ValueError, match=r"Branches: expected \(inverse, low, high\) with low < high, got"):
            Branches(NORMAL, anp.square, bad)
    with pytest.raises(ValueError, match="Branches: expected at least one branch"):
        Branches(NORMAL, anp.square, [])
    with pytest.raises(ValueError, match="Branches: expected a base on the line, got 2 features"):
        Branches(Normal([0.0, 0.0], [1.0, 1.0]), anp.square, SQUARE)
    with pytest.raises(ValueError, match="Branches: expected a Distribution as base"):
        Branches(stats.norm, anp.square, SQUARE)
