"""Fused nodes of the VAE: the draw, the KL and the noise models, one by one, and all of it with both networks as one.

As everywhere, each node is made by `minigen.fused.fuse` from its plain twin, the definition, and a backward pass that
is derived in its docstring. ḡ is the gradient of a scalar with respect to what stands in its index.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import autograd.numpy as np
import numpy

from minigen.foundations.distributions import LOG_2PI, log_normal
from minigen.fused import dense_stack_plain, fuse, fuse_mean, stack_backward, stack_forward
from minigen.numerics import softplus
from minigen.reparameterization.estimators import LOG_SCALE_BOUND, DiagonalGaussian

__all__ = [
    "LIKELIHOODS",
    "bernoulli_log_prob",
    "bernoulli_log_prob_plain",
    "floored_log_std",
    "gaussian_log_prob",
    "gaussian_log_prob_plain",
    "kl",
    "kl_plain",
    "learned_gaussian_log_prob",
    "learned_gaussian_log_prob_plain",
    "negative_elbo",
    "negative_elbo_plain",
    "sample",
    "sample_plain",
]


def sample_plain(y, eps):
    """Return z (N, D) from N(mean, std²), for a network's output y (N, 2D) and noise (N, D): the definition.

    >>> sample_plain(numpy.zeros((1, 4)), numpy.array([[0.5, -1.0]]))
    array([[ 0.5, -1. ]])
    """
    q = DiagonalGaussian()
    return q.from_noise(q.from_outputs(y), eps)


def _scales(y):
    """Return the mean, the log-std s that the raw scales r, the right half of y, stand for, and ds/dr."""
    features = y.shape[1] // 2
    log_std = y[:, features:] * (1 / LOG_SCALE_BOUND)
    numpy.tanh(log_std, out=log_std)
    slope = log_std * log_std
    numpy.subtract(1, slope, out=slope)
    log_std *= LOG_SCALE_BOUND
    return y[:, :features], log_std, slope


def _sample_forward(y, eps):
    return _sample_from(*_scales(y), eps)


def _sample_from(mean, log_std, slope, eps):
    std = numpy.exp(log_std)
    z = std * eps
    slope = z * slope
    z += mean
    return z, (std, slope)


def _sample_backward(g, saved, needed, y, eps):
    std, slope = saved
    gradients = {0: numpy.concatenate([g, g * slope], axis=1)}
    if 1 in needed:
        gradients[1] = g * std
    return gradients


_fused_sample = fuse(sample_plain, _sample_forward, _sample_backward)


def sample(y, eps):
    """Return `sample_plain`, as one autograd node.

    Backward pass, with y = [m, r], `s = c·tanh(r/c)`, `σ = exp(s)` and `z = m + σ ε`:

    - `ḡ_m = ḡ`
    - `ḡ_r = ḡ σ ε (1 − tanh²(r/c))`, since `∂σ/∂s = σ` and `∂s/∂r = 1 − tanh²(r/c)`
    - `ḡ_ε = ḡ σ`

    Arguments and shapes: as for the plain twin. Cost O(D) a point.

    >>> sample(numpy.zeros((1, 4)), numpy.array([[0.5, -1.0]]))
    array([[ 0.5, -1. ]])
    """
    return _fused_sample(y, eps)


def kl_plain(y):
    """Return KL(N(mean, std²)‖N(0, I)), shape (N,), for a network's output y (N, 2D): the definition.

    >>> kl_plain(numpy.array([[2.0, 0.0]]))
    array([2.])
    """
    q = DiagonalGaussian()
    return q.kl_standard_normal(q.from_outputs(y))


def _kl_forward(y):
    return _kl_from(*_scales(y))


def _kl_from(mean, log_std, slope):
    excess = numpy.expm1(2 * log_std)  # σ² − 1
    slope = slope * excess
    excess += mean * mean
    excess *= 0.5
    excess -= log_std
    return _row_sums(excess), slope


def _kl_backward(g, slope, needed, y):
    gradient = numpy.concatenate([y[:, : slope.shape[1]], slope], axis=1)
    gradient *= g[:, None]
    return {0: gradient}


_fused_kl = fuse(kl_plain, _kl_forward, _kl_backward)


def kl(y):
    """Return `kl_plain`, as one autograd node.

    Backward pass, with y = [m, r], `s = c·tanh(r/c)`, `σ = exp(s)` and the value `Σ (m² + σ² − 1)/2 − s`:

    - `ḡ_m = ḡ m`
    - `ḡ_r = ḡ (σ² − 1) (1 − tanh²(r/c))`

    >>> kl(numpy.array([[2.0, 0.0]]))
    array([2.])
    """
    return _fused_kl(y)


def _row_sums(terms):
    return numpy.dot(terms, numpy.ones(terms.shape[1], dtype=terms.dtype))  # faster than numpy.sum over short rows


def gaussian_log_prob_plain(y, x, std):
    """Return log N(x; y, std²), shape (N,): the definition.

    >>> gaussian_log_prob_plain(numpy.zeros((1, 2)), numpy.zeros((1, 2)), 1.0).round(4)
    array([-1.8379])
    """
    z = (x - y) / std
    return np.sum(-0.5 * z * z, axis=1) - y.shape[1] * (math.log(std) + 0.5 * LOG_2PI)


def _gaussian_forward(y, x, std):
    z = x - y
    z *= 1 / std
    values = _row_sums(z * z)
    values *= -0.5
    values -= y.shape[1] * (math.log(std) + 0.5 * LOG_2PI)
    return values, z


def _gaussian_backward(g, z, needed, y, x, std):
    gradient = (g[:, None] / std) * z
    return {0: gradient, 1: -gradient} if 1 in needed else {0: gradient}


_fused_gaussian = fuse(gaussian_log_prob_plain, _gaussian_forward, _gaussian_backward)


def gaussian_log_prob(y, x, std):
    """Return log N(x; y, std²), shape (N,), as one autograd node; `std` is a constant.

    Backward pass: `ḡ_y = ḡ (x − y)/std²` and `ḡ_x = −ḡ_y`. Cost O(D) a point.

    >>> gaussian_log_prob(numpy.zeros((1, 2)), numpy.zeros((1, 2)), 1.0).round(4)
    array([-1.8379])
    """
    return _fused_gaussian(y, x, std=std)


def floored_log_std(raw, floor):
    """Return `log(floor·(1 + exp(raw + a)))`, `a = log(1/floor − 1)`: a log-std above log(floor), 0 where raw is 0.

    >>> floored_log_std(numpy.array([-1000.0, 0.0]), 0.1).round(4)
    array([-2.3026,  0.    ])
    """
    return math.log(floor) + softplus(raw + math.log(1 / floor - 1))


def learned_gaussian_log_prob_plain(y, x, floor):
    """Return log N(x; mean, std²), (N,), for y = [mean, raw] and `std = floor·(1 + exp(raw + a))`: the definition.

    >>> learned_gaussian_log_prob_plain(numpy.zeros((1, 4)), numpy.zeros((1, 2)), 0.1).round(4)
    array([-1.8379])
    """
    features = x.shape[1]
    return log_normal(x, y[:, :features], floored_log_std(y[:, features:], floor))


def _learned_forward(y, x, floor):
    features = x.shape[1]
    log_std = floored_log_std(y[:, features:], floor)
    inverse = numpy.exp(-log_std)
    z = (x - y[:, :features]) * inverse
    return _row_sums(-0.5 * z * z - log_std) - 0.5 * LOG_2PI * features, (z, inverse)


def _learned_backward(g, saved, needed, y, x, floor):
    z, inverse = saved
    g, features = g[:, None], x.shape[1]
    gradient = numpy.empty_like(y)
    gradient[:, :features] = g * z * inverse
    gradient[:, features:] = g * (z * z - 1) * (1 - floor * inverse)
    return {0: gradient, 1: -gradient[:, :features]}


_fused_learned = fuse(learned_gaussian_log_prob_plain, _learned_forward, _learned_backward)


def learned_gaussian_log_prob(y, x, floor):
    """Return `learned_gaussian_log_prob_plain`, as one autograd node.

    Backward pass, with y = [m, r], `s = log std`, `z = (x − m)/std`, so that the value is `Σ −z²/2 − s − log(2π)/2`:

    - `ḡ_m = ḡ z/std` and `ḡ_x = −ḡ_m`
    - `ḡ_s = ḡ (z² − 1)`, since `∂z/∂s = −z`
    - `ḡ_r = ḡ_s (1 − floor/std)`: with e = exp(r + a), `ds/dr = e/(1 + e)` and `std = floor·(1 + e)`

    Arguments and shapes: as for the plain twin. Cost O(D) a point.

    >>> learned_gaussian_log_prob(numpy.zeros((1, 4)), numpy.zeros((1, 2)), 0.1).round(4)
    array([-1.8379])
    """
    return _fused_learned(y, x, floor=floor)


def bernoulli_log_prob_plain(y, x):
    """Return the log-probability of bits x with logits y, `Σ x y − softplus(y)`, shape (N,): the definition.

    >>> bernoulli_log_prob_plain(numpy.zeros((1, 2)), numpy.array([[0.0, 1.0]])).round(4)
    array([-1.3863])
    """
    return np.sum(x * y - softplus(y), axis=1)


def _bernoulli_forward(y, x):
    rest = numpy.exp(-abs(y))  # softplus(y) = max(y, 0) + log(1 + rest), and sigmoid(y) = (1 or rest)/(1 + rest)
    terms = x * y
    terms -= numpy.maximum(y, 0)
    terms -= numpy.log1p(rest)
    return _row_sums(terms), rest


def _bernoulli_backward(g, rest, needed, y, x):
    g = g[:, None]
    positive = y >= 0
    probability = (positive + ~positive * rest) / (1 + rest)
    return {0: g * (x - probability), 1: g * y}


_fused_bernoulli = fuse(bernoulli_log_prob_plain, _bernoulli_forward, _bernoulli_backward)


def bernoulli_log_prob(y, x):
    """Return `bernoulli_log_prob_plain`, as one autograd node.

    Backward pass: `ḡ_y = ḡ (x − sigmoid(y))`, what the bit is less what was expected, and `ḡ_x = ḡ y`.

    >>> bernoulli_log_prob(numpy.zeros((1, 2)), numpy.array([[0.0, 1.0]])).round(4)
    array([-1.3863])
    """
    return _fused_bernoulli(y, x)


class Likelihood(NamedTuple):
    """The pieces of a noise model's node, each called with (y, x) and its constants as `fuse` says."""

    node: Callable
    plain: Callable
    forward: Callable
    backward: Callable


