"""The claims ledger: each row has a cell that tried the claim, and each such cell has its row."""

import ast
import re

from tools.lint.book import Finding, stored_text, syntax

LEDGER = "book/back/ledger.yml"
KEYS = ("id", "source", "claim", "chapter", "verdict")


def check(book):
    rows = book.data(LEDGER)
    if rows is None and book.chapters:
        yield Finding(LEDGER, None, "is missing: each claim that a chapter tries has a row there")
    if not isinstance(rows or [], list) or not all(isinstance(row, dict) for row in rows or []):
        yield Finding(LEDGER, None, f"must be a list of rows with the keys {', '.join(KEYS)}")
        return
    pages = {page.document: page for page in book.chapters}
    code = [(page, index, cell) for page in book.notebooks for index, cell in page.cells_of("code")]
    cells = [place for place in code if "claim" in place[2].metadata]
    seen = set()
    for row in rows or []:
        missing = [key for key in KEYS if not row.get(key)]
        if missing:
            yield Finding(LEDGER, None, f"the row {row.get('id')!r} lacks {', '.join(missing)}")
            continue
        if row["id"] in seen:
            yield Finding(LEDGER, None, f"the id {row['id']!r} is used twice: choose another")
        seen.add(row["id"])
        if not re.match(r"(holds|does not hold)\b", str(row["verdict"])):
            yield Finding(LEDGER, None, f"the verdict of {row['id']!r} must begin with holds or does not hold")
        if row["chapter"] not in pages:
            yield Finding(LEDGER, None, f"the row {row['id']!r} names {row['chapter']!r}: write book/<part>/<chapter>")
            continue
        tried = [place for place in cells if place[2].metadata["claim"] == row["id"]]
        if [page.document for page, _, _ in tried] != [row["chapter"]]:
            yield pages[row["chapter"]].finding(None, f"must have exactly one cell with the claim {row['id']!r}")
            continue
        yield from check_cell(*tried[0], row)
    for page, index, cell in cells:
        if cell.metadata["claim"] not in seen:
            yield page.finding(index, f"the claim {cell.metadata['claim']!r} has no row in {LEDGER}: add it")


def check_cell(page, index, cell, row):
    if not any(isinstance(node, ast.Assert) for node in syntax(cell)):
        yield page.finding(index, f"the cell of the claim {row['id']!r} asserts nothing: add an assert")
    last = (stored_text(cell).strip().splitlines() or [""])[-1]
    if cell.execution_count is None or last != f"verdict: {row['verdict']}":
        yield page.finding(index, f"its last stored line must be `verdict: {row['verdict']}`, as in the ledger; run it")
