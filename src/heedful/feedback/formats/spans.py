"""A span as every tracer has it, and what one span says in our words.

What reads a wire makes `Span`s; what knows a convention turns each into a `Seen`; `weave.py` puts those together
without knowing where they came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from heedful.domain.content import Answer, Message, Sampling, Usage
from heedful.errors import InvalidInput
from heedful.feedback.formats.said import Opinion


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    name: str
    at: datetime | None
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    trace: str
    id: str
    name: str
    where: str  # for problems
    parent: str | None = None
    began: datetime | None = None
    ended: datetime | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)  # plain values under dotted names
    events: tuple[Event, ...] = ()
    links: tuple[tuple[str, str], ...] = ()  # trace and span
    failed: bool = False
    service: str | None = None  # the application that it comes from


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a model."""

    model: str
    request: tuple[Message, ...]
    answers: tuple[Answer, ...]  # at least one; without text where the content was not captured
    sampling: Sampling = field(default_factory=Sampling)
    usage: Usage = field(default_factory=Usage)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Heard:
    """What people and programs thought of something, and why the rest of it could not be used."""

    opinions: tuple[Opinion, ...] = ()
    troubles: tuple[str, ...] = ()


def heard(*told: Iterator[Opinion]) -> Heard:
    """Bad feedback on a span is no reason to lose the span, nor the feedback before it."""
    opinions: list[Opinion] = []
    troubles: list[str] = []
    for one in told:
        try:
            opinions.extend(one)
        except InvalidInput as error:
            troubles.append(str(error))
    return Heard(tuple(opinions), tuple(troubles))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one span says."""

    span: Span
    call: Call | None = None
    agent: str | None = None  # who acts in it
    enacts: bool = False  # the span is an agent at work: what lies in it is that agent's
    session: str | None = None
    user: str | None = None
    task: str | None = None
    handoff: tuple[str | None, str] | None = None  # from one agent to another
    scopes: tuple[tuple[str, str], ...] = ()  # agents around it that were told of before: span and name
    judges: bool = False  # an evaluator at work: what lies in it was said to nobody
    heard: Heard = Heard()
