"""Real bugs of variational autoencoders, each injected into a correct objective.

An `Objective` is the four things that a VAE computes: the two forms of the ELBO, the importance-weighted bound and its
gradient. It works on any model with exact numbers beside it, here `LinearGaussian`.
"""

import itertools
import math

import autograd.numpy as np
import numpy
from autograd import grad

from minigen.numerics import log_mean_exp
from minigen.reparameterization.estimators import CholeskyGaussian, DiagonalGaussian
from minigen.tree import ravel, tree_map
from minigen.vae.elbo import LinearGaussian, elbo_sampled, elbo_split, log_weights
from tests.mutants.exhibit import Exhibit


class Objective:
    """The correct one; mutants override a method."""

    def __init__(self, model, q):
        self.model, self.q = model, q

    def log_likelihood(self, x, z):
        return self.model.log_likelihood(x, z)

    def log_joint(self, x, z):
        return self.model.log_joint(x, z) - self.model.log_likelihood(x, z) + self.log_likelihood(x, z)

    def sampled(self, params, x, eps):
        return elbo_sampled(self.q, params, self.log_joint, x, eps)

    def split(self, params, x, eps):
        return elbo_split(self.q, params, self.log_likelihood, x, eps)

    def bound(self, params, x, eps):
        return log_mean_exp(log_weights(self.q, params, self.log_joint, x, eps), 0)

    def bound_gradient(self, params, x, eps):
        return grad(lambda p: np.sum(self.bound(p, x, eps)))(params)


class WeightsOfLosses(Objective):
    """The importance weights are the softmax of the losses, the sign reversed."""

    def bound_gradient(self, params, x, eps):
        w = log_weights(self.q, params, self.log_joint, x, eps)
        weights = np.exp(-w - np.max(-w, axis=0))
        weights = weights / np.sum(weights, axis=0)
        return grad(lambda p: np.sum(weights * log_weights(self.q, p, self.log_joint, x, eps)))(params)


class MeanOfLosses(Objective):
    """The bound is `−log mean exp(loss)`, the sign reversed in the value as well."""

    def bound(self, params, x, eps):
        return -log_mean_exp(-log_weights(self.q, params, self.log_joint, x, eps), 0)


class WeightsNotDetached(Objective):
    """The weighted sum is differentiated through its weights as well."""

    def bound_gradient(self, params, x, eps):
        def total(p):
            w = log_weights(self.q, p, self.log_joint, x, eps)
            return np.sum(np.exp(w - log_mean_exp(w, 0)) * w) / len(eps)

        return grad(total)(params)


class ClosedKLInTheWeights(Objective):
    """The weights are `log p(x|z) − KL(q‖prior)`, the closed form in place of the draw's own term."""

    def bound(self, params, x, eps):
        each = np.stack([self.log_likelihood(x, self.q.from_noise(params, e)) for e in eps])
        return log_mean_exp(each, 0) - self.q.kl_standard_normal(params)


class SumForMean(Objective):
    """The weights are summed: log K is missing."""

    def bound(self, params, x, eps):
        return super().bound(params, x, eps) + np.log(len(eps))


class NoiseOverVariance(Objective):
    """The noise is read back as `(z − mean)/log_var`: log q is that of another point."""

    def sampled(self, params, x, eps):
        q, diagonal = self.q, DiagonalGaussian()
        log_scale = params["log_std"] if "log_std" in params else params["log_diag"]
        z = q.from_noise(params, eps[0])
        read_back = (z - params["mean"]) / (2 * log_scale)
        simple = {"mean": params["mean"], "log_std": log_scale}
        return self.log_joint(x, z) - diagonal.log_prob_from_noise(simple, read_back)


class KLAveraged(Objective):
    """The KL is averaged over the latents, the reconstruction summed: a hidden β."""

    def split(self, params, x, eps):
        kl = self.q.kl_standard_normal(params)
        return super().split(params, x, eps) + kl - kl / eps.shape[-1]


class ReconstructionAveraged(Objective):
    """The reconstruction is averaged over the features, as a mean squared error is."""

    def log_likelihood(self, x, z):
        return super().log_likelihood(x, z) / x.shape[1]


class ConstantDropped(Objective):
    """½·log 2π a dimension is dropped: an "ELBO" that may lie above log p(x)."""

    def log_likelihood(self, x, z):
        return super().log_likelihood(x, z) + 0.5 * np.log(2 * np.pi) * x.shape[1]


class KLSign(Objective):
    """The KL is added."""

    def split(self, params, x, eps):
        return super().split(params, x, eps) + 2 * self.q.kl_standard_normal(params)


