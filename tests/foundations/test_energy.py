"""The energy distance: against a loop, against a closed form, and as a loss."""

import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads

from minigen.foundations import energy
from minigen.foundations.energy import energy_distance


def by_loops(x, y):
    def mean(a, b, same):
        return np.mean([np.linalg.norm(p - q) for i, p in enumerate(a) for j, q in enumerate(b) if not same or i != j])

    return 2 * mean(x, y, False) - mean(x, x, True) - mean(y, y, True)


@pytest.mark.parametrize("features", [1, 2, 5])
@pytest.mark.parametrize("pairs", [1, 12, 2**20])
def test_it_is_the_double_loop(features, pairs, monkeypatch):
    monkeypatch.setattr(energy, "PAIRS", pairs)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((7, features)), 2 + rng.standard_normal((5, features))
    assert energy_distance(x, y) == pytest.approx(by_loops(x, y), rel=1e-12)
    assert energy_distance(y, x) == pytest.approx(energy_distance(x, y), rel=1e-12)


def test_two_normals_that_differ_in_scale():
    # E|aX − bX′| = √(a² + b²)·√(2/π) for independent standard normals
    rng = np.random.default_rng(1)
    values = [energy_distance(rng.standard_normal((400, 1)), 3 * rng.standard_normal((400, 1))) for _ in range(40)]
    exact = np.sqrt(2 / np.pi) * (2 * np.sqrt(10) - np.sqrt(2) - np.sqrt(18))
    assert abs(np.mean(values) - exact) < 4 * np.std(values, ddof=1) / np.sqrt(len(values))


def test_samples_of_one_distribution_are_at_distance_zero_on_average():
    rng = np.random.default_rng(2)
    values = [energy_distance(*rng.standard_normal((2, 50, 2))) for _ in range(200)]
    assert abs(np.mean(values)) < 4 * np.std(values, ddof=1) / np.sqrt(len(values))
    assert min(values) < 0  # unbiased, so not a distance of two samples


def test_the_gradient_in_both_arguments_and_where_points_coincide():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, 6, 2))
    check_grads(energy_distance, modes=["rev"])(x, y)
    twice = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert np.isfinite(grad(energy_distance)(twice, twice)).all()


def test_float32_stays():
    x = np.random.default_rng(4).standard_normal((9, 2)).astype(np.float32)
    assert energy_distance(x, x + 1).dtype == np.float32
    assert grad(energy_distance)(x, x + 1).dtype == np.float32


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((1, 2)), np.zeros((4, 2)), "expected two points or more in each sample, got 1 and 4"),
        (np.zeros((4, 2)), np.zeros((4, 3)), r"energy_distance: y: expected points of shape \(N, 2\)"),
        (np.zeros(4), np.zeros((4, 1)), "energy_distance: x: expected points of shape"),
    ],
)
def test_bad_input(x, y, message):
    with pytest.raises(ValueError, match=message):
        energy_distance(x, y)
