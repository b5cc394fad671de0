"""The anatomy of a chapter and of its exercise page."""

import math
import re

from tools.lint.book import Finding
from tools.lint.numbers import words

WORDS_A_MINUTE = 120
PARTS = ["picture", "trouble", "idea", "experiment", "breaks", "claims", "exercises", "summary", "further"]
TIMES = re.compile(r"^\*(?:Mirrors .+|Ours) · reading (\d+) minutes · runs in \d+ s · needs (.+)\*$", re.M)
GOALS = re.compile(r"^:::\{admonition\} After this chapter you can\n:class: tip\n(.*?)^:::$", re.M | re.S)
EXERCISE = re.compile(r"## Exercise (\d+)\b")
TAGS = re.compile(
    r"^\*(?:derive|code|experiment)(?P<bug>, find the bug)? · (?P<minutes>\d+) minutes · difficulty [123] of 3"
    r" · goals? (?P<goals>[123](?:(?:, | and )[123])*)\*$",
    re.M,
)


def check(book):
    if not book.chapters:
        yield Finding("book", None, "has no chapter: a lint of nothing must not pass")
    exercises = {page.path: page for page in book.exercises}
    for chapter in book.chapters:
        yield from check_header(chapter)
        yield from check_parts(chapter)
        folder = chapter.path.removesuffix(f"{chapter.name}.ipynb")
        page = exercises.pop(f"{folder}exercises/{chapter.name}.ipynb", None)
        if page is None:
            yield chapter.finding(None, f"has no exercise page: write {folder}exercises/{chapter.name}.ipynb")
        else:
            yield from check_exercises(page)
    for page in exercises.values():
        yield page.finding(None, "belongs to no chapter: give it the name of its chapter's notebook")


def check_header(chapter):
    first = chapter.cells[0] if chapter.cells else None
    if first is None or first.cell_type != "markdown":
        yield chapter.finding(0, "cell 0 must be Markdown: label, title, times and goals")
        return
    if not re.match(rf"\(ch-{chapter.name}\)=\n# \S", first.source):
        yield chapter.finding(0, f"begin with the lines `(ch-{chapter.name})=` and `# Title`")
    times = TIMES.search(first.source)
    if times is None:
        yield chapter.finding(0, "write the line `*Mirrors A §… · reading N minutes · runs in N s · needs …*`")
    else:
        count = words(chapter)
        minutes = 5 * math.ceil(count / WORDS_A_MINUTE / 5)
        if int(times[1]) != minutes:
            yield chapter.finding(0, f"write `reading {minutes} minutes`: it has {count} words")
        if "](" not in times[2] and times[2] != "calculus and NumPy":
            yield chapter.finding(0, "after `needs` link a chapter, or write `calculus and NumPy`")
    box = GOALS.search(first.source)
    if box is None:
        yield chapter.finding(0, "put the goals in `:::{admonition} After this chapter you can` with `:class: tip`")
        return
    goals = re.findall(r"^- .*", box[1], re.M)
    if len(goals) != 3:
        yield chapter.finding(0, f"state exactly three goals, not {len(goals)}")
    for goal in goals:
        if not re.match(r"- \*\*[^*]+\*\*", goal):
            yield chapter.finding(0, f"begin the goal {goal!r} with a verb in bold")


def check_parts(chapter):
    parts = [(index, cell.metadata["part"]) for index, cell in enumerate(chapter.cells) if "part" in cell.metadata]
    names = [name for _, name in parts]
    if names != PARTS:
        yield chapter.finding(None, f"its parts are {', '.join(names) or 'none'}: they must be {', '.join(PARTS)}")
    for index, name in parts:
        cell = chapter.cells[index]
        if cell.cell_type != "markdown" or not re.search(r"^## \S", cell.source, re.M):
            yield chapter.finding(index, f"the cell that opens the part {name!r} must be Markdown with a `## ` heading")
    if "exercises" in names:
        at = names.index("exercises")
        start, stop = parts[at][0], parts[at + 1][0] if at + 1 < len(parts) else len(chapter.cells)
        text = "\n".join(cell.source for cell in chapter.cells[start:stop])
        if not re.search(rf"exercises/{chapter.name}\.ipynb\)|`ex-{chapter.name}`|<ex-{chapter.name}>", text):
            yield chapter.finding(start, f"link to the exercise page, exercises/{chapter.name}.ipynb")


def check_exercises(page):
    first = page.cells[0].source if page.cells else ""
    if not re.match(rf"\(ex-{page.name}\)=\n# Exercises: \S", first):
        yield page.finding(0, f"begin with the lines `(ex-{page.name})=` and `# Exercises: Title`")
    exercises = [(index, cell.source) for index, cell in page.cells_of("markdown") if EXERCISE.match(cell.source)]
    numbers = [int(EXERCISE.match(text)[1]) for _, text in exercises]
    if not 3 <= len(numbers) <= 6:
        yield page.finding(None, f"has {len(numbers)} exercises: write three to six, each under `## Exercise N: title`")
    if numbers != list(range(1, len(numbers) + 1)):
        yield page.finding(None, f"its exercises are numbered {numbers}: number them 1, 2, 3, …")
    goals, bugs, minutes = set(), 0, 0
    for index, text in exercises:
        tags = TAGS.search(text)
        if tags is None:
            yield page.finding(index, "below the heading write `*code · 15 minutes · difficulty 2 of 3 · goal 1*`")
            continue
        goals |= set(re.findall(r"\d", tags["goals"]))
        bugs += tags["bug"] is not None
        minutes += int(tags["minutes"])
    for index, text in exercises:
        if "deliverable:" not in text.lower():
            yield page.finding(index, "say what is to be handed in: `Deliverable: …`")
    for goal in sorted(set("123") - goals):
        yield page.finding(None, f"no exercise meets the chapter's goal {goal}: add one, or mend its `goal N`")
    if bugs == 0:
        yield page.finding(None, "no exercise is tagged `code, find the bug`: every chapter has one")
    if f"{minutes} minutes" not in first:
        yield page.finding(0, f"state the total, `{minutes} minutes`, in the first cell")
