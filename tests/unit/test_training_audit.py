"""People who look along the way decide when to stop and what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from heedful.errors import InvalidInput
from heedful.training.audit import Audit, AuditSettings, Look


class Told:
    """Says what it was told to, by look: a share of the pairs for the policy; None: nobody answers."""

    def __init__(self, *shares: float | None) -> None:
        self.shares, self.asked = list(shares), list[str]()

    def compare(
        self, prompts: Sequence[Any], first: Sequence[str], second: Sequence[str], *, once: str
    ) -> list[float | None]:
        assert len(prompts) == len(first) == len(second)
        self.asked.append(once)
        share = self.shares.pop(0)
        if share is None:
            return [None] * len(prompts)
        # the same share in both parts
        return [float(place % 10 < 10 * share) for place in range(len(prompts))]


def settings(**rest: Any) -> AuditSettings:
    return AuditSettings.model_validate({"auditor": "x:y", "pairs": 40, **rest})


def looks(audit: Audit, count: int) -> list[Look]:
    found = []
    for number in range(1, count + 1):
        words = [str(number)] * 40
        found.append(
            audit.look(3 * number, words, words, words[:10], words[10:], kl=0.1 * number, reward=1.0)
        )
        if audit.over:
            break
    return found


def test_the_best_state_is_kept_and_two_looks_without_a_better_one_end_the_run() -> None:
    audit = Audit(settings(), Told(0.8, 0.7, 0.5, 0.5, 0.9))
    found = looks(audit, 5)
    assert [one.best for one in found] == [3, 6, 6, 6]
    assert audit.best == 6
    assert audit.over
    assert found[0].against_start == 0.8
    assert found[1].strength > found[0].strength > 0


def test_a_state_that_is_surely_worse_ends_the_run_at_once() -> None:
    audit = Audit(settings(patience=9), Told(0.8, 0.0))
    assert [one.best for one in looks(audit, 5)] == [3, 3]
    assert audit.over


def test_the_start_is_kept_where_nothing_is_better() -> None:
    audit = Audit(settings(), Told(0.4, 0.4))
    looks(audit, 2)
    assert (audit.best, audit.over) == (0, True)


def test_nobody_answering_changes_nothing_and_is_known() -> None:
    audit = Audit(settings(), Told(0.8, None, None, None))
    found = looks(audit, 4)
    assert (audit.best, audit.over, audit.answered, audit.heard) == (3, False, False, True)
    assert (found[1].answered, found[1].against_start) == (0, None)


def test_a_run_that_is_cut_off_between_looks_goes_on_with_all_that_was_said() -> None:
    whole = Audit(settings(), Told(0.8, 0.7, 0.6, 0.5))
    cut = Audit(settings(), Told(0.8, 0.7))
    looks(cut, 2)
    again = Audit(settings(), Told(0.6, 0.5))
    again.restore(cut.state())
    found = looks(whole, 4)
    words = ["x"] * 40
    later = [
        again.look(at, words, words, words[:10], words[10:], kl=0.1 * at / 3, reward=1.0) for at in (9, 12)
    ]
    assert [one.strength for one in later] == [one.strength for one in found[2:]]
    assert again.state() == whole.state()


def test_a_look_has_a_name_that_is_the_same_when_it_is_asked_again() -> None:
    auditor = Told(0.8)
    looks(Audit(settings(), auditor), 1)
    assert auditor.asked == ["audit-000003"]


@pytest.mark.parametrize(("said", "why"), [([1.0] * 3, "3 things about 40"), ([2.0] * 40, "said 2.0")])
def test_an_auditor_that_says_something_else_is_refused_by_what_it_said(said: list[float], why: str) -> None:
    class Odd:
        def compare(self, *_: Any, **__: Any) -> list[float | None]:
            return list(said)

    with pytest.raises(InvalidInput, match=why):
        looks(Audit(settings(), Odd()), 1)


@pytest.mark.parametrize("wrong", [{"pairs": 3}, {"every": 0}, {"patience": 0}, {"brake": 0}, {"people": 3}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**wrong)
