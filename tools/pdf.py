"""Makes the whole book one PDF, tagged for screen readers and with an outline: `python -m tools.pdf`.

The pages of the built site are put into one, which Chromium prints, so that numbers and figures are those of the site.
"""

import re
import shutil
from pathlib import Path

from tools.build import ROOT, build, check_pages, contents, served

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TARGET = ROOT / "_build" / "generative-models-from-scratch.pdf"
ONE_PAGE = Path(__file__).with_suffix(".js").read_text(encoding="utf8")
# How one page prints stands in book/assets/book.css; this is what only a book has.
STYLE = """
.bd-main .bd-content .bd-article h1:first-of-type { display: block; }
.bd-main .bd-content { margin: 0; }
.chapter, .contents-of-book { break-before: page; }
.part { font-size: 2.6em; }
/* A formula's letters belong to no element: something unseen that its element draws is what the tag holds on to. */
mjx-container { background: rgb(255 255 255 / .01); }
/* A name in code has the colour of its box, and needs no tag of its own. */
.highlight pre { color: inherit; }
.contents-of-book p { margin: 1em 0 0; font-weight: 600; }
.contents-of-book ul { margin: 0; }
"""
SCALE, MARGIN = 0.8, 16  # of the site's sizes; millimetres
WIDTH = int((210 - 2 * MARGIN) / 25.4 * 96 / SCALE)  # of an A4 sheet between its margins, in the site's pixels
FOOT = '<div style="width: 100%; text-align: center; font: 8px sans-serif"><span class="pageNumber"></span></div>'


def find_browser():
    """Return the path of a Chromium, or None."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def printed(chromium, site, book, target):
    """Print the pages of `book`, as `contents` lists them, from the built `site` to the file `target`."""
    with (
        served(site) as address,
        chromium.new_page(color_scheme="light", viewport={"width": WIDTH, "height": 1000}) as page,
    ):
        page.emulate_media(media="print")
        page.set_default_timeout(1_200_000)
        page.goto(f"{address}/{book[0]['pages'][0]['name']}.html", wait_until="load")
        page.add_style_tag(content=STYLE)
        found = page.evaluate(ONE_PAGE, book)
        if not found["wrong"]:
            page.pdf(
                path=target,
                format="A4",
                scale=SCALE,
                tagged=True,
                outline=True,
                print_background=True,
                display_header_footer=True,
                header_template="<span></span>",
                footer_template=FOOT,
                margin=dict.fromkeys(("top", "bottom", "left", "right"), f"{MARGIN}mm"),
            )
    if found["wrong"]:
        raise SystemExit("\n".join(["pdf:", *found["wrong"]]))
    if found["boxes"]:
        print(f"pdf: NO FONT here draws {found['boxes']}: install one (Debian: fonts-noto-cjk) and try again.")


def main():
    """Build the site, print it, and look whether tags and outline are there."""
    from playwright.sync_api import sync_playwright  # a tool of the tests, which this file serves too

    browser = find_browser()
    if browser is None:
        raise SystemExit("pdf: a Chromium is needed (Debian: apt-get install chromium)")
    if code := build(ROOT, strict=False):
        raise SystemExit(code)
    check_pages(ROOT)
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        printed(chromium, ROOT / "_build" / "html", contents(ROOT), TARGET)
        chromium.close()
    content = TARGET.read_bytes()
    missing = [mark for mark in (b"/StructTreeRoot", b"/Outlines") if mark not in content]
    if missing:
        raise SystemExit(f"pdf: {TARGET} has no {missing}")
    pages = len(re.findall(rb"/Type /Page\b", content))
    print(f"{TARGET}: {pages} pages, {len(content) / 1e6:.1f} MB.")


if __name__ == "__main__":
    main()
