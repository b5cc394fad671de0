"""Training: gradients of all parameters in one flat vector, optimizers that update it in place, and the loop `fit`.

A loss is a function ``loss(params, rng, batch)`` that returns one number. `fit` is bit for bit repeatable: same seed,
same machine, same versions and number of BLAS threads give the same parameters.
"""

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy
from autograd.core import VJPNode, backward_pass
from autograd.tracer import isbox, new_box, trace_stack

from minigen.errors import NonFiniteError, check_integer, require
from minigen.tree import map_with_path, ravel, tree_leaves

__all__ = ["SGD", "Adam", "FlatGradient", "Momentum", "constant", "cosine", "fit", "minibatches", "warm_up"]


def _with_leaves(tree, leaves):
    """Return the containers of `tree` around the next of `leaves`: `tree_map` without its checks, once a step."""
    if type(tree) is dict:
        return {key: _with_leaves(value, leaves) for key, value in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)([_with_leaves(value, leaves) for value in tree])
    return next(leaves)


def _store(out, g):
    if numpy.shape(g) != out.shape:
        raise ValueError(
            f"FlatGradient: a parameter of shape {out.shape} got a gradient of shape {numpy.shape(g)}; a function in "
            "the loss (autograd's where, for one) does not undo its broadcasting"
        )
    out[...] = g
    return ()  # a leaf has no parents to hand anything on to


def _root(out):
    """Return a node of autograd's graph that nothing comes before, and that stores its gradient in `out`."""
    node = VJPNode.new_root()
    node.vjp = functools.partial(_store, out)
    return node


def _check_number(value):
    """Return `value`, what a loss has returned, if it is one number."""
    require(numpy.shape(value) == (), f"the loss should be one number, got shape {numpy.shape(value)}")
    return value


class FlatGradient:
    """A loss with its parameters and its gradient, each in one flat vector.

    Calling it with what the loss takes after `params` returns the loss as a float and fills `gradient`. `params` are
    views of `vector`, in the containers that were given, so ``vector -= step`` in place is all that an optimizer does,
    and ``unravel`` puts any such vector into the containers. The parameters given are copied. `fit` is built on it, and
    so is any loop that `fit` does not fit: two networks that take turns are two of these.

    Each leaf of `params` comes to the loss in an autograd box of its own, and the containers around them are plain, so
    no autograd nodes are spent on taking the parameters out of them.

    Raises TypeError for a leaf that is no float array, ValueError if there are no parameters or if the loss is not one
    number that depends on them.

    >>> objective = FlatGradient(lambda params, x: ((params["w"] * x) ** 2).sum(), {"w": numpy.array([1.0, 2.0])})
    >>> objective(numpy.array([1.0, 3.0])), objective.gradient
    (37.0, array([ 2., 36.]))
    """

    def __init__(self, loss, params):
        self.loss = loss
        self.vector, unravel = ravel(params)
        require(self.vector.size > 0, "FlatGradient: expected parameters, got none")
        self.gradient = numpy.zeros_like(self.vector)
        self.params = unravel(self.vector)
        self.unravel = unravel
        self._leaves = tree_leaves(self.params)
        self._roots = [_root(out) for out in tree_leaves(unravel(self.gradient))]

    def __call__(self, *args):
        """Return the loss at the present `vector`, and write its gradient into `gradient`."""
        self.gradient[:] = 0  # for leaves that the loss does not use
        with trace_stack.new_trace() as level:
            boxes = (new_box(leaf, level, root) for leaf, root in zip(self._leaves, self._roots, strict=True))
            end = self.loss(_with_leaves(self.params, boxes), *args)
        _check_number(end._value if isbox(end) else end)
        require(isbox(end) and end._trace == level, "the loss should depend on params, got a constant")
        backward_pass(numpy.ones((), dtype=self.vector.dtype), end._node)
        return float(end._value)


def _check_rate(optimizer):
    who, rate = type(optimizer).__name__, optimizer.learning_rate
    require(0 < rate < math.inf, f"{who}: expected a positive, finite learning_rate, got {rate!r}")


def _check_decay(optimizer, name):
    decay = getattr(optimizer, name)
    require(0 <= decay < 1, f"{type(optimizer).__name__}: expected 0 <= {name} < 1, got {decay!r}")


