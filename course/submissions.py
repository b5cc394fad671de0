"""Read what students handed in: a folder, or the zip of Canvas or Moodle. Nothing is written, no link is followed."""

import re
import stat
import zipfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from course.markup import chapters

LARGEST = 20_000_000  # bytes of a notebook
ALL = 1_000_000_000  # bytes of all of them
MOODLE = re.compile(r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)_?")
CANVAS = re.compile(r"(?P<name>[^_]+)_(?:LATE_)?(?P<id>\d+)_\d+_(?P<file>.+)")


class IntakeError(ValueError):
    """The folder or archive of submissions cannot be read as a whole."""


@dataclass(frozen=True)
class Submission:
    """What one student handed in: the name and text of a notebook, or None, and what is to be said about it."""

    student: str
    lms_id: str
    file: str = ""
    text: str | None = None
    note: str = ""


def collect(path, chapter):
    """Return the submissions of a chapter at `path`, sorted by student.

    A file stands in a folder that is named as its student, or is named itself as Canvas, Moodle or the student does.
    """
    path = Path(path)
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                return _sorted(path, chapter, _of_zip(path, archive))
        except zipfile.BadZipFile as error:
            raise IntakeError(f"{path} is damaged: download it again ({error})") from None
    if not path.exists():
        raise IntakeError(f"{path}: there is no such folder or zip of submissions")
    if not path.is_dir():
        trouble = "is cut off or empty: download it again" if path.suffix == ".zip" else "is neither folder nor zip"
        raise IntakeError(f"{path} {trouble}")
    return _sorted(path, chapter, _of_folder(path))


def _sorted(path, chapter, files):
    students = {}
    for name, read in files:
        student, lms_id, file = _owner(name)
        students.setdefault((student, lms_id), []).append((file, read))
    if not students:
        raise IntakeError(f"{path}: holds no submission")
    return [_choose(*who, chapter, students[who]) for who in sorted(students)]


def _choose(student, lms_id, chapter, files):
    notebooks = sorted((file for file in files if file[0].lower().endswith(".ipynb")), key=lambda file: _age(file[0]))
    if not notebooks:
        others = ", ".join(sorted(Path(file).name for file, _ in files if file)[:5])
        return Submission(student, lms_id, note=f"no notebook{f', but {others}' if others else ''}")
    # a notebook says of which chapter it is, whatever its name; one that says nothing may be of this one
    last, count, others = {}, Counter(), []
    for file, read in notebooks:
        try:
            submission = Submission(student, lms_id, file, read())
            labels = chapters(submission.text)
        except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
            submission, labels = Submission(student, lms_id, file, note=f"cannot be read: {error}"), set()
        if labels and chapter not in labels:
            others.append(f"{file} of {', '.join(sorted(labels))}")
            continue
        last[bool(labels)] = submission
        count[bool(labels)] += 1
    if not last:
        return Submission(student, lms_id, note=f"no notebook of {chapter}, but {'; '.join(others[:5])}")
    chosen, copies = last[max(last)], count[max(last)]
    note = f"{copies} notebooks of this chapter: this one was graded, being the last by name" if copies > 1 else ""
    return replace(chosen, note="; ".join(filter(None, [note, chosen.note])))


def _age(name):
    """Sort copies as browsers and Canvas number them: a.ipynb, "a (1).ipynb", a-2.ipynb, a-10.ipynb."""
    stem = Path(name).name.removesuffix(".ipynb")
    number = re.search(r"(?: \((\d+)\)|-(\d+))$", stem)
    return int(number[1] or number[2]) if number else 0, name


def _owner(name):
    """Return student, number at the learning platform, and file, from the path inside a folder or an archive."""
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")]
    first, rest = (parts or ["?"])[0], "/".join(parts[1:])
    if match := MOODLE.match(first):
        return match["name"], match["id"], rest or first[match.end() :]
    if not rest and (match := CANVAS.fullmatch(first)):
        return match["name"], match["id"], match["file"]
    # a file that lies loose is named as its student
    return (first, "", rest) if rest or not Path(first).suffix else (Path(first).stem, "", first)


def _of_folder(folder):
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
        if path.is_symlink():
            yield name, _refuse("is a link")
        elif path.is_file() and not hidden:
            yield name, lambda path=path: _text(path.open("rb"))
        elif path.is_dir() and path.parent == folder and not hidden:
            yield f"{name}/", _refuse("is a folder")


def _of_zip(path, archive):
    members = archive.infolist()
    if len(members) > 10_000 or sum(member.file_size for member in members) > ALL:
        raise IntakeError(f"{path}: holds more than 10 000 files or {ALL / 1e9:.0f} GB")
    tops = {re.split(r"[/\\]", member.filename)[0] for member in members}
    for member in members:
        name = member.filename
        # a zip of one folder is the folder
        if len(tops) == 1 and not MOODLE.match(name) and name.count("/") > 1:
            name = name.partition("/")[2]
        if "__MACOSX" in name:
            continue
        if stat.S_ISLNK(member.external_attr >> 16):
            yield name, _refuse("is a link")
        else:
            yield name, lambda member=member: _text(archive.open(member))


def _refuse(why):
    def read():
        raise ValueError(why)

    return read


def _text(file):
    with file:
        data = file.read(LARGEST + 1)  # what a header says of the size is not believed
    if len(data) > LARGEST:
        raise ValueError(f"more than {LARGEST / 1e6:.0f} MB")
    return data.decode("utf-8")
