"""Read nbgrader's mark-up: roles of cells, regions between markers, exercises, and what is wrong with them."""

import json
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat

REGIONS = ("SOLUTION", "HIDDEN TESTS")
NBGRADER_KEYS = {"grade", "grade_id", "locked", "schema_version", "solution", "task"}
COURSE_KEYS = {"wrong", "forbid"}
HEADING = re.compile(r"^## Exercise (\d+)\b.*", re.MULTILINE)
LABEL = re.compile(r'(?:"|\\n)\(ex-([\w-]+)\)=')  # in a notebook's JSON
KIND = re.compile(r"^\*(code|derive|experiment)\b", re.MULTILINE)


class MarkupError(ValueError):
    """The notebook breaks the form of an exercise notebook, so no view of it can be trusted."""


def role(cell):
    """Return "answer", "test" or "wrong", or None for a cell that nobody grades."""
    marks = cell.metadata.get("nbgrader", {})
    if "wrong" in cell.metadata.get("course", {}):
        return "wrong"
    if marks.get("solution"):
        return "answer"
    return "test" if marks.get("grade") else None


def cut_region(source, region, stub=None):
    """Return `source` without the lines of a marked region; `stub`, indented as the marker, takes their place."""
    kept, inside = [], False
    for line in source.split("\n"):
        if f"BEGIN {region}" in line:
            inside = True
            if stub is not None:
                indent = re.match(r"\s*", line).group()
                kept.extend(indent + stub_line for stub_line in stub.split("\n"))
        elif f"END {region}" in line:
            inside = False
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def is_marker(line):
    """Say whether a line opens or closes a region."""
    return any(f"{edge} {region}" in line for edge in ("BEGIN", "END") for region in REGIONS)


def drop_markers(source):
    """Return `source` with the regions kept and their markers gone."""
    return "\n".join(line for line in source.split("\n") if not is_marker(line))


@dataclass(frozen=True, eq=False)
class Exercise:
    """One exercise: its number, its kind, and its cells from the heading up to the next heading."""

    number: int
    kind: str | None
    cells: list

    def having(self, wanted):
        """Return the cells with that role."""
        return [cell for cell in self.cells if role(cell) == wanted]

    @cached_property
    def answer(self):
        """The answer cell; the exercise's id is its id."""
        return self.having("answer")[0]

    @cached_property
    def test(self):
        """The test cell, or None where a person grades."""
        return next(iter(self.having("test")), None)


def exercises(nb):
    """Return the exercises of a notebook in order."""
    found = []
    for cell in nb.cells:
        heading = HEADING.search(cell.source) if cell.cell_type == "markdown" and role(cell) is None else None
        if heading:
            kind = KIND.search(cell.source)
            found.append(Exercise(int(heading[1]), kind and kind[1], [cell]))
        elif found:
            found[-1].cells.append(cell)
    return found


def chapters(text):
    r"""Return the chapters whose exercises the text of a notebook holds, by their labels.

    >>> chapters('{"source": ["# Mine\\n", "(ex-planes)=\\n"]}')
    {'planes'}
    """
    return set(LABEL.findall(text))


def chapter_of(path):
    """Return the chapter of the notebook at `path`: its label says, or its name."""
    return min(chapters(Path(path).read_text(encoding="utf-8")), default=Path(path).stem)


def parse(text):
    """Return the notebook of that text; a MarkupError says what is wrong with it and what to do."""
    if not text.strip():
        raise MarkupError("is empty: save or download it again")
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        whole = not text.lstrip().startswith("{")
        raise MarkupError(f"is {'no notebook' if whole else 'cut off or damaged'}: download it again") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nb = nbformat.reads(text, as_version=4)
        if not all(isinstance(cell.source, str) and cell.cell_type for cell in nb.cells):
            raise TypeError("a cell without a text")
    except Exception:  # whatever nbformat makes of the text
        raise MarkupError("is no notebook: download it again") from None
    return nb


