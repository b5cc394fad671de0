"""Lower bounds on log p(x) of a latent-variable model, and a model on which all of them are known exactly.

With a prior p(z) = N(0, I), a likelihood p(x|z) and any density q(z|x), the ELBO in its three forms is

- `E_q[log p(x, z) − log q(z|x)]`: `elbo_sampled`, for any model;
- `E_q[log p(x|z)] − KL(q‖prior)`: `elbo_split`, its KL in closed form (not always less noisy: not near the posterior);
- `log p(x) − KL(q‖posterior)`: where these are known (`LinearGaussian`), and why it is a bound.

q is a family of `minigen.reparameterization.estimators` and `params` what it has for each point: leaves (N, ...). The
noise `eps` is (K, N, D_z), K draws for each of the N points of x. Everything is in nats, and traced.
"""

import functools
import math
from dataclasses import dataclass

import autograd.numpy as np
import numpy

from minigen.errors import check_batch, check_points, require
from minigen.foundations.distributions import Distribution, Normal, log_normal
from minigen.numerics import log_mean_exp
from minigen.reparameterization.estimators import log_standard_normal
from minigen.tree import tree_map

__all__ = [
    "LinearGaussian",
    "elbo_sampled",
    "elbo_split",
    "importance_sampled",
    "importance_weighted_bound",
    "log_weights",
]


def _per_draw(rows, draws):
    """Return rows (N, ...) repeated for each of the K draws, (K·N, ...)."""
    if draws == 1:
        return rows
    repeated = np.expand_dims(rows, 0) + numpy.zeros((draws, *[1] * rows.ndim), dtype=rows.dtype)
    return np.reshape(repeated, (draws * rows.shape[0], *rows.shape[1:]))


def _draws(who, q, params, x, eps):
    """Return params, x and noise with a row for each draw, z, and a function from (K·N,) back to (K, N)."""
    x = check_batch(who, x)
    require(
        np.ndim(eps) == 3 and eps.shape[1] == x.shape[0],
        f"{who}: expected noise of shape (K, {x.shape[0]}, D_z), got shape {np.shape(eps)}",
    )
    draws, points, features = eps.shape
    require(draws > 0, f"{who}: expected at least one draw, got none")
    params = tree_map(lambda leaf: _per_draw(leaf, draws), params)
    eps = np.reshape(eps, (draws * points, features))

    def by_draw(values):
        require(np.shape(values) == (draws * points,), f"{who}: expected a number a draw, got {np.shape(values)}")
        return np.reshape(values, (draws, points))

    return params, _per_draw(x, draws), eps, q.from_noise(params, eps), by_draw


def log_weights(q, params, log_joint, x, eps):
    """Return the log importance weights `log wₖ = log p(x, zₖ) − log q(zₖ|x)`, `zₖ = z(params, εₖ)`, shape (K, N).

    ``log_joint(x, z) -> (N,)`` is log p(x, z). E_q[w] = p(x); their mean is the ELBO's estimate, their `log_mean_exp`
    the importance-weighted bound's. Cost: K N calls of log_joint's row. Raises ValueError for noise or values of
    another shape.

    >>> from minigen.reparameterization.estimators import CholeskyGaussian
    >>> model, x = LinearGaussian([[1.0]], [0.0], 1.0), numpy.array([[2.0]])
    >>> exact = model.posterior(x)
    >>> log_weights(CholeskyGaussian(), exact, model.log_joint, x, numpy.array([[[0.5]], [[-1.0]]])).round(4)
    array([[-2.2655],
           [-2.2655]])
    >>> model.log_prob(x).round(4)
    array([-2.2655])
    """
    params, x, eps, z, by_draw = _draws("log_weights", q, params, x, eps)
    return by_draw(log_joint(x, z)) - by_draw(q.log_prob_from_noise(params, eps))


def elbo_sampled(q, params, log_joint, x, eps):
    """Estimate of the ELBO in its first form, `mean over k of log p(x, zₖ) − log q(zₖ|x)`, shape (N,).

    Unbiased. Arguments, cost and errors: as for `log_weights`.

    >>> from minigen.reparameterization.estimators import CholeskyGaussian
    >>> model, x = LinearGaussian([[1.0]], [0.0], 1.0), numpy.array([[2.0]])
    >>> elbo_sampled(CholeskyGaussian(), model.posterior(x), model.log_joint, x, numpy.zeros((1, 1, 1))).round(4)
    array([-2.2655])
    """
    return np.sum(log_weights(q, params, log_joint, x, eps), axis=0) / len(eps)


