"""The command line: `python -m course release | verify | view | leaks`."""

import argparse
import sys
from pathlib import Path

import nbformat

from course import exercise_notebooks
from course.leaks import scan
from course.markup import MarkupError
from course.release import release
from course.verify import report, verify
from course.views import VIEWS


def main(arguments=None):
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m course", description="The book's exercises as a course.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("release", help="write the notebooks that students get, and a zip of them")
    command.add_argument("chapters", nargs="+", metavar="CHAPTER", help="a chapter's name, such as determinants")
    command.add_argument("-o", "--output", required=True, metavar="DIR")
    command.set_defaults(run=_release)
    command = commands.add_parser("verify", help="prove that the tests accept the solutions and nothing else")
    command.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="default: all of the book")
    command.set_defaults(run=_verify)
    command = commands.add_parser("view", help="write one view of an exercise notebook")
    command.add_argument("view", choices=VIEWS)
    command.add_argument("notebook")
    command.add_argument("-o", "--output", required=True)
    command.set_defaults(run=_view)
    command = commands.add_parser("leaks", help="search published files for what the exercises withhold")
    command.add_argument("paths", nargs="+", metavar="PATH", help="a folder or a file, archives are opened")
    command.set_defaults(run=_leaks)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except (MarkupError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _release(options):
    print(*release(options.chapters, options.output), sep="\n")
    return 0


def _verify(options):
    notebooks = options.notebooks or exercise_notebooks()
    if not notebooks:
        print("verify: there is no exercise notebook, so nothing was proved", file=sys.stderr)
        return 1
    rows = verify(notebooks)
    print(report(rows))
    return int(not all(row.ok for row in rows))


def _view(options):
    view = VIEWS[options.view](nbformat.read(options.notebook, as_version=4))
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
