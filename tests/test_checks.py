"""The checks are tried on a small correct map and on maps with one real mistake each."""

import autograd.numpy as anp
import numpy as np
import pytest

from minigen.checks import (
    batch_dependence,
    dependency_matrix,
    log_det_cancel_error,
    log_det_error,
    round_trip_error,
    total_mass,
)
from minigen.errors import NoInverseError
from minigen.numerics import sum_except_batch

TOLERANCE = 1e-12
DIMENSIONS = [1, 2, 3, 5]


class Coupling:
    """z = b x + (1 - b)(x exp(s) + t), where s and t see b x and the context only; b passes every second feature."""

    def scale_and_shift(self, params, x, context):
        shape = x.shape
        b = np.arange(x[0].size) % 2
        passed = b * anp.reshape(x, (len(x), -1))
        h = anp.dot(passed, params["W"].T) + params["b"]
        if context is not None:
            h = h + anp.dot(context, params["C"].T)
        s, t = anp.split((1 - np.concatenate([b, b])) * h, 2, axis=1)
        return anp.reshape(0.5 * anp.tanh(s), shape), anp.reshape(t, shape)

    def forward(self, params, x, context=None):
        s, t = self.scale_and_shift(params, x, context)
        return x * anp.exp(s) + t, sum_except_batch(s)

    def inverse(self, params, z, context=None):
        s, t = self.scale_and_shift(params, z, context)
        return (z - t) * anp.exp(-s), -sum_except_batch(s)


class WrongSign(Coupling):
    def inverse(self, params, z, context=None):
        x, log_det = super().inverse(params, z, context)
        return x, -log_det


class WrongInverse(Coupling):
    def inverse(self, params, z, context=None):
        s, t = self.scale_and_shift(params, z, context)
        return z * anp.exp(-s) - t, -sum_except_batch(s)


class DoubledLogDet(Coupling):
    def forward(self, params, x, context=None):
        z, log_det = super().forward(params, x, context)
        return z, 2 * log_det

    def inverse(self, params, z, context=None):
        x, log_det = super().inverse(params, z, context)
        return x, 2 * log_det


class BatchCoupled(Coupling):
    """Scales by a number that is taken from the batch, and tells the same lie in both directions."""

    def forward(self, params, x, context=None):
        z, log_det = super().forward(params, x, context)
        return z + 0.1 * anp.mean(z), log_det

    def inverse(self, params, z, context=None):
        return super().inverse(params, z - 0.1 / 1.1 * anp.mean(z), context)


class BatchCoupledInverse(Coupling):
    def inverse(self, params, z, context=None):
        x, log_det = super().inverse(params, z, context)
        return x, log_det + anp.std(z)


class OneWay(Coupling):
    def inverse(self, params, z, context=None):
        raise NoInverseError("OneWay has no inverse")


class OneWayDoubled(OneWay):
    def forward(self, params, x, context=None):
        z, log_det = super().forward(params, x, context)
        return z, 2 * log_det


