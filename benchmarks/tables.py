"""The stored results as tables of Markdown, for the book's page on the benchmarks."""

import json
from pathlib import Path
from statistics import fmean, median, stdev

PARTS = ("imports", "steps", "throughput", "growth", "quality")
RESULTS = Path(__file__).with_name("results.json")


def table(head, rows):
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def signed(value, digits):
    """Return a number with a true minus sign."""
    return f"{value:.{digits}f}".replace("-", "−")


def steps(results):
    """Return a table a workload: who takes how many times minigen's CPU time, by batch size."""
    out, titles = [], {"realnvp": "RealNVP", "maf": "MAF", "vae": "VAE", "splines": "Spline couplings"}
    for workload in dict.fromkeys(t["workload"] for t in results["tables"]):
        by_batch = {t["batch"]: t["results"] for t in results["tables"] if t["workload"] == workload}
        founds, rows = list(by_batch.values()), []
        for name in founds[0]:
            rows.append([name, *(f"{found[name]['ratios']['minigen']['median']:.2f}" for found in founds)])
        micro = [f"{found['minigen']['microseconds']:,.0f} µs" for found in founds]
        head = [titles[workload], *(f"batch {batch}" for batch in by_batch)]
        out.append(table(head, [["minigen, CPU time of a step", *micro], *rows[1:]]))
    return "\n\n".join(out)


def imports(results, steps):
    """Return the time of each import, and the memory of each process that trains the RealNVP at batch 256."""
    memory = next(t["results"] for t in steps["tables"] if (t["workload"], t["batch"]) == ("realnvp", 256))
    names = {"PyTorch": "lean PyTorch", "JAX": "raw JAX, jit"}
    rows = []
    for name, row in results.items():
        trained = memory.get(names.get(name, name))
        peak = f"{trained['megabytes']:.0f} MB" if trained else ""
        rows.append([name, f"{row['seconds']:.2f} s", f"{row['ratio']['median']:.1f}", peak])
    return table(["import", "CPU time", "× minigen", "peak memory, training"], rows)


def throughput(results):
    """Return seconds for a million points, at once and in the best blocks."""
    rows = []
    for name, row in results.items():
        for direction in ("density", "sampling"):
            entry = row[direction]
            at_once = median(entry[max(entry, key=int)])
            best = min(entry, key=lambda block: median(entry[block]))
            rows.append([name, direction, f"{at_once:.2f} s", f"{median(entry[best]):.2f} s", f"{int(best):,}"])
    return table(["1,000,000 points", "direction", "at once", "best blocks", "their size"], rows)


def growth(results):
    """Return the fitted exponents, with the sizes that they are fitted to."""
    rows = []
    for name, row in results.items():
        low, high = row["exponents"]
        sizes = f"{row['sizes'][0]:,} to {row['sizes'][-1]:,}"
        megabytes = f"{row['megabytes'][0]:.0f} to {row['megabytes'][-1]:.0f} MB"
        rows.append([name, sizes, f"{low:.2f}", f"{high:.2f}", megabytes])
    return table(["step against", "sizes", "exponent, lower half", "upper half", "peak memory"], rows)


def quality(results):
    """Return the mean KL over the seeds ± the standard deviation, a line for each toy and model."""
    rows = []
    for toy, model in dict.fromkeys((r["toy"], r["model"]) for r in results):
        runs = [r for r in results if (r["toy"], r["model"]) == (toy, model)]
        kls = [r["kl"] for r in runs]
        spread = f" ± {stdev(kls):.4f}" if len(kls) > 1 else ""
        rows.append(
            [toy, model, f"{signed(fmean(kls), 4)}{spread}", len(kls), f"{fmean(r['steps'] for r in runs):,.0f}"]
        )
    return table(["toy", "model", "KL (nats)", "seeds", "steps"], rows)


def conditions(found):
    """Return one line of what has to be known to judge a part."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    load = " to ".join(str(found[key][0]) for key in ("load_average", "load_average_at_end"))
    machine = f"{found['cpu']}, {found['cores']} cores, one thread, load average {load}"
    return f"*{found['date']}, {machine}; Python {found['python']}, {versions}.*"


def benchmark(name):
    """Return the tables of a part, and its conditions."""
    stored = json.loads(RESULTS.read_text(encoding="utf8"))
    results = stored[name]["results"]
    tables = imports(results, stored["steps"]["results"]) if name == "imports" else globals()[name](results)
    return f"{tables}\n\n{conditions(stored[name]['conditions'])}"
