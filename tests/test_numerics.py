import autograd.numpy as anp
import numpy as np
import pytest
import scipy.special
from autograd import deriv, elementwise_grad, grad, hessian, jacobian
from autograd.test_util import check_grads
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minigen.numerics import (
    as_float,
    log_mean_exp,
    log_sigmoid,
    logsumexp,
    sigmoid,
    softplus,
    stop_gradient,
    sum_except_batch,
    tanh,
)
from minigen.tree import tree_map

by_rule = settings(deadline=None, derandomize=True)
TINY = np.finfo(float).tiny
finite = st.floats(allow_nan=False, allow_infinity=False)
moderate = st.floats(-700, 700)
rows = arrays(float, (3, 4), elements=st.floats(-1e3, 1e3) | st.just(-np.inf))

# function, its first and second derivative, each by another formula than the one under test
ELEMENTWISE = {
    tanh: (np.tanh, lambda x: 1 / np.cosh(x) ** 2, lambda x: -2 * np.tanh(x) / np.cosh(x) ** 2),
    sigmoid: (
        scipy.special.expit,
        lambda x: scipy.special.expit(x) * scipy.special.expit(-x),
        lambda x: -scipy.special.expit(x) * scipy.special.expit(-x) * np.tanh(x / 2),
    ),
    softplus: (
        lambda x: np.logaddexp(0, x),
        scipy.special.expit,
        lambda x: scipy.special.expit(x) * scipy.special.expit(-x),
    ),
    log_sigmoid: (
        scipy.special.log_expit,
        lambda x: scipy.special.expit(-x),
        lambda x: -scipy.special.expit(x) * scipy.special.expit(-x),
    ),
}
elementwise = pytest.mark.parametrize("f", ELEMENTWISE, ids=lambda f: f.__name__)


@elementwise
@by_rule
@given(x=moderate)
def test_values(f, x):
    np.testing.assert_allclose(f(x), ELEMENTWISE[f][0](x), rtol=1e-14, atol=TINY)


@elementwise
@by_rule
@given(x=st.floats(-300, 300))
def test_first_and_second_derivatives(f, x):
    _, first, second = ELEMENTWISE[f]
    np.testing.assert_allclose(grad(f)(x), first(x), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(grad(grad(f))(x), second(x), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(deriv(f)(x), grad(f)(x), rtol=1e-15)


@elementwise
@by_rule
@given(x=finite)
def test_every_finite_float_gives_finite_values_and_gradients(f, x):
    assert np.isfinite([f(x), grad(f)(x), grad(grad(f))(x)]).all()


@elementwise
def test_check_grads_on_arrays(f):
    check_grads(f, modes=["rev", "fwd"], order=2)(np.linspace(-3, 3, 12).reshape(3, 4))


@pytest.mark.parametrize(
    ("f", "at_edges"),
    [
        (tanh, [-1, -1, -1, 1, 1, 1]),
        (sigmoid, [0, 0, 0, 1, 1, 1]),
        (softplus, [0, 0, 0, 1e3, 1e308, np.inf]),
        (log_sigmoid, [-np.inf, -1e308, -1e3, 0, 0, 0]),
    ],
)
def test_edges(f, at_edges):
    np.testing.assert_array_equal(f([-np.inf, -1e308, -1e3, 1e3, 1e308, np.inf]), at_edges)


def test_tails_keep_their_relative_precision():
    np.testing.assert_allclose(sigmoid(-700.0), np.exp(-700.0), rtol=1e-13)
    np.testing.assert_allclose(grad(sigmoid)(700.0), np.exp(-700.0), rtol=1e-13)
    np.testing.assert_allclose(softplus(-700.0), np.exp(-700.0), rtol=1e-13)


@elementwise
def test_nan_stays_nan(f):
    np.testing.assert_array_equal(np.isnan(f([np.nan, 1.0])), [True, False])
    assert np.isnan(grad(f)(np.nan))


@elementwise
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, bool])
def test_integers_become_float64(f, dtype):
    y = f(np.array([0, 1], dtype))
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, f([0.0, 1.0]))


@pytest.mark.parametrize("f", [*ELEMENTWISE, logsumexp, log_mean_exp, sum_except_batch, as_float])
@pytest.mark.parametrize("x", ["text", [1j], None, ["1.5"]])
def test_anything_but_real_numbers_is_refused(f, x):
    with pytest.raises(TypeError, match="Cannot cast"):
        f(x)


@pytest.mark.parametrize("f", [*ELEMENTWISE, logsumexp, log_mean_exp, sum_except_batch])
def test_float32_stays_float32(f):
    x = np.linspace(-2, 2, 6, dtype=np.float32).reshape(2, 3)
    assert f(x).dtype == np.float32
    first = elementwise_grad(lambda x: f(x * x))
    assert first(x).dtype == np.float32
    assert elementwise_grad(lambda x: anp.sum(first(x) * x))(x).dtype == np.float32


@elementwise
def test_empty(f):
    assert f(np.zeros((0, 3))).shape == (0, 3)


