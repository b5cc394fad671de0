"""Normal form, the rule "no network", and the hook that runs the book's notebooks as tests."""

import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import normalise

ROOT = normalise.ROOT


def stored(path):
    return nbformat.v4.reads(path.read_text(encoding="utf8"))


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def sentences(notebook):
    return [sentence for _, sentence in normalise.check(normalise.serialise(notebook))]


def clean_cell(*outputs, source="x", count=1, **metadata):
    """A code cell in a notebook that has been cleaned."""
    cell = new_code_cell(source, id="c", metadata=metadata, outputs=list(outputs), execution_count=count)
    return normalise.clean(new_notebook(cells=[cell]))


# Running notebooks


def test_two_runs_are_byte_equal_and_store_only_text(make, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")  # as a server may have it: figures must be stored all the same
    path = make(
        "import os, sys\nprint('α', end='')\nsys.stdout.flush()\nprint('β')\nos.environ['TQDM_DISABLE']",
        "import matplotlib.pyplot as plt\nplt.plot([0, 1])\nplt.show()",
        ("raise ValueError('on purpose')", ["raises-exception"]),
        ("from IPython.display import HTML\nprint(1)\nHTML('<b>')", ["nbval-ignore-output"]),
        "open('left.txt', 'w').close()\nprint(os.listdir())",
        header="# Title\n\n*runs in 60 s · needs patience*",
        widgets={"state": {}},
        allowance_seconds=60,
    )
    assert normalise.main([str(path)]) == 0
    first = path.read_bytes()
    assert normalise.main([str(path)]) == 0
    assert path.read_bytes() == first
    assert normalise.main(["--check", str(path)]) == 0
    assert "αβ".encode() in first  # streams merged, no escapes
    assert json.dumps(json.loads(first), indent=1, ensure_ascii=False, sort_keys=True) + "\n" == first.decode()
    notebook = stored(path)
    assert notebook.metadata == {**normalise.NOTEBOOK_METADATA, "allowance_seconds": 60}
    text, figure, error, ignored, files = (cell.outputs for cell in notebook.cells[1:])
    assert [output.output_type for output in text] == ["stream", "execute_result"]
    assert [dict(output.data) for output in figure] == [{"text/plain": "<Figure size 640x480 with 1 Axes>"}]
    assert (error[0].evalue, error[0].traceback) == ("on purpose", [])
    assert ignored == []
    assert files[0].text == "['left.txt']\n"  # the directory was empty, and is not the notebook's
    assert not (tmp_path / "left.txt").exists()
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2, 3, 4, 5]
    assert "runs in 5 s" in notebook.cells[0].source


def test_what_cannot_be_stored_leaves_the_file_as_it_was(make, capsys):
    path = make(
        "import sys, warnings\nwarnings.warn('look out')",
        ("print('look out', file=sys.stderr)", ["nbval-ignore-output"]),
        "from IPython.display import HTML\nHTML('<b>')",
        "print(object())",
    )
    before = path.read_bytes()
    assert normalise.main([str(path)]) == 1
    assert path.read_bytes() == before
    shown = capsys.readouterr().out
    assert "cell 0: the cell writes to stderr" in shown
    assert "cell 1: the cell writes to stderr ('look out')" in shown
    assert "cell 2: the cell's output has text/html, which is not stored: tag the cell" in shown
    assert "cell 3: the output holds a memory address" in shown
    assert "left as it was" in shown


def test_a_cell_that_opens_a_connection_fails_and_names_the_rule(make, capsys):
    path = make("print(1)", "import socket\nsocket.create_connection(('192.0.2.1', 80))")
    before = path.read_bytes()
    assert normalise.main([str(path)]) == 1
    assert path.read_bytes() == before
    shown = capsys.readouterr().out
    assert "OfflineError: rule \"no network\": a notebook must run offline, but this code asks for '192.0.2.1'" in shown


def test_an_unfinished_merge_is_named(tmp_path, capsys):
    path = tmp_path / "merge.ipynb"
    path.write_text("<<<<<<< HEAD")
    assert normalise.main([str(path)]) == normalise.main(["--check", str(path)]) == 1
    assert capsys.readouterr().out.count(f"{path}: not JSON") == 2


@pytest.mark.parametrize(
    ("stated", "seconds", "written"),
    [(5, 0.3, 5), (5, 5.0, 5), (5, 5.1, 10), (10, 5.0, 10), (10, 4.9, 5), (60, 31.0, 60), (60, 29.0, 30)],
)
def test_the_running_time_changes_only_when_it_is_wrong(stated, seconds, written):
    source = "*runs in {} s · needs [x](runs in 1 m)*"
    notebook = new_notebook(cells=[new_markdown_cell(source.format(stated))])
    normalise.update_running_time(notebook, seconds)
    assert notebook.cells[0].source == source.format(written)


