"""Real bugs of variational autoencoders, and which identity of the linear Gaussian model kills each."""

import itertools
import math

import numpy as np
import pytest

from minigen.reparameterization.estimators import CholeskyGaussian, DiagonalGaussian
from minigen.tree import ravel, tree_map
from minigen.vae.elbo import LinearGaussian
from tests.mutants.elbo import MUTANTS, Objective

FAMILIES = {"diagonal": DiagonalGaussian(), "cholesky": CholeskyGaussian()}
DRAWS = 400  # estimates behind each expectation of the importance-weighted bound


def setting(name, latent):
    """Return a model with as many latents, one point of it, and a guess of its posterior."""
    rng = np.random.default_rng(latent)
    model = LinearGaussian(rng.standard_normal((3, latent)), rng.standard_normal(3), 0.6)
    x = model.sample(rng, 1)
    exact = model.posterior(x)  # shifted and widened: a gap of some tenths of a nat, and weights that behave
    moved = {"mean": exact["mean"] + 0.7 * np.exp(exact["log_diag"])}
    if name == "diagonal":
        return model, x, moved | {"log_std": exact["log_diag"] + 0.2}
    return model, x, moved | {"log_diag": exact["log_diag"] + 0.2, "lower": exact["lower"] + 0.2}


def expectation(estimate, params, x, latent):
    """Return E[estimate] for one draw, by Gauss-Hermite quadrature: exact for the ELBO."""
    points, weights = np.polynomial.hermite_e.hermegauss(4)
    total = 0.0
    for pick in itertools.product(range(4), repeat=latent):
        weight = math.prod(weights[list(pick)] / weights.sum())
        total += weight * estimate(params, x, points[list(pick)].reshape(1, 1, latent))[0]
    return total


def many_bounds(objective, params, x, latent, draws):
    eps = np.random.default_rng(draws).standard_normal((draws, DRAWS, latent))
    rows = tree_map(lambda leaf: np.repeat(leaf, DRAWS, 0), params)
    bound = objective.bound(rows, np.repeat(x, DRAWS, 0), eps)
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
    eps = np.random.default_rng(0).standard_normal((1, 1, latent))
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
    eps = np.random.default_rng(0).standard_normal((3, 1, latent))
    vector, unravel = ravel(params)
    right = Objective(model, objective.q)
    finite = [
        (right.bound(unravel(vector + step), x, eps) - right.bound(unravel(vector - step), x, eps))[0] / 2e-6
        for step in 1e-6 * np.eye(len(vector))
    ]
    return abs(ravel(objective.bound_gradient(params, x, eps))[0] - finite).max() < 1e-6


CHECKS = [evidence_identity, never_above, forms_agree, one_draw, rises, reaches_log_p, gradient]

# mutant -> checks that kill it, with a full covariance and two latents
KILLED_BY = {
    "WeightsOfLosses": ["gradient"],
    "MeanOfLosses": ["rises", "reaches_log_p", "gradient"],
    "WeightsNotDetached": ["gradient"],
    "ClosedKLInTheWeights": ["one_draw", "gradient"],
    "SumForMean": ["reaches_log_p"],
    "NoiseOverVariance": ["evidence_identity", "forms_agree", "one_draw"],
    "KLAveraged": ["evidence_identity", "forms_agree"],
    "ReconstructionAveraged": ["evidence_identity", "never_above", "reaches_log_p", "gradient"],
    "ConstantDropped": ["evidence_identity", "reaches_log_p"],
    "KLSign": ["evidence_identity", "never_above", "forms_agree"],
    "KLHalved": ["evidence_identity", "forms_agree"],
    "FactorsDeterminantForgotten": ["evidence_identity", "forms_agree", "one_draw"],
    "OffDiagonalForgotten": ["evidence_identity", "forms_agree"],
    "NoGradientToTheDraw": ["gradient"],
}


def failures(mutant, name, latent):
    model, x, params = setting(name, latent)
    objective = mutant(model, FAMILIES[name])
    return [check.__name__ for check in CHECKS if not check(objective, model, x, params, latent)]


@pytest.mark.parametrize("latent", [1, 2, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_correct_objective_passes_every_check(name, latent):
    assert failures(Objective, name, latent) == []


def test_every_mutant_dies():
    assert MUTANTS.keys() == KILLED_BY.keys()
    lines = []
    for name, mutant in MUTANTS.items():
        killers = failures(mutant, "cholesky", 2)
        lines.append(f"{name:28} {', '.join(killers)}")
        assert set(KILLED_BY[name]) <= set(killers), (name, killers)
    print("\n" + "\n".join(lines))


def test_what_hides_a_mutant():
    assert failures(MUTANTS["KLAveraged"], "cholesky", 1) == []  # one latent: the mean is the sum
    assert failures(MUTANTS["OffDiagonalForgotten"], "diagonal", 3) == []
    assert failures(MUTANTS["OffDiagonalForgotten"], "cholesky", 1) == []
