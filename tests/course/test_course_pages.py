"""The Sphinx extension, in a throw-away book with one exercise page."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

from course.leaks import scan
from course.views import student
from tests.course.conftest import make_notebook

EXTENSION = Path(__file__).resolve().parents[2] / "book" / "_ext"
CONFIG = f"""title: Planes
execute: {{execute_notebooks: cache}}
sphinx:
  local_extensions: {{course_pages: {EXTENSION}}}
  config:
    html_extra_path: [../extra]
    html_theme_options:
      repository_url: https://github.com/owner/planes
      use_repository_button: true
      use_source_button: true
      use_edit_page_button: true
      use_issues_button: true
      launch_buttons: {{colab_url: https://colab.example.org, binderhub_url: https://hub.example.org}}
"""
INTRO = "# Planes\n\nThe {download}`assignment <plane/exercises/planes.ipynb>`.\n"
WORDS = ("orientation of the plane", "swapped_rows", "diagonal_product", "coordinate stays")
STORED = "stored output of the tests"


def jupyter_book(book, *options):
    program = Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", book, "--quiet", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A book of two pages, which publishes its raw notebook in three ways: `_sources`, a download, an extra file."""
    book = tmp_path_factory.mktemp("pages") / "book"
    path = book / "plane" / "exercises" / "planes.ipynb"
    path.parent.mkdir(parents=True)
    extra = book.parent / "extra"
    extra.mkdir()
    (book / "_config.yml").write_text(CONFIG)
    (book / "_toc.yml").write_text("format: jb-book\nroot: intro\nchapters: [{file: plane/exercises/planes}]\n")
    (book / "intro.md").write_text(INTRO)
    nbformat.write(make_notebook(), path)
    shutil.copy(path, extra)
    return path


@pytest.fixture(scope="module")
def html(source):
    book = source.parents[2]
    jupyter_book(book)
    return book / "_build" / "html"


@pytest.fixture(scope="module")
def soup(html):
    return BeautifulSoup((html / "plane" / "exercises" / "planes.html").read_text(), "html.parser")


def test_no_byte_of_the_site_holds_a_withheld_line(html, source):
    files, findings = scan([html], [source])
    assert files > 50
    assert findings == []
    for file in html.rglob("*"):
        data = file.read_bytes() if file.is_file() else b""
        assert not any(word.encode() in data for word in (*WORDS, STORED)), file


def test_every_copy_is_the_student_s(html):
    copies = sorted(html.rglob("*.ipynb"))
    assert [copy.relative_to(html).parts[0] for copy in copies] == ["_downloads", "_sources", "planes.ipynb"]
    for copy in copies:
        assert nbformat.read(copy, as_version=4) == student(make_notebook())


def test_the_download_button_offers_the_student_s_notebook(html, soup):
    button = soup.select_one(".btn-download-source-button")
    assert (html / "plane" / "exercises" / button["href"]).resolve() == (
        html / "_sources" / "plane" / "exercises" / "planes.ipynb"
    )


def test_no_button_leads_to_the_raw_file(html, soup):
    bad = '[href*="colab"], [href*="hub.example"], [href*="/edit/"], [href*="/blob/"], .btn-source-repository-button'
    assert not soup.select(bad)
    assert soup.select_one(".btn-source-issues-button")
    assert BeautifulSoup((html / "intro.html").read_text(), "html.parser").select(bad)


def test_the_page_shows_stubs_visible_tests_and_folded_odd_solutions(soup):
    text = soup.get_text()
    assert text.count("raise NotImplementedError()") == 2
    assert "k = 0 changes nothing" in text
    assert text.count("is not published here") == 2
    folded = soup.select("div.admonition.dropdown")
    assert ["matrix_of_shear" in folded[0].text, "horizontal line along itself" in folded[1].text] == [True, True]
    assert len(folded) == 2
    assert folded[0].select(".highlight-python")
    assert not soup.select(".traceback, .cell_output")


def test_the_translator_s_catalogue_has_no_withheld_line(html, source, tmp_path):
    jupyter_book(
        source.parents[2], "--builder", "custom", "--custom-builder", "gettext", "--path-output", str(tmp_path)
    )
    catalogues = list(tmp_path.rglob("*.pot"))
    assert any("Areas under a shear" in file.read_text() for file in catalogues)
    assert scan(catalogues, [source]) == (len(catalogues), [])


def test_the_instructor_s_build_shows_the_solutions_and_hands_out_none(html, source, tmp_path):
    book = source.parents[2]
    config = book / "_instructor.yml"
    config.write_text(CONFIG.replace("  config:\n", "  config:\n    course_view: solutions\n"))
    jupyter_book(book, "--config", config, "--path-output", tmp_path)
    pages = tmp_path / "_build" / "html"
    text = BeautifulSoup((pages / "plane" / "exercises" / "planes.html").read_text(), "html.parser").get_text()
    assert all(word in text for word in WORDS)
    assert nbformat.read(pages / "_sources" / "plane" / "exercises" / "planes.ipynb", as_version=4) == (
        student(make_notebook())
    )
