# Two commands do all set-up: `make book` and `make test`. `make help` lists the others.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help book test live-test pdf lab lock normalise results bench gate-style gate-unit gate-notebooks gate-site gate-browser clean
.DEFAULT_GOAL := help

help:
	@echo "make book       build the book and open it in a browser"
	@echo "make test       prove everything: style, types, units, notebooks, site, browser"
	@echo "make live-test  run the live cells of every page of the built book in a browser"
	@echo "make pdf        print the whole book to one PDF"
	@echo "make lab        open the chapters in JupyterLab"
	@echo "make normalise  run every notebook and store its outputs in normal form"
	@echo "make results    train every model of the scoreboard on every toy (some 90 minutes of one core)"
	@echo "make lock       renew requirements.txt from pyproject.toml"
	@echo "make bench      time training steps beside other libraries (an environment of its own, 1.7 GB)"
	@echo "make clean      remove what was built"

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Try: make $(or $(MAKECMDGOALS),book) PYTHON=python3.12"; exit 1; }
	@echo "Setting up the environment in .venv (about 700 MB, a minute or two)."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

book: $(READY)
	$(BIN)/python -m tools.build --serve

lab: $(READY)
	$(BIN)/jupyter lab book

normalise: $(READY)
	$(BIN)/python -m tools.normalise

results: $(READY)
	$(BIN)/python -m tools.scoreboard

lock:
	$(PYTHON) -m venv .venv/lock
	.venv/lock/bin/python -m pip install --quiet uv
	.venv/lock/bin/uv pip compile --universal --python-version 3.11 --all-extras --upgrade pyproject.toml -o requirements.txt --custom-compile-command "make lock"

test: gate-style gate-unit gate-notebooks gate-site gate-browser
	@echo "All green."

gate-style: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports
	$(BIN)/mypy minigen course tools

gate-unit: $(READY)
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile --doctest-modules tests minigen --ignore=tests/browser

gate-notebooks: $(READY)
	$(BIN)/python -m course verify
	$(BIN)/pytest -q -n 2 --dist loadfile --nbval book

gate-site: $(READY)
	$(BIN)/python -m tools.build --strict
	$(BIN)/python -m tools.lint
	$(BIN)/python -m tools.links
	rm -rf build/wheel && $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir build/wheel .
	$(BIN)/python -m course leaks _build/html build/wheel

gate-browser: $(READY)
	-$(BIN)/python -m tests.browser.pyodide
	$(BIN)/pytest -q -n 2 tests/browser

live-test: $(READY)
	LIVE_TEST=all $(BIN)/pytest -q tests/browser/test_live.py

pdf: $(READY)
	$(BIN)/python -m tools.pdf

bench:
	$(PYTHON) -m venv benchmarks/.venv
	benchmarks/.venv/bin/python -m pip install --quiet -r benchmarks/requirements.txt .
	benchmarks/.venv/bin/python -m benchmarks

clean:
	rm -rf _build build dist
