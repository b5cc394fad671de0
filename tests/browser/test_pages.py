"""Every page as a reader meets it: no error, no request to another host, formulas set, figures that move."""

import functools
import gzip
import re
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup, SoupStrainer

from tests.browser.conftest import SITE
from tools.links import site_pages

PAGES = [p.relative_to(SITE).as_posix() for p in site_pages(SITE)]
# Listings of source code differ in their text only: the longest stands for all.
LISTINGS = sorted((p for p in PAGES if p.startswith("_modules/minigen")), key=lambda p: (SITE / p).stat().st_size)
TRIED = [p for p in PAGES if p != "index.html" and p not in LISTINGS[:-1]]
FORMULAS = 3  # that axe sees of a page: MathJax makes all alike, and they are half of a chapter's elements
# The themes differ in colours only: rules but contrast are tried in two of the four looks.
LOOKS = [("light", 1280, True), ("dark", 1280, False), ("dark", 390, True), ("light", 390, False)]
# Nine tenths of axe's time go into contrast, word for word of highlighted code. But contrast depends on nothing but a
# text's style and what is painted behind it: of all texts that share both, three are tried, in the first look that
# shows them.
AXE = """async every => {
  const texts = {}, tried = window.tried ??= new Set();
  const walk = (element, behind) => {
    const style = getComputedStyle(element), { width, height } = element.getBoundingClientRect();
    const { backgroundColor, backgroundImage, opacity, filter, mixBlendMode } = style;
    const paint = [backgroundColor, backgroundImage, opacity, filter, mixBlendMode].join();
    if (paint !== "rgba(0, 0, 0, 0),none,1,none,normal") behind += `|${paint}`;
    const hasText = element.matches("input, select, textarea")
      || [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
    const key = [behind, style.color, style.fontSize, style.fontWeight, style.textShadow].join();
    if (hasText && width > 1 && height > 1 && element.checkVisibility({ visibilityProperty: true }) && !tried.has(key))
      (texts[key] ??= []).push(element);
    for (const child of element.children) walk(child, behind);
  };
  walk(document.body, "");
  Object.keys(texts).forEach(key => tried.add(key));
  const smallest = list => list.sort((a, b) => a.childElementCount - b.childElementCount).slice(0, 3);
  const include = Object.values(texts).flatMap(smallest), runs = [];
  if (include.length) runs.push([{ include }, { runOnly: ["color-contrast"] }]);
  const rules = { "color-contrast": { enabled: false } };
  if (every) runs.push([document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], rules }]);
  const found = [];
  for (const [what, options] of runs)
    found.push(...(await axe.run(what, { resultTypes: ["violations"], preload: false, ...options })).violations);
  return found.map(v => [v.id, v.help, v.nodes.slice(0, 3).map(n => n.html.slice(0, 160))]);
}"""


HEAVIEST = 1_000_000  # bytes of a page with all that it loads by itself, compressed and without figures
PICTURES = {".png", ".svg", ".jpg"}


@functools.cache
def compressed(file):
    return len(gzip.compress(file.read_bytes()))


def weight(page, path):
    """Return the compressed bytes of an open page and of what it has loaded, without figures."""
    text = re.sub(rb'src="data:[^"]*"', b"", (SITE / path).read_bytes())
    names = {unquote(urlsplit(name).path) for name in page.evaluate("performance.getEntries().map(e => e.name)")}
    files = {SITE / name.lstrip("/") for name in names if name.startswith("/") and not name.endswith(".html")}
    loaded = [file for file in files if file.is_file() and file.suffix not in PICTURES]
    assert any(file.suffix == ".css" for file in loaded)
    return len(gzip.compress(text)) + sum(map(compressed, loaded))


