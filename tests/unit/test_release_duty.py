"""What is live, read off the releases."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations

import pytest

from factories import NOW, make_release
from heedful.domain.release import Stage, Target
from heedful.release.duty import on_duty


def full(policy: str, minutes: int, **given: object) -> object:
    return make_release(policy=policy, stage=Stage.FULL, ended_at=NOW + timedelta(minutes=minutes), **given)


def test_the_newest_full_release_is_live_in_whatever_order_they_are_read() -> None:
    releases = [full("p1", 1), full("p2", 2), make_release(policy="p3", stage=Stage.ROLLED_BACK)]
    for order in permutations(releases):
        found = on_duty(order)["resolver"]  # type: ignore[index, arg-type]
        assert (found.live, found.release) == ("p2", None)


def test_of_two_that_ended_at_the_same_moment_the_later_begun_is_live() -> None:
    assert on_duty([full("p1", 1), full("p2", 1)])["resolver"].live == "p2"  # type: ignore[index, list-item]


def test_a_full_release_that_is_taken_back_leaves_the_one_before() -> None:
    first, second = full("p1", 1), make_release(policy="p2", stage=Stage.ROLLED_BACK)
    assert on_duty([first, second])["resolver"].live == "p1"  # type: ignore[index, list-item]


@pytest.mark.parametrize("stage", [Stage.CANARY, Stage.PAUSED, Stage.INCONCLUSIVE])
def test_a_release_under_way_is_told_beside_what_is_live(stage: Stage) -> None:
    testing = make_release(stage=stage)
    found = on_duty([full("policy_1", 1), testing])["resolver"]  # type: ignore[index, list-item]
    assert (found.live, found.release) == ("policy_1", testing)


def test_agents_stand_apart_and_one_without_a_full_release_has_nothing_live() -> None:
    other = full("t1", 1, target=Target(agent="triage"))  # type: ignore[arg-type]
    assert set(on_duty([make_release(), other])) == {"triage"}  # type: ignore[list-item]
    assert on_duty([]) == {}