LIKELIHOODS = {
    "gaussian": Likelihood(gaussian_log_prob, gaussian_log_prob_plain, _gaussian_forward, _gaussian_backward),
    "learned": Likelihood(
        learned_gaussian_log_prob, learned_gaussian_log_prob_plain, _learned_forward, _learned_backward
    ),
    "bernoulli": Likelihood(bernoulli_log_prob, bernoulli_log_prob_plain, _bernoulli_forward, _bernoulli_backward),
}


def negative_elbo_plain(x, eps, *layers, depth, activations, likelihood, constants):
    """Return the VAE's loss, one number: minus the mean ELBO of the points x (N, D), from noise eps (N, D_z).

    - `y = encoder(x)`, `z = sample(y, ε)`, `out = decoder(z)`
    - `loss = mean over the points of kl(y) − log p(x; out)`

    `layers` are the weights and biases of the encoder, 2·depth of them, and then the decoder's; `activations` are both
    networks'; `likelihood` is a name in `LIKELIHOODS`, with its `constants`. Cost: both networks.

    >>> identity = [numpy.array([[1.0], [0.0]]), numpy.zeros(2), numpy.ones((1, 1)), numpy.zeros(1)]
    >>> structure = dict(depth=1, activations=("tanh", "tanh"), likelihood="gaussian", constants={"std": 1.0})
    >>> print(negative_elbo_plain(numpy.array([[2.0]]), numpy.zeros((1, 1)), *identity, **structure).round(4))
    2.9189
    """
    y = dense_stack_plain(x, None, *layers[: 2 * depth], activation=activations[0])
    out = dense_stack_plain(sample_plain(y, eps), None, *layers[2 * depth :], activation=activations[1])
    return np.sum(kl_plain(y) - LIKELIHOODS[likelihood].plain(out, x, **constants)) / x.shape[0]