@dataclass(frozen=True)
class SGD:
    """Gradient descent, `θ ← θ − η g`, stochastic when the gradient is a minibatch's.

    An optimizer has two methods: ``init(vector)`` returns its state, and ``update(state, vector, gradient, factor)``
    changes state and vector in place, with the learning rate η = learning_rate · factor. The gradient is not changed.
    Cost: O(size). Raises ValueError for a learning rate that is not positive and finite.

    >>> vector, sgd = numpy.array([1.0, 2.0]), SGD(learning_rate=0.5)
    >>> sgd.update(sgd.init(vector), vector, numpy.array([1.0, 0.0]))
    >>> vector
    array([0.5, 2. ])
    """

    learning_rate: float = 1e-2

    def __post_init__(self):
        _check_rate(self)

    def init(self, vector):
        """Return the state: only a place to work in."""
        return {"scratch": numpy.empty_like(vector)}

    def update(self, state, vector, gradient, factor=1.0):
        """Take one step."""
        numpy.multiply(gradient, self.learning_rate * factor, out=state["scratch"])
        vector -= state["scratch"]


@dataclass(frozen=True)
class Momentum:
    """Gradient descent with momentum, `v ← μ v + g`, `θ ← θ − η v` (Polyak, 1964, the heavy ball).

    Along a constant gradient it ends up 1/(1 − μ) times as fast as `SGD`, whose methods it has. Cost: O(size).
    Raises ValueError for a learning rate that is not positive and finite, or unless 0 <= momentum < 1.

    Reference: Polyak (1964), doi:10.1016/0041-5553(64)90137-5.

    >>> vector, optimizer = numpy.array([1.0]), Momentum(learning_rate=0.1, momentum=0.5)
    >>> state = optimizer.init(vector)
    >>> for _ in range(2):
    ...     optimizer.update(state, vector, numpy.array([1.0]))
    >>> vector  # 1 - 0.1 · 1 - 0.1 · 1.5
    array([0.75])
    """

    learning_rate: float = 1e-2
    momentum: float = 0.9

    def __post_init__(self):
        _check_rate(self)
        _check_decay(self, "momentum")

    def init(self, vector):
        """Return the state: the velocity, and a place to work in."""
        return {"velocity": numpy.zeros_like(vector), "scratch": numpy.empty_like(vector)}

    def update(self, state, vector, gradient, factor=1.0):
        """Take one step."""
        velocity, scratch = state["velocity"], state["scratch"]
        velocity *= self.momentum
        velocity += gradient
        numpy.multiply(velocity, self.learning_rate * factor, out=scratch)
        vector -= scratch