class KLHalved(Objective):
    """`Σ (mean² + var − 1 − log var)/2` written with log std for log var."""

    def split(self, params, x, eps):
        log_scale = params["log_std"] if "log_std" in params else params["log_diag"]
        return super().split(params, x, eps) - 0.5 * np.sum(log_scale, axis=-1)


class FactorsDeterminantForgotten(Objective):
    """log q is that of the noise: log|det L| is missing."""

    def sampled(self, params, x, eps):
        return super().sampled(params, x, eps) - self.q.log_det(params)


class OffDiagonalForgotten(Objective):
    """The KL of a full covariance is that of its diagonal."""

    def split(self, params, x, eps):
        if not isinstance(self.q, CholeskyGaussian):
            return super().split(params, x, eps)
        simple = {"mean": params["mean"], "log_std": params["log_diag"]}
        kl = self.q.kl_standard_normal(params)
        return super().split(params, x, eps) + kl - DiagonalGaussian().kl_standard_normal(simple)


class NoGradientToTheDraw(Objective):
    """The draw is a constant, as from `rng.normal(mean, std)`: only log q's own parameters get a gradient."""

    def bound_gradient(self, params, x, eps):
        z = [self.q.from_noise(params, e) for e in eps]

        def total(p):
            each = np.stack([self.log_joint(x, draw) - self.q.log_prob(p, draw) for draw in z])
            return np.sum(log_mean_exp(each, 0))

        return grad(total)(params)


FAMILIES = {"diagonal": DiagonalGaussian(), "cholesky": CholeskyGaussian()}
DRAWS = 400  # estimates behind each expectation of the importance-weighted bound


def setting(name, latent):
    """Return a model with as many latents, one point of it, and a guess of its posterior."""
    rng = numpy.random.default_rng(latent)
    model = LinearGaussian(rng.standard_normal((3, latent)), rng.standard_normal(3), 0.6)
    x = model.sample(rng, 1)
    exact = model.posterior(x)  # shifted and widened: a gap of some tenths of a nat, and weights that behave
    moved = {"mean": exact["mean"] + 0.7 * np.exp(exact["log_diag"])}
    if name == "diagonal":
        return model, x, moved | {"log_std": exact["log_diag"] + 0.2}
    return model, x, moved | {"log_diag": exact["log_diag"] + 0.2, "lower": exact["lower"] + 0.2}


def expectation(estimate, params, x, latent):
    """Return E[estimate] for one draw, by Gauss-Hermite quadrature: exact for the ELBO."""
    points, weights = numpy.polynomial.hermite_e.hermegauss(4)
    total = 0.0
    for pick in itertools.product(range(4), repeat=latent):
        weight = math.prod(weights[list(pick)] / weights.sum())
        total += weight * estimate(params, x, points[list(pick)].reshape(1, 1, latent))[0]
    return total


def many_bounds(objective, params, x, latent, draws):
    eps = numpy.random.default_rng(draws).standard_normal((draws, DRAWS, latent))
    rows = tree_map(lambda leaf: numpy.repeat(leaf, DRAWS, 0), params)
    bound = objective.bound(rows, numpy.repeat(x, DRAWS, 0), eps)
    return bound.mean(), bound.std() / math.sqrt(DRAWS)


def evidence_identity(objective, model, x, params, latent):
    """ELBO + KL(q‖posterior) = log p(x), for both forms."""
    evidence = model.log_prob(x)[0] - model.kl_to_posterior(objective.q, params, x)[0]
    forms = (objective.sampled, objective.split)
    return max(abs(expectation(form, params, x, latent) - evidence) for form in forms) < 1e-9


def never_above(objective, model, x, params, latent):
    """No form's expectation above log p(x)."""
    forms = (objective.sampled, objective.split)
    return max(expectation(form, params, x, latent) for form in forms) <= model.log_prob(x)[0] + 1e-9


def forms_agree(objective, model, x, params, latent):
    """E[log p(x, z) − log q] = E[log p(x|z)] − KL(q‖prior)."""
    one, other = (expectation(form, params, x, latent) for form in (objective.sampled, objective.split))
    return abs(one - other) < 1e-9


def one_draw(objective, model, x, params, latent):
    """The importance-weighted bound of one draw is the ELBO's estimate."""
    eps = numpy.random.default_rng(0).standard_normal((1, 1, latent))
    return abs(objective.bound(params, x, eps) - objective.sampled(params, x, eps))[0] < 1e-10


