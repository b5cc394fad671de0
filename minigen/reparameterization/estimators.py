"""Estimators of ∇ E_q[f(z)], the gradient of an expectation with respect to the parameters of what is drawn.

Every estimator returns its value for each draw alone: a tree like `params` with one more axis in front, (N, ...). Its
mean over the draws is the estimate and its variance the estimator's, so bias and variance can be measured
(`mean_and_standard_error`).

A *family* q is any object with one or both of the methods

- ``from_noise(params, eps) -> z``: a draw as a function of the parameters and of noise that has none. Pathwise.
- ``log_prob(params, z) -> (N,)``: log q(z). The score function needs nothing else, so z may be discrete.

Both must also take parameters with one row for each draw. Formulas that broadcast, such as ``mean + std * eps``, do.
f and log_joint take a batch of draws and return (N,), in `autograd.numpy`, each row from its own draw alone.
"""

import functools
import math

import autograd.numpy as np
import numpy
from autograd import grad

from minigen.errors import as_float, require
from minigen.foundations.distributions import LOG_2PI, log_normal
from minigen.numerics import tanh
from minigen.tree import tree_map

__all__ = [
    "CholeskyGaussian",
    "DiagonalGaussian",
    "bounded_log_scale",
    "leave_one_out",
    "log_standard_normal",
    "mean_and_standard_error",
    "optimal_baseline",
    "pathwise",
    "pathwise_elbo",
    "per_sample_gradients",
    "score_function",
    "sticking_the_landing",
]

LOG_SCALE_BOUND = 7.0


class _Gaussian:
    """What the Gaussian families share: z = mean + L ε, and all that follows from log|det L|."""

    def log_prob_from_noise(self, params, eps):
        """Return log q(from_noise(params, eps)), shape (N,): no way back from z to the noise is needed."""
        return log_standard_normal(eps) - self.log_det(params)

    def _rows(self, params, x):
        """Return x (N, D), draws or noise, as floats, if it has the D that the parameters have."""
        x, features = as_float(x), params["mean"].shape[-1]
        fits = x.ndim > 0 and x.shape[-1] == features
        require(fits, f"{type(self).__name__}: expected shape (N, {features}) as the mean has, got shape {x.shape}")
        return x


class DiagonalGaussian(_Gaussian):
    """The family of Gaussians with independent coordinates; params are `mean` and `log_std`, (D,) or (N, D).

    - Draw: `z = mean + exp(log_std)·ε`, ε ~ N(0, I).
    - Log-density: `log q(z) = log N(ε; 0, I) − Σ log_std`.
    - KL from the standard normal: `KL(q‖N(0, I)) = Σ (mean² + exp(2·log_std) − 1)/2 − log_std`.

    In nats; cost O(D) a draw. NaN in gives NaN out. Reference: Kingma and Welling (2014), arXiv:1312.6114.

    >>> q, params = DiagonalGaussian(), {"mean": numpy.array([1.0, 0.0]), "log_std": numpy.zeros(2)}
    >>> q.from_noise(params, numpy.array([[0.5, -1.0]]))
    array([[ 1.5, -1. ]])
    >>> print(q.kl_standard_normal(params))
    0.5
    """

    def factor(self, params):
        """Return L, the diagonal matrix of standard deviations, shape (D, D) or (N, D, D)."""
        return _diagonal_matrix(params["log_std"])

    def log_det(self, params):
        """Return log|det L|: one number, or (N,) for parameters with rows."""
        return np.sum(params["log_std"], axis=-1)

    def from_noise(self, params, eps):
        """Return z, shape (N, D), for noise (N, D)."""
        return params["mean"] + np.exp(params["log_std"]) * self._rows(params, eps)

    def log_prob(self, params, z):
        """Return log q(z), shape (N,)."""
        return log_normal(self._rows(params, z), params["mean"], params["log_std"])

    def kl_standard_normal(self, params):
        """Return KL(q‖N(0, I)): one number, or (N,) for parameters with rows."""
        return _kl_standard_normal(params["mean"], params["log_std"])

    def outputs(self, features):
        """Return how many numbers a point's parameters are."""
        return 2 * features

    def from_outputs(self, y):
        """Return the params that the rows of y (N, 2D), a network's output, stand for; scales lie in e^-7 … e^7."""
        features = _features(self, y)
        return {"mean": y[:, :features], "log_std": bounded_log_scale(y[:, features:])}


