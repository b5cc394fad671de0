"""What a training step costs, counted instead of timed: autograd nodes, and the most memory that it holds at once."""

import tracemalloc
from contextlib import contextmanager

from autograd.core import VJPNode


@contextmanager
def counted_nodes():
    """Yield a list that gets the name of every function whose call autograd records meanwhile.

    >>> import autograd.numpy as np
    >>> from autograd import grad
    >>> with counted_nodes() as nodes:
    ...     slope = grad(lambda x: np.sin(x) * 2.0)(0.0)
    >>> nodes
    ['sin', 'multiply']
    """
    nodes = []
    record = VJPNode.__init__

    def record_and_count(self, value, fun, *rest):
        nodes.append(getattr(fun, "__name__", str(fun)))
        record(self, value, fun, *rest)

    VJPNode.__init__ = record_and_count
    try:
        yield nodes
    finally:
        VJPNode.__init__ = record


def peak_memory(step):
    """Return the most bytes that a call of `step` holds at one time above what was held before, after a first call."""
    step()
    tracemalloc.start()
    try:
        step()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        step()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
