"""Makes the whole book one PDF, tagged for screen readers and with an outline: `python -m tools.pdf`.

The book is built as one page, which Chromium prints: it sets formulas and figures exactly as on the site.
"""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from tools.build import ROOT, Handler, toc_files
from tools.normalise import QUIET

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TARGET = ROOT / "_build" / "generative-models-from-scratch.pdf"
# What is folded on a screen stands open on paper; figures that wait for a reader are fetched.
UNFOLD = """async () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  const figures = [...document.querySelectorAll("img")];
  for (const img of figures) img.loading = "eager";
  await Promise.all(figures.map(img => img.decode().catch(() => {})));
  await window.MathJax?.startup?.promise;
}"""


def find_browser():
    """Return the path of a Chromium, or None."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def one_page(book):
    """Build the book as one page; return its folder."""
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(book), "--builder", "singlehtml"]
    done = subprocess.run(command, cwd=book, env={**os.environ, **QUIET}, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    site = book / "_build" / "singlehtml"
    root = toc_files(book)[0]
    shutil.copy(site / f"{root}.html", site / "index.html")  # its addresses are relative to the top
    return site


def printed(site, target):
    """Print the page at `site` to `target`."""
    from playwright.sync_api import sync_playwright  # a tool of the tests, which this file serves too

    browser = find_browser()
    if browser is None:
        raise SystemExit("pdf: a Chromium is needed (Debian: apt-get install chromium)")
    handler = functools.partial(Handler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as play:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        chromium = play.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page()
        page.set_default_timeout(600_000)
        page.goto(f"http://127.0.0.1:{server.server_port}/index.html", wait_until="load")
        page.evaluate(UNFOLD)
        margin = dict.fromkeys(("top", "bottom", "left", "right"), "16mm")
        page.pdf(path=target, format="A4", tagged=True, outline=True, print_background=True, margin=margin)
        chromium.close()
        server.shutdown()


def main():
    """Build, print, and look whether tags and outline are there."""
    printed(one_page(ROOT), TARGET)
    content = TARGET.read_bytes()
    missing = [mark for mark in (b"/StructTreeRoot", b"/Outlines") if mark not in content]
    if missing:
        raise SystemExit(f"pdf: {TARGET} has no {missing}")
    pages = len(re.findall(rb"/Type /Page\b", content))
    print(f"{TARGET}: {pages} pages, {len(content) / 1e6:.1f} MB.")


if __name__ == "__main__":
    main()