class CholeskyGaussian(_Gaussian):
    """The family of all Gaussians, `cov = L Lᵀ` with L lower triangular and its diagonal positive.

    - Draw: `z = mean + L ε`, ε ~ N(0, I).
    - Log-density: `log q(z) = log N(ε; 0, I) − log|det L|`, with `ε = L⁻¹(z − mean)` and `log|det L| = Σ log_diag`.
    - KL from the standard normal: `KL(q‖N(0, I)) = (|mean|² + Σ Lᵢⱼ² − D)/2 − log|det L|`.

    Params: `mean` and `log_diag`, the logarithm of L's diagonal, both (D,) or (N, D), and `lower`, the D (D − 1)/2
    entries below it row by row, (…) or (N, …). In nats. Cost O(D²) a draw, but `log_prob` solves a system, O(D³).
    NaN in gives NaN out. Reference: Kingma and Welling (2019), arXiv:1906.02691.

    >>> q = CholeskyGaussian()
    >>> params = {"mean": numpy.zeros(2), "log_diag": numpy.log([2.0, 1.0]), "lower": numpy.array([3.0])}
    >>> q.factor(params)
    array([[2., 0.],
           [3., 1.]])
    >>> q.from_noise(params, numpy.array([[1.0, 1.0]]))
    array([[2., 4.]])
    """

    def factor(self, params):
        """Return L, shape (D, D) or (N, D, D)."""
        diagonal, lower = _diagonal_matrix(params["log_diag"]), params["lower"]
        features, found = diagonal.shape[-1], lower.shape
        below = features * (features - 1) // 2
        fits = found[-1:] == (below,)
        require(fits, f"CholeskyGaussian: expected {below} entries below the diagonal, D = {features}, got {found}")
        places = _triangle_places(features, lower.dtype)
        return diagonal + np.reshape(np.dot(lower, places), diagonal.shape)

    def log_det(self, params):
        """Return log|det L|: one number, or (N,) for parameters with rows."""
        return np.sum(params["log_diag"], axis=-1)

    def from_noise(self, params, eps):
        """Return z, shape (N, D), for noise (N, D)."""
        return params["mean"] + np.sum(self.factor(params) * np.expand_dims(self._rows(params, eps), -2), axis=-1)

    def log_prob(self, params, z):
        """Return log q(z), shape (N,)."""
        z = self._rows(params, z)
        centred = np.expand_dims(z - params["mean"], -1)
        # autograd's solve does not undo broadcasting, so each row gets a factor of its own
        factor = self.factor(params) + numpy.zeros((z.shape[0], 1, 1), dtype=centred.dtype)
        return self.log_prob_from_noise(params, np.reshape(np.linalg.solve(factor, centred), z.shape))

    def kl_standard_normal(self, params):
        """Return KL(q‖N(0, I)): one number, or (N,) for parameters with rows."""
        below = params["lower"]
        return _kl_standard_normal(params["mean"], params["log_diag"]) + 0.5 * np.sum(below * below, axis=-1)

    def outputs(self, features):
        """Return how many numbers a point's parameters are."""
        return features * (features + 3) // 2

    def from_outputs(self, y):
        """Return the params that the rows of y (N, D (D + 3)/2), a network's output, stand for."""
        features = _features(self, y)
        log_diag = bounded_log_scale(y[:, features : 2 * features])
        return {"mean": y[:, :features], "log_diag": log_diag, "lower": y[:, 2 * features :]}


def _features(q, y):
    """Return the D whose parameters are the rows of y, a network's output."""
    require(y.ndim == 2, f"{type(q).__name__}: expected a network's output of shape (N, outputs), got {y.shape}")
    features = 1
    while q.outputs(features) < y.shape[1]:
        features += 1
    fits = q.outputs(features) == y.shape[1]
    require(fits, f"{type(q).__name__}: no number of features takes {y.shape[1]} numbers a point")
    return features


