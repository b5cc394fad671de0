import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

from minigen.foundations.jacobians import jacobian_finite, jacobian_forward, jacobian_reverse
from minigen.numerics import logsumexp, softplus, tanh

TRACED = [jacobian_forward, jacobian_reverse]
ALL = [*TRACED, jacobian_finite]
by_all = pytest.mark.parametrize("method", ALL)
by_traced = pytest.mark.parametrize("method", TRACED)

A = np.random.default_rng(0).normal(size=(4, 3))


def curved(x):
    return tanh(anp.dot(A, x)) + softplus(x[0]) * anp.exp(-(x[1] ** 2)) + logsumexp(x)


@by_all
@pytest.mark.parametrize("shape", [(1, 1), (4, 3), (3, 4), (1, 5), (5, 1)])
def test_a_linear_map_gives_its_matrix(method, shape):
    matrix = np.random.default_rng(1).normal(size=shape)
    J = method(lambda x: anp.dot(matrix, x), np.linspace(-1, 2, shape[1]))
    np.testing.assert_allclose(J, matrix, rtol=1e-9, atol=1e-9)


def test_the_three_agree_on_a_curved_map():
    x = np.array([0.3, -0.7, 1.1])
    exact = jacobian_reverse(curved, x)
    np.testing.assert_allclose(jacobian_forward(curved, x), exact, rtol=1e-14, atol=1e-15)
    assert np.abs(jacobian_finite(curved, x) - exact).max() < 1e-9
    assert np.abs(jacobian_finite(curved, x, scheme="forward") - exact).max() < 1e-6


@pytest.mark.parametrize(("scheme", "order"), [("central", 2), ("forward", 1)])
def test_truncation_error_falls_with_the_order_of_the_scheme(scheme, order):
    x = np.array([0.3, -0.7, 1.1])
    exact = jacobian_reverse(curved, x)
    coarse, fine = (np.abs(jacobian_finite(curved, x, step, scheme) - exact).max() for step in (1e-2, 1e-3))
    assert np.log10(coarse / fine) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("scheme", ["central", "forward"])
def test_the_default_step_is_near_the_best_one(scheme):
    x = np.array([0.3, -0.7, 1.1])
    exact = jacobian_reverse(curved, x)
    error = np.abs(jacobian_finite(curved, x, scheme=scheme) - exact).max()
    others = [np.abs(jacobian_finite(curved, x, 10.0**-k, scheme) - exact).max() for k in range(1, 15)]
    assert error < 10 * min(others)


@pytest.mark.parametrize("size", [1.0, 1e4, 1e8])
def test_the_default_step_grows_with_the_point(size):
    J = jacobian_finite(lambda x: size * np.sin(x / size), np.array([size]))
    np.testing.assert_allclose(J, [[np.cos(1)]], rtol=1e-9)


@pytest.mark.parametrize(("scheme", "evaluations"), [("central", 6), ("forward", 4)])
def test_number_of_evaluations(scheme, evaluations):
    calls = []
    jacobian_finite(lambda x: calls.append(0) or x, np.ones(3), scheme=scheme)
    assert len(calls) == evaluations


def test_finite_takes_functions_that_cannot_be_traced():
    buffer = np.empty(2)

    def f(x):
        buffer[:] = float(x[0]) ** 2, float(x[1])  # one buffer for every call
        return buffer

    np.testing.assert_allclose(jacobian_finite(f, [3.0, 1.0]), [[6, 0], [0, 1]], atol=1e-9)
    np.testing.assert_array_equal(jacobian_finite(lambda x: [1, 2], [3.0]), [[0], [0]])


@by_all
def test_an_output_that_depends_on_nothing_has_a_jacobian_of_zeros_without_a_warning(method, recwarn):
    np.testing.assert_array_equal(method(lambda x: np.ones(3), np.ones(2)), np.zeros((3, 2)))
    assert not recwarn


@by_all
@pytest.mark.parametrize("x", [[1, 2], np.array([1, 2]), np.array([1, 2], np.uint8)])
def test_integers_become_float64(method, x):
    J = method(lambda x: x**2, x)
    assert J.dtype == np.float64
    np.testing.assert_allclose(J, np.diag([2.0, 4.0]), atol=1e-8)


@by_all
def test_float32_stays_float32(method):
    x = np.array([1.0, 2.0], np.float32)
    J = method(lambda x: x * x, x)
    assert J.dtype == np.float32
    np.testing.assert_allclose(J, np.diag([2.0, 4.0]), atol=1e-3)


@by_all
def test_nan_in_nan_out(method):
    J = method(lambda x: x**2, np.array([np.nan, 1.0]))
    assert np.isnan(J[0, 0])
    np.testing.assert_allclose(J[1, 1], 2, atol=1e-8)


@by_traced
def test_inf_in_inf_out(method):
    np.testing.assert_array_equal(method(lambda x: x * x, np.array([np.inf])), [[np.inf]])


def test_finite_at_inf_is_nan():
    with np.errstate(invalid="ignore"):
        assert np.isnan(jacobian_finite(lambda x: x, np.array([np.inf]))).all()


@by_all
@pytest.mark.parametrize("x", [1.0, np.ones((2, 3)), np.zeros(0)])
def test_points_of_another_shape_are_refused(method, x):
    with pytest.raises(ValueError, match=rf"^{method.__name__}: expected one point x of shape \(D,\) with D >= 1, got"):
        method(lambda x: x, x)


@by_all
def test_strings_are_refused(method):
    with pytest.raises(TypeError, match="Cannot cast"):
        method(lambda x: x, ["a"])


@by_all
@pytest.mark.parametrize("f", [anp.sum, lambda x: x[None, :], lambda x: x[:0]])
def test_values_of_another_shape_are_refused(method, f):
    with pytest.raises(ValueError, match=rf"^{method.__name__}: f should return an array of shape \(M,\), got shape"):
        method(f, np.ones(2))


@by_traced
@pytest.mark.parametrize("f", [lambda x: [x[0], x[1]], lambda x: np.array([x[0], x[1]]), lambda x: None])
def test_values_that_have_lost_the_trace_are_refused(method, f):
    with pytest.raises(TypeError, match="f should return a float array"):
        method(f, np.ones(2))


def test_forward_mode_says_when_reverse_mode_is_needed():
    f = lambda x: anp.linalg.slogdet(anp.reshape(x, (2, 2)))[1][None]  # noqa: E731
    x = np.array([2.0, 1.0, 0.5, 3.0])
    with pytest.raises(NotImplementedError, match="slogdet.*reverse mode is needed: jacobian_reverse"):
        jacobian_forward(f, x)
    np.testing.assert_allclose(jacobian_reverse(f, x)[0], np.linalg.inv(x.reshape(2, 2)).T.ravel(), rtol=1e-14)


@by_traced
def test_the_jacobian_can_be_differentiated(method):
    # the trace of the Hessian of sum x³ / 6 is sum x, whose gradient is 1
    trace = lambda x: anp.trace(method(lambda y: y**2 / 2, x))  # noqa: E731
    np.testing.assert_allclose(grad(trace)(np.array([1.0, 2.0])), [1.0, 1.0], rtol=1e-15)


def test_finite_refuses_bad_options():
    with pytest.raises(ValueError, match="scheme should be 'central' or 'forward', got 'backward'"):
        jacobian_finite(lambda x: x, np.ones(2), scheme="backward")
    for step in (0.0, -1e-3, np.nan):
        with pytest.raises(ValueError, match="step should be positive, got"):
            jacobian_finite(lambda x: x, np.ones(2), step=step)
