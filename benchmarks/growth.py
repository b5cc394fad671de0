"""How minigen's training step grows with batch, width, depth and dimension: time, memory, and fitted exponents.

A RealNVP is the example: 8 affine couplings of 2 x 64 in two dimensions, batch 256, float32, one of the four changed
at a time. An exponent is the slope in log-log of the lower and of the upper half of the sizes; where the two differ,
the growth bends: below, a step pays for its Python, above, for its arithmetic.
"""

import math
import multiprocessing
import resource
import statistics
import sys
import time

BASE = {"batch": 256, "width": 64, "depth": 8, "features": 2}
SIZES = {
    "batch": (16, 64, 256, 1024, 4096, 16384),
    "width": (8, 16, 32, 64, 128, 256, 512),
    "depth": (2, 4, 8, 16, 32, 64),
    "features": (2, 8, 32, 128, 512, 2048),
}
REPEATS, CHUNK = 7, 0.1  # CPU seconds


def step_cost(sizes):
    """Return CPU seconds a step (the median of `REPEATS` chunks) and this process's peak resident memory in MB."""
    import numpy

    from minigen.flows.coupling import AffineCoupling, alternating_mask
    from minigen.flows.flow import Flow, standard_normal
    from minigen.foundations.change_of_variables import Chain
    from minigen.train import Adam, FlatGradient

    hidden, features = (sizes["width"],) * 2, sizes["features"]
    layers = [AffineCoupling(alternating_mask(features, k % 2), hidden) for k in range(sizes["depth"])]
    flow = Flow(standard_normal(features), Chain(layers))
    rng = numpy.random.default_rng(0)
    x = rng.standard_normal((sizes["batch"], features)).astype(numpy.float32)
    objective, optimizer = FlatGradient(flow.loss, flow.init(rng, x)), Adam(1e-4)
    state = optimizer.init(objective.vector)

    def seconds(steps):
        started = time.process_time()
        for _ in range(steps):
            objective(rng, x)
            optimizer.update(state, objective.vector, objective.gradient)
        return (time.process_time() - started) / steps

    seconds(3)
    steps = max(1, round(CHUNK / seconds(2)))
    cost = statistics.median(seconds(steps) for _ in range(REPEATS))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return cost, peak / (2**20 if sys.platform == "darwin" else 2**10)


def slope(sizes, values):
    """Return the least-squares slope of log value against log size."""
    return statistics.linear_regression([math.log(s) for s in sizes], [math.log(v) for v in values]).slope


def measure():
    """Return, for every quantity, its sizes, seconds, megabytes and exponents."""
    context, table = multiprocessing.get_context("spawn"), {}
    for name, sizes in SIZES.items():
        costs = []
        for size in sizes:
            with context.Pool(1) as pool:  # a fresh process, so that the memory is this size's own
                costs.append(pool.apply(step_cost, ({**BASE, name: size},)))
        seconds, megabytes = ([cost[k] for cost in costs] for k in (0, 1))
        half = len(sizes) // 2
        table[name] = {
            "sizes": list(sizes),
            "seconds": seconds,
            "megabytes": megabytes,
            "exponents": [
                slope(sizes[: half + 1], seconds[: half + 1]),
                slope(sizes[-half - 1 :], seconds[-half - 1 :]),
            ],
        }
    return table


def show(table):
    """Print a block for each quantity."""
    for name, row in table.items():
        low, high = row["exponents"]
        print(f"\nRealNVP step against {name}: exponent {low:.2f} in the lower half, {high:.2f} in the upper")
        print("".join(f"{value:>10}" for value in ("size", *row["sizes"])))
        print("".join(f"{value:>10}" for value in ("µs", *(f"{1e6 * s:.0f}" for s in row["seconds"]))))
        print("".join(f"{value:>10}" for value in ("MB", *(f"{m:.0f}" for m in row["megabytes"]))), flush=True)
