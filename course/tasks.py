"""What is to be graded: the exercises of a notebook with their tests, or with an instructor's own."""

import ast
from dataclasses import dataclass
from pathlib import Path

from course.markup import HEADING, MarkupError, check, cut_region, drop_markers, exercises, read, role
from course.names import defined, plain, reseeded, statements, syntax_error
from course.views import student


@dataclass(frozen=True)
class Task:
    """An exercise as it is graded.

    `names` are those of the answer, none where a person grades it, and `stub` the statements of its stub; `objects`
    says whether an answer may return instances of its classes, `opening` holds the source notebook's own cells before
    the answer, `visible` and `full` the tests without and with the hidden ones, `private` the file of the instructor's
    own.
    """

    key: str
    title: str
    points: float
    names: frozenset = frozenset()
    stub: frozenset = frozenset()
    objects: bool = False
    opening: tuple = ()
    visible: str = ""
    full: object = None
    forbid: tuple = ()
    private: str = ""


def load(path, overlay=None, seed=None):
    """Return the tasks of an exercise notebook and the code cells of its solution.

    `overlay` is a folder whose notebook of the same name holds private test cells. Each takes the place of the hidden
    tests of the cell of its id, all of it; points and visible tests stay those of the book.
    `seed` goes into the seeds of the generators of the hidden tests.
    """
    nb = read(path)
    check(nb)
    file = overlay and Path(overlay) / Path(path).name
    private = dict.fromkeys(_lay_over(nb, file), str(file)) if file else {}
    return [task_of(nb, exercise, seed, private.get(exercise.answer.id, "")) for exercise in exercises(nb)], [
        drop_markers(cell.source) for cell in nb.cells if cell.cell_type == "code" and role(cell) != "test"
    ]


def _lay_over(nb, path):
    """Put private tests in the place of the hidden ones; return the keys of their exercises."""
    tests = {cell.id: cell for cell in nb.cells if role(cell) == "test"}
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    private = [cell for cell in cells if cell.get("id") in tests]
    unknown = [cell.id for cell in cells if cell.get("id", "").endswith("-test") and cell.id not in tests]
    if unknown or not private:
        trouble = f"cell {unknown[0]} replaces no test" if unknown else "no cell has the id of a test"
        raise MarkupError(f"{path}: {trouble}; the tests are {', '.join(sorted(tests))}")
    for cell in private:
        text = plain(drop_markers(cell.source))
        if error := syntax_error(text):
            raise MarkupError(f"{path}: cell {cell.id} is not Python: {error}")
        visible = cut_region(tests[cell.id].source, "HIDDEN TESTS")
        tests[cell.id].source = f"{visible}\n### BEGIN HIDDEN TESTS\n{text}\n### END HIDDEN TESTS"
    return {cell.id.removesuffix("-test") for cell in private}


def task_of(nb, exercise, seed=None, private=""):
    """Return the task of an exercise; `private` names the file of the instructor's own test."""
    answer = exercise.answer
    title = HEADING.search(exercise.cells[0].source)[0].removeprefix("## ").replace(": ", ", ", 1)
    if exercise.test is None:
        return Task(answer.id, title, answer.metadata["nbgrader"]["points"])
    empty = stub(nb, exercise)
    before = exercise.cells[: exercise.cells.index(answer)]
    return Task(
        answer.id,
        title,
        exercise.test.metadata["nbgrader"]["points"],
        frozenset(defined(empty)),
        frozenset(text for _, text, _ in statements(empty)),
        any(isinstance(node, ast.ClassDef) for node in ast.walk(ast.parse(empty))),
        (*opening(nb), *(cell.source for cell in before if cell.cell_type == "code" and role(cell) is None)),
        cut_region(exercise.test.source, "HIDDEN TESTS"),
        reseeded(exercise.test.source, seed),
        tuple(answer.metadata.get("course", {}).get("forbid", [])),
        private,
    )


def opening(nb):
    """Return the texts of the code cells before the first exercise."""
    first = nb.cells.index(exercises(nb)[0].cells[0])
    return [cell.source for cell in nb.cells[:first] if cell.cell_type == "code"]


def stub(nb, exercise):
    """Return the text that a student finds in the place of the answer."""
    return next(cell.source for cell in student(nb).cells if cell.id == exercise.answer.id)
