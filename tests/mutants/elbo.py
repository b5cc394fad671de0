"""Real bugs of variational autoencoders, each injected into a correct objective, with where it was found.

An `Objective` is the four things that a VAE computes: the two forms of the ELBO, the importance-weighted bound and its
gradient. It works on any model with exact numbers beside it, here `LinearGaussian`.
"""

import autograd.numpy as np
from autograd import grad

from minigen.numerics import log_mean_exp
from minigen.reparameterization.estimators import CholeskyGaussian, DiagonalGaussian
from minigen.vae.elbo import elbo_sampled, elbo_split, log_weights


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
    """The importance weights are the softmax of the losses, the sign reversed (AntixK/PyTorch-VAE#34, iwae.py)."""

    def bound_gradient(self, params, x, eps):
        w = log_weights(self.q, params, self.log_joint, x, eps)
        weights = np.exp(-w - np.max(-w, axis=0))
        weights = weights / np.sum(weights, axis=0)
        return grad(lambda p: np.sum(weights * log_weights(self.q, p, self.log_joint, x, eps)))(params)


class MeanOfLosses(Objective):
    """The same in the value: `−log mean exp(loss)`, a bound that falls with every draw."""

    def bound(self, params, x, eps):
        return -log_mean_exp(-log_weights(self.q, params, self.log_joint, x, eps), 0)


class WeightsNotDetached(Objective):
    """The weighted sum is differentiated through its weights as well (AntixK/PyTorch-VAE, iwae.py)."""

    def bound_gradient(self, params, x, eps):
        def total(p):
            w = log_weights(self.q, p, self.log_joint, x, eps)
            return np.sum(np.exp(w - log_mean_exp(w, 0)) * w) / len(eps)

        return grad(total)(params)


class ClosedKLInTheWeights(Objective):
    """The weights are `log p(x|z) − KL(q‖prior)`, the closed form in place of the draw's own term (the same)."""

    def bound(self, params, x, eps):
        each = np.stack([self.log_likelihood(x, self.q.from_noise(params, e)) for e in eps])
        return log_mean_exp(each, 0) - self.q.kl_standard_normal(params)


class SumForMean(Objective):
    """The weights are summed: log K is missing."""

    def bound(self, params, x, eps):
        return super().bound(params, x, eps) + np.log(len(eps))


class NoiseOverVariance(Objective):
    """The noise is read back as `(z − mean)/log_var` (the same): log q is that of another point."""

    def sampled(self, params, x, eps):
        q, diagonal = self.q, DiagonalGaussian()
        log_scale = params["log_std"] if "log_std" in params else params["log_diag"]
        z = q.from_noise(params, eps[0])
        read_back = (z - params["mean"]) / (2 * log_scale)
        simple = {"mean": params["mean"], "log_std": log_scale}
        return self.log_joint(x, z) - diagonal.log_prob_from_noise(simple, read_back)


class KLAveraged(Objective):
    """The KL is averaged over the latents, the reconstruction summed: a hidden β (podgorskiy/VAE#1)."""

    def split(self, params, x, eps):
        kl = self.q.kl_standard_normal(params)
        return super().split(params, x, eps) + kl - kl / eps.shape[-1]


class ReconstructionAveraged(Objective):
    """The reconstruction is averaged over the features, as a mean squared error is (keras-molecules#59)."""

    def log_likelihood(self, x, z):
        return super().log_likelihood(x, z) / x.shape[1]


class ConstantDropped(Objective):
    """½·log 2π a dimension is dropped: an "ELBO" above log p(x) (a well-known course)."""

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
    """The KL of a full covariance is that of its diagonal; a diagonal posterior does not notice."""

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


MUTANTS = {mutant.__name__: mutant for mutant in Objective.__subclasses__()}
