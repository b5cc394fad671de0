"""KL(toy || model) in nats after a fixed number of CPU seconds, for minigen's flows and the libraries' spline flows.

Every run is a process of its own: it trains on fresh batches of a toy, standardized, with Adam and a learning rate that
falls as a cosine of the time spent, until its CPU seconds are over; compiling and the first step are not counted. The
KL is measured on fresh points. All have the same width of networks, bins, batches and rates, on every toy. A spline's
tails are the identity, so for a heavy-tailed toy two affine couplings stand nearest the data.
"""

import math
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from statistics import fmean, stdev

from benchmarks.workloads import QUALITY

SECONDS, BATCH, RATE = 60.0, 512, 2e-3
POINTS = 100_000  # on which the KL is measured


def run(name, worker, toy, seed, seconds):
    """Train one model once; return its KL, the standard error and the number of steps."""
    import numpy

    from minigen.foundations.toys import TOYS

    rng, density = numpy.random.default_rng(seed), TOYS[toy]
    sample = density.sample(rng, POINTS)
    mean, std = sample.mean(axis=0), sample.std(axis=0)

    def batch(n):
        x = density.sample(rng, n)
        return x, ((x - mean) / std).astype(worker.dtype)

    build = getattr(import_module(f"benchmarks.implementations.{worker.file}"), worker.function)
    if "torch" in sys.modules:  # its modules draw their parameters from one stream for all
        sys.modules["torch"].manual_seed(seed)
    trainer = build(worker._replace(seed=seed))
    trainer.step(batch(BATCH)[1], 0.0)
    started, steps, spent = time.process_time(), 0, 0.0
    while spent < seconds:
        trainer.step(batch(BATCH)[1], RATE * 0.5 * (1 + math.cos(math.pi * spent / seconds)))
        steps, spent = steps + 1, time.process_time() - started
    x, standardized = batch(POINTS)
    blocks = numpy.split(standardized, range(4096, POINTS, 4096))  # in blocks, which is kind to all of them
    log_q = numpy.concatenate([trainer.log_prob(block) for block in blocks]) - numpy.log(std).sum()
    difference = density.log_prob(x) - log_q
    kl, error = float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(POINTS))
    print(f"{toy:16}{name:24}seed {seed}  {kl:8.4f} ± {error:.4f} nats  {steps:6} steps", flush=True)
    return {"toy": toy, "model": name, "seed": seed, "kl": kl, "error": error, "steps": steps}


def measure(seconds=SECONDS, toys=tuple(QUALITY)):
    """Return the results of every run, two at a time, the models of a toy and a seed next to each other."""
    tasks = [(w.name, w, toy, seed, seconds) for toy in toys for w, seeds in QUALITY[toy].items() for seed in seeds]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        return list(pool.map(run, *zip(*tasks, strict=True)))


def show(results):
    """Print the mean over the seeds, and the spread."""
    print(f"\n{'KL (nats)':16}{'model':24}{'mean':>9}{'spread':>9}{'steps':>9}")
    for toy, model in dict.fromkeys((r["toy"], r["model"]) for r in results):
        rows = [r for r in results if (r["toy"], r["model"]) == (toy, model)]
        kls = [r["kl"] for r in rows]
        spread = stdev(kls) if len(kls) > 1 else math.nan
        print(f"{toy:16}{model:24}{fmean(kls):9.4f}{spread:9.4f}{fmean(r['steps'] for r in rows):9.0f}")
