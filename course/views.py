"""The three views of an exercise notebook: what a student gets, what the public page shows, what an instructor reads.

Each is a pure function NotebookNode -> NotebookNode and raises MarkupError rather than guess.
"""

import copy
import re

import nbformat

from course.markup import check, cut_region, drop_markers, exercises, role

CODE_STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
TEXT_STUB = "YOUR ANSWER HERE"
NOT_PUBLISHED = "*The solution of this exercise is not published here.*"


def student(nb):
    """Return the notebook that is handed out; its cell sources equal those of `nbgrader generate_assignment`."""
    view = _bare(nb)
    for cell in view.cells:
        if role(cell) == "answer":
            stub = CODE_STUB if cell.cell_type == "code" else TEXT_STUB
            replaced = cut_region(cell.source, "SOLUTION", stub)
            cell.source = stub if replaced == cell.source else replaced
        cell.source = cut_region(cell.source, "HIDDEN TESTS")
    return view


def page(nb):
    """Return the public page: stubs, visible tests, and the solutions of the odd exercises, folded.

    Stubs and tests are not run (the stub raises), and a folded solution is text, so nothing is executed for it.
    """
    view = student(nb)
    ends = {(exercise.test or exercise.answer).id: exercise for exercise in exercises(nb)}
    cells = []
    for cell in view.cells:
        if cell.cell_type == "code" and role(cell):
            _tag(cell, "skip-execution")
            _tag(cell, role(cell))  # the live cells of the page know by it what Check runs
        if not (cell.cell_type == "markdown" and role(cell)):
            cells.append(cell)
        if cell.id in ends:
            cells.append(_published_solution(ends[cell.id]))
    view.cells = cells
    return view


def solutions(nb):
    """Return the instructor's notebook: solutions and all tests, without markers and wrong answers."""
    view = _bare(nb)
    for cell in view.cells:
        cell.source = drop_markers(cell.source)
        if role(cell) == "answer" and cell.cell_type == "code":
            _tag(cell, "hide-input")
        elif role(cell) == "answer":
            cell.source = f"**Solution.**\n\n{cell.source}"
    return view


VIEWS = {"student": student, "page": page, "solutions": solutions}


def _bare(nb):
    """Copy a sound notebook without outputs, wrong answers and the course's own metadata."""
    check(nb)
    view = copy.deepcopy(nb)
    view.cells = [cell for cell in view.cells if role(cell) != "wrong"]
    for part in (view, *view.cells):
        part.metadata.pop("course", None)
    for cell in view.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return view


def _tag(cell, tag):
    cell.metadata["tags"] = [*cell.metadata.get("tags", []), tag]


def _published_solution(exercise):
    answer = exercise.answer
    source = NOT_PUBLISHED
    if exercise.number % 2:
        body = drop_markers(answer.source)
        if answer.cell_type == "code":
            fence = _longer_than("`", body)
            body = f"{fence}python\n{body}\n{fence}"
        fence = _longer_than(":", body)
        source = f"{fence}{{admonition}} Solution\n:class: dropdown\n\n{body}\n{fence}"
    return nbformat.v4.new_markdown_cell(source, id=f"{answer.id}-solution")


def _longer_than(mark, text):
    """Return a fence that no fence inside `text` can close."""
    return mark * max(3, 1 + max((len(run) for run in re.findall(f"{mark}+", text)), default=0))
