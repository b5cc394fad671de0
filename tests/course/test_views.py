import copy
import re

import nbformat
import pytest

from course.__main__ import main
from course.markup import MarkupError, exercises, problems
from course.views import VIEWS, page, solutions, student
from tests.course.conftest import DETERMINANT_TEST, SHEAR_TEST, cell_of

SHEAR_STUB = '''def shear(x, k):
    """Shear the points x (N, 2) along the first axis by k."""
    # YOUR CODE HERE
    raise NotImplementedError()'''


def text_of(nb):
    return "\n".join(cell.source for cell in nb.cells)


def test_the_fixture_is_sound(nb):
    nbformat.validate(nb)
    assert problems(nb) == []
    assert [(exercise.number, exercise.kind, exercise.answer.id) for exercise in exercises(nb)] == [
        (1, "code", "shear"),
        (2, "code", "determinant"),
        (3, "derive", "areas"),
        (4, "derive", "swap"),
    ]


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
class TestEveryView:
    def test_leaves_its_input_alone_and_is_valid(self, view, nb):
        before = copy.deepcopy(nb)
        nbformat.validate(view(nb))
        assert nb == before

    def test_has_no_outputs_wrong_answers_markers_or_course_metadata(self, view, nb):
        nb.metadata["course"] = {"note": "private"}
        shown = view(nb)
        assert all(cell.outputs == [] and cell.execution_count is None for cell in shown.cells if "outputs" in cell)
        assert all(cell.cell_type != "raw" for cell in shown.cells)
        assert all("course" not in part.metadata for part in (shown, *shown.cells))
        assert not re.search("(BEGIN|END) (SOLUTION|HIDDEN)", text_of(shown))

    def test_is_repeatable(self, view, nb):
        assert view(nb) == view(nb)

    def test_refuses_a_broken_notebook(self, view, nb):
        cell_of(nb, "shear").source = "def shear(x, k):\n    ### BEGIN SOLUTION\n    return x"
        with pytest.raises(MarkupError, match=r"Planes: cell shear: ### BEGIN SOLUTION without its other half"):
            view(nb)


class TestStudent:
    def test_stubs_stand_at_the_marker_s_indentation(self, nb):
        assert cell_of(student(nb), "shear").source == SHEAR_STUB

    def test_visible_tests_stay_and_hidden_ones_go(self, nb):
        assert cell_of(student(nb), "shear-test").source == "\n".join(SHEAR_TEST.split("\n")[:2])

    def test_text_answers_become_the_stub(self, nb):
        assert cell_of(student(nb), "areas").source == cell_of(student(nb), "swap").source == "YOUR ANSWER HERE"

    def test_the_rest_is_unchanged_and_graders_find_their_marks(self, nb):
        view = student(nb)
        for cell in view.cells:
            assert cell.metadata.get("nbgrader") == cell_of(nb, cell.id).metadata.get("nbgrader")
            if "nbgrader" not in cell.metadata:
                assert cell.source == cell_of(nb, cell.id).source

    def test_two_regions_give_two_stubs(self, nb):
        region = "{0}### BEGIN SOLUTION\n{0}pass\n{0}### END SOLUTION\n"
        cell_of(nb, "shear").source = region.format("") + "if k:\n" + region.format("        ") + "done = 1"
        assert cell_of(student(nb), "shear").source == (
            "# YOUR CODE HERE\nraise NotImplementedError()\nif k:\n"
            "        # YOUR CODE HERE\n        raise NotImplementedError()\ndone = 1"
        )

    def test_equals_nbgrader_s_own_release(self, nb):
        clear = pytest.importorskip("nbgrader.preprocessors")
        release = copy.deepcopy(nb)
        release.cells = [cell for cell in release.cells if cell.cell_type != "raw"]
        for step in (clear.ClearSolutions(), clear.ClearOutput(), clear.ClearHiddenTests()):
            release, _ = step.preprocess(release, {})
        assert [cell.source for cell in student(nb).cells] == [cell.source for cell in release.cells]