@dataclass(frozen=True)
class Adam:
    """Adam: steps in units of the gradient's own running size (Kingma and Ba, 2015).

    - `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`, from 0
    - `m̂ = m / (1 − β₁ᵗ)`, `v̂ = v / (1 − β₂ᵗ)` after t steps: what the start at 0 has taken away is given back
    - `θ ← θ − η m̂ / (√v̂ + ε)`

    Methods as for `SGD`. Cost: O(size), ten passes over the vector and no new arrays: m and v are kept without
    their factors (1 − β), which go into the step instead.
    Raises ValueError for a learning rate or ε that is not positive and finite, or unless 0 <= β < 1.

    Reference: Kingma and Ba (2015), arXiv:1412.6980.

    >>> vector, adam = numpy.array([1.0, 1.0]), Adam(learning_rate=0.25)
    >>> adam.update(adam.init(vector), vector, numpy.array([100.0, -0.01]))
    >>> vector.round(4)  # the first step has the size of the learning rate, whatever the gradient's
    array([0.75, 1.25])
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self):
        _check_rate(self)
        _check_decay(self, "beta1")
        _check_decay(self, "beta2")
        require(0 < self.epsilon < math.inf, f"Adam: expected a positive, finite epsilon, got {self.epsilon!r}")

    def init(self, vector):
        """Return the state: the number of steps, the two running sums, and a place to work in."""
        sums = {name: numpy.zeros_like(vector) for name in ("gradients", "squares")}
        return {"steps": 0, **sums, "scratch": numpy.empty_like(vector)}

    def update(self, state, vector, gradient, factor=1.0):
        """Take one step."""
        state["steps"] += 1
        gradients, squares, scratch = state["gradients"], state["squares"], state["scratch"]
        gradients *= self.beta1
        gradients += gradient
        squares *= self.beta2
        numpy.multiply(gradient, gradient, out=scratch)
        squares += scratch
        # m̂ = gradients · first and √v̂ = √squares · second; both go to the numerator, so ε is divided by `second`.
        first = (1 - self.beta1) / (1 - self.beta1 ** state["steps"])
        second = math.sqrt((1 - self.beta2) / (1 - self.beta2 ** state["steps"]))
        numpy.sqrt(squares, out=scratch)
        scratch += self.epsilon / second
        numpy.divide(gradients, scratch, out=scratch)
        scratch *= self.learning_rate * factor * first / second
        vector -= scratch


def constant(step):
    """Schedule that leaves the learning rate alone: the factor 1 at every step.

    A schedule is a function from the number of updates done so far, 0, 1, …, to the factor on the learning rate.

    >>> constant(100)
    1.0
    """
    return 1.0


def cosine(steps, final=0.0):
    """Return the schedule that falls from 1 to `final` along half a cosine, and stays there from `steps` on.

    `factor = final + (1 − final)·(1 + cos(π·step/steps))/2` (Loshchilov and Hutter, 2017, arXiv:1608.03983, without
    restarts). Raises ValueError unless steps >= 1.

    >>> [round(cosine(100)(step), 4) for step in (0, 50, 100, 200)]
    [1.0, 0.5, 0.0, 0.0]
    """
    require(steps >= 1, f"cosine: expected steps >= 1, got {steps!r}")
    return lambda step: final + (1 - final) * (1 + math.cos(math.pi * min(step / steps, 1))) / 2


def warm_up(steps, then=constant):
    """Return the schedule that rises from 1/steps to 1 in equal steps, and goes on as `then`, which starts at 0 there.

    Raises ValueError unless steps >= 1.

    >>> schedule = warm_up(4, then=cosine(100))
    >>> [schedule(step) for step in (0, 1, 2, 3, 4)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    require(steps >= 1, f"warm_up: expected steps >= 1, got {steps!r}")
    return lambda step: (step + 1) / steps if step < steps else then(step - steps)


def _check_arrays(who, data):
    """Return `data`, an array or a tuple of arrays with as many rows each, as a tuple of arrays."""
    arrays = tuple(numpy.asarray(part) for part in (data if type(data) is tuple else (data,)))
    for array in arrays:
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{who}: expected numbers, got dtype {array.dtype}")
        require(array.ndim > 0, f"{who}: expected an array with a first axis of points, got a scalar")
    lengths = [len(array) for array in arrays]
    require(len(set(lengths)) == 1, f"{who}: expected arrays of equal length, got lengths {lengths}")
    require(lengths[0] > 0, f"{who}: expected at least one point, got none")
    return arrays


def _cast(batch, dtype):
    if type(batch) is tuple:
        return tuple(_cast(part, dtype) for part in batch)
    return numpy.asarray(batch).astype(dtype, copy=False)


def minibatches(rng, data, batch_size):
    """Yield batches of `data` for ever: in each pass over it the points come in a new random order, each at most once.

    `data` is an array, or a tuple of arrays whose rows belong together; a batch is a copy, of the same kind. The points
    left over when `batch_size` does not divide their number wait for another pass. Cost: O(batch) a batch.
    Raises ValueError for no data, unequal lengths, or a batch_size not in 1, …, N; TypeError if it is not numbers.

    >>> batches = minibatches(numpy.random.default_rng(0), numpy.arange(4), 2)
    >>> numpy.sort(numpy.concatenate([next(batches), next(batches)]))
    array([0, 1, 2, 3])
    """
    arrays = _check_arrays("minibatches", data)
    n = len(arrays[0])
    check_integer("minibatches", "batch_size", batch_size, 1)
    require(batch_size <= n, f"minibatches: expected batch_size <= {n}, the number of points, got {batch_size}")
    return _shuffled(rng, arrays, batch_size, type(data) is tuple)


def _shuffled(rng, arrays, batch_size, as_tuple):
    while True:
        order = rng.permutation(len(arrays[0]))
        for start in range(0, len(order) - batch_size + 1, batch_size):
            rows = order[start : start + batch_size]
            batch = tuple(array[rows] for array in arrays)
            yield batch if as_tuple else batch[0]


def _narrow(rng, dtype):
    """Return a generator that draws what `rng` would (and moves it on), but gives float64 arrays as `dtype`."""

    class Narrow(numpy.random.Generator):
        def __getattribute__(self, name):
            method = getattr(rng, name)  # of the wide one: what it calls inside, as `choice` does `random`, stays wide
            if name.startswith("_") or not callable(method):
                return method

            def draw(*args, **keywords):
                drawn = method(*args, **keywords)
                if name == "spawn":
                    return [_narrow(child, dtype) for child in drawn]
                if getattr(drawn, "dtype", None) != numpy.float64:
                    return drawn
                narrow = drawn.astype(dtype)  # rounds to the nearest, which may be 1, and `random` stays below
                return numpy.minimum(narrow, 1 - numpy.finfo(dtype).epsneg) if name == "random" else narrow

            return draw

    return rng if dtype == numpy.float64 else Narrow(rng.bit_generator)


def _norm(gradient):
    with numpy.errstate(over="ignore"):
        norm = math.sqrt(float(numpy.dot(gradient, gradient)))
    largest = 0.0 if math.isfinite(norm) else float(numpy.abs(gradient).max())
    if 0.0 < largest < math.inf:  # finite, only its square is too large for the dtype
        norm = largest * math.sqrt(float(numpy.sum((gradient.astype(float) / largest) ** 2)))
    return norm


def _first_non_finite(tree):
    """Return the path of the first leaf that holds NaN or infinity, or None."""
    paths = []
    map_with_path(lambda path, leaf: numpy.isfinite(leaf).all() or paths.append(path), "params", tree)
    return paths[0] if paths else None


def fit(
    loss: Callable,
    params,
    data,
    *,
    rng: numpy.random.Generator,
    steps: int,
    batch_size: int,
    optimizer=Adam(),  # noqa: B008  (frozen, so that all callers may share it)
    schedule: Callable[[int], float] = constant,
    clip: float | None = None,
    validation=None,
    validate_every: int = 100,
    patience: int | None = None,
    snapshots: int = 0,
):
    """Minimise a loss by stochastic gradient descent; return the trained parameters and the history.

    - `loss(params, rng, batch)` returns one number; it draws its noise, if any, from the `rng` that it is given.
    - `data` is an array, a tuple of arrays with rows that belong together, or a function ``data(rng, n)`` that draws a
      batch. Batches come from `minibatches`.
    - `optimizer` has the methods of `SGD`; `schedule` maps the step to a factor on the learning rate.
    - `clip`: a gradient longer than this (Euclidean norm over all parameters) is shortened to it.
    - `validation`: an array or tuple, the whole of which goes through the loss before the first step, every
      `validate_every` steps and after the last, with the same noise each time. The parameters returned are then those
      with the lowest validation loss. With `patience`, training stops after that many validations without a new lowest.
    - `snapshots`: how many copies of the parameters to keep for pictures, evenly spaced from the start to the end.

    The history is a dict of lists. One entry for each step: ``step`` (the number of updates done before it), ``loss``
    and ``gradient_norm`` (before clipping). One for each validation: ``validation_step`` and ``validation``. One for
    each snapshot: ``snapshot_step`` and ``snapshots``.

    Data and the noise that a loss draws are cast to the parameters' dtype, batch by batch, integers too (labels are
    made of them again by ``astype(int)`` in the loss). Neither `params` nor `data` is changed. Cost: a gradient and an
    update a step. A progress bar is shown unless the environment sets ``TQDM_DISABLE=1``. Networks of this size train
    fastest with one BLAS thread (``OPENBLAS_NUM_THREADS=1``, set before NumPy is imported).

    Raises NonFiniteError at the first loss or gradient that is NaN or infinite, with the step, the parameter, the
    history and the last good parameters; ValueError or TypeError for arguments that do not fit.

    >>> x = numpy.random.default_rng(0).normal(3.0, 1.0, 1000)
    >>> loss = lambda params, rng, batch: ((batch - params["mean"]) ** 2).mean()
    >>> params, history = fit(
    ...     loss, {"mean": numpy.zeros(())}, x, rng=numpy.random.default_rng(1), steps=200, batch_size=100,
    ...     optimizer=Adam(0.1), schedule=cosine(200),
    ... )
    >>> bool(abs(params["mean"] - x.mean()) < 0.02), len(history["loss"])
    (True, 200)
    """
    from tqdm import tqdm  # here, so that importing minigen stays light

    if not isinstance(rng, numpy.random.Generator):
        raise TypeError(f"fit: expected rng to be a numpy.random.Generator, got {type(rng).__name__}")
    check_integer("fit", "steps", steps, 0)
    check_integer("fit", "batch_size", batch_size, 1)
    check_integer("fit", "validate_every", validate_every, 1)
    check_integer("fit", "snapshots", snapshots, 0)
    require(clip is None or clip > 0, f"fit: expected clip > 0 or None, got {clip!r}")
    if patience is not None:
        check_integer("fit", "patience", patience, 1)
        require(validation is not None, "fit: patience needs a validation set, got none")

    objective = FlatGradient(loss, params)
    vector, gradient = objective.vector, objective.gradient
    if validation is not None:
        arrays = _check_arrays("fit: validation", validation)
        held_out = copy.deepcopy(_cast(arrays if type(validation) is tuple else arrays[0], vector.dtype))
        held_out_rng = rng.spawn(1)[0]  # a stream of its own: training draws the same without validation
    rng = _narrow(rng, vector.dtype)
    batches = None if callable(data) else minibatches(rng, data, batch_size)

    state = optimizer.init(vector)
    keys = ("step", "loss", "gradient_norm", "validation_step", "validation", "snapshot_step", "snapshots")
    history: dict[str, list] = {key: [] for key in keys}
    snapshot_steps = set(numpy.linspace(0, steps, snapshots).round().astype(int).tolist())
    last_good, best, best_loss, waited = None, None, math.inf, 0

    def refuse(what, step, culprits):
        path = _first_non_finite(objective.unravel(culprits))
        where = "" if path is None else f", first in {path}"
        message = f"fit: at step {step}, {what} is not finite{where}; a lower learning rate, or clip, may help"
        good = None if last_good is None else objective.unravel(last_good)
        raise NonFiniteError(message, step, path, history, good)

    with tqdm(total=steps) as bar:
        for step in range(steps + 1):
            if step in snapshot_steps:
                history["snapshot_step"].append(step)
                history["snapshots"].append(objective.unravel(vector.copy()))
            if validation is not None and (step % validate_every == 0 or step == steps):
                noise = _narrow(copy.deepcopy(held_out_rng), vector.dtype)  # the same noise each time
                value = float(_check_number(loss(objective.unravel(vector), noise, held_out)))
                if not math.isfinite(value):
                    refuse(f"the validation loss ({value})", step, vector)
                history["validation_step"].append(step)
                history["validation"].append(value)
                waited += 1
                if value < best_loss:
                    best, best_loss, waited = vector.copy(), value, 0
                if waited == patience:
                    break
            if step == steps:
                break
            batch = data(rng, batch_size) if batches is None else next(batches)
            value = objective(rng, _cast(batch, vector.dtype))
            norm = _norm(gradient)
            if not (math.isfinite(value) and math.isfinite(norm)):
                refuse(f"the loss ({value}) or its gradient", step, gradient)
            for key, entry in (("step", step), ("loss", value), ("gradient_norm", norm)):
                history[key].append(entry)
            last_good = vector.copy()
            if clip is not None and norm > clip:
                gradient *= clip / norm
            optimizer.update(state, vector, gradient, schedule(step))
            bar.update()
            if step % 20 == 0 and not bar.disable:
                bar.set_postfix(loss=f"{value:.4g}", refresh=False)

    if not numpy.isfinite(vector).all():
        refuse("the last update", step, vector)
    return objective.unravel(vector if best is None else best), history
