"""Write grades down: a CSV, a page of feedback for each student, and the forms of Canvas, Moodle and Gradescope."""

import csv
import html
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

BOM = "utf-8-sig"  # without its mark Excel takes UTF-8 for something else
CURE = "save it as “CSV UTF-8”, or, where that writes semicolons, with LibreOffice, which asks for both"
OURS = {"student", "id", "file", "score", "max_score", "total", "feedback", "status", "note", "tests"}  # columns
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ font: 1rem/1.5 sans-serif; max-width: 45rem; margin: 2rem auto; padding: 0 1rem; }}
td, th {{ text-align: left; vertical-align: top; padding: 0.3rem 1rem 0.3rem 0; overflow-wrap: anywhere; }}</style>
<h1>{title}</h1>
<p>{summary}</p>
{table}
</html>
"""
TABLE = """<table>
<thead><tr><th scope="col">Exercise</th><th scope="col">Points</th><th scope="col">What the tests say</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>"""


class FormError(ValueError):
    """An export of a learning platform lacks what is needed to fill it in."""


def number(points):
    """Return points as text: blank where there are none, and never 0 for that."""
    return "" if points is None else f"{points:g}"


def safe(text):
    """Return a text that no spreadsheet takes for a formula, on one line."""
    text = re.sub(r"\s+", " ", str(text)).strip()
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def best(tasks):
    """Return the points that tests can give."""
    return sum(task.points for task in tasks if task.names)


def writable(path):
    """Make the folder of a file, and raise OSError where the file cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    there = path.exists()
    path.open("a").close()
    if not there:
        path.unlink()


def who(thing):
    """Return by what the table knows a student: name and number at the learning platform."""
    return safe(thing.student), safe(thing.lms_id)


def grades(tasks, results, tests, older=()):
    """Return one row a student: score, one column an exercise (blank where a person grades), feedback and status.

    `tests` says which tests these were; of the rows of an `older` table all is kept that a person wrote.
    """
    before, table = {(row["student"], row["id"]): row for row in older}, []
    for result in results:
        row = dict(zip(("student", "id"), who(result), strict=True))
        row |= {"file": safe(result.file), "score": number(result.score), "max_score": number(best(tasks))}
        row |= {task.key: number(result.marks[task.key].points) if result.marks else "" for task in tasks}
        row |= {"total": "", "feedback": safe(feedback(tasks, result)) if result.marks else ""}
        row |= {"status": result.status, "note": safe(result.note), "tests": safe(tests)}
        row |= {name: "" for name in next(iter(older), ()) if name not in row}
        written = by_hand(before.get(who(result), {}), tasks)
        table.append(row | {name: cell for name, cell in written.items() if not row[name]})
    return _added_up(table, tasks, "the new table")


def feedback(tasks, result):
    """Return the feedback as one line."""
    if not result.marks:
        return f"{result.status}: {result.note}"
    return "; ".join(
        f"{task.title}: {result.marks[task.key].message}" for task in tasks if result.marks[task.key].points is not None
    )


def write_pages(folder, title, tasks, results, table):
    """Write a page of feedback for each student into `folder`, named after the student; older pages go."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.html"):
        old.unlink()
    taken = set()
    for result, row in zip(results, table, strict=True):
        name = re.sub(r"[^\w-]+", "_", f"{result.student} {result.lms_id}".strip())[:80] or "_"
        while name.lower() in taken:  # two students may have one name, and file systems may not tell A from a
            name += "_"
        taken.add(name.lower())
        _save(folder / f"{name}.html", page(title, tasks, result, row))


def page(title, tasks, result, row):
    """Return a student's page, with the points of the row of the table. All that comes from the student is escaped."""
    rows = []
    for task in tasks if result.marks else ():
        points = f"{row[task.key] or '–'} of {number(task.points)}"
        cells = "".join(f"<td>{html.escape(text)}</td>" for text in (points, result.marks[task.key].message))
        rows.append(f'<tr><th scope="row">{html.escape(task.title)}</th>{cells}</tr>')
    told = f"{row['score']} of {row['max_score']} points by tests, for {result.file}"
    summary = f"{result.student}: {told if result.marks else result.status}. {result.note}"
    table = TABLE.format(rows="\n".join(rows)) if rows else ""
    return PAGE.format(title=html.escape(title), summary=html.escape(summary.strip()), table=table)


def read_table(path, tasks):
    """Return the rows of a table of grades, with the `total` of the points of tests and of those that a person added.

    Columns of other names are left alone.
    """
    return _added_up(_read(path, {"student", "id", "feedback", "status", *(task.key for task in tasks)}), tasks, path)


