"""Checks every link of the built site: `python -m tools.links [FOLDER]`.

An internal link must lead to a file that is there, and its fragment to an id on that page. Scripts, styles, images and
fonts must come from the site itself: the book asks no other host for anything. Links to other hosts are counted, not
followed.
"""

import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


def site_pages(site):
    """Every page of the site; `_static` holds the theme's files, among them a template that ends in .html."""
    return [p for p in sorted(Path(site).rglob("*.html")) if "_static" not in p.relative_to(site).parts]


def page_ids(soup):
    """Every anchor that a fragment can lead to."""
    return {tag["id"] for tag in soup.find_all(id=True)} | {
        tag["name"] for tag in soup.find_all("a", attrs={"name": True})
    }


def problems(site):
    """Return (number of internal links, number of external links, list of what is wrong)."""
    site = Path(site).resolve()
    pages = {p: BeautifulSoup(p.read_text(encoding="utf8"), "html.parser") for p in site_pages(site)}
    ids = {p: page_ids(soup) for p, soup in pages.items()}
    internal, external, wrong = 0, 0, []
    for page, soup in pages.items():
        name = page.relative_to(site).as_posix()
        for tag in soup.find_all(list(LOADED)):
            address = tag.get(LOADED[tag.name], "")
            hint = tag.name == "link" and not {"stylesheet", "preload", "icon"} & set(tag.get("rel", []))
            if urlsplit(address).netloc and not hint:
                wrong.append(f"{name}: loads {address} from another host")
            elif address and not hint and not urlsplit(address).scheme:
                target = (page.parent / unquote(urlsplit(address).path)).resolve()
                if not target.exists():
                    wrong.append(f"{name}: loads {address}, which is not there")
        for tag in soup.find_all("a", href=True):
            parts = urlsplit(tag["href"])
            if parts.scheme or parts.netloc:
                external += 1
                continue
            internal += 1
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if target.is_dir():
                target = target / "index.html"
            if not target.exists():
                wrong.append(f"{name}: links to {tag['href']}, which is not there")
            elif parts.fragment and target in ids and unquote(parts.fragment) not in ids[target]:
                wrong.append(f"{name}: links to {tag['href']}, but that page has no such id")
    if not pages or not internal:
        wrong.append(f"{site}: {len(pages)} pages and {internal} internal links were found: nothing was checked")
    return internal, external, wrong


def main():
    """Check the site and exit with 1 if a link is broken."""
    site = sys.argv[1] if len(sys.argv) > 1 else "_build/html"
    internal, external, wrong = problems(site)
    for line in wrong:
        print(line)
    print(f"links: {internal} internal, {external} to other hosts, {len(wrong)} broken")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
