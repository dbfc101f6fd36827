"""Metrics are declared once, and what comes under their names is what was declared."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from factories import NOW, make_choice, make_completion, make_feedback
from heedful.domain.feedback import Behaviour, Feedback, Rating, current
from heedful.errors import InvalidInput
from heedful.feedback.metrics import MetricSettings, check

METRICS = {
    "helpful": MetricSettings(form="thumbs"),
    "nps": MetricSettings(form="rating", low=0, high=10),
    "stars": MetricSettings(form="rating"),
    "solved": MetricSettings(form="completion", level="episode"),
    "edited": MetricSettings(form="behaviour", direction="min", low=0, high=1),
    "better": MetricSettings(form="choice"),
}


@pytest.mark.parametrize(
    "said",
    [
        make_feedback(),
        make_feedback(name="helpful"),
        make_feedback(Rating(value=9, low=0, high=10), name="nps"),
        make_feedback(Rating(value=5), name="stars"),
        make_completion(name="solved", turn=None, episode="episode_1"),
        make_feedback(Behaviour(kind="edit", value=0.5), name="edited"),
        make_feedback(Behaviour(kind="edit"), name="edited"),
        make_choice(name="better"),
    ],
    ids=lambda said: said.name or "none",
)
def test_what_was_declared_passes(said: Feedback) -> None:
    check(said, METRICS)


@pytest.mark.parametrize(
    ("said", "field", "says"),
    [
        (make_feedback(name="helpfull"), "name", "did you mean 'helpful'"),
        (make_feedback(name="zzz"), "name", "there is better, edited"),
        (make_feedback(name="nps"), "said.form", "'nps' is a rating"),
        (make_feedback(Rating(value=3), name="nps"), "said.low", "from 0 to 10"),
        (make_feedback(Rating(value=3, low=0, high=5), name="nps"), "said.high", "from 0 to 10"),
        (make_feedback(name="helpful", episode="episode_1"), "turn", "about a turn"),
        (make_completion(name="solved"), "turn", "about an episode"),
        (make_feedback(Behaviour(kind="edit", value=2), name="edited"), "said.value", "from 0 to 1"),
    ],
)
def test_what_was_not_declared_is_refused_and_the_field_is_named(
    said: Feedback, field: str, says: str
) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        check(said, METRICS)
    assert refused.value.field == field


@pytest.mark.parametrize(
    "given",
    [
        {"form": "thumbs", "low": 0},
        {"form": "rating", "low": 5},
        {"form": "rating", "low": 2, "high": 1},
        {"form": "rating", "hihg": 3},
        {"form": "opinion"},
    ],
)
def test_a_metric_that_cannot_be_is_refused_at_the_start(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MetricSettings(**given)


# -- what counts ------------------------------------------------------------------------------------------


def test_the_newest_of_one_person_under_one_name_on_one_target_counts() -> None:
    first = make_feedback(name="helpful")
    other_person = make_feedback(name="helpful", by="user_2")
    other_turn = make_feedback(name="helpful", turn="turn_2")
    unnamed = make_feedback()
    last = make_feedback(name="helpful", at=NOW + timedelta(seconds=1))
    late = make_feedback(name="helpful", at=NOW - timedelta(days=1))  # said before, and came after
    said = [first, other_person, unnamed, last, other_turn, late]
    assert current(said) == [other_person, unnamed, last, other_turn]


def test_of_two_at_the_same_time_the_later_to_come_counts() -> None:
    first, second = make_feedback(name="helpful"), make_feedback(name="helpful")
    assert current([first, second]) == [second]


def test_a_choice_is_about_its_turns_whatever_their_order() -> None:
    one = make_choice(shown=("turn_1", "turn_2"), name="better")
    other = make_choice(shown=("turn_2", "turn_1"), name="better")
    assert one.slot == other.slot != make_choice(shown=("turn_1", "turn_3"), name="better").slot


def test_what_has_no_name_or_no_speaker_stands_for_itself() -> None:
    assert make_feedback().slot is None
    assert make_feedback(name="helpful", by=None).slot is None
