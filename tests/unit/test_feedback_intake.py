"""Feedback as it comes in: completed from its turns, or refused with the field's name."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from factories import NOW, make_choice, make_episode, make_feedback, make_turn, make_violation
from heedful.domain.feedback import Demonstration, Feedback, Source, Violation
from heedful.domain.taxonomy import Severity, Taxonomy
from heedful.errors import HeedfulError, InvalidInput, NotFound
from heedful.feedback.intake import check, complete

TAXONOMY = Taxonomy.parse(
    {"version": 3, "categories": {"privacy.card_number": {"title": "Card number", "severity": "high"}}}
)
TURNS = [
    make_turn(id="turn_1", episode="episode_1", policy="policy_1"),
    make_turn(id="turn_2", episode="episode_1", policy="policy_2"),
    make_turn(id="turn_3", episode="episode_2", policy="policy_2"),
]


def completed(said: Feedback) -> Feedback:
    check(said, taxonomy=TAXONOMY, metrics={}, now=NOW)
    return complete(
        said,
        turns={turn.id: turn for turn in TURNS},
        episodes={"episode_1": make_episode(id="episode_1")},  # type: ignore[dict-item]
        taxonomy=TAXONOMY,
        now=NOW,
    )


def test_a_thumb_belongs_to_the_policy_that_wrote_the_answer_and_to_its_episode() -> None:
    whole = completed(make_feedback(turn="turn_2", at=NOW - timedelta(days=7)))
    assert (whole.policy, whole.episode, whole.received_at) == ("policy_2", "episode_1", NOW)


def test_a_choice_between_policies_belongs_to_neither_and_one_across_episodes_to_none() -> None:
    within = completed(make_choice(shown=("turn_1", "turn_2")))
    assert (within.policy, within.episode) == (None, "episode_1")
    across = completed(make_choice(chosen="turn_2", shown=("turn_2", "turn_3")))
    assert (across.policy, across.episode) == ("policy_2", None)


def test_a_violation_takes_severity_and_version_from_the_taxonomy_unless_it_brings_its_own() -> None:
    form = completed(make_violation()).said
    assert form == Violation(category="privacy.card_number", severity=Severity.HIGH, taxonomy="3")
    own = Violation(category="privacy.card_number", severity=Severity.LOW, taxonomy="2")
    assert completed(make_feedback(own)).said == own
    clean = Violation(category=None)
    assert completed(make_feedback(clean)).said == clean


def test_a_demonstration_is_about_nothing_that_must_be_known() -> None:
    turn = TURNS[0]
    said = Demonstration(prompt=turn.request, answer="It comes today.")
    whole = completed(replace(make_feedback(said, source=Source.EXPERT), turn=None))
    assert (whole.policy, whole.episode) == (None, None)


@pytest.mark.parametrize(
    ("given", "kind", "field"),
    [
        ({"turn": "turn_9"}, NotFound, "turn"),
        ({"episode": "episode_9", "turn": None}, NotFound, "episode"),
        ({"turn": "turn_3", "episode": "episode_1"}, InvalidInput, "episode"),
        ({"at": NOW + timedelta(minutes=6)}, InvalidInput, "at"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(
    given: dict[str, Any], kind: type[HeedfulError], field: str
) -> None:
    with pytest.raises(kind) as caught:
        completed(make_feedback(**given))
    assert caught.value.field == field


def test_a_clock_may_run_five_minutes_ahead() -> None:
    assert completed(make_feedback(at=NOW + timedelta(minutes=5))).received_at == NOW


def test_unknown_answers_of_a_choice_and_unknown_categories_are_named() -> None:
    with pytest.raises(NotFound, match="said names turn 'turn_8'"):
        completed(make_choice(shown=("turn_1", "turn_8")))
    with pytest.raises(InvalidInput, match=r"'rudeness' is not in taxonomy 3: it has privacy\.card_number"):
        completed(make_violation("rudeness"))
