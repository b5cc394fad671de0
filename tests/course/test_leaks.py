import gzip
import html
import json
import zipfile

import nbformat
import pytest

import course
from course import leaks
from course.__main__ import main
from course.leaks import scan, withheld
from course.views import page, student
from tests.course.conftest import cell_of

SECRET = 'return diagonal_product - other_product  # "signed" area & nothing else'
HIDDEN = 'assert np.allclose(shear(points, 3.0)[:, 1], [2.0, 1.0]), "the second coordinate stays, ∀ k ≤ 3"'


@pytest.fixture
def site(tmp_path, source, monkeypatch):
    """A published folder without leaks, of a book whose only exercise page is the fixture's."""
    for module in (course, leaks):
        monkeypatch.setattr(module, "BOOK", tmp_path / "book")
        monkeypatch.setattr(module, "ROOT", tmp_path)
    (tmp_path / "minigen").mkdir()
    folder = tmp_path / "html"
    folder.mkdir()
    (folder / "index.html").write_text("<p>Nothing to see.</p>")
    return folder


class TestWithheld:
    def test_holds_even_solutions_hidden_tests_and_wrong_answers(self, nb):
        lines = withheld(nb)
        assert {SECRET, HIDDEN, "swapped_rows = np.array([[0.0, 1.0], [1.0, 0.0]])"} <= lines
        assert "return x + k * x[:, ::-1]" in lines
        assert "therefore the determinant changes its sign." in {line.removeprefix(", ") for line in lines}

    def test_holds_nothing_that_the_page_shows(self, nb):
        shown = "\n".join(cell.source for cell in page(nb).cells)
        assert "matrix_of_shear" in shown
        assert not any(line in shown for line in withheld(nb))
        assert not any("matrix_of_shear" in line or "BEGIN" in line for line in withheld(nb))


def raw_source(nb):
    return nbformat.writes(nb)


def student_with(cell_id):
    def planted(nb):
        view = student(nb)
        cell_of(view, cell_id).source = cell_of(nb, cell_id).source
        return nbformat.writes(view)

    return planted


def highlighted(nb):
    return "<span class='k'>return</span> " + "".join(
        f"<span>{html.escape(part)}</span>" for part in SECRET.removeprefix("return").split("_")
    ).replace("</span><span>", "</span><span>_</span><span>")


PLANTED = {
    "raw notebook": raw_source,
    "solution of an even code exercise": student_with("determinant"),
    "solution of an even derivation": student_with("swap"),
    "hidden tests": student_with("shear-test"),
    "plain text": lambda nb: SECRET,
    "html-escaped": lambda nb: html.escape(SECRET),
    "highlighted html": highlighted,
    "rendered Markdown": lambda nb: "<p>reversed: Swapping two rows reverses the <em>orientation of the plane</em></p>",
    "attribute": lambda nb: f'<img alt="{html.escape(SECRET)}">',
    "json-escaped": lambda nb: json.dumps({"text": HIDDEN}),
    "html in json": lambda nb: json.dumps(highlighted(nb)),
    "json in json": lambda nb: json.dumps(json.dumps(HIDDEN)),
    "wrong answer": lambda nb: "return x + k * x[:, ::-1]",
    "other line breaks": lambda nb: SECRET.replace(" - ", "\r\n  -  "),
}


class TestScan:
    def test_a_clean_folder(self, site, nb, source):
        (site / "planes.ipynb").write_text(nbformat.writes(student(nb)))
        (site / "planes.html").write_text(html.escape("\n".join(cell.source for cell in page(nb).cells)))
        assert scan([site], [source]) == (3, [])

    @pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
    def test_a_planted_leak(self, plant, site, nb, source):
        (site / "_sources").mkdir()
        (site / "_sources" / "leak.js").write_text(plant(nb), encoding="utf-8")
        files, findings = scan([site], [source])
        assert files == 2
        assert findings
        assert all(line.startswith(f"{site / '_sources' / 'leak.js'}: withheld by planes: ") for line in findings)

    def test_inside_archives(self, site, source):
        with zipfile.ZipFile(site / "inner.whl", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("deep/leak.py", SECRET)
        with zipfile.ZipFile(site / "outer.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(site / "inner.whl", "inner.whl")
        (site / "inner.whl").unlink()
        (site / "leak.tar.gz").write_bytes(gzip.compress(b"\x00\xff" * 99 + SECRET.encode() + b"\x00"))
        _, findings = scan([site], [source])
        assert findings == [
            f"{site}/leak.tar.gz!: withheld by planes: {SECRET}",
            f"{site}/outer.zip!inner.whl!deep/leak.py: withheld by planes: {SECRET}",
        ]

    def test_what_a_chapter_or_the_package_says_is_public(self, site, source, tmp_path):
        (site / "leak.html").write_text(SECRET)
        (tmp_path / "minigen" / "public.py").write_text(f"def f():\n        {SECRET}\n")
        assert scan([site], [source]) == (2, [])

    def test_a_single_file(self, site, source):
        assert scan([site / "index.html"], [source]) == (1, [])


class TestCommand:
    def test_clean(self, site, capsys):
        assert main(["leaks", str(site)]) == 0
        assert "1 files, 1 notebooks, 0 leaks" in capsys.readouterr().out

    def test_leak(self, site, capsys):
        (site / "index.html").write_text(SECRET)
        assert main(["leaks", str(site)]) == 1
        assert f"index.html: withheld by planes: {SECRET}" in capsys.readouterr().out

    def test_zero_files_or_zero_notebooks_prove_nothing(self, site, source, capsys):
        (site / "empty").mkdir()
        assert main(["leaks", str(site / "empty")]) == 1
        source.unlink()
        assert main(["leaks", str(site)]) == 1
        assert capsys.readouterr().err.count("nothing was proved") == 2
