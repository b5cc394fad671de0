"""Search what is published for what is withheld: even solutions, hidden tests, wrong answers."""

import gzip
import html
import io
import re
import zipfile
from pathlib import Path

import nbformat

from course import BOOK, ROOT
from course.markup import is_marker
from course.views import page

SHORTEST = 12  # a form must be longer; shorter ones stand everywhere
CUTS = re.compile(r"[$`*\[\](){}]|--|\.\.\.|(?<=[.:;]) ")  # where rendering may change a line of Markdown
LOST = re.compile(r"""[\s\\*_`$"'“”‘’]+""")
TAG = re.compile(r"<[^<>]*>")
JSON_ESCAPE = re.compile(r"\\+u([0-9a-fA-F]{4})")
TEXTS = {".md", ".ipynb", ".yml", ".py", ".bib"}


def withheld(nb):
    """Return the lines of a source notebook that its public page does not show.

    A line of Markdown is cut at mark-up and at the ends of sentences, because the page may render those otherwise.
    """
    shown = _form("\n".join(cell.source for cell in page(nb).cells))
    lines = set()
    for cell in nb.cells:
        for line in cell.source.split("\n"):
            if not is_marker(line):
                lines |= {part.strip() for part in (CUTS.split(line) if cell.cell_type == "markdown" else [line])}
    return {line for line in lines if len(_form(line)) > SHORTEST and _form(line) not in shown}


def scan(paths, notebooks):
    """Search every byte under `paths` for what `notebooks` withhold; return (files read, findings).

    A phrase that also stands in the sources of a chapter or of minigen is public, so it is no finding.
    """
    files = [file for path in map(Path, paths) for file in (_files(path) if path.is_dir() else [path])]
    needles = _needles(notebooks)
    findings = [
        f"{where}: withheld by {source}: {line}"
        for file in files
        for where, data in _members(str(file), file.read_bytes())
        for line, source in sorted(needles[form] for form in _matches(needles, data.decode("utf-8", errors="replace")))
    ]
    return len(files), findings


def _needles(notebooks):
    """Map the form of each withheld line to (line, notebook), without the forms that are public."""
    needles, public = {}, []
    for path in notebooks:
        nb = nbformat.read(path, as_version=4)
        needles |= {_form(line): (line, Path(path).stem) for line in withheld(nb)}
        public += [cell.source for cell in page(nb).cells]
    for file in _files(ROOT / "minigen") + _files(BOOK):
        if file.suffix in TEXTS and file.parent.name != "exercises" and "_build" not in file.parts:
            public.append(file.read_text(encoding="utf-8"))
    for text in public:
        for form in _matches(needles, text):
            del needles[form]
    return needles


def _matches(needles, text):
    """Return the forms that occur in a text, read in every way that a publisher may have written it."""
    text = JSON_ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    haystack = "\n".join(_form(reading) for reading in {text, TAG.sub("", text)})
    # one pass over the text's beginnings of forms instead of one search for each of some thousand forms
    beginnings = {haystack[i : i + SHORTEST] for i in range(len(haystack) - SHORTEST)}
    return [form for form in needles if form[:SHORTEST] in beginnings and form in haystack]


def _form(text):
    """Return what stays of a line however it is published: no spaces, quotes, emphasis, escapes and entities."""
    return LOST.sub("", html.unescape(text))


def _files(folder):
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _members(name, data):
    """Yield (name, bytes) of a file and of everything packed into it."""
    yield name, data
    if data[:2] == b"\x1f\x8b":
        yield from _members(f"{name}!", gzip.decompress(data))
    elif data[:2] == b"PK" and zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.namelist():
                yield from _members(f"{name}!{member}", archive.read(member))
