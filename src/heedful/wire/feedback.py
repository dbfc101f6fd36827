"""Feedback: one of the forms with its circumstances, and what became of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, TypeAdapter

from heedful.domain import feedback as forms
from heedful.domain.feedback import Feedback, Judgement, Source
from heedful.domain.ids import EpisodeId, FeedbackId, PersonId, ProductId, TenantId, TurnId
from heedful.wire.answers import ErrorOut
from heedful.wire.fields import At, Metadata, Name, Number, Shape, Share, Short, Text, optional
from heedful.wire.said import FORMS, DemonstrationIn, FormIn, RatingIn

MOST_FEEDBACK = 1000  # in one request


class JudgementIn(Shape):
    """The circumstances of a judgement that was asked for."""

    queue: Name | None = None
    """Taken from the assignment when that is named."""
    item: Name | None = None
    """Taken from the assignment when that is named."""
    assignment: Name | None = None
    """The lease that this answers: it is closed by the same commit."""
    cohort: Short | None = None
    """Of the rater."""
    opened_at: At | None = None
    """When the rater saw the item."""
    sent_at: At | None = None
    """When the rater was done."""
    active_seconds: Annotated[Number, Field(ge=0)] | None = None
    """With the hands on it, not just open."""
    positions: tuple[Name, ...] = Field((), max_length=64)
    """Turns as the screen had them, left to right or top to bottom."""
    blind: StrictBool = True
    """The rater saw neither policies nor others' answers."""
    gold: StrictBool = False
    """The item had a known answer."""
    guideline: Short | None = None
    """Version of the instructions."""
    task_version: Short | None = None
    """Version of the labeling tool's task."""
    suggestion: Text | None = None
    """What was proposed to the rater, if anything."""
    suggestion_by: Short | None = None
    """The model that proposed it."""
    reason: Text | None = None
    """In the rater's words."""


class FeedbackIn(Shape):
    """What one person or program said about a turn or an episode; with an `id` it can safely be resent."""

    id: Name | None = None
    """Yours; without one we mint it, and a second sending would be a second piece of feedback."""
    said: FormIn
    """What was said, by `form`."""
    source: Source | None = None
    """The kind of evidence; None means the form's usual one."""
    at: At | None = None
    """When it was said; None means now."""
    by: Name | None = None
    """A pseudonym of who said it, or the program's name. A rater's key fills it in itself."""
    name: Short | None = None
    """Of a declared metric. What the same person says again about the same target under it replaces, for
    everything that counts, what was said before."""
    turn: Name | None = None
    """What it is about; the completion's id is the turn's."""
    episode: Name | None = None
    """What it is about, when it is not about one turn."""
    confidence: Share = 1.0
    """Of the one who said it."""
    product: Name | None = None
    """Where it was said."""
    segment: Short | None = None
    """Of the user."""
    language: Short | None = None
    """Such as `en` or `pt-BR`."""
    judgement: JudgementIn | None = None
    """Its circumstances, when it was asked for."""
    metadata: Metadata = Field(default_factory=dict)
    """Yours."""

    def to_domain(
        self,
        *,
        tenant: TenantId,
        id: str,
        at: datetime,
        by: PersonId | None = None,
        judged: Source | None = None,
        scale: tuple[float | None, float | None] | None = None,
    ) -> Feedback:
        """The domain's value; the rest is used where the sender left a place empty: `scale` for a rating that
        brings none, because its metric has one."""
        form, usual = FORMS[self.said.form]
        inner: dict[str, Any] = {**self.said.__dict__}
        if scale is not None and isinstance(self.said, RatingIn):
            own = self.said.model_fields_set
            inner |= {name: end for name, end in zip(("low", "high"), scale, strict=True) if name not in own}
        if isinstance(self.said, DemonstrationIn):
            inner["prompt"] = tuple(message.to_domain() for message in self.said.prompt)
        return Feedback(
            id=FeedbackId(id),
            tenant=tenant,
            said=form(**inner),
            source=self.source or judged or usual,
            at=self.at or at,
            by=PersonId(self.by) if self.by else by,
            name=self.name,
            turn=optional(TurnId, self.turn),
            episode=optional(EpisodeId, self.episode),
            confidence=self.confidence,
            product=optional(ProductId, self.product),
            segment=self.segment,
            language=self.language,
            judgement=None if self.judgement is None else Judgement(**dict(self.judgement)),
            metadata=self.metadata,
        )

    @classmethod
    def of(cls, form: forms.Form, **fields: Any) -> Self:
        """From the domain's form: what the client sends."""
        judgement: Judgement | None = fields.pop("judgement", None)
        return cls.model_validate(
            {
                "said": asdict(form),
                **({} if judgement is None else {"judgement": asdict(judgement)}),
                **{name: value for name, value in fields.items() if value is not None},
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackOut(Feedback):
    """A piece of feedback as it was kept, and how it stands."""

    superseded_by: FeedbackId | None = None  # what counts instead
    waits_for: tuple[str, ...] = ()  # while it is parked

    @classmethod
    def of(cls, said: Feedback, **standing: Any) -> Self:
        return cls(**{one.name: getattr(said, one.name) for one in fields(said)}, **standing)


class ReplayIn(Shape):
    """A dead letter is heard once more."""

    payload: Text | None = None
    """JSON text to hear instead of what came: mended by a person. None means as it came."""


class Kept(Shape):
    """What became of one piece of feedback."""

    id: str | None
    """Its id; None when it was too broken to have one."""
    status: Literal["kept", "duplicate", "parked", "error"]
    """duplicate: it was there already, and nothing changed. parked: kept until what it is about comes."""
    error: ErrorOut | None = None
    """Why it was refused."""


class KeptMany(Shape):
    """What became of each, in the order in which they were sent."""

    results: tuple[Kept, ...]
    """One for each."""


FEEDBACK: TypeAdapter[FeedbackIn] = TypeAdapter(FeedbackIn)
