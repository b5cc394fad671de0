"""Every page as a reader meets it: no error, no request to another host, formulas set, figures that move."""

import functools
import gzip
import re
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import SITE
from tools.links import site_pages

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "resultTypes": ["violations"]}
PAGES = [p.relative_to(SITE).as_posix() for p in site_pages(SITE)]
LOOKS = [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]


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


def test_there_are_pages():
    assert len([p for p in PAGES if p.startswith("book/")]) > 5


@pytest.mark.parametrize("path", [p for p in PAGES if p != "index.html"])
def test_page(open_page, path):
    page = open_page(path)
    assert page.errors == []
    assert page.outside == []
    assert weight(page, path) < HEAVIEST
    formulas = page.locator(".math").count()
    assert page.locator("mjx-container").count() >= formulas
    assert page.locator("mjx-merror").count() == 0
    for theme, width in LOOKS[::3] if path.startswith("_modules") else LOOKS:  # listings differ only in their text
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        page.wait_for_timeout(200)  # for colours that fade from one theme to the other
        spare = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert spare <= 0, f"{path} is {spare} px wider than a window of {width} px"
        found = Axe().run(page, options=RULES).response["violations"]
        told = [(v["id"], v["help"], [n["html"][:160] for n in v["nodes"][:3]]) for v in found]
        assert told == [], f"{theme}, {width} px"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_chosen_theme_is_kept(open_page, theme):
    page = open_page("book/how-to-use.html", theme)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert light == (theme == "light")


@pytest.mark.parametrize("path", [p for p in PAGES if 'type="range"' in (SITE / p).read_text(encoding="utf8")])
def test_scrub_figures_move_by_keyboard(open_page, path):
    page = open_page(path)
    sliders = page.locator("input[type=range]")
    for k in range(sliders.count()):
        slider = sliders.nth(k)
        figure = slider.locator("xpath=ancestor::*[.//img][1]")
        shown = figure.locator("img:visible")
        assert slider.get_attribute("aria-label")
        slider.focus()
        page.keyboard.press("Home")
        before = (slider.input_value(), shown.get_attribute("src"), slider.get_attribute("aria-valuetext"))
        page.keyboard.press("End")
        after = (slider.input_value(), shown.get_attribute("src"), slider.get_attribute("aria-valuetext"))
        assert shown.count() == 1
        assert shown.get_attribute("alt")
        assert all(b != a for b, a in zip(before, after, strict=True)), path


def test_there_is_a_scrub_figure():
    assert any('type="range"' in (SITE / p).read_text(encoding="utf8") for p in PAGES)


def test_search_finds_a_page(open_page):
    page = open_page("search.html?q=determinant")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    assert page.locator("#search-results li a").count() > 0


def test_every_image_has_an_alternative(open_page):
    from bs4 import BeautifulSoup

    for path in PAGES:
        for img in BeautifulSoup((SITE / path).read_text(encoding="utf8"), "html.parser").find_all("img"):
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
