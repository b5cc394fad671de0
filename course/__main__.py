"""The command line: `python -m course release | grade | forms | check | verify | view | leaks`."""

import argparse
import os
import sys
from pathlib import Path

import nbformat

from course import exercise_notebooks
from course.gradebook import (
    FormError,
    fill_canvas,
    fill_moodle,
    read_canvas,
    read_moodle,
    read_table,
    writable,
    write_csv,
    write_gradescope,
    write_pages,
)
from course.grading import GradingError, grade, visible_marks
from course.leaks import scan
from course.markup import MarkupError, chapters, read
from course.release import find, release
from course.sandbox import CURE, SandboxError
from course.submissions import IntakeError, collect
from course.tasks import load
from course.verify import report, verify
from course.views import VIEWS

ERRORS = (SandboxError, MarkupError, GradingError, IntakeError, FormError, OSError)


def main(arguments=None):
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m course", description="The book's exercises as a course.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("release", help="write the notebooks that students get, and a zip of them")
    command.add_argument("chapters", nargs="+", metavar="CHAPTER", help="a chapter's name, such as determinants")
    command.add_argument("-o", "--output", required=True, metavar="DIR")
    command.set_defaults(run=_release)
    command = commands.add_parser("grade", help="grade what was handed in")
    command.add_argument("chapter", metavar="CHAPTER")
    command.add_argument("submissions", metavar="SUBMISSIONS", help="a folder, or a zip of Canvas or Moodle")
    command.add_argument("-o", "--output", required=True, metavar="CSV", help="feedback goes into a folder beside it")
    command.add_argument("--overlay", metavar="DIR", help="your own notebooks of test cells, kept out of sight")
    _platforms(command)
    command.add_argument("--gradescope", metavar="JSON", help="also write results.json, of one submission")
    command.add_argument("--jobs", type=int, metavar="N", help="notebooks at a time; default: one a core")
    command.add_argument("--unsafe", action="store_true", help="no sandbox: answers can do all that you can")
    command.set_defaults(run=_grade)
    command = commands.add_parser("forms", help="fill a platform's form again, after you added points to the table")
    command.add_argument("table", metavar="CSV", help="what `grade` wrote, with points in the blank columns")
    _platforms(command)
    command.set_defaults(run=_forms)
    command = commands.add_parser("check", help="run the visible tests on your own notebook")
    command.add_argument("notebook", metavar="NOTEBOOK")
    command.set_defaults(run=_check)
    command = commands.add_parser("verify", help="prove that the tests accept the solutions and nothing else")
    command.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="default: all of the book")
    command.set_defaults(run=_verify)
    command = commands.add_parser("view", help="write one view of an exercise notebook")
    command.add_argument("view", choices=VIEWS)
    command.add_argument("notebook", help="a chapter's name, or a path")
    command.add_argument("-o", "--output", required=True)
    command.set_defaults(run=_view)
    command = commands.add_parser("leaks", help="search published files for what the exercises withhold")
    command.add_argument("paths", nargs="+", metavar="PATH", help="a folder or a file, archives are opened")
    command.set_defaults(run=_leaks)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except ERRORS as error:
        cured = isinstance(error, SandboxError)
        notes = getattr(error, "__notes__", [])
        print(CURE.format(reason=error) if cured else error, *notes, sep="\n", file=sys.stderr)
        return 2 if cured else 1


def _platforms(command):
    command.add_argument("--canvas", nargs=2, metavar=("EXPORT", "COLUMN"), help="fill an exported gradebook")
    command.add_argument("--moodle", metavar="WORKSHEET", help="fill an exported grading worksheet")


def _release(options):
    print(*release(options.chapters, options.output), sep="\n")
    return 0


