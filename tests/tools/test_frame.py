"""The frame of the book: inserts from data, docstrings as pages, and the repository's address set and not set."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import frame  # noqa: E402
import live  # noqa: E402

import minigen  # noqa: E402

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
API = """# API

```{eval-rst}
.. automodule:: minigen.errors
   :members:
```
"""


def build(folder, url):
    """Build a book of three pages with the frame, and return the folder of its pages."""
    (folder / "page.md").write_text("# A page\n\n![Ten clouds of points.](toys.png)\n")
    shutil.copy(ROOT / "book" / "assets" / "toys.png", folder)
    (folder / "api.md").write_text(API)
    cells = [nbformat.v4.new_markdown_cell("# A notebook")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), folder / "nb.ipynb")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: page\nchapters: [{file: api}, {file: nb}]\n")
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["repository"]["url"] = url
    config.pop("bibtex_bibfiles")
    config["html"].pop("favicon")
    config["sphinx"]["local_extensions"] = {name: str(ROOT / "book" / "_ext") for name in ("frame", "live")}
    config["sphinx"]["config"].pop("bibtex_reference_style")
    config["sphinx"]["config"]["html_static_path"] = [str(ROOT / "book" / "assets")]
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    program = Path(sys.executable).with_name("jupyter-book")
    env = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
    done = subprocess.run(
        [program, "build", str(folder), "-W", "-n"], capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "_build" / "html"


def test_without_an_address_nothing_points_at_one(tmp_path):
    html = build(tmp_path, "")
    for file in html.glob("*.html"):
        text = file.read_text()
        assert "colab.research" not in text
        assert "github.com/example" not in text
        assert 'title="Source repository"' not in text
    assert "_modules/minigen/errors.html" in (html / "api.html").read_text()
    assert f"Version {minigen.__version__}" in (html / "page.html").read_text()
    assert "SingularMatrixError" in (html / "_modules" / "minigen" / "errors.html").read_text()

    icons = [line for line in (html / "page.html").read_text().splitlines() if "/fontawesome/" in line]
    assert ["stylesheet" in line for line in icons] == [True]
    assert 'loading="lazy"' in (html / "page.html").read_text()


def test_the_wheels_hold_what_is_installed_and_are_the_same_each_time(tmp_path):
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        (folder / "_static" / "live").mkdir(parents=True)
        app = SimpleNamespace(builder=SimpleNamespace(format="html"), outdir=folder)
        live.write_wheels(app, None)
    one, two = (folder / "_static" / "live" for folder in folders)
    names = json.loads((one / "wheels.json").read_text())
    assert [name.split("-")[0] for name in names] == ["minigen_book", "autograd", "tqdm"]
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes()
    with zipfile.ZipFile(one / names[0]) as wheel:
        inside = {name for name in wheel.namelist() if name.startswith("minigen/")}
        source = {f"minigen/{path.relative_to(ROOT / 'minigen').as_posix()}" for path in ROOT.glob("minigen/**/*.*")}
        assert inside == {name for name in source if "__pycache__" not in name}
        assert wheel.read("minigen/numerics.py") == (ROOT / "minigen" / "numerics.py").read_bytes()


def test_with_an_address_the_links_appear(tmp_path):
    html = build(tmp_path, "https://github.com/example/book")
    api = (html / "api.html").read_text()
    assert "https://github.com/example/book/blob/main/minigen/errors.py#L" in api
    assert "_modules" not in api
    assert 'href="https://github.com/example/book"' in (html / "page.html").read_text()
    colab = "https://colab.research.google.com/github/example/book/blob/main/nb.ipynb"
    assert colab in (html / "nb.html").read_text()


def test_the_map_tells_planned_from_there():
    text = frame.book_map()
    assert "| Mixup |" in text
    assert "planned" in text
    for line in text.splitlines():
        if line.endswith("| there |"):
            assert "](" in line
        if line.endswith("| planned |"):
            assert "](" not in line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Return |x| for `x`.", r"Return \|x\| for ``x``."),
        ("a * b and c_1", r"a \* b and c\_1"),
        ("``already`` code", "``already`` code"),
    ],
)
def test_docstrings_are_escaped(text, shown):
    assert frame.plain(text) == shown


def test_formulas_keep_their_lines():
    lines = ["A title.", "", "Forward: `z = x`.", "Cost: O(D), and", "so on.", "", ">>> 1", "1"]
    frame.docstring(None, None, None, None, None, lines)
    assert lines[2:5] == ["| Forward: ``z = x``.", "| Cost: O(D), and", "  so on."]
    assert lines[6:8] == [">>> 1", "1"]
