"""`python -m benchmarks`: measure minigen against its peers, print the tables, write benchmarks/results.json.

A part that is measured replaces that part of the file, with the conditions of its own run; the others stay.
"""

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

from benchmarks import growth, quality, throughput
from benchmarks.harness import import_times, measure, ratios
from benchmarks.tables import PARTS, RESULTS
from benchmarks.workloads import BATCHES, WORKLOADS

ROOT = Path(__file__).resolve().parents[1]
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


def show_steps(title, table):
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


def show_imports(table):
    """Print the times of the imports."""
    print(f"\n{'import':26}{'CPU s':>10}{'× minigen':>11}")
    for name, row in table.items():
        print(f"{name:26}{row['seconds']:10.2f}{row['ratio']['median']:11.1f}")


def imports():
    """Return the time of each import and its ratio to minigen's."""
    times = import_times(5)
    ours = times["minigen"]
    return {name: {"seconds": statistics.median(t), "ratio": ratios(t, ours)} for name, t in times.items()}


def steps(workloads, batches, rounds):
    """Return the summary of every workload at every batch size, each printed as soon as it is there."""
    tables = []
    for batch in batches:
        for key in workloads:
            table = summary(measure(WORKLOADS[key], batch, rounds))
            show_steps(f"{WORKLOADS[key].title}, batch {batch}", table)
            tables.append({"workload": key, "batch": batch, "results": table})
    return {"rounds": rounds, "tables": tables}


def main(arguments=None):
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="of the steps")
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES), help="of the steps")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each worker at the steps (default: 15)")
    options = parser.parse_args(arguments)
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or every process compiles minigen again, and counts it

    runs = {
        "imports": (imports, show_imports),
        "steps": (lambda: steps(options.workloads, options.batches, options.rounds), lambda table: None),
        "throughput": (throughput.measure, throughput.show),
        "growth": (growth.measure, growth.show),
        "quality": (quality.measure, quality.show),
    }
    for part in options.parts:
        run, show = runs[part]
        report = {"conditions": conditions(), "results": run()}
        report["conditions"]["load_average_at_end"] = [round(load, 2) for load in os.getloadavg()]
        show(report["results"])
        stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps({**stored, part: rounded(report)}, indent=1) + "\n")
    print(f"\n{json.dumps(conditions(), indent=2)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
