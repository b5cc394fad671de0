"""`python -m tools.lint [ROOT]`: check the structure of the book under ROOT (default: this repository)."""

import argparse
import sys
from pathlib import Path

from tools.lint import anatomy, contents, figures, ledger, numbers, palette, references, taste
from tools.lint.book import Book
from tools.normalise import ROOT

SUBJECTS = (contents, anatomy, figures, references, numbers, ledger, palette, taste)


def lint(root):
    """Every finding in the book under `root`."""
    book = Book(root)
    return [finding for subject in SUBJECTS for finding in subject.check(book)]


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tools.lint", description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=ROOT, help="the folder that holds book/ and _toc.yml")
    found = lint(parser.parse_args(arguments).root)
    wrong = [finding for finding in found if not finding.taste]
    for finding in found:
        print(f"{'taste  ' if finding.taste else 'WRONG  '}{finding}")
    print(f"{len(wrong)} wrong, {len(found) - len(wrong)} matters of taste")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
