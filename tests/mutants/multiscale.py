"""Image flows with the mistakes that were really made in them."""

import math

import autograd.numpy as anp
import numpy as np

from minigen.flows.multiscale import Logit, Split, Squeeze, dequantize, quantize
from minigen.foundations.change_of_variables import Bijection, same_log_det


class Resampled(Split):
    """The inverse draws the factored-out half anew, where the latent holds it (rosinality#45, chaiyujin#9)."""

    def inverse(self, params, z, context=None):
        half = math.prod(self.shape[:-1]) * (self.shape[-1] - self.shape[-1] // 2)
        fresh = np.random.default_rng(0).normal(size=(z.shape[0], half))
        return super().inverse(params, anp.concatenate([fresh, z[:, half:]], axis=1))


class InnerLogDetForgotten(Split):
    """The log-determinant of what goes on is left out, in both directions."""

    def forward(self, params, x, context=None):
        return super().forward(params, x)[0], same_log_det(0.0, x)

    def inverse(self, params, z, context=None):
        return super().inverse(params, z)[0], same_log_det(0.0, z)


class ShrinkingForgottenOnce(Logit):
    """log(1 − 2α) is missing in the inverse (uvadlc_notebooks#57)."""

    def inverse(self, params, z, context=None):
        x, log_det = super().inverse(params, z)
        return x, log_det + self._log_det_of_shrinking(x)


class ShrinkingForgotten(ShrinkingForgottenOnce):
    """log(1 − 2α) is missing in both directions."""

    def forward(self, params, x, context=None):
        z, log_det = super().forward(params, x)
        return z, log_det - self._log_det_of_shrinking(x)


class Reshaped(Squeeze):
    """Squeezes by one reshape: the numbers come back, but a "block" is then a piece of a row."""

    def forward(self, params, x, context=None):
        return anp.reshape(x, (x.shape[0], *self.output_shape(x.shape[1:]))), same_log_det(0.0, x)

    def inverse(self, params, z, context=None):
        n, h, w, c = z.shape
        f = self.factor
        return anp.reshape(z, (n, h * f, w * f, c // f**2)), same_log_det(0.0, z)


class Dequantized(Bijection):
    """`dequantize` and `quantize` as one map of whole numbers, so that the checks for maps see them."""

    def forward(self, params, x, context=None):
        return dequantize(np.random.default_rng(0), x, levels=16)

    def inverse(self, params, z, context=None):
        return quantize(z, levels=16)


class ConstantForgottenOnce(Dequantized):
    """log(levels) is missing on the way back (uvadlc_notebooks#93)."""

    def inverse(self, params, z, context=None):
        x, log_det = super().inverse(params, z)
        return x, 0 * log_det


class ConstantForgotten(ConstantForgottenOnce):
    """log(levels) is missing both ways: bits per dimension come out log₂(levels) too low."""

    def forward(self, params, x, context=None):
        y, log_det = super().forward(params, x)
        return y, 0 * log_det


class Rounded(Dequantized):
    """Rounds to the nearest level where it should cut off."""

    def inverse(self, params, z, context=None):
        return np.clip(np.rint(z * 16), 0, 15).astype(int), super().inverse(params, z)[1]


# name -> (constructor of the map, given the right one's arguments; the checks of test_multiscale.py that see it)
MUTANTS = {
    "factored-out z drawn anew": ("split", Resampled, {"round trip", "log-det"}),
    "log-det of the rest forgotten": ("split", InnerLogDetForgotten, {"log-det"}),
    "1 − 2α forgotten in the inverse": ("logit", ShrinkingForgottenOnce, {"cancel", "log-det"}),
    "1 − 2α forgotten": ("logit", ShrinkingForgotten, {"log-det"}),
    "squeeze by reshape": ("squeeze", Reshaped, {"blocks"}),
    "256 forgotten in one direction": ("dequantize", ConstantForgottenOnce, {"cancel"}),
    "256 forgotten": ("dequantize", ConstantForgotten, {"bits"}),
    "rounded to the nearest": ("dequantize", Rounded, {"round trip"}),
}
