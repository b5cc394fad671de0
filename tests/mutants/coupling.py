"""Real bugs of coupling layers, each injected into a correct layer, with where it was found."""

import autograd.numpy as np
import numpy

from minigen.flows.coupling import AffineCoupling
from minigen.foundations.change_of_variables import Bijection, same_log_det


class Plain(AffineCoupling):
    """What the mutants start from: the definition, not the fused node."""

    @property
    def _is_one_node(self):
        return False


class HalvesJoined(Plain):
    """Split into even and odd features, put together as halves (karpathy/pytorch-normalizing-flows#10)."""

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
    """The inverse's log-determinant has the forward's sign (normflows#27, ikostrikov/pytorch-flows#16)."""

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
    """The inverse scales before it shifts back; at the identity start that cannot be seen."""

    def inverse(self, params, z, context=None):
        log_scale, shift = self._log_scale_and_shift(params, z, context)
        return z * np.exp(-log_scale) - shift, -np.sum(log_scale, axis=1)


class SeesWhatItMoves(Plain):
    """The conditioner sees x in place of b∘x (a mask forgotten)."""

    def _log_scale_and_shift(self, params, x, context):
        swapped = x[:, self.moved][:, : len(self.kept)]
        y = self.net(params, swapped, context)
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
    """Batch normalization as a layer, with the batch's own statistics (nflows#10, ikostrikov/pytorch-flows#8)."""

    def forward(self, params, x, context=None):
        std = np.sqrt(np.mean((x - np.mean(x, axis=0)) ** 2, axis=0) + 1e-5)
        return (x - np.mean(x, axis=0)) / std, same_log_det(-np.sum(np.log(std)), x)


def mutants(D):
    """Return name -> (wrong layer for D features)."""
    mask = numpy.arange(D) % 2 == 0
    layers = (HalvesJoined, InverseSign, BothSigns, WrongInverse, SeesWhatItMoves, OnlyOneFeature)
    return {layer.__name__: layer(mask, hidden=(8,)) for layer in layers} | {"BatchNorm": BatchNorm()}
