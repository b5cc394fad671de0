"""One file for each implementation; a process imports one of them, so that its import and memory are its own.

Each has a function for every workload that it can do. It takes the `Worker` and returns a `Trainer`.
"""

from collections.abc import Callable
from typing import NamedTuple


class Trainer(NamedTuple):
    """A model, ready to be trained and asked; arrays are NumPy's."""

    step: Callable  # (batch (N, 2), learning rate) -> the loss, after an update
    parameters: int  # how many numbers are trained
    log_prob: Callable | None = None  # (N, 2) -> (N,)
    sample: Callable | None = None  # n -> (n, 2)
