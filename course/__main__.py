"""The command line: `python -m course release | grade | forms | check | verify | view | leaks`."""

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

import nbformat

from course import exercise_notebooks, find
from course.gradebook import (
    FormError,
    best,
    by_hand,
    canvas,
    fill,
    grades,
    moodle,
    number,
    read_table,
    strangers,
    who,
    writable,
    write,
    write_gradescope,
    write_pages,
)
from course.grading import GradingError, grade, visible_marks
from course.leaks import scan
from course.markup import MarkupError, chapter_of, read, title
from course.release import release
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
    command = commands.add_parser("forms", help="add up a table to which you added points, and fill forms from it")
    command.add_argument("chapter", metavar="CHAPTER")
    command.add_argument("table", metavar="CSV", help="what `grade` wrote, with points in the blank columns")
    _platforms(command)
    command.set_defaults(run=_forms)
    command = commands.add_parser("check", help="run the visible tests on your own notebook")
    command.add_argument("notebook", metavar="NOTEBOOK")
    command.set_defaults(run=_check)
    command = commands.add_parser("verify", help="prove that the tests accept the solutions and nothing else")
    command.add_argument("notebooks", nargs="*", metavar="CHAPTER", help="or a notebook; default: all")
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
    except (*ERRORS, KeyboardInterrupt) as error:
        code = {SandboxError: 2, KeyboardInterrupt: 130}.get(type(error), 1)
        told = {2: CURE.format(reason=error), 130: "stopped"}.get(code, error)
        print(told, *getattr(error, "__notes__", []), sep="\n", file=sys.stderr)
        return code


def _platforms(command):
    command.add_argument("--canvas", nargs=2, metavar=("EXPORT", "COLUMN"), help="fill an exported gradebook")
    command.add_argument("--moodle", metavar="WORKSHEET", help="fill an exported grading worksheet")


def _release(options):
    *notebooks, archive = release(options.chapters, options.output)
    for chapter, path in zip(options.chapters, notebooks, strict=True):
        tasks = load(find(chapter))[0]
        hand = sum(task.points for task in tasks) - best(tasks)
        print(f"{path}: {number(best(tasks))} points by tests, {number(hand)} by hand")
    print(archive)
    return 0


def _grade(options):
    output = Path(options.output)
    if output.is_dir():
        raise GradingError(f"{output} is a folder: -o takes the name of a table, such as {output / 'grades.csv'}")
    pages = output.with_name(f"{output.stem}-feedback")
    places = [output, pages, *(_beside(output, platform) for platform in ("canvas", "moodle"))]
    standing = [str(path) for path in places if path.exists()]
    try:
        if options.jobs is not None and options.jobs < 1:
            raise GradingError(f"--jobs: expected 1 or more, got {options.jobs}")
        if options.overlay and not Path(options.overlay).is_dir():
            raise GradingError(f"--overlay: expected a folder, got {options.overlay}")
        seed = os.environ.get("COURSE_SEED")
        if seed is not None and not seed.isdecimal():
            raise GradingError(f"COURSE_SEED: expected a whole number, got {seed!r}")
        source = find(options.chapter)
        tasks, solution = load(source, options.overlay, seed and int(seed))
        submissions = collect(options.submissions, chapter_of(source))
        # all that can be refused is refused now, and not when the work is done
        forms = _forms_of(options)
        for form in forms.values():
            strangers(form, [one.lms_id or one.student for one in submissions])
        older, here = read_table(output, tasks) if output.exists() else [], set(map(who, submissions))
        gone = [row["student"] for row in older if by_hand(row, tasks) and (row["student"], row["id"]) not in here]
        if gone:
            told = "not handed in here, and what you wrote in their rows would be lost: name another table"
            raise FormError(f"{output}: {', '.join(gone)}: {told}")
        if options.gradescope and len(submissions) != 1:
            raise FormError(f"--gradescope takes one submission, got {len(submissions)}")
        wanted = [output, *(_beside(output, platform) for platform in forms)]
        wanted += [options.gradescope and Path(options.gradescope), pages.exists() and pages / "page.html"]
        for path in filter(None, wanted):
            writable(path)
        if options.unsafe:
            warning = "--unsafe: answers can read your files and the tests, use the network, and forge grades"
            print(warning, file=sys.stderr)
        results = grade(tasks, solution, submissions, not options.unsafe, options.jobs)
    except (*ERRORS, KeyboardInterrupt) as error:
        if standing:
            error.add_note(f"{', '.join(standing)}: of an earlier run, and left as they were.")
        raise
    private = sorted({task.private for task in tasks if task.private})
    tests = ", ".join(["the book's", *([f"COURSE_SEED={seed}"] if seed else []), *private])
    table = grades(tasks, results, tests, older)
    write(output, table)
    write_pages(pages, title(read(source)), tasks, results, table)
    _fill(forms, table, output)
    if options.gradescope:
        write_gradescope(options.gradescope, tasks, results[0])
    for status in sorted({result.status for result in results}):
        print(f"{status}: {sum(result.status == status for result in results)}")
    loose = sum(one.loose for one in submissions)
    if loose > 1:
        print(f"loose notebooks, each taken for a student's and its name for the student's: {loose}")
    if kept := Counter(column for row in table for column in by_hand(row, tasks)):
        print(f"kept of what you wrote: {', '.join(f'{column} ({n})' for column, n in kept.items())}")
    print(f"tests: {tests}")
    print(output)
    return int(any(result.status == "infrastructure" for result in results))


def _forms_of(options):
    """Read the forms of learning platforms."""
    forms = {"canvas": options.canvas and canvas(*options.canvas), "moodle": options.moodle and moodle(options.moodle)}
    return {platform: form for platform, form in forms.items() if form}


def _fill(forms, table, path):
    """Fill the forms from a table of grades."""
    for platform, form in forms.items():
        for student in fill(form, table, _beside(path, platform)):
            print(f"not in {form.path}: {student}", file=sys.stderr)


def _beside(path, platform):
    return path.with_name(f"{path.stem}-{platform}.csv")


def _forms(options):
    tasks, path = load(find(options.chapter))[0], Path(options.table)
    forms, table = _forms_of(options), read_table(path, tasks)
    for task in tasks:
        if blank := [row["student"] for row in table if row["total"] and not row[task.key].strip()]:
            print(f"no points for {task.key}: {', '.join(blank)}", file=sys.stderr)
    _fill(forms, table, path)
    write(path, table)
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
