"""The table of weeks: minutes and points are those of the exercises, and what a chapter needs comes before it."""

import re

import nbformat

from course import BOOK
from course.gradebook import best
from course.tasks import load

PAGE = (BOOK / "for-instructors.md").read_text(encoding="utf-8")
CHAPTER = re.compile(r"\]\([./]*((?:\w+/)?)([\w-]+)\.ipynb\)")


def weeks():
    """Map a week to its chapters, minutes and points."""
    rows = re.findall(r"^\| (\d+) \|([^|]*)\|([^|]*)\|([^|]*)\|$", PAGE, re.MULTILINE)
    return {int(week): ([part + name for part, name in CHAPTER.findall(text)], *told) for week, text, *told in rows}


def first_cell(path):
    return nbformat.read(path, as_version=4).cells[0].source


def test_minutes_and_points():
    assert list(weeks()) == list(range(1, 13))
    for chapters, minutes, points in weeks().values():
        found = zip(chapters, re.findall(r"\d+", minutes), re.findall(r"\d+ \+ \d+", points), strict=True)
        for chapter, told, by_tests_and_hand in found:
            part, name = chapter.split("/")
            path = BOOK / part / "exercises" / f"{name}.ipynb"
            assert f" {told} minutes" in first_cell(path), chapter
            tasks = load(path)[0]
            tests, hand = best(tasks), sum(task.points for task in tasks if not task.names)
            assert by_tests_and_hand == f"{tests} + {hand}", chapter
            shown = f"release/{name}.ipynb: "
            assert shown not in PAGE or f"{shown}{tests} points by tests, {hand} by hand\n" in PAGE


def test_what_a_chapter_needs_comes_before_it():
    assert "weeks 1 to 4, 9 and 10; weeks 1 to 7" in PAGE
    for choice in (range(1, 13), (1, 2, 3, 4, 9, 10), range(1, 8)):
        known = set()
        for chapter in (chapter for week in choice for chapter in weeks()[week][0]):
            needs = re.search(r" needs (.+)\*$", first_cell(BOOK / f"{chapter}.ipynb"), re.MULTILINE)[1]
            assert {name for _, name in CHAPTER.findall(needs)} <= known, (choice, chapter)
            known.add(chapter.split("/")[1])
