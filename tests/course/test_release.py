"""What students get."""

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

from course import BOOK, exercise_notebooks
from course.__main__ import main
from course.markup import role
from course.names import imports_of
from tests.course.conftest import cell_of

GOLDEN = Path(__file__).with_name("golden")
ALLOWED = {"numpy", "autograd", "matplotlib", "tqdm", "minigen"}


def test_cells_equal_those_of_nbgrader(source, tmp_path):
    """The golden file was made by `nbgrader generate_assignment` 0.9.6 (see golden/README.md)."""
    assert main(["release", str(source), "-o", str(tmp_path)]) == 0
    golden = json.loads((GOLDEN / "planes-release.json").read_text())
    ours = nbformat.read(tmp_path / "planes.ipynb", as_version=4)
    assert [[cell.id, cell.cell_type, cell.source] for cell in ours.cells] == golden


def test_the_zip_holds_the_same_notebooks_and_the_same_bytes_each_time(source, tmp_path, capsys):
    for out in ("a", "b"):
        assert main(["release", str(source), "-o", str(tmp_path / out)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == [
        f"{tmp_path / 'a' / 'planes.ipynb'}: 4 points by tests, 6 by hand",
        str(tmp_path / "a" / "assignments.zip"),
    ]
    with zipfile.ZipFile(tmp_path / "a" / "assignments.zip") as archive:
        assert archive.namelist() == ["planes.ipynb"]
        assert archive.read("planes.ipynb") == (tmp_path / "a" / "planes.ipynb").read_bytes()
    assert (tmp_path / "a" / "assignments.zip").read_bytes() == (tmp_path / "b" / "assignments.zip").read_bytes()


def test_nothing_withheld_is_handed_out(source, tmp_path):
    main(["release", str(source), "-o", str(tmp_path)])
    text = (tmp_path / "planes.ipynb").read_text()
    assert not re.search("matrix_of_shear|diagonal_product|swapped_rows|orientation|x\\[:, ::-1\\]|stored output", text)


@pytest.mark.parametrize("path", exercise_notebooks(), ids=lambda path: path.stem)
def test_a_student_s_notebook_needs_only_numpy_autograd_matplotlib_tqdm_and_minigen(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            modules = re.findall(r"^\s*(?:from|import) (\w+)", cell.source, re.MULTILINE)
            assert set(modules) <= ALLOWED | set(sys.stdlib_module_names), cell.id
            assert bool(modules) == bool(imports_of(ast.parse(cell.source)))


def test_it_runs_where_nothing_else_can_be_imported(tmp_path):
    """Up to the first stub, in a process whose import system refuses all other packages."""
    main(["release", "generative-models", "-o", str(tmp_path)])
    nb = nbformat.read(tmp_path / "generative-models.ipynb", as_version=4)
    cells = [cell.source for cell in nb.cells if cell.cell_type == "code" and role(cell) != "test"]
    assert any("raise NotImplementedError()" in text for text in cells)
    guard = (
        "import builtins, sys\nplain, allowed = builtins.__import__, set(sys.stdlib_module_names) | set(sys.argv[1:])\n"
        "def guarded(name, *rest):\n"
        "    if name and not (rest[-1:] and rest[-1]) and name.split('.')[0] not in allowed:\n"
        "        raise ImportError(name)\n"
        "    return plain(name, *rest)\n"
        "builtins.__import__ = guarded\n"
    )
    command = [sys.executable, "-c", guard + "\n".join(cells), *ALLOWED]
    environment = os.environ | {"PYTHONPATH": str(BOOK.parent)}
    subprocess.run(command, check=True, timeout=60, env=environment)


class TestBadInput:
    def test_an_unknown_chapter(self, tmp_path, capsys):
        assert main(["release", "determinant", "-o", str(tmp_path)]) == 1
        assert "no exercises for 'determinant'; there are some for: " in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []

    def test_a_chapter_twice(self, source, tmp_path, capsys):
        assert main(["release", str(source), str(source), "-o", str(tmp_path / "out")]) == 1
        assert "each chapter once" in capsys.readouterr().err

    def test_bad_markup_hands_out_nothing(self, nb, source, tmp_path, capsys):
        cell_of(nb, "shear").source = "### BEGIN SOLUTION"
        nbformat.write(nb, source)
        assert main(["release", str(source), "-o", str(tmp_path / "out")]) == 1
        assert not (tmp_path / "out").exists()
        assert "cell shear" in capsys.readouterr().err