class TestPage:
    def test_cells_stand_in_this_order(self, nb):
        assert [cell.id for cell in page(nb).cells] == [
            *("opening", "imports"),
            *("statement-1", "shear", "shear-test", "shear-solution"),
            *("statement-2", "determinant", "determinant-test", "determinant-solution"),
            *("statement-3", "areas-solution"),
            *("statement-4", "swap-solution"),
        ]

    def test_odd_solutions_are_folded(self, nb):
        view = page(nb)
        code, text = cell_of(view, "shear-solution").source, cell_of(view, "areas-solution").source
        for source in (code, text):
            assert source.startswith(":::{admonition} Solution\n:class: dropdown\n\n")
            assert source.endswith("\n:::")
        assert "```python\ndef shear" in code
        assert "    matrix_of_shear = np.array" in code
        assert "moves each horizontal line along itself" in text

    def test_even_solutions_hidden_tests_and_wrong_answers_are_absent(self, nb):
        shown = text_of(page(nb))
        for secret in ("diagonal_product", "orientation", "swapped_rows", "coordinate stays", "det(A)", "x[:, ::-1]"):
            assert secret in text_of(nb)
            assert secret not in shown
        assert shown.count("*The solution of this exercise is not published here.*") == 2

    def test_graded_cells_are_not_run(self, nb):
        cell_of(nb, "shear").metadata["tags"] = ["mine"]
        view = page(nb)
        assert cell_of(view, "shear").metadata["tags"] == ["mine", "skip-execution", "answer"]
        for grade_id, kind in (("shear-test", "test"), ("determinant", "answer"), ("determinant-test", "test")):
            assert cell_of(view, grade_id).metadata["tags"] == ["skip-execution", kind]
        assert "tags" not in cell_of(view, "imports").metadata

    def test_fences_are_longer_than_those_inside(self, nb):
        cell_of(nb, "areas").source = ":::{note}\nHere.\n:::\n\n````text\nx\n````"
        assert cell_of(page(nb), "areas-solution").source.startswith("::::{admonition}")
        cell_of(nb, "shear").source += "\n# ```` in a comment"
        assert "\n`````python\n" in cell_of(page(nb), "shear-solution").source


class TestSolutions:
    def test_all_solutions_and_tests_are_there(self, nb):
        view = solutions(nb)
        assert "diagonal_product - other_product" in cell_of(view, "determinant").source
        assert cell_of(view, "determinant").metadata["tags"] == ["hide-input"]
        hidden = [line for line in DETERMINANT_TEST.split("\n") if "###" not in line]
        assert cell_of(view, "determinant-test").source == "\n".join(hidden)
        assert cell_of(view, "swap").source.startswith("**Solution.**\n\nSwapping two rows")

    def test_it_runs(self, nb):
        namespace = {}
        for cell in solutions(nb).cells:
            if cell.cell_type == "code":
                exec(cell.source, namespace)


def change(cell_id, **marks):
    return lambda nb: cell_of(nb, cell_id).metadata["nbgrader"].update(marks)


def text(cell_id, source):
    return lambda nb: cell_of(nb, cell_id).update(source=source)


def drop(*cell_ids):
    return lambda nb: nb.update(cells=[cell for cell in nb.cells if cell.id not in cell_ids])


