"""A bounded window over what came in: the oldest go, the newest are drawn more, and nothing counts twice."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from heedful.buffer.recent import Recent, RecentSettings
from heedful.errors import InvalidInput


def window(**settings: float) -> Recent[str]:
    return Recent(RecentSettings.model_validate({"fewest": 1} | settings), key=lambda thing: thing)


def test_nothing_is_given_below_the_fewest() -> None:
    held = window(fewest=3)
    for number in range(2):
        held.put(f"thing {number}", at=number)
    assert held.sample_recent(2, np.random.default_rng(0)) == []
    held.put("thing 2", at=2)
    assert len(held.sample_recent(2, np.random.default_rng(0))) == 2


def test_beyond_the_most_the_oldest_go_whenever_they_were_put() -> None:
    held = window(most=3)
    for at in (5.0, 1.0, 4.0, 2.0, 3.0):
        held.put(f"at {at:g}", at=at)
    assert {thing for _, thing in held} == {"at 5", "at 4", "at 3"}


def test_what_is_put_twice_counts_once_and_grows_no_younger() -> None:
    held = window(most=2)
    assert held.put("a", at=1)
    assert not held.put("a", at=9)
    held.put("b", at=2)
    held.put("c", at=3)
    assert {thing for _, thing in held} == {"b", "c"}


def test_what_was_removed_may_come_again_and_the_bound_still_holds() -> None:
    held = window(most=2)
    for turn in range(500):
        held.put("a", at=turn)
        held.put("b", at=turn)
        held.remove(["a", "b", "never there"])
    for at, name in enumerate("cde"):
        held.put(name, at=at)
    assert {thing for _, thing in held} == {"d", "e"}
    assert "d" in held
    assert "a" not in held


def test_a_draw_has_no_thing_twice_and_the_same_seed_draws_the_same() -> None:
    held = window()
    for number in range(50):
        held.put(str(number), at=number)
    one, same, other = (held.sample_recent(20, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == same != other
    assert len(set(one)) == 20
    assert sorted(held.sample_recent(1000, np.random.default_rng(0))) == sorted(thing for _, thing in held)


def test_a_half_life_halves_the_odds_of_being_drawn() -> None:
    """Two things, one a half-life older: drawn first in one case of three; the error of 4,000 draws is 0.0075."""
    held = window(half_life=10)
    held.put("old", at=0)
    held.put("new", at=10)
    random = np.random.default_rng(3)
    share = sum(held.sample_recent(1, random) == ["old"] for _ in range(4000)) / 4000
    assert share == pytest.approx(1 / 3, abs=0.03)


def test_things_of_another_age_of_the_world_are_drawn_when_there_is_nothing_else() -> None:
    held = window(half_life=1)
    held.put("ancient", at=-1e9)
    held.put("new", at=1e9)
    assert held.sample_recent(2, np.random.default_rng(0)) == ["new", "ancient"]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValidationError, match="fewest=5 never fit into most=4"):
        RecentSettings(fewest=5, most=4)
    with pytest.raises(InvalidInput, match="came in at nan"):
        window().put("a", at=math.nan)
