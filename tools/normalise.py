"""Bring notebooks into normal form: run each alone and offline, and store what is compared and nothing else.

    python -m tools.normalise [NOTEBOOK…]            run and rewrite (default: every notebook of the book)
    python -m tools.normalise --check [NOTEBOOK…]    run nothing, report what is not in normal form

Two runs are byte-equal. A notebook that fails to run, or whose outputs cannot be stored, is left as it was.
When `repository: url:` of _config.yml is set, the first code cell, which pages hide, installs minigen from there where
it is missing, as on Colab.
"""

import argparse
import json
import math
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat.validator import iter_validate

ROOT = Path(__file__).resolve().parents[1]
CELL_METADATA = {"tags", "mystnb", "equations", "claim", "exact", "part", "nbgrader", "course"}
EDITORS_METADATA = {"execution", "collapsed", "editable", "deletable", "jupyter", "scrolled", "slideshow", "vscode"}
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
KEPT_MIMES = {"text/plain", "text/latex", "text/markdown"}
DROPPED_MIMES = {"image/png", "image/jpeg"}  # strict nbval skips exactly these, but compares the text beside them
RUNS_IN = re.compile(r"(?<=runs in )\d+(?= s\b)")
IGNORED = "nbval-ignore-output"
INSTALL_ID = "install-minigen"
# pip leaves alone whatever satisfies minigen's lower bounds
INSTALL = """\
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("minigen") is None:  # on Colab, say
    command = [sys.executable, "-m", "pip", "install", "--quiet", "git+{url}"]
    subprocess.run(command, check=True)"""


def find_notebooks(root):
    """Every source notebook of the book under `root`; folders that begin with `_` or `.` hold builds and tools."""
    return sorted(
        path
        for path in (root / "book").rglob("*.ipynb")
        if not any(name.startswith(("_", ".")) for name in path.relative_to(root).parts)
    )


# No progress bars; and one BLAS thread a kernel, because at these sizes a second one costs more than it gives.
QUIET = {"TQDM_DISABLE": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def offline_environment():
    """Return the variables under which the book's kernels run: no network, no progress bars, figures in the page."""
    guard = str(ROOT / "tools" / "offline")
    rest = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != guard]
    inline = "module://matplotlib_inline.backend_inline"
    return {"PYTHONPATH": os.pathsep.join([guard, *rest]), "MPLBACKEND": inline, **QUIET}


def repository_address(path):
    """Return `repository: url:` of the book that holds `path`; "" where it is not set."""
    for folder in path.resolve().parents:
        if (config := folder / "_config.yml").exists():
            return yaml.safe_load(config.read_text(encoding="utf8")).get("repository", {}).get("url", "")
    return ""


def put_install_cell(notebook, url):
    """Make the cell that installs minigen from `url` the first code cell; without `url` take it away."""
    notebook.cells = [cell for cell in notebook.cells if cell.get("id") != INSTALL_ID]
    if url:
        source = INSTALL.format(url=url)
        cell = nbformat.v4.new_code_cell(source, id=INSTALL_ID, metadata={"tags": ["remove-cell"]})
        notebook.cells.insert(1, cell)  # after the header


def tags_of(cell):
    """Return the cell's tags."""
    return cell.metadata.get("tags", [])


def execute(notebook):
    """Run the notebook in a fresh kernel and an empty directory; return the kernel's CPU seconds."""
    clock = nbformat.v4.new_code_cell("import time\nprint(time.process_time())")
    notebook.cells.append(clock)
    try:
        with tempfile.TemporaryDirectory() as empty:
            client = NotebookClient(
                notebook,
                timeout=300,
                kernel_name="python3",
                record_timing=False,
                resources={"metadata": {"path": empty}},
            )
            client.execute(env=os.environ | offline_environment())
        return float(clock.outputs[0].text)
    finally:
        notebook.cells.pop()


def clean_output(output):
    """Drop pictures and all that differs from run to run."""
    if "data" in output:
        output.data = {mime: data for mime, data in output.data.items() if mime not in DROPPED_MIMES}
        output.metadata = {}
    if output.output_type == "error":
        output.traceback = []
    return output


def merge_streams(outputs):
    """Join neighbouring streams of one name: where the kernel cuts them is chance."""
    merged = []
    for output in outputs:
        if merged and output.output_type == "stream" == merged[-1].output_type and output.name == merged[-1].name:
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def clean(notebook):
    """Bring a notebook into normal form as far as that needs no run and no decision; return it."""
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    allowance = {key: notebook.metadata[key] for key in ("allowance_seconds",) if key in notebook.metadata}
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA | allowance)
    for index, cell in enumerate(notebook.cells):
        cell.setdefault("id", f"cell-{index}")
        for key in EDITORS_METADATA & set(cell.metadata):
            del cell.metadata[key]
        if cell.cell_type == "code":
            if IGNORED in tags_of(cell):  # a warning would still stand on the page: `problems` refuses it
                cell.outputs = [output for output in cell.outputs if output.get("name") == "stderr"]
            outputs = merge_streams(map(clean_output, cell.outputs))
            cell.outputs = [output for output in outputs if output.get("data") != {}]
    return notebook


