"""A normalizing flow: a base distribution and a chain of invertible maps, trained by maximum likelihood.

Maps run from data to latent, so the density adds their log-determinants: log p(x) = log p0(f(x)) + log|det df/dx|.
"""

import operator
from dataclasses import dataclass
from functools import reduce

import autograd.numpy as np
import numpy
from autograd.tracer import isbox

from minigen.errors import check_batch, check_integer, require
from minigen.flows.fused import in_blocks, joined, negative_log_likelihood
from minigen.foundations.change_of_variables import Bijection, Chain, Inverse, same_log_det
from minigen.foundations.distributions import Distribution, Normal
from minigen.fused import BLOCK
from minigen.tree import tree_leaves

__all__ = ["Flow", "standard_normal"]


def standard_normal(features):
    """Return N(0, I) in `features` dimensions, the usual base of a flow.

    >>> standard_normal(2).log_prob(numpy.zeros((1, 2))).round(4)
    array([-1.8379])
    """
    check_integer("standard_normal", "features", features, 1)
    return Normal(numpy.zeros(features), numpy.ones(features))


def _steps(map, params, inverse=False):
    """Yield (layer, params, inverse) in the order in which `map` applies its layers."""
    if type(map) is Inverse:
        yield from _steps(map.map, params, not inverse)
    elif type(map) is Chain:
        for layer, layer_params in map.pairs(params)[:: -1 if inverse else 1]:
            yield from _steps(layer, layer_params, inverse)
    else:
        yield map, params, inverse


def _fused_call(layer, params, x, context, backwards):
    """Return the call of a fused node that `layer` is, or None: `minigen.flows.fused.joined` says what that is."""
    return layer.fused_node(params, x, context, backwards) if hasattr(layer, "fused_node") else None


def _fused_calls(map, params, x, context, inverse=False):
    """Return the calls that the layers of `map` are, if each of them is one, else nothing."""
    calls = []
    for layer, layer_params, backwards in _steps(map, params, inverse):
        call = _fused_call(layer, layer_params, x, context, backwards)
        if call is None:  # what comes after it may get points of another shape
            return []
        calls.append(call)
    return calls


def _apply(map, params, x, context, inverse=False, base=None):
    """Return what `map` returns, or log p(x) if there is a `base`; neighbouring fused layers make one autograd node."""
    changes, calls = [], []  # the log-determinants so far; the fused layers that wait to be applied

    def apply_waiting(x):
        if not calls:
            return x
        z, change = joined(x, calls)
        calls.clear()
        changes.append(change)
        return z

    for layer, layer_params, backwards in _steps(map, params, inverse):
        call = _fused_call(layer, layer_params, x, context, backwards)
        if call is not None:
            calls.append(call)
            continue
        x, change = (layer.inverse if backwards else layer.forward)(layer_params, apply_waiting(x), context)
        changes.append(change)
    if base is None:
        x = apply_waiting(x)
        return x, reduce(operator.add, changes, same_log_det(0.0, x))
    return reduce(operator.add, changes, joined(x, calls, base) if calls else base.log_prob(x))


def _apply_to_all(map, params, x, context, inverse=False, base=None):
    """Return what `_apply` does; where nothing is differentiated, block by block."""
    calls = _fused_calls(map, params, x, context, inverse)
    if calls:
        return joined(x, calls, base)  # which has blocks of its own, and prepares its layers once for all of them

    def of_block(x, context):
        result = _apply(map, params, x, context, inverse, base)
        return result if base is None else (result,)

    results = _in_blocks(of_block, params, x, context)
    return results if base is None else results[0]


