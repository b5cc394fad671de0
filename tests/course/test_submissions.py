"""Folders and zips as they come from learning platforms, and as nobody should make them."""

import csv
import stat
import zipfile
from pathlib import Path

import pytest

from course import submissions
from course.__main__ import main
from course.gradebook import (
    canvas,
    feedback,
    fill,
    grades,
    moodle,
    page,
    read_table,
    safe,
    write,
    write_gradescope,
    write_pages,
)
from course.grading import Mark, Result
from course.submissions import IntakeError, collect
from course.tasks import Task

GOLDEN = Path(__file__).with_name("golden")


def make_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def told(path):
    return [(entry.student, entry.lms_id, entry.file, entry.text, entry.note) for entry in collect(path, "planes")]


class TestIntake:
    def test_a_folder_of_folders_or_of_files(self, tmp_path):
        for name in (
            "bea/ps (1).ipynb",
            "ann.ipynb",
            "cid/deep/er.ipynb",
            "dan/text.docx",
            ".git/x.ipynb",
            "dan/.b.ipynb",
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)
        (tmp_path / "eve").mkdir()
        assert told(tmp_path) == [
            ("ann", "", "ann.ipynb", "ann.ipynb", ""),
            ("bea", "", "ps (1).ipynb", "bea/ps (1).ipynb", ""),
            ("cid", "", "deep/er.ipynb", "cid/deep/er.ipynb", ""),
            ("dan", "", "", None, "no notebook, but text.docx"),
            ("eve", "", "", None, "no notebook"),
        ]

    def test_a_zip_of_moodle(self, tmp_path):
        files = {
            "Ann Ä. Lee_1201_assignsubmission_file_/jacobians.ipynb": "1",
            "Bo_1202_assignsubmission_file_jacobians.ipynb": "2",
        }
        assert told(make_zip(tmp_path / "m.zip", files)) == [
            ("Ann Ä. Lee", "1201", "jacobians.ipynb", "1", ""),
            ("Bo", "1202", "jacobians.ipynb", "2", ""),
        ]

    def test_a_zip_of_canvas(self, tmp_path):
        files = {"leeann_LATE_31_99_jacobians-2.ipynb": "1", "bo_32_98_my_own.ipynb": "2", "__MACOSX/._x.ipynb": ""}
        why = "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"
        files |= {"cid_LATE_33_97_a.ipynb": b"\xff", "dan_LATE_34_96_a.pdf": ""}
        assert told(make_zip(tmp_path / "c.zip", files)) == [
            ("bo", "32", "my_own.ipynb", "2", ""),
            ("cid", "33", "a.ipynb", None, f"cannot be read: {why}; handed in late"),
            ("dan", "34", "", None, "no notebook, but a.pdf; handed in late"),
            ("leeann", "31", "jacobians-2.ipynb", "1", "handed in late"),
        ]

    @pytest.mark.parametrize(
        "names",
        [("a.ipynb", "a (2).ipynb", "a (10).ipynb"), ("a.ipynb", "a copy.ipynb", "a-final.ipynb")],
    )
    def test_of_several_notebooks_the_last_copy_counts(self, names, tmp_path):
        path = make_zip(tmp_path / "z.zip", {"bea/": "", **{f"ann/{name}": name for name in names}})
        ((*_, file, text, note), _) = told(path)
        assert (file, text) == (names[-1], names[-1])
        assert note == f"{len(names)} notebooks of this chapter: this one was graded, being the last by name"

    CLASSES = {
        "canvas": ["submissions/ann_31_1_a.ipynb", "submissions/bo_32_2_b.ipynb"],
        "moodle": ["x/Ann_31_assignsubmission_file_/a.ipynb", "x/Bo_32_assignsubmission_file_/b.ipynb"],
        "one of moodle": ["Ann_31_assignsubmission_file_/a.ipynb"],
        "a mac": ["Archive/ann_31_1_a.ipynb", "__MACOSX/Archive/._ann_31_1_a.ipynb", ".DS_Store", "Archive/.DS_Store"],
        "folders": ["outer/inner/ann/a.ipynb", "outer/inner/bo/b.ipynb", "outer/inner/bo/.ipynb_checkpoints/x.ipynb"],
        "notebooks": ["subs/ann.ipynb", "subs/bo.ipynb", "README.txt"],
        "one": ["ann/deep/a.ipynb"],
    }

    @pytest.mark.parametrize("zipped", [False, True])
    @pytest.mark.parametrize(("files", "what"), [(files, what) for what, files in CLASSES.items()], ids=CLASSES)
    def test_a_class_is_found_whatever_lies_around_it(self, files, what, zipped, tmp_path):
        for name in files:
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / name).write_text("{}")
        found = told(make_zip(tmp_path / "z.zip", dict.fromkeys(files, "{}")) if zipped else tmp_path / "in")
        expected = ["ann"] if what in ("one of moodle", "a mac", "one") else ["ann", "bo"]
        assert [student.lower() for student, *_ in found] == expected

    DOUBTFUL = {
        "copies": (["maf.ipynb", "maf-1.ipynb"], "whose is maf-1.ipynb?"),
        "copies in a folder": (["subs/a.ipynb", "subs/a (1).ipynb"], "whose is a \\(1\\).ipynb?"),
        "names of the chapter": (["planes_v2.ipynb", "ann.ipynb"], "whose is planes_v2.ipynb?"),
        "sections": (
            ["one/ann/a.ipynb", "one/bo/b.ipynb", "two/cid/c.ipynb"],
            "one holds the work of several students?",
        ),
        "beside a student": (
            ["subs/ann_31_1_a.ipynb", "subs/bo_32_2_b.ipynb", "cid/c.ipynb"],
            "subs holds the work of",
        ),
        "a zip": (["canvas.zip"], "holds a zip only: give the zip itself, canvas.zip"),
    }

    @pytest.mark.parametrize(("files", "message"), DOUBTFUL.values(), ids=DOUBTFUL)
    def test_what_may_be_a_class_is_no_student(self, files, message, tmp_path):
        with pytest.raises(IntakeError, match=message):
            told(make_zip(tmp_path / "z.zip", dict.fromkeys(files, "{}")))

    def test_numbers_may_be_names(self, tmp_path):
        names = ["s100", "s101", "group-1", "group-2"]
        found = collect(make_zip(tmp_path / "z.zip", {f"{name}.ipynb": "{}" for name in names}), "planes")
        assert [(one.student, one.loose) for one in found] == [(name, True) for name in sorted(names)]

    @pytest.mark.parametrize("zipped", [False, True])
    def test_of_notebooks_of_several_chapters_the_one_of_this_chapter_counts(self, zipped, tmp_path):
        def of(chapter):
            return f'{{"cells": [{{"source": ["mine\\n", "(ex-{chapter})=\\n"]}}]}}'

        files = {
            "ann/zz.ipynb": of("lines"),
            "ann/hw.ipynb": of("planes"),
            "ann/aa.ipynb": "{}",
            "bea/planes.ipynb": of("lines"),
            "cid/lines.ipynb": "{}",
            "cid/zz.ipynb": of("lines"),
        }
        for name, text in files.items():
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / name).write_text(text)
        assert told(make_zip(tmp_path / "z.zip", files) if zipped else tmp_path / "in") == [
            ("ann", "", "hw.ipynb", of("planes"), ""),
            ("bea", "", "", None, "no notebook of planes, but planes.ipynb of lines"),
            ("cid", "", "lines.ipynb", "{}", ""),
        ]

    def test_a_zip_that_slips_writes_nothing_anywhere(self, tmp_path):
        inner = tmp_path / "in"
        inner.mkdir()
        path = make_zip(
            inner / "z.zip", {"../../evil.ipynb": "x", "/etc/evil.ipynb": "y", "a\\..\\..\\w.ipynb": "z", "../": ""}
        )
        assert [entry[:3] for entry in told(path)] == [
            ("a", "", "w.ipynb"),
            ("etc", "", "evil.ipynb"),
            ("evil", "", "evil.ipynb"),
        ]
        assert sorted(tmp_path.rglob("*")) == [inner, path]

    def test_links_are_not_followed(self, tmp_path):
        secret = tmp_path / "secret.ipynb"
        secret.write_text("secret")
        (tmp_path / "in" / "ann").mkdir(parents=True)
        (tmp_path / "in" / "ann" / "a.ipynb").symlink_to(secret)
        assert told(tmp_path / "in") == [("ann", "", "a.ipynb", None, "cannot be read: is a link")]
        link = zipfile.ZipInfo("ann/a.ipynb")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(tmp_path / "l.zip", "w") as archive:
            archive.writestr(link, str(secret))
        assert told(tmp_path / "l.zip") == [("ann", "", "a.ipynb", None, "cannot be read: is a link")]

    def test_bombs(self, tmp_path, monkeypatch):
        monkeypatch.setattr(submissions, "LARGEST", 1000)
        path = tmp_path / "z.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("ann/a.ipynb", bytes(10**6))
            archive.writestr("bea/b.ipynb", "fine")
        assert [entry[3:] for entry in told(path)] == [(None, "cannot be read: more than 0 MB"), ("fine", "")]
        monkeypatch.setattr(submissions, "ALL", 10**5)
        with pytest.raises(IntakeError, match="more than 10 000 files or"):
            collect(path, "planes")

    def test_what_is_not_text_or_damaged(self, tmp_path):
        path = make_zip(tmp_path / "z.zip", {"ann/a.ipynb": b"\xff\xfe", "bea/b.ipynb": "fine" * 50})
        damaged = path.read_bytes().replace(b"finefine", b"finefinf", 1)
        path.write_bytes(damaged)
        ann, bea = told(path)
        assert ann[3:] == (
            None,
            "cannot be read: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        )
        assert bea[4].startswith("cannot be read: Bad CRC-32")

    def test_nothing_to_grade(self, tmp_path):
        (tmp_path / "x.txt").write_text("")
        whole = make_zip(tmp_path / "whole.zip", {"ann/a.ipynb": "{}"}).read_bytes()
        (tmp_path / "half.zip").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "bad.zip").write_bytes(whole.replace(b"PK\1\2", b"PK\1\3"))
        for path, message in (
            (make_zip(tmp_path / "e.zip", {}), "holds no submission"),
            (tmp_path / "x.txt", "x.txt is neither folder nor zip"),
            (tmp_path / "half.zip", "half.zip is cut off or empty: download it again"),
            (tmp_path / "bad.zip", "bad.zip is damaged: download it again"),
            (tmp_path / "none.zip", "none.zip: there is no such folder or zip of submissions"),
        ):
            with pytest.raises(IntakeError, match=message):
                collect(path, "planes")


