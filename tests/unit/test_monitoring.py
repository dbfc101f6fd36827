"""Signals and their bands: counts worked by hand, and how often chance alone leaves a band."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import pytest

from factories import NOW, make_release
from heedful.domain.watch import Signal
from heedful.monitoring.signals import Tally, WatchSettings, signals, tallies

SETTINGS = WatchSettings(violations=0.05, success=0.9, least=100)


def tally(policy: str = "new", **given: int) -> Tally:
    counts = {"episodes": 1000, "completed": 800, "answered": 1000, "checked": 1000, "violations": 20}
    return Tally(policy=policy, **counts | given)


def seen(*known: Tally) -> dict[tuple[str, str], Signal]:
    found = signals(known, live="old", at=NOW, settings=SETTINGS)
    return {(one.labels["policy"], one.name): one for one in found}


@dataclass(frozen=True)
class Ran:
    arm: str
    completed: bool | None = None
    violations: int = 0
    checked: int = 0


def test_episodes_are_counted_for_the_policy_that_answered_them() -> None:
    ran = [
        Ran("canary", completed=True, checked=2, violations=1),
        Ran("canary", completed=False),
        Ran("canary"),
        Ran("control", completed=True, checked=1),
    ]
    new, old = tallies(make_release(), ran)
    assert new == Tally(policy="policy_2", episodes=3, completed=1, answered=2, checked=2, violations=1)
    assert old == Tally(policy="policy_1", episodes=1, completed=1, answered=1, checked=1, violations=0)
    assert [one.policy for one in tallies(make_release(against=None), ran)] == ["policy_2"]


def test_rates_are_shares_of_what_anybody_said_anything_about() -> None:
    found = seen(tally(completed=30, answered=40, checked=50, violations=1))
    success, violations = found["new", "success_rate"], found["new", "violation_rate"]
    assert (success.value, success.n) == (0.75, 40)
    assert (violations.value, violations.n) == (0.02, 50)
    assert seen(tally(answered=0, completed=0, checked=0, violations=0)) == {}


def test_a_few_observations_have_no_band() -> None:
    few = seen(tally("old"), tally(answered=99, completed=0, checked=99, violations=99))
    assert few["new", "violation_rate"].high is few["new", "success_rate"].low is None
    unknown = seen(tally("old", answered=99, completed=99), tally())
    assert unknown["new", "success_rate"].low is None  # nobody knows what to hold it to


def test_clear_harm_leaves_the_band_and_its_like_does_not() -> None:
    old = tally("old")
    assert not seen(old, tally(violations=150))["new", "violation_rate"].healthy
    assert not seen(old, tally(completed=500))["new", "success_rate"].healthy
    assert all(signal.healthy for signal in seen(old, tally()).values())
    assert not seen(tally(checked=200, violations=60))["new", "violation_rate"].healthy  # alone, too


def test_where_the_live_policy_breaks_more_it_is_the_measure_even_if_nobody_reports_success() -> None:
    """A fleet at 10 % violations may be improved step by step: 10 % beside 10 % is no alarm."""
    found = seen(
        tally("old", answered=0, completed=0, violations=100),
        tally(answered=0, completed=0, violations=105),
    )
    assert found["new", "violation_rate"].healthy


def test_the_band_is_what_was_asked_for_when_enough_is_seen() -> None:
    most = 10_000_000
    found = seen(
        tally("old", completed=8_000_000, answered=most, checked=most, violations=0),
        tally(completed=8_000_000, answered=most, checked=most, violations=0),
    )
    assert found["new", "violation_rate"].high == pytest.approx(0.05, abs=0.001)
    assert found["new", "success_rate"].low == pytest.approx(0.72, abs=0.001)


def test_the_same_policy_twice_hardly_ever_leaves_a_band_however_often_one_looks() -> None:
    """200 releases of 1,500 episodes, looked at every 50, at 10 % violations and 80 % success: the harder
    case, because the live policy's own rates are the measure. At a chance of 1 % for each of two signals: 4,
    and 3 sigma of 2 more."""
    random, left = Random(3), 0
    for _ in range(200):
        counts = {"new": [0, 0, 0], "old": [0, 0, 0]}
        for episode in range(1500):
            mine = counts["new" if random.random() < 0.3 else "old"]
            mine[0] += 1
            mine[1] += random.random() < 0.8
            mine[2] += random.random() < 0.1
            if episode % 50 == 49:
                known = [
                    Tally(policy=name, episodes=n, completed=c, answered=n, checked=n, violations=v)
                    for name, (n, c, v) in counts.items()
                ]
                found = signals(known, live="old", at=NOW, settings=SETTINGS)
                if any(not one.healthy and one.labels["policy"] == "new" for one in found):
                    left += 1
                    break
    assert left <= 4 + 3 * math.sqrt(4)
