import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, hessian
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from minigen.tree import count_params, ravel, tree_leaves, tree_map

by_rule = settings(deadline=None, derandomize=True)
leaves = arrays(float, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), elements=st.floats(-9, 9))
trees = st.recursive(
    leaves,
    lambda child: (
        st.lists(child, max_size=3)
        | st.lists(child, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from("abcd"), child, max_size=3)
    ),
    max_leaves=6,
)


def params():
    return {"W": np.arange(6.0).reshape(2, 3), "layers": [{"b": np.array([7.0])}, (np.array(8.0), np.zeros((0, 2)))]}


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert sorted(a) == sorted(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for left, right in zip(a, b, strict=True):
            assert_same(left, right)
    else:
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b, strict=True)


@by_rule
@given(tree=trees)
def test_unravel_undoes_ravel(tree):
    vector, unravel = ravel(tree)
    assert vector.shape == (count_params(tree),)
    assert_same(unravel(vector), tree)


@by_rule
@given(tree=trees)
def test_tree_map_keeps_the_shape_of_the_tree(tree):
    assert_same(tree_map(np.copy, tree), tree)
    doubled = tree_map(lambda a, b: a + b, tree, tree)
    for leaf, twice in zip(tree_leaves(tree), tree_leaves(doubled), strict=True):
        np.testing.assert_array_equal(twice, 2 * leaf)


def test_equal_parameters_give_equal_vectors_in_whatever_order_they_were_written():
    a, b = np.array([1.0]), np.array([2.0])
    np.testing.assert_array_equal(ravel({"a": a, "b": b})[0], ravel({"b": b, "a": a})[0])
    np.testing.assert_array_equal(tree_leaves({"b": b, "a": a}), [a, b])


def test_ravel_puts_the_leaves_in_the_order_of_tree_leaves():
    np.testing.assert_array_equal(
        ravel(params())[0], np.concatenate([np.ravel(leaf) for leaf in tree_leaves(params())])
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept(dtype):
    vector, unravel = ravel(tree_map(lambda leaf: leaf.astype(dtype), params()))
    assert vector.dtype == dtype
    assert {leaf.dtype for leaf in tree_leaves(unravel(vector))} == {np.dtype(dtype)}


def test_unravel_gives_views_and_ravel_a_copy():
    tree = params()
    vector, unravel = ravel(tree)
    vector[0] = 100.0
    assert tree["W"][0, 0] == 0.0
    again = unravel(vector)
    vector[1] = 200.0
    assert again["W"][0, 0] == 100.0
    assert again["W"][0, 1] == 200.0
    assert all(np.shares_memory(leaf, vector) for leaf in tree_leaves(again) if leaf.size)


def loss(tree):
    return anp.sum(anp.sin(tree["W"])) * tree["layers"][0]["b"][0] + tree["layers"][1][0] ** 3


def test_unravel_inside_a_trace():
    vector, unravel = ravel(params())
    gradient = grad(lambda v: loss(unravel(v)))(vector)
    np.testing.assert_allclose(gradient, ravel(grad(loss)(params()))[0], rtol=1e-15)
    second = hessian(lambda v: loss(unravel(v)))(vector)
    np.testing.assert_allclose(second, second.T, atol=1e-15)
    assert second[-1, -1] == 6 * 8.0


def test_everything_works_on_boxed_containers():
    def penalty(tree):
        assert count_params(tree) == 8
        halves = tree_map(lambda a, b: a * b, tree, tree)
        return anp.sum(ravel(tree)[0] ** 2) + sum(anp.sum(leaf) for leaf in tree_leaves(halves))

    gradient = grad(penalty)(params())
    for got, leaf in zip(tree_leaves(gradient), tree_leaves(params()), strict=True):
        np.testing.assert_allclose(got, 4 * leaf, rtol=1e-15)


def test_count_params():
    assert count_params(params()) == 8
    assert count_params({}) == 0
    assert type(count_params(params())) is int


def test_empty_tree():
    vector, unravel = ravel({"a": [], "b": {}})
    assert vector.shape == (0,)
    assert unravel(vector) == {"a": [], "b": {}}


def test_python_floats_are_float64_scalars():
    vector, unravel = ravel({"a": 1.5})
    assert vector.dtype == np.float64
    assert unravel(vector)["a"].shape == ()


def test_nan_and_inf_pass():
    tree = {"a": np.array([np.nan, np.inf])}
    vector, unravel = ravel(tree)
    np.testing.assert_array_equal(unravel(vector)["a"], tree["a"])


@pytest.mark.parametrize(
    ("leaf", "found"),
    [
        (np.array([1, 2]), "int64"),
        (np.array([True]), "bool"),
        (np.array([1j]), "complex128"),
        (np.array(["x"]), "<U1"),
        (3, "int"),
        (None, "NoneType"),
        ("text", "str"),
    ],
)
def test_other_leaves_are_refused_by_their_place(leaf, found):
    with pytest.raises(TypeError, match=rf"^params\['a'\]\[0\]: expected a float array, got {found}$"):
        ravel({"a": [leaf]})


def test_mixed_dtypes_are_refused():
    message = r"^params\['b'\]: expected float64, the dtype of params\['a'\], got float32$"
    with pytest.raises(TypeError, match=message):
        ravel({"a": np.ones(2), "b": np.ones(2, np.float32)})


def test_unravel_refuses_a_vector_of_another_length():
    _, unravel = ravel(params())
    for wrong in (np.zeros(7), np.zeros((8, 1))):
        with pytest.raises(ValueError, match=r"expected a vector of shape \(8,\), got"):
            unravel(wrong)


@pytest.mark.parametrize(
    "other", [{"a": 1.0}, {"a": [1.0, 2.0, 3.0]}, {"b": [1.0, 2.0]}, [[1.0, 2.0]], {"a": (1.0, 2.0)}, 1.0]
)
def test_tree_map_refuses_trees_of_different_shapes(other):
    with pytest.raises(ValueError, match=r"^params.*: expected a .* with keys .* as in the first tree, got a "):
        tree_map(lambda a, b: a, {"a": [1.0, 2.0]}, other)
    with pytest.raises(ValueError, match="as in the first tree"):
        tree_map(lambda a, b: a, other, {"a": [1.0, 2.0]})
