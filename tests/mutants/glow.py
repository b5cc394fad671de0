"""Glow's layers with the mistakes that were really made in them."""

from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np

from minigen import checks
from minigen.errors import SingularMatrixError
from minigen.flows.glow import ActNorm, Invertible1x1, Invertible1x1LU
from minigen.foundations.change_of_variables import same_log_det
from tests.mutants.exhibit import Exhibit, failing, jitter


class ShiftNotDivided(ActNorm):
    """`shift = −mean` where z = x·scale + shift wants −mean/std: the start is not centred."""

    def init(self, rng, x, context=None):
        params = super().init(rng, x)
        return params | {"shift": params["shift"] * np.exp(-params["log_scale"])}


class StartedAgainOnLoad(ActNorm):
    """The start hangs on a flag of the object, so a trained model that is loaded starts again."""

    def __init__(self):
        object.__setattr__(self, "memory", SimpleNamespace(params=None))

    def forward(self, params, x, context=None):
        if self.memory.params is None:
            self.memory.params = self.init(None, x)
        return super().forward(self.memory.params, x)

    def inverse(self, params, z, context=None):
        return super().inverse(self.memory.params or params, z)


class ZeroSpread(ActNorm):
    """Divides by a standard deviation of 0: NaN from the first step on."""

    def init(self, rng, x, context=None):
        values = np.reshape(x, (-1, np.shape(x)[-1]))
        with np.errstate(divide="ignore", invalid="ignore"):
            return {"log_scale": -np.log(values.std(axis=0)), "shift": -values.mean(axis=0) / values.std(axis=0)}


class OnePixel(ActNorm):
    """The log-determinant is that of one pixel, in both directions alike."""

    def forward(self, params, x, context=None):
        return super().forward(params, x)[0], same_log_det(anp.sum(params["log_scale"]), x)

    def inverse(self, params, z, context=None):
        return super().inverse(params, z)[0], same_log_det(-anp.sum(params["log_scale"]), z)


class OnePixel1x1(Invertible1x1):
    """The 1×1 convolution's log-determinant is that of one pixel, in both directions alike."""

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
    """A pseudo-inverse and log(|det| + ε) hide that W has become singular."""

    def forward(self, params, x, context=None):
        log_abs = anp.log(abs(anp.linalg.det(params["weight"])) + 1e-12)
        return anp.dot(x, params["weight"].T), same_log_det(np.prod(x.shape[1:-1]) * log_abs, x)

    def inverse(self, params, z, context=None):
        log_abs = anp.log(abs(anp.linalg.det(params["weight"])) + 1e-12)
        return anp.dot(z, anp.linalg.pinv(params["weight"]).T), same_log_det(-np.prod(z.shape[1:-1]) * log_abs, z)


class PermutationNotUndone(Invertible1x1LU):
    """The inverse applies P where it should apply Pᵀ; a P with P = Pᵀ, such as any swap, hides it."""

    def inverse(self, params, z, context=None):
        return super().inverse(params, anp.dot(z, (self.permutation @ self.permutation).T * 1.0))


def start_error(layer, params, x):
    if type(layer).data_dependent_init:
        z, _ = layer.forward(layer.init(np.random.default_rng(0), x), x)
        return max(abs(z.mean(axis=(0, 1, 2))).max(), abs(z.std(axis=(0, 1, 2)) - 1).max())
    return 0.0


def no_spread_error(layer, params, x):
    if type(layer).data_dependent_init:
        params = layer.init(np.random.default_rng(0), np.ones_like(x))
        return 0.0 if all(np.isfinite(leaf).all() for leaf in params.values()) else np.inf
    return 0.0


def singular_error(layer, params, x):
    if "weight" not in params:
        return 0.0
    singular = np.zeros_like(params["weight"])
    try:
        layer.inverse({"weight": singular}, layer.forward({"weight": singular}, x)[0])
    except SingularMatrixError:
        return 0.0
    return np.inf


def reload_error(layer, params, x):
    """Parameters that were trained and saved come to a new process: do they still mean the same?"""
    y, z = layer.forward(params, x[:1] * 5)[0], layer.forward(params, x[1:])[0]
    if "shift" in params:
        expected = [np.exp(params["log_scale"]) * part + params["shift"] for part in (x[:1] * 5, x[1:])]
        return max(abs(y - expected[0]).max(), abs(z - expected[1]).max())
    return 0.0


CHECKS = {
    "round trip": checks.round_trip_error,
    "cancel": checks.log_det_cancel_error,
    "log-det": checks.log_det_error,
    "batch": checks.batch_dependence,
    "start": start_error,
    "no spread": no_spread_error,
    "singular": singular_error,
    "reload": reload_error,
}


def sound():
    """Return what the mutants spoil."""
    return [ActNorm, Invertible1x1, Invertible1x1LU]


def verdicts(kind):
    """Return the checks that find something wrong, on images."""
    rng = np.random.default_rng(3)
    x = 2 * rng.normal(size=(4, 2, 2, 3)) + 1
    layer = kind(np.roll(np.eye(3), 1, axis=0) + 0.1) if issubclass(kind, Invertible1x1LU) else kind()
    params = jitter(layer.init(rng, x), rng, 0.2)
    with np.errstate(all="ignore"):
        return failing(CHECKS, layer, params, x)


EXHIBITS = [
    Exhibit(
        ShiftNotDivided,
        "a university course's solutions (rll/deepul#6)",
        "data of mean m and spread s start with the mean m/s − m, not 0; training mends it, and nobody looks",
        {"start"},
        7,
    ),
    Exhibit(
        StartedAgainOnLoad,
        "a popular re-implementation of Glow (rosinality/glow-pytorch#6)",
        "a trained model makes noise after it has been saved and loaded",
        {"reload"},
        7,
    ),
    Exhibit(
        ZeroSpread,
        "a flow library (vislearn/FrEIA#121)",
        "NaN from the first step on, if one channel of the data is constant",
        {"no spread"},
        7,
    ),
    Exhibit(
        SilentlySingular,
        'the answer to the original Glow\'s "Input is not invertible" (openai/glow#40, didriknielsen/survae_flows#16)',
        "no error any more: the density is that of a map that has no inverse",
        {"singular"},
        11,
    ),
    Exhibit(
        RotationForEver,
        "a start that was taken for a law",
        "right before training, wrong after the first step",
        {"round trip", "log-det", "singular"},
    ),
    Exhibit(
        OnePixel,
        "a layer for points that is used on images",
        "a change of volume is paid for at one pixel only, so that bits per dimension mean nothing",
        {"log-det"},
    ),
    Exhibit(OnePixel1x1, "the same", "the same", {"log-det"}),
    Exhibit(
        PermutationNotUndone,
        "a factorization that was checked on a matrix whose P is a swap",
        "samples are scrambled channels, densities are right",
        {"round trip"},
    ),
]