def _elbo_forward(x, eps, *layers, depth, activations, likelihood, constants):
    x, eps = numpy.asfortranarray(x), numpy.asfortranarray(eps)  # as the networks': each feature's numbers in a row
    y, encoder = stack_forward(x.T, None, *layers[: 2 * depth], activation=activations[0])
    y = y.T
    scales = _scales(y)
    z, draw = _sample_from(*scales, eps)
    divergence, slope = _kl_from(*scales)
    out, decoder = stack_forward(z.T, None, *layers[2 * depth :], activation=activations[1])
    out = out.T
    log_prob, noise = LIKELIHOODS[likelihood].forward(out, x, **constants)
    divergence -= log_prob
    return divergence, (x, y, encoder, z, draw, slope, out, decoder, noise)


def _elbo_backward(g, saved, needed, x, eps, *layers, depth, activations, likelihood, constants):
    x, y, encoder, z, draw, slope, out, decoder, noise = saved
    of_noise = LIKELIHOODS[likelihood].backward(-g, noise, (0, 1) if 0 in needed else (0,), out, x, **constants)
    outer = {0} | {i - 2 * depth for i in needed if i >= 2 + 2 * depth}  # positions of the decoder's arrays
    options = {"activation": activations[1]}
    of_decoder = stack_backward(of_noise[0].T, decoder, outer, z.T, None, *layers[2 * depth :], **options)
    of_draw = _sample_backward(of_decoder[0].T, draw, (0, 1) if 1 in needed else (0,), y, eps)
    g_y = of_draw[0]
    g_y += _kl_backward(g, slope, (0,), y)[0]
    inner = {i for i in needed if i < 2 + 2 * depth and i != 1}
    options = {"activation": activations[0]}
    gradients = stack_backward(g_y.T, encoder, inner, x.T, None, *layers[: 2 * depth], **options)
    gradients.update({i + 2 * depth: of_decoder[i] for i in of_decoder if i >= 2})
    if 0 in needed:  # x is seen by the encoder and by the likelihood
        gradients[0] = gradients[0].T + of_noise[1]
    if 1 in needed:
        gradients[1] = of_draw[1]
    return gradients