def log_standard_normal(z):
    """Return log N(z; 0, I) = −|z|²/2 − D/2·log 2π, shape (N,), in nats: the noise's density, and a VAE's prior.

    >>> log_standard_normal(numpy.zeros((1, 2))).round(4)
    array([-1.8379])
    """
    z = _draws("log_standard_normal", z)
    return -0.5 * np.sum(z * z, axis=-1) - 0.5 * LOG_2PI * z.shape[-1]


def bounded_log_scale(raw):
    """Return `c·tanh(raw/c)`, c = 7: a log-scale that a network may not drive to infinity; near 0 it is `raw`.

    >>> bounded_log_scale(numpy.array([-1000.0, 0.0, 0.1])).round(4)
    array([-7. ,  0. ,  0.1])
    """
    return LOG_SCALE_BOUND * tanh(as_float(raw) / LOG_SCALE_BOUND)


def _kl_standard_normal(mean, log_scale):
    """Return Σ (mean² + scale² − 1)/2 − log scale; expm1 keeps it exact where q is close to N(0, I)."""
    return np.sum(0.5 * (mean * mean + np.expm1(2 * log_scale)) - log_scale, axis=-1)


def _diagonal_matrix(log_scale):
    return np.expand_dims(np.exp(log_scale), -1) * numpy.eye(log_scale.shape[-1], dtype=log_scale.dtype)


@functools.cache
def _triangle_places(features, dtype):
    """Return the 0/1 matrix that puts a row of D (D − 1)/2 numbers below the diagonal of a flattened (D, D)."""
    rows, columns = numpy.tril_indices(features, -1)
    places = numpy.zeros((len(rows), features * features), dtype=dtype)
    places[numpy.arange(len(rows)), rows * features + columns] = 1
    places.flags.writeable = False  # one array for all callers
    return places


def per_sample_gradients(function, params, n):
    """Return the gradient of each of the n numbers `function(params)` alone: a tree like `params`, leaves (n, ...).

    Each draw gets a copy of the parameters of its own, and the n copies are differentiated in one backward pass.
    `function` gets the copies: leaves with one row for each draw. Cost: one gradient, memory n times the parameters.
    Raises ValueError if `function` does not return shape (n,).

    >>> eps = numpy.array([[0.0], [1.0], [2.0]])
    >>> per_sample_gradients(lambda p: np.sum((p["mean"] + eps) ** 2, axis=1), {"mean": numpy.array([1.0])}, 3)
    {'mean': array([[2.],
           [4.],
           [6.]])}
    """

    def copies(leaf):
        leaf = as_float(leaf)
        return leaf + numpy.zeros((n, *leaf.shape), dtype=leaf.dtype)

    def total(rows):
        return np.sum(_check_rows("per_sample_gradients", function(rows), n))

    return grad(total)(tree_map(copies, params))


def _check_rows(who, values, n):
    require(np.shape(values) == (n,), f"{who}: expected one number for each draw, ({n},), got {np.shape(values)}")
    return values


def _draws(who, z):
    z = as_float(z)
    require(z.ndim > 0, f"{who}: expected draws of shape (N, ...), got a scalar")
    return z


def _beside(values, leaf):
    """Return values (N,) so that they multiply a leaf (N, ...) row by row."""
    return np.reshape(values, (-1, *[1] * (leaf.ndim - 1)))