TASKS = [
    Task("one", "Exercise 1", 2, frozenset("f")),
    Task("two", "Exercise 2", 3),
    Task("three", "Exercise 3", 1.5, frozenset("g")),
]


def result(student, lms_id, first, last, note=""):
    marks = {"one": first, "two": Mark(None, "graded by a person"), "three": last}
    return Result(student, lms_id, "a.ipynb", "ok", note, marks)


FULL = Mark(2, "passes all tests"), Mark(1.5, "passes all tests")
RESULTS = [
    result("Ann Lee", "31", *FULL),
    result('=HYPERLINK("x")', "32", Mark(0, 'a visible test: =1+1\n"quoted", <b>bold</b>'), FULL[1], "+2 notebooks"),
    Result("Cid", "33", "c.ipynb", "unreadable", "not a notebook: ValueError"),
    Result("Dan", "34", "d.ipynb", "infrastructure", "a grading process was killed"),
    Result("Eve", "35", "", "not submitted", "no notebook"),
    result("../../../ann lee", "31", *FULL),
]


TESTS = "the book's, COURSE_SEED=7"


def rows(folder):
    write(folder / "five.csv", grades(TASKS, RESULTS[:5], TESTS))
    return read_table(folder / "five.csv", TASKS)


def same_as_golden(path):
    golden = GOLDEN / path.name
    assert path.read_bytes() == golden.read_bytes(), golden


