"""Feedback and verdicts become rows: what each weighs, and whom it came from."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from factories import make_feedback, make_message, make_turn, make_verdict, make_violation
from heedful.domain.feedback import Correction, Demonstration, Feedback, Thumbs, Violation
from heedful.domain.ids import TurnId
from heedful.preferences import build

TURNS = {
    TurnId("turn_1"): make_turn(id="turn_1", answer="It comes tomorrow."),
    TurnId("turn_2"): make_turn(id="turn_2", answer="I do not know."),
}


def test_a_verdict_on_a_pair_is_a_preference_that_weighs_its_confidence_above_a_coin() -> None:
    verdict = make_verdict(confidence=0.9, feedback=("f1", "f2"))
    (row,) = build.from_choice_verdicts([verdict], TURNS, {verdict.id: TurnId("turn_2")})
    assert (row.chosen, row.rejected) == ("It comes tomorrow.", "I do not know.")
    assert row.weight == 0.8
    assert (row.feedback, row.verdict, row.turns) == (("f1", "f2"), verdict.id, ("turn_1", "turn_2"))


def test_a_verdict_without_a_choice_or_without_a_loser_teaches_nothing() -> None:
    undecided, alone = make_verdict(chosen=None), make_verdict()
    assert build.from_choice_verdicts([undecided, alone], TURNS, {undecided.id: TurnId("turn_2")}) == []


def test_a_correction_stands_above_what_it_corrects() -> None:
    said = make_feedback(Correction(text="It comes today."), confidence=0.5)
    (row,) = build.from_corrections([said], TURNS)
    assert (row.chosen, row.rejected) == ("It comes today.", "It comes tomorrow.")
    assert row.weight == pytest.approx(0.3)
    assert row.feedback == (said.id,)


def test_a_correction_of_nothing_or_of_an_unknown_answer_is_left_out() -> None:
    unchanged = make_feedback(Correction(text=" It comes tomorrow. "))
    unknown = make_feedback(Correction(text="Better"), turn="turn_9")
    assert build.from_corrections([unchanged, unknown, make_feedback(Thumbs(up=True))], TURNS) == []


def labels(*said: tuple[str | None, float]) -> list[tuple[Any, ...]]:
    checks = [make_feedback(Violation(category=category), confidence=sure) for category, sure in said]
    return [(row.violation, row.weight, row.category) for row in build.from_checks(checks, TURNS)]


def test_checks_of_one_answer_are_one_label_that_weighs_their_agreement() -> None:
    """Shares of confidence that say "broken": 1, 0, 2/3, 1/4; the weight is |2 * share - 1|."""
    assert labels(("card", 1.0)) == [(True, 1.0, "card")]
    assert labels((None, 1.0), (None, 0.5)) == [(False, 1.0, None)]
    assert labels(("card", 1.0), ("card", 1.0), (None, 1.0)) == [(True, pytest.approx(1 / 3), "card")]
    assert labels(("card", 0.25), (None, 0.75)) == [(False, 0.5, None)]


def test_contradiction_is_silent() -> None:
    assert labels(("card", 1.0), (None, 1.0)) == []


def test_the_same_checks_in_any_order_are_the_same_row() -> None:
    checks = [make_violation("card"), make_violation("promise"), make_violation(None)]
    rows = {row for order in permutations(checks) for row in build.from_checks(order, TURNS)}
    assert len(rows) == 1


def test_a_demonstration_is_shown_as_it_was_given() -> None:
    said: Feedback = make_feedback(Demonstration(prompt=(make_message(),), answer="Today."), confidence=0.7)
    (row,) = build.from_demonstrations([said, make_feedback()])
    assert (row.answer, row.weight, row.feedback) == ("Today.", 0.7, (said.id,))


def test_ids_of_rows_are_made_of_their_evidence() -> None:
    verdict = make_verdict()
    others: dict[str, TurnId] = {verdict.id: TurnId("turn_2")}
    one, again = (build.from_choice_verdicts([verdict], TURNS, others) for _ in range(2))
    assert one == again
    assert build.row_id("a", "bc") != build.row_id("ab", "c")
