"""MAF with real mistakes: in its masks (those of `tests.mutants.made`), its log-determinants and its inverse."""

import autograd.numpy as anp
import numpy as np

from minigen.autoregressive.made import gaussian_conditionals
from minigen.autoregressive.maf import MAF
from tests.mutants import made as made_mutants


def on(kind):
    """Return MAF's constructor with the network replaced by another kind of MADE."""

    def make(features, hidden, **options):
        maf = MAF(features, hidden, **options)
        context_features = options.get("context_features", 0)
        object.__setattr__(maf, "made", kind(features, hidden, 2, options.get("order"), context_features))
        return maf

    return make


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


# name -> (constructor, which of test_maf.py's checks see it). A network that is told the feature itself is no leak of
# the map, whose output i may depend on input i: only the net's own dependency matrix shows it, and the Jacobian.
MUTANTS = {
    "none": (MAF, set()),
    "last mask with >=": (on(made_mutants.InclusiveOutput), {"round trip", "cancel", "Jacobian"}),
    "hidden masks with >": (on(made_mutants.StrictHidden), {"lost", "context"}),
    "random degrees": (on(made_mutants.RandomDegrees), {"lost"}),
    "hidden degrees from 1": (on(made_mutants.HiddenDegreesFromOne), {"context"}),
    "outputs interleaved": (
        on(made_mutants.InterleavedOutputs),
        {"round trip", "cancel", "Jacobian", "leak", "lost"},
    ),
    "order turned round": (on(made_mutants.OrderTurnedRound), {"round trip", "cancel", "leak", "lost"}),
    "sign of the inverse's log-det": (SignOfTheInverse, {"cancel", "Jacobian"}),
    "sign of both log-dets": (SignOfBoth, {"Jacobian"}),
    "mean log-scale": (LogDetOfTheMean, {"Jacobian"}),
    "one pass short": (OnePassShort, {"round trip", "cancel", "Jacobian", "context"}),
    "inverse in natural order": (NaturalOrder, {"round trip", "cancel"}),
    "constant in spite of context": (ConstantInSpiteOfContext, {"round trip", "cancel", "Jacobian", "context"}),
    "inverse unbounded": (UnboundedInverse, {"round trip", "cancel"}),
}