def _grade(options):
    output = Path(options.output)
    if output.is_dir():
        raise GradingError(f"{output} is a folder: -o takes the name of a table, such as {output / 'grades.csv'}")
    pages = output.with_name(f"{output.stem}-feedback")
    forms = [_form(output, platform) for platform in ("canvas", "moodle")]
    try:
        seed = os.environ.get("COURSE_SEED")
        if seed is not None and not seed.isdecimal():
            raise GradingError(f"COURSE_SEED: expected a whole number, got {seed!r}")
        source = find(options.chapter)
        tasks, solution = load(source, options.overlay, seed and int(seed))
        chapter = next(iter(chapters(source.read_text(encoding="utf-8"))), source.stem)
        submissions = collect(options.submissions, chapter)
        # all that can be refused is refused now, and not when the work is done
        canvas = options.canvas and read_canvas(*options.canvas)
        moodle = options.moodle and read_moodle(options.moodle)
        if options.gradescope and len(submissions) != 1:
            raise FormError(f"--gradescope takes one submission, got {len(submissions)}")
        wanted = [output, canvas and forms[0], moodle and forms[1]]
        wanted += [options.gradescope and Path(options.gradescope), pages.exists() and pages / "page.html"]
        for path in filter(None, wanted):
            writable(path)
        if options.unsafe:
            warning = "--unsafe: answers can read your files and the tests, use the network, and forge grades"
            print(warning, file=sys.stderr)
        results = grade(tasks, solution, submissions, not options.unsafe, options.jobs)
    except (*ERRORS, KeyboardInterrupt) as error:
        if older := [str(path) for path in (output, pages, *forms) if path.exists()]:
            error.add_note(f"{', '.join(older)}: of an earlier run, and left as they were.")
        raise
    private = sorted({task.private for task in tasks if task.private})
    tests = ", ".join(["the book's", *([f"COURSE_SEED={seed}"] if seed else []), *private])
    write_csv(output, tasks, results, tests)
    write_pages(pages, f"Exercises: {source.stem}", tasks, results)
    _fill(output, canvas, moodle)
    if options.gradescope:
        write_gradescope(options.gradescope, tasks, results[0])
    for status in sorted({result.status for result in results}):
        print(f"{status}: {sum(result.status == status for result in results)}")
    print(f"tests: {tests}")
    print(output)
    return int(any(result.status == "infrastructure" for result in results))


def _fill(path, canvas, moodle):
    """Fill the forms of learning platforms from a table of grades."""
    table, left = read_table(path), []
    if canvas:
        left += fill_canvas(*canvas, table, _form(path, "canvas"))
    if moodle:
        left += fill_moodle(moodle, table, _form(path, "moodle"))
    for student in left:
        print(f"not in the learning platform's list: {student}", file=sys.stderr)


def _form(path, platform):
    return path.with_name(f"{path.stem}-{platform}.csv")


def _forms(options):
    if not (options.canvas or options.moodle):
        raise FormError("forms: which platform's? Give --canvas or --moodle.")
    canvas = options.canvas and read_canvas(*options.canvas)
    moodle = options.moodle and read_moodle(options.moodle)
    _fill(Path(options.table), canvas, moodle)
    return 0


def _check(options):
    marks = visible_marks(options.notebook, lambda what: print(f"running {what} …", file=sys.stderr, flush=True))
    for task, mark in marks:
        print(f"{task.title}: {mark.message.replace('all tests', 'the visible tests')}")
    return int(any(mark.points == 0 for _, mark in marks))


def _verify(options):
    notebooks = options.notebooks or exercise_notebooks()
    if not notebooks:
        print("verify: there is no exercise notebook, so nothing was proved", file=sys.stderr)
        return 1
    rows = verify(notebooks)
    print(report(rows))
    return int(not all(row.ok for row in rows))


def _view(options):
    view = VIEWS[options.view](read(find(options.notebook)))
    Path(options.output).parent.mkdir(parents=True, exist_ok=True)
    Path(options.output).write_text(nbformat.writes(view) + "\n", encoding="utf-8")
    return 0


def _leaks(options):
    notebooks = exercise_notebooks()
    files, findings = scan(options.paths, notebooks)
    print(*findings, f"{files} files, {len(notebooks)} notebooks, {len(findings)} leaks", sep="\n")
    if not files or not notebooks:
        print("leaks: nothing was scanned, so nothing was proved", file=sys.stderr)
        return 1
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
