"""What a holdout lets through: as good is enough, a planted fall is not, and too few rows are told as such."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from heedful.errors import InvalidInput
from heedful.rewards.guard import Finding, GuardSettings, Holdout, compared, idle, needed, require_enough

Floats = NDArray[np.float64]


def holdout(pairs: int, each: int = 1, flagged: int = 0, passed: int = 0) -> Holdout:
    """`pairs` prompts with `each` pairs."""

    def prompt(number: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"q {number}"}]

    rows: list[dict[str, Any]] = [{"prompt": prompt(number // each)} for number in range(pairs * each)]
    flags = [{"prompt": prompt(-1 - n), "violation": float(n < flagged)} for n in range(flagged + passed)]
    return Holdout(rows, flags)


def judged(size: int, right: float, seed: int = 0) -> dict[str, Floats]:
    """Figures of a model that ranks so many right, a different choice of rows by seed."""
    chosen = np.random.default_rng(seed).permutation(size) < round(right * size)
    return {"accuracy": chosen.astype(float), "log_loss": np.where(chosen, -0.3, -1.2)}


def found(after: dict[str, Floats], before: dict[str, Floats], rows: Holdout) -> dict[str, Finding]:
    return {one.figure: one for one in compared(after, before, rows, GuardSettings())}


def test_the_same_model_holds_with_nothing_gained() -> None:
    same = judged(400, 0.8)
    for one in found(same, same, holdout(400)).values():
        assert one.held
        assert not one.gained
        assert (one.gain, one.low, one.high) == (0.0, 0.0, 0.0)


def test_a_planted_fall_does_not_hold_and_is_told_with_its_figures() -> None:
    before = judged(1000, 0.85)
    after = {name: values.copy() for name, values in before.items()}
    right = np.flatnonzero(before["accuracy"])[:60]
    after["accuracy"][right], after["log_loss"][right] = 0.0, -1.2
    one = found(after, before, holdout(1000))
    assert not one["accuracy"].held
    assert not one["log_loss"].held
    assert one["accuracy"].gain == pytest.approx(-0.06)
    told = one["log_loss"].told("first")
    assert "log_loss against the first model went from 0.4350 to 0.4890" in told
    assert "0.02 is allowed" in told
    assert "would tell" not in told  # no holdout would let it through


def test_a_planted_rise_is_surely_gained() -> None:
    before = judged(1000, 0.7)
    after = {name: values.copy() for name, values in before.items()}
    wrong = np.flatnonzero(before["accuracy"] == 0)[:60]
    after["accuracy"][wrong], after["log_loss"][wrong] = 1.0, -0.3
    assert all(one.held and one.gained for one in found(after, before, holdout(1000)).values())


def test_what_holds_but_shows_no_gain_is_named() -> None:
    same = judged(400, 0.8)
    told = compared(same, same, holdout(400), GuardSettings())
    assert idle(told, {"log_loss"}) == ["log_loss went from 0.4800 to 0.4800, which is no gain"]
    assert idle(told, {"flag_loss"}) == []


def test_rows_that_cannot_tell_do_not_hold_and_the_number_that_would_is_named() -> None:
    """Two models that are as good and disagree on 32 of 100 rows: the error of their difference is 0.056."""
    one = found(judged(100, 0.8, seed=1), judged(100, 0.8, seed=2), holdout(100))["accuracy"]
    assert not one.held
    told = one.told("former")
    assert "prompts in the holdout would tell; it has 100)" in told
    number = int(told.split("(about ")[1].split()[0])
    assert number > 1000


def test_rows_of_one_prompt_count_together() -> None:
    """Each of 40 prompts says the same ten times over: as 400 rows of their own they would look certain."""
    after, before = (
        {"accuracy": np.repeat(judged(40, share, seed=3)["accuracy"], 10)} for share in (0.8, 0.7)
    )
    alone = found(after, before, holdout(400))["accuracy"]
    together = found(after, before, holdout(40, each=10))["accuracy"]
    assert together.gain == alone.gain
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert together.prompts == 40


def test_too_small_a_holdout_is_refused_with_the_number_needed() -> None:
    """0.05 * (1.645 / 0.02)^2 = 338.2"""
    guard = GuardSettings()
    assert needed(guard) == 339
    require_enough(holdout(339), guard, ["quality"])
    with pytest.raises(InvalidInput, match=r"338 prompts .* needs about 339"):
        require_enough(holdout(338), guard, ["quality"])
    with pytest.raises(InvalidInput, match="40 prompts"):
        require_enough(holdout(40, each=10), guard, ["quality"])
    require_enough(holdout(40), GuardSettings(accuracy=0.1), ["quality"])


def test_a_holdout_without_violations_does_not_guard_a_model_that_tells_them() -> None:
    guard = GuardSettings()
    require_enough(holdout(0, flagged=30, passed=30), guard, ["safety"])
    with pytest.raises(InvalidInput, match="29 flagged and 500 passed answers cannot see"):
        require_enough(holdout(400, flagged=29, passed=500), guard, ["quality", "safety"])
