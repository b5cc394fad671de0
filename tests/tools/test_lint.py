"""Every rule of the lint catches the book that breaks it, and lets the good book pass."""

import sys
from types import SimpleNamespace

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.lint.__main__ import main
from tools.lint.numbers import decimals, prose
from tools.lint.palette import contrast
from tools.normalise import clean, serialise


def rewrite(name, old, new):
    """Replace text in a cell's source."""

    def change(book):
        cell = book.cell(name)
        assert old in cell.source
        cell.source = cell.source.replace(old, new)

    return change


def metadata(name, **entries):
    return lambda book: book.cell(name).metadata.update(entries)


def drop(name, key):
    return lambda book: book.cell(name).metadata.pop(key)


def append(name, extra):
    def change(book):
        book.cell(name).source += extra

    return change


def remove(name):
    def change(book):
        for notebook in (book.chapter, book.exercises):
            notebook.cells = [cell for cell in notebook.cells if cell.id != name]

    return change


def attribute(name, value):
    return lambda book: setattr(book, name, value)


def row(**entries):
    return lambda book: book.ledger[0].update(entries)


def output(name, *outputs):
    return lambda book: book.cell(name).update(outputs=list(outputs))


def printed(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def scrub(arguments, **figure):
    """Turn the figure's cell into one with a slider."""

    def change(book):
        cell = book.cell("figure")
        cell.source = f"plot.scrub(draw, values, {arguments})"
        cell.outputs = []
        cell.metadata = {"tags": ["nbval-ignore-output"], "mystnb": {"figure": figure}}

    return change


def swap_parts(book):
    book.cell("picture").metadata["part"], book.cell("idea").metadata["part"] = "idea", "picture"


def second_figure(book):
    copy = new_code_cell(book.cell("figure").source, id="again", metadata=book.cell("figure").metadata)
    copy.execution_count = 5
    book.chapter.cells.append(copy)


def second_claim(book):
    claim = book.cell("claim")
    copy = new_code_cell(claim.source, id="again", metadata=claim.metadata, outputs=claim.outputs, execution_count=5)
    book.chapter.cells.append(copy)


def code_first(book):
    book.chapter.cells.insert(0, new_code_cell("x = 1", id="first", execution_count=1))


def no_chapters(book):
    book.chapter = book.exercises = None
    book.toc, book.map, book.ledger = {"root": "book/index"}, [], []


def page(path, content):
    return lambda book: book.files.update({path: content})


def other_order(book):
    chapter = book.toc["parts"][0]["chapters"]
    chapter.append({"file": "book/foundations/planned", "sections": [{"file": "book/foundations/exercises/planned"}]})
    book.map[0]["chapters"] = {"planned": "now", "shears": "areas"}
    book.files["book/foundations/planned.ipynb"] = book.files["book/foundations/exercises/planned.ipynb"] = EMPTY


EMPTY = '{\n "cells": [],\n "metadata": {},\n "nbformat": 4,\n "nbformat_minor": 5\n}\n'
ALT = "give the figure an alt text in the metadata: mystnb, image, alt"
NAMED = {"name": "fig-shears-square", "caption": "The area stays."}
HTML = new_output("display_data", {"text/html": "<b>", "text/plain": "x"})

WRONG = {
    # header
    "no header": (remove("header"), "begin with the lines `(ch-shears)=`"),
    "code before the header": (code_first, "cell 0 must be Markdown"),
    "label of another chapter": (rewrite("header", "(ch-shears)", "(ch-cuts)"), "begin with the lines `(ch-shears)=`"),
    "no title": (rewrite("header", "\n# Shears", ""), "begin with the lines"),
    "another reading time": (append("summary", " word" * 601), "write `reading 10 minutes`"),
    "no reading time": (rewrite("header", "reading 5 minutes · ", ""), "reading N minutes"),
    "no running time": (rewrite("header", " · runs in 5 s", ""), "runs in N s"),
    "no needs": (rewrite("header", " · needs calculus and NumPy", ""), "needs"),
    "needs without a link": (rewrite("header", "needs calculus and NumPy", "needs patience"), "after `needs` link"),
    "no box of goals": (rewrite("header", "{admonition}", "{note}"), "put the goals in"),
    "two goals": (rewrite("header", "- **find** a bug\n", ""), "exactly three goals, not 2"),
    "four goals": (rewrite("header", "- **find**", "- **see** it\n- **find**"), "exactly three goals, not 4"),
    "a goal without its verb": (rewrite("header", "**find**", "find"), "with a verb in bold"),
    # parts
    "a part is missing": (remove("summary"), "its parts are picture, trouble"),
    "parts in another order": (swap_parts, "its parts are idea, trouble"),
    "an unknown part": (metadata("further", part="coda"), "they must be picture"),
    "a part without a heading": (rewrite("summary", "## ", ""), "opens the part 'summary' must be Markdown"),
    "a part opened by code": (metadata("compute", part="idea"), "opens the part 'idea' must be Markdown"),
    "no link to the exercises": (rewrite("exercises", "exercises/shears", "shears"), "link to the exercise page"),
    # exercises
    "no exercise page": (attribute("exercises", None), "has no exercise page"),
    "exercises of no chapter": (attribute("chapter", None), "belongs to no chapter"),
    "two exercises": (remove("exercise-2"), "has 2 exercises"),
    "numbered anew": (rewrite("exercise-2", "Exercise 2", "Exercise 4"), "are numbered [1, 4, 3]"),
    "no kind": (rewrite("exercise-2", "*code · ", "*"), "below the heading write"),
    "unknown kind": (rewrite("exercise-2", "*code · ", "*play · "), "below the heading write"),
    "no minutes": (rewrite("exercise-2", "15 minutes · ", ""), "below the heading write"),
    "no difficulty": (rewrite("exercise-2", "difficulty 2 of 3 · ", ""), "below the heading write"),
    "no goal": (rewrite("exercise-2", " · goal 2", ""), "below the heading write"),
    "no deliverable": (rewrite("exercise-2", "Deliverable: ", ""), "Deliverable"),
    "a goal that none meets": (rewrite("exercise-2", "goal 2", "goal 1"), "no exercise meets the chapter's goal 2"),
    "no bug to find": (rewrite("exercise-3", ", find the bug", ""), "find the bug"),
    "a wrong total": (rewrite("exercise-2", "15 minutes", "25 minutes"), "state the total, `55 minutes`"),
    # figures
    "no alt text": (metadata("figure", mystnb={"figure": NAMED}), "alt text"),
    "no caption": (metadata("figure", mystnb={"figure": {"name": "fig-shears-square"}}), "caption"),
    "no metadata, stored figure": (drop("figure", "mystnb"), "alt text"),
    "no metadata, plt.show()": (append("compute", "\nplt.show()"), "alt text"),
    "figure of another chapter": (
        metadata("figure", mystnb={"figure": {**NAMED, "name": "fig-cuts-square"}}),
        "name the figure `fig-shears-…`",
    ),
    "one name for two figures": (second_figure, "is taken by"),
    "figure that no text names": (rewrite("picture", "{numref}`fig-shears-square` shows", "This shows"), "no sentence"),
    "scrub without alt": (scrub("'a'", **NAMED), "pass `alt=` to scrub"),
    "scrub without caption": (scrub("alt='x'", name="fig-shears-square"), "caption"),
    # equations and references
    "equation of another chapter": (rewrite("idea", "$$ (eq-shears-area)", "$$ (eq-cuts-area)"), "`eq-shears-…`"),
    "equation that no cell computes": (drop("compute", "equations"), "no code cell computes 'eq-shears-area'"),
    "equations names nothing": (
        metadata("compute", equations=["eq-shears-area", "eq-x"]),
        "names 'eq-x', which no page",
    ),
    "equation numbered twice": (append("summary", "\n\n$$x$$ (eq-shears-area)"), "'eq-shears-area' is taken"),
    "label set twice": (append("summary", "\n\n(ch-shears)=\n"), "'ch-shears' is taken"),
    "label set on two pages": (page("book/index.md", "(ch-shears)=\n# A book\n"), "'ch-shears' is taken"),
    "eq to nowhere": (append("summary", " {eq}`eq-no`"), "{eq}`eq-no` points at nothing"),
    "eq to a section": (append("summary", " {eq}`ch-shears`"), "{eq}`ch-shears` points at nothing"),
    "ref to nowhere": (append("summary", " {ref}`the part <ch-no>`"), "{ref}`ch-no` points at nothing"),
    "numref to nowhere": (append("summary", " {numref}`Figure %s <fig-no>`"), "{numref}`fig-no` points at nothing"),
    "cite to nowhere": (append("summary", " {cite:t}`dinh2014, no2020`"), "{cite}`no2020` points at nothing"),
    "reference in a caption": (
        metadata("figure", mystnb={"figure": {**NAMED, "caption": "See {eq}`eq-no`."}, "image": {"alt": "x"}}),
        "{eq}`eq-no` points at nothing",
    ),
    "reference in the exercises": (append("exercise-2", " {eq}`eq-no`"), "{eq}`eq-no` points at nothing"),
    # numbers
    "number that is not stored": (append("experiment", " It was 0.76."), "no stored output has 0.76"),
    "part of a stored number": (append("experiment", " It was 0.7."), "no stored output has 0.7"),
    "number in inline code": (append("experiment", " It was `1.5`."), "no stored output has 1.5"),
    "number in math": (append("experiment", " It was $x^{-1.5}$."), "no stored output has 1.5"),
    "number in a caption": (
        metadata("figure", mystnb={"figure": {**NAMED, "caption": "It is 2.5 wide."}, "image": {"alt": "x"}}),
        "no stored output has 2.5",
    ),
    "number in an alt text": (
        metadata("figure", mystnb={"figure": NAMED, "image": {"alt": "A square of 2.5."}}),
        "no stored output has 2.5",
    ),
    "exact in another cell": (append("summary", " It is 0.5."), "no stored output has 0.5"),
    "exact for nothing": (metadata("breaks", exact=["0.5", "0.6"]), "`exact` lists 0.6"),
    # ledger
    "no ledger": (attribute("ledger", None), "ledger.yml: is missing"),
    "ledger is no list": (attribute("ledger", {"id": "area-kept"}), "must be a list"),
    "row without its source": (row(source=""), "lacks source"),
    "verdict in other words": (row(verdict="true"), "must begin with holds"),
    "row of an unknown chapter": (row(chapter="shears"), "write book/<part>/<chapter>"),
    "row without a cell": (drop("claim", "claim"), "must have exactly one cell with the claim 'area-kept'"),
    "row with two cells": (second_claim, "must have exactly one cell with the claim 'area-kept'"),
    "cell without a row": (attribute("ledger", []), "the claim 'area-kept' has no row"),
    "one id twice": (lambda book: book.ledger.append(dict(book.ledger[0])), "'area-kept' is used twice"),
    "claim without assert": (rewrite("claim", "assert 1 <= 2\n", ""), "asserts nothing"),
    "claim with another verdict": (row(verdict="holds when n is small"), "must be `verdict: holds when n is small`"),
    "claim without output": (output("claim"), "must be `verdict: holds`"),
    "verdict not last": (output("claim", printed("verdict: holds\nmore\n")), "must be `verdict: holds`"),
    "claim that did not run": (
        lambda book: book.cell("claim").update(execution_count=None),
        "must be `verdict: holds`",
    ),
    # notebooks, contents, map
    "not JSON": (page("book/foundations/cuts.ipynb", "<<<<<<< HEAD"), "not a notebook"),
    "not in normal form": (page("book/cover.ipynb", EMPTY), "not in normal form"),
    "stderr": (output("compute", printed("Warning: x\n", "stderr")), "writes to stderr ('Warning: x')"),
    "html": (output("compute", HTML), "text/html, which is not stored"),
    "svg": (output("compute", new_output("display_data", {"image/svg+xml": "<svg/>"})), "image/svg+xml"),
    "trailing semicolon": (append("compute", ";"), "ends with `;`"),
    "counts out of order": (
        lambda book: book.cell("compute").update(execution_count=7),
        "execution count 7 should be 3",
    ),
    "magic": (append("imports", "\n%matplotlib inline"), "not plain Python"),
    "other kernel": (lambda book: book.chapter.metadata.kernelspec.update(name="ir"), "not in normal form"),
    "unknown metadata": (metadata("compute", equation=["x"]), "metadata key 'equation' is unknown"),
    "page not in the contents": (page("book/back/errata.md", "# Errata\n"), "errata.md: is not in _toc.yml"),
    "contents without a page": (lambda book: book.toc.update(root="book/start"), "lists book/start, which is no page"),
    "listed twice": (lambda book: book.toc["parts"].append({"file": "book/index"}), "book/index more than once"),
    "chapter not on the map": (attribute("map", []), "does not show book/foundations/shears"),
    "map in another order": (other_order, "another order"),
    "no chapters": (no_chapters, "has no chapter"),
}


def wrong(book):
    return [str(finding) for finding in book.findings() if not finding.taste]


def test_the_good_book_passes(book, capsys):
    assert wrong(book) == []
    assert main([str(book.root)]) == 0
    assert "0 wrong" in capsys.readouterr().out


@pytest.mark.parametrize("case", WRONG)
def test_each_rule_catches_its_breach(book, case):
    change, sentence = WRONG[case]
    change(book)
    found = wrong(book)
    assert any(sentence in finding for finding in found), found


def test_claims_can_be_referred_to(book):
    book.cell("summary").source += " {ref}`the cell <claim-area-kept>`"
    assert wrong(book) == []


def test_a_breach_fails_and_says_where(book, capsys):
    book.cell("summary").source += " It is 9.25."
    book.write()
    assert main([str(book.root)]) == 1
    assert "WRONG  book/foundations/shears.ipynb, cell 12: no stored output has 9.25" in capsys.readouterr().out


def test_exercise_page_begins_with_its_label_and_title(book):
    book.exercises.cells[0].source = "# Shears\n\n45 minutes"
    assert any("(ex-shears)=" in finding for finding in wrong(book))


def test_seven_exercises_are_too_many(book):
    for number in range(4, 8):
        source = book.cell("exercise-2").source.replace("Exercise 2", f"Exercise {number}")
        book.exercises.cells.append(new_markdown_cell(source, id=f"exercise-{number}"))
    assert any("has 7 exercises" in finding for finding in wrong(book))


def test_scrub_with_alt_and_caption_passes(book):
    scrub("alt='A square.'", **NAMED)(book)
    assert wrong(book) == []


def test_a_cover_picture_needs_an_alt_text_only(book):
    cover = new_code_cell("plt.show()", id="cover", execution_count=1)
    book.toc["root"] = "book/cover"
    book.files.pop("book/index.md")
    for image, found in (({"image": {"alt": "Two moons."}}, []), ({}, ["book/cover.ipynb, cell 0: " + ALT])):
        cover.metadata = {"mystnb": image}
        book.files["book/cover.ipynb"] = serialise(clean(new_notebook(cells=[cover])))
        assert wrong(book) == found


def test_builds_and_assets_are_no_pages(book):
    for folder in ("_build", "assets/mathjax", ".ipynb_checkpoints"):
        book.files[f"book/{folder}/page.md"] = "{eq}`eq-no`\n"
    assert wrong(book) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.5 and -1.25, then 3.", ["0.5", "1.25"]),
        ("It ends with 0.5.", ["0.5"]),
        ("$x=.5$ or (1,0.25)", [".5", "0.25"]),
        ("1,234.5 and 1.5e-3", ["1,234.5", "1.5e-3"]),
        (r"$\approx0.5$", ["0.5"]),
        (":::{note}\n0.5\n:::", ["0.5"]),
        ("```{math}\n0.5\n```", ["0.5"]),
        ("[half, 0.5](other.ipynb)", ["0.5"]),
        ("Python 3.11.7, v1.2, §5.4, 1...10, x.5", []),
        ("arXiv:1410.8516v2, doi:10.1000/1.5, 10.1145/3.14 https://a.org/1.5", []),
        ("[NumPy 2.4](https://numpy.org/2.4) [page](v/1.5.html) {ref}`a-1.5`", []),
        ("```python\nx = 0.5\n```\n<!-- 0.5 -->", []),
    ],
)
def test_which_numerals_count(text, found):
    assert decimals(prose(text)) == found