def output_problems(output):
    """Say in sentences what may not be stored of this output."""
    text = output.get("text", "") + "".join(str(data) for data in output.get("data", {}).values())
    if output.get("name") == "stderr":
        yield f"the cell writes to stderr ({text.strip().splitlines()[-1]!r}): mend the cause of the message"
    for mime in sorted(set(output.get("data", {})) - KEPT_MIMES):
        yield f"the cell's output has {mime}, which is not stored: tag the cell {IGNORED}"
    if re.search(r" at 0x[0-9a-f]+", text):
        yield "the output holds a memory address, which differs from run to run: print something else"


def problems(notebook):
    """Yield what no cleaning can mend as pairs (cell index, sentence that says what to do)."""
    count = 0
    seen = set()
    for index, cell in enumerate(notebook.cells):
        for key in sorted(set(cell.metadata) - CELL_METADATA):
            yield index, f"metadata key {key!r} is unknown: use one of {', '.join(sorted(CELL_METADATA))}"
        if cell.get("id") in seen or not cell.get("id"):
            yield index, "the cell's id is missing or used twice: give it an id of its own"
        seen.add(cell.get("id"))
        if cell.get("attachments"):
            yield index, "the cell stores an attached picture: draw it in a code cell"
        if cell.cell_type != "code":
            continue
        count += 1
        if not cell.source.strip():
            yield index, "the code cell is empty: delete it"
        elif cell.execution_count != count:
            yield index, f"execution count {cell.execution_count} should be {count}: run python -m tools.normalise"
        if cell.source.rstrip().endswith(";"):
            yield index, "the cell ends with `;`, which strict nbval does not honour: end it with plt.show()"
        for output in cell.outputs:
            for sentence in output_problems(output):
                yield index, sentence


def serialise(notebook):
    """Return the bytes of the normal form, as text."""
    return nbformat.v4.writes(notebook) + "\n"


def check(text, url=""):
    """Yield what is not in normal form in a notebook's text, as pairs (cell index or None, sentence).

    `url` is the address that its hidden first code cell must install minigen from.
    """
    notebook = nbformat.v4.reads(text)
    yield from problems(notebook)
    cells = nbformat.v4.reads(text).cells
    there = [(index, c.source, tags_of(c)) for index, c in enumerate(cells) if c.get("id") == INSTALL_ID]
    if there != ([(1, INSTALL.format(url=url), ["remove-cell"])] if url else []):
        wanted = f"cell 1 must install minigen from {url}" if url else f"the cell {INSTALL_ID} has no address any more"
        yield None, f"{wanted} (`repository: url:` of _config.yml): run python -m tools.normalise"
    cleaned = clean(notebook)
    for error in iter_validate(cleaned):
        yield None, f"not a valid notebook of format 4.5: {error.message}"
    untidy = [index for index, cell in enumerate(cleaned.cells) if cell != cells[index]]
    for index in untidy:
        yield index, "stored outputs or metadata are not in normal form: run python -m tools.normalise"
    if not untidy and serialise(cleaned) != text:
        yield None, "the file's metadata or layout is not in normal form: run python -m tools.normalise"


def update_running_time(notebook, seconds):
    """Rewrite "runs in N s" in the header, in steps of 5 s, and only where N is too small or twice too large."""
    for cell in notebook.cells[:1]:
        stated = RUNS_IN.search(cell.source)
        if stated and not int(stated[0]) / 2 <= seconds <= int(stated[0]):
            cell.source = RUNS_IN.sub(str(5 * math.ceil(seconds / 5)), cell.source, count=1)


def normalise(path):
    """Run the notebook at `path` and rewrite it; return (CPU seconds, problems). With problems nothing is written."""
    before = path.read_text(encoding="utf8")
    notebook = nbformat.v4.reads(before)
    url = repository_address(path)
    put_install_cell(notebook, url)
    try:
        seconds = execute(notebook)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return 0.0, [(None, "the notebook does not run:\n" + re.sub(r"\x1b\[[\d;]*m", "", str(error)))]
    update_running_time(notebook, seconds)
    after = serialise(clean(notebook))
    found = list(check(after, url))
    if not found and after != before:
        path.write_text(after, encoding="utf8")
    return seconds, found


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tools.normalise", description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="default: the whole book")
    parser.add_argument("--check", action="store_true", help="run nothing, report what is not in normal form")
    options = parser.parse_args(arguments)
    failed = False
    for path in options.notebooks or find_notebooks(ROOT):
        try:
            if options.check:
                found = list(check(path.read_text(encoding="utf8"), repository_address(path)))
            else:
                seconds, found = normalise(path)
                print(f"{path}: {f'{seconds:.1f} s of CPU' if not found else 'left as it was'}", flush=True)
        except json.JSONDecodeError as error:
            found = [(None, f"not JSON ({error}): is it an unfinished merge?")]
        for index, sentence in found:
            print(f"{path}{'' if index is None else f', cell {index}'}: {sentence}")
        failed = failed or bool(found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
