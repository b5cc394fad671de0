"""Sphinx extension: the wheels that live cells load from the site itself, and figures that load when they are near.

A wheel, of minigen, autograd and tqdm, is a zip of what is installed, so that readers run the very code that the book
was built with, no download is needed, and the same tree gives the same bytes.
"""

import importlib
import json
import zipfile
from importlib.metadata import distribution
from pathlib import Path

from docutils import nodes

WHEELS = {"minigen-book": "minigen", "autograd": "autograd", "tqdm": "tqdm"}  # distribution -> its package


def write_wheel(name, package, folder):
    """Zip an installed package of plain Python and its metadata; return the file's name."""
    dist = distribution(name)
    stem = f"{name.replace('-', '_')}-{dist.version}"
    root = Path(importlib.import_module(package).__file__).parent
    files = {
        f"{package}/{file.relative_to(root).as_posix()}": file.read_bytes()
        for file in root.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    files[f"{stem}.dist-info/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {dist.version}\n".encode()
    files[f"{stem}.dist-info/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{stem}.dist-info/RECORD"] = b""
    wheel = f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(folder / wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(path), content, zipfile.ZIP_DEFLATED)  # without a date: 1980
    return wheel


def write_wheels(app, exception):
    if app.builder.format == "html" and exception is None:
        folder = Path(app.outdir) / "_static" / "live"
        wheels = [write_wheel(name, package, folder) for name, package in WHEELS.items()]
        (folder / "wheels.json").write_text(json.dumps(wheels), encoding="utf8")


def load_lazily(app, doctree, docname):
    """Let the browser fetch a figure when a reader comes near it."""
    for image in doctree.findall(nodes.image):
        image["loading"] = "lazy"


def setup(app):
    app.add_css_file("live/live.css")
    app.add_js_file("live/live.js")
    app.connect("doctree-resolved", load_lazily)
    app.connect("build-finished", write_wheels)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