def test_colours_that_fade_into_the_card(book, monkeypatch):
    palette = SimpleNamespace(COLOURS={"model": "#000000", "faint": "#dddddd"}, CARD="#ffffff")
    monkeypatch.setitem(sys.modules, "minigen.plot", palette)
    assert [finding for finding in wrong(book) if "colour" in finding] == [
        "minigen/plot.py: the colour 'faint' has a contrast of 1.36 to the card: make it 3 or more"
    ]
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def sized(book):
    """Give the chapter the sizes that read well: some 3,000 words, 200 lines in 14 cells, 4 figures."""
    filler = "\n".join(f"x{i} = {i}" for i in range(14))
    for number in range(9):
        book.chapter.cells.append(new_code_cell(filler, id=f"filler-{number}"))
    for number in range(3):
        book.chapter.cells.append(new_code_cell("plt.show()", id=f"figure-{number}"))
    book.cell("summary").source += " word" * 3000


def tastes(book):
    return [str(finding).split(": ", 1)[1] for finding in book.findings() if finding.taste]


def test_sizes_that_read_well_are_not_reported(book):
    sized(book)
    assert tastes(book) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (append("summary", " word" * 2000), "words: 2500 to 4500"),
        (append("compute", "\nx = 1" * 16), "lines of code: 15 read well"),
        (lambda book: [cell.metadata.update(tags=["hide-input"]) for cell in book.chapter.cells], "visible cells"),
        (lambda book: book.chapter.cells.extend(new_code_cell("plt.show()") for _ in range(5)), "figures: 4 to 8"),
        (append("compute", "\nx = 1" * 400), "words a line of visible code: 8 to 25"),
    ],
)
def test_matters_of_taste_are_reported_and_do_not_fail(book, change, sentence):
    sized(book)
    change(book)
    assert any(sentence in taste for taste in tastes(book))


def test_taste_does_not_fail(book, capsys):
    book.cell("compute").source += "\nx = 1" * 16
    book.write()
    assert main([str(book.root)]) == 0
    assert "taste  book/foundations/shears.ipynb, cell 6" in capsys.readouterr().out
