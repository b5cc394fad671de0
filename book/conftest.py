"""`pytest --nbval book`: each notebook runs alone and offline, and its CPU seconds are held against its allowance.

A chapter that passed is put into the execution cache, so that the build need not run it again.
With xdist use `--dist loadfile`, which keeps the cells of a notebook together.
"""

import os
from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell

from tools.build import execution_cache, has_page_as_it_is, keep
from tools.normalise import offline_environment

ROOT = Path(__file__).resolve().parents[1]
ALLOWANCE = 30  # CPU seconds; a notebook may ask for more in its metadata field `allowance_seconds`
PATIENCE = 4  # how many times its allowance a notebook may take before it fails

collect_ignore_glob = ["_*", "results"]
cpu_seconds = {}


def pytest_configure(config):
    """Set what kernels and xdist's workers inherit; drop what is stale before several of them write."""
    os.environ.update(offline_environment())
    config.execution_cache = execution_cache(ROOT)


def ask_kernel(kernel, expression):
    """Return the value that the kernel's Python gives to a numeric expression."""
    request = kernel.kc.execute("", silent=True, user_expressions={"value": expression})
    while True:
        reply = kernel.get_message("shell", timeout=60)
        if reply["parent_header"].get("msg_id") == request:
            return float(reply["content"]["user_expressions"]["value"]["data"]["text/plain"])


def keep_what_ran(last):
    """Put the notebook of this last cell into the execution cache, if all of its cells ran and nothing failed."""
    notebook = last.parent.nb
    ran = [item for item in last.session.items if item.parent is last.parent and item.test_outputs is not None]
    whole = len(ran) == sum(cell.cell_type == "code" for cell in notebook.cells)
    if whole and not last.session.testsfailed and has_page_as_it_is(last.parent.path):
        for item in ran:
            item.cell.outputs = item.test_outputs
        keep(last.config.execution_cache, last.parent.path, notebook)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """After a notebook's last cell, while its kernel still lives, note what it took."""
    seconds = allowance = 0
    if isinstance(item, IPyNbCell) and (nextitem is None or nextitem.parent is not item.parent):
        allowance = item.parent.nb.metadata.get("allowance_seconds", ALLOWANCE)
        kernel = item.parent.kernel
        if kernel is not None and kernel.is_alive():
            seconds = ask_kernel(kernel, "__import__('time').process_time()")
        keep_what_ran(item)
        # A report's properties also travel from xdist's workers to the terminal.
        item.user_properties.append(("cpu_seconds", (seconds, allowance)))
    result = yield
    if seconds > PATIENCE * allowance:
        name = item.parent.path.name
        pytest.fail(f"{name} took {seconds:.1f} s of CPU, more than {PATIENCE} times its allowance of {allowance} s")
    return result


def pytest_runtest_logreport(report):
    """Collect what the notebooks took, from xdist's workers too."""
    if report.when == "teardown":
        for name, value in report.user_properties:
            if name == "cpu_seconds":
                cpu_seconds[report.nodeid.split("::")[0]] = value


def pytest_terminal_summary(terminalreporter):
    """Report what the notebooks took."""
    if not cpu_seconds:
        return
    terminalreporter.section("CPU seconds of each notebook")
    for notebook, (seconds, allowance) in sorted(cpu_seconds.items()):
        over = f"  over its allowance of {allowance} s" if seconds > allowance else ""
        terminalreporter.write_line(f"{seconds:7.1f}  {notebook}{over}")
    total = sum(seconds for seconds, _ in cpu_seconds.values())
    terminalreporter.write_line(f"{total:7.1f}  in all, {total / len(cpu_seconds):.1f} a notebook")
