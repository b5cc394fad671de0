"""`python -m benchmarks`: measure minigen against its peers, print the tables, write benchmarks/results.json."""

import argparse
import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import statistics
import sys
from pathlib import Path

from benchmarks.harness import import_times, measure, ratios
from benchmarks.workloads import BATCHES, WORKLOADS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("results.json")
PACKAGES = ("numpy", "autograd", "torch", "zuko", "nflows", "normflows", "jax", "flowjax", "equinox", "optax")
OURS = ("minigen", "minigen, float64")


def conditions():
    """Return what has to be known to judge the numbers, or to compare them with others."""
    sources = sorted((ROOT / "minigen").rglob("*.py"))
    digest = hashlib.sha256(b"".join(str(p.relative_to(ROOT)).encode() + p.read_bytes() for p in sources))
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "minigen_sha256": digest.hexdigest(),
        "threads": 1,
    }


def summary(results):
    """Return one dict a worker: its median step and memory, and its ratios to minigen in both dtypes."""
    table = {}
    for name, result in results.items():
        table[name] = {
            "microseconds": 1e6 * statistics.median(result["seconds"]),
            "megabytes": result["megabytes"],
            "loss": result["loss"],
            "parameters": result["parameters"],
            "ratios": {ours: ratios(result["seconds"], results[ours]["seconds"]) for ours in OURS},
        }
    return table


def rounded(tree):
    """Return the report with its floats at four significant digits, which is more than any of them deserves."""
    if isinstance(tree, dict):
        return {key: rounded(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [rounded(value) for value in tree]
    return float(f"{tree:.4g}") if isinstance(tree, float) else tree


def show(title, table):
    """Print the summary of a workload."""
    columns = f"{'µs a step':>10}{'× minigen':>11}{'quartiles':>15}{'× float64':>11}"
    print(f"\n{title}\n{'':26}{columns}{'peak MB':>9}{'loss':>8}{'size':>8}")
    for name, row in table.items():
        single, double = (row["ratios"][ours] for ours in OURS)
        quartiles = f"{single['low']:.2f} to {single['high']:.2f}"
        print(
            f"{name:26}{row['microseconds']:10.0f}{single['median']:11.2f}{quartiles:>15}{double['median']:11.2f}"
            f"{row['megabytes']:9.0f}{row['loss']:8.3f}{row['parameters']:8d}",
            flush=True,
        )


def main(arguments=None):
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--rounds", type=int, default=15, help="how often each worker has its turn (default: 15)")
    options = parser.parse_args(arguments)
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or every process compiles minigen again, and counts it

    report = {"conditions": conditions(), "rounds": options.rounds, "steps": [], "imports": {}}
    print(json.dumps(report["conditions"], indent=2))
    times = import_times(3)
    print(f"\n{'import':26}{'CPU s':>10}{'× minigen':>11}")
    for name, values in times.items():
        report["imports"][name] = {"seconds": statistics.median(values), "ratio": ratios(values, times["minigen"])}
        print(f"{name:26}{statistics.median(values):10.2f}{report['imports'][name]['ratio']['median']:11.1f}")
    for batch in options.batches:
        for key in options.workloads:
            table = summary(measure(WORKLOADS[key], batch, options.rounds))
            show(f"{WORKLOADS[key].title}, batch {batch}", table)
            report["steps"].append({"workload": key, "batch": batch, "results": table})
            report["conditions"]["load_average_at_end"] = [round(load, 2) for load in os.getloadavg()]
            RESULTS.write_text(json.dumps(rounded(report), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
