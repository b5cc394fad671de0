"""The table of weeks: minutes are those of the exercise pages, and what a chapter needs comes before it."""

import re

import nbformat

from course import BOOK

PAGE = (BOOK / "for-instructors.md").read_text(encoding="utf-8")
CHAPTER = re.compile(r"\]\([./]*((?:\w+/)?)([\w-]+)\.ipynb\)")


def weeks():
    rows = re.findall(r"^\| (\d+) \| (.*) \| (.*) ?\|$", PAGE, re.MULTILINE)
    return {int(week): ([part + name for part, name in CHAPTER.findall(text)], minutes) for week, text, minutes in rows}


def first_cell(path):
    return nbformat.read(path, as_version=4).cells[0].source


def test_minutes():
    for chapters, minutes in weeks().values():
        for chapter, told in zip(chapters, re.findall(r"\d+", minutes), strict=True):
            part, name = chapter.split("/")
            assert f" {told} minutes" in first_cell(BOOK / part / "exercises" / f"{name}.ipynb"), chapter


def test_what_a_chapter_needs_comes_before_it():
    assert "weeks 1 to 4, 9 and 10; weeks 1 to 7" in PAGE
    for choice in (range(1, 13), (1, 2, 3, 4, 9, 10), range(1, 8)):
        known = set()
        for chapter in (chapter for week in choice for chapter in weeks()[week][0]):
            needs = re.search(r" needs (.+)\*$", first_cell(BOOK / f"{chapter}.ipynb"), re.MULTILINE)[1]
            assert {name for _, name in CHAPTER.findall(needs)} <= known, (choice, chapter)
            known.add(chapter.split("/")[1])
