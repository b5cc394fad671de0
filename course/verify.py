"""Prove that the tests of every code exercise grade rightly.

For each exercise: the solution passes all tests, the stub fails the visible ones, every wrong answer is rejected
and none of the forbidden short-cuts is used by the solution. Every variant runs in a process of its own, and its tests
outside of it, as in grading.
"""

import ast
from dataclasses import dataclass

from course import find
from course.judge import attempt, judge
from course.markup import drop_markers, exercises, problems, read
from course.names import borrowed, defined, forbidden, imports_of, statements, syntax_error
from course.sandbox import Worker, pool
from course.tasks import Task, opening, stub, task_of

TIMEOUT = 120  # seconds for each step of a variant: thousands of calls over the line take long on a busy machine


@dataclass(frozen=True)
class Row:
    """One line of the table: who was tried, whether it went as it must, and what happened."""

    notebook: str
    exercise: str
    variant: str
    ok: bool
    result: str


@dataclass(frozen=True)
class Variant:
    """An answer to one exercise, with all that is needed to run it."""

    notebook: str
    name: str
    answer: str
    task: Task


def verify(paths):
    """Return the rows of the table for notebooks, given as chapters or paths."""
    rows, variants = [], []
    for path in map(find, paths):
        nb = read(path)
        if found := problems(nb):
            rows += [Row(path.stem, "-", "mark-up", False, text) for text in found]
            continue
        for exercise in exercises(nb):
            if exercise.test is None:
                rows.append(Row(path.stem, exercise.answer.id, exercise.kind, True, "graded by a person"))
                continue
            rows += [Row(path.stem, exercise.answer.id, "tests", False, text) for text in _foreign(nb, exercise)]
            variants += _variants(path.stem, nb, exercise)
    with pool() as processes:
        return [*rows, *processes.map(_try, variants)]


def run(variant):
    """Return where the variant fails ("prelude", "answer", "visible" or "hidden tests") and how, or None twice."""
    with Worker(sandboxed=False) as worker:

        def cell(text):
            return attempt(worker, TIMEOUT, lambda: worker.run(text))

        def test(text):
            return judge(worker, variant.task, text, TIMEOUT)

        steps = [("prelude", cell, text) for text in variant.task.opening]
        steps += [("answer", cell, variant.answer), ("visible tests", test, variant.task.visible)]
        for where, do, text in [*steps, ("hidden tests", test, variant.task.full)]:
            if failure := do(text):
                return where, failure
    return None, None


def report(rows):
    """Return the table as text, failures marked."""
    head = [("notebook", "exercise", "tried", "", "result")]
    table = head + [
        (row.notebook, row.exercise, row.variant, "ok" if row.ok else "FAIL", row.result)
        for row in sorted(rows, key=lambda row: (row.notebook, row.exercise))
    ]
    widths = [max(len(line[column]) for line in table) for column in range(4)]
    lines = ["  ".join([*map(str.ljust, line, widths), line[4]]) for line in table]
    failed = sum(not row.ok for row in rows)
    return "\n".join([*lines, f"{len(rows)} rows, {failed} failed"])


def _foreign(nb, exercise):
    """Tell which names a test cell takes from cells other than its answer's stub and the first imports."""
    first = "\n".join(opening(nb))
    known = defined(stub(nb, exercise)) | set(imports_of(ast.parse(first)))
    return [f"the test cell reads {name!r} of another cell" for name in sorted(borrowed(exercise.test.source) - known)]


def _variants(notebook, nb, exercise):
    answers = {"solution": drop_markers(exercise.answer.source), "stub": stub(nb, exercise)}
    answers |= {f"wrong {number}": cell.source for number, cell in enumerate(exercise.having("wrong"), start=1)}
    task = task_of(nb, exercise)
    return [Variant(notebook, name, answer, task) for name, answer in answers.items()]


def _try(variant):
    ok, result = _judge(variant)
    return Row(variant.notebook, variant.task.key, variant.name, ok, result)


def _judge(variant):
    if error := syntax_error(variant.answer):
        return False, f"is not Python: {error}"
    task = variant.task
    parsed, imports = [statements(variant.answer)], "\n".join(task.opening)
    if shortcuts := forbidden([variant.answer], parsed, 0, task.names, task.forbid, imports):
        return variant.name.startswith("wrong"), f"rejected: uses {', '.join(shortcuts)}"
    where, failure = run(variant)
    if failure is None:
        return variant.name == "solution", "passes all tests"
    if where == "prelude":
        return False, f"the cells before the answer fail: {failure}"
    wrong = variant.name.startswith("wrong")
    if wrong and (where == "answer" or failure.error == "NameError"):
        return False, f"is broken rather than wrong: {failure}"
    shown = "hidden tests" if where == "hidden tests" else "visible tests"
    return wrong or (variant.name == "stub" and shown == "visible tests"), f"rejected by {shown}: {failure}"
