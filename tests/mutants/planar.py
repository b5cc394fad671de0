"""Real bugs of planar and radial flows, each injected into a correct layer."""

import autograd.numpy as np
import numpy

from minigen import checks
from minigen.errors import NoInverseError
from minigen.flows.planar import Planar, Radial
from minigen.foundations.change_of_variables import Bijection, Pushforward
from minigen.foundations.distributions import Normal
from minigen.numerics import softplus, tanh
from tests.mutants.exhibit import Exhibit, failing, jitter


class WithoutInverse(Planar):
    """As published: û from u, and the determinant from û; no inverse."""

    def _u(self, w, u):
        along = np.dot(w, u)
        return u + (softplus(along) - 1 - along) * w / np.sum(w**2)

    def forward(self, params, x, context=None):
        w, u = params["w"], self._u(params["w"], params["u"])
        t = tanh(np.dot(x, w) + params["bias"])
        return x + np.outer(t, u), np.log(np.abs(1 + (1 - t**2) * np.dot(w, u)))

    def inverse(self, params, z, context=None):
        raise NoInverseError("none")


class Norm(WithoutInverse):
    """Divides by |w| in place of |w|²."""

    def _u(self, w, u):
        along = np.dot(w, u)
        return u + (softplus(along) - 1 - along) * w / np.sqrt(np.sum(w**2))


class NoConstraint(WithoutInverse):
    """Uses u as it is, without the constraint wᵀu > −1."""

    def _u(self, w, u):
        return u


class OtherDirection(Planar):
    """Moves along w in place of û, but takes the determinant of û."""

    def forward(self, params, x, context=None):
        z, log_det = super().forward(params, x, context)
        return x + np.sum((z - x) * params["w"], axis=1)[:, None] * params["w"], log_det


class NoSlope(Planar):
    """The determinant forgets tanh's slope."""

    def forward(self, params, x, context=None):
        z, _ = super().forward(params, x, context)
        return z, np.log(softplus(np.dot(params["w"], params["u"]))) + 0 * x[:, 0]


class InverseSlope(Planar):
    """The inverse's log-determinant is taken at z, not at the root."""

    def inverse(self, params, z, context=None):
        x, _ = super().inverse(params, z, context)
        return x, -super().forward(params, z, context)[1]


class OnePower(Radial):
    """The determinant's factor 1 + β/(α + r) to the power 1, right for D = 2 only."""

    def _log_det(self, x, r, alpha, total):
        return super()._log_det(x[:, :2], r, alpha, total)


class LeakyReLU(Bijection):
    """A sound map with two branches: slope 1 above 0 and 0.1 below."""

    def forward(self, params, x, context=None):
        slope = 1 - 0.9 * (x < 0)
        return slope * x, np.sum(np.log(slope), axis=1)

    def inverse(self, params, z, context=None):
        slope = 1 - 0.9 * (z < 0)
        return z / slope, -np.sum(np.log(slope), axis=1)


class OneBranch(LeakyReLU):
    """The inverse's log-determinant is right on one branch of a leaky ReLU only."""

    def inverse(self, params, z, context=None):
        x, log_det = super().inverse(params, z, context)
        return x, -log_det


HARD = {"w": np.array([0.5, -0.2]), "u": np.array([-4.0, 2.0]), "bias": np.array(0.2)}  # wᵀu = −2.4


def mass_error(map, params, x=None):
    """Return how far the mass of the density that the map makes of N(0, I) is from 1, in the plane."""
    if not isinstance(map, Planar):
        return 0.0
    density = Pushforward(Normal(numpy.zeros(2), numpy.ones(2)), map, params)
    error = abs(checks.total_mass(density.log_prob, ((-12, 12), (-12, 12)), n=400) - 1)
    return max(error - 1e-3, 0.0)  # what the grid loses


CHECKS = {
    "round trip": checks.round_trip_error,
    "cancel": checks.log_det_cancel_error,
    "log-det": checks.log_det_error,
    "batch": checks.batch_dependence,
    "mass": mass_error,
}


def sound():
    """Return what the mutants spoil."""
    return [Planar, Radial, LeakyReLU]


def verdicts(kind):
    """Return the checks that find something wrong."""
    map, rng = kind(), numpy.random.default_rng(0)
    x = 2 * rng.normal(size=(6, 2 if isinstance(map, Planar) else 5))
    params = HARD if isinstance(map, Planar) else jitter(map.init(rng, x), rng, 0.7)
    return failing(CHECKS, map, params, x, tolerance=1e-6)


EXHIBITS = [
    Exhibit(
        Norm,
        "a probabilistic language and other repositories (pyro-ppl/pyro PR#2192, tonyduan/normalizing-flows#2)",
        "every point's log-determinant is right, and yet the density has a mass of 1.7: two points have met in one",
        {"mass"},
        5,
    ),
    Exhibit(
        NoConstraint,
        "a tutorial (ex4sperans/variational-inference-with-normalizing-flows#2)",
        "the same, as soon as training drives wᵀu below −1: here a mass of 2.7",
        {"mass"},
        5,
    ),
    Exhibit(
        OneBranch,
        "a flow library whose test drew points from the other branch only (danielward27/flowjax#169)",
        "log-densities of samples are wrong in half of the space",
        {"cancel", "log-det"},
        6,
    ),
    Exhibit(
        OtherDirection,
        "two names for nearly the same vector",
        "neither the inverse nor the density belongs to the map",
        {"round trip", "cancel", "log-det", "mass"},
    ),
    Exhibit(
        NoSlope,
        "a derivative taken of the inside only",
        "the density is off wherever tanh bends, and its mass is not 1",
        {"cancel", "log-det", "mass"},
    ),
    Exhibit(
        InverseSlope,
        "an inverse that was found by iteration, and a derivative taken before it",
        "samples are right, their log-densities are not",
        {"cancel", "log-det"},
    ),
    Exhibit(
        OnePower,
        "a formula that was checked in the plane",
        "right for D = 2, wrong for every other D",
        {"log-det"},
    ),
]
