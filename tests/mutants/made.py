"""MADE with the mistakes that people make in it: each a net that still runs, still trains, and is wrong."""

import autograd.numpy as anp
import numpy as np

from minigen import checks
from minigen.autoregressive.made import MADE, degrees, masks
from tests.mutants.exhibit import Exhibit, failing, jitter


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


class OrderInverted(MADE):
    """The order is taken for the features' places in it: its inverse permutation."""

    def _masks(self):
        return masks(degrees(np.argsort(self.order), self.hidden, self.context_features), self.outputs)


ORDER = [2, 0, 3, 1]
PLACE = np.argsort(ORDER)
ALLOWED = np.tile(PLACE[:, None] > PLACE, (2, 1))  # for each of two outputs: may the row's feature see the column's?


def seen(made, params, x):
    """Return what each output depends on: the features, then the context."""

    def flat(both):
        return anp.reshape(made(params, both[:, :4], both[:, 4:]), (len(both), 8))

    return checks.dependency_matrix(flat, x)


CHECKS = {
    "leak": lambda *of: (seen(*of)[:, :4] & ~ALLOWED).sum(),
    "lost": lambda *of: (ALLOWED & ~seen(*of)[:, :4]).sum(),
    "context": lambda *of: (~seen(*of)[:, 4:]).sum(),
}


def sound():
    """Return what the mutants spoil."""
    return [MADE]


def verdicts(kind):
    """Return the checks that find something wrong: D = 4, an order, a context, two outputs."""
    rng = np.random.default_rng(3)
    made = kind(4, (8, 8), 2, ORDER, context_features=1)
    return failing(CHECKS, made, jitter(made.init(rng), rng, 0.5), rng.normal(size=(3, 5)))


EXHIBITS = [
    Exhibit(
        HiddenDegreesFromOne,
        "several libraries (bayesiains/nflows PR#85, danielward27/flowjax#147, sbi-dev/sbi PR#1269)",
        "the first feature ignores its context, so a conditional density of one feature is not conditional at all",
        {"context"},
        3,
    ),
    Exhibit(
        RandomDegrees,
        "the recipe of the paper, as programmed in a teaching repository (karpathy/pytorch-made, rll/deepul#4)",
        "nothing but a higher loss: on average 8 % of the allowed connections lost (ten features, ten hidden units)",
        {"lost"},
        4,
    ),
    Exhibit(
        InclusiveOutput,
        "one comparison for all masks",
        "a loss too good to be true: each feature is told itself",
        {"leak"},
    ),
    Exhibit(
        StrictHidden,
        "one comparison for all masks",
        "a higher loss, and with enough layers a constant",
        {"lost", "context"},
    ),
    Exhibit(
        InterleavedOutputs,
        "two outputs a feature, laid out one way and read the other way",
        "with one output nothing; with a mean and a scale, a loss that is too good",
        {"leak", "lost"},
    ),
    Exhibit(
        OrderInverted,
        "a permutation taken for its inverse",
        "nothing for an order that is its own inverse, such as the one turned round",
        {"leak", "lost"},
    ),
]