def read(path):
    """Return the notebook at `path`; a MarkupError names the file."""
    try:
        return parse(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MarkupError(f"{path}: there is no such file") from None
    except UnicodeDecodeError:
        raise MarkupError(f"{path} is no notebook: download it again") from None
    except MarkupError as error:
        raise MarkupError(f"{path} {error}") from None


def title(nb):
    """Return the notebook's title."""
    found = re.search(r"^# (.+)", nb.cells[0].source if nb.cells else "", re.MULTILINE)
    return found[1] if found else "a notebook without a title"


def problems(nb):
    """Return what is wrong with the mark-up, one sentence each, naming notebook and cell; an empty list is good."""
    cells = [(f"cell {cell.get('id')}", text) for cell in nb.cells for text in _cell_problems(cell)]
    counts = Counter(cell.get("id") for cell in nb.cells)
    cells += [(f"cell {key}", f"the id stands {n} times") for key, n in counts.items() if n > 1]
    return [f"{title(nb)}: {where}: {text}" for where, text in [*cells, *_exercise_problems(nb)]]


def check(nb):
    """Raise MarkupError with all problems of the notebook, if it has any."""
    found = problems(nb)
    if found:
        raise MarkupError("\n".join(found))


def _cell_problems(cell):
    what = role(cell)
    for region, owner in zip(REGIONS, ("answer", "test"), strict=True):
        yield from _region_problems(cell, region, owner, what)
    course = cell.metadata.get("course", {})
    if unknown := sorted(set(course) - COURSE_KEYS):
        yield f"unknown course metadata {unknown}"
    forbid = course.get("forbid", [])
    if forbid and what != "answer":
        yield "forbid belongs to an answer cell"
    if not isinstance(forbid, list) or not all(isinstance(text, str) for text in forbid):
        yield f"forbid must be a list of names, got {forbid!r}"
    if what == "wrong" and cell.cell_type != "raw":
        yield f"a wrong answer must be a raw cell, got {cell.cell_type}"
    if "nbgrader" in cell.metadata:
        yield from _nbgrader_problems(cell, cell.metadata["nbgrader"], what)


def _region_problems(cell, region, owner, what):
    begins = [f"BEGIN {region}" in line for line in cell.source.split("\n")]
    ends = [f"END {region}" in line for line in cell.source.split("\n")]
    inside = 0
    for begin, end in zip(begins, ends, strict=True):
        inside += begin - end
        if inside not in (0, 1):
            yield f"### {'BEGIN' if begin else 'END'} {region} without its other half"
            return
    if inside:
        yield f"### BEGIN {region} without its other half"
    if any(begins) and what != owner:
        yield f"### BEGIN {region} stands outside a cell of role {owner!r}"
    if cell.cell_type == "code" and what == owner and not any(begins):
        yield f"no ### BEGIN {region}"


def _nbgrader_problems(cell, marks, what):
    if missing := sorted(NBGRADER_KEYS - set(marks)):
        yield f"nbgrader metadata lacks {missing}"
    grade_id = marks.get("grade_id")
    if grade_id != cell.get("id"):
        yield f"grade_id {grade_id!r} is not the cell's id"
    if not re.fullmatch(r"[A-Za-z0-9_-]+", str(grade_id)):
        yield f"grade_id {grade_id!r} has other characters than letters, digits, - and _"
    if marks.get("schema_version") != 3:
        yield f"schema_version must be 3, got {marks.get('schema_version')!r}"
    points = marks.get("points")
    if marks.get("grade") and (isinstance(points, bool) or not isinstance(points, int | float) or points <= 0):
        yield f"points must be a positive number, got {points!r}"
    if not marks.get("grade") and points is not None:
        yield "points stand on a cell that is not graded"
    if what == "test" and cell.cell_type != "code":
        yield f"a test cell must be code, got {cell.cell_type}"
    if what == "answer" and cell.cell_type == "markdown" and not marks.get("grade"):
        yield "a markdown answer must be graded (grade: true)"
    if what == "answer" and cell.cell_type == "code" and marks.get("grade"):
        yield "a code answer is graded by its test cell (grade: false)"


def _exercise_problems(nb):
    found = exercises(nb)
    if not found:
        yield "notebook", "no heading '## Exercise N'"
    inside = {id(cell) for exercise in found for cell in exercise.cells}
    for cell in nb.cells:
        if id(cell) not in inside and role(cell):
            yield f"cell {cell.get('id')}", "stands before the first exercise"
    for expected, exercise in enumerate(found, start=1):
        where = f"cell {exercise.cells[0].get('id')} (exercise {exercise.number})"
        if exercise.number != expected:
            yield where, f"is numbered {exercise.number}, expected {expected}"
        if exercise.kind is None:
            yield where, "the line '*code · …*', '*derive · …*' or '*experiment · …*' is missing"
        answers = exercise.having("answer")
        if len(answers) != 1:
            yield where, f"needs one answer cell, has {len(answers)}"
        else:
            for text in _answer_problems(exercise):
                yield f"cell {exercise.answer.get('id')}", text


def _answer_problems(exercise):
    answer, tests, wrong = exercise.answer, exercise.having("test"), exercise.having("wrong")
    wanted = "code" if exercise.kind == "code" else "markdown"
    if answer.cell_type != wanted:
        yield f"the answer of a {exercise.kind} exercise is a {wanted} cell, got {answer.cell_type}"
    if answer.cell_type != "code":
        if tests or wrong:
            yield "a markdown answer has neither test cells nor wrong answers"
        return
    after = exercise.cells[exercise.cells.index(answer) + 1 :][:1]
    if len(tests) != 1 or after != tests or tests[0].get("id") != f"{answer.get('id')}-test":
        yield f"must be followed by one test cell {answer.get('id')}-test"
    if len(wrong) < 2:
        yield f"needs at least two wrong answers, has {len(wrong)}"
    for cell in wrong:
        if cell.metadata["course"]["wrong"] != answer.get("id"):
            yield f"wrong answer {cell.get('id')} names {cell.metadata['course']['wrong']!r}"
