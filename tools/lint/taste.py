"""Sizes that loved chapters have: reported, never a failure."""

from tools.lint.figures import figure_cells
from tools.lint.numbers import words

HIDDEN = {"hide-input", "hide-cell", "remove-cell", "remove-input"}
LONGEST_CELL = 15


def check(book):
    for page in book.chapters:
        cells = page.cells_of("code")
        visible = [(index, cell) for index, cell in cells if not HIDDEN & set(cell.metadata.get("tags", []))]
        lengths = {index: sum(1 for line in cell.source.splitlines() if line.strip()) for index, cell in visible}
        for index, length in lengths.items():
            if length > LONGEST_CELL:
                yield page.finding(index, f"{length} lines of code: {LONGEST_CELL} read well", taste=True)
        count = words(page)
        sizes = [
            ("words", count, 2500, 4500),
            ("words a line of visible code", round(count / max(1, sum(lengths.values()))), 8, 25),
            ("visible cells", len(visible), 10, 18),
            ("figures", len(figure_cells(page)), 4, 8),
        ]
        for what, size, low, high in sizes:
            if not low <= size <= high:
                yield page.finding(None, f"{size} {what}: {low} to {high} read well", taste=True)
