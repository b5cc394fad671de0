"""The scoreboard's stored results: complete, and made by code that does what this code does."""

import pytest

from minigen.foundations.toys import TOYS
from tools.scoreboard import BATCH, RESULTS, SEEDS, STEPS, load, stored
from tools.scoreboard.measure import trial
from tools.scoreboard.models import NAMES, recipe
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
def test_the_code_still_gives_what_gave_the_numbers(name):
    # float32 on another machine rounds otherwise, by far less than any change of a model or of its training
    assert trial(name) == pytest.approx(load(name)["trial"], rel=0.01, abs=1e-4), (
        f"run: make results (or python -m tools.scoreboard --models {name})"
    )


def test_the_tables_hold_every_stored_model_and_toy():
    text = scoreboard()
    for name in stored():
        assert recipe(name).TITLE in text
        assert one_model(name).count("\n| ") >= len(TOYS)
    for toy in TOYS:
        assert f"| {toy} |" in text
