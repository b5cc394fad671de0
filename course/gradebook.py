"""Write grades down: a CSV, a page of feedback for each student, and the forms of Canvas, Moodle and Gradescope."""

import csv
import html
import json
import re
from pathlib import Path

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


def write_csv(path, tasks, results, tests):
    """Write one row a student: score, one column an exercise (blank where a person grades), feedback and status.

    `tests` says in the last column which tests these were.
    """
    keys = [task.key for task in tasks]
    head = ["student", "id", "file", "score", "max_score", *keys, "feedback", "status", "note", "tests"]
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for result in results:
            points = [number(result.marks[task.key].points if result.marks else None) for task in tasks]
            told = safe(feedback(tasks, result)) if result.marks else ""
            who = [safe(result.student), safe(result.lms_id), safe(result.file)]
            row = [*who, number(result.score), number(best(tasks)), *points, told, result.status, safe(result.note)]
            writer.writerow([*row, safe(tests)])


def feedback(tasks, result):
    """Return the feedback as one line."""
    if not result.marks:
        return f"{result.status}: {result.note}"
    return "; ".join(
        f"{task.title}: {result.marks[task.key].message}" for task in tasks if result.marks[task.key].points is not None
    )


def write_pages(folder, title, tasks, results):
    """Write a page of feedback for each student into `folder`, named after the student; older pages go."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.html"):
        old.unlink()
    taken = set()
    for result in results:
        name = re.sub(r"[^\w-]+", "_", f"{result.student} {result.lms_id}".strip())[:80] or "_"
        while name.lower() in taken:  # two students may have one name, and file systems may not tell A from a
            name += "_"
        taken.add(name.lower())
        (folder / f"{name}.html").write_text(page(title, tasks, result), encoding="utf-8")


def page(title, tasks, result):
    """Return a student's page. All that comes from the student is escaped."""
    rows = []
    for task in tasks if result.marks else ():
        mark = result.marks[task.key]
        points = f"{number(mark.points) or '–'} of {number(task.points)}"
        cells = "".join(f"<td>{html.escape(text)}</td>" for text in (points, mark.message))
        rows.append(f'<tr><th scope="row">{html.escape(task.title)}</th>{cells}</tr>')
    summary = f"{result.student}: {number(result.score)} of {number(best(tasks))} points by tests. {result.note}"
    if not result.marks:
        summary = f"{result.student}: {result.status}. {result.note}"
    table = TABLE.format(rows="\n".join(rows)) if rows else ""
    return PAGE.format(title=html.escape(title), summary=html.escape(summary.strip()), table=table)


def read_canvas(export, column):
    """Return the rows of a gradebook that Canvas exported and the whole name of a column."""
    rows = _read(export, {"Student", "ID", "SIS Login ID", "Section"})
    columns = [name for name in rows[0] if name == column or name.startswith(f"{column} (")]
    if len(columns) != 1:
        raise FormError(f"{export}: expected one column {column!r}, got {columns or list(rows[0])}")
    return rows, columns[0]


def read_table(path):
    """Return the rows of a table of grades; a score is the sum of its exercises, with points that a person added."""
    rows = _read(path, {"student", "id", "score", "max_score", "feedback"})
    names = list(rows[0])
    keys = names[names.index("max_score") + 1 : names.index("feedback")]
    for row in rows:
        cells = [(row[key] or "").strip() for key in keys]
        try:
            points = [float(cell) for cell in cells if cell]
        except ValueError as error:
            raise FormError(f"{path}: points of {row['student']}: {error}") from None
        row["score"] = number(sum(points)) if points else ""
    return rows


def fill_canvas(rows, column, table, output):
    """Fill one column of the rows of a gradebook of Canvas; all other cells stay as they are.

    A student is found by the id in the name of the file that Canvas gave, or by the login.
    """
    found = _by_id(table)
    for row in rows:
        grade = found.pop(row["ID"].strip(), None) or found.pop(row["SIS Login ID"].strip(), None)
        if grade and grade["score"]:
            row[column] = grade["score"]
    _write(output, rows, "utf-8-sig")
    return sorted(grade["student"] for grade in found.values())


def read_moodle(worksheet):
    """Return the rows of a grading worksheet that Moodle exported."""
    return _read(worksheet, {"Identifier", "Full name", "Grade", "Feedback comments"})


def fill_moodle(rows, table, output):
    """Fill grade and feedback of the rows of a worksheet of Moodle (`Identifier` is `Participant 1234`)."""
    found = _by_id(table)
    for row in rows:
        grade = found.pop(row["Identifier"].split()[-1] if row["Identifier"].split() else "", None)
        if grade and grade["score"]:
            row["Grade"], row["Feedback comments"] = grade["score"], html.escape(safe(grade["feedback"]))
    _write(output, rows, "utf-8")
    return sorted(grade["student"] for grade in found.values())


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
    Path(path).write_text(json.dumps({"score": result.score, "tests": tests}, indent=1) + "\n", encoding="utf-8")


def _by_id(table):
    return {row["id"] or row["student"]: row for row in table}


def _read(path, wanted):
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    missing = sorted(wanted - set(reader.fieldnames or []))
    if missing or not rows:
        raise FormError(f"{path}: expected the columns {sorted(wanted)} and students, {missing or 'students'} missing")
    return rows


def _write(path, rows, encoding):
    with Path(path).open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