def score_function(q, params, f, z, baseline=0.0):
    """Score-function estimator (REINFORCE): `(f(z) − b)·∇ log q(z)`, for each draw z ~ q.

    Unbiased for any b that does not depend on its own draw, since `E[∇ log q(z)] = 0`; f need not be differentiable,
    nor z continuous. `baseline` is b: one number, one for each draw (N,) (`leave_one_out`), or one for each parameter
    (a tree like `params`, `optimal_baseline`). f must not depend on the parameters. For an ELBO, f is
    ``log_joint(z) − log q(z)`` at fixed parameters: what is left out has mean 0.

    z (N, D) are draws from q; returns a tree with leaves (N, ...). Cost: one call of f and one gradient of log q.
    Raises ValueError for values that are not (N,). Reference: Williams (1992), doi:10.1007/BF00992696.

    >>> q, params = DiagonalGaussian(), {"mean": numpy.array([1.0]), "log_std": numpy.array([0.0])}
    >>> z = q.from_noise(params, numpy.random.default_rng(0).standard_normal((100_000, 1)))
    >>> gradients = score_function(q, params, lambda z: np.sum(z**2, axis=1), z)  # of E[z²] = mean² + std²
    >>> mean, error = mean_and_standard_error(gradients)
    >>> mean["mean"].round(1), error["mean"].round(3), round(float(gradients["mean"].var()))  # 2, and variance 30
    (array([2.]), array([0.017]), 30)
    """
    z = _draws("score_function", z)
    values = _check_rows("score_function", f(z), len(z))
    scores = per_sample_gradients(lambda rows: q.log_prob(rows, z), params, len(z))
    if isinstance(baseline, dict | list | tuple):
        return tree_map(lambda score, b: (_beside(values, score) - b) * score, scores, baseline)
    found = np.shape(baseline)
    require(found in ((), (len(z),)), f"score_function: expected one baseline, or ({len(z)},), got shape {found}")
    return tree_map(lambda score: _beside(values - baseline, score) * score, scores)


def leave_one_out(values):
    """Return for each value the mean of the others: a baseline that costs nothing and knows nothing of its own draw.

    The mean of all values would do nearly the same, but biased by the factor (N − 1)/N. The N gradients then depend
    on each other a little, and their standard error is right up to a relative O(1/N). values (N,), N >= 2.
    Raises ValueError for fewer. Reference: Kool, van Hoof and Welling (2019), "Buy 4 REINFORCE samples, get a
    baseline for free!".

    >>> leave_one_out(numpy.array([1.0, 2.0, 6.0]))
    array([4. , 3.5, 1.5])
    """
    values = _draws("leave_one_out", values)
    require(values.ndim == 1 and len(values) > 1, f"leave_one_out: expected shape (N,), N >= 2, got {values.shape}")
    return (np.sum(values) - values) / (len(values) - 1)


def optimal_baseline(q, params, f, z):
    """Return the constant baseline of least variance, one for each parameter: `b = E[f(z)·s²]/E[s²]`, `s = ∂ log q(z)`.

    The expectations are means over the draws z (N, D). To stay unbiased, estimate it from other draws than those it is
    used on; from the same ones the bias is O(1/N). A parameter whose score is always 0 gets b = 0.
    Returns a tree like `params`. Cost: as `score_function`. Raises ValueError for values that are not (N,).

    >>> q, params = DiagonalGaussian(), {"mean": numpy.array([1.0]), "log_std": numpy.array([0.0])}
    >>> z = q.from_noise(params, numpy.random.default_rng(0).standard_normal((100_000, 1)))
    >>> optimal_baseline(q, params, lambda z: np.sum(z**2, axis=1), z)["mean"].round(1)  # mean² + 3·std²
    array([4.])
    """
    z = _draws("optimal_baseline", z)
    values = _check_rows("optimal_baseline", f(z), len(z))
    scores = per_sample_gradients(lambda rows: q.log_prob(rows, z), params, len(z))

    def ratio(score):
        squares = score * score
        total = np.sum(squares, axis=0)
        return np.sum(_beside(values, score) * squares, axis=0) / (total + (total == 0))

    return tree_map(ratio, scores)


