"""Image flows with the mistakes that were really made in them."""

import math

import autograd.numpy as anp
import numpy as np

from minigen import checks
from minigen.flows.multiscale import Logit, Split, Squeeze, bits_per_dimension, dequantize, quantize
from minigen.foundations.change_of_variables import Affine, Bijection, same_log_det
from tests.mutants.exhibit import Exhibit, failing, jitter


class Resampled(Split):
    """The inverse draws the factored-out half anew, where the latent holds it."""

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
    """log(1 − 2α) is missing in the inverse."""

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
    """log(levels) is missing on the way back."""

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


def block_error(map, params, x):
    """Does each pixel that comes out see its own block only?"""
    if not isinstance(map, Squeeze):
        return 0.0
    sees = checks.dependency_matrix(lambda x: map.forward({}, x)[0], x[:1]).reshape(2, 2, -1, 4, 4, x.shape[-1])
    blocks = [sees[i, j, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].sum() for i, j in np.ndindex(2, 2)]
    return float(sees.sum() - sum(blocks))


def bits_error(map, params, x):
    """Does the uniform density on 16 levels take 4 bits a number?"""
    if not isinstance(map, Dequantized):
        return 0.0
    return abs(bits_per_dimension(map.forward(params, x)[1], math.prod(x.shape[1:]), 1) - 4).max()


CHECKS = {
    "round trip": checks.round_trip_error,
    "cancel": checks.log_det_cancel_error,
    # Dequantization cuts off, so its inverse has no Jacobian to compare with.
    "log-det": lambda map, params, x: 0 if isinstance(map, Dequantized) else checks.log_det_error(map, params, x),
    "blocks": block_error,
    "bits": bits_error,
}


def sound():
    """Return what the mutants spoil."""
    return [Split, Logit, Squeeze, Dequantized]


def verdicts(kind):
    """Return the checks that find something wrong."""
    rng = np.random.default_rng(0)
    map = kind(Affine(), (4, 4, 2)) if issubclass(kind, Split) else kind()
    x = rng.integers(16, size=(3, 4, 4, 2)).astype(float) if isinstance(map, Dequantized) else rng.random((3, 4, 4, 2))
    return failing(CHECKS, map, jitter(map.init(rng, x), rng, 0.2), x)


EXHIBITS = [
    Exhibit(
        ShrinkingForgottenOnce,
        "a university's course notebooks (phlippe/uvadlc_notebooks#57)",
        "bits per dimension are right or wrong by the direction that they are computed in",
        {"cancel", "log-det"},
        9,
    ),
    Exhibit(
        ShrinkingForgotten,
        "the same, made twice",
        "bits per dimension are off by the same number for every model (0.15 for α = 0.05), so that nobody compares",
        {"log-det"},
        9,
    ),
    Exhibit(
        ConstantForgottenOnce,
        "a university's course notebooks (phlippe/uvadlc_notebooks#93, phlippe/uvadlc_notebooks#135)",
        "the density of a sample is levels to the number of its values too high or too low",
        {"cancel"},
        9,
    ),
    Exhibit(
        ConstantForgotten,
        "the same, made twice; of the original Glow it was said too (openai/glow#51)",
        "for 256 levels bits per dimension are too low by 8, which is negative: a record",
        {"bits"},
        9,
    ),
    Exhibit(
        Resampled,
        "two re-implementations of Glow (rosinality/glow-pytorch#45, chaiyujin/glow-pytorch#9)",
        '"my Glow is not invertible": an image comes back as another one',
        {"round trip", "log-det"},
        10,
    ),
    Exhibit(
        InnerLogDetForgotten,
        "a composite that returns the log-determinant of its own work only",
        "the deeper levels are not trained for their volume",
        {"log-det"},
    ),
    Exhibit(
        Reshaped,
        "the same number of numbers in another shape",
        "the flow is sound and learns worse: what stands in a pixel's channels are not its neighbours",
        {"blocks"},
    ),
    Exhibit(Rounded, "rounding for cutting off", "half of the pixels come back one level too bright", {"round trip"}),
]
