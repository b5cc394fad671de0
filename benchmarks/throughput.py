"""Log-densities and samples of a million points of a RealNVP, float32, at once or in blocks that the caller makes."""

import multiprocessing
import random
import resource
import sys
import time
from importlib import import_module
from statistics import median

from benchmarks.workloads import THROUGHPUT

POINTS, ROUNDS = 10**6, 3
BLOCKS = (4096, POINTS)  # the best of those tried for most libraries, and all at once
DIRECTIONS = ("density", "sampling")


def _serve(pipe, worker):
    """Be a worker: answer (direction, block) with CPU seconds for `POINTS` points."""
    import numpy

    build = getattr(import_module(f"benchmarks.implementations.{worker.file}"), worker.function)
    trainer = build(worker)
    x = numpy.random.default_rng(0).standard_normal((POINTS, 2)).astype(worker.dtype)
    trainer.log_prob(x[:1000]), trainer.sample(1000)
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    while (task := pipe.recv()) is not None:
        direction, block = task
        started = time.process_time()
        for start in range(0, POINTS, block):
            if direction == "density":
                trainer.log_prob(x[start : start + block])
            else:
                trainer.sample(min(block, POINTS - start))
        seconds = time.process_time() - started
        pipe.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def measure(rounds=ROUNDS):
    """Return CPU seconds of every worker, direction and block, a list over rounds, and the growth of its memory."""
    context, results, unit = multiprocessing.get_context("spawn"), {}, 2**20 if sys.platform == "darwin" else 2**10
    pipes, processes = {}, []
    for worker in THROUGHPUT:
        pipes[worker.name], theirs = context.Pipe()
        processes.append(context.Process(target=_serve, args=(theirs, worker), daemon=True))
        processes[-1].start()
    try:
        start = {name: pipe.recv() for name, pipe in pipes.items()}
        order, shuffle = list(pipes), random.Random(0).shuffle
        for _ in range(rounds):
            for direction in DIRECTIONS:
                for block in BLOCKS:
                    shuffle(order)
                    for name in order:
                        pipes[name].send((direction, block))
                        seconds, peak = pipes[name].recv()
                        entry = results.setdefault(name, {}).setdefault(direction, {})
                        entry.setdefault(str(block), []).append(seconds)
                        results[name]["megabytes above the start"] = (peak - start[name]) / unit
        for pipe in pipes.values():
            pipe.send(None)
    finally:
        for process in processes:
            process.terminate()
            process.join()
    return results


def best(entry):
    """Return the block that takes the least time."""
    return min(entry, key=lambda block: median(entry[block]))


def ratio(peers, ours):
    """Return the median of the ratios of two lists of times, round by round."""
    return median(a / b for a, b in zip(peers, ours, strict=True))


def show(results):
    """Print seconds for a million points, and the libraries' times over minigen's."""
    ours = results["minigen"]
    head = (
        f"{'s, 1e6 points':22}{'direction':>10}{'at once':>9}{'× ours':>8}{'best':>9}{'block':>8}{'× ours at once':>16}"
    )
    print(f"\n{head}{'MB above start':>16}")
    for name, row in results.items():
        for direction in DIRECTIONS:
            entry, whole = row[direction], ours[direction][str(POINTS)]
            at_once, block = entry[str(POINTS)], best(entry)
            print(
                f"{name:22}{direction:>10}{median(at_once):9.2f}{ratio(at_once, whole):8.2f}{median(entry[block]):9.2f}"
                f"{block:>8}{ratio(entry[block], whole):16.2f}{row['megabytes above the start']:16.0f}",
                flush=True,
            )
