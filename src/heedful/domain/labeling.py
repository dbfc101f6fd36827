"""Asking people: queues of items, assignments of items to raters, and what their answers add up to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from heedful.domain.content import Message
from heedful.domain.ids import (
    AssignmentId,
    FeedbackId,
    ItemId,
    PersonId,
    QueueId,
    TenantId,
    TurnId,
    VerdictId,
)
from heedful.domain.preference import Objective
from heedful.errors import InvalidInput

AskedForm = Literal["choice", "ranking", "rating", "correction", "violation", "demonstration"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What raters are asked, and by which rules."""

    id: QueueId
    tenant: TenantId
    name: str
    asks: AskedForm
    instructions: str
    created_at: datetime
    guideline: str = "1"  # version of the instructions
    objective: Objective = Objective.QUALITY
    overlap: int = 1  # raters per item
    quorum: int = 1  # answers below which there is no verdict
    lease_seconds: float = 600.0
    per_rater: int | None = None  # items one rater may do; None means no limit
    experts_only: bool = False
    gold_share: float = 0.0  # of assignments that are hidden gold items

    def __post_init__(self) -> None:
        if not 1 <= self.quorum <= self.overlap:
            raise InvalidInput(
                f"quorum {self.quorum} with overlap {self.overlap}: 1 <= quorum <= overlap", field="quorum"
            )
        if self.lease_seconds <= 0:
            raise InvalidInput(f"lease_seconds is {self.lease_seconds}: it is above 0", field="lease_seconds")
        if not 0 <= self.gold_share < 1:
            raise InvalidInput(f"gold_share is {self.gold_share}: it is in [0, 1)", field="gold_share")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gold:
    """The known answer of a hidden test item."""

    chosen: TurnId | None = None
    category: str | None = None  # of the safety taxonomy; None means clean
    why: str | None = None


class ItemState(StrEnum):
    OPEN = "open"
    DONE = "done"  # has its verdict
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing to be judged: one turn, or several answers to one request."""

    id: ItemId
    tenant: TenantId
    queue: QueueId
    turns: tuple[TurnId, ...]
    prompt: tuple[Message, ...]
    answers: tuple[str, ...]  # in the order of `turns`
    created_at: datetime
    chosen_because: str = "random"  # why this item and not another
    probability: float = 1.0  # that this item was chosen
    gold: Gold | None = None
    state: ItemState = ItemState.OPEN

    def __post_init__(self) -> None:
        if len(self.turns) != len(self.answers):
            raise InvalidInput(f"{len(self.turns)} turns with {len(self.answers)} answers", field="answers")


class AssignmentState(StrEnum):
    LEASED = "leased"
    DONE = "done"
    SKIPPED = "skipped"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A request that one rater judge one item, until a time."""

    id: AssignmentId
    tenant: TenantId
    queue: QueueId
    item: ItemId
    rater: PersonId
    leased_at: datetime
    until: datetime
    state: AssignmentState = AssignmentState.LEASED
    feedback: FeedbackId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the feedback on one item adds up to."""

    id: VerdictId
    tenant: TenantId
    item: ItemId
    queue: QueueId
    objective: Objective
    at: datetime
    feedback: tuple[FeedbackId, ...]  # everything that was weighed
    confidence: float  # probability that the outcome is right, as the method sees it
    method: str
    chosen: TurnId | None = None  # None means no difference, or that the form knows no choice
    category: str | None = None  # for violations: the broken category; None means clean
    score: float | None = None  # for ratings, 0 to 1
