"""JAX written by hand: the whole step, Adam included, compiled as one function that gives its memory back."""

import functools
import math
import os

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import jax.numpy as jnp
import numpy

from benchmarks import workloads as sizes
from benchmarks.implementations import Trainer


def _net(rng, inputs, outputs):
    widths = (inputs, *sizes.HIDDEN)
    shapes = zip(widths, sizes.HIDDEN, strict=False)
    hidden = [(rng.standard_normal((i, o)) / math.sqrt(i), numpy.zeros(o)) for i, o in shapes]
    return [*hidden, (numpy.zeros((widths[-1], outputs)), numpy.zeros(outputs))]


def _apply(net, x):
    for weight, bias in net[:-1]:
        x = jnp.tanh(x @ weight + bias)
    return x @ net[-1][0] + net[-1][1]


def _trainer(loss, params, worker):
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, worker.dtype), params)
    zeros = functools.partial(jax.tree.map, jnp.zeros_like)

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state, x, rate):
        count, params, m, v = state
        value, gradient = jax.value_and_grad(loss)(params, x)
        count = count + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
        rate = rate * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), params, m, v)
        return (count, params, m, v), value

    state = (jnp.zeros((), worker.dtype), params, zeros(params), zeros(params))

    def step(batch, rate):
        nonlocal state
        state, value = update(state, batch, rate)
        return value

    return Trainer(step, sum(leaf.size for leaf in jax.tree.leaves(params)))


def realnvp(worker):
    """Return the trainer of affine couplings, with the same formulas as minigen's."""
    rng = numpy.random.default_rng(0)

    def loss(nets, x):
        kept, moved, log_det = x[:, :1], x[:, 1:], 0
        for net in nets:
            y = _apply(net, kept)
            log_scale = 2 * jnp.tanh(y[:, :1] / 2)
            log_det = log_det + log_scale
            kept, moved = moved * jnp.exp(log_scale) + y[:, 1:], kept
        return jnp.mean(0.5 * (kept * kept + moved * moved) - log_det) + math.log(2 * math.pi)

    return _trainer(loss, [_net(rng, 1, 2) for _ in range(sizes.COUPLINGS)], worker)
