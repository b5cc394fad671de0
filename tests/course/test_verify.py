import textwrap

import nbformat
import pytest
from nbformat.v4 import new_code_cell

import course
from course import verify as module
from course.__main__ import main
from course.names import borrowed, defined, forbidden, statements
from course.tasks import load
from course.verify import report, verify
from tests.course.conftest import cell_of


def rows_of(nb, path, exercise):
    if exercise == "shear":  # the first exercise: the others need not run
        nb.cells = nb.cells[: nb.cells.index(cell_of(nb, "statement-2"))]
    nbformat.write(nb, path)
    return {row.variant: row for row in verify([path]) if row.exercise == exercise}


class TestSoundNotebook:
    @pytest.fixture
    def rows(self, source):
        return verify([source])

    def test_every_row_is_right(self, rows):
        assert all(row.ok for row in rows), report(rows)
        assert {(row.exercise, row.variant) for row in rows} == {
            *(("shear", variant) for variant in ("solution", "stub", "wrong 1", "wrong 2")),
            *(("determinant", variant) for variant in ("solution", "stub", "wrong 1", "wrong 2", "wrong 3")),
            *(("areas", "derive"), ("swap", "derive")),
        }

    def test_it_says_which_tests_rejected_an_answer(self, rows):
        result = {(row.exercise, row.variant): row.result for row in rows}
        assert result["shear", "solution"] == "passes all tests"
        assert result["shear", "stub"] == "rejected by visible tests: NotImplementedError: "
        assert result["shear", "wrong 1"].startswith("rejected by hidden tests: AssertionError: the second coordinate")
        assert result["determinant", "wrong 2"] == (
            "rejected by visible tests: AssertionError: the identity keeps areas"
        )
        assert result["determinant", "wrong 3"] == (
            "rejected: uses np.linalg.det, which this exercise does not allow: line 1, `from numpy.linalg import det`"
        )
        assert result["swap", "derive"] == "graded by a person"

    def test_the_table_has_a_line_for_each_row(self, rows):
        lines = report(rows).split("\n")
        assert len(lines) == len(rows) + 2
        assert lines[-1] == "11 rows, 0 failed"


class TestBrokenNotebook:
    def test_a_solution_that_fails_hidden_tests(self, nb, source):
        cell = cell_of(nb, "determinant")
        cell.source = cell.source.replace("diagonal_product - other", "diagonal_product + other")
        row = rows_of(nb, source, "determinant")["solution"]
        assert not row.ok
        assert row.result == "rejected by hidden tests: AssertionError: a swap turns the sign"

    def test_visible_tests_that_lean_on_hidden_ones(self, nb, source):
        hidden = "### BEGIN HIDDEN TESTS\norigin = np.zeros((1, 2))\n### END HIDDEN TESTS\n"
        cell_of(nb, "shear-test").source = f"{hidden}assert not shear(origin, 1.0).any()"
        row = rows_of(nb, source, "shear")["solution"]
        assert not row.ok
        assert row.result.startswith("rejected by visible tests: NameError")

    def test_a_stub_that_passes_the_visible_tests(self, nb, source):
        cell = cell_of(nb, "shear-test")
        cell.source = cell.source.replace("assert np.allclose(shear(points, 0.0), points)", "assert callable(shear)")
        rows = rows_of(nb, source, "shear")
        assert not rows["stub"].ok
        assert rows["stub"].result.startswith("rejected by hidden tests")
        assert rows["solution"].ok

    def test_a_wrong_answer_that_is_right(self, nb, source):
        cell_of(nb, "shear-wrong-1").source = "def shear(x, k):\n    return x + k * x[:, 1:] * np.array([1, 0])"
        row = rows_of(nb, source, "shear")["wrong 1"]
        assert not row.ok
        assert row.result == "passes all tests"

    @pytest.mark.parametrize(
        "answer",
        [
            "def shear(x, k)\n    return x",
            "def sheer(x, k):\n    return x",
            "def shear(x, k):\n    return y",
            "1 / 0",
        ],
    )
    def test_a_wrong_answer_that_does_not_run(self, answer, nb, source):
        cell_of(nb, "shear-wrong-1").source = answer
        row = rows_of(nb, source, "shear")["wrong 1"]
        assert not row.ok
        assert row.result.startswith(("is broken rather than wrong", "is not Python")), row.result

    def test_a_solution_with_a_forbidden_name(self, nb, source):
        cell = cell_of(nb, "determinant")
        cell.source = cell.source.replace("return diagonal", "assert np.linalg.det(A)\n    return diagonal")
        assert not rows_of(nb, source, "determinant")["solution"].ok

    def test_imports_that_fail_reject_nothing(self, nb, source):
        cell_of(nb, "imports").source = "import numpy as np\nimport no_such_module"
        rows = rows_of(nb, source, "shear")
        assert not any(row.ok for row in rows.values())
        assert "the cells before the answer fail: ModuleNotFoundError" in rows["wrong 1"].result

    def test_a_test_that_reads_another_cell_s_names(self, nb, source):
        nb.cells.insert(2, new_code_cell("square = np.eye(2)", id="helper"))
        cell = cell_of(nb, "shear-test")
        cell.source = "assert all(shear(row[None], 0.0) is not None for row in square)\n" + cell.source
        rows = rows_of(nb, source, "shear")
        assert rows["solution"].ok
        assert not rows["tests"].ok
        assert rows["tests"].result == "the test cell reads 'square' of another cell"

    def test_bad_markup(self, nb, source):
        del cell_of(nb, "shear-test").metadata["nbgrader"]["points"]
        rows = rows_of(nb, source, "-")
        assert not rows["mark-up"].ok
        assert "cell shear-test: points must be a positive number" in rows["mark-up"].result


