"""Read what students handed in: a folder, or the zip of Canvas or Moodle. Nothing is written, no link is followed."""

import re
import stat
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

from course.markup import chapters

LARGEST = 20_000_000  # bytes of a notebook
ALL = 1_000_000_000  # bytes of all of them
MOODLE = re.compile(r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)_?")
CANVAS = re.compile(r"(?P<name>[^_]+)_(?P<late>LATE_)?(?P<id>\d+)_\d+_(?P<file>.+)")
COPY = re.compile(r"(?: \(\d+\)|-\d+|[ _-](?:copy|final|v\d+))$")


class IntakeError(ValueError):
    """The folder or archive of submissions cannot be read as a whole."""


@dataclass(frozen=True)
class Submission:
    """What one student handed in: the name and text of a notebook, or None, and what is to be said about it.

    `loose` says that the student's name is a guess, since it is the notebook's.
    """

    student: str
    lms_id: str
    file: str = ""
    text: str | None = None
    note: str = ""
    loose: bool = False


def collect(path, chapter):
    """Return the submissions of a chapter at `path`, sorted by student.

    A file stands in a folder that is named as its student, or is named itself as Canvas, Moodle or the student does.
    """
    path = Path(path)
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                return _students(path, chapter, list(_of_zip(path, archive)))
        except zipfile.BadZipFile as error:
            raise IntakeError(f"{path} is damaged: download it again ({error})") from None
    if not path.exists():
        raise IntakeError(f"{path}: there is no such folder or zip of submissions")
    if not path.is_dir():
        trouble = "is cut off or empty: download it again" if path.suffix == ".zip" else "is neither folder nor zip"
        raise IntakeError(f"{path} {trouble}")
    return _students(path, chapter, list(_of_folder(path)))


def _students(path, chapter, files):
    files = [(parts, read) for parts, read in files if not any(part.startswith((".", "__MACOSX")) for part in parts)]
    if not files:
        raise IntakeError(f"{path}: holds no submission")
    held = ["/".join(parts) for parts, _ in files if parts[-1]]
    if len(held) == 1 and held[0].endswith(".zip"):
        raise IntakeError(f"{path}: holds a zip only: give the zip itself, {held[0]}")
    students, loose = {}, set()
    for parts, read in _inner(files):
        one = _submission(parts)
        students.setdefault((one.student, one.lms_id), []).append((one, read))
        loose |= {one.student} if one.loose else set()
    for name in sorted(loose) if len(loose) > 1 else ():
        bare = COPY.sub("", name)
        if bare == chapter or bare != name and bare in loose:
            cure = "give each student a folder, or name each notebook as its student"
            raise IntakeError(f"{path}: whose is {name}.ipynb? Of one student or of several: {cure}")
    return [_choose(path, chapter, students[student]) for student in sorted(students)]


def _inner(files):
    """Go down into a folder that holds all, unless it is a student's."""
    inner = [(parts[1:], read) for parts, read in files if len(parts) > 1 and parts[1:] != ("",)]
    top, below = _folders(files), _folders(inner)
    if len(top) != 1 or MOODLE.match(*top) or _loose(files):
        return files
    deeper = _inner(inner)
    named = _platform(part for parts, _ in inner for part in parts)
    return deeper if deeper is not inner or len(below) > 1 or len(_loose(inner)) > 1 or named else files


def _folders(files):
    return {parts[0] for parts, _ in files if len(parts) > 1}


def _loose(files):
    """Return the notebooks, and what a learning platform has named, that lie in no folder."""
    loose = [parts for parts, _ in files if len(parts) == 1]
    return [parts for parts in loose if parts[0].endswith(".ipynb") or _platform(parts)]


def _platform(names):
    """Return the students' numbers that a learning platform has written into names."""
    matches = [MOODLE.match(name) or CANVAS.fullmatch(name) for name in names]
    return {match["id"] for match in matches if match}


def _choose(path, chapter, files):
    one = replace(files[0][0], file="")
    notebooks = sorted(
        (file for file in files if file[0].file.lower().endswith(".ipynb")), key=lambda file: _age(file[0])
    )
    if not notebooks:
        others = ", ".join(sorted(Path(entry.file).name for entry, _ in files if not entry.file.endswith("/"))[:5])
        return replace(one, note=joined(f"no notebook{f', but {others}' if others else ''}", one.note), loose=False)
    # a notebook says of which chapter it is, whatever its name; one that says nothing may be of this one
    labelled, unlabelled, others = [], [], []
    for entry, read in notebooks:
        try:
            entry = replace(entry, text=read())
            labels = chapters(entry.text)
        except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
            entry, labels = replace(entry, note=joined(f"cannot be read: {error}", entry.note)), set()
        if labels and chapter not in labels:
            others.append(f"{entry.file} of {', '.join(sorted(labels))}")
        else:
            (labelled if labels else unlabelled).append(entry)
    found = labelled or unlabelled
    folders = {entry.file.partition("/")[0] for entry in found if "/" in entry.file}
    numbers = _platform(part for entry in found for part in entry.file.split("/"))
    if not one.lms_id and (len(folders) > 1 or len(numbers) > 1):
        raise IntakeError(f"{path}: {one.student} holds the work of several students? Give that folder itself")
    if not found:
        return replace(one, note=joined(f"no notebook of {chapter}, but {'; '.join(others[:5])}", one.note))
    note = f"{len(found)} notebooks of this chapter: this one was graded, being the last by name"
    return replace(found[-1], note=joined(note * (len(found) > 1), found[-1].note))


def joined(*notes):
    """Return those notes that say something, as one."""
    return "; ".join(filter(None, notes))


def _age(submission):
    """Sort copies as browsers and Canvas number them: a.ipynb, "a (1).ipynb", a-2.ipynb, a-10.ipynb."""
    stem = Path(submission.file).stem
    number = re.search(r"(?: \((\d+)\)|-(\d+))$", stem)
    return int(number[1] or number[2]) if number else 0, stem, submission.file


def _submission(parts):
    """Return whose a file is, and its name."""
    first, rest = parts[0], "/".join(parts[1:])
    if match := MOODLE.match(first):
        return Submission(match["name"], match["id"], rest or first[match.end() :])
    if not rest and (match := CANVAS.fullmatch(first)):
        return Submission(match["name"], match["id"], match["file"], note="handed in late" if match["late"] else "")
    if len(parts) > 1:
        return Submission(first, "", rest or "/")
    # a file that lies loose is named as its student
    return Submission(Path(first).stem, "", first, loose=first.endswith(".ipynb"))


def _of_folder(folder):
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_symlink():
            yield parts, _refuse("is a link")
        elif path.is_file():
            yield parts, lambda path=path: _text(path.open("rb"))
        elif path.is_dir():
            yield (*parts, ""), None


def _of_zip(path, archive):
    members = archive.infolist()
    if len(members) > 10_000 or sum(member.file_size for member in members) > ALL:
        raise IntakeError(f"{path}: holds more than 10 000 files or {ALL / 1e9:.0f} GB")
    for member in members:
        parts = [part for part in re.split(r"[/\\]", member.filename) if part not in ("", ".", "..")]
        if stat.S_ISLNK(member.external_attr >> 16):
            yield tuple(parts or "?"), _refuse("is a link")
        elif parts:
            yield (*parts, *[""] * member.is_dir()), lambda member=member: _text(archive.open(member))


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
