"""The scoreboard as tables for the book: one of every model, and one for each model's own chapter."""

import statistics

from minigen.foundations.toys import TOYS
from tools.scoreboard import load, over_seeds, stored
from tools.scoreboard.models import NAMES, recipe


def number(rows, key, digits=3):
    """Write the mean over seeds ± the standard deviation."""
    mean, spread = over_seeds(rows, key)
    return f"{mean:.{digits}f} ±\u00a0{spread:.{digits}f}".replace("-", "−")  # a narrow column breaks before the ±


def of_toy(report, toy):
    """Return the rows of one toy, one a seed."""
    return [row for row in report["rows"] if row["toy"] == toy]


def one_model(model):
    """Return one model's part of the scoreboard as a table of Markdown: a line for each toy."""
    report = load(model)
    bound = "kl_bound" in report["rows"][0]
    head = ["toy", "KL (nats)", *(["KL by the bound (nats)"] if bound else []), "energy distance"]
    out = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for toy in TOYS:
        rows = of_toy(report, toy)
        cells = [toy, number(rows, "kl"), *([number(rows, "kl_bound")] if bound else []), number(rows, "energy", 4)]
        out.append("| " + " | ".join(cells) + " |")
    steps, batch = (report["conditions"][key] for key in ("steps", "batch"))
    seeds = len(of_toy(report, toy))
    out += ["", f"Mean ± standard deviation over {seeds} seeds, {steps:,} steps of {batch} points each."]
    if bound:
        out[-1] += (
            " The first KL is by importance sampling, the second by the bound from one draw a point, which is noisier."
        )
    out[-1] += " [All models and conditions](../back/scoreboard.md)."
    return "\n".join(out)


def scoreboard():
    """Return every stored model on every toy, and what each one costs, as tables of Markdown."""
    models = [name for name in NAMES if name in stored()]
    reports = {name: load(name) for name in models}
    titles = [f"[{recipe(name).TITLE}](../../{recipe(name).CHAPTER}.ipynb)" for name in models]
    out = []
    for title, key, digits in (("KL (nats)", "kl", 3), ("energy distance", "energy", 4)):
        out += ["", "| " + " | ".join([title, *TOYS]) + " |", "|---" * (1 + len(TOYS)) + "|"]
        if key == "kl":
            cells = [f"{density.entropy():.3f}" for density in TOYS.values()]
            out.append("| " + " | ".join(["*entropy of the toy*", *cells]) + " |")
        for name, link in zip(models, titles, strict=True):
            cells = [number(of_toy(reports[name], toy), key, digits) for toy in TOYS]
            out.append("| " + " | ".join([link, *cells]) + " |")
    head = ["model", "log-density", "parameters", "training (CPU s)", "log-density (µs a point)", "sample (µs a point)"]
    out += ["", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, title in zip(models, titles, strict=True):
        rows = reports[name]["rows"]
        kind = "bound" if "kl_bound" in rows[0] else "exact"
        keys = ("train_seconds", "density_microseconds", "sample_microseconds")
        costs = [f"{float(f'{statistics.median(row[key] for row in rows):.2g}'):g}" for key in keys]
        out.append("| " + " | ".join([title, kind, f"{rows[0]['parameters']:,}", *costs]) + " |")
    return "\n".join(out)