def elbo_split(q, params, log_likelihood, x, eps):
    """Estimate of the ELBO in its second form, `mean over k of log p(x|zₖ) − KL(q‖N(0, I))`, shape (N,).

    Unbiased. ``log_likelihood(x, z) -> (N,)`` is log p(x|z), summed over the features of x as the KL is over those of
    z (a mean in either place would weigh one against the other). Arguments, cost and errors: as for `log_weights`.

    >>> from minigen.reparameterization.estimators import DiagonalGaussian
    >>> model, x = LinearGaussian([[1.0]], [0.0], 1.0), numpy.array([[2.0]])
    >>> params = {"mean": numpy.ones((1, 1)), "log_std": numpy.zeros((1, 1))}
    >>> elbo_split(DiagonalGaussian(), params, model.log_likelihood, x, numpy.zeros((1, 1, 1))).round(4)
    array([-1.9189])
    """
    kl = q.kl_standard_normal(params)
    _, x, _, z, by_draw = _draws("elbo_split", q, params, x, eps)
    return np.sum(by_draw(log_likelihood(x, z)), axis=0) / len(eps) - kl


def importance_weighted_bound(q, params, log_joint, x, eps):
    """Estimate of the importance-weighted bound, `log mean over k of p(x, zₖ)/q(zₖ|x)`, shape (N,).

    In expectation it is the ELBO for K = 1, rises with K and tends to log p(x) from below; a single estimate may lie
    above log p(x). Its gradient weighs the draws by their normalised weights, `wₖ/Σ w`. Arguments, cost and errors: as
    for `log_weights`. Reference: Burda, Grosse and Salakhutdinov (2016), arXiv:1509.00519.

    >>> from minigen.reparameterization.estimators import CholeskyGaussian
    >>> model, x = LinearGaussian([[1.0]], [0.0], 1.0), numpy.array([[2.0]])
    >>> params = {"mean": numpy.zeros((1, 1)), "log_diag": numpy.zeros((1, 1)), "lower": numpy.zeros((1, 0))}
    >>> eps = numpy.random.default_rng(0).standard_normal((100_000, 1, 1))
    >>> importance_weighted_bound(CholeskyGaussian(), params, model.log_joint, x, eps).round(2)
    array([-2.27])
    """
    return log_mean_exp(log_weights(q, params, log_joint, x, eps), 0)


def importance_sampled(log_weights):
    """Estimate of log p(x) from its log weights (K, N), and its standard error: two arrays (N,), in nats.

    - Estimate: `log ŵ`, ŵ the mean of the K weights.
    - Standard error: `std(w)/(ŵ·√K)`, to first order in ŵ's relative error (the delta method).

    Biased downwards by about half the squared error. Where few weights carry the mean both are too small, and the
    error cannot be trusted above some 0.3. K >= 2. Raises ValueError for other shapes.

    >>> estimate, error = importance_sampled(numpy.log([[1.0], [3.0]]))
    >>> estimate.round(4), error
    (array([0.6931]), array([0.5]))
    """
    found = np.shape(log_weights)
    require(len(found) == 2 and found[0] > 1, f"importance_sampled: expected shape (K, N), K >= 2, got {found}")
    estimate = log_mean_exp(log_weights, 0)
    relative = numpy.exp(log_weights - estimate)
    return estimate, numpy.std(relative, axis=0, ddof=1) / math.sqrt(found[0])


