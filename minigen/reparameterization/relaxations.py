"""Discrete variables, through which no gradient passes, and continuous ones that stand in for them.

A draw is a one-hot row (N, K), so that ``f(draw)`` is a function of numbers. Gumbel noise is ``rng.gumbel(size=…)``.
The stand-ins are pathwise families for `minigen.reparameterization.estimators`, biased ones; the truth to hold them
against is `enumerate_expectation`.
"""

import math
from dataclasses import dataclass

import autograd.numpy as np
import numpy

from minigen.errors import as_float, require
from minigen.numerics import logsumexp, stop_gradient

__all__ = [
    "GumbelSoftmax",
    "OneHotCategorical",
    "enumerate_expectation",
    "gumbel_max",
    "gumbel_softmax",
    "straight_through",
]


def _log_probs(logits):
    return logits - np.expand_dims(logsumexp(logits), -1)


def _perturb(who, logits, gumbel):
    logits, gumbel = as_float(logits), as_float(gumbel)
    fits = logits.ndim > 0 and logits.shape in (gumbel.shape, gumbel.shape[-1:])
    require(fits, f"{who}: expected gumbel noise (N, K) for logits (K,) or (N, K), got {gumbel.shape}, {logits.shape}")
    return logits + gumbel


def gumbel_max(logits, gumbel):
    """Exact draw from the categorical distribution: the one-hot row at `argmaxₖ (logitsₖ + gumbelₖ)`.

    P(argmax = k) = softmax(logits)ₖ if the gumbels are independent standard Gumbel noise (`rng.gumbel`). Piecewise
    constant in the logits: its gradient is 0. logits (K,) or (N, K), gumbel (N, K); returns (N, K); cost O(K) a draw.
    NaN counts as the largest. Reference: Maddison, Tarlow and Minka (2014), arXiv:1411.0030.

    >>> gumbel_max(numpy.log([0.5, 0.25, 0.25]), numpy.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]))
    array([[1., 0., 0.],
           [0., 0., 1.]])
    """
    perturbed = stop_gradient(_perturb("gumbel_max", logits, gumbel))
    return numpy.eye(perturbed.shape[-1], dtype=perturbed.dtype)[numpy.argmax(perturbed, axis=-1)]


def gumbel_softmax(logits, gumbel, temperature):
    """Relaxed draw: `softmax((logits + gumbel)/temperature)`, a point of the simplex, differentiable in the logits.

    As the temperature goes to 0 the draw becomes `gumbel_max`'s, and the variance of its gradient grows without bound.
    At any temperature above, E[f] and its gradient belong to another distribution: a bias, even for a linear f, since
    the relaxed draw's mean is not softmax(logits). It vanishes with the temperature, but may change its sign on the
    way. Shapes and cost as for `gumbel_max`. NaN gives NaN.
    Raises ValueError unless temperature > 0.
    Reference: Jang, Gu and Poole (2017), arXiv:1611.01144; arXiv:1611.00712 calls it the Concrete distribution.

    >>> gumbel_softmax(numpy.log([0.5, 0.25, 0.25]), numpy.zeros((1, 3)), 0.5).round(4)
    array([[0.6667, 0.1667, 0.1667]])
    """
    require(0 < temperature < math.inf, f"gumbel_softmax: expected temperature > 0, got {temperature!r}")
    return np.exp(_log_probs(_perturb("gumbel_softmax", logits, gumbel) / float(temperature)))


def straight_through(hard, soft):
    """Value of `hard`, gradient of `soft`: `hard + (soft − soft)`, where only the first `soft` is differentiated.

    The gradient is that of another function than the value: biased, however many draws. Two arrays of one shape.
    Raises ValueError for others. Reference: Bengio, Léonard and Courville (2013), arXiv:1308.3432.

    >>> from autograd import grad
    >>> print(grad(lambda x: straight_through(stop_gradient(x).round(), x) ** 2)(numpy.array(1.4)))  # 2·round(x)·1
    2.0
    """
    hard, soft = as_float(hard), as_float(soft)
    require(hard.shape == soft.shape, f"straight_through: hard has shape {hard.shape} but soft has {soft.shape}")
    return stop_gradient(hard) + (soft - stop_gradient(soft))


class OneHotCategorical:
    """The family of one-hot draws; params are `logits`, (K,) or (N, K), of any height: `P(k) = softmax(logits)ₖ`.

    A family for `score_function`; through its `from_noise` no gradient passes. Draws (N, K); cost O(K).

    >>> q, params = OneHotCategorical(), {"logits": numpy.log([0.5, 0.25, 0.25])}
    >>> q.log_prob(params, numpy.eye(3)).round(4)
    array([-0.6931, -1.3863, -1.3863])
    """

    def from_noise(self, params, gumbel):
        """Return `gumbel_max`'s draw, shape (N, K)."""
        return gumbel_max(params["logits"], gumbel)

    def log_prob(self, params, z):
        """Return log P(z), shape (N,), for one-hot rows z."""
        log_probs = _log_probs(params["logits"])
        found, wanted = np.shape(z), log_probs.shape[-1]
        require(found[-1:] == (wanted,), f"OneHotCategorical: expected draws of shape (N, {wanted}), got {found}")
        return np.sum(z * log_probs, axis=-1)


@dataclass(frozen=True)
class GumbelSoftmax:
    """The family of relaxed draws at one temperature; params are `logits`. A pathwise family, biased.

    With `hard`, the value is the exact one-hot draw and only the gradient is the relaxed draw's (straight-through).
    Raises ValueError unless temperature > 0.

    >>> from minigen.reparameterization.estimators import pathwise
    >>> params, gumbel = {"logits": numpy.zeros(2)}, numpy.array([[0.0, 1.0]])
    >>> cost = lambda z: np.dot(z, numpy.array([0.0, 1.0]))
    >>> pathwise(GumbelSoftmax(1.0), params, cost, gumbel)["logits"].round(4)
    array([[-0.1966,  0.1966]])
    """

    temperature: float
    hard: bool = False

    def __post_init__(self):
        require(0 < self.temperature < math.inf, f"GumbelSoftmax: expected temperature > 0, got {self.temperature!r}")

    def from_noise(self, params, gumbel):
        """Return the draw, shape (N, K)."""
        soft = gumbel_softmax(params["logits"], gumbel, self.temperature)
        return straight_through(gumbel_max(params["logits"], gumbel), soft) if self.hard else soft


def enumerate_expectation(logits, f):
    """Return `E[f(z)] = Σₖ softmax(logits)ₖ·f(eₖ)` exactly, over all K one-hot outcomes eₖ: traced in the logits.

    Its gradient is the truth that every estimator is measured against. logits (K,); f takes (K, K) and returns (K,);
    returns one number. Cost: one call of f. Raises ValueError for other shapes.

    >>> from autograd import grad
    >>> values = numpy.array([0.0, 1.0])
    >>> grad(enumerate_expectation)(numpy.zeros(2), lambda z: np.dot(z, values))
    array([-0.25,  0.25])
    """
    logits = as_float(logits)
    require(logits.ndim == 1, f"enumerate_expectation: expected logits of shape (K,), got {logits.shape}")
    values = f(numpy.eye(logits.shape[0], dtype=logits.dtype))
    require(np.shape(values) == logits.shape, f"enumerate_expectation: f returned shape {np.shape(values)}")
    return np.sum(np.exp(_log_probs(logits)) * values)
