"""A small book that obeys every rule, for tests that break one rule at a time."""

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import normalise
from tools.lint.__main__ import lint

CHAPTER, EXERCISES = "book/foundations/shears.ipynb", "book/foundations/exercises/shears.ipynb"
FIGURE = {"figure": {"name": "fig-shears-square", "caption": "The area stays."}, "image": {"alt": "A square."}}
NBGRADER = {"grade": True, "solution": True, "locked": False, "points": 1, "schema_version": 3, "task": False}


def text(name, source, **metadata):
    return new_markdown_cell(source, id=name, metadata=metadata)


def code(name, source, *outputs, **metadata):
    return new_code_cell(source, id=name, metadata=metadata, outputs=list(outputs))


def printed(content):
    return new_output("stream", name="stdout", text=content)


def drawn():
    return new_output("display_data", {"text/plain": "<Figure size 640x480 with 1 Axes>"})


def notebook(*cells):
    """A notebook in normal form, as if its cells had just run."""
    for count, cell in enumerate((cell for cell in cells if cell.cell_type == "code"), start=1):
        cell.execution_count = count
    return normalise.clean(new_notebook(cells=list(cells)))


def good_chapter():
    return notebook(
        text(
            "header",
            "(ch-shears)=\n# Shears\n\n"
            "*Mirrors A §preliminaries · reading 5 minutes · runs in 5 s · needs calculus and NumPy*\n\n"
            ":::{admonition} After this chapter you can\n:class: tip\n"
            "- **compute** an area\n- **derive** a formula\n- **find** a bug\n:::",
        ),
        text("picture", "## A square, pushed\n\n{numref}`fig-shears-square` shows it.", part="picture"),
        code("imports", "import matplotlib.pyplot as plt\nimport numpy as np"),
        code("figure", "plt.plot([0, 1])\nplt.show()", drawn(), mystnb=FIGURE),
        text("trouble", "## Why an area is not enough\n\nSee {cite:p}`dinh2014,dinh2017`.", part="trouble"),
        text("idea", "## The idea\n\n$$\n|\\det A| = 1\n$$ (eq-shears-area)\n\nBy {eq}`eq-shears-area`.", part="idea"),
        code("compute", "print(0.25 * 3)", printed("0.75\n"), equations=["eq-shears-area"]),
        text("experiment", "## How much\n\nThe area is 0.75, from {ref}`ch-shears`.", part="experiment"),
        text("breaks", "## A shear too far\n\nThe scale is `0.5`.", part="breaks", exact=["0.5"]),
        text("claims", "## What was claimed", part="claims"),
        code(
            "claim",
            "assert 1 <= 2\nprint('area ≤ 2: True')\nprint('verdict: holds')",
            printed("area ≤ 2: True\nverdict: holds\n"),
            claim="area-kept",
        ),
        text("exercises", "## Exercises\n\n[Three exercises](exercises/shears.ipynb).", part="exercises"),
        text("summary", "## Summary", part="summary"),
        text("further", "## Going further", part="further"),
    )


def exercise(number, tags):
    return text(f"exercise-{number}", f"## Exercise {number}: A shear\n\n*{tags}*\n\nDo it. Deliverable: a number.")


def good_exercises():
    return notebook(
        text("header", "(ex-shears)=\n# Exercises: Shears\n\nThree exercises, 45 minutes in all."),
        code("imports", "import numpy as np"),
        exercise(1, "derive · 10 minutes · difficulty 1 of 3 · goal 1"),
        text("one", "The area is kept.", nbgrader={**NBGRADER, "grade_id": "one"}),
        exercise(2, "code · 15 minutes · difficulty 2 of 3 · goal 2"),
        exercise(3, "code, find the bug · 20 minutes · difficulty 3 of 3 · goals 1 and 3"),
    )


class GoodBook:
    """The book in memory; `lint` writes it under `root` and returns what is wrong."""

    def __init__(self, root):
        self.root = root
        self.chapter, self.exercises = good_chapter(), good_exercises()
        self.files = {
            "book/index.md": "# A book\n",
            "book/back/references.bib": "@article{dinh2014,\n}\n@article{dinh2017,\n}\n",
        }
        sections = [{"file": "book/foundations/exercises/shears"}]
        self.toc = {
            "root": "book/index",
            "parts": [{"caption": "P", "chapters": [{"file": "book/foundations/shears", "sections": sections}]}],
        }
        self.map = [{"part": "P", "folder": "foundations", "chapters": {"planned": "soon", "shears": "areas"}}]
        self.ledger = [
            {
                "id": "area-kept",
                "source": "A",
                "claim": "A shear keeps areas.",
                "chapter": "book/foundations/shears",
                "verdict": "holds",
            }
        ]

    def cell(self, name):
        return next(cell for cell in [*self.chapter.cells, *self.exercises.cells] if cell.id == name)

    def put(self, path, content):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(content, encoding="utf8")

    def write(self):
        data = {"_toc.yml": self.toc, "book/map.yml": self.map, "book/back/ledger.yml": self.ledger}
        notebooks = {CHAPTER: self.chapter, EXERCISES: self.exercises}
        for path, content in [
            *((path, yaml.safe_dump(content)) for path, content in data.items() if content is not None),
            *((path, normalise.serialise(content)) for path, content in notebooks.items() if content is not None),
            *self.files.items(),
        ]:
            self.put(path, content)

    def findings(self):
        self.write()
        return lint(self.root)


@pytest.fixture
def book(tmp_path):
    return GoodBook(tmp_path)


@pytest.fixture
def make(tmp_path):
    """Write a notebook of code cells (sources, or pairs of source and tags) and return its path."""

    def write(*sources, header=None, name="some.ipynb", **metadata):
        pairs = [(source, []) if isinstance(source, str) else source for source in sources]
        cells = [code(f"c{index}", source, tags=tags) for index, (source, tags) in enumerate(pairs)]
        head = [text("head", header)] if header else []
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new_notebook(cells=head + cells, metadata=metadata), path)
        return path

    return write