class TestForms:
    def test_the_table(self, tmp_path):
        write(tmp_path / "grades.csv", grades(TASKS, RESULTS, TESTS))
        same_as_golden(tmp_path / "grades.csv")

    def test_nothing_graded_is_blank_and_never_zero(self, tmp_path):
        write(tmp_path / "grades.csv", grades(TASKS, RESULTS, TESTS))
        with (tmp_path / "grades.csv").open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        assert [(row["score"], row["one"], row["two"]) for row in rows if row["status"] != "ok"] == [("", "", "")] * 3
        assert {row["two"] for row in rows} == {""}

    @pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", " =1", "\r\n@x"])
    def test_no_cell_is_a_formula(self, text):
        assert safe(text)[0] == "'"
        assert "\n" not in safe(text)

    def test_canvas(self, tmp_path):
        form = canvas(GOLDEN / "canvas-export.csv", "Determinants")
        assert fill(form, rows(tmp_path), tmp_path / "canvas.csv") == ["Dan (34)", "Eve (35)"]
        same_as_golden(tmp_path / "canvas.csv")

    def test_moodle(self, tmp_path):
        form = moodle(GOLDEN / "moodle-worksheet.csv")
        assert fill(form, rows(tmp_path), tmp_path / "moodle.csv") == ["Dan (34)", "Eve (35)"]
        same_as_golden(tmp_path / "moodle.csv")

    def test_gradescope(self, tmp_path):
        write_gradescope(tmp_path / "results.json", TASKS, RESULTS[1])
        same_as_golden(tmp_path / "results.json")
        with pytest.raises(ValueError, match="Cid: unreadable"):
            write_gradescope(tmp_path / "none.json", TASKS, RESULTS[2])

    def test_an_export_of_another_form(self, tmp_path):
        with pytest.raises(ValueError, match=r"expected one column 'Jacobians', got \['Student', "):
            canvas(GOLDEN / "canvas-export.csv", "Jacobians")
        with pytest.raises(ValueError, match=r"\['Feedback comments', 'Full name', 'Grade', 'Identifier'\] missing"):
            moodle(GOLDEN / "canvas-export.csv")


