"""The build notices missing pages and changed inputs."""

import nbformat
import pytest
from jupyter_cache import get_cache

from tools.build import check_pages, execute, inputs_hash, toc_files


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


def test_chapters_are_run_into_the_cache_and_one_that_fails_is_left(root):
    (root / "_config.yml").write_text("execute: {timeout: 60}\n")
    (root / "book").mkdir()
    for name, source in (("index", "print(6 * 7)"), ("a", "1 / 0")):
        nbformat.write(
            nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), root / "book" / f"{name}.ipynb"
        )
    execute(root)
    cache = get_cache(str(root / "_build" / ".jupyter_cache"))
    assert [record.uri for record in cache.list_unexecuted()] == [str(root / "book" / "a.ipynb")]
    (record,) = cache.list_cache_records()
    assert cache.get_cache_bundle(record.pk).nb.cells[0].outputs[0].text == "42\n"
