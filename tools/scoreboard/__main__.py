"""`python -m tools.scoreboard [--models NAME ...]`: train the models on every toy and store the results."""

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import platform

import numpy as np

from minigen.foundations.toys import TOYS
from tools.normalise import QUIET
from tools.scoreboard import BATCH, POINTS, RESULTS, SEEDS, STEPS
from tools.scoreboard.measure import row, trial
from tools.scoreboard.models import NAMES, recipe


def main(arguments=None):
    """Train what is asked for, two rows at a time, and write one file a model."""
    parser = argparse.ArgumentParser(prog="python -m tools.scoreboard", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=NAMES, default=NAMES, help="all by default")
    os.environ.update(QUIET)  # before the processes start that train
    RESULTS.mkdir(exist_ok=True)
    for name in parser.parse_args(arguments).models:
        tasks = [(name, toy, seed) for toy in TOYS for seed in SEEDS]
        with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            rows = []
            for result in pool.map(row, *zip(*tasks, strict=True)):
                rows.append(result)
                print(f"{name:10} {result['toy']:20} seed {result['seed']}  KL {result['kl']:.4f}", flush=True)
        report = {
            "model": name,
            "trial": trial(name),
            "conditions": {
                "steps": STEPS,
                "batch": BATCH,
                "optimizer": f"Adam {recipe(name).LEARNING_RATE:g}, cosine to 0",
                "dtype": "float32",
                "points": POINTS,
                "threads": 1,
                "python": platform.python_version(),
                "numpy": np.__version__,
                "machine": platform.machine(),
            },
            "rows": rows,
        }
        (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
