"""The gate: a worked case for each answer, and how often it is wrong in simulated releases."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

import pytest

from factories import NOW, make_release
from heedful.domain.release import Release, Stage
from heedful.release.gate import NEXT, Decision, Verb, decide
from heedful.release.settings import ReleaseSettings

SETTINGS = ReleaseSettings(episodes=20, step_episodes=10, margin=0.1, budget=10_000)
HALF = make_release(steps=(50.0, 100.0), since=NOW)


@dataclass(frozen=True)
class Seen:
    arm: str
    completed: bool | None = True
    violations: int = 0
    probability: float = 0.5
    at: datetime = NOW


def both(count: int, *, canary: float, control: float = 0.8) -> list[Seen]:
    """`count` episodes of each arm, taking turns, with these success rates spread evenly."""
    seen = []
    for number in range(count):
        for arm, rate in (("canary", canary), ("control", control)):
            seen.append(Seen(arm, completed=int((number + 1) * rate) > int(number * rate)))
    return seen


def asked(seen: list[Seen], release: Release = HALF, settings: ReleaseSettings = SETTINGS) -> Decision:
    return decide(release, seen, settings)


def test_with_too_little_seen_it_waits() -> None:
    assert asked([]).verb is Verb.HOLD
    assert asked(both(19, canary=0.8)).verb is Verb.HOLD  # 20 known outcomes are asked for on each side


def test_as_good_as_before_goes_on() -> None:
    decision = asked(both(1500, canary=0.8))
    assert decision.verb is Verb.ADVANCE
    assert decision.figures["difference_low"] > -0.1
    assert decision.figures["canary_known"] == 1500


def test_each_step_is_seen_for_itself_before_the_next() -> None:
    seen = both(1500, canary=0.8)
    later = replace(HALF, since=NOW + timedelta(minutes=1))
    assert asked(seen, later).verb is Verb.HOLD
    assert asked([*seen, *[Seen("canary", at=NOW + timedelta(minutes=2))] * 10], later).verb is Verb.ADVANCE


def test_surely_worse_is_taken_back_and_the_reason_says_by_how_much() -> None:
    decision = asked(both(500, canary=0.5))
    assert decision.verb is Verb.ROLL_BACK
    assert decision.reason.startswith("success is lower: by 0.")


def test_more_violations_than_its_share_explains_take_it_back_though_everything_succeeds() -> None:
    """Twelve events, all the canary's, at a share of one half: chance 2 ** -12."""
    decision = asked([*both(30, canary=0.8), *[Seen("canary", violations=2)] * 12])
    assert decision.verb is Verb.ROLL_BACK
    assert decision.reason == "violations: 12 by the canary and 0 by control are more than its share explains"
    alike = [Seen(arm, violations=1) for arm in ("canary", "control")] * 12
    assert asked([*both(30, canary=0.8), *alike]).verb is Verb.HOLD


def test_violations_count_though_nobody_reports_success() -> None:
    silent = [Seen("canary", completed=None, violations=1)] * 12
    assert asked(silent).verb is Verb.ROLL_BACK


def test_what_stays_undecided_is_handed_to_a_person() -> None:
    decision = asked(both(50, canary=0.8), settings=replace_settings(budget=100))
    assert (decision.verb, decision.reason) == (Verb.HAND_OVER, "undecided after 100 episodes")


def replace_settings(**given: float) -> ReleaseSettings:
    return ReleaseSettings.model_validate(SETTINGS.model_dump() | given)


def test_the_last_step_before_everyone_is_full() -> None:
    release = make_release(steps=(5.0, 20.0, 50.0, 100.0))
    stages = [NEXT[Verb.ADVANCE](replace(release, step=step)) for step in range(3)]
    assert stages == [Stage.CANARY, Stage.CANARY, Stage.FULL]
    assert NEXT[Verb.ROLL_BACK](release) is Stage.ROLLED_BACK
    assert NEXT[Verb.HAND_OVER](release) is Stage.INCONCLUSIVE


# --- how often it is wrong ---------------------------------------------------------------------------

RAMP = ReleaseSettings(episodes=60, step_episodes=20, margin=0.2, budget=1000)
STEPS = (10.0, 30.0, 60.0, 100.0)
LOOK = 100  # episodes between two looks


def ramp(
    random: Random, *, success: tuple[float, float], violations: tuple[float, float]
) -> tuple[Verb, float]:
    """One release, looked at again and again; how it ended and the largest share it had."""
    release, seen, decision = make_release(steps=STEPS, since=NOW), list[Seen](), None
    while decision is None or decision.verb not in (Verb.ROLL_BACK, Verb.HAND_OVER):
        share = release.percent / 100
        at = NOW + timedelta(seconds=len(seen))
        release = replace(release, since=at) if decision and decision.verb is Verb.ADVANCE else release
        for _ in range(LOOK):
            canary = random.random() < share
            seen.append(
                Seen(
                    "canary" if canary else "control",
                    completed=random.random() < success[canary],
                    violations=int(random.random() < violations[canary]),
                    probability=share if canary else 1 - share,
                    at=at,
                )
            )
        decision = decide(release, seen, RAMP)
        if decision.verb is Verb.ADVANCE:
            if NEXT[Verb.ADVANCE](release) is Stage.FULL:
                break
            release = replace(release, step=release.step + 1)
    return decision.verb, release.percent


def test_the_same_policy_twice_is_taken_back_in_one_release_of_twenty_at_most() -> None:
    """150 releases at a chance of 5 %: 7.5, and 3 sigma of 2.7 more."""
    streams, random = 150, Random(1)
    ends = [ramp(random, success=(0.8, 0.8), violations=(0.05, 0.05))[0] for _ in range(streams)]
    wrong = ends.count(Verb.ROLL_BACK)
    assert wrong <= 0.05 * streams + 3 * math.sqrt(0.05 * 0.95 * streams)
    assert ends.count(Verb.ADVANCE) > 0.5 * streams  # most of them reach everyone


@pytest.mark.parametrize(
    ("success", "violations"),
    [((0.8, 0.5), (0.02, 0.02)), ((0.8, 0.8), (0.02, 0.25))],
    ids=["fails more", "breaks more"],
)
def test_a_harmful_policy_is_taken_back_before_most_people_meet_it(
    success: tuple[float, float], violations: tuple[float, float]
) -> None:
    random = Random(2)
    ends = [ramp(random, success=success, violations=violations) for _ in range(40)]
    assert [verb for verb, _ in ends].count(Verb.ROLL_BACK) >= 39
    assert sum(percent <= 30 for _, percent in ends) >= 36
