"""What is handed out: a student notebook for each chapter, and one zip of them for a learning platform."""

import zipfile
from pathlib import Path

import nbformat

from course import find
from course.markup import MarkupError, read
from course.views import student


def release(chapters, folder):
    """Write the student notebooks of `chapters` and `assignments.zip` into `folder`; return the paths."""
    sources = [find(chapter) for chapter in chapters]
    views = {path.name: nbformat.writes(student(read(path))) + "\n" for path in sources}
    if len(views) < len(sources):
        raise MarkupError(f"each chapter once, please: got {', '.join(map(str, chapters))}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "assignments.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in views.items():
            (folder / name).write_text(text, encoding="utf-8")
            # a fixed date: the same chapters make the same bytes
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    return [*(folder / name for name in views), folder / "assignments.zip"]