class TestPointsByHand:
    """Written into the blank columns of the table, they are added up and reach the platform's form."""

    HAND = {"Ann Lee": "2.5", "Eve": "3"}

    @pytest.fixture
    def forms(self, tmp_path, monkeypatch):
        """Change the table's text, call `forms`, and return its exit code."""
        monkeypatch.setattr("course.__main__.load", lambda *_: (TASKS, []))
        table = grades(TASKS, RESULTS[:5], TESTS)
        write(tmp_path / "grades.csv", [row | {"two": self.HAND.get(row["student"], "")} for row in table])

        def call(*options, change=lambda text: text, encoding="utf-8-sig"):
            path = tmp_path / "grades.csv"
            path.write_text(change(path.read_text(encoding="utf-8-sig")), encoding=encoding)
            return main(["forms", str(GOLDEN / "planes.ipynb"), str(path), *options])

        return call

    def test_are_added(self, forms, tmp_path, capsys):
        options = ["--canvas", str(GOLDEN / "canvas-export.csv"), "Determinants"]
        assert forms(*options, "--moodle", str(GOLDEN / "moodle-worksheet.csv")) == 0
        said = capsys.readouterr().err
        assert said.count(": Eve (35)") == 2
        assert "no points for two: '=HYPERLINK" in said
        assert '"Lee, Ann",31,lee,S1,6,50' in (tmp_path / "grades-canvas.csv").read_text()
        filled = list(csv.DictReader((tmp_path / "grades-moodle.csv").read_text().splitlines()))
        assert [row["Grade"] for row in filled[:3]] == ["6", "1.5", ""]
        with (tmp_path / "grades.csv").open(newline="", encoding="utf-8-sig") as file:
            table = list(csv.DictReader(file))
        assert [(row["score"], row["total"]) for row in table[:3]] == [("3.5", "6"), ("1.5", "1.5"), ("", "")]

    def test_need_no_platform_and_other_columns_stay(self, forms, tmp_path):
        def change(text):
            head, *lines = text.splitlines()
            return "\n".join([f"{head},days late", *(f"{line},7" for line in lines)])

        assert forms(change=change) == 0
        table = list(csv.DictReader((tmp_path / "grades.csv").read_text(encoding="utf-8-sig").splitlines()))
        assert [row["total"] for row in table] == ["6", "1.5", "", "", "3"]
        assert {row["days late"] for row in table} == {"7"}

    @pytest.mark.parametrize("cell", ["two", "3.5", "-1", "nan", "1;5"])
    def test_must_be_numbers_up_to_the_maximum(self, cell, forms, tmp_path, capsys):
        assert (
            forms("--moodle", str(GOLDEN / "moodle-worksheet.csv"), change=lambda text: text.replace("2.5", cell)) == 1
        )
        message = f"row 2, Ann Lee: two: expected a number from 0 to 3, got {cell!r}\n"
        assert capsys.readouterr().err == f"{tmp_path / 'grades.csv'}: {message}"
        assert not (tmp_path / "grades-moodle.csv").exists()

    @pytest.mark.parametrize(
        ("change", "encoding"),
        [
            (lambda text: text.replace("Ann", "José"), "cp1252"),
            (lambda text: text.replace(",", ";"), "utf-8"),
            (lambda text: text.replace("2.5", "2,5"), "utf-8"),
        ],
    )
    def test_a_table_that_a_spreadsheet_saved_otherwise(self, change, encoding, forms, capsys):
        assert forms(change=change, encoding=encoding) == 1
        assert "grades.csv: is no table in UTF-8 with commas; save it as “CSV UTF-8”" in capsys.readouterr().err

    def test_a_form_of_others_and_a_student_who_is_excused(self, forms, tmp_path, capsys):
        export = (GOLDEN / "canvas-export.csv").read_text()
        (tmp_path / "excused.csv").write_text(export.replace("31,lee,S1,,", "31,lee,S1,EX,"))
        assert forms("--canvas", str(tmp_path / "excused.csv"), "Determinants") == 0
        assert '"Lee, Ann",31,lee,S1,EX,50' in (tmp_path / "grades-canvas.csv").read_text()
        (tmp_path / "others.csv").write_text("\n".join([*export.splitlines()[:2], "X,99,x,S1,,"]))
        assert forms("--canvas", str(tmp_path / "others.csv"), "Determinants") == 1
        assert "knows none of these students, such as 31" in capsys.readouterr().err

    def test_two_columns_of_one_name_are_refused(self, forms, capsys):
        assert forms(change=lambda text: text.replace(",tests", ",note")) == 1
        assert "several columns are named ['note'], and only one would be kept" in capsys.readouterr().err

    @pytest.fixture
    def again(self, source, tmp_path, capsys):
        """Grade ann, who solved all, and bo, who handed in nonsense; then change the table and grade again."""
        import nbformat

        from tests.course.test_grading import TestNotebooks

        for name, text in {"ann": nbformat.writes(TestNotebooks().solved()), "bo": "nonsense"}.items():
            (tmp_path / "in" / name).mkdir(parents=True)
            (tmp_path / "in" / name / "a.ipynb").write_text(text)
        out = tmp_path / "grades.csv"
        command = ["grade", str(source), str(tmp_path / "in"), "-o", str(out), "--unsafe"]
        assert main(command) == 0
        assert "kept" not in capsys.readouterr().out

        def call(change, *options):
            table = list(csv.DictReader(out.read_text(encoding="utf-8-sig").splitlines()))
            write(out, [row | change(row) for row in table])
            code, told = main([*command, *options]), capsys.readouterr()
            return code, told.out + told.err, list(csv.DictReader(out.read_text(encoding="utf-8-sig").splitlines()))

        return call

    def test_a_later_grading_keeps_what_a_person_wrote(self, again, tmp_path):
        written = {"ann": {"areas": "1.5", "mine": "asked well", "swap": ""}, "bo": {"areas": "2", "shear": "1"}}
        export = (GOLDEN / "canvas-export.csv").read_text().replace(",31,", ",ann,")
        (tmp_path / "export.csv").write_text(export)
        form = ["--canvas", str(tmp_path / "export.csv"), "Determinants"]
        code, told, (ann, bo) = again(lambda row: {"mine": ""} | written[row["student"]], *form)
        assert code == 0
        assert "kept of what you wrote: areas (2), mine (1), shear (1)\n" in told
        assert [ann[name] for name in ("score", "areas", "swap", "total", "mine")] == [
            "4",
            "1.5",
            "",
            "5.5",
            "asked well",
        ]
        assert [bo[name] for name in ("score", "areas", "shear", "total", "mine")] == ["", "2", "1", "3", ""]
        assert '"Lee, Ann",ann,lee,S1,5.5,50' in (tmp_path / "grades-canvas.csv").read_text()
        page = (tmp_path / "grades-feedback" / "ann.html").read_text()
        assert "<td>1.5 of 3</td><td>graded by a person</td>" in page
        assert "<h1>Exercises: Planes</h1>\n<p>ann: 4 of 4 points by tests, for a.ipynb.</p>" in page

    @pytest.mark.parametrize("column", ["areas", "mine"])
    def test_what_a_person_wrote_of_who_is_gone_is_not_lost(self, column, again, tmp_path):
        (tmp_path / "in" / "bo").rename(tmp_path / "in" / "bea")
        code, told, table = again(lambda _: {column: "2"})
        assert code == 1
        assert f"{tmp_path / 'grades.csv'}: bo: not handed in here, and what you wrote in their rows" in told
        assert [row["student"] for row in table] == ["ann", "bo"]

    def test_a_student_who_is_new_has_blanks(self, again, tmp_path):
        (tmp_path / "in" / "bo").rename(tmp_path / "in" / "bea")
        code, _, table = again(lambda row: {"mine": "x" * (row["student"] == "ann")})
        assert code == 0
        assert [(row["student"], row["mine"]) for row in table] == [("ann", "x"), ("bea", "")]