class TestRun:
    def judged(self, nb, source, answer):
        cell_of(nb, "shear-wrong-1").source = answer
        return rows_of(nb, source, "shear")["wrong 1"]

    def test_an_endless_loop_is_stopped(self, nb, source, monkeypatch):
        monkeypatch.setattr(module, "TIMEOUT", 2)
        task = load(source)[0][0]
        row = module._try(module.Variant("planes", "wrong 1", "def shear(x, k):\n    while True:\n        pass", task))
        assert row.ok
        assert row.result == "rejected by visible tests: did not end within 2 s"

    def test_a_process_that_ends_itself_has_not_passed(self, nb, source):
        row = self.judged(nb, source, "import os\n\n\ndef shear(x, k):\n    os._exit(0)")
        assert row.result == "rejected by visible tests: ended its process"

    def test_leaving_is_not_passing(self, nb, source):
        row = self.judged(nb, source, "def shear(x, k):\n    raise SystemExit")
        assert row.result.startswith("rejected by visible tests: SystemExit")

    def test_what_an_answer_prints_does_not_reach_the_outcome(self, nb, source):
        cell = cell_of(nb, "shear")
        cell.source = cell.source.replace("return", "print('[null, null] ∞')\n    return")
        assert rows_of(nb, source, "shear")["solution"].ok

    def test_variants_do_not_see_each_other(self, nb, source):
        cell_of(nb, "shear-wrong-1").source = "np.allclose = lambda *a: True\n\n\ndef shear(x, k):\n    return 'no'"
        rows = rows_of(nb, source, "shear")
        assert rows["solution"].ok
        assert rows["wrong 2"].ok

    def test_helper_cells_of_the_exercise_come_before_the_answer(self, nb, source):
        place = nb.cells.index(cell_of(nb, "shear"))
        nb.cells.insert(place, new_code_cell("ROWS = 2", id="helper"))
        cell = cell_of(nb, "shear")
        cell.source = cell.source.replace("return", "assert len(x) == ROWS\n    return")
        assert rows_of(nb, source, "shear")["solution"].ok


class TestNames:
    def told(self, source, name):
        cell = f"def answer(a, x):\n{textwrap.indent(source, '    ')}\n    return 1"
        return forbidden([cell], [statements(cell)], 0, {"answer"}, [name], "import numpy as np")

    def test_defined(self):
        assert defined("def f():\n    inner = 1\nclass C: pass\nx: int = 1\nfor i in []: pass") == {"f", "C", "x", "i"}

    @pytest.mark.parametrize(
        ("source", "names"),
        [
            ("x = 1\nassert f(x)", {"f"}),
            ("from math import pi\nassert pi > f(len([]))", {"f"}),
            ("def helper(a):\n    return a + outside\nhelper(1)", {"outside"}),
            ("[(u, v) for u in points for v in u]", {"points"}),
            ("later = lambda: given\ngiven = 1", set()),
            ("def g():\n    return lambda: outside", {"outside"}),
            ("def g():\n    local = 1\n    return lambda: local", set()),
        ],
    )
    def test_borrowed(self, source, names):
        assert borrowed(source) == names

    @pytest.mark.parametrize(
        "source",
        [
            "np.linalg.det(a)",
            "import numpy\nnumpy.linalg.det(a)",
            "import numpy.linalg\nnumpy.linalg.det(a)",
            "import numpy.linalg as la\nla.det(a)",
            "from numpy import linalg\nlinalg.det(a)",
            "from numpy.linalg import det",
            "from numpy.linalg import det as area\narea(a)",
            "import autograd.numpy as anp\nanp.linalg.det(a)",
            "la = np.linalg\nd = la.det",
            "def f(a, det=np.linalg.det):\n    return det(a)",
            "getattr(np.linalg, 'det')(a)",
            "map(np.linalg.det, [a])",
        ],
    )
    def test_forbidden_under_any_alias(self, source):
        for name in ("np.linalg.det", "np.linalg"):
            (told,) = self.told(source, name)
            assert told.startswith(f"{name}, which this exercise does not allow: line ")

    @pytest.mark.parametrize(
        "source",
        ["np.linalg.norm(a)", "def det(a):\n    return a\ndet(1)", "a.det", "# np.linalg.det", "x = 'np.linalg.det'"],
    )
    def test_allowed(self, source):
        assert self.told(source, "np.linalg.det") == []

    def test_a_builtin_can_be_forbidden(self):
        assert self.told("y = sorted(x)", "sorted")


class TestCommand:
    def test_a_sound_notebook(self, source, capsys):
        assert main(["verify", str(source)]) == 0
        assert "0 failed" in capsys.readouterr().out

    def test_a_failure(self, nb, source, capsys):
        cell_of(nb, "shear-wrong-2").source = textwrap.dedent(cell_of(nb, "shear").source)
        nbformat.write(nb, source)
        assert main(["verify", str(source)]) == 1
        assert "FAIL" in capsys.readouterr().out

    def test_the_book_is_the_default(self, source, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(course, "BOOK", tmp_path / "book")
        assert main(["verify"]) == 0
        assert "planes" in capsys.readouterr().out

    def test_a_chapter_by_its_name(self, source, tmp_path, monkeypatch):
        monkeypatch.setattr(course, "BOOK", tmp_path / "book")
        assert main(["verify", "planes"]) == 0

    def test_zero_notebooks_prove_nothing(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(course, "BOOK", tmp_path)
        assert main(["verify"]) == 1
        assert "nothing was proved" in capsys.readouterr().err

    def test_a_missing_file(self, tmp_path, capsys):
        assert main(["verify", str(tmp_path / "none.ipynb")]) == 1
        assert "none.ipynb" in capsys.readouterr().err