def _added_up(table, tasks, path):
    for line, row in enumerate(table, start=2):
        points = [_checked(row[task.key], task, f"{path}: row {line}, {row['student']}") for task in tasks]
        points = [given for given in points if given is not None]
        row["total"] = number(sum(points)) if points else ""
    return table


def _checked(cell, task, where):
    try:
        points = float(cell) if cell.strip() else None
        if points is None or 0 <= points <= task.points:
            return points
    except ValueError:
        pass
    raise FormError(f"{where}: {task.key}: expected a number from 0 to {number(task.points)}, got {cell!r}")


def by_hand(row, tasks):
    """Return what a person wrote into a row of the table: points that no test gave, and columns of other names."""
    ours = OURS | {task.key for task in tasks if task.names and row.get("status") == "ok"}
    return {name: cell for name, cell in row.items() if name not in ours and cell.strip()}


@dataclass(frozen=True)
class Form:
    """A platform's table: its rows, the ids by which it may know the student of each, and what to fill in.

    `columns` maps a column to that of the table of grades.
    """

    path: str
    rows: list
    ids: list
    columns: dict
    encoding: str


def canvas(export, column):
    """Return the gradebook that Canvas exported, for one of its columns.

    A student is found by the id in the name of the file that Canvas gave, or by the login.
    """
    rows = _read(export, {"Student", "ID", "SIS Login ID", "Section"})
    columns = [name for name in rows[0] if name == column or name.startswith(f"{column} (")]
    if len(columns) != 1:
        raise FormError(f"{export}: expected one column {column!r}, got {columns or list(rows[0])}")
    ids = [(row["ID"].strip(), row["SIS Login ID"].strip()) for row in rows]
    return Form(export, rows, ids, {columns[0]: "total"}, BOM)


def moodle(worksheet):
    """Return the grading worksheet that Moodle exported (`Identifier` is `Participant 1234`)."""
    rows = _read(worksheet, {"Identifier", "Full name", "Grade", "Feedback comments"})
    ids = [row["Identifier"].split()[-1:] for row in rows]
    return Form(worksheet, rows, ids, {"Grade": "total", "Feedback comments": "feedback"}, "utf-8")


def strangers(form, ids):
    """Return those of the ids that the form does not know; FormError if it knows none."""
    known = {one for several in form.ids for one in several}
    left = [one for one in ids if one not in known]
    if len(left) == len(ids):
        raise FormError(f"{form.path}: knows none of these students, such as {left[0]}")
    return left


def fill(form, table, output):
    """Fill in what a platform's form knows of a table; return whom it does not know. Who is excused (EX) stays so."""
    found = {row["id"] or row["student"]: row for row in table}
    left = strangers(form, found)
    for row, ids in zip(form.rows, form.ids, strict=True):
        grade = next((found[one] for one in ids if one in found), None)
        if grade and grade["total"]:
            filled = {column: html.escape(safe(grade[name])) for column, name in form.columns.items()}
            row |= {column: text for column, text in filled.items() if row[column].strip() != "EX"}
    write(output, form.rows, form.encoding)
    return [f"{found[one]['student']} ({one})" for one in left]


def write_gradescope(path, tasks, result):
    """Write results.json of Gradescope for one submission."""
    if not result.marks:
        raise FormError(f"nothing to hand to Gradescope: {result.student}: {result.status}: {result.note}")
    tests = [
        {
            "name": task.title,
            "number": str(place),
            "score": result.marks[task.key].points,
            "max_score": task.points,
            "output": result.marks[task.key].message,
            "output_format": "text",
            "visibility": "visible",
        }
        for place, task in enumerate(tasks, start=1)
        if task.names
    ]
    _save(path, json.dumps({"score": result.score, "tests": tests}, indent=1) + "\n")


def write(path, rows, encoding=BOM):
    """Write rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    _save(path, text.getvalue(), encoding)


def _read(path, wanted):
    try:
        with Path(path).open(encoding=BOM, newline="") as file:
            reader = csv.DictReader(file, restval="")
            rows, names = list(reader), reader.fieldnames or [""]
    except (UnicodeDecodeError, csv.Error):
        rows, names = [], [";"]
    missing = sorted(wanted - set(names))
    if missing and ";" in names[0] or any(None in row for row in rows):
        raise FormError(f"{path}: is no table in UTF-8 with commas; {CURE}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise FormError(f"{path}: several columns are named {twice}, and only one would be kept")
    if missing or not rows:
        raise FormError(f"{path}: expected the columns {sorted(wanted)} and students, {missing or 'students'} missing")
    return rows


def _save(path, text, encoding="utf-8"):
    """Write a whole file or leave what was there; a full disk names the file."""
    part = Path(f"{path}.part")
    try:
        part.write_text(text, encoding, "backslashreplace", newline="")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        error.filename = str(path)
        raise
