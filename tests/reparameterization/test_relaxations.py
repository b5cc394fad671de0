"""Relaxations of discrete variables: exact draws, biased gradients, the bias measured against enumeration."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads

from minigen.reparameterization.estimators import pathwise, score_function
from minigen.reparameterization.relaxations import (
    GumbelSoftmax,
    OneHotCategorical,
    enumerate_expectation,
    gumbel_max,
    gumbel_softmax,
    straight_through,
)

LOGITS = np.array([0.3, -0.5, 1.1])
VALUES = np.array([1.0, -2.0, 0.5])


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def cost(z):
    return anp.sum(z * VALUES, axis=1) + anp.sum((z - 0.45) ** 2 * VALUES**2, axis=1)


def two_outcomes(n=20_001):
    """Return Gumbel noise for K = 2 that stands for all of it: only the difference counts, and it is logistic."""
    u = (np.arange(n) + 0.5) / n
    return np.stack([np.log(u) - np.log1p(-u), np.zeros(n)], axis=1)


def test_gumbel_max_draws_from_the_softmax():
    z = gumbel_max(LOGITS, np.random.default_rng(0).gumbel(size=(100_000, 3)))
    assert set(np.unique(z)) == {0.0, 1.0}
    assert (z.sum(1) == 1).all()
    p = softmax(LOGITS)
    assert (abs(z.mean(0) - p) < 4 * np.sqrt(p * (1 - p) / len(z))).all()
    difference = two_outcomes()
    exact = gumbel_max(np.array([0.7, 0.0]), difference).mean(0)
    np.testing.assert_allclose(exact, softmax(np.array([0.7, 0.0])), atol=1e-4)


def test_relaxed_draw_is_on_the_simplex_and_hardens():
    gumbel = np.random.default_rng(0).gumbel(size=(50, 3))
    for temperature in (0.01, 0.5, 10.0, 1e6):
        z = gumbel_softmax(LOGITS, gumbel, temperature)
        assert (z >= 0).all()
        np.testing.assert_allclose(z.sum(1), 1, atol=1e-12)
        np.testing.assert_allclose(z, softmax((LOGITS + gumbel) / temperature), atol=1e-12)
    np.testing.assert_allclose(gumbel_softmax(LOGITS, gumbel, 1e-4), gumbel_max(LOGITS, gumbel), atol=1e-6)
    np.testing.assert_allclose(z, 1 / 3, atol=1e-5)


def test_rows_of_logits_are_each_their_own():
    rng = np.random.default_rng(0)
    logits, gumbel = rng.standard_normal((4, 3)), rng.gumbel(size=(4, 3))
    for draw in (gumbel_max, lambda a, g: gumbel_softmax(a, g, 0.7)):
        for i in range(4):
            np.testing.assert_allclose(draw(logits[i], gumbel[i : i + 1])[0], draw(logits, gumbel)[i], atol=1e-14)


def test_extreme_logits_and_float32():
    gumbel = np.zeros((2, 3))
    for logits in (np.array([1e3, -1e3, 0.0]), np.array([-1e3, -1e3, -1e3])):
        assert np.isfinite(gumbel_softmax(logits, gumbel, 0.1)).all()
        gradient = grad(lambda a: anp.sum(gumbel_softmax(a, gumbel, 0.1)[:, 0]))(logits)
        assert np.isfinite(gradient).all()
        assert np.isfinite(OneHotCategorical().log_prob({"logits": logits}, np.eye(3))).all()
    logits, gumbel = LOGITS.astype(np.float32), gumbel.astype(np.float32)
    for hard in (False, True):
        family = GumbelSoftmax(np.float64(0.5), hard)
        assert family.from_noise({"logits": logits}, gumbel).dtype == np.float32
        assert grad(lambda a, q=family: anp.sum(q.from_noise({"logits": a}, gumbel) ** 2))(logits).dtype == np.float32


def test_gradients_against_finite_differences():
    gumbel = np.random.default_rng(0).gumbel(size=(4, 3))
    check_grads(lambda a: gumbel_softmax(a, gumbel, 0.5), modes=["rev"], order=2)(LOGITS)
    check_grads(lambda a: enumerate_expectation(a, cost), modes=["rev"], order=2)(LOGITS)
    check_grads(lambda a: OneHotCategorical().log_prob({"logits": a}, np.eye(3)), modes=["rev"], order=2)(LOGITS)


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other():
    gumbel = np.random.default_rng(0).gumbel(size=(20, 3))
    hard, soft = GumbelSoftmax(0.5, hard=True), GumbelSoftmax(0.5)
    params = {"logits": LOGITS}
    np.testing.assert_array_equal(hard.from_noise(params, gumbel), gumbel_max(LOGITS, gumbel))
    weights = np.random.default_rng(1).standard_normal((20, 3))
    of = lambda q: grad(lambda a: anp.sum(q.from_noise({"logits": a}, gumbel) * weights))(LOGITS)  # noqa: E731
    np.testing.assert_allclose(of(hard), of(soft), atol=1e-14)
    assert abs(of(soft)).max() > 0.1
    np.testing.assert_array_equal(grad(lambda a: anp.sum(straight_through(3 * a, a**2)))(LOGITS), 2 * LOGITS)


def test_enumeration_is_exact():
    p, values = softmax(LOGITS), cost(np.eye(3))
    np.testing.assert_allclose(enumerate_expectation(LOGITS, cost), p @ values, atol=1e-14)
    truth = grad(enumerate_expectation)(LOGITS, cost)
    np.testing.assert_allclose(truth, p * (values - p @ values), atol=1e-14)


def test_score_function_on_one_hot_draws_is_unbiased():
    params, truth = {"logits": LOGITS}, grad(enumerate_expectation)(LOGITS, cost)
    for baseline in (0.0, 1.3):
        each = score_function(OneHotCategorical(), params, cost, np.eye(3), baseline)["logits"]
        np.testing.assert_allclose(softmax(LOGITS) @ each, truth, atol=1e-14)


def bias_and_variance(family, logit, f):
    """Return the bias of the gradient's first entry, and the variance of one draw's."""
    params = {"logits": np.array([logit, 0.0])}
    truth = grad(enumerate_expectation)(params["logits"], f)[0]
    each = pathwise(family, params, f, two_outcomes())["logits"][:, 0]
    return each.mean() - truth, each.var()


def test_bias_vanishes_and_variance_grows_as_the_temperature_falls():
    f = lambda z: z[:, 0] ** 2  # noqa: E731
    biases, variances = np.transpose([bias_and_variance(GumbelSoftmax(t), 0.0, f) for t in (2, 1, 0.5, 0.2, 0.05)])
    assert (biases < 0).all()
    assert (np.diff(abs(biases)) < 0).all()
    assert (np.diff(variances) > 0).all()
    assert biases[0] == pytest.approx(-0.1427, abs=1e-3)  # of a gradient of 0.25
    assert abs(biases[-1]) < 1e-3


def test_bias_need_not_fall_all_the_way_and_may_change_its_sign():
    f = lambda z: z[:, 0] ** 3  # noqa: E731
    biases = [bias_and_variance(GumbelSoftmax(t), 0.7, f)[0] for t in (1, 0.5, 0.2, 0.05)]
    assert biases[0] < -0.03 < 0 < biases[1] < biases[2]
    assert 0 < biases[3] < biases[2]


@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_straight_through_is_biased_too(temperature):
    bias, _ = bias_and_variance(GumbelSoftmax(temperature, hard=True), 0.7, lambda z: z[:, 0] ** 3)
    assert abs(bias) > 0.05


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gumbel_softmax(LOGITS, np.zeros((1, 3)), 0.0), "temperature > 0"),
        (lambda: gumbel_softmax(LOGITS, np.zeros((1, 3)), np.nan), "temperature > 0"),
        (lambda: GumbelSoftmax(-1.0), "temperature > 0"),
        (lambda: straight_through(np.zeros(2), np.zeros((2, 1))), "hard has shape"),
        (lambda: enumerate_expectation(np.zeros((1, 3)), cost), r"logits of shape \(K,\)"),
        (lambda: enumerate_expectation(LOGITS, lambda z: z), "f returned shape"),
        (lambda: gumbel_max(LOGITS, np.zeros((1, 2))), r"expected gumbel noise \(N, K\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_integers_strings_nan_and_empty():
    np.testing.assert_array_equal(gumbel_max([0, 5], np.zeros((1, 2))), [[0.0, 1.0]])
    with pytest.raises(TypeError):
        gumbel_softmax(np.array(["a", "b"]), np.zeros((1, 2)), 1.0)
    assert np.isnan(gumbel_softmax(np.array([np.nan, 0.0]), np.zeros((1, 2)), 1.0)).all()
    assert gumbel_softmax(LOGITS, np.zeros((0, 3)), 1.0).shape == (0, 3)
    assert gumbel_max(LOGITS, np.zeros((0, 3))).shape == (0, 3)
