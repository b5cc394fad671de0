"""The build notices missing pages and changed inputs."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tools.build import ROOT, check_pages, execute, execution_cache, inputs_hash, toc_files


@pytest.fixture
def root(tmp_path):
    (tmp_path / "minigen").mkdir()
    (tmp_path / "minigen" / "a.py").write_text("x = 1\n")
    (tmp_path / "requirements.txt").write_text("numpy==2\n")
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nparts:\n- caption: One\n  chapters:\n"
        "  - file: book/a\n    sections: [{file: book/b}]\n"
    )
    return tmp_path


def test_toc_files_lists_every_page_once(root):
    assert toc_files(root) == ["book/index", "book/a", "book/b"]


@pytest.mark.parametrize("kept", [["index", "a"], ["index", "b"], []])
def test_a_missing_page_fails(root, kept):
    html = root / "_build" / "html" / "book"
    html.mkdir(parents=True)
    for name in kept:
        (html / f"{name}.html").write_text("x" * 3000)
    with pytest.raises(SystemExit, match="missing or empty"):
        check_pages(root)


def test_an_empty_page_fails_and_full_ones_pass(root):
    html = root / "_build" / "html" / "book"
    html.mkdir(parents=True)
    for name in ("index", "a", "b"):
        (html / f"{name}.html").write_text("x" * 3000)
    assert check_pages(root) == 3
    (html / "b.html").write_text("")
    with pytest.raises(SystemExit, match="book/b"):
        check_pages(root)


@pytest.mark.parametrize("changed", ["minigen/a.py", "requirements.txt"])
def test_the_execution_cache_follows_what_cells_import(root, changed):
    before = inputs_hash(root)
    assert inputs_hash(root) == before
    (root / changed).write_text("changed\n")
    assert inputs_hash(root) != before


def write_notebook(path, source, output, tags=()):
    cell = nbformat.v4.new_code_cell(source, execution_count=1, metadata={"tags": list(tags)})
    cell.outputs = [nbformat.v4.new_output("stream", text=output)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)


def test_chapters_are_run_into_the_cache_and_one_that_fails_is_left(root):
    (root / "_config.yml").write_text("execute: {timeout: 60}\n")
    in_pieces = "import time\nprint(6, end='', flush=True)\ntime.sleep(0.5)\nprint('\\n7')"
    write_notebook(root / "book" / "index.ipynb", in_pieces, "")
    write_notebook(root / "book" / "a.ipynb", "1 / 0", "")
    execute(root)
    cache = execution_cache(root)
    assert [record.uri for record in cache.list_unexecuted()] == [str(root / "book" / "a.ipynb")]
    (record,) = cache.list_cache_records()
    (output,) = cache.get_cache_bundle(record.pk).nb.cells[0].outputs
    assert output.text == "6\n7\n"


def test_the_cache_takes_the_chapters_that_passed_their_comparison(root):
    book = root / "book"
    write_notebook(book / "part" / "a.ipynb", "print(6 * 7)", "not compared", ["nbval-ignore-output"])
    write_notebook(book / "part" / "exercises" / "a.ipynb", "print(6 * 9)", "54\n")
    write_notebook(book / "part" / "z.ipynb", "print(6 * 8)", "42\n")
    shutil.copy(ROOT / "book" / "conftest.py", book)
    command = [sys.executable, "-m", "pytest", "--nbval", "--rootdir", root, "-p", "no:cacheprovider", book]
    told = subprocess.run(
        [*command, "--override-ini", f"pythonpath={ROOT}"], cwd=root, capture_output=True, text=True, check=False
    )
    assert "2 passed" in told.stdout, told.stdout + told.stderr
    assert "1 failed" in told.stdout
    (record,) = execution_cache(root).list_cache_records()
    assert Path(record.uri) == book / "part" / "a.ipynb"
    assert execution_cache(root).get_cache_bundle(record.pk).nb.cells[0].outputs[0].text == "42\n"