def test_finds_the_notebooks_of_the_book_and_no_builds(make, tmp_path):
    names = ["book/a/b.ipynb", "book/a/exercises/b.ipynb", "book/_build/b.ipynb", "book/a/.ipynb_checkpoints/b.ipynb"]
    for name in names:
        make("1", name=name)
    assert normalise.find_notebooks(tmp_path) == [tmp_path / name for name in names[:2]]


# Checking without a run


def test_a_clean_notebook_has_nothing_to_say():
    assert sentences(clean_cell(stream("1\n"), tags=["hide-input"], claim="x")) == []


@pytest.mark.parametrize(
    ("notebook", "sentence"),
    [
        (clean_cell(count=None), "execution count None should be 1"),
        (clean_cell(count=2), "execution count 2 should be 1"),
        (clean_cell(source=" "), "is empty"),
        (clean_cell(source="plot();\n"), "ends with `;`"),
        (clean_cell(equation=["x"]), "'equation' is unknown"),
        (clean_cell(stream("no", "stderr")), "writes to stderr"),
        (clean_cell(stream("no", "stderr"), tags=["nbval-ignore-output"]), "writes to stderr"),
        (clean_cell(new_output("display_data", {"image/svg+xml": "<svg>"})), "image/svg+xml"),
        (clean_cell(stream("<f at 0x7f00>")), "memory address"),
    ],
)
def test_what_no_cleaning_can_mend_is_reported(notebook, sentence):
    assert any(sentence in found for found in sentences(notebook))


def spoil_output(**entries):
    return lambda nb: nb.cells[0].outputs[0].update(entries)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda nb: nb.cells[0].outputs.append(stream("2\n")),
        lambda nb: nb.cells[0].outputs.append(new_output("display_data", {"image/png": "aGk=", "text/plain": "x"})),
        lambda nb: nb.cells[0].outputs.append(new_output("display_data", {"text/plain": "x"}, metadata={"a": 1})),
        lambda nb: nb.cells[0].outputs.append(new_output("error", ename="E", evalue="e", traceback=["line"])),
        lambda nb: nb.cells[0].metadata.update(execution={"t": 1}),
        lambda nb: nb.cells[0].metadata.update(tags=["nbval-ignore-output"]),
        lambda nb: nb.metadata.update(widgets={}),
        lambda nb: nb.metadata.kernelspec.update(name="julia"),
        lambda nb: nb.metadata.language_info.update(version="3.11"),
        lambda nb: nb.update(nbformat_minor=4),
    ],
)
def test_what_cleaning_mends_is_reported(spoil):
    notebook = clean_cell(stream("1\n"))
    spoil(notebook)
    assert any("not in normal form" in found for found in sentences(notebook))
    assert sentences(normalise.clean(notebook)) == []


def test_layout_counts():
    text = normalise.serialise(clean_cell())
    assert [s for _, s in normalise.check(text.rstrip())] == [
        s for _, s in normalise.check(text.replace("\n ", "\n  "))
    ]
    assert "layout" in dict(normalise.check(text.rstrip()))[None]


def test_ids_and_attachments():
    cells = [new_markdown_cell("a", id="a"), new_markdown_cell("b", id="b", attachments={"x.png": {"image/png": ""}})]
    notebook = normalise.clean(new_notebook(cells=cells))
    cells[1].id = "a"
    assert [sentence.split(":")[0] for sentence in sentences(notebook)] == [
        "the cell's id is missing or used twice",
        "the cell stores an attached picture",
    ]


def test_a_broken_notebook_is_no_valid_notebook():
    notebook = clean_cell(stream("1\n"))
    notebook.cells[0].outputs[0].name = 3
    assert any("not a valid notebook" in found for found in sentences(notebook))


# The rule "no network"


def python(code, *path):
    """Run code in a Python that the guard watches."""
    guard = normalise.offline_environment()["PYTHONPATH"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([guard, *map(str, path)])}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "code",
    [
        "socket.create_connection(('192.0.2.1', 80), timeout=5)",
        "socket.socket().connect(('192.0.2.1', 80))",
        "socket.socket().connect_ex(('192.0.2.1', 80))",
        "socket.socket(socket.AF_INET6).connect(('2001:db8::1', 80))",
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 53))",
        "socket.getaddrinfo('book.example', 443)",
        "socket.getaddrinfo(b'book.example', 443)",
        "import urllib.request; urllib.request.urlopen('http://book.example/')",
    ],
)
def test_the_guard_refuses_other_machines(code):
    ran = python("import socket\n" + code)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith('sitecustomize.OfflineError: rule "no network"')


