"""Everyone gets the score that they deserve, whatever their notebook does."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

import course
from course import ROOT, find, grading
from course.__main__ import main
from course.grading import GradingError, code_cells, grade, grade_one
from course.markup import MarkupError, parse
from course.names import plain
from course.sandbox import SandboxError, Worker
from course.submissions import Submission
from course.tasks import load
from course.views import student
from tests.course.conftest import cell_of, code_exercise, make_notebook
from tests.course.submissions import (
    ALLOWED,
    ATTACKS,
    BREAKOUTS,
    CHEATS,
    DETERMINANT,
    FORBIDDEN,
    IMPORTS,
    PASSES,
    RIGHT,
    SHEAR,
    SUBMISSIONS,
    only_if,
)

try:
    with Worker(sandboxed=True):
        NO_SANDBOX = ""
except SandboxError as error:
    NO_SANDBOX = str(error)
NAP = 10_000_000 + os.getpid()  # seconds, by which a process is known
needs_sandbox = pytest.mark.skipif(bool(NO_SANDBOX), reason=f"no sandbox here: {NO_SANDBOX}")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(grading, "CELL", 3)


@pytest.fixture
def tasks(source):
    return load(source)[0]


def points(marks):
    return marks["shear"].points, marks["determinant"].points


@needs_sandbox
class TestSandboxed:
    @pytest.mark.parametrize(("cells", "expected", "message"), SUBMISSIONS.values(), ids=SUBMISSIONS)
    def test_submissions(self, cells, expected, message, tasks):
        marks = grade_one(tasks, True, [plain(cell) for cell in cells])
        assert points(marks) == expected, marks
        assert marks["shear"].message == message
        assert (marks["areas"].points, marks["areas"].message) == (None, "graded by a person")

    @pytest.mark.parametrize(("answer", "message"), ATTACKS.values(), ids=ATTACKS)
    def test_attacks(self, answer, message, tasks):
        marks = grade_one(tasks, True, [IMPORTS, DETERMINANT, answer])
        assert points(marks) == (0, 2)
        assert marks["shear"].message == message

    @pytest.mark.parametrize(("cells", "expected"), CHEATS.values(), ids=CHEATS)
    def test_cheats_win_inside_the_process_of_the_tests_and_not_here(self, cells, expected, tasks, source):
        tests = [cell.source for cell in make_notebook().cells if cell.id.endswith("-test")]
        inside = "\n".join([*cells, *tests, "print('full marks')"])
        done = subprocess.run([sys.executable, "-c", inside], capture_output=True, text=True, check=False)
        assert "full marks" in done.stdout, "the cheat cannot win at all"
        assert points(grade_one(tasks, True, list(cells))) == expected

    @pytest.mark.parametrize("attack", BREAKOUTS.values(), ids=BREAKOUTS)
    def test_breakouts_win_without_a_sandbox_and_not_with_it(self, attack, tasks, tmp_path, monkeypatch):
        monkeypatch.setenv("SECRET", "1")
        abstract = f"\0course-test-{os.getpid()}"
        with socket.socket() as listener, socket.socket(socket.AF_UNIX) as local:
            listener.bind(("127.0.0.1", 0))
            local.bind(abstract)
            for door in (listener, local):
                door.listen()
                door.settimeout(0.2)
            names = {"BOOK": str(ROOT), "PORT": listener.getsockname()[1], "ABSTRACT": abstract, "FOLDER": "/tmp"}

            def cells(folder):
                given = "\n".join(f"{name} = {value!r}" for name, value in {**names, "FOLDER": folder}.items())
                return [given, *only_if(attack)]

            assert points(grade_one(tasks, True, cells("/tmp"))) == (0, 2)
            for door in (listener, local):
                with pytest.raises(TimeoutError):
                    door.accept()
            assert points(grade_one(tasks, False, cells(str(tmp_path)))) == (2, 2), "the attack cannot win at all"

    def test_no_process_is_left(self, tasks):
        """One that leaves its session is gone with the sandbox, and stays without it."""
        cells = [f"import subprocess\nsubprocess.Popen(['sleep', '{NAP}'], start_new_session=True)", *RIGHT]
        assert points(grade_one(tasks, True, cells)) == (2, 2)
        time.sleep(0.2)
        assert sleepers() == []
        grade_one(tasks, False, cells)
        left = sleepers()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert len(left) == 1

    def test_a_whole_notebook_has_a_time_limit(self, tasks, monkeypatch):
        monkeypatch.setattr(grading, "WHOLE", 1)
        marks = grade_one(tasks, True, [IMPORTS, SHEAR, "import time\ntime.sleep(2)", DETERMINANT])
        assert points(marks) == (2, 0)
        assert marks["determinant"].message == "not graded: the notebook runs longer than 1 s"


def sleepers():
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == f"sleep\0{NAP}\0".encode():
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


@pytest.mark.parametrize(("cells", "name", "line"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_forbidden_shortcuts(cells, name, line, tasks):
    marks = grade_one(tasks, False, [IMPORTS, SHEAR, *cells])
    assert points(marks) == (2, 0)
    told = f"uses {name}, which this exercise does not allow: line {line}, `"
    assert marks["determinant"].message.startswith(told), marks
    assert marks["determinant"].message.removeprefix(told).strip("`") in "\n".join(cells)


@pytest.mark.parametrize("cells", ALLOWED.values(), ids=ALLOWED)
def test_what_is_forbidden_may_stand_where_the_answer_does_not_use_it(cells, tasks):
    assert points(grade_one(tasks, False, [*RIGHT, *cells])) == (2, 2)


def test_of_the_engine_an_answer_may_use_what_the_notebook_imports(nb, source):
    cell_of(nb, "imports").source += "\nfrom minigen.foundations import determinants"
    nbformat.write(nb, source)
    tasks, mine = load(source)[0], "def determinant(A):\n    return determinants.det_leibniz(A)"
    imports = cell_of(nb, "imports").source
    assert points(grade_one(tasks, False, [imports, SHEAR, mine])) == (2, 2)
    other = "from minigen.foundations.linear import LULinear\n\n\ndef determinant(A):\n    return LULinear and 1.0"
    assert (
        "uses minigen.foundations.linear.LULinear" in grade_one(tasks, False, [imports, other])["determinant"].message
    )


@pytest.mark.parametrize(
    ("tells", "told"),
    [
        ("def determinant(A):\n    raise ValueError(f'SECRET {asked}')", "a visible test: ValueError: SECRET []"),
        ("determinant = 1\nraise ValueError(f'SECRET {asked}')", "the cell of the answer stops: ValueError: SECRET []"),
    ],
)
def test_what_hidden_tests_asked_is_told_by_no_other_cell(tells, told, tasks):
    keeps = f"asked = []\n{SHEAR.replace('return', 'asked.append(k)' + chr(10) + '    return')}"
    marks = grade_one(tasks, False, [IMPORTS, keeps, tells])
    assert points(marks) == (2, 0)
    assert marks["determinant"].message.startswith(told), marks


def test_the_names_of_an_answer_may_stand_in_several_cells(tasks):
    """What is left of the stub is named, and what was finished elsewhere counts."""
    both = replace(tasks[0], names=frozenset({"shear", "back"}), full="", visible="shear(1, 0), back()")
    both = replace(both, stub=frozenset({"def back():\n    raise NotImplementedError"}))
    shear, back = "def shear(x, k): return x", "def back(): raise NotImplementedError"
    (mark,) = grade_one([both], False, [f"{shear}\n{back}"]).values()
    assert mark.message == "`back`: still stops at NotImplementedError"
    (mark,) = grade_one([both], False, [f"{shear}\n{back}", "def back(): return 1", back]).values()
    assert mark.message == PASSES


NO_NOTEBOOKS = [
    ("", "is empty: save or download it again"),
    ("no", "is no notebook: download it again"),
    ("[]", "is no notebook: download it again"),
    ("{}", "is no notebook: download it again"),
    ('{"cells": 3, "nbformat": 4}', "is no notebook: download it again"),
    ('{"cells": [{', "is cut off or damaged: download it again"),
    ("[" * 10**5, "is no notebook: download it again"),
    ('{"nbformat": 4}', "is no notebook: download it again"),
]


def hand_in(name, text):
    return Submission(name, "", f"{name}.ipynb", text)


class TestNotebooks:
    """What students do to notebooks, and what programs do to them."""

    def solved(self):
        nb = student(make_notebook())
        cell_of(nb, "shear").source, cell_of(nb, "determinant").source = SHEAR, DETERMINANT
        return nb

    def score(self, tasks, text):
        return points(grade_one(tasks, False, code_cells(parse(text))))

    def test_metadata_lost(self, tasks):
        nb = self.solved()
        for cell in nb.cells:
            cell.metadata = {}
            cell.id = f"new{cell.id}"
        assert self.score(tasks, nbformat.writes(nb)) == (2, 2)

    def test_an_answer_in_the_place_of_a_test(self, tasks):
        nb = self.solved()
        cell_of(nb, "shear-test").source = cell_of(nb, "shear").source
        cell_of(nb, "shear").source = "def shear(x, k):\n    return 0 * x"
        assert self.score(tasks, nbformat.writes(nb)) == (2, 2)

    def test_test_cells_deleted_or_weakened_and_an_answer_copied(self, tasks):
        nb = self.solved()
        nb.cells.remove(cell_of(nb, "shear-test"))
        cell_of(nb, "determinant-test").source = "pass"
        nb.cells.append(cell_of(nb, "shear"))
        assert self.score(tasks, json.dumps(nb)) == (2, 2)

    @pytest.mark.parametrize("version", [(3, 0), (4, 0)], ids=str)
    def test_old_formats(self, version, tasks):
        nb = self.solved()
        text = nbformat.writes(nb, version=version[0]) if version[0] == 3 else nbformat.writes(nb)
        assert self.score(tasks, text.replace('"nbformat_minor": 5', f'"nbformat_minor": {version[1]}')) == (2, 2)

    @pytest.mark.parametrize(("text", "reason"), NO_NOTEBOOKS, ids=lambda text: text[:12])
    def test_what_is_no_notebook_is_unreadable_and_no_zero(self, text, reason, source):
        tasks, solution = load(source)
        (result,) = grade(tasks, solution, [hand_in("ann", text)], False, 1)
        assert (result.status, result.score, result.marks) == ("unreadable", None, {})
        assert result.note == f"the file {reason}"


class TestInfrastructure:
    def test_a_solution_that_fails_grades_nothing(self, source):
        tasks, solution = load(source)
        with pytest.raises(GradingError, match="the book's own solution of shear gets 0: no cell defines `shear`"):
            grade(tasks, solution[:1], [hand_in("ann", "")], False, 1)

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            (None, "there is no program bwrap"),
            ("echo 'bwrap: No permissions to create new namespace' >&2; exit 1", "No permissions to create new namesp"),
            ("exit 0", "at the start it ended its process"),
        ],
    )
    def test_no_sandbox_grades_nothing_and_names_the_cure(self, script, reason, source, tmp_path, monkeypatch, capsys):
        (tmp_path / "bin").mkdir()
        if script:
            (tmp_path / "bin" / "bwrap").write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / "bin" / "bwrap").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        (tmp_path / "in" / "ann").mkdir(parents=True)
        assert main(["grade", str(source), str(tmp_path / "in"), "-o", str(tmp_path / "grades.csv")]) == 2
        said = capsys.readouterr().err
        assert reason in said
        assert "Nothing was graded" in said
        assert "apt install bubblewrap" in said
        assert "--network none" in said
        assert not (tmp_path / "grades.csv").exists()

    def test_a_worker_or_a_grading_process_that_fails_is_no_zero(self, tasks, monkeypatch):
        def broken(*_):
            raise SandboxError("no space left")

        monkeypatch.setattr(grading, "grade_one", broken)
        lost = Future()
        lost.set_exception(BrokenProcessPool())
        submission = hand_in("ann", nbformat.writes(make_notebook()))
        for result, note in (
            (grading._graded(tasks, True, submission), "no space left"),
            (grading._outcome(submission, lost), "a grading process was killed"),
        ):
            assert (result.status, result.score, result.note) == ("infrastructure", None, note)


class TestCheck:
    def test_a_student_s_own_notebook_by_the_visible_tests(self, source, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(course, "BOOK", tmp_path / "book")
        nb = TestNotebooks().solved()
        cell_of(nb, "determinant").source = "def determinant(A):\n    return 1.0"  # wrong, for hidden tests
        nbformat.write(nb, tmp_path / "mine.ipynb")
        assert main(["check", str(tmp_path / "mine.ipynb")]) == 0
        said = capsys.readouterr()
        assert said.err.split("\n") == [
            "running the cell that begins with `import numpy as np` …",
            "running Exercise 1, The shear …",
            "running Exercise 2, Signed area …",
            "",
        ]
        assert said.out.split("\n")[:3] == [
            "Exercise 1, The shear: passes the visible tests",
            "Exercise 2, Signed area: passes the visible tests",
            "Exercise 3, Areas under a shear: graded by a person",
        ]
        cell_of(nb, "determinant").source = "def determinant(A):\n    return 2.0"
        nbformat.write(nb, tmp_path / "mine.ipynb")
        assert main(["check", str(tmp_path / "mine.ipynb")]) == 1
        assert "Exercise 2, Signed area: a visible test: the identity keeps areas" in capsys.readouterr().out

    @pytest.mark.parametrize(("text", "reason"), NO_NOTEBOOKS[:3], ids=lambda text: text[:12])
    def test_what_is_no_notebook(self, text, reason, tmp_path, capsys):
        path = tmp_path / "mine.ipynb"
        path.write_text(text)
        assert main(["check", str(path)]) == 1
        assert capsys.readouterr().err == f"{path} {reason}\n"
        path.write_bytes(b"\xff")
        assert main(["check", str(path)]) == 1
        assert capsys.readouterr().err == f"{path} is no notebook: download it again\n"
        path.unlink()
        assert main(["check", str(path)]) == 1
        assert capsys.readouterr().err == f"{path}: there is no such file\n"

    def test_a_cell_above_the_heading(self, source, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(course, "BOOK", tmp_path / "book")
        nb = TestNotebooks().solved()
        nb.cells.insert(0, nbformat.v4.new_markdown_cell("# Ann"))
        nbformat.write(nb, tmp_path / "mine.ipynb")
        assert main(["check", str(tmp_path / "mine.ipynb")]) == 0

    def test_what_is_no_exercise_notebook(self, tmp_path, capsys):
        nbformat.write(nbformat.v4.new_notebook(), tmp_path / "mine.ipynb")
        assert main(["check", str(tmp_path / "mine.ipynb")]) == 1
        said = capsys.readouterr().err
        assert "no exercises for 'mine'" in said
        assert f"{tmp_path / 'mine.ipynb'}: if it does not say of which chapter it is, give it the name of its" in said

    def test_a_notebook_without_its_first_cell_is_known_by_its_name(self, source, tmp_path, monkeypatch):
        monkeypatch.setattr(course, "BOOK", tmp_path / "book")
        nb = TestNotebooks().solved()
        nbformat.write(nbformat.v4.new_notebook(cells=nb.cells[1:]), tmp_path / "planes.ipynb")
        assert main(["check", str(tmp_path / "planes.ipynb")]) == 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes cannot be watched here")
class TestInterrupt:
    @pytest.mark.parametrize("from_terminal", [False, True])
    def test_all_ends_at_once_with_one_line(self, from_terminal, source, tmp_path):
        """A terminal interrupts the grading processes, too, also one that is idle."""
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"import os\nos.system('sleep {NAP}')")])
        for name in ("ann", "bea", "cid", "dan"):
            (tmp_path / "in" / name).mkdir(parents=True)
            nbformat.write(nb, tmp_path / "in" / name / "planes.ipynb")
            if from_terminal:
                nb.cells = []
        command = [sys.executable, "-m", "course", "grade", source, tmp_path / "in", "-o", tmp_path / "grades.csv"]
        begun = subprocess.Popen(
            [*command, "--unsafe", "--jobs", "2"],
            env=os.environ | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"},
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: len(sleepers()) == 2 - from_terminal)
        time.sleep(2 * from_terminal)
        children = Path(f"/proc/{begun.pid}/task/{begun.pid}/children").read_text().split()
        assert len(children) == 2
        for child in children if from_terminal else ():
            os.kill(int(child), signal.SIGINT)
        time.sleep(from_terminal)
        begun.send_signal(signal.SIGINT)
        out, err = begun.communicate(timeout=20)
        assert (out, err.splitlines()[1:], begun.returncode) == ("", ["stopped"], 130)
        wait_for(lambda: not sleepers())
        assert not (tmp_path / "grades.csv").exists()


def wait_for(state):
    for _ in range(600):
        if state():
            return
        time.sleep(0.1)
    pytest.fail("it did not happen")


class TestPrivateTests:
    SOLVES_SEED_3 = "def draw():\n    return np.random.default_rng(3).random()"

    def notebook(self, source):
        nb = make_notebook()
        test = "draw()\n### BEGIN HIDDEN TESTS\nrng = np.random.default_rng(3)\nassert draw() == rng.random()"
        cells = code_exercise(
            "shear",
            "def draw():\n    ### BEGIN SOLUTION\n    return 0.0\n    ### END SOLUTION",
            f"{test}\n### END HIDDEN TESTS",
            ["a = 1", "b = 1"],
        )
        place = nb.cells.index(cell_of(nb, "shear"))
        nb.cells[place : place + 4] = cells
        nbformat.write(nb, source)

    @pytest.mark.parametrize(("seed", "expected"), [(None, 2), (7, 0)])
    def test_a_course_s_seed_reaches_hidden_tests(self, seed, expected, source):
        """An answer that knows the public seed passes the public hidden test and no other."""
        self.notebook(source)
        marks = grade_one(load(source, seed=seed)[0], False, [IMPORTS, self.SOLVES_SEED_3, DETERMINANT])
        assert marks["shear"].points == expected

    def overlay(self, tmp_path, *cells):
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text, id=cell_id) for cell_id, text in cells])
        (tmp_path / "private").mkdir(exist_ok=True)
        nbformat.write(nb, tmp_path / "private" / "planes.ipynb")
        return tmp_path / "private"

    @pytest.mark.parametrize("form", ["{}", "### BEGIN HIDDEN TESTS\n{}\n### END HIDDEN TESTS"])
    def test_an_overlay_takes_the_place_of_hidden_tests(self, form, source, tmp_path):
        test = form.format("assert shear(np.ones((1, 2)), 9)[0, 0] == 10, 'mine'")
        tasks, _ = load(source, self.overlay(tmp_path, ("my-own-imports", "import math"), ("shear-test", test)))
        book = load(source)[0]
        assert [(task.key, task.points, task.visible) for task in tasks] == [
            (task.key, task.points, task.visible) for task in book
        ]
        assert [Path(task.private).name for task in tasks] == ["planes.ipynb", "", "", ""]
        knows = "def shear(x, k):\n    return {0.0: x, 3.0: np.array([[7, 2], [3, 1]])}.get(k, x)"
        assert points(grade_one(load(source)[0], False, [IMPORTS, knows, DETERMINANT])) == (2, 2)
        marks = grade_one(tasks, False, [IMPORTS, knows, DETERMINANT])
        assert (points(marks), marks["shear"].message) == ((0, 2), "a hidden test: mine")
        assert points(grade_one(tasks, False, list(RIGHT))) == (2, 2)

    def test_the_solutions_view_is_an_overlay(self, source, tmp_path):
        private = tmp_path / "private" / "planes.ipynb"
        assert main(["view", "solutions", str(source), "-o", str(private)]) == 0
        tasks, solution = load(source, private.parent)
        (result,) = grade(tasks, solution, [hand_in("ann", private.read_text())], False, 1)
        assert result.score == 4

    @pytest.mark.parametrize(
        ("cells", "message"),
        [
            (
                [("shear-test", ""), ("sheer-test", "")],
                "cell sheer-test replaces no test; the tests are determinant-test, shear-test",
            ),
            ([("mine", "")], "no cell has the id of a test; the tests are determinant-test, shear-test"),
            (
                [("shear-test", "x = 1\nassert shear(")],
                "cell shear-test is not Python: line 2: '(' was never closed",
            ),
        ],
    )
    def test_an_error_of_an_overlay_names_its_file(self, cells, message, source, tmp_path):
        folder = self.overlay(tmp_path, *cells)
        with pytest.raises(MarkupError, match=re.escape(f"{folder / 'planes.ipynb'}: {message}")):
            load(source, folder)
        (folder / "planes.ipynb").write_text('{"cells": [')
        with pytest.raises(MarkupError, match=re.escape(f"{folder / 'planes.ipynb'} is cut off")):
            load(source, folder)
        (folder / "planes.ipynb").unlink()
        with pytest.raises(MarkupError, match=re.escape(f"{folder / 'planes.ipynb'}: there is no such file")):
            load(source, folder)

    def test_a_private_test_that_the_solution_fails_is_named_with_its_error(self, source, tmp_path):
        folder = self.overlay(tmp_path, ("shear-test", "sheer(1)"))
        tasks, solution = load(source, folder)
        message = (
            "the book's own solution of shear gets 0: a hidden test: NameError: name 'sheer' is not defined\n"
            f"If you changed the tests, mend the cell shear-test of {folder / 'planes.ipynb'}."
        )
        with pytest.raises(GradingError, match=re.escape(message)):
            grade(tasks, solution, [hand_in("ann", "")], False, 1)

    def test_the_example_of_the_page(self, tmp_path):
        page = (course.BOOK / "for-instructors.md").read_text(encoding="utf-8")
        example = textwrap.dedent(page[page.index("    sign, log_abs = ") :].partition("\n\n")[0])
        path = tmp_path / "private" / "determinants.ipynb"
        main(["view", "solutions", "determinants", "-o", str(path)])
        nb = nbformat.read(path, as_version=4)
        cell_of(nb, "sign-and-log-det-test").source = example
        nbformat.write(nb, path)
        tasks, solution = load(find("determinants"), path.parent)
        task = tasks[0]
        wrong = "right = sign_and_log_det\ndef sign_and_log_det(A):\n    return right(A) if len(A) != 60 else (-1, 0)"
        for cells, message in (
            (solution, PASSES),
            ([*solution, wrong], "a hidden test: sixty times -1: the sign is +1"),
        ):
            assert grade_one([task], False, cells)[task.key].message == message


def test_results_come_in_order_and_are_the_same_each_time(source):
    tasks, solution = load(source)
    nb = TestNotebooks().solved()
    handed_in = [hand_in(name, nbformat.writes(nb)) for name in ("ann", "bea", "cid")]
    first, second = (grade(tasks, solution, handed_in, False, 2) for _ in range(2))
    assert first == second
    assert [(result.student, result.score, result.marks["shear"].message) for result in first] == [
        (name, 4, PASSES) for name in ("ann", "bea", "cid")
    ]
