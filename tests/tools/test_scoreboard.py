"""The scoreboard's stored results: complete, made by this very code, and reproducible."""

import pytest

from minigen.foundations.toys import TOYS
from tools.scoreboard import BATCH, RESULTS, SEEDS, STEPS, load, over_seeds, stored
from tools.scoreboard import sources as hashing
from tools.scoreboard.measure import row
from tools.scoreboard.models import NAMES, recipe
from tools.scoreboard.sources import sources_hash
from tools.scoreboard.tables import one_model, scoreboard


def test_there_are_results_and_each_has_its_recipe():
    assert stored()
    assert set(stored()) <= set(NAMES)
    assert list(RESULTS.glob("*")) == list(RESULTS.glob("*.json"))


@pytest.mark.parametrize("name", stored())
def test_every_toy_and_seed_is_there_under_the_present_conditions(name):
    report = load(name)
    assert [(r["toy"], r["seed"]) for r in report["rows"]] == [(toy, seed) for toy in TOYS for seed in SEEDS]
    assert (report["conditions"]["steps"], report["conditions"]["batch"]) == (STEPS, BATCH)


@pytest.mark.parametrize("name", stored())
def test_the_code_behind_the_numbers_has_not_changed(name):
    assert load(name)["sources"] == sources_hash(name), (
        f"run: make results (or python -m tools.scoreboard --models {name})"
    )


@pytest.mark.parametrize("name", stored())
def test_one_row_comes_out_again(name):
    toy = "correlated gaussian"
    again, rows = row(name, toy, SEEDS[0]), [r for r in load(name)["rows"] if r["toy"] == toy]
    spread = over_seeds(rows, "kl")[1] + 4 * rows[0]["kl_error"]  # another machine rounds otherwise
    assert again["kl"] == pytest.approx(rows[0]["kl"], abs=2 * spread)
    assert again["parameters"] == rows[0]["parameters"]


def test_the_hash_sees_code_and_not_words(tmp_path, monkeypatch):
    before, read = sources_hash("vae"), hashing.syntax

    def with_change(change):
        def tree(path):
            text = path.read_text(encoding="utf8")
            copy = tmp_path / path.name
            copy.write_text(change(text) if path.name == "estimators.py" else text, encoding="utf8")
            return read(copy)

        monkeypatch.setattr(hashing, "syntax", tree)
        return sources_hash("vae")

    assert with_change(lambda text: text.replace('"""Estimators', '"""Other estimators')) == before
    assert with_change(lambda text: "# a comment\n" + text) == before
    assert with_change(lambda text: text.replace("LOG_SCALE_BOUND = 7.0", "LOG_SCALE_BOUND = 8.0")) != before


def test_the_tables_hold_every_stored_model_and_toy():
    text = scoreboard()
    for name in stored():
        assert recipe(name).TITLE in text
        assert one_model(name).count("\n| ") >= len(TOYS)
    for toy in TOYS:
        assert f"| {toy} |" in text
