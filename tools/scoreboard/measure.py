"""One row of the scoreboard: a model is trained on a toy from a seed, and measured."""

import time

import numpy as np

from minigen.foundations.energy import energy_distance
from minigen.foundations.toys import TOYS
from minigen.train import Adam, cosine, fit
from minigen.tree import count_params
from tools.scoreboard import BATCH, PAIRED, POINTS, SEEDS, STEPS
from tools.scoreboard.models import recipe


def timed(function, *arguments):
    """Return a function's value and the CPU seconds that it took."""
    started = time.process_time()
    value = function(*arguments)
    return value, time.process_time() - started


def mean_and_error(values):
    """Return the mean of a sample and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def row(name, toy_name, seed, steps=STEPS):
    """Train one model on one toy from one seed, and measure it."""
    toy, made = TOYS[toy_name], recipe(name)
    rng = np.random.default_rng([seed, list(TOYS).index(toy_name)])
    model = made.build(rng, toy.sample(rng, 1_000).astype(np.float32))

    def train():
        return fit(
            model.loss,
            model.params,
            lambda rng, n: toy.sample(rng, n),
            rng=rng,
            steps=steps,
            batch_size=BATCH,
            optimizer=Adam(made.LEARNING_RATE),
            schedule=cosine(steps),
        )[0]

    params, train_seconds = timed(train)
    x = toy.sample(rng, POINTS)
    log_p, single = toy.log_prob(x), x.astype(np.float32)
    log_q, density_seconds = timed(model.log_prob, params, rng, single)
    kl, kl_error = mean_and_error(log_p - log_q)
    sample, sample_seconds = timed(model.sample, params, rng, POINTS)
    result = {
        "toy": toy_name,
        "seed": seed,
        "kl": kl,
        "kl_error": kl_error,
        "energy": float(energy_distance(x[:PAIRED], sample[:PAIRED].astype(float))),
        "parameters": count_params(params),
        "train_seconds": train_seconds,
        "density_microseconds": 1e6 * density_seconds / POINTS,
        "sample_microseconds": 1e6 * sample_seconds / POINTS,
    }
    if model.bound is not None:
        result["kl_bound"], result["kl_bound_error"] = mean_and_error(log_p - model.bound(params, rng, single))
    return {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in result.items()}


def trial(name):
    """Return what a short training gives: the code that made a model's stored numbers still gives the same."""
    short = row(name, "two moons", SEEDS[0], steps=50)
    return {key: short[key] for key in ("kl", "energy", "parameters")}
