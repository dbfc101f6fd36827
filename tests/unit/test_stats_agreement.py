"""Agreement of two people, worked by hand."""

from __future__ import annotations

import pytest

from heedful.errors import InvalidInput
from heedful.stats.agreement import cohen_kappa, percent_agreement

# Both said yes 20 times, only the first 5 times, only the second 10 times, neither 15 times.
FIRST = ["yes"] * 25 + ["no"] * 25
SECOND = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15


def test_percent_agreement_by_hand() -> None:
    assert percent_agreement(FIRST, SECOND) == pytest.approx(35 / 50)


def test_kappa_by_hand() -> None:
    """Chance agrees in 1/2 * 3/5 + 1/2 * 2/5 = 1/2 of the cases: (0.7 - 0.5) / (1 - 0.5)."""
    assert cohen_kappa(FIRST, SECOND) == pytest.approx(0.4)
    assert cohen_kappa(SECOND, FIRST) == pytest.approx(0.4)


def test_kappa_at_its_ends() -> None:
    assert cohen_kappa([1, 2, 3], [1, 2, 3]) == 1
    assert cohen_kappa(["a", "b"], ["b", "a"]) == -1
    assert cohen_kappa(["a", "a"], ["b", "b"]) == 0


def test_kappa_is_unknown_when_nobody_ever_said_anything_else() -> None:
    assert cohen_kappa(["a", "a"], ["a", "a"]) is None


def test_both_must_judge_the_same_things() -> None:
    with pytest.raises(InvalidInput, match="2 and 1 judgements"):
        percent_agreement(["a", "b"], ["a"])
    with pytest.raises(InvalidInput, match="0 and 0 judgements"):
        cohen_kappa([], [])
