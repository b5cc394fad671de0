"""The frame of the book: inserts made from data, the repository's address, docstrings, repairs of the theme's pages.

Inserts: a line `<!-- insert: NAME -->` of a page is replaced by text that is made from data, so that no fact stands in
two places. `map` comes from book/map.yml, `ledger` from book/back/ledger.yml and the chapters' stored outputs.
Every chapter's "claims" section gets the table of its own rows in the same way.
"""

import functools
import json
import re
import sys
from pathlib import Path

import nbformat
import yaml

import minigen

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # `tools` and `benchmarks` are not installed: they stand beside `book`

from benchmarks.tables import PARTS, benchmark  # noqa: E402
from tests.mutants.museum import page as museum  # noqa: E402
from tools.scoreboard import stored  # noqa: E402
from tools.scoreboard.tables import one_model, scoreboard  # noqa: E402

LEDGER = "book/back/ledger.yml"
MAP = "book/map.yml"


def load(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf8")) or []


def book_map():
    """Make one table: under each part its chapters, what they are about, and whether they are there or planned."""
    out = ["| chapter | what it is about | |", "|---|---|---|"]
    for part in load(MAP):
        out.append(f"| **{part['part']}** | *{part['about']}* | |")
        for name, (title, about) in part["chapters"].items():
            there = (ROOT / "book" / part["folder"] / f"{name}.ipynb").exists()
            link = f"[{title}]({part['folder']}/{name}.ipynb)" if there else title
            out.append(f"| {link} | {about} | {'there' if there else 'planned'} |")
    return "\n".join(out)


def claim_cells(notebook):
    """Claim id -> the lines that its cell printed, from the stored outputs."""
    cells = nbformat.read(ROOT / notebook, 4).cells
    return {
        cell.metadata["claim"]: "".join(o.get("text", "") for o in cell.outputs).strip().splitlines()
        for cell in cells
        if "claim" in cell.metadata
    }


def chapter_claims(rows):
    """Return the claims that a chapter settles as a table: each links to the cell that tries it."""
    out = ["| claim | source | verdict |", "|---|---|---|"]
    for row in rows:
        cells = [row["claim"], row["source"], f"[{row['verdict']}](#claim-{row['id']})"]
        out.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(out)


def ledger():
    """Return all claims, chapter by chapter, each with its verdict and what its cell printed."""
    rows, out = load(LEDGER), []
    for part in load(MAP):
        for name, (title, _) in part["chapters"].items():
            chapter = f"book/{part['folder']}/{name}"
            settled = [row for row in rows if row["chapter"] == chapter]
            printed = claim_cells(f"{chapter}.ipynb") if settled else {}
            out += [f"## {title}", ""] if settled else []
            for row in settled:
                measured = [line.strip() for line in printed.get(row["id"], []) if not line.startswith("verdict:")]
                out += [
                    f"{row['claim'].rstrip('.')} *({row['source']})*",
                    f": **{row['verdict']}** · [the cell](#claim-{row['id']}) printed:",
                    "",
                ]
                out += ["  ```text", *(f"  {line}" for line in measured), "  ```", ""]
    return "\n".join(out)


INSERTS = {
    "map": (book_map, MAP),
    "ledger": (ledger, LEDGER),
    "scoreboard": (scoreboard, "book/results"),
    "museum": (museum, "tests/mutants"),
    **{f"benchmark {name}": (functools.partial(benchmark, name), "benchmarks/results.json") for name in PARTS},
    **{f"scoreboard {name}": (functools.partial(one_model, name), "book/results") for name in stored()},
}
INSERTED = ("book/index", "book/back/claims", "book/back/scoreboard", "book/back/benchmarks", "book/back/museum")


def insert(app, docname, source):
    """Fill a page's inserts; give each chapter its claims table and each claim's cell a target to link to."""
    for name, (make, data) in INSERTS.items():
        mark = f"<!-- insert: {name} -->"
        if mark in source[0]:
            app.env.note_dependency(str(ROOT / data))
            text = make()
            source[0] = source[0].replace(mark, json.dumps(text)[1:-1] if source[0].lstrip().startswith("{") else text)
    if unknown := re.findall(r"<!-- insert: .*? -->", source[0]):
        raise ValueError(f"{docname}: expected an insert of {', '.join(INSERTS)}, got {unknown[0]}")
    rows = [row for row in load(LEDGER) if row["chapter"] == docname]
    if not rows:
        return
    app.env.note_dependency(str(ROOT / LEDGER))
    nb = nbformat.reads(source[0], 4)
    cells = []
    for cell in nb.cells:
        if "claim" in cell.metadata:
            target = nbformat.v4.new_markdown_cell(f"(claim-{cell.metadata['claim']})=")
            cells.append(target)
        cells.append(cell)
        if cell.metadata.get("part") == "claims":
            cell.source += "\n\n" + chapter_claims(rows)
    nb.cells = cells
    source[0] = nbformat.writes(nb)


def outdated(app, env, added, changed, removed):
    """Pages with inserts depend on every notebook: read them anew each time."""
    return [d for d in INSERTED if d in env.found_docs]


def address(app, config):
    """Let what needs the repository's public address appear only when `repository: url` is set."""
    url = config.html_theme_options.get("repository_url", "")
    config.html_theme_options["extra_footer"] = f"Version {minigen.__version__}"
    if url:
        config.html_theme_options.update(use_repository_button=True, use_issues_button=True, use_source_button=True)
        config.html_theme_options["launch_buttons"] = {
            "colab_url": "https://colab.research.google.com",
            "notebook_interface": "jupyterlab",
        }
        app.setup_extension("sphinx.ext.linkcode")
        config.linkcode_resolve = lambda domain, info: source_link(url, config.html_theme_options, info)
    else:
        app.setup_extension("sphinx.ext.viewcode")


def source_link(url, options, info):
    """Return the address of an object's lines in the repository."""
    import importlib
    import inspect

    obj = importlib.import_module(info["module"])
    for part in info["fullname"].split("."):
        obj = getattr(obj, part, None)
    try:
        path = Path(inspect.getsourcefile(inspect.unwrap(obj))).resolve().relative_to(ROOT)
        lines, start = inspect.getsourcelines(obj)
    except (TypeError, OSError, ValueError):
        return None
    branch = options.get("repository_branch", "main")
    return f"{url.rstrip('/')}/blob/{branch}/{path.as_posix()}#L{start}-L{start + len(lines) - 1}"


KEY = re.compile(r"[A-Z][\w' -]{1,40}:( |$)")


def plain(text):
    """Escape what reStructuredText would take for mark-up, and let `code` be code."""
    pieces = re.split(r"(`+[^`]+`+)", text)
    return "".join(f"``{p.strip('`')}``" if p.startswith("`") else re.sub(r"([\\*|_])", r"\\\1", p) for p in pieces)


def docstring(app, what, name, obj, options, lines):
    """Docstrings are written to be read as they stand; here they become reStructuredText.

    A line such as "Forward: ..." or "Cost: ..." stays a line of its own; doctests, tables and indented blocks stay.
    """
    out = []
    for paragraph in "\n".join(lines).split("\n\n"):
        body = paragraph.splitlines()
        if not paragraph.strip():
            continue
        if body[0].startswith((" ", ">>>", "===")):
            out += [*body, ""]
        elif any(KEY.match(line) for line in body):
            for line in body:
                out.append(("| " if KEY.match(line) or line is body[0] else "  ") + plain(line.strip()))
            out.append("")
        else:
            out += [*map(plain, body), ""]
    lines[:] = out


def clean(app, pagename, templatename, context, doctree):
    """Drop scripts that the theme emits twice, and thebe's, which this book does not use."""
    seen, keep = set(), []
    for script in context.get("script_files", []):
        body = getattr(script, "attributes", {}).get("body") or ""
        name = str(getattr(script, "filename", script) or "")
        if "thebe" in body.lower() or "thebe" in name or (name, body) in seen:
            continue
        seen.add((name, body))
        keep.append(script)
    context["script_files"] = keep
    context["css_files"] = [c for c in context.get("css_files", []) if "thebe" not in str(getattr(c, "filename", c))]


# The theme sends each icon three times: as a script that draws it, as a font fetched at once, and as a style sheet that
# fetches the font when an icon needs it. The last is enough, and half a megabyte lighter.
ICONS = re.compile(r'\s*<(script src|link rel="preload" as="font")[^>]*/fontawesome/[^>]*>(</script>)?')
# A figure that is not loaded yet keeps its place: its height follows from its width, which a narrow window limits.
SIZE = re.compile(r'(<img [^>]*style=")width: (\d+)px; height: (\d+)px;')


def lighten(app, exception):
    """Drop what the theme's template loads twice, and give figures their proportions."""
    if app.builder.format == "html" and exception is None:
        for page in Path(app.outdir).glob("**/*.html"):
            text = page.read_text(encoding="utf8")
            if (light := SIZE.sub(r"\1aspect-ratio: \2 / \3; width: \2px;", ICONS.sub("", text))) != text:
                page.write_text(light, encoding="utf8")


def setup(app):
    app.connect("config-inited", address)
    app.connect("source-read", insert)
    app.connect("env-get-outdated", outdated)
    app.connect("autodoc-process-docstring", docstring)
    app.connect("html-page-context", clean, priority=900)
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
