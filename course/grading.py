"""Grade a notebook: its cells run in a worker, the source's tests outside of it, an exercise at a time."""

import re
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial

from tqdm import tqdm

from course import find
from course.judge import Failure, attempt, judge
from course.markup import MarkupError, chapter_of, parse, read
from course.names import forbidden, plain, statements, syntax_error, would_define
from course.sandbox import SandboxError, Worker, pool
from course.submissions import joined
from course.tasks import load

CELL, WHOLE = 60, 600  # seconds for a cell or a test, and for a notebook
MEMORY = 2**32  # bytes of a process that grades


@dataclass(frozen=True)
class Mark:
    """What an exercise is worth: `points` is None where a person grades it or nobody could."""

    points: float | None
    message: str


@dataclass(frozen=True)
class Result:
    """A graded submission; `status` is ok, not submitted, unreadable or infrastructure."""

    student: str
    lms_id: str
    file: str
    status: str
    note: str = ""
    marks: dict = field(default_factory=dict)

    @property
    def score(self):
        """The sum of the points, or None where nothing was graded."""
        points = [mark.points for mark in self.marks.values() if mark.points is not None]
        return sum(points) if points else None


class GradingError(RuntimeError):
    """Nothing can be graded, for a reason that is no student's."""


def grade(tasks, solution, submissions, sandboxed=True, jobs=None):
    """Return the results in the order of the submissions.

    The solution is graded first: unless it gets all points, nothing else is, whatever the reason.
    """
    proof = _Grading(tasks, sandboxed, solution)
    best = proof.marks()
    for task in tasks:
        mark = best[task.key]
        if mark.points != (task.points if task.names else None):
            where, failure = proof.found.get(task.key, ("", None))
            reason = f"a {where} test: {failure}" if failure else mark.message
            cure = f"mend the cell {task.key}-test of {task.private}" if task.private else "try another COURSE_SEED"
            told = f"nothing was graded: the book's own solution of {task.key} gets 0: {reason}"
            raise GradingError(f"{told}\nIf you changed the tests, {cure}.")
    work = partial(_graded, tasks, sandboxed)
    # a grading process is bound, too, since an answer's numbers reach the tests
    with pool(jobs, MEMORY if sandboxed else None) as processes:
        futures = [processes.submit(work, submission) for submission in submissions]
        return list(map(_outcome, submissions, tqdm(futures, unit="notebook")))


def _outcome(submission, future):
    try:
        return future.result()
    except BrokenProcessPool:
        return _result(submission, "infrastructure", "a grading process was killed")


def _result(submission, status, *notes, marks=None):
    note = joined(submission.note, *notes)
    return Result(submission.student, submission.lms_id, submission.file, status, note, marks or {})


def _graded(tasks, sandboxed, submission):
    if submission.text is None:
        return _result(submission, "unreadable" if submission.file else "not submitted")
    try:
        return _result(submission, "ok", marks=grade_one(tasks, sandboxed, code_cells(parse(submission.text))))
    except MarkupError as error:
        return _result(submission, "unreadable", f"the file {error}")
    except SandboxError as error:
        return _result(submission, "infrastructure", str(error))


def visible_marks(path, tell):
    """Return (task, mark) for each exercise of a student's own notebook, by the visible tests, without a sandbox.

    `tell` is called with what begins, since an endless loop is silent.
    """
    cells = code_cells(read(path))
    try:
        source = find(chapter_of(path))
    except FileNotFoundError as error:
        error.add_note(f"{path}: if it does not say of which chapter it is, give it the name of its chapter.")
        raise
    tasks = [replace(task, full="") for task in load(source)[0]]
    marks = grade_one(tasks, False, cells, tell)
    return [(task, marks[task.key]) for task in tasks]


def code_cells(nb):
    """Return the texts of a notebook's code cells."""
    return [plain(cell.source) for cell in nb.cells if cell.cell_type == "code"]


def grade_one(tasks, sandboxed, cells, tell=None):
    """Return the marks of a notebook's code cells, by exercise.

    The last cell that defines the names of an exercise otherwise than its stub does is its answer, as in a run from
    top to bottom. The tests run when that cell has run, and once more at the end if a name was missing, since a helper
    may stand below. A cell that ends its process is left out, and what stood above it runs again.
    """
    return _Grading(tasks, sandboxed, cells, tell).marks()


class _LateError(Exception):
    """The notebook has used up its time."""


