"""The live cells' Python, outside a browser: where a claim about time fails, a clock as rough as Firefox's is named."""

import subprocess
import sys
from pathlib import Path

import pytest

LIVE = Path(__file__).resolve().parents[2] / "book" / "assets" / "live"
RUN = """
import sys, time
clock = time.perf_counter
time.perf_counter = lambda: clock() // {step} * {step}
sys.path.insert(0, {live!r})
import live_cells
live_cells.send = lambda kind, *parts: kind == "error" and sys.__stderr__.write(parts[0])
live_cells.run({cell!r}, "<cell 1>")
"""


@pytest.mark.parametrize(
    ("step", "cell", "told"),
    [
        (1e-3, "import time\ntime.perf_counter()\nassert 1 > 2", True),
        (1e-3, "assert 1 > 2", False),
        (1e-3, "import time\ntime.perf_counter()\n1 / 0", False),
        (1e-4, "import time\ntime.perf_counter()\nassert 1 > 2", False),
    ],
)
def test_a_rough_clock_is_told_of(step, cell, told):
    code = RUN.format(step=step, live=str(LIVE), cell=cell)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Error" in done.stderr
    assert ("rounds its clock" in done.stderr) == told