def faults(page):
    """Look at an open page in both themes, in a wide and in a narrow window; return what is wrong."""
    page.add_style_tag(content="*, ::before, ::after { transition: none !important }")  # no colours in between
    found = []
    for width in sorted({width for _, width, _ in LOOKS}):
        page.set_viewport_size({"width": width, "height": 900})
        spare = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if spare > 0:
            found.append((width, f"the page is {spare} px wider than the window"))
    page.evaluate(f"[...document.querySelectorAll('mjx-container')].slice({FORMULAS}).forEach(e => e.replaceWith('x'))")
    page.evaluate(Axe().axe_script)
    for theme, width, every_rule in LOOKS:
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        found += [(width, theme, *violation) for violation in page.evaluate(AXE, every_rule)]
    return found


def move_sliders(page):
    """Move every slider from end to end by keyboard: exactly one frame is shown, and all that tells of it changes."""
    for slider in page.locator("input[type=range]").all():
        shown = slider.locator("xpath=ancestor::*[.//img][1]").locator("img:visible")
        assert slider.get_attribute("aria-label")
        slider.focus()
        page.keyboard.press("Home")
        before = (slider.input_value(), shown.get_attribute("src"), slider.get_attribute("aria-valuetext"))
        page.keyboard.press("End")
        after = (slider.input_value(), shown.get_attribute("src"), slider.get_attribute("aria-valuetext"))
        assert shown.count() == 1
        assert shown.get_attribute("alt")
        assert all(b != a for b, a in zip(before, after, strict=True))


def test_there_are_pages():
    assert len([p for p in PAGES if p.startswith("book/")]) > 5


@pytest.mark.parametrize("path", TRIED)
def test_page(open_page, path):
    page = open_page(path)
    assert weight(page, path) < HEAVIEST
    formulas = page.locator(".math").count()
    assert page.locator("mjx-container").count() >= formulas
    assert page.locator("mjx-merror").count() == 0
    move_sliders(page)
    assert faults(page) == []
    assert page.errors == []
    assert page.outside == []


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("<img src='../_static/toys.png' width='50'>", [(1280, "light", "image-alt"), (390, "dark", "image-alt")]),
        (
            "<style>html[data-theme=dark] #faint { color: #454545 }</style><p id='faint'>A faint text.</p>",
            [(1280, "dark", "color-contrast")],
        ),
        (
            "<style>@media (max-width: 500px) { #wide { width: 450px } }</style><p id='wide'>A wide text.</p>",
            [(390, "the page is")],
        ),
    ],
)
def test_a_planted_fault_is_found(open_page, fault, told):
    page = open_page("book/how-to-use.html")
    page.locator("article h1").evaluate("(title, fault) => title.insertAdjacentHTML('afterend', fault)", fault)
    found = faults(page)
    assert len(found) == len(told)
    for one, (*where, begins) in zip(found, told, strict=True):
        assert one[: len(where)] == tuple(where)
        assert one[len(where)].startswith(begins)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_chosen_theme_is_kept(open_page, theme):
    page = open_page("book/how-to-use.html", theme)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert light == (theme == "light")


def test_there_is_a_scrub_figure():
    assert any('type="range"' in (SITE / p).read_text(encoding="utf8") for p in PAGES)


def test_search_finds_a_page(open_page):
    page = open_page("search.html?q=determinant")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    assert page.locator("#search-results li a").count() > 0


def test_every_image_has_an_alternative():
    for path in PAGES:
        text = (SITE / path).read_text(encoding="utf8")
        for img in BeautifulSoup(text, "html.parser", parse_only=SoupStrainer("img")).find_all("img"):
            assert img.get("alt", "").strip(), f"{path}: {str(img)[:120]}"


def test_a_chapter_reads_without_scripts(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/book/foundations/jacobians.html")
    assert "\\(" in page.locator(".math").first.inner_text()  # formulas as TeX
    assert page.locator(".cell_input pre").first.is_visible()
    assert page.locator(".cell_output img:visible").count() == page.locator(".cell_output figure").count() > 0
    assert page.get_by_role("button", name="Run this page").count() == 0  # no button that does nothing
    context.close()