@by_rule
@given(x=rows)
def test_logsumexp_value_and_gradient(x):
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(logsumexp(x), scipy.special.logsumexp(x, axis=-1), rtol=1e-14, atol=1e-14)
    weights = elementwise_grad(logsumexp)(x)
    alive = (x > -np.inf).any(axis=-1)
    np.testing.assert_allclose(weights.sum(axis=-1), alive.astype(float), rtol=1e-14)
    np.testing.assert_allclose(weights[alive], scipy.special.softmax(x[alive], axis=-1), rtol=1e-12)


@by_rule
@given(x=rows, axis=st.sampled_from([0, 1, -1, -2]))
def test_log_mean_exp_is_logsumexp_less_log_k(x, axis):
    np.testing.assert_allclose(log_mean_exp(x, axis), logsumexp(x, axis) - np.log(x.shape[axis]), rtol=1e-15)
    assert (log_mean_exp(x, axis) <= x.max(axis) + 1e-12).all()


@by_rule
@given(x=arrays(float, (2, 3), elements=finite))
def test_logsumexp_of_any_finite_floats_is_finite(x):
    assert np.isfinite(logsumexp(x)).all()
    assert np.isfinite(elementwise_grad(logsumexp)(x)).all()


@by_rule
@given(x=rows, shift=st.floats(-1e3, 1e3))
def test_logsumexp_moves_with_its_input(x, shift):
    np.testing.assert_allclose(logsumexp(x + shift), logsumexp(x) + shift, rtol=1e-13, atol=1e-10)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_logsumexp_derivatives_in_both_modes(axis):
    x = np.random.default_rng(0).normal(size=(2, 3))
    check_grads(lambda x: logsumexp(x, axis), modes=["rev", "fwd"], order=2)(x)


def test_logsumexp_hessian_is_that_of_the_softmax():
    x = np.array([0.3, -1.0, 2.0])
    p = scipy.special.softmax(x)
    np.testing.assert_allclose(hessian(logsumexp)(x), np.diag(p) - np.outer(p, p), atol=1e-15)


def test_logsumexp_at_infinities_and_nan():
    x = np.array([[-np.inf, -np.inf], [-np.inf, 2.0], [np.inf, 1e3], [np.nan, 1.0]])
    np.testing.assert_array_equal(logsumexp(x), [-np.inf, 2.0, np.inf, np.nan])
    np.testing.assert_array_equal(elementwise_grad(logsumexp)(x[:2]), [[0, 0], [0, 1]])
    second = grad(lambda x: anp.sum(elementwise_grad(logsumexp)(x) ** 2))(x[:2])
    np.testing.assert_array_equal(second, np.zeros((2, 2)))


def test_logsumexp_of_large_equal_entries_splits_the_gradient():
    np.testing.assert_array_equal(elementwise_grad(logsumexp)(np.full((1, 2), 1e16)), [[0.5, 0.5]])


def test_logsumexp_of_an_empty_batch_and_an_empty_axis():
    assert logsumexp(np.zeros((0, 3))).shape == (0,)
    with pytest.raises(ValueError, match=r"logsumexp: expected at least one entry along axis -1, got shape \(3, 0\)"):
        logsumexp(np.zeros((3, 0)))


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 2, 2, 3), (0, 3)])
def test_sum_except_batch(shape):
    x = np.random.default_rng(0).normal(size=shape)
    total = sum_except_batch(x)
    assert total.shape == shape[:1]
    np.testing.assert_allclose(total, [row.sum() for row in x], rtol=1e-14)
    np.testing.assert_array_equal(elementwise_grad(sum_except_batch)(x), np.ones(shape))


def test_sum_except_batch_refuses_a_scalar():
    with pytest.raises(ValueError, match="got a scalar"):
        sum_except_batch(1.0)


def test_stop_gradient_keeps_the_value_and_stops_the_derivative():
    assert stop_gradient(2.0) == 2.0
    np.testing.assert_array_equal(jacobian(lambda x: x * stop_gradient(x))(np.array([1.0, 2.0])), [[1, 0], [0, 2]])
    straight_through = grad(lambda x: x + stop_gradient(anp.round(x) - x))
    assert straight_through(1.3) == 1.0


def test_stop_gradient_stops_every_level_of_nested_differentiation():
    f = lambda x: x**3 * stop_gradient(x)  # noqa: E731  (c x³ with c = x: second derivative 6 c x)
    assert grad(grad(f))(2.0) == 24.0
    outer = grad(lambda y: grad(lambda x: x * stop_gradient(x * y) * y)(2.0))
    assert outer(3.0) == 6.0


def test_stop_gradient_on_parameters():
    def loss(params):
        fixed = tree_map(stop_gradient, params)
        return anp.sum(params["W"] * fixed["W"]) * fixed["b"][0]

    gradient = grad(loss)({"W": np.array([1.0, 2.0]), "b": [3.0]})
    np.testing.assert_array_equal(gradient["W"], [3.0, 6.0])
    assert gradient["b"] == [0.0]