class _Grading:
    def __init__(self, tasks, sandboxed, cells, tell=None):
        self.tasks, self.sandboxed, self.tell = tasks, sandboxed, tell or (lambda _: None)
        visible = {task.visible.strip() for task in tasks}
        self.cells = [text for text in cells if text.strip() not in visible]
        self.statements = list(map(statements, self.cells))
        self.failures = {}  # by number of cell
        self.found = {}  # by key of task
        self.deadline = time.monotonic() + WHOLE
        self.owners = {task.key: self._owner(task) for task in tasks if task.names}  # numbers of cells
        self.worker, self.tainted = None, False  # tainted: hidden tests have run in it

    def marks(self):
        try:
            self._start(0)
            for number, text in enumerate(self.cells):
                owned = [task for task in self.tasks if self.owners.get(task.key) == number]
                titles = " and ".join(task.title for task in owned)
                self.tell(titles or _beginning(text))
                self._run(number)
                for task in owned:
                    self._test(task, number)
            for task in self.tasks:
                _, failure = self.found.get(task.key, (None, None))
                if failure and failure.error == "NameError":
                    self._test(task, len(self.cells) - 1)
        except _LateError:
            pass
        finally:
            if self.worker:
                self.worker.close()
        return {task.key: self._mark(task, self.owners.get(task.key)) for task in self.tasks}

    def _owner(self, task):
        cells = range(len(self.cells))
        last = [(len(self._answered(task, number)), number) for number in cells if self._names(task, number)]
        return max(last)[1] if last else None

    def _names(self, task, number, but=()):
        """Return the answer's names that a cell defines, but not by these statements."""
        return task.names & set().union(*(names for _, text, names in self.statements[number] if text not in but))

    def _answered(self, task, number):
        return self._names(task, number, task.stub)

    def _start(self, end):
        """Start a worker and run the cells up to `end`."""
        if self.worker:
            self.worker.close()
        self.worker, self.tainted = Worker(self.sandboxed), False
        for number in range(end):
            self._run(number)

    def _run(self, number):
        if number in self.failures and self.failures[number].fatal:
            return
        text = self.cells[number]
        failure = self._told(number, lambda: attempt(self.worker, self._seconds(), lambda: self.worker.run(text)))
        if failure:
            self.failures[number] = failure
        if failure and failure.fatal:
            self._start(number)

    def _told(self, end, action):
        """Do what may fail; after hidden tests a failure is told as it is in a new process, which knows none."""
        failure = action()
        if failure and self.tainted and not failure.fatal:
            self._start(end)
            failure = action()
        return failure

    def _seconds(self):
        if time.monotonic() > self.deadline:
            raise _LateError
        return CELL

    def _test(self, task, number):
        owner, imports = self.owners[task.key], "\n".join(task.opening)
        if uses := forbidden(self.cells, self.statements, owner, task.names, task.forbid, imports):
            self.found[task.key] = "forbidden", Failure("Forbidden", "; ".join(uses))
            return

        def tried(test):
            return judge(self.worker, task, test, self._seconds())

        where, failure = "visible", self._told(number + 1, lambda: tried(task.visible))
        if not failure:
            where, failure, self.tainted = "hidden", tried(task.full), True
        self.found[task.key] = where, failure
        if failure and failure.fatal:
            self._start(number + 1)

    def _mark(self, task, owner):
        if not task.names:
            return Mark(None, "graded by a person")
        if owner is None:
            return Mark(0, self._no_python(task) or f"no cell defines {_quoted(task.names)}")
        if task.key not in self.found:
            return Mark(0, f"not graded: the notebook runs longer than {WHOLE} s")
        where, failure = self.found[task.key]
        if failure is None:
            return Mark(task.points, "passes all tests")
        if where == "forbidden":
            return Mark(0, f"uses {failure.message}")
        if failure.error == "NotImplementedError":
            answered = self._answered(task, owner)
            left = f"{_quoted(task.names - answered or answered)}: still stops at NotImplementedError"
            return Mark(0, self._no_python(task) or (left if answered else "not attempted"))
        told = f"a {where} test: {failure.hint if where == 'hidden' else failure.told}"
        if own := self.failures.get(owner):
            where, failure, told = "visible", own, f"the cell of the answer {own.how}"
        return Mark(0, told + self._lost(owner, failure, where) if failure.error == "NameError" else told)

    def _no_python(self, task):
        """Tell what is wrong with the last cell that would define the answer, if it were Python."""
        cells = [text for text in self.cells if any(would_define(text, name) for name in task.names)]
        found = [error for text in cells if (error := syntax_error(text))]
        return f"the cell of the answer is not Python: {found[-1]}" if found else ""

    def _lost(self, owner, failure, where):
        """Name the cells that failed and would have defined what is missing, or all of them if none can be told."""
        # what an answer says in a hidden test chooses nothing
        name = re.search(r"name '(\w+)' is not defined", failure.message) if where == "visible" else None
        failed = sorted(self.failures.keys() - {owner})
        failed = [number for number in failed if name and would_define(self.cells[number], name[1])] or failed
        return "".join(f"; {_beginning(self.cells[number])} {self.failures[number].how}" for number in failed)


def _quoted(names):
    return " and ".join(f"`{name}`" for name in sorted(names))


def _beginning(text):
    return f"the cell that begins with `{next(iter(text.strip().splitlines()), '')[:60]}`"