class NaN(Coupling):
    """NaN at one point of the batch, in the value and in the log-determinant."""

    def forward(self, params, x, context=None):
        z, log_det = super().forward(params, x, context)
        bad = anp.where(np.arange(len(x)) == len(x) // 2, np.nan, 0.0)
        return z + anp.reshape(bad, (-1,) + (1,) * (z.ndim - 1)), log_det + bad


def setup(D, N=7, seed=0, shape=None, context_rows=None):
    rng = np.random.default_rng(seed)
    params = {"W": rng.normal(size=(2 * D, D)), "b": rng.normal(size=2 * D), "C": rng.normal(size=(2 * D, 2))}
    x = rng.normal(size=(N, *(shape or (D,))))
    return params, x, None if context_rows is None else rng.normal(size=(context_rows, 2))


def passes(error, tolerance=TOLERANCE):
    return bool(error <= tolerance)


MAP_CHECKS = [round_trip_error, log_det_cancel_error, log_det_error, batch_dependence]


@pytest.mark.parametrize("D", DIMENSIONS)
@pytest.mark.parametrize("check", MAP_CHECKS)
@pytest.mark.parametrize("context_rows", [None, 1, 7])
def test_the_correct_map_passes(check, D, context_rows):
    error = check(Coupling(), *setup(D, context_rows=context_rows))
    assert type(error) is float
    assert passes(error)


@pytest.mark.parametrize("check", MAP_CHECKS)
def test_images_pass(check):
    assert passes(check(Coupling(), *setup(8, N=3, shape=(2, 2, 2), context_rows=3)))


def test_images_with_a_wrong_log_det_are_flagged():
    assert not passes(log_det_error(DoubledLogDet(), *setup(8, N=3, shape=(2, 2, 2))))


# Which checks flag which mistake; all others stay silent, which shows that none of the four can be spared.
FLAGGED_BY = {
    WrongSign: {log_det_cancel_error, log_det_error},
    WrongInverse: {round_trip_error},
    DoubledLogDet: {log_det_error},
    BatchCoupled: {batch_dependence, log_det_error},
    BatchCoupledInverse: {batch_dependence, log_det_error, log_det_cancel_error},
}


@pytest.mark.parametrize("D", DIMENSIONS)
@pytest.mark.parametrize("mutant", FLAGGED_BY)
def test_every_mutant_is_flagged_by_its_checks_and_no_other(mutant, D):
    setting = setup(D)
    for check in MAP_CHECKS:
        error = check(mutant(), *setting)
        assert error > 1e-3 if check in FLAGGED_BY[mutant] else passes(error)


@pytest.mark.parametrize("D", DIMENSIONS)
def test_finite_differences_do_without_a_trace(D):
    class Untraced(Coupling):
        def forward(self, params, x, context=None):
            return super().forward(params, np.array(x, dtype=float), context)

    assert passes(log_det_error(Untraced(), *setup(D), jacobian="finite"), 1e-8)
    assert not passes(log_det_error(DoubledLogDet(), *setup(D), jacobian="finite"), 1e-3)


def test_a_map_without_inverse_is_checked_forward():
    assert passes(log_det_error(OneWay(), *setup(3)))
    assert passes(batch_dependence(OneWay(), *setup(3)))
    assert not passes(log_det_error(OneWayDoubled(), *setup(3)))
    for check in (round_trip_error, log_det_cancel_error):
        with pytest.raises(NoInverseError):
            check(OneWay(), *setup(3))


@pytest.mark.parametrize("check", MAP_CHECKS)
def test_nan_at_one_point_passes_no_check(check):
    assert not passes(check(NaN(), *setup(3)), np.inf)


@pytest.mark.parametrize("check", MAP_CHECKS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_inf_in_the_data_pass_no_check(check, value):
    params, x, _ = setup(2)
    x[3, 0] = value
    with np.errstate(invalid="ignore"):
        assert not passes(check(Coupling(), params, x))


def test_a_singular_jacobian_is_an_infinite_error():
    class Singular(OneWay):
        def forward(self, params, x, context=None):
            return 0 * x, anp.sum(0 * x, axis=1)

    assert log_det_error(Singular(), *setup(2)) == np.inf


def test_a_constant_map_is_an_infinite_error_and_no_warning():
    class Constant(OneWay):
        def forward(self, params, x, context=None):
            return np.ones(x.shape), np.zeros(len(x))

    assert log_det_error(Constant(), *setup(2)) == np.inf


@pytest.mark.parametrize("check", MAP_CHECKS)
@pytest.mark.parametrize("wrong", [lambda s: 0.0, lambda s: s[:, None], lambda s: anp.sum(s)])
def test_log_dets_of_another_shape_are_refused(check, wrong):
    class WrongShape(Coupling):
        def forward(self, params, x, context=None):
            z, log_det = super().forward(params, x, context)
            return z, wrong(log_det)

    with pytest.raises(ValueError, match=r"WrongShape.forward: expected a log_det of shape \(7,\), got shape"):
        check(WrongShape(), *setup(3))


def test_a_map_to_fewer_numbers_is_refused():
    class Drop(OneWay):
        def forward(self, params, x, context=None):
            return x[:, :2], anp.sum(0 * x, axis=1)

    with pytest.raises(ValueError, match="a map of 3 numbers to 2 has no determinant"):
        log_det_error(Drop(), *setup(3))


def test_a_round_trip_to_another_shape_is_refused():
    class Widen(Coupling):
        def inverse(self, params, z, context=None):
            x, log_det = super().inverse(params, z, context)
            return x[:, :1], log_det

    with pytest.raises(ValueError, match=r"x has shape \(7, 3\) but comes back as \(7, 1\)"):
        round_trip_error(Widen(), *setup(3))


def test_a_lost_point_is_refused():
    class Lose(Coupling):
        def forward(self, params, x, context=None):
            z, log_det = super().forward(params, x, context)
            return z[:-1], log_det

    with pytest.raises(ValueError, match="expected 7 points back, got 6"):
        round_trip_error(Lose(), *setup(3))


@pytest.mark.parametrize("check", MAP_CHECKS)
def test_bad_batches_are_refused(check):
    params, x, _ = setup(3)
    for wrong in (x[:0], x[0], 1.0):
        with pytest.raises(ValueError, match=rf"^{check.__name__}: expected (at least one point|points of shape)"):
            check(Coupling(), params, wrong)
    with pytest.raises(TypeError, match="expected real numbers, got dtype <U1"):
        check(Coupling(), params, [["a", "b", "c"]])


def test_batch_dependence_wants_two_points():
    with pytest.raises(ValueError, match="expected at least two points, got one"):
        batch_dependence(Coupling(), *setup(3, N=1))


@pytest.mark.parametrize("check", MAP_CHECKS)
def test_integers_are_points_too(check):
    params, _, _ = setup(2)
    assert passes(check(Coupling(), params, [[1, 2], [3, -1], [0, 0]]))


def test_unknown_jacobian_is_refused():
    with pytest.raises(ValueError, match=r"jacobian should be one of \['autograd', 'finite'\], got 'exact'"):
        log_det_error(Coupling(), *setup(2), jacobian="exact")


def normal(x, scale=1.0):
    return -0.5 * np.sum((x / scale) ** 2, axis=1) - np.log(2 * np.pi * scale**2)


BOUNDS = ((-9.0, 9.0), (-10.0, 8.5))


@pytest.mark.parametrize(("n", "scale"), [(200, 1.0), (200, 0.1), (129, 0.5)])
def test_total_mass_of_a_density_is_one(n, scale):
    assert total_mass(lambda x: normal(x, scale), BOUNDS, n) == pytest.approx(1.0, abs=1e-8)


def test_total_mass_of_a_wrong_density_is_not_one():
    assert total_mass(lambda x: normal(x) + np.log(3), BOUNDS) == pytest.approx(3.0, abs=1e-8)


def test_total_mass_of_jumps_on_the_cells_edges():
    def log_prob(x):
        inside = ((x > -1) & (x < 1)).all(axis=1)
        with np.errstate(divide="ignore"):
            return np.log(inside / 4)

    assert total_mass(log_prob, ((-2, 2), (-2, 2)), n=100) == pytest.approx(1.0, abs=1e-12)


def test_total_mass_works_in_blocks_and_covers_both_axes():
    sizes = []

    def log_prob(x):
        sizes.append(len(x))
        return np.log(x[:, 0] * x[:, 1] ** 3)

    assert total_mass(log_prob, ((0, 2), (0, 1)), n=300) == pytest.approx(2 / 4, rel=1e-4)
    assert sum(sizes) == 300**2
    assert max(sizes) <= 2**14


def test_total_mass_of_nan_is_nan():
    assert not passes(abs(total_mass(lambda x: normal(x) * np.nan, BOUNDS, n=10) - 1), np.inf)


@pytest.mark.parametrize(
    ("log_prob", "bounds", "n", "message"),
    [
        (lambda x: normal(x)[:, None], BOUNDS, 10, r"log_prob of shape \(100,\), got shape \(100, 1\)"),
        (lambda x: 0.0, BOUNDS, 10, r"log_prob of shape \(100,\), got shape \(\)"),
        (normal, (-1, 1), 10, r"expected bounds \(\(x_low, x_high\), \(y_low, y_high\)\)"),
        (normal, ((1, -1), (0, 1)), 10, "low < high"),
        (normal, ((np.nan, 1), (0, 1)), 10, "low < high"),
        (normal, BOUNDS, 0, "n >= 1"),
    ],
)
def test_total_mass_refuses_bad_input(log_prob, bounds, n, message):
    with pytest.raises(ValueError, match=message):
        total_mass(log_prob, bounds, n)


def autoregressive(x, diagonal=0):
    """Output i sees the inputs up to i - 1 (diagonal = -1) or i (0)."""
    weights = np.tril(np.random.default_rng(0).normal(size=(x.shape[1],) * 2), diagonal)
    return anp.tanh(anp.dot(x, weights.T))


@pytest.mark.parametrize("D", DIMENSIONS)
@pytest.mark.parametrize("jacobian", ["autograd", "finite"])
@pytest.mark.parametrize("diagonal", [-1, 0, 1])
def test_dependency_matrix_shows_a_leak(D, jacobian, diagonal):
    x = np.random.default_rng(1).normal(size=(4, D))
    found = dependency_matrix(lambda x: autoregressive(x, diagonal), x, jacobian)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, np.tril(np.ones((D, D), bool), diagonal))


def test_dependency_matrix_joins_the_points():
    relu = lambda x: anp.maximum(x, 0)  # noqa: E731
    np.testing.assert_array_equal(dependency_matrix(relu, [[1.0, -1.0]]), [[True, False], [False, False]])
    np.testing.assert_array_equal(dependency_matrix(relu, [[1.0, -1.0], [-1.0, 1.0]]), np.eye(2, dtype=bool))


def test_dependency_matrix_of_other_sizes_and_images():
    assert dependency_matrix(lambda x: anp.concatenate([x, x], axis=1), np.ones((2, 3))).shape == (6, 3)
    shifted = lambda x: anp.concatenate([0 * x[:, :1], x[:, :-1]], axis=1)  # noqa: E731  (down by one row)
    np.testing.assert_array_equal(dependency_matrix(shifted, np.ones((1, 3, 1, 1))), np.eye(3, k=-1, dtype=bool))


def test_rounding_is_no_dependence_under_finite_differences():
    def noisy(x):
        s = np.sqrt(2) * x.sum(axis=1, keepdims=True)
        return (x + s) - s

    x = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_array_equal(dependency_matrix(noisy, x, "finite"), np.eye(3, dtype=bool))


@pytest.mark.parametrize("jacobian", ["autograd", "finite"])
def test_nan_counts_as_a_dependence(jacobian):
    assert dependency_matrix(lambda x: x * np.nan, np.ones((1, 2)), jacobian).diagonal().all()


@pytest.mark.parametrize("x", [np.ones(3), np.ones((0, 3))])
def test_dependency_matrix_refuses_bad_batches(x):
    with pytest.raises(ValueError, match="dependency_matrix: expected (at least one point|points of shape)"):
        dependency_matrix(autoregressive, x)
