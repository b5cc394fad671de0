"""MADE with the mistakes that people make in it: each a net that still runs, still trains, and is wrong."""

import numpy as np

from minigen.autoregressive.made import MADE, degrees, masks


class InclusiveOutput(MADE):
    """The last mask compares with >= as the hidden ones do, so each feature is told itself."""

    def _masks(self):
        layers = degrees(self.order, self.hidden, self.context_features)
        last = np.greater_equal.outer(layers[-1], layers[-2])
        return [*masks(layers)[:-1], np.tile(last, (self.outputs, 1))]


class StrictHidden(MADE):
    """The hidden masks compare with > as the last one does, which cuts paths that are allowed."""

    def _masks(self):
        layers = degrees(self.order, self.hidden, self.context_features)
        hidden = [np.greater.outer(above, below) for below, above in zip(layers[:-2], layers[1:-1], strict=True)]
        return [*hidden, masks(layers, self.outputs)[-1]]


class RandomDegrees(MADE):
    """Hidden degrees drawn at random: some never come up, and the connections that need them are lost."""

    def _masks(self):
        rng = np.random.default_rng(0)
        return masks(degrees(self.order, self.hidden, self.context_features, rng), self.outputs)


class HiddenDegreesFromOne(MADE):
    """Hidden degrees start at 1 although there is a context: the first feature's output never hears of it."""

    def _masks(self):
        inputs, *others = degrees(self.order, self.hidden)
        context = np.zeros(self.context_features, dtype=int)
        return masks([np.concatenate([inputs, context]), *others], self.outputs)


class InterleavedOutputs(MADE):
    """The rows of the last mask are repeated one by one where the outputs stand in blocks of D."""

    def _masks(self):
        layers = degrees(self.order, self.hidden, self.context_features)
        *hidden, last = masks(layers)
        return [*hidden, np.repeat(last, self.outputs, axis=0)]


class OrderTurnedRound(MADE):
    """The order is taken for the features' places in it: its inverse permutation."""

    def _masks(self):
        return masks(degrees(np.argsort(self.order), self.hidden, self.context_features), self.outputs)


# name -> (net, which of test_made.py's checks see it)
MUTANTS = {
    "none": (MADE, set()),
    "last mask with >=": (InclusiveOutput, {"leak"}),
    "hidden masks with >": (StrictHidden, {"lost", "context"}),
    "random degrees": (RandomDegrees, {"lost"}),
    "hidden degrees from 1": (HiddenDegreesFromOne, {"context"}),
    "outputs interleaved": (InterleavedOutputs, {"leak", "lost"}),
    "order turned round": (OrderTurnedRound, {"leak", "lost"}),
}
