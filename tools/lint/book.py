"""The book as the lint reads it: pages, their cells, and what a finding is."""

import ast
from dataclasses import dataclass

import nbformat
import yaml

NOT_PAGES = ("assets", "results")


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, and what to do; a matter of taste is reported but does not fail."""

    path: str
    cell: int | None
    sentence: str
    taste: bool = False

    def __str__(self):
        return f"{self.path}{'' if self.cell is None else f', cell {self.cell}'}: {self.sentence}"


class Page:
    """A notebook, or a Markdown page, which counts as one Markdown cell."""

    def __init__(self, root, file):
        self.path = file.relative_to(root).as_posix()
        self.document = self.path.removesuffix(file.suffix)
        self.name = file.stem
        self.text = file.read_text(encoding="utf8")
        self.is_notebook = file.suffix == ".ipynb"
        markdown = nbformat.v4.new_markdown_cell
        self.cells = nbformat.v4.reads(self.text).cells if self.is_notebook else [markdown(self.text)]

    def finding(self, cell, sentence, **kind):
        """Return a finding in this page."""
        return Finding(self.path, cell if self.is_notebook else None, sentence, **kind)

    def cells_of(self, kind):
        """List the cells of one type, with their indices."""
        return [(index, cell) for index, cell in enumerate(self.cells) if cell.cell_type == kind]

    def prose(self):
        """Yield all that a reader reads as text, by cell: Markdown, captions and alt texts."""
        for index, cell in enumerate(self.cells):
            if cell.cell_type == "markdown":
                yield index, cell.source
            elif cell.cell_type == "code":
                yield index, "\n\n".join([figure(cell).get("caption", ""), alt(cell)])


class Book:
    """Everything under `root`/book, with the data files beside it."""

    def __init__(self, root):
        self.root = root
        self.pages, self.unreadable = [], []
        for file in sorted([*root.glob("book/**/*.ipynb"), *root.glob("book/**/*.md")]):
            folders = file.relative_to(root).parts[1:-1]
            if any(name.startswith(("_", ".")) or name in NOT_PAGES for name in folders):
                continue
            try:
                self.pages.append(Page(root, file))
            except (ValueError, AttributeError, KeyError) as error:
                path = file.relative_to(root).as_posix()
                self.unreadable.append(Finding(path, None, f"not a notebook of format 4 ({error}): mend its JSON"))
        self.notebooks = [page for page in self.pages if page.is_notebook]
        in_parts = [page for page in self.notebooks if page.path.count("/") >= 2 and page.path.split("/")[1] != "back"]
        self.chapters = [page for page in in_parts if page.path.count("/") == 2]
        self.exercises = [page for page in in_parts if page.path.split("/")[2:-1] == ["exercises"]]

    def data(self, path):
        """Read a YAML file; None where there is no such file."""
        file = self.root / path
        return yaml.safe_load(file.read_text(encoding="utf8")) if file.exists() else None


def figure(cell):
    """Return the cell's figure options: name and caption."""
    return cell.metadata.get("mystnb", {}).get("figure", {})


def alt(cell):
    """Return the alt text of the cell's picture."""
    return cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")


def stored_text(cell):
    """Join all text that the cell has stored as output."""
    parts = []
    for output in cell.outputs:
        parts.append(output.get("text", ""))
        parts += [str(data) for data in output.get("data", {}).values()]
    return "\n".join(parts)


def syntax(cell):
    """List the nodes of the cell's syntax tree; none where it is not plain Python, which `contents` reports."""
    try:
        return list(ast.walk(ast.parse(cell.source)))
    except SyntaxError:
        return []


def calls(cell):
    """List the calls in the cell as pairs (dotted name of the function, node)."""
    return [(ast.unparse(node.func), node) for node in syntax(cell) if isinstance(node, ast.Call)]