@dataclass(frozen=True, eq=False)
class LinearGaussian(Distribution):
    """The linear Gaussian model (probabilistic PCA): `p(z) = N(0, I)`, `p(x|z) = N(W z + b, σ² I)`. All is known.

    - Evidence: `p(x) = N(b, W Wᵀ + σ² I)`. As a `Distribution` the model is this one.
    - Posterior: `p(z|x) = N(M⁻¹ Wᵀ (x − b)/σ², M⁻¹)`, `M = I + Wᵀ W/σ²`: Gaussian, with one covariance for all x.

    W (D, D_z), b (D,), σ > 0. Points (N, D), latents (N, D_z), everything else (N,), in nats.
    Cost: O(D³ + D_z³) once, O(D² + D D_z) a point. Raises ValueError for shapes that do not fit, or unless σ > 0.
    Reference: Tipping and Bishop (1999), doi:10.1111/1467-9868.00196.

    >>> from minigen.reparameterization.estimators import CholeskyGaussian
    >>> model = LinearGaussian([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]], [0.0, 0.0, 1.0], 0.5)
    >>> x = model.sample(numpy.random.default_rng(0), 4)
    >>> q, params = CholeskyGaussian(), {"mean": x[:, :2], "log_diag": 0 * x[:, :2], "lower": x[:, :1]}
    >>> gap = model.log_prob(x) - model.elbo(q, params, x)
    >>> bool(abs(gap - model.kl_to_posterior(q, params, x)).max() < 1e-10)
    True
    """

    W: numpy.ndarray
    b: numpy.ndarray
    sigma: float

    def __post_init__(self):
        W, b = numpy.array(self.W, dtype=float), numpy.array(self.b, dtype=float)
        require(W.ndim == 2 and W.shape[1] > 0, f"LinearGaussian: expected W of shape (D, D_z), got {W.shape}")
        require(b.shape == W.shape[:1], f"LinearGaussian: W has {W.shape[0]} rows but b has shape {b.shape}")
        require(0 < self.sigma < math.inf, f"LinearGaussian: expected sigma > 0 and finite, got {self.sigma!r}")
        object.__setattr__(self, "W", W)
        object.__setattr__(self, "b", b)

    @property
    def features(self):
        """D."""
        return self.b.size

    @property
    def latent(self):
        """D_z."""
        return self.W.shape[1]

    @functools.cached_property
    def _evidence(self):
        return Normal(self.b, self.W @ self.W.T + self.sigma**2 * numpy.eye(self.features))

    @functools.cached_property
    def _posterior_factor(self):
        precision = numpy.eye(self.latent) + self.W.T @ self.W / self.sigma**2
        return numpy.linalg.cholesky(numpy.linalg.inv(precision))

    def log_prob(self, x):
        """Return log p(x), exactly."""
        return self._evidence.log_prob(x)

    def sample(self, rng, n):
        """Draw z from the prior, then x from the likelihood."""
        z = rng.standard_normal((n, self.latent))
        return self.decode(z) + self.sigma * rng.standard_normal((n, self.features))

    def entropy(self):
        """Return the entropy of x."""
        return self._evidence.entropy()

    def decode(self, z):
        """Return the likelihood's mean, W z + b."""
        z = check_points("LinearGaussian: z", z, self.latent)
        return np.dot(z, self.W.T) + self.b

    def log_likelihood(self, x, z):
        """Return log p(x|z)."""
        return log_normal(check_points("LinearGaussian", x, self.features), self.decode(z), math.log(self.sigma))

    def log_joint(self, x, z):
        """Return log p(x, z) = log p(z) + log p(x|z)."""
        return log_standard_normal(z) + self.log_likelihood(x, z)

    def posterior(self, x):
        """Return the exact posterior at each x: params for `CholeskyGaussian`."""
        x = check_points("LinearGaussian", x, self.features)
        L, rows = self._posterior_factor, numpy.zeros((x.shape[0], 1))
        mean = np.dot(x - self.b, self.W @ L @ L.T) / self.sigma**2
        log_diag, lower = numpy.log(numpy.diagonal(L)), L[numpy.tril_indices(self.latent, -1)]
        return {"mean": mean, "log_diag": log_diag + rows, "lower": lower + rows}

    def elbo(self, q, params, x):
        """Return the ELBO of any Gaussian q exactly: `log N(x; W m + b, σ² I) − |W L|²/(2σ²) − KL(q‖N(0, I))`."""
        spread = np.matmul(self.W, q.factor(params)) / self.sigma
        reconstruction = self.log_likelihood(x, params["mean"]) - 0.5 * np.sum(spread * spread, axis=(-2, -1))
        return reconstruction - q.kl_standard_normal(params)

    def kl_to_posterior(self, q, params, x):
        """Return KL(q‖p(z|x)) of any Gaussian q, in closed form."""
        L, posterior = self._posterior_factor, self.posterior(x)
        whitening = numpy.linalg.inv(L)
        M, m = np.matmul(whitening, q.factor(params)), np.dot(params["mean"] - posterior["mean"], whitening.T)
        quadratic = np.sum(M * M, axis=(-2, -1)) + np.sum(m * m, axis=-1) - self.latent
        return 0.5 * quadratic + np.sum(posterior["log_diag"], axis=-1) - q.log_det(params)