def test_a_full_disk_names_the_file_and_leaves_what_was_there(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    (tmp_path / "grades.csv").write_text("old")
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*grades\.csv'"):
        write(tmp_path / "grades.csv", grades(TASKS, RESULTS, TESTS))
    assert (tmp_path / "grades.csv").read_text() == "old"


class TestPages:
    def test_a_page(self, tmp_path):
        (tmp_path / "feedback.html").write_text(
            page("Exercises: planes", TASKS, RESULTS[1], rows(tmp_path)[1]), encoding="utf-8"
        )
        same_as_golden(tmp_path / "feedback.html")

    def test_names_stay_in_the_folder_and_apart(self, tmp_path):
        (tmp_path / "pages").mkdir()
        (tmp_path / "pages" / "gone_30.html").write_text("of an earlier run")
        write_pages(tmp_path / "pages", "t", TASKS, RESULTS, grades(TASKS, RESULTS, TESTS))
        names = sorted(path.name for path in tmp_path.rglob("*.html"))
        assert names == [
            "Ann_Lee_31.html",
            "Cid_33.html",
            "Dan_34.html",
            "Eve_35.html",
            "_HYPERLINK_x_32.html",
            "_ann_lee_31.html",
        ]
        assert all(path.parent == tmp_path / "pages" for path in tmp_path.rglob("*.html"))
        two = [result("Ann", "", *FULL), result("ann", "", *FULL)]
        write_pages(tmp_path / "two", "t", TASKS, two, grades(TASKS, two, TESTS))
        assert len(list((tmp_path / "two").iterdir())) == 2

    def test_who_got_no_grade_reads_why(self, tmp_path):
        assert "Cid: unreadable. not a notebook: ValueError" in page("t", TASKS, RESULTS[2], rows(tmp_path)[2])
        assert feedback(TASKS, RESULTS[2]) == "unreadable: not a notebook: ValueError"


def test_from_a_zip_to_the_tables(source, tmp_path, monkeypatch, capsys):
    """All of it once, without a sandbox, so that it runs everywhere."""
    import nbformat

    from tests.course.conftest import make_notebook
    from tests.course.test_grading import TestNotebooks

    solved = nbformat.writes(TestNotebooks().solved())
    hand_in = {"leeann_31_1_planes.ipynb": solved, "bo_LATE_32_2_planes-1.ipynb": nbformat.writes(make_notebook())[:99]}
    archive = make_zip(tmp_path / "in.zip", hand_in)
    out = tmp_path / "out" / "grades.csv"
    export = str(GOLDEN / "canvas-export.csv")
    command = ["grade", str(source), str(archive), "-o", str(out), "--canvas", export, "Determinants", "--unsafe"]
    monkeypatch.setenv("COURSE_SEED", "7")
    assert main(command) == 0
    said = capsys.readouterr()
    assert said.out.split("\n")[:4] == ["ok: 1", "unreadable: 1", "tests: the book's, COURSE_SEED=7", str(out)]
    assert "--unsafe: answers can read your files" in said.err
    rows = list(csv.DictReader(out.read_text(encoding="utf-8-sig").splitlines()))
    assert {row["tests"] for row in rows} == {"the book's, COURSE_SEED=7"}
    assert [(row["student"], row["score"], row["max_score"], row["status"]) for row in rows] == [
        ("bo", "", "4", "unreadable"),
        ("leeann", "4", "4", "ok"),
    ]
    pages = {path.name: path.read_text() for path in (out.parent / "grades-feedback").iterdir()}
    assert set(pages) == {"bo_32.html", "leeann_31.html"}
    assert "swapped_rows" not in str(pages)
    assert "Lee, Ann,31,lee,S1,4" in (out.parent / "grades-canvas.csv").read_text().replace('"', "")


REFUSED = {
    "a column": (["--canvas", str(GOLDEN / "canvas-export.csv"), "Jacobians"], "expected one column 'Jacobians'"),
    "a gradebook": (["--canvas", "none.csv", "Jacobians"], "none.csv"),
    "a worksheet": (["--moodle", str(GOLDEN / "canvas-export.csv")], "'Identifier'] missing"),
    "two for Gradescope": (["--gradescope", "results.json"], "--gradescope takes one submission, got 2"),
    "an overlay": (["--overlay", f"{GOLDEN}/README.md"], "--overlay: expected a folder, got "),
    "no jobs": (["--jobs", "-1"], "--jobs: expected 1 or more, got -1"),
    "a form of others": (
        ["--moodle", str(GOLDEN / "moodle-worksheet.csv")],
        "knows none of these students, such as ann",
    ),
    "a table": (["-o", "."], ". is a folder: -o takes the name of a table, such as grades.csv"),
    "a table in a file": (["-o", f"{GOLDEN}/README.md/grades.csv"], "README.md"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_can_be_refused_is_refused_before_grading(options, message, source, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("course.__main__.grade", lambda *_: pytest.fail("grades"))
    monkeypatch.chdir(tmp_path)
    archive = make_zip(tmp_path / "in.zip", {"ann/a.ipynb": "{}", "bea/b.ipynb": "{}"})
    assert main(["grade", str(source), str(archive), "-o", str(tmp_path / "new" / "grades.csv"), *options]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.csv"))


def test_an_older_table_is_not_taken_for_this_run_s(source, tmp_path, monkeypatch, capsys):
    (tmp_path / "in" / "ann").mkdir(parents=True)
    out = tmp_path / "out" / "grades.csv"
    command = ["grade", str(source), str(tmp_path / "in"), "-o", str(out), "--unsafe"]
    monkeypatch.setenv("COURSE_SEED", "seven")
    assert main(command) == 1
    assert "earlier" not in capsys.readouterr().err
    (out.parent / "grades-feedback").mkdir(parents=True)
    out.write_text("old")
    assert main(command) == 1
    assert capsys.readouterr().err.split("\n")[1] == (
        f"{out}, {out.parent / 'grades-feedback'}: of an earlier run, and left as they were."
    )
    assert out.read_text() == "old"
