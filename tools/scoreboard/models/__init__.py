"""How each model of the scoreboard is built and asked for densities: one module a model, no tuning to any toy.

A module has a `TITLE`, its `CHAPTER`, a `LEARNING_RATE`, and `build(rng, x)`, which returns a `Model` that starts from
the example batch x. The same loop trains every one of them, in float32.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

NAMES = ("vae",)  # in the order of the book


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
