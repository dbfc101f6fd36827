"""A judge that is too sure is cooled down to how often it is right, and not by pairs that grade it."""

from __future__ import annotations

import numpy as np
import pytest

from heedful.rewards.calibration import FEWEST, cooled, temperature
from heedful.rewards.report import calibration_error


def judged(count: int, sureness: float, seed: int) -> np.ndarray:
    """Log-odds of the chosen answer, `sureness` times as large as they should be."""
    random = np.random.default_rng(seed)
    true = random.normal(0, 1.5, count)
    right = random.random(count) < 1 / (1 + np.exp(-np.abs(true)))
    return np.where(right, np.abs(true), -np.abs(true)) * sureness


@pytest.mark.parametrize("sureness", [0.3, 1.0, 4.0])
def test_the_temperature_is_how_much_too_sure_it_was(sureness: float) -> None:
    assert temperature(judged(20_000, sureness, 1)) == pytest.approx(sureness, rel=0.05)


def test_cooled_odds_are_as_sure_as_they_are_right() -> None:
    odds = judged(4000, 4.0, 2)

    def error(of: np.ndarray) -> float:
        shown = np.where(np.arange(len(of)) % 2 == 1, -of, of)
        return calibration_error(1 / (1 + np.exp(-shown)), (np.arange(len(of)) % 2 == 0).astype(float))

    assert error(odds) > 0.1
    assert error(cooled(odds)) < 0.04
    assert np.array_equal(np.sign(cooled(odds)), np.sign(odds))


def test_too_few_pairs_say_nothing() -> None:
    assert temperature(judged(FEWEST - 1, 4.0, 3)) == 1.0
    assert len(cooled(np.array([]))) == 0


def test_a_judge_that_is_always_right_stays_finite() -> None:
    assert 0 < temperature(np.full(100, 3.0)) < 1