def rises(objective, model, x, params, latent):
    """The bound's expectation rises with the draws, by more than 3 standard errors."""
    (low, a), (high, b) = (many_bounds(objective, params, x, latent, K) for K in (1, 20))
    return high - low > 3 * math.hypot(a, b)


def reaches_log_p(objective, model, x, params, latent):
    """With 200 draws its mean is log p(x), within 0.05 below and 3 standard errors above."""
    mean, error = many_bounds(objective, params, x, latent, 200)
    exact = model.log_prob(x)[0]
    return exact - 0.05 - 3 * error <= mean <= exact + 3 * error


def gradient(objective, model, x, params, latent):
    """The bound's gradient against finite differences of the correct bound."""
    eps = numpy.random.default_rng(0).standard_normal((3, 1, latent))
    vector, unravel = ravel(params)
    right = Objective(model, objective.q)
    finite = [
        (right.bound(unravel(vector + step), x, eps) - right.bound(unravel(vector - step), x, eps))[0] / 2e-6
        for step in 1e-6 * numpy.eye(len(vector))
    ]
    return abs(ravel(objective.bound_gradient(params, x, eps))[0] - finite).max() < 1e-6


CHECKS = {
    "evidence": evidence_identity,
    "never above": never_above,
    "two forms": forms_agree,
    "one draw": one_draw,
    "rises": rises,
    "reaches log p": reaches_log_p,
    "gradient": gradient,
}


def sound():
    """Return what the mutants spoil."""
    return [Objective]


def verdicts(kind, name="cholesky", latent=2):
    """Return the checks that find something wrong."""
    model, x, params = setting(name, latent)
    objective = kind(model, FAMILIES[name])
    return {title for title, check in CHECKS.items() if not check(objective, model, x, params, latent)}


EXHIBITS = [
    Exhibit(
        WeightsOfLosses,
        "a widely copied collection of VAEs (AntixK/PyTorch-VAE#34, PR#53, open)",
        "training runs, and the worst draws count most",
        {"gradient"},
        13,
    ),
    Exhibit(
        MeanOfLosses,
        "the same collection",
        "a bound that falls with every draw",
        {"rises", "reaches log p", "gradient"},
        13,
    ),
    Exhibit(
        WeightsNotDetached,
        "the same collection",
        "the value is right, and its gradient is that of something else",
        {"gradient"},
        13,
    ),
    Exhibit(
        ClosedKLInTheWeights,
        "the same collection",
        "no importance weights at all: with more draws the number goes to something else than log p(x)",
        {"one draw", "reaches log p", "gradient"},
        13,
    ),
    Exhibit(
        NoiseOverVariance,
        "the same collection",
        "the two forms of the ELBO differ",
        {"evidence", "two forms", "one draw"},
        13,
    ),
    Exhibit(
        SumForMean,
        "a mean forgotten",
        "a bound that rises with the logarithm of the draws, above log p(x)",
        {"reaches log p"},
    ),
    Exhibit(
        KLAveraged,
        "several repositories (podgorskiy/VAE#1)",
        "sharp reconstructions, poor samples: a β of one over the number of latents",
        {"evidence", "two forms"},
        14,
    ),
    Exhibit(
        ReconstructionAveraged,
        "several repositories (maxhodak/keras-molecules#59, matsengrp/vampire#29)",
        "blurred reconstructions, a posterior that collapses: a β of the number of features",
        {"evidence", "never above", "reaches log p", "gradient"},
        14,
    ),
    Exhibit(
        ConstantDropped,
        "squared errors taken for a likelihood",
        "nothing in training; the numbers can be compared with nobody's",
        {"evidence", "never above", "reaches log p"},
    ),
    Exhibit(
        KLSign,
        "a sign",
        "an ELBO above log p(x) where q is far from the prior",
        {"evidence", "never above", "two forms"},
    ),
    Exhibit(KLHalved, "log std taken for log var", "posteriors of the wrong width", {"evidence", "two forms"}),
    Exhibit(
        FactorsDeterminantForgotten,
        "a change of variables without its determinant",
        "the posterior's width costs nothing, and shrinks",
        {"evidence", "never above", "two forms", "one draw"},
    ),
    Exhibit(
        OffDiagonalForgotten,
        "a formula for the diagonal case, used for the full one",
        "nothing for a diagonal posterior; correlations cost nothing",
        {"evidence", "two forms"},
    ),
    Exhibit(
        NoGradientToTheDraw,
        "a random generator that is asked for N(mean, std)",
        "the encoder learns from its own density only",
        {"gradient"},
    ),
]
