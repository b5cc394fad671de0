"""What every notebook must be, and that files, contents and map name the same pages."""

import ast

from tools import normalise
from tools.lint.book import Finding

TOC, MAP = "_toc.yml", "book/map.yml"


def documents(entry):
    """List the documents that a part of the table of contents names, in order."""
    if isinstance(entry, list):
        return [document for item in entry for document in documents(item)]
    if not isinstance(entry, dict):
        return []
    own = [entry[key] for key in ("root", "file") if key in entry]
    return own + [document for value in entry.values() for document in documents(value)]


def check(book):
    yield from book.unreadable
    url = normalise.repository_address(book.root / "book")
    for page in book.notebooks:
        for index, sentence in normalise.check(page.text, url):
            yield page.finding(index, sentence)
        for index, cell in page.cells_of("code"):
            try:
                ast.parse(cell.source)
            except SyntaxError as error:
                yield page.finding(index, f"not plain Python ({error.msg}): no magics, no shell commands")
    listed = documents(book.data(TOC))
    for page in book.pages:
        if page.document not in listed:
            yield page.finding(None, f"is not in {TOC}: add it")
    for document in listed:
        if document not in [page.document for page in book.pages]:
            yield Finding(TOC, None, f"lists {document}, which is no page: drop it or write it")
        if listed.count(document) > 1:
            yield Finding(TOC, None, f"lists {document} more than once: keep one")
    yield from check_map(book, listed)


def check_map(book, listed):
    """Hold the map, which shows planned chapters too, against the chapters and their order in the contents."""
    planned = [f"book/{part['folder']}/{name}" for part in book.data(MAP) or [] for name in part["chapters"]]
    chapters = [page.document for page in book.chapters]
    for document in chapters:
        if document not in planned:
            yield Finding(MAP, None, f"does not show {document}: add it to its part")
    if [d for d in planned if d in chapters and d in listed] != [d for d in listed if d in chapters and d in planned]:
        yield Finding(MAP, None, f"has the chapters in another order than {TOC}: make them agree")
