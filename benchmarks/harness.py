"""Paired timing: one process for each implementation, all alive at once, driven in turn, CPU time only.

On a machine that others use too, wall time says more about them than about the program. CPU time is better, and a
ratio of two CPU times measured within the same second better still; so every round runs each worker once, in an order
shuffled anew, and what is reported is the median over rounds of the ratios within a round.
"""

import multiprocessing
import random
import resource
import statistics
import subprocess
import sys
import time
from importlib import import_module

from benchmarks.workloads import IMPORTS, LEARNING_RATE, two_moons

CHUNK = 0.06  # CPU seconds that a worker runs before the next one has its turn
WARM_UP = 60  # steps, not measured; the mean loss of the second half shows that all of them learn the same


def measure(workload, batch, rounds):
    """Return, for every worker of `workload`, its step's CPU seconds in each round, its peak memory, loss and size."""
    context = multiprocessing.get_context("spawn")
    processes = {}
    for worker in workload.workers:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, worker, batch), daemon=True)
        process.start()
        theirs.close()
        processes[worker.name] = process, ours
    try:
        results = {name: {**pipe.recv(), "seconds": []} for name, (_, pipe) in processes.items()}
        shuffle = random.Random(0).shuffle
        for _ in range(rounds):
            order = list(processes)
            shuffle(order)
            for name in order:
                pipe = processes[name][1]
                pipe.send("run")
                results[name]["seconds"].append(pipe.recv())
        for name, (_, pipe) in processes.items():
            pipe.send("stop")
            results[name]["megabytes"] = pipe.recv()
    finally:
        for process, _ in processes.values():
            process.terminate()
            process.join()
    return results


def _serve(pipe, worker, batch):
    """Be a worker: build the model, learn how many steps fill a chunk, then run a chunk whenever told to."""
    data = two_moons(worker.dtype)
    build = getattr(import_module(f"benchmarks.implementations.{worker.file}"), worker.function)
    trainer = build(worker)
    batches = [data[start : start + batch] for start in range(0, len(data) - batch + 1, batch)]
    done = 0

    def run(steps):
        nonlocal done
        started = time.process_time()
        for k in range(done, done + steps):
            loss = trainer.step(batches[k % len(batches)], LEARNING_RATE)
        float(loss)  # waits for implementations that compute behind one's back
        done += steps
        return (time.process_time() - started) / steps

    losses = [float(trainer.step(batches[k % len(batches)], LEARNING_RATE)) for k in range(WARM_UP)]
    steps = max(1, round(CHUNK / min(run(3) for _ in range(3))))
    pipe.send({"parameters": trainer.parameters, "loss": statistics.fmean(losses[WARM_UP // 2 :]), "steps": steps})
    while pipe.recv() == "run":
        pipe.send(run(steps))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pipe.send(peak / (2**20 if sys.platform == "darwin" else 2**10))


def ratios(peers, ours):
    """Return median and quartiles of the ratios of two lists of times, round by round."""
    low, median, high = statistics.quantiles([a / b for a, b in zip(peers, ours, strict=True)], n=4, method="inclusive")
    return {"median": median, "low": low, "high": high}


def import_times(rounds):
    """Return CPU seconds of each import in a fresh process, a list of `rounds` for each name."""
    code = "import time; started = time.process_time(); import {}; print(time.process_time() - started)"
    times = {name: [] for name in IMPORTS}
    for _ in range(rounds + 1):
        for name, modules in IMPORTS.items():
            command = [sys.executable, "-W", "ignore", "-c", code.format(modules)]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            times[name].append(float(run.stdout.split()[-1]))
    return {name: values[1:] for name, values in times.items()}  # the first one may compile
