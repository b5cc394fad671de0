"""Builds the book: `python -m tools.build [--strict] [--serve]`.

The execution cache of Jupyter Book looks at the cells of a notebook only, so it is dropped here whenever something
that the cells import has changed. `pytest --nbval book` puts the chapters that passed there too, so that a test of
everything runs them once. `--strict` starts from a clean tree (warnings are not repeated by an incremental build) and
takes every warning as an error. `--serve` shows the built site on localhost and opens it in a browser.
"""

import argparse
import contextlib
import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
import webbrowser
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import yaml

from tools.normalise import QUIET

ROOT = Path(__file__).resolve().parents[1]


def inputs_hash(root):
    """Return a hash of everything besides their own cells that the notebooks' results depend on."""
    files = sorted([*(root / "minigen").rglob("*.py"), *(root / "minigen").rglob("*.npz"), root / "requirements.txt"])
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def contents(root):
    """Return the parts of _toc.yml with their pages, each with the level of its title: book 1, part 2, chapter 3."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf8"))
    parts = [{"caption": "", "pages": [{"name": toc["root"], "level": 1}]}]
    for part in toc["parts"]:
        pages = []
        for chapter in part["chapters"]:
            pages.append({"name": chapter["file"], "level": 3})
            pages += [{"name": section["file"], "level": 4} for section in chapter.get("sections", [])]
        parts.append({"caption": part["caption"], "pages": pages})
    return parts


def toc_files(root):
    """Every page that _toc.yml names, in order, without suffix."""
    return [page["name"] for part in contents(root) for page in part["pages"]]


def check_pages(root):
    """Fail unless every page of _toc.yml was built, with text in it: a green build of nothing is no build."""
    html = root / "_build" / "html"
    files = toc_files(root)
    missing = [f for f in files if not (html / f"{f}.html").exists() or (html / f"{f}.html").stat().st_size < 2000]
    if missing or len(files) < 2:
        raise SystemExit(f"build: {len(missing)} of {len(files)} pages of _toc.yml are missing or empty: {missing}")
    return len(files)


def execution_cache(root):
    """Return Jupyter Book's cache of notebooks that ran, emptied if what their cells import has changed since."""
    from jupyter_cache import get_cache

    out = root / "_build"
    mark, now = out / ".inputs", inputs_hash(root)
    if not mark.exists() or mark.read_text() != now:
        shutil.rmtree(out / ".jupyter_cache", ignore_errors=True)
        out.mkdir(exist_ok=True)
        mark.write_text(now)
    return get_cache(str(out / ".jupyter_cache"))


def keep(cache, path, notebook):
    """Put a notebook that ran into the execution cache that was opened before it ran."""
    from jupyter_cache.base import CacheBundleIn

    cache.cache_notebook_bundle(CacheBundleIn(notebook, path), check_validity=False, overwrite=True)


def has_page_as_it_is(path):
    """Say whether a notebook's page shows its own cells; that of exercises is made from a view of them."""
    return path.parent.name != "exercises"


def run(path, timeout):
    """Return the notebook as it ran beside its file, or None if a cell failed or took longer than the timeout."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook, place = nbformat.read(path, as_version=4), {"metadata": {"path": str(path.parent)}}
    # What a cell prints arrives in pieces, which end anywhere: put together later, they would get empty lines.
    client = NotebookClient(notebook, timeout=timeout, resources=place, record_timing=False, coalesce_streams=True)
    with contextlib.suppress(CellExecutionError, CellTimeoutError, DeadKernelError):
        return client.execute()


def execute(root):
    """Run the chapters that the execution cache lacks, as many at a time as there are cores.

    Jupyter Book would run them one after the other. A chapter that fails here is left to it: it says what failed. So
    are exercises.
    """
    cache = execution_cache(root)
    paths = [root / f"{file}.ipynb" for file in toc_files(root)]
    chapters = [str(path) for path in paths if path.exists() and has_page_as_it_is(path)]
    for path in chapters:
        cache.add_nb_to_project(path)
    if missing := [Path(record.uri) for record in cache.list_unexecuted(chapters)]:
        print(f"Running {len(missing)} chapters on {os.cpu_count()} cores.", flush=True)
        timeout = yaml.safe_load((root / "_config.yml").read_text(encoding="utf8"))["execute"]["timeout"]
        with ProcessPoolExecutor() as processes:
            for path, notebook in zip(missing, processes.map(run, missing, repeat(timeout)), strict=True):
                print(f"{path.stem}: {'ran' if notebook else 'failed'}", flush=True)
                if notebook:
                    keep(cache, path, notebook)


def build(root, strict):
    """Run Jupyter Book; return its exit code."""
    flags = []
    if strict:
        for name in ("html", ".doctrees"):
            shutil.rmtree(root / "_build" / name, ignore_errors=True)
        flags = ["-W", "-n", "--keep-going"]
    os.environ.update(QUIET, PYDEVD_DISABLE_FILE_VALIDATION="1")
    execute(root)
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(root), *flags]
    return subprocess.run(command, cwd=root, check=False).returncode


class Handler(http.server.SimpleHTTPRequestHandler):
    """Static files, without a line in the terminal for each."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}

    def log_message(self, format, *args):
        pass


@contextlib.contextmanager
def served(html):
    """Serve a site on localhost meanwhile; yields its address."""
    handler = functools.partial(Handler, directory=str(html))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def serve(html, port=8000, open_browser=True):
    """Serve the site on localhost, on the first free port from `port` on, until Ctrl-C."""
    handler = functools.partial(Handler, directory=str(html))
    for candidate in range(port, port + 100):
        try:
            server = http.server.ThreadingHTTPServer(("127.0.0.1", candidate), handler)
            break
        except OSError:
            continue
    else:
        raise SystemExit(f"serve: no free port between {port} and {port + 99}")
    address = f"http://127.0.0.1:{server.server_port}/"
    print(f"\nThe book is at {address}   (Ctrl-C stops it; the files are in {html})", flush=True)
    if open_browser:
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("\nStopped.")


def main():
    """Build, check that the pages are there, and serve them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strict", action="store_true", help="from a clean tree, every warning an error")
    parser.add_argument("--serve", action="store_true", help="serve on localhost and open a browser")
    args = parser.parse_args()
    print("Building the book: executing the chapters that changed, then writing the pages.", flush=True)
    code = build(ROOT, args.strict)
    if code:
        raise SystemExit(code)
    print(f"{check_pages(ROOT)} pages built.")
    if args.serve:
        serve(ROOT / "_build" / "html")


if __name__ == "__main__":
    main()
