"""Real bugs of planar and radial flows, each injected into a correct layer, with where it was found."""

import autograd.numpy as np

from minigen.errors import NoInverseError
from minigen.flows.planar import Planar, Radial
from minigen.numerics import softplus, tanh


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
    """Divides by |w| in place of |w|² (pyro PR#2192 and three others)."""

    def _u(self, w, u):
        along = np.dot(w, u)
        return u + (softplus(along) - 1 - along) * w / np.sqrt(np.sum(w**2))


class NoConstraint(WithoutInverse):
    """Uses u as it is (ex4sperans/variational-inference-with-normalizing-flows#2)."""

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
    """The inverse's log-determinant is taken at z, not at the root (flowjax#169 is of this kind)."""

    def inverse(self, params, z, context=None):
        x, _ = super().inverse(params, z, context)
        return x, -super().forward(params, z, context)[1]


class OnePower(Radial):
    """The determinant's factor 1 + β/(α + r) to the power 1, right for D = 2 only."""

    def _log_det(self, x, r, alpha, total):
        return super()._log_det(x[:, :2], r, alpha, total)


MUTANTS = {each.__name__: each() for each in (Norm, NoConstraint, OtherDirection, NoSlope, InverseSlope, OnePower)}
