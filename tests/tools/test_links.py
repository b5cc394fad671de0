"""Each kind of broken link is found, and a good site passes."""

import pytest

from tools.links import problems

GOOD = {
    "index.html": '<a href="part/a.html#here">a</a><img src="part/p.png"><a href="https://example.org">out</a>',
    "part/a.html": '<h1 id="here">A</h1><a href="../index.html">home</a><a href="#here">up</a>',
    "part/p.png": "",
}


def write(folder, pages):
    for name, text in pages.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def test_a_good_site_passes(tmp_path):
    assert problems(write(tmp_path, GOOD)) == (3, 1, [])


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ('<a href="nowhere.html">x</a>', "not there"),
        ('<a href="part/a.html#there">x</a>', "no such id"),
        ('<a href="#gone">x</a>', "no such id"),
        ('<script src="https://example.org/x.js"></script>', "another host"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "another host"),
        ('<img src="gone.png">', "not there"),
    ],
)
def test_a_broken_link_is_found(tmp_path, page, said):
    _, _, wrong = problems(write(tmp_path, {**GOOD, "bad.html": page}))
    assert len(wrong) == 1
    assert said in wrong[0]
    assert wrong[0].startswith("bad.html")


def test_an_empty_site_is_no_success(tmp_path):
    assert "nothing was checked" in problems(tmp_path)[2][0]
