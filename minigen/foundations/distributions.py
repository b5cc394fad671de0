"""Distributions with an exact density: the bases, priors and noises of every model, and what they are compared with.

A distribution is fixed: its numbers are plain arrays, checked and copied once, in the constructor. Autograd traces
`log_prob` through the points. Where the parameters themselves are learned there is `log_normal`, a traced formula.
Everything is in nats. Points are always (N, D), also where D = 1; the outcomes of `Categorical` are integers (N,).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np
import numpy

from minigen.errors import OutsideDomainError, SingularMatrixError, check_points, require
from minigen.numerics import log_sigmoid, logsumexp

__all__ = [
    "Bernoulli",
    "Categorical",
    "Distribution",
    "Logistic",
    "Mixture",
    "Normal",
    "Uniform",
    "kl_normal",
    "log_normal",
]

LOG_2PI = math.log(2 * math.pi)


class Distribution:
    """The contract: a density that can be evaluated, and a sampler that draws from it.

    `features` is the D of its points, None where the outcomes are not points. NaN in the points gives NaN in the
    log-density; a point off the support has log-density -inf.

    >>> Distribution().entropy()
    Traceback (most recent call last):
    ...
    NotImplementedError: Distribution: the entropy has no closed form; estimate it by -mean(log_prob(sample(rng, n)))
    """

    features: int | None = None

    def log_prob(self, x):
        """Return log p(x) in nats, shape (N,), for points (N, D)."""
        raise NotImplementedError(f"{type(self).__name__}: log_prob is not defined")

    def sample(self, rng, n):
        """Draw n independent points, shape (n, D), with the generator `rng`."""
        raise NotImplementedError(f"{type(self).__name__}: sample is not defined")

    def entropy(self):
        """Return -E[log p(x)] in nats where it is known; raise NotImplementedError where it is not."""
        raise NotImplementedError(
            f"{type(self).__name__}: the entropy has no closed form; estimate it by -mean(log_prob(sample(rng, n)))"
        )


@dataclass(frozen=True, eq=False)
class Normal(Distribution):
    """The Gaussian distribution with mean (D,) and covariance (D, D), or (D,): the diagonal, variances.

    ``log p(x) = -|z|^2 / 2 - log|det L| - D/2 log 2 pi,  z = L^-1 (x - mean),  L L^T = cov`` (Cholesky)

    Entropy: ``D/2 (1 + log 2 pi) + log|det L|``.
    Cost: O(N D) for a diagonal, O(N D^2) for a full covariance, after O(D^3) once.

    Raises ValueError for a covariance that is not square or not symmetric, SingularMatrixError for one that is not
    positive definite.

    >>> normal = Normal([0.0, 1.0], [[2.0, 0.6], [0.6, 1.0]])
    >>> normal.sample(numpy.random.default_rng(0), 3).round(3)
    array([[ 0.178,  0.934],
           [ 0.906,  1.367],
           [-0.758,  1.1  ]])
    >>> normal.log_prob([[0.0, 1.0]]).round(4), round(normal.entropy(), 4)
    (array([-2.0852]), 3.0852)
    """

    mean: numpy.ndarray
    cov: numpy.ndarray

    def __post_init__(self):
        mean = _vector("Normal", "mean", self.mean)
        cov = numpy.array(self.cov, dtype=float)
        require(
            cov.shape in {(mean.size,), (mean.size, mean.size)},
            f"Normal: expected cov of shape ({mean.size},) or ({mean.size}, {mean.size}), got shape {cov.shape}",
        )
        require(numpy.isfinite(cov).all(), "Normal: cov has entries that are not finite")
        if cov.ndim == 2:
            asymmetry = abs(cov - cov.T).max()
            require(
                asymmetry <= 1e-8 * abs(cov).max(),
                f"Normal: expected a symmetric cov, got max |cov - cov.T| = {asymmetry:.3g}",
            )
            eigenvalues = numpy.linalg.eigvalsh(cov)
            smallest, floor = eigenvalues[0], mean.size * numpy.finfo(float).eps * eigenvalues[-1]
        else:
            smallest, floor = cov.min(), 0.0
        if smallest <= floor:
            raise SingularMatrixError(
                f"Normal: expected a positive definite cov, got one whose smallest eigenvalue is {smallest:.3g}"
            )
        _set(self, mean=mean, cov=cov)

    @property
    def features(self):
        """D."""
        return self.mean.size

    @cached_property
    def cholesky(self):
        """L with L L^T = cov: lower triangular (D, D), or the standard deviations (D,) of a diagonal."""
        return numpy.sqrt(self.cov) if self.cov.ndim == 1 else numpy.linalg.cholesky(self.cov)

    @cached_property
    def _whitening(self):
        return 1 / self.cholesky if self.cov.ndim == 1 else numpy.linalg.inv(self.cholesky)

    @property
    def _log_det_cholesky(self):
        return float(numpy.log(_diagonal(self.cholesky)).sum())

    def log_prob(self, x):
        """Return log p(x), shape (N,)."""
        x = check_points("Normal", x, self.features)
        centred, whitening = x - _like(x, self.mean), _like(x, self._whitening)
        z = centred * whitening if whitening.ndim == 1 else centred @ whitening.T
        return -0.5 * np.sum(z**2, axis=1) - self._log_det_cholesky - 0.5 * self.features * LOG_2PI

    def sample(self, rng, n):
        """Return mean + L eps, shape (n, D), with eps drawn from N(0, I)."""
        eps = rng.standard_normal((n, self.features))
        return self.mean + (eps * self.cholesky if self.cov.ndim == 1 else eps @ self.cholesky.T)

    def entropy(self):
        """Return ``D/2 (1 + log 2 pi) + log|det L|``."""
        return 0.5 * self.features * (1 + LOG_2PI) + self._log_det_cholesky


@dataclass(frozen=True, eq=False)
class Uniform(Distribution):
    """The uniform distribution on the closed box low <= x <= high, both (D,).

    ``log p(x) = -sum log(high - low)`` inside, -inf outside. Entropy: ``sum log(high - low)``.

    Raises ValueError unless low < high everywhere.

    >>> box = Uniform([0.0, 0.0], [1.0, 4.0])
    >>> box.log_prob([[0.5, 3.0], [0.5, 5.0]]).round(4), round(box.entropy(), 4)
    (array([-1.3863,    -inf]), 1.3863)
    """

    low: numpy.ndarray
    high: numpy.ndarray

    def __post_init__(self):
        low, high = _vectors("Uniform", low=self.low, high=self.high)
        require((low < high).all(), f"Uniform: expected low < high, got low = {low}, high = {high}")
        _set(self, low=low, high=high)

    @property
    def features(self):
        """D."""
        return self.low.size

    def log_prob(self, x):
        """Return log p(x), shape (N,); its gradient is 0."""
        x = check_points("Uniform", x, self.features)
        outside = np.any((x < self.low) | (x > self.high), axis=1)
        return constant_density(x, self.low, self.high, outside, -self.entropy())

    def sample(self, rng, n):
        """Draw n points, shape (n, D)."""
        return rng.uniform(self.low, self.high, (n, self.features))

    def entropy(self):
        """Return the log-volume of the box."""
        return float(numpy.log(self.high - self.low).sum())


@dataclass(frozen=True, eq=False)
class Logistic(Distribution):
    """Independent logistic coordinates with location and scale (D,): a Gaussian's shape with heavier tails.

    ``log p(x) = sum log sigmoid(z) + log sigmoid(-z) - log scale,  z = (x - loc) / scale``

    Entropy: ``sum log scale + 2``. The distribution function is sigmoid(z).

    Raises ValueError unless scale > 0. Reference: Dinh, Krueger, Bengio (2014), arXiv:1410.8516 (as a flow's base).

    >>> noise = Logistic([0.0], [1.0])
    >>> noise.log_prob([[0.0], [-800.0]]).round(4), noise.entropy()
    (array([  -1.3863, -800.    ]), 2.0)
    """

    loc: numpy.ndarray
    scale: numpy.ndarray

    def __post_init__(self):
        loc, scale = _vectors("Logistic", loc=self.loc, scale=self.scale)
        require((scale > 0).all(), f"Logistic: expected scale > 0, got {scale}")
        _set(self, loc=loc, scale=scale)

    @property
    def features(self):
        """D."""
        return self.loc.size

    def log_prob(self, x):
        """Return log p(x), shape (N,)."""
        x = check_points("Logistic", x, self.features)
        z = (x - _like(x, self.loc)) / _like(x, self.scale)
        return np.sum(log_sigmoid(z) + log_sigmoid(-z) - _like(x, numpy.log(self.scale)), axis=1)

    def sample(self, rng, n):
        """Draw n points, shape (n, D)."""
        return rng.logistic(self.loc, self.scale, (n, self.features))

    def entropy(self):
        """Return ``sum log scale + 2``."""
        return float(numpy.log(self.scale).sum() + 2 * self.features)


@dataclass(frozen=True, eq=False)
class Bernoulli(Distribution):
    """Independent bits: x in {0, 1}^D, where bit d is 1 with probability probs[d].

    ``log p(x) = sum x log probs + (1 - x) log(1 - probs)``. Entropy: the sum of the bits' entropies.

    Raises ValueError for probabilities outside [0, 1], OutsideDomainError (in `log_prob`) for values other than
    0 and 1: grey pixels are no bits, and a sum over them would look like a log-density without being one.

    >>> bits = Bernoulli([0.5, 0.25])
    >>> bits.log_prob([[1, 0], [1, 1]]).round(4), round(bits.entropy(), 4)
    (array([-0.9808, -2.0794]), 1.2555)
    """

    probs: numpy.ndarray

    def __post_init__(self):
        probs = _vector("Bernoulli", "probs", self.probs)
        require(((probs >= 0) & (probs <= 1)).all(), f"Bernoulli: expected probs in [0, 1], got {probs}")
        _set(self, probs=probs)

    @property
    def features(self):
        """D."""
        return self.probs.size

    def log_prob(self, x):
        """Return log p(x), shape (N,); points are 0 and 1, of any real dtype."""
        x = check_points("Bernoulli", x, self.features)
        strange = int(np.sum((x != 0) & (x != 1)))
        if strange:
            raise OutsideDomainError(f"Bernoulli: expected values 0 and 1, got {strange} others")
        probs = _like(x, self.probs)
        with numpy.errstate(divide="ignore"):  # an impossible bit: log 0 = -inf
            return np.sum(np.log(x * probs + (1 - x) * (1 - probs)), axis=1)

    def sample(self, rng, n):
        """Draw n points of 0.0 and 1.0, shape (n, D)."""
        return (rng.random((n, self.features)) < self.probs).astype(float)

    def entropy(self):
        """Return the sum of the bits' entropies."""
        return _entropy(self.probs) + _entropy(1 - self.probs)


@dataclass(frozen=True, eq=False)
class Categorical(Distribution):
    """One of K outcomes 0 ... K-1, with the given probabilities (K,).

    ``log p(k) = log probs[k]``. Entropy: ``-sum probs log probs``.

    Raises ValueError for probabilities that are negative or do not sum to 1, TypeError (in `log_prob`) for outcomes
    that are not integers, OutsideDomainError for outcomes beyond K - 1 or negative.

    >>> dice = Categorical([0.5, 0.25, 0.25, 0.0])
    >>> dice.log_prob([0, 2, 3]).round(4), round(dice.entropy(), 4)
    (array([-0.6931, -1.3863,    -inf]), 1.0397)
    """

    probs: numpy.ndarray

    def __post_init__(self):
        _set(self, probs=_probabilities("Categorical", "probs", self.probs))

    def log_prob(self, x):
        """Return log p(x), shape (N,), for integer outcomes (N,)."""
        x, count = numpy.asarray(x), self.probs.size
        if x.dtype.kind not in "iu":
            raise TypeError(f"Categorical: expected integer outcomes, got dtype {x.dtype}")
        require(x.ndim == 1, f"Categorical: expected outcomes of shape (N,), got shape {x.shape}")
        strange = int(((x < 0) | (x >= count)).sum())
        if strange:
            raise OutsideDomainError(f"Categorical: expected outcomes 0 ... {count - 1}, got {strange} others")
        return _log(self.probs)[x]

    def sample(self, rng, n):
        """Draw n outcomes, shape (n,)."""
        return rng.choice(self.probs.size, size=n, p=self.probs)

    def entropy(self):
        """Return ``-sum probs log probs``."""
        return _entropy(self.probs)


@dataclass(frozen=True, eq=False)
class Mixture(Distribution):
    """A mixture: draw component k with probability weights[k], then draw from it.

    ``log p(x) = log sum_k weights[k] p_k(x)``, by `logsumexp`. The entropy has no closed form. Cost: the sum over k.

    Raises ValueError for weights that are negative or do not sum to 1, or are not as many as the components, and for
    components of different dimensions.

    >>> pair = Mixture([0.25, 0.75], [Normal([-2.0], [1.0]), Normal([2.0], [1.0])])
    >>> pair.log_prob([[2.0]]).round(4), pair.sample(numpy.random.default_rng(0), 4)[:, 0].round(2)
    (array([-1.2065]), array([ 3.3 ,  2.95, -2.54, -1.64]))
    """

    weights: numpy.ndarray
    components: tuple

    def __post_init__(self):
        weights, components = _probabilities("Mixture", "weights", self.weights), tuple(self.components)
        require(
            len(components) == weights.size,
            f"Mixture: expected {weights.size} components (one for each weight), got {len(components)}",
        )
        features = [component.features for component in components]
        require(len(set(features)) == 1, f"Mixture: expected components of one dimension, got {features}")
        _set(self, weights=weights, components=components)

    @property
    def features(self):
        """D."""
        return self.components[0].features

    def log_prob(self, x):
        """Return log p(x), shape (N,)."""
        log_probs = np.stack([component.log_prob(x) for component in self.components], axis=1)
        return logsumexp(log_probs + _like(log_probs, _log(self.weights)), axis=1)

    def sample(self, rng, n):
        """Draw n points, shape (n, D)."""
        picked = rng.choice(self.weights.size, size=n, p=self.weights)
        counts = numpy.bincount(picked, minlength=self.weights.size)
        drawn = [component.sample(rng, count) for component, count in zip(self.components, counts, strict=True)]
        rows = numpy.argsort(numpy.argsort(picked, kind="stable"))  # where the i-th point stands in the drawn ones
        return numpy.concatenate(drawn)[rows]


def kl_normal(p, q):
    """Return KL(p || q) in nats of two `Normal` distributions, in closed form; each covariance may be diagonal or full.

    ``KL = (|M|^2 + |m|^2 - D) / 2 + log|det L_q| - log|det L_p|,  M = L_q^-1 L_p,  m = L_q^-1 (mean_p - mean_q)``

    where ``|M|^2 = trace(cov_q^-1 cov_p)`` sums the squares of all entries. Cost: O(D) for two diagonals, else O(D^3).

    Raises TypeError for any other distributions, ValueError for different dimensions.

    >>> round(kl_normal(Normal([1.0], [1.0]), Normal([0.0], [1.0])), 4)
    0.5
    """
    for distribution in (p, q):
        if not isinstance(distribution, Normal):
            raise TypeError(f"kl_normal: expected two Normals, got {type(distribution).__name__}")
    require(p.features == q.features, f"kl_normal: p has {p.features} features but q has {q.features}")
    shift = p.mean - q.mean
    if p.cov.ndim == q.cov.ndim == 1:
        m, M = q._whitening * shift, q._whitening * p.cholesky
    else:
        whitening = _matrix(q._whitening)
        m, M = whitening @ shift, whitening @ _matrix(p.cholesky)
    quadratic = (M**2).sum() + (m**2).sum() - p.features
    return float(0.5 * quadratic + q._log_det_cholesky - p._log_det_cholesky)


def log_normal(x, mean, log_std):
    """Return the log-density of independent Gaussians, summed over the last axis: a formula, traced in all three.

    ``log N(x; mean, std^2) = sum -((x - mean) / std)^2 / 2 - log std - log(2 pi) / 2``

    The arguments are float arrays that broadcast against each other, (N, D) as a rule; the result is (N,). It is
    what a network's output (mean, log_std) is scored with. NaN gives NaN.

    >>> log_normal(numpy.zeros((2, 3)), numpy.ones(3), 0.0).round(4)
    array([-4.2568, -4.2568])
    """
    z = (x - mean) * np.exp(-log_std)
    return np.sum(-0.5 * z**2 - log_std - 0.5 * LOG_2PI, axis=-1)


def constant_density(x, low, high, outside, value):
    """Return `value` for each row of x, -inf where `outside`, NaN where x is NaN; traced, with gradient 0.

    The zero times x keeps the result on autograd's tape; clipping to the box `low`, `high` first keeps 0 * inf away.

    >>> constant_density(numpy.array([[1.0], [numpy.inf]]), 0.0, 2.0, numpy.array([False, True]), 0.5)
    array([ 0.5, -inf])
    """
    zero = 0.0 * np.sum(np.clip(x, _like(x, low), _like(x, high)), axis=1)
    return zero + _like(x, np.where(outside, -math.inf, value))


def _set(instance, **values):
    """Give a frozen dataclass its checked values."""
    for name, value in values.items():
        object.__setattr__(instance, name, value)


def _vector(who, name, value):
    """Return a float64 copy of a finite vector (D,), D > 0, or say what is wrong with it."""
    value = numpy.array(value, dtype=float)
    require(value.ndim == 1 and value.size > 0, f"{who}: expected {name} of shape (D,), got shape {value.shape}")
    require(numpy.isfinite(value).all(), f"{who}: {name} has entries that are not finite: {value}")
    return value


def _vectors(who, **values):
    """Return two vectors of one shape."""
    (first, a), (second, b) = ((name, _vector(who, name, value)) for name, value in values.items())
    require(a.shape == b.shape, f"{who}: {first} has shape {a.shape} but {second} has shape {b.shape}")
    return a, b


def _probabilities(who, name, value):
    """Return probabilities (K,) that sum to 1: within 1e-6 at the door (float32 does), exactly behind it."""
    value = _vector(who, name, value)
    require((value >= 0).all(), f"{who}: expected {name} >= 0, got {value}")
    require(abs(value.sum() - 1) <= 1e-6, f"{who}: expected {name} that sum to 1, got the sum {value.sum():.6g}")
    return value / value.sum()


def _log(probs):
    """Log with log 0 = -inf and no warning."""
    with numpy.errstate(divide="ignore"):
        return numpy.log(probs)


def _entropy(probs):
    """Return -sum p log p with 0 log 0 = 0."""
    return float(-(probs * numpy.log(probs + (probs == 0))).sum())


def _like(x, constant):
    """Return the constant in the dtype of x, so that float32 points keep float32 densities."""
    return numpy.asarray(constant, dtype=x.dtype)


def _diagonal(factor):
    return factor if factor.ndim == 1 else numpy.diagonal(factor)


def _matrix(factor):
    return factor if factor.ndim == 2 else numpy.diag(factor)
