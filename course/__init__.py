"""The book as a course: views of the exercise notebooks, and the proof that their tests grade rightly.

The sources are `book/<part>/exercises/<chapter>.ipynb` in nbgrader's mark-up. This package reads them, it is not
part of minigen, and nbgrader need not be installed.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"


def exercise_notebooks():
    """Paths of all exercise notebooks of the book, in order."""
    return sorted(BOOK.glob("*/exercises/*.ipynb"))


def find(chapter):
    """Return the path of a chapter's exercises, given its name or a path."""
    if Path(chapter).suffix == ".ipynb":
        return Path(chapter)
    paths = {path.stem: path for path in exercise_notebooks()}
    if chapter not in paths:
        known = ", ".join(sorted(paths))
        raise FileNotFoundError(f"there are no exercises for {chapter!r}; there are some for: {known}")
    return paths[chapter]