def test_the_guard_lets_this_machine_through(tmp_path):
    code = f"""
import socket
for family, address in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, {str(tmp_path / "s")!r})):
    with socket.socket(family) as server, socket.socket(family) as client:
        server.bind(address)
        server.listen()
        client.connect(server.getsockname())
print(bool(socket.getaddrinfo("localhost", 80)))
"""
    ran = python(code)
    assert (ran.stdout, ran.stderr) == ("True\n", "")


def test_the_guard_chains_to_the_sitecustomize_that_it_hides(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('the other one')")
    ran = python("import socket\nsocket.getaddrinfo('book.example', 1)", tmp_path)
    assert ran.stdout == "the other one\n"
    assert "no network" in ran.stderr


def test_the_guard_stands_once_on_the_path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/mine")
    monkeypatch.setenv("PYTHONPATH", normalise.offline_environment()["PYTHONPATH"])
    guard = str(ROOT / "tools" / "offline")
    assert normalise.offline_environment()["PYTHONPATH"].split(os.pathsep) == [guard, "/mine"]


# The hidden cell that installs minigen


def test_the_cell_that_installs_minigen_comes_and_goes_with_the_address(make, tmp_path, capsys):
    path = make("print(6 * 7)", header="# Title")
    assert normalise.main([str(path)]) == 0
    without = path.read_bytes()
    config = tmp_path / "_config.yml"
    config.write_text("repository: {url: 'https://book.example/one'}")
    assert normalise.main(["--check", str(path)]) == 1
    assert "cell 1 must install minigen from https://book.example/one" in capsys.readouterr().out
    assert normalise.main([str(path)]) == 0
    assert normalise.main(["--check", str(path)]) == 0
    assert [cell.id for cell in stored(path).cells] == ["head", "install-minigen", "c0"]
    assert stored(path).cells[1].metadata.tags == ["remove-cell"]
    assert '"git+https://book.example/one"' in stored(path).cells[1].source
    config.write_text("repository: {url: 'https://book.example/two'}")
    assert normalise.main(["--check", str(path)]) == 1
    assert "(`repository: url:` of _config.yml): run python -m tools.normalise" in capsys.readouterr().out
    config.write_text("repository: {url: ''}")
    assert normalise.main(["--check", str(path)]) == 1
    assert "the cell install-minigen has no address any more" in capsys.readouterr().out
    assert normalise.main([str(path)]) == 0
    assert path.read_bytes() == without


def test_the_cell_installs_where_minigen_is_missing_and_does_nothing_where_it_is_not(tmp_path):
    """A package of the same name stands for pip: it writes down what it was asked for."""
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()
    (tmp_path / "pip" / "__main__.py").write_text("import sys\nprint(*sys.argv[1:])")
    cell = normalise.INSTALL.format(url="https://book.example/one")
    for path, said in ((str(tmp_path), "install --quiet git+https://book.example/one\n"), (f"{tmp_path}:{ROOT}", "")):
        command = [sys.executable, "-S", "-c", cell]  # -S: none of what is installed
        ran = subprocess.run(command, env={"PYTHONPATH": path}, cwd=tmp_path, capture_output=True, text=True)
        assert (ran.stdout, ran.stderr) == (said, "")


# Notebooks as tests


def test_nbval_passes_what_normalise_wrote_and_holds_time_and_network(make, tmp_path):
    good = make("x = 1\nprint(x)", "import matplotlib.pyplot as plt\nplt.figure()\nplt.show()", name="book/good.ipynb")
    busy = "import time\nwhile time.process_time() < 1:\n    pass\nprint('x' in dir())"
    slow = make(busy, name="book/slow.ipynb", allowance_seconds=0.5)
    make("print(1)", name="book/late.ipynb", allowance_seconds=0.01)
    make("import socket\nsocket.create_connection(('192.0.2.1', 80))", name="book/out.ipynb")
    make("raise SystemError", name="book/_build/good.ipynb")
    for path in (good, slow):
        notebook = stored(path)
        normalise.execute(notebook)
        path.write_text(normalise.serialise(normalise.clean(notebook)))
    shutil.copy(ROOT / "book/conftest.py", tmp_path / "book/conftest.py")
    (tmp_path / "requirements.txt").touch()  # the execution cache looks whether it has changed
    options = ["-q", "-n", "2", "--dist", "loadfile", "--color=no", "-p", "no:cacheprovider"]
    settings = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)]
    command = [sys.executable, "-m", "pytest", *options, *settings, "--nbval", "book"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "1 failed, 4 passed, 1 error" in ran.stdout
    assert "FAILED book/out.ipynb::Cell 0" in ran.stdout
    assert 'rule "no network"' in ran.stdout
    assert "ERROR book/late.ipynb::Cell 0" in ran.stdout
    assert "more than 4 times its allowance of 0.01 s" in ran.stdout
    assert " book/good.ipynb\n" in ran.stdout
    assert " book/slow.ipynb  over its allowance of 0.5 s\n" in ran.stdout
