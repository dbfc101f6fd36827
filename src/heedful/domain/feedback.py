"""What one person or program said about a turn, an episode, or several of them side by side.

A form is what was said; a source is the kind of evidence it is. The two are apart because the same words
weigh differently: a thumb by an expert is not a thumb by a passer-by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from math import inf, isfinite
from typing import Annotated, Literal

from pydantic import Discriminator

from heedful.domain.capture import Capture
from heedful.domain.content import Message
from heedful.domain.ids import (
    AssignmentId,
    DeadLetterId,
    EpisodeId,
    FeedbackId,
    ItemId,
    PersonId,
    PolicyId,
    ProductId,
    QueueId,
    TenantId,
    TurnId,
)
from heedful.domain.taxonomy import Severity
from heedful.errors import InvalidInput


class Source(StrEnum):
    """Six kinds of evidence."""

    DIRECT = "direct"  # a user rates, chooses, corrects
    BEHAVIOUR = "behaviour"  # derived from what a user did
    EXPERT = "expert"  # a rater or specialist who was asked
    SAFETY = "safety"  # a monitor, a guard or a person reports harm
    COMPLETION = "completion"  # the task's own result
    EFFICIENCY = "efficiency"  # time, tokens, money


def _within(value: float, low: float, high: float, name: str) -> None:
    if not low <= value <= high:  # a NaN fails this too
        raise InvalidInput(f"{name} is {value}: it goes from {low:g} to {high:g}", field=name)


def _finite(value: float | None, name: str) -> None:
    if value is not None and not isfinite(value):
        raise InvalidInput(f"{name} is {value}: say a number, or leave it out", field=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    value: float
    low: float = 1.0
    high: float = 5.0
    aspect: str | None = None  # None means overall
    form: Literal["rating"] = "rating"

    def __post_init__(self) -> None:
        if not -inf < self.low < self.high < inf:
            raise InvalidInput(
                f"the scale goes from {self.low} to {self.high}: low is below high", field="said.low"
            )
        _within(self.value, self.low, self.high, "said.value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbs:
    up: bool
    form: Literal["thumbs"] = "thumbs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Two or more answers were seen side by side, and one of them, or none, was preferred."""

    shown: tuple[TurnId, ...]  # left to right, as the screen had them
    chosen: TurnId | None  # None means "no difference"
    strength: float | None = None  # 0 barely, 1 by far
    both_bad: bool = False  # only with no choice
    form: Literal["choice"] = "choice"

    def __post_init__(self) -> None:
        if len(self.shown) < 2 or len(set(self.shown)) != len(self.shown):
            raise InvalidInput(
                f"shown is {list(self.shown)!r}: two or more different turns", field="said.shown"
            )
        if self.chosen is not None and self.chosen not in self.shown:
            raise InvalidInput(
                f"chosen {self.chosen!r} is not one of the shown {list(self.shown)!r}", field="said.chosen"
            )
        if self.both_bad and self.chosen is not None:
            raise InvalidInput("both_bad goes with no choice: leave chosen empty", field="said.both_bad")
        if self.strength is not None:
            _within(self.strength, 0, 1, "said.strength")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Best first; turns in one place are equally good."""

    places: tuple[tuple[TurnId, ...], ...]
    form: Literal["ranking"] = "ranking"

    def __post_init__(self) -> None:
        turns = [turn for place in self.places for turn in place]
        if len(turns) < 2 or len(set(turns)) != len(turns) or not all(self.places):
            raise InvalidInput(
                "places hold two or more different turns, and none is empty", field="said.places"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What the answer should have been: a preference for free."""

    text: str
    kind: str | None = None  # fact, tone, action, format, safety …
    form: Literal["correction"] = "correction"

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise InvalidInput("a correction has a text: what the answer should have been", field="said.text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """The answer was used as it was."""

    strength: float = 1.0  # 0 grudgingly, 1 gladly
    form: Literal["confirmation"] = "confirmation"

    def __post_init__(self) -> None:
        _within(self.strength, 0, 1, "said.strength")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """Somebody wants a person to look at this; it is not yet a violation."""

    reason: str
    form: Literal["flag"] = "flag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """How a person would have done it, from nothing."""

    prompt: tuple[Message, ...]
    answer: str
    form: Literal["demonstration"] = "demonstration"

    def __post_init__(self) -> None:
        if not self.prompt or not self.answer:
            raise InvalidInput("a demonstration has a prompt and an answer", field="said.answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Somebody checked an answer against the safety taxonomy: it breaks a category, or `category` is None: clean."""

    category: str | None
    severity: Severity | None = None  # None means the category's own
    taxonomy: str | None = None  # version; stamped at ingest when absent
    form: Literal["violation"] = "violation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The task's own result."""

    completed: bool
    quality: float | None = None  # 0 to 1, evaluated from the result
    task_type: str | None = None
    form: Literal["completion"] = "completion"

    def __post_init__(self) -> None:
        if self.quality is not None:
            _within(self.quality, 0, 1, "said.quality")


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    seconds: float | None = None
    tokens: int | None = None
    spend: float | None = None
    steps: int | None = None
    form: Literal["efficiency"] = "efficiency"

    def __post_init__(self) -> None:
        _finite(self.seconds, "said.seconds")
        _finite(self.spend, "said.spend")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What the user did next, and how surely that means something."""

    kind: str  # rephrase, repeat, abandon, regenerate, thanks, edit, escalate …
    value: float | None = None  # such as the edit distance, 0 to 1
    form: Literal["behaviour"] = "behaviour"

    def __post_init__(self) -> None:
        _finite(self.value, "said.value")


Form = (
    Rating
    | Thumbs
    | Choice
    | Ranking
    | Correction
    | Confirmation
    | Flag
    | Demonstration
    | Violation
    | Completion
    | Efficiency
    | Behaviour
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The circumstances of a judgement that was asked for: enough to audit it years later."""

    queue: QueueId | None = None
    item: ItemId | None = None
    assignment: AssignmentId | None = None
    cohort: str | None = None  # of the rater
    opened_at: datetime | None = None
    sent_at: datetime | None = None
    active_seconds: float | None = None  # with the hands on it, not just open
    positions: tuple[TurnId, ...] = ()  # left to right or top to bottom
    blind: bool = True  # the rater saw neither policies nor others' answers
    gold: bool = False  # the item had a known answer
    guideline: str | None = None  # version of the instructions
    task_version: str | None = None
    suggestion: str | None = None  # what was proposed, if anything was shown
    suggestion_by: str | None = None  # the model that proposed it
    reason: str | None = None  # in the rater's words

    def __post_init__(self) -> None:
        _finite(self.active_seconds, "judgement.active_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    id: FeedbackId
    tenant: TenantId
    said: Annotated[Form, Discriminator("form")]  # named, so that reading one back does not try all of them
    source: Source
    at: datetime  # when it was said
    by: PersonId | None = None
    name: str | None = None  # of the declared metric, if it is one
    turn: TurnId | None = None
    episode: EpisodeId | None = None
    confidence: float = 1.0  # of the one who said it, 0 to 1
    product: ProductId | None = None
    segment: str | None = None
    language: str | None = None
    judgement: Judgement | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    capture: Capture = field(default=Capture.FULL, metadata={"stamp": True})
    received_at: datetime | None = field(default=None, metadata={"stamp": True})
    policy: PolicyId | None = field(default=None, metadata={"stamp": True})  # that wrote the target

    def __post_init__(self) -> None:
        _within(self.confidence, 0, 1, "confidence")
        about_nothing = self.turn is None and self.episode is None
        if about_nothing and not isinstance(self.said, Choice | Ranking | Demonstration):
            raise InvalidInput(f"a {self.said.form} is about a turn or an episode: name one", field="turn")

    @property
    def turns(self) -> tuple[TurnId, ...]:
        """Every turn that this feedback is about."""
        match self.said:
            case Choice():
                return self.said.shown
            case Ranking():
                return tuple(turn for place in self.said.places for turn in place)
            case _:
                return () if self.turn is None else (self.turn,)

    @property
    def slot(self) -> str | None:
        """The same for everything that one person says about one target under one name: the newest counts.

        None for feedback without a name or a speaker, which stands for itself.
        """
        if self.name is None or self.by is None:
            return None
        target = "\0".join(sorted(self.turns)) if self.turns else f"\0{self.episode}"
        return hashlib.sha256("\0\0".join((self.name, self.by, target)).encode()).hexdigest()


def current(said: Sequence[Feedback]) -> list[Feedback]:
    """Without what its own speaker has replaced since; `said` is in the order in which it was kept.

    Everything stays on record. What counts is the newest by the time it was said, or by the order it came in.
    """
    slots = [one.slot for one in said]
    newest: dict[str, Feedback] = {}
    for slot, one in zip(slots, said, strict=True):
        if slot is not None and (slot not in newest or newest[slot].at <= one.at):
            newest[slot] = one
    return [one for slot, one in zip(slots, said, strict=True) if slot is None or newest[slot] is one]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """Feedback that came before what it is about. It has the feedback's id, and becomes it when that is here."""

    id: FeedbackId
    tenant: TenantId
    feedback: Feedback  # as it was sent: what only the target can tell is missing
    waits_for: tuple[TurnId | EpisodeId, ...] = field(metadata={"stamp": True})
    since: datetime = field(metadata={"stamp": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Something that was taken in and could not become what it should: it waits for a person."""

    id: DeadLetterId
    tenant: TenantId
    payload: str  # JSON text, as it came
    origin: str  # "parked", "otlp", "journal", "import" …
    reason: str = field(metadata={"stamp": True})
    first_seen: datetime = field(metadata={"stamp": True})
    last_seen: datetime = field(metadata={"stamp": True})
    attempts: int = field(default=1, metadata={"stamp": True})
