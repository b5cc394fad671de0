"""MAF with real mistakes: in its masks (those of `made`), its log-determinants and its inverse."""

import autograd.numpy as anp
import numpy as np

from minigen import checks
from minigen.autoregressive.made import gaussian_conditionals
from minigen.autoregressive.maf import MAF
from tests.mutants import made
from tests.mutants.exhibit import Exhibit, failing, jitter
from tests.mutants.made import ORDER, PLACE


class SignOfTheInverse(MAF):
    """The inverse returns the log-determinant of the forward direction."""

    def inverse(self, params, z, context=None):
        x, log_det = super().inverse(params, z, context)
        return x, -log_det


class SignOfBoth(SignOfTheInverse):
    """Both directions have the wrong sign, and cancel."""

    def forward(self, params, x, context=None):
        z, log_det = super().forward(params, x, context)
        return z, -log_det


class OnePassShort(MAF):
    """The inverse stops before the last feature is found."""

    def passes(self, params, z, context=None):
        yield from list(super().passes(params, z, context))[:-1]


class NaturalOrder(MAF):
    """The inverse goes through the features from 0 to D - 1, whatever the order."""

    def passes(self, params, z, context=None):
        x = np.zeros(z.shape)
        for k in range(self.features):
            mean, log_scale = gaussian_conditionals(self.made(params, x, context), self.bound)
            x = (np.arange(self.features) <= k) * (z * anp.exp(log_scale) + mean)
            yield x, log_scale


class ConstantInSpiteOfContext(MAF):
    """The first conditional is taken for a constant, which it is only without a context."""

    def passes(self, params, z, context=None):
        x = np.zeros(z.shape)
        place = np.argsort(self.made.order)
        for k in range(self.features):
            y = self.made(params, x, context)
            if k == 0:
                y = np.zeros((len(z), 1, 1)) + np.reshape(params[-1]["bias"], (1, 2, self.features))
            mean, log_scale = gaussian_conditionals(y, self.bound)
            x = (place <= k) * x + (place == k) * (z * anp.exp(log_scale) + mean)
            yield x, log_scale


class UnboundedInverse(MAF):
    """The inverse forgets that the log-scale is bounded."""

    def passes(self, params, z, context=None):
        x = np.zeros(z.shape)
        place = np.argsort(self.made.order)
        for k in range(self.features):
            y = self.made(params, x, context)
            x = (place <= k) * (z * anp.exp(y[:, 1]) + y[:, 0])
            yield x, y[:, 1]


class LogDetOfTheMean(MAF):
    """The log-determinant is averaged over the features in both directions, not summed."""

    def forward(self, params, x, context=None):
        z, log_det = super().forward(params, x, context)
        return z, log_det / self.features

    def inverse(self, params, z, context=None):
        x, log_det = super().inverse(params, z, context)
        return x, log_det / self.features


def seen(maf, params, x, context, direction):
    """Return what the map's outputs depend on: the features, then the context."""
    flat = lambda v: anp.concatenate(direction(params, v[:, :4], v[:, 4:])[:1], axis=1)  # noqa: E731
    return checks.dependency_matrix(flat, np.hstack([x, context]))


def lost_context(maf, params, x, context):
    return sum((~seen(maf, params, x, context, way)[:, 4]).sum() for way in (maf.forward, maf.inverse))


WEAKLY = PLACE[:, None] >= PLACE
CHECKS = {
    "round trip": checks.round_trip_error,
    "cancel": checks.log_det_cancel_error,
    "log-det": checks.log_det_error,
    "batch": checks.batch_dependence,
    "leak": lambda maf, *of: (seen(maf, *of, maf.forward)[:, :4] & ~WEAKLY).sum(),
    "lost": lambda maf, *of: (WEAKLY & ~seen(maf, *of, maf.forward)[:, :4]).sum(),
    "context": lost_context,
}


def sound():
    """Return what the mutants spoil."""
    return [MAF]


def verdicts(kind):
    """Return the checks that find something wrong: D = 4, an order, a context. `kind` is a MAF, or a MADE in one."""
    rng = np.random.default_rng(3)
    maf = (kind if issubclass(kind, MAF) else MAF)(4, (8, 8), order=ORDER, context_features=1)
    if not issubclass(kind, MAF):
        object.__setattr__(maf, "made", kind(4, (8, 8), 2, ORDER, 1))
    x, context = rng.normal(size=(6, 4)), rng.normal(size=(6, 1))
    return failing(CHECKS, maf, jitter(maf.init(rng, x), rng, 0.5), x, context)


EXHIBITS = [
    Exhibit(
        SignOfTheInverse,
        "a minus that each of two places leaves to the other",
        "samples are right, their log-densities are not",
        {"cancel", "log-det"},
    ),
    Exhibit(
        SignOfBoth,
        "the same, made twice",
        "the model shrinks everything to a point, and its loss looks the better for it",
        {"log-det"},
    ),
    Exhibit(
        LogDetOfTheMean,
        "a mean where a sum belongs",
        "the flow hardly scales, and its loss cannot be compared",
        {"log-det"},
    ),
    Exhibit(
        OnePassShort,
        "a loop over D − 1 features",
        "the last feature of every sample is 0",
        {"round trip", "cancel", "log-det", "context"},
    ),
    Exhibit(
        NaturalOrder,
        "an inverse written before there were orders",
        "right for the natural order; samples are wrong for every other",
        {"round trip", "cancel"},
    ),
    Exhibit(
        ConstantInSpiteOfContext,
        "a saving that was made before there was a context",
        "the first feature of every sample ignores its context",
        {"round trip", "cancel", "log-det", "context"},
    ),
    Exhibit(
        UnboundedInverse,
        "two directions that were changed one at a time",
        "samples are wrong where scales are far from 1, and nearly right elsewhere",
        {"round trip", "cancel"},
    ),
]
# A network that is told the feature itself is no leak of the map, whose output i may depend on input i: only the net's
# own dependency matrix shows it, and the Jacobian.
MASKS = {
    made.InclusiveOutput: {"round trip", "cancel", "log-det"},
    made.StrictHidden: {"lost", "context"},
    made.RandomDegrees: {"lost"},
    made.HiddenDegreesFromOne: {"context"},
    made.InterleavedOutputs: {"round trip", "cancel", "log-det", "leak", "lost"},
    made.OrderInverted: {"round trip", "cancel", "leak", "lost"},
}