_fused_elbo = fuse_mean(negative_elbo_plain, _elbo_forward, _elbo_backward, lambda x, eps, *layers, **structure: [0, 1])


def negative_elbo(x, eps, *layers, depth, activations, likelihood, constants):
    """Return `negative_elbo_plain`, the whole VAE as one autograd node.

    Backward pass: each part's own, one after the other against the stream. From `ḡ`, every point's log-likelihood gets
    `−ḡ/N` and its KL `ḡ/N`. The likelihood's pass gives `ḡ_out`, the decoder's the gradients of its layers and `ḡ_z`,
    the draw's and the KL's together `ḡ_y`, and the encoder's the gradients of its layers. No part is written twice:
    these are the backward passes of `sample`, `kl`, the noise model and `minigen.fused.dense_stack`.

    Arguments, shapes and cost: as for the plain twin; the backward pass costs twice the forward pass.

    >>> identity = [numpy.array([[1.0], [0.0]]), numpy.zeros(2), numpy.ones((1, 1)), numpy.zeros(1)]
    >>> structure = dict(depth=1, activations=("tanh", "tanh"), likelihood="gaussian", constants={"std": 1.0})
    >>> print(negative_elbo(numpy.array([[2.0]]), numpy.zeros((1, 1)), *identity, **structure).round(4))
    2.9189
    """
    structure = {"depth": depth, "activations": activations, "likelihood": likelihood, "constants": constants}
    return _fused_elbo(x, eps, *layers, **structure)