@dataclass(frozen=True, eq=False)
class Flow:
    """The density of x = f⁻¹(z), where z is drawn from `base` and the parameters of f, `map`, are trained.

    - Log-density: `log p(x) = log p0(f(x)) + log|det df/dx|`.
    - Sample: `z ~ p0`, then `x = f⁻¹(z)`.
    - Loss: `−mean log p(x)` over the data, which is the forward KL divergence from the data's density plus that
      density's entropy.

    `base` is a fixed distribution, such as `standard_normal(D)`; params are ``{"base": {}, "map": ...}``. `context` is
    what a conditional density is conditioned on: a row for every point, or one row for all. Densities are (N,), nats.
    Cost: one pass through the map a method. Where nothing is differentiated, points go through in blocks of 1024, so
    memory beyond the result does not grow with N. Fused layers that stand next to each other become one autograd node.
    If all are fused, the whole loss is one, with its gradient found in such blocks too.
    NaN in gives NaN out. Raises ValueError if `base` is no Distribution, `map` no Bijection, or a shape does not fit;
    NoInverseError where sampling needs an inverse that there is none of.

    Reference: Papamakarios, Nalisnick, Rezende, Mohamed and Lakshminarayanan (2021), arXiv:1912.02762.

    >>> from minigen.flows.coupling import AffineCoupling
    >>> flow = Flow(standard_normal(2), Chain([AffineCoupling([1, 0]), AffineCoupling([0, 1])]))
    >>> rng = numpy.random.default_rng(0)
    >>> params = flow.init(rng, numpy.zeros((1, 2)))
    >>> flow.log_prob(params, numpy.zeros((1, 2))).round(4), flow.sample(params, rng, 3).shape
    (array([-1.8379]), (3, 2))
    """

    base: Distribution
    map: Bijection

    def __post_init__(self):
        require(isinstance(self.base, Distribution), f"Flow: expected a Distribution as base, got {self.base!r}")
        require(isinstance(self.map, Bijection), f"Flow: expected a Bijection as map, got {self.map!r}")

    def init(self, rng, x, context=None):
        """Return the starting parameters, in the dtype of the example batch `x`."""
        x = check_batch("Flow", x)
        return {"base": {}, "map": self.map.init(rng, x, _check_context(context, x))}

    def log_prob(self, params, x, context=None):
        """Return log p(x), shape (N,)."""
        x = check_batch("Flow", x)
        return _apply_to_all(self.map, params["map"], x, _check_context(context, x), base=self.base)

    def from_noise(self, params, z, context=None):
        """Return (x, log p(x)) of x = f⁻¹(z), both differentiable by `params`: the pathwise way to a sample."""
        z = check_batch("Flow", z)

        def of_block(z, context):
            x, log_det = _apply(self.map, params["map"], z, context, inverse=True)
            return x, self.base.log_prob(z) - log_det

        return _in_blocks(of_block, params, z, _check_context(context, z))

    def sample_and_log_prob(self, params, rng, n, context=None):
        """Draw n points; return them and their log-densities, for little more than the points alone cost."""
        return self.from_noise(params, self._noise(params, rng, n), context)

    def sample(self, params, rng, n, context=None):
        """Draw n points."""
        z = self._noise(params, rng, n)
        return _apply_to_all(self.map, params["map"], z, _check_context(context, z), inverse=True)[0]

    def loss(self, params, rng, batch):
        """Return −mean log p(x) for `fit`; `batch` is x, or (x, context)."""
        x, context = batch if type(batch) is tuple else (batch, None)
        x = check_batch("Flow", x)
        context = _check_context(context, x)
        calls = _fused_calls(self.map, params["map"], x, context)
        if calls and (isbox(x) or any(isbox(array) for _, arrays, _ in calls for array in arrays)):
            return negative_log_likelihood(x, calls, self.base)
        log_prob = self.log_prob(params, x, context)
        return np.sum(log_prob) / -log_prob.shape[0]  # np.mean's gradient would be float64

    def trace(self, params, x, context=None):
        """Return [x, z₁, …, z], the points after every layer, chains within chains laid flat."""
        zs = [check_batch("Flow", x)]
        for layer, layer_params, backwards in _steps(self.map, params["map"]):
            z, _ = (layer.inverse if backwards else layer.forward)(layer_params, zs[-1], context)
            zs.append(z)
        return zs

    def _noise(self, params, rng, n):
        check_integer("Flow", "n", n, 0)
        leaves = tree_leaves(params["map"])
        return self.base.sample(rng, n).astype(leaves[0].dtype if leaves else float, copy=False)


def _check_context(context, x):
    """Return `context` if it has a row for every point, or one for all."""
    if context is None:
        return None
    context, n = check_batch("Flow: context", context), x.shape[0]
    found = context.shape[0]
    require(found in (1, n), f"Flow: context: expected {n} rows as x has, or one, got {found}")
    return context


def _in_blocks(f, params, x, context):
    """Return the tuple f(x, context), computed block by block if no autograd box is among the arguments."""
    n = x.shape[0]
    if n <= BLOCK or any(isbox(leaf) for leaf in tree_leaves([params, x, context])):
        return f(x, context)
    return in_blocks(lambda rows: f(x[rows], context if context is None or len(context) == 1 else context[rows]), n)
