"""Figures: alt text, caption, a name of their own, and a sentence that points at them."""

import re

from tools.lint.book import alt, calls, figure, stored_text


def sliders(cell):
    """List the cell's calls of minigen's figure with a slider."""
    return [node for name, node in calls(cell) if name.split(".")[-1] == "scrub"]


def draws(cell):
    """Tell whether the cell shows a figure."""
    return bool("<Figure size" in stored_text(cell) or "plt.show" in dict(calls(cell)) or sliders(cell) or figure(cell))


def figure_cells(page):
    """List the page's cells that show a figure."""
    return [(index, cell) for index, cell in page.cells_of("code") if draws(cell)]


def check(book):
    seen = {}
    for page in book.notebooks:
        prose = "\n".join(text for _, text in page.prose())
        for index, cell in figure_cells(page):
            for call in sliders(cell):
                if "alt" not in [keyword.arg for keyword in call.keywords]:
                    yield page.finding(index, "pass `alt=` to scrub: say what is drawn")
            if not sliders(cell) and not alt(cell).strip():
                yield page.finding(index, "give the figure an alt text in the metadata: mystnb, image, alt")
            if page not in book.chapters + book.exercises:  # a picture on the cover needs no number
                continue
            if not figure(cell).get("caption", "").strip():
                yield page.finding(index, "give the figure a caption in the metadata: mystnb, figure, caption")
            name = figure(cell).get("name", "")
            if not name.startswith(f"fig-{page.name}-"):
                yield page.finding(index, f"name the figure `fig-{page.name}-…` in the metadata: mystnb, figure, name")
                continue
            if name in seen:
                yield page.finding(index, f"the name {name!r} is taken by {seen[name]}: choose another")
            if not re.search(rf"\{{numref\}}`(?:[^`]*<)?{re.escape(name)}>?`", prose):
                yield page.finding(index, f"no sentence refers to the figure: write {{numref}}`{name}` in one")
            seen[name] = page.path
