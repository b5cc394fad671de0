"""Numbered equations, the cells that compute them, and what references point at."""

import re
from collections import defaultdict

from tools.lint.book import figure

CODE_FENCE = re.compile(r"^(```+|~~~+)(?!\{(?!code)).*?^\1\s*$", re.M | re.S)
DISPLAY = re.compile(r"\$\$.+?\$\$(?:[ \t]*\(([^()\s]+)\))?", re.S)
MATH_OPTION = re.compile(r"^:label:\s*(\S+)", re.M)
TARGET = re.compile(r"^\(([^()\s]+)\)=\s*$|^:name:\s*(\S+)", re.M)
ROLE = re.compile(r"\{(eq|ref|numref|cite)(?::\w+)?\}`([^`]+)`")
BIB_KEY = re.compile(r"^\s*@\w+\s*\{\s*([^,\s]+)\s*,", re.M)


def equation_labels(text):
    """List the labels of the numbered equations in a text."""
    text = CODE_FENCE.sub("", text)
    return [label for label in DISPLAY.findall(text) if label] + MATH_OPTION.findall(text)


def targets(text):
    """List the other labels that a text sets."""
    return [first or second for first, second in TARGET.findall(CODE_FENCE.sub("", text))]


def check(book):
    equations, labels, figures, claims = defaultdict(list), defaultdict(list), set(), set()
    for page in book.pages:
        for index, cell in page.cells_of("markdown"):
            for kind, found in ((equations, equation_labels(cell.source)), (labels, targets(cell.source))):
                for label in found:
                    kind[label].append((page, index))
        for _, cell in page.cells_of("code"):
            figures.add(figure(cell).get("name"))
            claims.add(f"claim-{cell.metadata.get('claim')}")  # the build sets this label above the cell
    for label, places in [*equations.items(), *labels.items()]:
        for page, index in places[1:]:
            yield page.finding(index, f"the label {label!r} is taken by {places[0][0].path}: choose another")
    yield from check_equations(book, equations)
    bibliography = book.root / "book/back/references.bib"
    known = {
        "eq": set(equations),
        "ref": set(labels) | figures | claims,
        "numref": set(labels) | figures,
        "cite": set(BIB_KEY.findall(bibliography.read_text(encoding="utf8"))) if bibliography.exists() else set(),
    }
    for page in book.pages:
        for index, text in page.prose():
            for role, content in ROLE.findall(CODE_FENCE.sub("", text)):
                explicit = re.search(r"<([^<>]+)>\s*$", content)
                names = content.split(",") if role == "cite" else [explicit[1] if explicit else content]
                for name in (name.strip() for name in names):
                    if name not in known[role]:
                        yield page.finding(index, f"{{{role}}}`{name}` points at nothing: mend it, or add the target")


def check_equations(book, equations):
    for page in book.chapters:
        computed = set()
        for index, cell in page.cells_of("code"):
            for label in cell.metadata.get("equations", []):
                computed.add(label)
                if label not in equations:
                    yield page.finding(index, f"`equations` names {label!r}, which no page numbers: mend or drop it")
        for index, cell in page.cells_of("markdown"):
            for label in equation_labels(cell.source):
                if not label.startswith(f"eq-{page.name}-"):
                    yield page.finding(index, f"name the equation {label!r} `eq-{page.name}-…`")
                if label not in computed:
                    yield page.finding(index, f"no code cell computes {label!r}: add the label to a cell's `equations`")
