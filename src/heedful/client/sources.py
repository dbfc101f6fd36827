"""The four streams that an agent has: what its users do, what its tasks come to, what its monitor sees, what it costs.

Each factory takes a function that begins a stream of the agent's own events, and gives a source for `collect`.
Give events the ids that they have with you: an event that comes again is then kept once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeVar

from heedful.client.calls import Json
from heedful.client.live import Source, closing
from heedful.domain import feedback as forms
from heedful.domain.taxonomy import Severity
from heedful.errors import InvalidInput


class Reaction(StrEnum):
    """What the user did with a task's result."""

    THANKED = "thanked"
    USED = "used"  # as it was
    EDITED = "edited"
    REPEATED = "repeated"  # asked the same again
    COMPLAINED = "complained"
    ESCALATED = "escalated"  # to a person


LIKING: Mapping[Reaction, float] = {
    Reaction.THANKED: 1.0,
    Reaction.USED: 0.9,
    Reaction.EDITED: 0.6,
    Reaction.REPEATED: 0.3,
    Reaction.ESCALATED: 0.2,
    Reaction.COMPLAINED: 0.0,
}
"""How much the result was worth to the user, as far as a reaction tells."""
UNFINISHED = 0.5  # most that a task which was not done can be worth


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all of them have: whom it is about, and which one it is."""

    turn: str | None = None  # or
    episode: str | None = None
    id: str | None = None  # yours; without one it is kept as often as it comes
    by: str | None = None  # a pseudonym of the user, or the monitor's name
    at: datetime | None = None  # None means when it came
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.turn is None and self.episode is None:
            raise InvalidInput("an event is about a turn or an episode: name one", field="turn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction(Event):
    """A user corrected an answer, or used it."""

    said: forms.Correction | forms.Confirmation  # a correction has its kind, a confirmation its strength


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult(Event):
    """A task came to an end."""

    task_type: str
    completed: bool
    score: float | None = None  # 0 to 1, of the result by the task's own measure, such as tests that passed
    reaction: Reaction | None = None  # None when the user showed none


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyEvent(Event):
    """A monitor looked at an answer: it breaks a category of the taxonomy, or None: it is clean."""

    category: str | None
    severity: Severity | None = None  # None means the category's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort(Event):
    """What a turn or a task took."""

    seconds: float | None = None
    tokens: int | None = None
    spend: float | None = None  # in the currency of the price table
    steps: int | None = None


CIRCUMSTANCES = ("turn", "episode", "id", "by", "at", "metadata")
E = TypeVar("E", bound=Event)
Listen = Callable[[], AsyncIterator[E]]


class Quality(Protocol):
    """How well a task was done, 0 to 1; None when nothing tells."""

    def __call__(self, result: TaskResult) -> float | None: ...


def completion_quality(result: TaskResult) -> float | None:
    """The mean of what the result measures and what the user made of it; one alone where there is only one.

    A task that was not done is worth at most a half, however kindly it was taken. Without a score and without
    a reaction nothing is known beyond whether it was done, and no number is made up.
    """
    known = [] if result.score is None else [result.score]
    if result.reaction is not None:
        known.append(LIKING[result.reaction])
    if not known:
        return None
    mean = sum(known) / len(known)
    return mean if result.completed else min(mean, UNFINISHED)


def interactions(listen: Listen[Interaction]) -> Source:
    """Corrections with their kind, confirmations with their strength."""
    return _source(listen, lambda event: asdict(event.said))


def task_results(listen: Listen[TaskResult], *, quality: Quality = completion_quality) -> Source:
    """Results with their type, and a quality evaluated from the result and the user's reaction."""

    def said(event: TaskResult) -> Json:
        return {
            "form": "completion",
            "completed": event.completed,
            "quality": quality(event),
            "task_type": event.task_type,
        }

    return _source(listen, said)


def safety_monitor(listen: Listen[SafetyEvent]) -> Source:
    """Violations, and answers that were checked and are clean."""
    return _source(
        listen,
        lambda event: {"form": "violation", "category": event.category, "severity": event.severity},
    )


def efficiency_meter(listen: Listen[Effort]) -> Source:
    """Seconds, tokens, spend and steps."""
    names = ("seconds", "tokens", "spend", "steps")
    return _source(
        listen, lambda event: {"form": "efficiency"} | {name: getattr(event, name) for name in names}
    )


def _source(listen: Listen[E], said: Callable[[E], Json]) -> Source:
    """As JSON that nobody has checked yet: the collector does, and refuses one event without losing the stream."""

    async def source() -> AsyncIterator[Json]:
        async with closing(listen()) as stream:
            async for event in stream:
                yield {name: getattr(event, name) for name in CIRCUMSTANCES} | {"said": said(event)}

    return source
