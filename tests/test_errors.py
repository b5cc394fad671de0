import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

from minigen.errors import NoInverseError, OutsideDomainError, SingularMatrixError, check_points, require


def test_require_raises_its_message_only_when_the_condition_fails():
    require(True, "never shown")
    with pytest.raises(ValueError, match="^expected 3, got 2$"):
        require(False, "expected 3, got 2")


@pytest.mark.parametrize(
    ("named", "builtin"),
    [
        (OutsideDomainError, ValueError),
        (NoInverseError, NotImplementedError),
        (SingularMatrixError, np.linalg.LinAlgError),
    ],
)
def test_named_errors_are_caught_as_the_builtin_ones(named, builtin):
    with pytest.raises(builtin, match="why"):
        raise named("why")


@pytest.mark.parametrize("x", [[[1, 2]], np.array([[1, 2]]), np.array([[1, 2]], dtype=np.uint8)])
def test_lists_and_integers_become_float64(x):
    points = check_points("Normal", x)
    assert points.dtype == np.float64
    np.testing.assert_array_equal(points, [[1.0, 2.0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_arrays_pass_as_they_are(dtype):
    for x in (np.ones((4, 3), dtype), np.zeros((0, 3), dtype), np.full((2, 3), np.nan, dtype)):
        assert check_points("Normal", x, 3) is x


def test_boxes_pass():
    gradient = grad(lambda x: anp.sum(check_points("Normal", x, 2) ** 2))(np.ones((3, 2)))
    np.testing.assert_array_equal(gradient, 2 * np.ones((3, 2)))


@pytest.mark.parametrize("x", ["text", [["a", "b"]], [[None, None]], [[1j, 2.0]], [[True, False]]])
def test_anything_but_real_numbers_is_refused(x):
    with pytest.raises(TypeError, match="^Normal: expected real numbers, got dtype "):
        check_points("Normal", x)


@pytest.mark.parametrize(
    ("x", "features", "message"),
    [
        (1.0, None, r"Normal: expected points of shape \(N, D\), got shape \(\)$"),
        (np.ones(2), 2, r"\(N, 2\), got shape \(2,\); one point is x\[None, :\], N numbers x\[:, None\]$"),
        (np.ones((5, 3)), 2, r"\(N, 2\), got shape \(5, 3\)$"),
        (np.ones((5, 4, 4, 3)), None, r"\(N, D\), got shape \(5, 4, 4, 3\)$"),
    ],
)
def test_wrong_shapes_are_named(x, features, message):
    with pytest.raises(ValueError, match=message):
        check_points("Normal", x, features)
