"""The scoreboard: every model on every toy at one budget, three seeds; the results lie in `book/results/`.

`models` says how each one is built, `measure` what is asked of it, and `python -m tools.scoreboard` trains.
"""

import json
import statistics
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "book" / "results"

STEPS, BATCH, SEEDS = 4_000, 256, (0, 1, 2)
POINTS = 10_000  # of the toy, on which the KL is measured
PAIRED = 5_000  # of the toy, and of the model, for the energy distance


def load(model):
    """Return the stored results of a model."""
    return json.loads((RESULTS / f"{model}.json").read_text(encoding="utf8"))


def stored():
    """Names of the models whose results are stored."""
    return sorted(path.stem for path in RESULTS.glob("*.json"))


def over_seeds(rows, key):
    """Return the mean over seeds of one measured number, and its standard deviation."""
    values = [row[key] for row in rows]
    return statistics.fmean(values), statistics.stdev(values)