def pathwise(q, params, f, eps):
    """Pathwise estimator (the reparameterization trick): `∇ f(z(params, ε))`, for each ε, through z.

    Unbiased where z is a differentiable function of the parameters and f is differentiable almost everywhere and
    Lipschitz, or one bound of finite mean holds for all difference quotients of f(z(params, ε)). Continuity is not
    enough, and a step has gradient 0 wherever it has one: the estimate is then 0, and wrong.

    eps (N, ...) is q's noise; returns a tree with leaves (N, ...). Cost: one gradient of f(z).
    Raises ValueError for values that are not (N,). Reference: Kingma and Welling (2014), arXiv:1312.6114.

    >>> q, params = DiagonalGaussian(), {"mean": numpy.array([1.0]), "log_std": numpy.array([0.0])}
    >>> eps = numpy.random.default_rng(0).standard_normal((100_000, 1))
    >>> gradients = pathwise(q, params, lambda z: np.sum(z**2, axis=1), eps)  # of E[z²] = mean² + std²
    >>> mean, error = mean_and_standard_error(gradients)
    >>> mean["mean"].round(1), error["mean"].round(3), round(float(gradients["mean"].var()))  # 2, and variance 4
    (array([2.]), array([0.006]), 4)
    """
    eps = _draws("pathwise", eps)
    return per_sample_gradients(lambda rows: f(q.from_noise(rows, eps)), params, len(eps))


def pathwise_elbo(q, params, log_joint, eps):
    """Pathwise gradient of the ELBO `E_q[log p(x, z) − log q(z)]`, through the draw and through q's own parameters.

    ``log_joint(z) -> (N,)`` is log p(x, z) for the x at hand. Arguments, result and cost: as for `pathwise`.

    >>> q, params = DiagonalGaussian(), {"mean": numpy.array([0.0]), "log_std": numpy.array([0.0])}
    >>> log_joint = lambda z: log_normal(z, 0.0, 0.0)  # q is exact, and the gradient 0 only on average
    >>> pathwise_elbo(q, params, log_joint, numpy.array([[1.0], [-2.0]]))["log_std"]
    array([[ 0.],
           [-3.]])
    """
    eps = _draws("pathwise_elbo", eps)

    def log_weight(rows):
        z = q.from_noise(rows, eps)
        return _check_rows("pathwise_elbo: log_joint", log_joint(z), len(eps)) - q.log_prob(rows, z)

    return per_sample_gradients(log_weight, params, len(eps))


def sticking_the_landing(q, params, log_joint, eps):
    """Pathwise gradient of the ELBO without the term that is 0 on average, `−∇ log q(z)` at fixed z.

    Its variance vanishes where q is the exact posterior (log p(x, z) − log q(z) is constant then); elsewhere it may be
    higher or lower than `pathwise_elbo`'s, as the dropped score correlates with the rest.

    Arguments, result and cost: as for `pathwise_elbo`. Reference: Roeder, Wu and Duvenaud (2017), arXiv:1703.09194.

    >>> q, params = DiagonalGaussian(), {"mean": numpy.array([0.0]), "log_std": numpy.array([0.0])}
    >>> sticking_the_landing(q, params, lambda z: log_normal(z, 0.0, 0.0), numpy.array([[1.0], [-2.0]]))["log_std"]
    array([[0.],
           [0.]])
    """
    eps = _draws("sticking_the_landing", eps)

    def log_weight(rows):
        z = q.from_noise(rows, eps)
        values = _check_rows("sticking_the_landing: log_joint", log_joint(z), len(eps))
        return values - q.log_prob(params, z)  # params, not rows: here they are constants

    return per_sample_gradients(log_weight, params, len(eps))


def mean_and_standard_error(samples):
    """Return the means over the first axis and their standard errors, `sqrt(Σ (s − mean)²/(N − 1)/N)`: two trees.

    `samples` is a tree of arrays (N, ...), N >= 2, of independent draws. Cost O(size). Raises ValueError for N < 2.

    >>> mean_and_standard_error(numpy.array([[1.0], [2.0], [3.0]]))
    (array([2.]), array([0.57735027]))
    """

    def standard_error(leaf):
        require(np.ndim(leaf) > 0 and len(leaf) > 1, f"mean_and_standard_error: expected N >= 2, got {np.shape(leaf)}")
        return numpy.std(leaf, axis=0, ddof=1) / math.sqrt(len(leaf))

    errors = tree_map(standard_error, samples)
    return tree_map(lambda leaf: numpy.mean(leaf, axis=0), samples), errors
