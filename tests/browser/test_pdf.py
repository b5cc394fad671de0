"""The book as one PDF, tried on a few of its pages: outline, tags, links, and what a screen reader finds."""

import re
import shutil

import pytest

from tests.browser.conftest import SITE
from tools.build import contents
from tools.pdf import printed

NAMES = ["book/index", "book/back/notation", "book/foundations/jacobians", "book/foundations/exercises/jacobians"]
NAMES += ["book/foundations/generative-models", "book/back/bibliography"]  # the others link to these
ROOT = SITE.parents[1]


def few():
    parts = [{**part, "pages": [p for p in part["pages"] if p["name"] in NAMES]} for part in contents(ROOT)]
    return [part for part in parts if part["pages"]]


@pytest.fixture(scope="module")
def objects(browser, tmp_path_factory):
    """Return number -> text of the PDF's objects; Chromium writes all but the pages' drawing plainly."""
    target = tmp_path_factory.mktemp("pdf") / "book.pdf"
    printed(browser, SITE, few(), target)
    plain = re.sub(rb"stream\r?\n.*?endstream", b"", target.read_bytes(), flags=re.S).decode("latin1")
    return {int(number): text for number, text in re.findall(r"^(\d+) 0 obj\n(.*?)\nendobj", plain, re.M | re.S)}


def test_the_outline_follows_parts_chapters_and_sections(objects):
    def level(text):
        parent = re.search(r"/Parent (\d+) 0 R", text)
        return 1 + level(objects[int(parent[1])]) if parent else 0

    lines = {}
    for text in objects.values():
        if "/SE " in text and (title := re.search(r"/Title \((.*)\)\n", text)):
            lines[title[1]] = level(text)
    assert lines["Generative Models from Scratch"] == 1
    assert lines["Part 1: Foundations"] == 2
    assert lines["2. Jacobians"] == 3
    assert lines["2.1. A bent plane, looked at closely"] == 4
    assert lines["Back matter"] == 2
    assert max(lines.values()) <= 6


def test_title_and_language_are_told(objects):
    assert any("/Title (Generative Models from Scratch)\n/Creator" in text for text in objects.values())
    catalogue = next(text for text in objects.values() if "/Type /Catalog" in text)
    assert "/Lang (en)" in catalogue
    assert "/StructTreeRoot" in catalogue


def test_every_figure_and_formula_has_its_text(objects):
    figures = [text for text in objects.values() if re.search(r"/S /Figure\b", text)]
    assert all(re.search(r"/Alt [(<][^)>]", text) for text in figures)
    pages = [(SITE / f"{name}.html").read_text(encoding="utf8") for name in NAMES]
    formulas = sum(len(re.findall(r'class="math[ "]', page)) for page in pages)
    pictures = sum(len(re.findall(r'<figure class="align-default" id="fig-', page)) for page in pages)
    assert pictures > 5
    assert len(figures) >= formulas + pictures


def test_links_stay_in_the_book_or_lead_to_public_places(objects):
    links = [text for text in objects.values() if "/Subtype /Link" in text]
    assert sum("/Dest " in text for text in links) > 50
    addresses = [address for text in links for address in re.findall(r"/URI \((.*?)\)", text)]
    assert addresses
    assert [a for a in addresses if not a.startswith("https://")] == []


def test_what_is_lost_or_would_be_cut_by_the_paper_is_told(browser, tmp_path):
    for folder in ("_static", "_images"):
        (tmp_path / folder).symlink_to(SITE / folder)
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SITE / f"{name}.html", tmp_path / f"{name}.html")
    page = tmp_path / "book" / "foundations" / "jacobians.html"
    text = page.read_text(encoding="utf8")
    for old, new in (
        ('id="fig-jacobians-zoom"', 'id="fig-elsewhere"'),
        ('src="../../_images/', 'src="../../_images/no-'),
        ("<pre><span></span>", "<pre style='width: 1000px'>wide "),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    page.write_text(text, encoding="utf8")
    with pytest.raises(SystemExit) as told:
        printed(browser, tmp_path, few(), tmp_path / "book.pdf")
    lines = str(told.value).splitlines()
    for place in ("link #book/foundations/jacobians:fig-jacobians-zoom", "picture http://.*/_images/no-"):
        assert any(re.match(f"not found: {place}", line) for line in lines)
    assert any(line.startswith("wider than the page: book/foundations/jacobians: wide ") for line in lines)
    assert not (tmp_path / "book.pdf").exists()
