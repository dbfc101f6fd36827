"""Feedback is written by the faster of two encoders: it has to say what the other one says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
from pydantic_core import to_json

from heedful.domain.content import Message, Role
from heedful.domain.feedback import (
    Behaviour,
    Choice,
    Demonstration,
    Efficiency,
    Feedback,
    Form,
    Judgement,
    Parked,
    Rating,
    Source,
    Violation,
)
from heedful.domain.ids import FeedbackId, TenantId, TurnId
from heedful.domain.taxonomy import Severity
from heedful.errors import InvalidInput
from heedful.store import codec

AT = datetime(2026, 6, 1, 12, 30, 15, 250, tzinfo=UTC)


def feedback(said: Form, **more: Any) -> Feedback:
    given = {"at": AT, "turn": TurnId("turn_1"), **more}
    return Feedback(id=FeedbackId("f1"), tenant=TenantId("t"), said=said, source=Source.DIRECT, **given)


FORMS: Mapping[str, Feedback] = {
    "rating": feedback(Rating(value=4), by="ü", metadata={"page": 'a "b" \\ 中'}),
    "violation": feedback(Violation(category=None, severity=Severity.HIGH)),
    "choice": feedback(Choice(shown=(TurnId("a"), TurnId("b")), chosen=None, strength=1 / 3)),
    "whole second": feedback(Rating(value=1), at=AT.replace(microsecond=0)),
    "another zone": feedback(Rating(value=1), at=AT.astimezone(timezone(timedelta(hours=5, minutes=30)))),
    "judgement": feedback(Rating(value=2), judgement=Judgement(active_seconds=1e-7, opened_at=AT)),
    "mapping": feedback(Rating(value=2), metadata=MappingProxyType({"b": "1", "a": "2"})),
    "demonstration": feedback(Demonstration(prompt=(Message(role=Role.USER, content="hi"),), answer="yo")),
    "large": feedback(Efficiency(tokens=1 << 80, seconds=1e300)),
}


@pytest.mark.parametrize("name", FORMS)
def test_both_encoders_say_the_same(name: str) -> None:
    one = FORMS[name]
    for record in (one, Parked(id=one.id, tenant=one.tenant, feedback=one, waits_for=(one.turns), since=AT)):
        assert codec.same(codec.encode(record), to_json(record, fallback=dict))
        assert codec.decode(type(record), codec.encode(record)) == record


def test_half_a_character_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cannot be written as JSON"):
        codec.encode(feedback(Rating(value=1), by="\ud800"))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_feedback_holds_no_number_that_json_cannot_say(number: float) -> None:
    for say in (
        lambda: Efficiency(seconds=number),
        lambda: Efficiency(spend=number),
        lambda: Behaviour(kind="edit", value=number),
        lambda: Rating(value=number),
        lambda: Rating(value=1, low=-math.inf, high=number),
        lambda: Judgement(active_seconds=number),
        lambda: feedback(Rating(value=1), confidence=number),
    ):
        with pytest.raises(InvalidInput):
            say()
