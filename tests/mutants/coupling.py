"""Real bugs of coupling layers, each injected into a correct layer."""

import autograd.numpy as np
import numpy

from minigen import checks
from minigen.flows.coupling import AffineCoupling
from minigen.foundations.change_of_variables import Bijection, same_log_det
from tests.mutants.exhibit import Exhibit, failing, jitter


class Plain(AffineCoupling):
    """What the mutants start from: the definition, not the fused node."""

    @property
    def _is_one_node(self):
        return False


class HalvesJoined(Plain):
    """Split into even and odd features, put together as halves."""

    def forward(self, params, x, context=None):
        log_scale, shift = self._log_scale_and_shift(params, x, context)
        z = x * np.exp(log_scale) + shift
        return np.concatenate([z[:, self.kept], z[:, self.moved]], axis=1), np.sum(log_scale, axis=1)

    def inverse(self, params, z, context=None):
        halves = z[:, : len(self.kept)], z[:, len(self.kept) :]
        back = numpy.argsort(numpy.concatenate([self.kept, self.moved]))
        log_scale, shift = self._log_scale_and_shift(params, z, context)  # conditioned on the even ones again
        x = np.concatenate(halves, axis=1)[:, back]
        return (x - shift) * np.exp(-log_scale), -np.sum(log_scale, axis=1)


class InverseSign(Plain):
    """The inverse's log-determinant has the forward's sign."""

    def inverse(self, params, z, context=None):
        x, log_det = super().inverse(params, z, context)
        return x, -log_det


class BothSigns(Plain):
    """Both log-determinants have the wrong sign: they still cancel."""

    def forward(self, params, x, context=None):
        z, log_det = super().forward(params, x, context)
        return z, -log_det

    def inverse(self, params, z, context=None):
        x, log_det = super().inverse(params, z, context)
        return x, -log_det


class WrongInverse(Plain):
    """The inverse scales before it shifts back; at the identity start the two are the same."""

    def inverse(self, params, z, context=None):
        log_scale, shift = self._log_scale_and_shift(params, z, context)
        return z * np.exp(-log_scale) - shift, -np.sum(log_scale, axis=1)


class SeesWhatItMoves(Plain):
    """The conditioner sees x in place of b∘x (a mask forgotten)."""

    def _log_scale_and_shift(self, params, x, context):
        swapped = x[:, self.moved][:, : len(self.kept)]
        y = self.conditioner(params, swapped, context)
        log_scale, shift = super()._log_scale_and_shift(params, x, context)
        return log_scale, shift + np.sum(y, axis=1, keepdims=True) * ~self.mask


class OnlyOneFeature(Plain):
    """The log-determinant averages over the features in place of summing (a mean for a sum)."""

    def forward(self, params, x, context=None):
        z, log_det = super().forward(params, x, context)
        return z, log_det / len(self.moved)

    def inverse(self, params, z, context=None):
        x, log_det = super().inverse(params, z, context)
        return x, log_det / len(self.moved)


class BatchNorm(Bijection):
    """Batch normalization as a layer, with the batch's own statistics."""

    def forward(self, params, x, context=None):
        std = np.sqrt(np.mean((x - np.mean(x, axis=0)) ** 2, axis=0) + 1e-5)
        return (x - np.mean(x, axis=0)) / std, same_log_det(-np.sum(np.log(std)), x)


CHECKS = {
    "round trip": checks.round_trip_error,
    "cancel": checks.log_det_cancel_error,
    "log-det": checks.log_det_error,
    "batch": checks.batch_dependence,
}


def sound():
    """Return what the mutants spoil."""
    return [AffineCoupling]


def verdicts(kind, D=4, size=0.3):
    """Return the checks that find something wrong."""
    rng = numpy.random.default_rng(0)
    x = rng.normal(size=(5, D))
    layer = BatchNorm() if kind is BatchNorm else kind(numpy.arange(D) % 2 == 0, hidden=(8,))
    return failing(CHECKS, layer, jitter(layer.init(rng, x), rng, size), x, tolerance=1e-6)


EXHIBITS = [
    Exhibit(
        HalvesJoined,
        "a well-known teaching repository, open since 2020 (karpathy/pytorch-normalizing-flows#10)",
        "training runs and the loss falls; samples are wrong. For D = 2, all that its example uses, nothing is wrong",
        {"round trip", "cancel", "log-det"},
        1,
    ),
    Exhibit(
        InverseSign,
        "a flow library and a popular repository (VincentStimper/normalizing-flows#27, ikostrikov/pytorch-flows#16)",
        "samples are right, their log-densities are not: reverse KL and importance weights go wrong",
        {"cancel", "log-det"},
        2,
    ),
    Exhibit(
        BothSigns,
        "the same, made twice",
        "the two directions agree; the model shrinks everything to a point, and its loss looks the better for it",
        {"log-det"},
        2,
    ),
    Exhibit(
        WrongInverse,
        "solving z = x exp(s) + t in a hurry",
        "densities are right, samples are not; at the start, where s = 0, they are",
        {"round trip"},
    ),
    Exhibit(
        SeesWhatItMoves,
        "a conditioner that is given x without its mask",
        "a loss that may fall below the data's entropy: the log-determinant is not that of the map",
        {"round trip", "log-det"},
    ),
    Exhibit(
        OnlyOneFeature,
        "a mean where a sum belongs",
        "the flow hardly scales; with one moved feature, as in the plane, nothing is wrong",
        {"log-det"},
    ),
    Exhibit(
        BatchNorm,
        "several flow libraries (bayesiains/nflows#10, ikostrikov/pytorch-flows#8)",
        "a point's density depends on who else is in the batch; there is no way back while it is trained",
        {"log-det", "batch"},
        8,
    ),
]
