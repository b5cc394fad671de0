"""How each model of the scoreboard is built and asked for densities: one module a model, no tuning to any toy.

A module has a `TITLE`, its `CHAPTER`, a `LEARNING_RATE`, and `build(rng, x)`, which returns a `Model` that starts from
the example batch x. The same loop trains every one of them, in float32.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import autograd.numpy as np

from minigen.flows.flow import Flow, standard_normal
from minigen.foundations.change_of_variables import Chain

NAMES = ("vae", "planar", "nice", "realnvp", "glow", "splines", "made", "maf", "iaf")  # in the order of the book


class Model(NamedTuple):
    """A model with starting parameters, ready to be trained and asked."""

    params: Any
    loss: Callable  # (params, rng, batch) -> number
    log_prob: Callable  # (params, rng, x) -> (N,), exact, or estimated where there is a `bound`
    sample: Callable  # (params, rng, n) -> (n, 2)
    bound: Callable | None = None  # (params, rng, x) -> (N,), at most log_prob


def recipe(name):
    """Return the module of a model."""
    return import_module(f"{__name__}.{name}")


def density_model(density, rng, x):
    """Return the Model of a density that answers for itself: exact log-probabilities, trained by maximum likelihood."""

    def loss(params, rng, batch):
        return np.sum(density.log_prob(params, batch)) / -len(batch)  # np.mean's gradient would be float64

    def log_prob(params, rng, x):
        return density.log_prob(params, x)

    return Model(density.init(rng, x), loss, log_prob, density.sample)


def flow_model(layers, rng, x):
    """Return the Model of a flow with these layers, from data to noise, over a standard normal."""
    flow = Flow(standard_normal(x.shape[1]), Chain(layers))
    return density_model(flow, rng, x)._replace(loss=flow.loss)
