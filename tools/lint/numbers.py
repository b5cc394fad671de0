"""Every decimal numeral of a chapter's prose stands in a stored output of the chapter, or is said to be exact."""

import re

from tools.lint.book import stored_text
from tools.lint.references import CODE_FENCE

DECIMAL = re.compile(
    r"""(?<![\d.§]) (?<!\bv) (?<!§\ )                          # not inside 3.11.7, not v1.2, not §5.4
    (?:\d{1,3}(?:,\d{3})+ | \d+ | (?<![\w)\]}]) (?=\.))     # 1,234 or 1234 or nothing before the point
    \.\d+ (?:[eE][+-]?\d+)? (?!\.?\d)""",
    re.X,
)
FORMULA = re.compile(r"\$\$.+?\$\$|\$[^$]+\$", re.S)
# What holds digits that are names and not numbers.
NAMES = [
    CODE_FENCE,
    re.compile(r"<!--.*?-->", re.S),
    re.compile(r"!?\[[^\]]*\]\(<?https?://[^)\s]*[^)]*\)"),  # an outward link, whose text may name a version
    re.compile(r"(?<=\])\([^)\s]*\)"),
    re.compile(r"https?://[^\s<>)]+"),
    re.compile(r"\bdoi:\s*\S+|\b10\.\d{4,9}/\S+", re.I),
    re.compile(r"\barxiv[:\s]\s*\d{4}\.\d{4,5}(?:v\d+)?", re.I),
    re.compile(r"\{[\w:]+\}`[^`]*`"),
]


def prose(text):
    """Drop from the text what holds digits that are no numbers."""
    for pattern in NAMES:
        text = pattern.sub(" ", text)
    return text


def words(page):
    """Count the words of a page's Markdown; a formula counts as one."""
    text = FORMULA.sub(" formula ", "\n\n".join(cell.source for _, cell in page.cells_of("markdown")))
    return len(re.findall(r"[^\W_]+(?:['’-]\w+)*", prose(text)))


def decimals(text):
    """List the decimal numerals of a text."""
    return DECIMAL.findall(text)


def check(book):
    for page in book.chapters:
        stored = {number for _, cell in page.cells_of("code") for number in decimals(stored_text(cell))}
        for index, text in page.prose():
            exact = {str(number) for number in page.cells[index].metadata.get("exact", [])}
            found = decimals(prose(text))
            for number in dict.fromkeys(found):
                if number not in stored | exact:
                    yield page.finding(index, f"no stored output has {number}: print it, or list it in `exact`")
            for number in sorted(exact - set(found)):
                yield page.finding(index, f"`exact` lists {number}, which the cell does not write: drop it")