BAD_MARKUP = {
    "end only": (text("shear", "x = 1\n### END SOLUTION"), "cell shear: ### END SOLUTION without its other half"),
    "nested": (text("shear", "### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION"), "cell shear: ### BEGIN"),
    "open tests": (text("shear-test", "### BEGIN HIDDEN TESTS"), "### BEGIN HIDDEN TESTS without its other half"),
    "no region": (text("shear", "def shear(x, k): ..."), "cell shear: no ### BEGIN SOLUTION"),
    "no hidden tests": (text("shear-test", "assert shear"), "cell shear-test: no ### BEGIN HIDDEN TESTS"),
    "region elsewhere": (text("imports", "### BEGIN SOLUTION\n### END SOLUTION"), "cell imports: ### BEGIN SOLUTION"),
    "tests elsewhere": (text("statement-1", "### BEGIN HIDDEN TESTS\n### END HIDDEN TESTS"), "outside a cell of role"),
    "id": (change("shear", grade_id="other"), "cell shear: grade_id 'other' is not the cell's id"),
    "characters": (change("shear", grade_id="a b"), "has other characters"),
    "schema": (change("shear", schema_version=2), "schema_version must be 3, got 2"),
    "no points": (change("shear-test", points=None), "cell shear-test: points must be a positive number, got None"),
    "zero points": (change("swap", points=0), "cell swap: points must be a positive number, got 0"),
    "boolean points": (change("swap", points=True), "points must be a positive number, got True"),
    "points on the answer": (change("shear", points=1), "cell shear: points stand on a cell that is not graded"),
    "ungraded text": (change("swap", grade=False), "cell swap: a markdown answer must be graded"),
    "graded code answer": (change("shear", grade=True, points=1), "cell shear: a code answer is graded by its test"),
    "no test": (drop("shear-test"), "cell shear: must be followed by one test cell shear-test"),
    "one wrong answer": (drop("shear-wrong-1"), "cell shear: needs at least two wrong answers, has 1"),
    "no answer": (drop("swap"), "cell statement-4 (exercise 4): needs one answer cell, has 0"),
    "gap in numbers": (drop("statement-3", "areas"), "is numbered 4, expected 3"),
    "answer without exercise": (drop("statement-1"), "cell shear: stands before the first exercise"),
    "no kind": (text("statement-1", "## Exercise 1: The shear"), "exercise 1): the line"),
    "other kind": (
        text("statement-1", "## Exercise 1\n*derive · 1*"),
        "of a derive exercise is a markdown cell, got code",
    ),
    "no exercise": (drop("statement-1", "statement-2", "statement-3", "statement-4"), "no heading '## Exercise N'"),
}


class TestProblems:
    @pytest.mark.parametrize(("spoil", "message"), BAD_MARKUP.values(), ids=BAD_MARKUP)
    def test_names_notebook_cell_and_trouble(self, spoil, message, nb):
        spoil(nb)
        found = problems(nb)
        assert any(message in line for line in found), found
        assert all(line.startswith("Exercises: Planes: ") for line in found)

    def test_missing_keys(self, nb):
        del cell_of(nb, "shear").metadata["nbgrader"]["task"]
        assert problems(nb) == ["Exercises: Planes: cell shear: nbgrader metadata lacks ['task']"]

    def test_duplicate_ids(self, nb):
        nb.cells.append(copy.deepcopy(cell_of(nb, "swap")))
        assert "Exercises: Planes: cell swap: the id stands 2 times" in problems(nb)

    @pytest.mark.parametrize(
        ("cell_id", "course", "message"),
        [
            ("shear-wrong-1", {"wrong": "sheer"}, "cell shear: wrong answer shear-wrong-1 names 'sheer'"),
            ("determinant", {"forbid": "np.linalg.det"}, "forbid must be a list of names, got 'np.linalg.det'"),
            ("imports", {"forbid": ["np.dot"]}, "cell imports: forbid belongs to an answer cell"),
            ("imports", {"wrong": "shear"}, "cell imports: a wrong answer must be a raw cell, got code"),
            ("imports", {"forbids": []}, "cell imports: unknown course metadata ['forbids']"),
        ],
    )
    def test_course_metadata(self, cell_id, course, message, nb):
        cell_of(nb, cell_id).metadata["course"] = course
        assert any(message in line for line in problems(nb))

    def test_nothing_stands_between_answer_and_test(self, nb):
        nb.cells.insert(nb.cells.index(cell_of(nb, "shear-test")), nbformat.v4.new_code_cell("", id="between"))
        assert problems(nb) == ["Exercises: Planes: cell shear: must be followed by one test cell shear-test"]

    def test_an_empty_notebook(self):
        assert problems(nbformat.v4.new_notebook()) == [
            "a notebook without a title: notebook: no heading '## Exercise N'"
        ]


class TestCommand:
    def test_writes_the_view(self, source, nb, tmp_path):
        assert main(["view", "student", str(source), "-o", str(tmp_path / "out.ipynb")]) == 0
        assert nbformat.read(tmp_path / "out.ipynb", as_version=4) == student(nb)

    def test_a_broken_notebook_writes_nothing(self, source, nb, tmp_path, capsys):
        cell_of(nb, "shear").source = "### BEGIN SOLUTION"
        nbformat.write(nb, source)
        assert main(["view", "page", str(source), "-o", str(tmp_path / "out.ipynb")]) == 1
        assert not (tmp_path / "out.ipynb").exists()
        assert "cell shear" in capsys.readouterr().err
