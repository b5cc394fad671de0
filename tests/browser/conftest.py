"""A real browser on the built site, served on localhost; every request elsewhere is refused and remembered."""

import os
from pathlib import Path

import pytest

from tests.browser.pyodide import HOW as NO_COPY
from tests.browser.pyodide import PIN
from tools.build import served
from tools.pdf import find_browser

SITE = Path(__file__).resolve().parents[2] / "_build" / "html"
MIME = {".mjs": "text/javascript", ".wasm": "application/wasm", ".json": "application/json"}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
HOW = "the pages were NOT tried in a browser; install one (Debian: apt-get install chromium) and run `make test` again"


def pytest_collection_modifyitems(items):
    if find_browser() is None:
        if os.environ.get("CI"):
            pytest.exit(f"no browser on this machine: {HOW}", returncode=1)
        for item in items:
            item.add_marker(pytest.mark.skip(reason=HOW))


def pytest_terminal_summary(terminalreporter):
    if find_browser() is None:
        terminalreporter.section("SKIPPED: no browser", sep="!", red=True, bold=True)
        terminalreporter.line(HOW)
    if any("live cells were NOT tried" in str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])):
        terminalreporter.section("SKIPPED: live cells", sep="!", red=True, bold=True)
        terminalreporter.line(NO_COPY)
    reports = terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
    if rows := sorted(value for report in reports for name, value in report.user_properties if name == "row"):
        terminalreporter.section("live cells")
        terminalreporter.line(f"{'page':60} s ready   s all  s edit      MB  lines equal")
        for row in rows:
            terminalreporter.line(row)


@pytest.fixture(scope="session")
def address():
    assert SITE.exists(), f"{SITE} is not there: build the book first"
    with served(SITE) as address:
        yield address


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=find_browser(), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, address):
    """open_page(path, theme, width, cdn) -> a page whose `.outside` and `.errors` lists say what went wrong.

    `cdn` holds the files that stand for Pyodide's address; `.fetched` lists the bytes of those that were asked for.
    """
    contexts = []

    def start(path, theme="light", width=1280, cdn=None):
        context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce")
        contexts.append(context)
        context.add_init_script(f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')")
        page = context.new_page()
        page.outside, page.errors, page.fetched = [], [], []

        def route(route):
            url = route.request.url
            if url.startswith((address, "data:", "blob:")):
                route.continue_()
            elif cdn and url.startswith(PIN["address"]) and (name := url.removeprefix(PIN["address"])) in cdn:
                page.fetched.append(len(cdn[name]))
                kind = MIME.get(Path(name).suffix, "application/octet-stream")
                route.fulfill(body=cdn[name], headers={"Access-Control-Allow-Origin": "*", "Content-Type": kind})
            else:
                page.outside.append(url)
                route.abort()

        context.route("**/*", route)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
        page.goto(f"{address}/{path}")
        page.evaluate("() => Promise.all([window.MathJax?.startup?.promise, document.fonts.ready])")
        return page

    yield start
    for context in contexts:
        context.close()
