"""Glow's layers with the mistakes that were really made in them."""

from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np

from minigen.flows.glow import ActNorm, Invertible1x1, Invertible1x1LU
from minigen.foundations.change_of_variables import same_log_det


class ShiftNotDivided(ActNorm):
    """`shift = −mean` where z = x·scale + shift wants −mean/std: the start is not centred (rll/deepul#6)."""

    def init(self, rng, x, context=None):
        params = super().init(rng, x)
        return params | {"shift": params["shift"] * np.exp(-params["log_scale"])}


class StartedAgainOnLoad(ActNorm):
    """The start hangs on a flag of the object, so a trained model that is loaded starts again (rosinality#6)."""

    def __init__(self):
        object.__setattr__(self, "memory", SimpleNamespace(params=None))

    def forward(self, params, x, context=None):
        if self.memory.params is None:
            self.memory.params = self.init(None, x)
        return super().forward(self.memory.params, x)

    def inverse(self, params, z, context=None):
        return super().inverse(self.memory.params or params, z)


class ZeroSpread(ActNorm):
    """Divides by a standard deviation of 0: NaN from the first step on (vislearn/FrEIA#121)."""

    def init(self, rng, x, context=None):
        values = np.reshape(x, (-1, np.shape(x)[-1]))
        with np.errstate(divide="ignore", invalid="ignore"):
            return {"log_scale": -np.log(values.std(axis=0)), "shift": -values.mean(axis=0) / values.std(axis=0)}


class PositionsForgotten(ActNorm):
    """The log-determinant is that of one pixel, in both directions alike."""

    def forward(self, params, x, context=None):
        return super().forward(params, x)[0], same_log_det(anp.sum(params["log_scale"]), x)

    def inverse(self, params, z, context=None):
        return super().inverse(params, z)[0], same_log_det(-anp.sum(params["log_scale"]), z)


class PositionsForgotten1x1(Invertible1x1):
    """The same of the 1×1 convolution."""

    def forward(self, params, x, context=None):
        z, log_det = super().forward(params, x)
        return z, log_det / np.prod(x.shape[1:-1])

    def inverse(self, params, z, context=None):
        x, log_det = super().inverse(params, z)
        return x, log_det / np.prod(z.shape[1:-1])


class RotationForEver(Invertible1x1):
    """Takes W for the rotation that it was at the start: log-determinant 0, inverse Wᵀ."""

    def forward(self, params, x, context=None):
        return anp.dot(x, params["weight"].T), same_log_det(0.0, x)

    def inverse(self, params, z, context=None):
        return anp.dot(z, params["weight"]), same_log_det(0.0, z)


class SilentlySingular(Invertible1x1):
    """A pseudo-inverse and log(|det| + ε) hide that W has become singular (openai/glow#40, survae_flows#16)."""

    def forward(self, params, x, context=None):
        log_abs = anp.log(abs(anp.linalg.det(params["weight"])) + 1e-12)
        return anp.dot(x, params["weight"].T), same_log_det(np.prod(x.shape[1:-1]) * log_abs, x)

    def inverse(self, params, z, context=None):
        log_abs = anp.log(abs(anp.linalg.det(params["weight"])) + 1e-12)
        return anp.dot(z, anp.linalg.pinv(params["weight"]).T), same_log_det(-np.prod(z.shape[1:-1]) * log_abs, z)


class PermutationNotUndone(Invertible1x1LU):
    """The inverse applies P where it should apply Pᵀ; any P with P = Pᵀ hides it."""

    def inverse(self, params, z, context=None):
        return super().inverse(params, anp.dot(z, (self.permutation @ self.permutation).T * 1.0))


# name -> (constructor of the layer for C channels, the checks of test_glow.py that see it, on images)
MUTANTS = {
    "shift not divided by std": (lambda C: ShiftNotDivided(), {"start"}),
    "started again on load": (lambda C: StartedAgainOnLoad(), {"reload"}),
    "zero spread": (lambda C: ZeroSpread(), {"no spread"}),
    "actnorm without h·w": (lambda C: PositionsForgotten(), {"log-det"}),
    "1×1 without h·w": (lambda C: PositionsForgotten1x1(), {"log-det"}),
    "rotation for ever": (lambda C: RotationForEver(), {"round trip", "log-det", "singular"}),
    "silently singular": (lambda C: SilentlySingular(), {"singular"}),
    "P not undone": (lambda C: PermutationNotUndone(np.roll(np.eye(C), 1, axis=0) + 0.1), {"round trip"}),
}
