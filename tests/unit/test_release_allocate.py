"""Who meets the new policy: recomputable, nested, and as many as the share says."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import make_release
from heedful.domain.ids import PolicyId
from heedful.domain.release import Release, Stage
from heedful.release.allocate import allocate, bucket

LIVE = PolicyId("policy_1")
UNITS = [f"episode_{number}" for number in range(4000)]


def cohort(release: Release) -> set[str]:
    return {unit for unit in UNITS if allocate(LIVE, release, unit).arm == "canary"}


@given(st.text(), st.text())
def test_a_bucket_is_at_least_0_below_1_and_always_the_same(salt: str, unit: str) -> None:
    assert 0 <= bucket(salt, unit) < 1
    assert bucket(salt, unit) == bucket(salt, unit)


def test_the_same_unit_is_allocated_the_same_by_another_gateway() -> None:
    """SHA-256 of "salt", NUL and "unit", first 48 bits: whoever knows the salt can check it."""
    assert bucket("salt", "unit") == int("ed2eb29f333d", 16) / 2**48
    release = make_release(step=2)
    copy = replace(release)
    assert [allocate(LIVE, release, unit) for unit in UNITS] == [allocate(LIVE, copy, unit) for unit in UNITS]


def test_cohorts_are_nested_and_their_sizes_are_the_shares() -> None:
    before: set[str] = set()
    for step, percent in enumerate((5.0, 20.0, 50.0, 100.0)):
        met = cohort(make_release(step=step))
        share = percent / 100
        assert before <= met
        assert abs(len(met) - share * len(UNITS)) <= 3 * math.sqrt(share * (1 - share) * len(UNITS))
        before = met


def test_the_next_release_draws_other_units() -> None:
    """Two shares of 20 % by different salts meet in 4 % of 4,000: 160 within 3 sigma of 37."""
    one, other = (cohort(make_release(step=1, salt=salt)) for salt in ("a", "b"))
    assert abs(len(one & other) - 160) < 38


def test_each_answer_knows_its_own_chance() -> None:
    release = make_release(step=1)
    for unit in UNITS[:200]:
        found = allocate(LIVE, release, unit)
        assert (found.policy, found.probability) == (
            (release.policy, 0.2) if found.arm == "canary" else (LIVE, 0.8)
        )
        assert (found.release, found.percent, found.bucket) == (release.id, 20.0, bucket("salt", unit))


@pytest.mark.parametrize("stage", [Stage.WAITING, Stage.SHADOW, Stage.ROLLED_BACK])
def test_outside_a_release_everybody_meets_the_live_policy(stage: Stage) -> None:
    for release in (None, make_release(stage=stage)):
        found = allocate(LIVE, release, "episode_1")
        assert (found.policy, found.probability, found.release, found.arm) == (LIVE, 1.0, None, "live")


@pytest.mark.parametrize("stage", [Stage.PAUSED, Stage.INCONCLUSIVE])
def test_who_was_in_stays_in_while_it_waits(stage: Stage) -> None:
    assert cohort(make_release(stage=stage, step=1)) == cohort(make_release(step=1))
