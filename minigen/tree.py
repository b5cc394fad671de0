"""Parameters as trees: nested dicts, lists and tuples with float arrays as leaves.

All functions here also take the boxes that autograd puts around such containers, so they can stand inside a loss.
"""

import autograd.numpy as np
import numpy
from autograd.builtins import type as type_of  # of the container itself, also when it comes in a box

from minigen.errors import require

__all__ = ["count_params", "ravel", "tree_leaves", "tree_map"]


def _children(tree):
    """Return the keys of a container in their fixed order, or None for a leaf."""
    kind = type_of(tree)
    if kind is dict:
        return sorted(tree)  # equal parameters give equal vectors, whatever order their keys were written in
    return list(range(len(tree))) if kind in (list, tuple) else None


def _describe(tree):
    keys = _children(tree)
    return "a leaf" if keys is None else f"a {type_of(tree).__name__} with keys {keys}"


def map_with_path(f, path, tree, *rest):
    """Call `f(path, leaf, ...)` at every leaf and return the results in the same containers."""
    keys = _children(tree)
    for other in rest:
        if _children(other) != keys or (keys is not None and type_of(other) is not type_of(tree)):
            raise ValueError(f"{path}: expected {_describe(tree)} as in the first tree, got {_describe(other)}")
    if keys is None:
        return f(path, tree, *rest)
    values = [map_with_path(f, f"{path}[{key!r}]", tree[key], *(other[key] for other in rest)) for key in keys]
    return dict(zip(keys, values, strict=True)) if type_of(tree) is dict else type_of(tree)(values)


def tree_map(f, tree, *rest):
    """Apply `f` to every leaf of `tree`, or to the leaves at the same place of several trees.

    Returns new containers of the same shape; dicts come with their keys sorted. Cost: one call of `f` a leaf.
    Raises ValueError, naming the place, if the trees differ in shape.

    >>> tree_map(lambda a, b: a + b, {"W": [1.0, 2.0], "b": 3.0}, {"W": [10.0, 20.0], "b": 30.0})
    {'W': [11.0, 22.0], 'b': 33.0}
    """
    return map_with_path(lambda _, *leaves: f(*leaves), "params", tree, *rest)


def tree_leaves(tree):
    """Return the list of all leaves, in the order in which `ravel` puts them: dict keys sorted, lists as they are.

    >>> tree_leaves({"b": 3.0, "W": [1.0, 2.0]})
    [1.0, 2.0, 3.0]
    """
    leaves = []
    tree_map(leaves.append, tree)
    return leaves


def count_params(params):
    """Return how many numbers `params` holds.

    >>> count_params({"W": numpy.zeros((3, 2)), "b": numpy.zeros(3)})
    9
    """
    return sum(int(np.size(leaf)) for leaf in tree_leaves(params))


def ravel(params):
    """Return all numbers of `params` in one vector, and the function `unravel` that goes back.

    ``unravel(ravel(params)[0])`` equals `params`. The vector is a copy and keeps the dtype of the leaves;
    `unravel` returns views of the vector it is given, in that vector's dtype, and takes autograd's boxes, so an
    optimizer sees one vector and a model never does::

        vector, unravel = ravel(params)
        grad(lambda v: loss(unravel(v)))(vector)

    Cost: one copy to ravel; unravel is O(number of leaves), two small autograd nodes each. Raises TypeError, naming
    its place, for a leaf that is no float array or has another dtype than the first.

    >>> vector, unravel = ravel({"W": numpy.ones((2, 2)), "b": numpy.zeros(2)})
    >>> vector
    array([1., 1., 1., 1., 0., 0.])
    >>> unravel(2 * vector)["W"]
    array([[2., 2.],
           [2., 2.]])
    """
    places = []  # (path, dtype, shape, start, stop) of each leaf

    def place(path, leaf):
        dtype = getattr(leaf, "dtype", numpy.dtype(float) if type_of(leaf) is float else None)
        if dtype is None or numpy.dtype(dtype).kind != "f":
            raise TypeError(f"{path}: expected a float array, got {dtype or type_of(leaf).__name__}")
        first_path, first_dtype = places[0][:2] if places else (path, dtype)
        if dtype != first_dtype:
            raise TypeError(f"{path}: expected {first_dtype}, the dtype of {first_path}, got {dtype}")
        start = places[-1][-1] if places else 0
        places.append((path, dtype, np.shape(leaf), start, start + int(np.size(leaf))))

    skeleton = map_with_path(place, "params", params)
    size = places[-1][-1] if places else 0

    def unravel(vector):
        require(np.shape(vector) == (size,), f"unravel: expected a vector of shape ({size},), got {np.shape(vector)}")
        pieces = iter([np.reshape(vector[start:stop], shape) for _, _, shape, start, stop in places])
        return tree_map(lambda _: next(pieces), skeleton)

    leaves = [np.ravel(leaf) for leaf in tree_leaves(params)]
    return np.concatenate(leaves) if leaves else numpy.zeros(0), unravel
