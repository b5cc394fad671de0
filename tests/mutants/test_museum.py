"""Every bug that is on show dies, by exactly the checks that its label says; what is sound passes them all."""

import numpy as np
import pytest

from minigen import checks
from minigen.autoregressive.made import degrees, masks, path_counts
from minigen.flows.planar import Radial
from tests.mutants import coupling, elbo, glow, maf, planar
from tests.mutants.exhibit import jitter
from tests.mutants.museum import ASKS, EXHIBITS, ROOMS, page, table


@pytest.mark.parametrize(("room", "bug"), EXHIBITS, ids=[f"{room}: {bug.name}" for room, bug in EXHIBITS])
def test_every_bug_dies_and_by_what(room, bug):
    found = ROOMS[room].verdicts(bug.broken)
    assert found == bug.checks
    assert found
    assert all((bug.name, bug.bug, bug.home, bug.symptom))


@pytest.mark.parametrize("room", ROOMS)
def test_what_is_sound_passes_every_check(room):
    for sound in ROOMS[room].sound():
        assert ROOMS[room].verdicts(sound) == set()


def test_the_table_has_all_seventeen():
    print("\n" + table())
    assert {bug.number for _, bug in EXHIBITS} == {None, *range(1, 18)}
    assert len({bug.name for _, bug in EXHIBITS}) == len(EXHIBITS) == len(table().splitlines()) - 2


def test_the_page_says_what_every_check_asks_and_links_to_where_a_bug_lived():
    assert set(ASKS) == {name for room in ROOMS.values() for name in room.CHECKS}
    assert page().count("*Caught by:*") == len(EXHIBITS)
    assert (
        "[karpathy/pytorch-normalizing-flows#10](https://github.com/karpathy/pytorch-normalizing-flows/issues/10)"
        in page()
    )
    assert "[pyro-ppl/pyro PR#2192](https://github.com/pyro-ppl/pyro/pull/2192)" in page()


def test_the_numbers_on_the_labels():
    for kind, mass in ((planar.Norm, 1.7), (planar.NoConstraint, 2.7)):
        assert planar.mass_error(kind(), planar.HARD) == pytest.approx(mass - 1, abs=0.05)
    lost = []
    for seed in range(300):
        drawn = degrees(range(10), (10,), rng=np.random.default_rng(seed))
        lost.append(1 - np.sum(path_counts(masks(drawn)) > 0) / 45)
    assert np.mean(lost) == pytest.approx(0.08, abs=0.005)
    x = 3 + 2 * np.random.default_rng(0).normal(size=(1000, 1))  # mean m, spread s
    z, _ = glow.ShiftNotDivided().forward(glow.ShiftNotDivided().init(None, x), x)
    assert z.mean() == pytest.approx(x.mean() / x.std() - x.mean())
    assert np.log2(1 - 2 * 0.05) == pytest.approx(-0.15, abs=0.005)


def test_masks_of_made_in_maf():
    for kind, seen_by in maf.MASKS.items():
        assert maf.verdicts(kind) == seen_by


# ---------------------------------------------------------------- what hides a bug


def test_two_features_hide_a_wrong_layout_and_a_mean():
    assert coupling.verdicts(coupling.HalvesJoined, D=2) == set()  # even and odd are the halves
    assert coupling.verdicts(coupling.OnlyOneFeature, D=2) == set()  # of one moved feature the mean is the sum


def test_the_start_hides_a_wrong_inverse():
    assert coupling.verdicts(coupling.WrongInverse, size=0.0) == set()


def test_the_plane_hides_a_wrong_power():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 2))
    assert checks.log_det_error(planar.OnePower(), jitter(Radial().init(rng, x), rng, 0.7), x) <= 1e-10


def test_gentle_parameters_hide_a_missing_constraint():
    gentle = planar.HARD | {"u": np.array([0.4, 0.3])}
    assert planar.mass_error(planar.NoConstraint(), gentle) == 0  # no harm while wᵀu > −1
    unit = planar.HARD | {"w": np.array([0.6, -0.8])}
    assert planar.mass_error(planar.Norm(), unit) == 0  # |w| = |w|² = 1


def test_one_branch_hides_the_other():
    x = abs(np.random.default_rng(0).normal(size=(6, 5)))
    assert checks.log_det_error(planar.OneBranch(), {}, x) <= 1e-10


def test_one_latent_or_a_diagonal_posterior_hides_a_wrong_kl():
    assert elbo.verdicts(elbo.KLAveraged, latent=1) == set()  # the mean is the sum
    assert elbo.verdicts(elbo.OffDiagonalForgotten, "diagonal", 3) == set()
    assert elbo.verdicts(elbo.OffDiagonalForgotten, latent=1) == set()


@pytest.mark.parametrize("latent", [1, 2, 3])
@pytest.mark.parametrize("name", elbo.FAMILIES)
def test_the_sound_objective_passes_with_any_posterior(name, latent):
    assert elbo.verdicts(elbo.Objective, name, latent) == set()
