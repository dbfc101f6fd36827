"""What people are asked to judge, and what one of them decides about an answer that is held."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field

from heedful.domain.content import Message
from heedful.domain.guard import Decision
from heedful.domain.ids import AssignmentId, ItemId, PersonId, QueueId, TenantId, TurnId
from heedful.domain.labeling import AskedForm, Assignment, Gold, Item, Queue
from heedful.domain.preference import Objective
from heedful.wire.fields import Name, Number, Shape, Short, Text, Whole, optional


class QueueIn(Shape):
    """What raters are asked, and by which rules."""

    id: Name | None = None
    """Yours, or minted."""
    name: Short
    """What people call it."""
    asks: AskedForm
    """choice, ranking, rating, correction, violation or demonstration."""
    instructions: Text
    """What a rater reads first."""
    guideline: Short = "1"
    """Version of the instructions."""
    objective: Objective = Objective.QUALITY
    """What the answers are about."""
    overlap: Annotated[Whole, Field(ge=1, le=100)] = 1
    """Raters per item."""
    quorum: Annotated[Whole, Field(ge=1, le=100)] = 1
    """Answers below which there is no verdict."""
    lease_seconds: Annotated[Number, Field(gt=0, le=30 * 86_400)] = 600.0
    """How long an assignment waits for its rater."""
    per_rater: Annotated[Whole, Field(ge=1)] | None = None
    """Items one rater may do."""
    gold_share: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """Of assignments that are hidden gold items."""

    def to_domain(self, *, tenant: TenantId, id: str, at: datetime) -> Queue:
        fields = dict(self) | {"id": QueueId(id)}
        return Queue(tenant=tenant, created_at=at, **fields)


class LeaseIn(Shape):
    """Ask for work."""

    rater: Name | None = None
    """For whom; a rater's key says it itself."""
    limit: Annotated[Whole, Field(ge=1, le=100)] = 10
    """How many at most."""


class AssignmentOut(Shape):
    """A request that one rater judge one item, until a time."""

    id: AssignmentId
    """Goes into `judgement.assignment` of the answer."""
    queue: QueueId
    """Which queue."""
    item: ItemId
    """Which item."""
    rater: PersonId
    """Whose."""
    leased_at: datetime
    """Since when."""
    until: datetime
    """When it goes to somebody else."""


class AskedOut(Shape):
    """What a rater may see of an item: not whether the answer is known, nor why it was chosen."""

    id: ItemId
    """The item's."""
    turns: tuple[TurnId, ...]
    """What is judged."""
    prompt: tuple[Message, ...]
    """What was asked."""
    answers: tuple[str, ...]
    """In the order of `turns`."""


class Leased(Shape):
    """Work for one rater."""

    assignment: AssignmentOut
    """The lease."""
    item: AskedOut
    """What it is about."""

    @classmethod
    def of(cls, assignment: Assignment, item: Item) -> Self:
        return cls(
            assignment=AssignmentOut(
                **{name: getattr(assignment, name) for name in AssignmentOut.model_fields}
            ),
            item=AskedOut(**{name: getattr(item, name) for name in AskedOut.model_fields}),
        )


class Work(Shape):
    """What a rater needs to begin."""

    asks: AskedForm
    """Which form of feedback is wanted."""
    instructions: str
    """How to judge."""
    guideline: str
    """Version of the instructions: goes into `judgement.guideline`."""
    assignments: tuple[Leased, ...]
    """What to judge, in this order."""

    @classmethod
    def of(cls, queue: Queue, taken: Sequence[tuple[Assignment, Item]]) -> Self:
        return cls(
            asks=queue.asks,
            instructions=queue.instructions,
            guideline=queue.guideline,
            assignments=tuple(Leased.of(assignment, item) for assignment, item in taken),
        )


class GoldIn(Shape):
    """The known answer of an item that tests raters."""

    chosen: Name | None = None
    """The right turn; None means no difference."""
    category: Short | None = None
    """The broken category; None means clean."""
    why: Text | None = None
    """Shown to a rater who was wrong."""

    def to_domain(self) -> Gold:
        return Gold(chosen=optional(TurnId, self.chosen), category=self.category, why=self.why)


class DecisionIn(Shape):
    """What a person makes of a held answer."""

    decision: Literal[Decision.ALLOW, Decision.REWRITE, Decision.REFUSE]
    """allow, rewrite or refuse."""
    text: Text | None = None
    """What is said instead, with rewrite."""
    reason: Text | None = None
    """For those who ask later."""
