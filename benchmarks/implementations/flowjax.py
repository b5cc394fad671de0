"""The spline flow from flowjax's own parts, its step compiled by JAX."""

import os

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import equinox
import jax
import jax.numpy as jnp
import numpy
import optax
import paramax
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import Normal
from flowjax.flows import coupling_flow

from benchmarks import workloads as sizes
from benchmarks.implementations import Trainer


def splines(worker):
    """Return the trainer of spline couplings; inner knots are one fewer than bins."""
    flow = coupling_flow(
        jax.random.key(worker.seed),
        base_dist=Normal(jnp.zeros(2)),
        transformer=RationalQuadraticSpline(knots=sizes.BINS - 1, interval=sizes.BOUND),
        flow_layers=sizes.SPLINES,
        nn_width=sizes.HIDDEN[0],
        nn_depth=len(sizes.HIDDEN),
        nn_activation=jnp.tanh,
    )
    params, static = equinox.partition(
        flow, equinox.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable)
    )
    optimizer = optax.scale_by_adam()
    state = optimizer.init(params)

    @equinox.filter_jit(donate="all")
    def update(params, state, x, rate):
        def loss(params):
            return -paramax.unwrap(equinox.combine(params, static)).log_prob(x).mean()

        value, gradient = equinox.filter_value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        updates = jax.tree.map(lambda leaf: -rate * leaf, updates)
        return equinox.apply_updates(params, updates), state, value

    def step(batch, rate):
        nonlocal params, state
        params, state, value = update(params, state, batch, jnp.asarray(rate, jnp.float32))
        return value

    @equinox.filter_jit
    def density(params, x):
        return paramax.unwrap(equinox.combine(params, static)).log_prob(x)

    @equinox.filter_jit
    def draw(params, key, n):
        return paramax.unwrap(equinox.combine(params, static)).sample(key, (n,))

    keys = iter(jax.random.split(jax.random.key(1), 10_000))
    return Trainer(
        step,
        sum(leaf.size for leaf in jax.tree.leaves(params)),
        lambda x: numpy.asarray(density(params, x)),
        lambda n: numpy.asarray(draw(params, next(keys), n)),
    )
