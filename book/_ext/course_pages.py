"""Sphinx extension: exercise pages are made from a view of their notebook, and no raw notebook is published."""

import sys
from pathlib import Path, PurePosixPath

import nbformat
from sphinx.config import ENUM

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `course` is not installed: it stands beside `book`

from course.views import page, solutions, student  # noqa: E402

VIEWS = {"page": page, "solutions": solutions}
# These lead to the repository's file, which holds the solutions.
BUTTONS = {"launch-buttons", "source-repository-button", "source-file-button", "source-edit-button"}


def is_exercise(env, docname):
    return PurePosixPath(docname).parent.name == "exercises" and env.doc2path(docname).endswith(".ipynb")


def show_view(app, docname, source):
    if is_exercise(app.env, docname):
        view = VIEWS[app.config.course_view](nbformat.reads(source[0], as_version=4))
        source[0] = nbformat.writes(view)


def drop_buttons(app, pagename, templatename, context, doctree):
    if doctree is not None and is_exercise(app.env, pagename):
        context["header_buttons"] = without_source(context.get("header_buttons", []))


def without_source(buttons):
    kept = []
    for button in buttons:
        if button["type"] == "group":
            button = {**button, "buttons": without_source(button["buttons"])}
        if button.get("label") not in BUTTONS and button.get("buttons") != []:
            kept.append(button)
    return kept


def publish_student_view(app, exception):
    """Replace every copy of a raw notebook that Sphinx made, above all `_sources`, which the download button offers."""
    if app.builder.format != "html":
        return
    for docname in app.env.found_docs:
        if is_exercise(app.env, docname):
            source = Path(app.env.doc2path(docname))
            raw = source.read_bytes()
            handed_out = nbformat.writes(student(nbformat.reads(raw.decode(), as_version=4))) + "\n"
            for file in Path(app.outdir).rglob(f"{source.name}*"):
                if f"{docname}.ipynb" in file.as_posix() or file.read_bytes() == raw:
                    file.write_text(handed_out, encoding="utf-8")


def setup(app):
    app.add_config_value("course_view", "page", "env", ENUM(*VIEWS))
    app.connect("source-read", show_view)
    # after the theme's own handlers (501), which add the buttons
    app.connect("html-page-context", drop_buttons, priority=900)
    app.connect("build-finished", publish_student_view)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
