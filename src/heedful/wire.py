"""What goes over HTTP, in both directions: shared by the service and the client.

On our own routes a field that we do not know is refused: a misspelt `confidense` that is silently dropped
would train on the wrong number. The chat routes are OpenAI's, and there unknown fields are passed on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    StrictBool,
    StringConstraints,
    Tag,
    TypeAdapter,
)

from heedful.domain import feedback as forms
from heedful.domain.access import Key, Limits, Scope
from heedful.domain.content import Message, Role, Sampling, ToolCall
from heedful.domain.episode import AgentView, Episode, EpisodeState, Turn, World, addressees
from heedful.domain.feedback import Feedback, Judgement, Source
from heedful.domain.guard import Decision
from heedful.domain.ids import (
    ID_PATTERN,
    AgentId,
    AssignmentId,
    Digest,
    EpisodeId,
    FeedbackId,
    ItemId,
    KeyId,
    PersonId,
    ProductId,
    QueueId,
    TenantId,
    TurnId,
)
from heedful.domain.labeling import AskedForm, Assignment, Gold, Item, Queue
from heedful.domain.models import Adapter, External, Weights
from heedful.domain.preference import Objective
from heedful.domain.release import Unit
from heedful.domain.taxonomy import Severity

T = TypeVar("T")
MOST_FEEDBACK = 1000  # in one request
LONGEST_TEXT = 200_000  # characters of one text
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"


def _utc(value: datetime) -> datetime:
    """The same moment in UTC; one that no calendar of ours reaches is refused."""
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("this moment is beyond the calendar") from error


Name = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
"""An id, ours or the caller's."""
Short = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Text = Annotated[str, StringConstraints(max_length=LONGEST_TEXT)]
# Strict: "5" is not 5, and true is not 1. A sender that mixes them up is told so.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
At = Annotated[AwareDatetime, AfterValidator(_utc)]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=4096)],
    ],
    Field(max_length=64),
]


class Shape(BaseModel):
    """What our own routes take and give."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


# -- messages ------------------------------------------------------------------------------------------------


class ToolCallIn(Shape):
    id: Short
    """As the model named it."""
    name: Short
    """Of the tool."""
    arguments: Text
    """JSON text exactly as the model wrote it."""


class MessageIn(Shape):
    """One message of a demonstration's prompt or of a policy's own."""

    role: Role
    """system, developer, user, assistant or tool."""
    content: Text | None = None
    """Text."""
    name: Short | None = None
    """Of the one who speaks, where several have the same role."""
    tool_calls: tuple[ToolCallIn, ...] = ()
    """Tools that the message calls."""
    tool_call_id: Short | None = None
    """The call that a tool's message answers."""

    def to_domain(self) -> Message:
        return Message(
            role=self.role,
            content=self.content,
            name=self.name,
            tool_calls=tuple(ToolCall(**dict(call)) for call in self.tool_calls),
            tool_call_id=self.tool_call_id,
        )


# -- feedback: what was said ---------------------------------------------------------------------------------


class RatingIn(Shape):
    """A number on a scale."""

    form: Literal["rating"] = "rating"
    """This form."""
    value: Number
    """On the scale."""
    low: Number = 1.0
    """The scale's worst."""
    high: Number = 5.0
    """The scale's best."""
    aspect: Short | None = None
    """What was rated; None means overall."""


class ThumbsIn(Shape):
    """Up or down."""

    form: Literal["thumbs"] = "thumbs"
    """This form."""
    up: StrictBool
    """True is good."""


class ChoiceIn(Shape):
    """Answers were seen side by side, and one of them, or none, was preferred."""

    form: Literal["choice"] = "choice"
    """This form."""
    shown: tuple[Name, ...] = Field(max_length=64)
    """Turns, left to right, as the screen had them."""
    chosen: Name | None
    """The preferred turn; null means no difference."""
    strength: Share | None = None
    """0 barely, 1 by far."""
    both_bad: StrictBool = False
    """Only with no choice."""


class RankingIn(Shape):
    """Turns in order, best first."""

    form: Literal["ranking"] = "ranking"
    """This form."""
    places: tuple[tuple[Name, ...], ...] = Field(max_length=64)
    """Best first; turns in one place are equally good."""


class CorrectionIn(Shape):
    """What the answer should have been."""

    form: Literal["correction"] = "correction"
    """This form."""
    text: Text
    """The better answer."""
    kind: Short | None = None
    """fact, tone, action, format, safety …"""


class ConfirmationIn(Shape):
    """The answer was used as it was."""

    form: Literal["confirmation"] = "confirmation"
    """This form."""
    strength: Share = 1.0
    """0 grudgingly, 1 gladly."""


class FlagIn(Shape):
    """A person should look at this."""

    form: Literal["flag"] = "flag"
    """This form."""
    reason: Text
    """In the words of whoever flags."""


class DemonstrationIn(Shape):
    """How a person would have done it, from nothing."""

    form: Literal["demonstration"] = "demonstration"
    """This form."""
    prompt: tuple[MessageIn, ...] = Field(max_length=1000)
    """What was asked."""
    answer: Text
    """What should be answered."""


class ViolationIn(Shape):
    """An answer was checked against the safety taxonomy."""

    form: Literal["violation"] = "violation"
    """This form."""
    category: Short | None
    """The broken category; null means that the answer is clean."""
    severity: Severity | None = None
    """1 low to 4 critical; None means the category's own."""
    taxonomy: Short | None = None
    """Version it was judged under; None means the one in force."""


class CompletionIn(Shape):
    """The task's own result."""

    form: Literal["completion"] = "completion"
    """This form."""
    completed: StrictBool
    """Whether the task was done."""
    quality: Share | None = None
    """Evaluated from the result."""
    task_type: Short | None = None
    """Which kind of task it was."""


class EfficiencyIn(Shape):
    """What it took."""

    form: Literal["efficiency"] = "efficiency"
    """This form."""
    seconds: Annotated[Number, Field(ge=0)] | None = None
    """From the task's beginning to its end."""
    tokens: Annotated[Whole, Field(ge=0)] | None = None
    """All tokens, in and out."""
    spend: Annotated[Number, Field(ge=0)] | None = None
    """In the currency of the price table."""
    steps: Annotated[Whole, Field(ge=0)] | None = None
    """Turns or tool calls."""


class BehaviourIn(Shape):
    """What the user did next."""

    form: Literal["behaviour"] = "behaviour"
    """This form."""
    kind: Short
    """rephrase, repeat, abandon, regenerate, thanks, edit, escalate …"""
    value: Number | None = None
    """Such as the edit distance, 0 to 1."""


FormIn = Annotated[
    RatingIn
    | ThumbsIn
    | ChoiceIn
    | RankingIn
    | CorrectionIn
    | ConfirmationIn
    | FlagIn
    | DemonstrationIn
    | ViolationIn
    | CompletionIn
    | EfficiencyIn
    | BehaviourIn,
    Field(discriminator="form"),
]

FORMS: Mapping[str, tuple[type[Any], Source]] = {
    "rating": (forms.Rating, Source.DIRECT),
    "thumbs": (forms.Thumbs, Source.DIRECT),
    "choice": (forms.Choice, Source.DIRECT),
    "ranking": (forms.Ranking, Source.DIRECT),
    "correction": (forms.Correction, Source.DIRECT),
    "confirmation": (forms.Confirmation, Source.DIRECT),
    "flag": (forms.Flag, Source.DIRECT),
    "demonstration": (forms.Demonstration, Source.EXPERT),
    "violation": (forms.Violation, Source.SAFETY),
    "completion": (forms.Completion, Source.COMPLETION),
    "efficiency": (forms.Efficiency, Source.EFFICIENCY),
    "behaviour": (forms.Behaviour, Source.BEHAVIOUR),
}
"""The domain's form, and the kind of evidence it is unless the sender says otherwise."""


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
            turn=_opt(TurnId, self.turn),
            episode=_opt(EpisodeId, self.episode),
            confidence=self.confidence,
            product=_opt(ProductId, self.product),
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


def _opt(kind: Any, value: str | None) -> Any:
    return None if value is None else kind(value)


# -- episodes ------------------------------------------------------------------------------------------------


class WorldIn(Shape):
    """Surroundings that all agents of an episode share."""

    environment: dict[str, Any] | None = None
    """Its state, as you describe it."""
    coordination: tuple[tuple[Name, Name], ...] | None = None
    """Planned edges between agents: from, to."""
    safety: dict[str, Number] | None = None
    """Named metrics, such as the distance to a limit."""

    def to_domain(self) -> World:
        edges = self.coordination
        return World(
            environment=self.environment,
            coordination=None if edges is None else tuple((AgentId(a), AgentId(b)) for a, b in edges),
            safety=self.safety,
        )


class EpisodeIn(Shape):
    """A task begins. Without this an episode begins with its first turn."""

    id: Name | None = None
    """Yours, or minted."""
    product: Name | None = None
    """Which application."""
    user: Name | None = None
    """A pseudonym."""
    segment: Short | None = None
    """Which users."""
    language: Short | None = None
    """Such as `en`."""
    task_type: Short | None = None
    """Which kind of task."""
    world: WorldIn | None = None
    """Surroundings that all its agents share."""
    metadata: Metadata = Field(default_factory=dict)
    """Yours."""

    def to_domain(self, *, tenant: TenantId, id: str, at: datetime) -> Episode:
        return Episode(
            id=EpisodeId(id),
            tenant=tenant,
            started_at=at,
            product=_opt(ProductId, self.product),
            user=_opt(PersonId, self.user),
            segment=self.segment,
            language=self.language,
            task_type=self.task_type,
            world=None if self.world is None else self.world.to_domain(),
            metadata=self.metadata,
        )


class EpisodeEnd(Shape):
    """The task is over."""

    state: Literal[EpisodeState.DONE, EpisodeState.ABANDONED] = EpisodeState.DONE
    """done or abandoned."""
    outcome: Share | None = None
    """Of the whole task, shared by all its agents."""


class EpisodeStatus(Shape):
    """How an episode stands, without what was said in it."""

    id: str
    """The episode's."""
    state: EpisodeState
    """open, done or abandoned."""
    started_at: datetime
    """When it began."""
    ended_at: datetime | None
    """When it ended."""
    outcome: float | None
    """0 to 1."""
    turns: int
    """So far."""


class Spoke(Shape):
    """One edge of the conversation: who addressed whom."""

    turn: str
    """The turn that did."""
    at: datetime
    """When."""
    by: str
    """The agent that spoke."""
    to: str | None
    """The agent, or `user`; None when nobody said."""


def conversation(turns: tuple[Turn, ...]) -> list[Spoke]:
    """Who spoke to whom, in the order of time."""
    to = addressees(turns)
    return [
        Spoke(turn=turn.id, at=turn.at, by=turn.agent, to=to[turn.id])
        for turn in turns
        if turn.sibling_of is None
    ]


# -- labeling ------------------------------------------------------------------------------------------------


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
        return Gold(chosen=_opt(TurnId, self.chosen), category=self.category, why=self.why)


class DecisionIn(Shape):
    """What a person makes of a held answer."""

    decision: Literal[Decision.ALLOW, Decision.REWRITE, Decision.REFUSE]
    """allow, rewrite or refuse."""
    text: Text | None = None
    """What is said instead, with rewrite."""
    reason: Text | None = None
    """For those who ask later."""


# -- policies, releases, cycles ------------------------------------------------------------------------------


class WeightsIn(Shape):
    """A whole model in the blobs."""

    kind: Literal["weights"] = "weights"
    """This kind."""
    digest: Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
    """Of the directory."""


class AdapterIn(Shape):
    """A small change on top of a base."""

    kind: Literal["adapter"] = "adapter"
    """This kind."""
    digest: Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
    """Of the adapter."""
    base: Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
    """Of what it changes."""


class ExternalIn(Shape):
    """A model that somebody else hosts: the prompt and the parameters are what is versioned."""

    kind: Literal["external"] = "external"
    """This kind."""
    upstream: Name
    """Name of an inference upstream in the settings, or `scripts`."""
    model: Short
    """As the upstream calls it."""
    prompt: tuple[MessageIn, ...] = Field((), max_length=1000)
    """Goes before the agent's own messages."""


class SamplingIn(Shape):
    """How a policy answers unless a request asks otherwise."""

    temperature: Annotated[Number, Field(ge=0, le=10)] | None = None
    """0 is always the likeliest token."""
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    """Share of the likeliest tokens that are drawn from."""
    max_tokens: Annotated[Whole, Field(ge=1)] | None = None
    """The longest answer."""
    seed: Whole | None = None
    """Makes answers repeatable."""
    stop: tuple[Text, ...] = Field((), max_length=16)
    """Texts at which an answer ends."""
    extra: dict[str, Any] | None = None
    """Passed on to the upstream as it is."""


class PolicyIn(Shape):
    """Take a policy in that was not made here."""

    agent: Name
    """Whose next version it is."""
    body: Annotated[WeightsIn | AdapterIn | ExternalIn, Field(discriminator="kind")]
    """By `kind`: weights, adapter or external."""
    sampling: SamplingIn = SamplingIn()
    """How it answers unless a request asks otherwise."""

    def body_to_domain(self) -> Weights | Adapter | External:
        match self.body:
            case WeightsIn(digest=digest):
                return Weights(digest=Digest(digest))
            case AdapterIn(digest=digest, base=base):
                return Adapter(digest=Digest(digest), base=Digest(base))
            case ExternalIn(upstream=upstream, model=model, prompt=prompt):
                return External(
                    upstream=upstream, model=model, prompt=tuple(message.to_domain() for message in prompt)
                )

    def sampling_to_domain(self) -> Sampling:
        return Sampling(**dict(self.sampling))


class ReleaseIn(Shape):
    """Take a policy to the fleet."""

    policy: Name
    """Which."""
    steps: tuple[Number, ...] | None = Field(None, min_length=1, max_length=100)
    """Percentages of units, rising, the last one 100; None means the settings'."""
    unit: Unit = Unit.EPISODE
    """What stays on one side of it: instance, user, conversation or episode; where a request does not name its
    agent's instance or its user, its episode."""
    override: Annotated[str, StringConstraints(min_length=1, max_length=2000)] | None = None
    """Why it may go out although a gate refused it. Only an admin may."""
    once: Annotated[str, StringConstraints(pattern=ID_PATTERN, max_length=100)] | None = None
    """Yours: sent again with the same one, nothing begins a second time."""


class RollBackIn(Shape):
    """Take a release back."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    """For those who ask later."""


class SftIn(Shape):
    """How long to imitate. What may be loaded, and from where, is for the settings and nobody else to say."""

    steps: Annotated[Whole, Field(ge=1)] | None = None
    """Optimiser steps."""
    batch: Annotated[Whole, Field(ge=1)] | None = None
    """Demonstrations per step."""
    rate: Annotated[Number, Field(gt=0)] | None = None
    """Highest learning rate."""


class CycleOptions(Shape):
    """Where one turn of the loop differs from the settings."""

    only: dict[Short, Short] = Field(default_factory=dict)
    """For `imitate`: demonstrations with these values only, such as who they are `by`."""
    sft: SftIn = SftIn()
    """For `imitate`: instead of `learn.sft`."""
    steps: tuple[Number, ...] | None = Field(None, min_length=1, max_length=100)
    """Percentages of the release, rising, the last one 100."""


class CycleIn(Shape):
    """Start one turn of the loop."""

    id: Annotated[str, StringConstraints(pattern=ID_PATTERN, max_length=100)] | None = None
    """Yours: sent again with the same one, nothing starts a second time."""
    agent: Name
    """Whose policy shall become better."""
    kind: Literal["improve", "imitate"] = "improve"
    """`imitate` learns from demonstrations, `improve` from judgements."""
    options: CycleOptions = CycleOptions()
    """Where it differs from the settings."""


# -- retention -----------------------------------------------------------------------------------------------


class PurgeIn(Shape):
    """Remove what is older than the tenant's retention."""

    dry_run: StrictBool = False
    """Only count."""
    tenant: Name | None = None
    """Another tenant: only for an admin of the operator's own."""


class PurgedOut(Shape):
    """What was removed, or would be."""

    before: datetime | None
    """What was said before then; null: nothing is ever too old, and nothing was done."""
    gone: dict[str, int]
    """By kind, how many records went."""
    bare: dict[str, int]
    """By kind, how many stayed without their words, because their numbers are still needed."""


# -- keys ----------------------------------------------------------------------------------------------------


class LimitsIn(Shape):
    """How much a key may do; what is left out is not limited beyond what any key is."""

    requests_per_second: Annotated[Number, Field(gt=0)] | None = None
    """Over a few seconds, instead of `server.requests_per_second`."""
    spend_per_month: Annotated[Number, Field(gt=0)] | None = None
    """Of a calendar month in UTC, in the currency of the price tables: then it gets no more answers."""

    def to_domain(self) -> Limits:
        return Limits(**dict(self))


class KeyIn(Shape):
    """Issue a key."""

    scope: Scope
    """What it may do."""
    name: Annotated[str, StringConstraints(max_length=200)] = ""
    """What people call it."""
    person: Name | None = None
    """For raters: whose judgements these are."""
    origin: Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]{1,200}$")] | None = None
    """For widgets: the only web origin that it works from."""
    expires_at: At | None = None
    """When it ends by itself."""
    limits: LimitsIn = LimitsIn()
    """How much it may do."""
    tenant: Name | None = None
    """Another tenant, which begins with this: only for an admin of the operator's own."""


class RotateIn(Shape):
    """Replace a key."""

    overlap_seconds: Annotated[Number, Field(ge=0, le=90 * 86_400)] = 86_400.0
    """How long the old one still works."""


class KeyOut(Shape):
    """A key without its secret."""

    id: KeyId
    """The part before the dot."""
    tenant: TenantId
    """Whose."""
    scope: Scope
    """What it may do."""
    name: str
    """What people call it."""
    person: PersonId | None
    """Whose judgements come with it."""
    origin: str | None
    """Where it works from."""
    created_at: datetime
    """Since when."""
    expires_at: datetime | None
    """Until when."""
    revoked_at: datetime | None
    """When it was ended."""
    successor: KeyId | None
    """What it was replaced with."""
    limits: Limits
    """How much it may do."""

    @classmethod
    def of(cls, key: Key) -> Self:
        return cls(**{name: getattr(key, name) for name in cls.model_fields})


class KeyIssued(Shape):
    """A new key: its text is shown this once."""

    key: KeyOut
    """What is kept."""
    text: str
    """What goes into `Authorization: Bearer`."""


# -- answers -------------------------------------------------------------------------------------------------


class ErrorOut(Shape):
    """What went wrong, in OpenAI's words."""

    message: str
    """For people: the thing, the value and the way out."""
    type: str
    """invalid_request_error, authentication_error, permission_error, rate_limit_error or server_error."""
    param: str | None = None
    """Dotted path of the field."""
    code: str
    """invalid_input, not_found, conflict …: for programs."""


class ErrorBody(Shape):
    """The body of every error."""

    error: ErrorOut
    """What went wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackOut(Feedback):
    """A piece of feedback as it was kept, and how it stands."""

    superseded_by: FeedbackId | None = None  # what counts instead
    waits_for: tuple[str, ...] = ()  # while it is parked

    @classmethod
    def of(cls, said: Feedback, **standing: Any) -> Self:
        return cls(**{one.name: getattr(said, one.name) for one in fields(said)}, **standing)


class ListOf(BaseModel, Generic[T]):
    """A page."""

    results: tuple[T, ...]
    next: int | None
    """The `after` of the next page; None when this is the last."""


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


# -- chat, as OpenAI has it ----------------------------------------------------------------------------------


class Foreign(BaseModel):
    """What others defined: fields that we do not know are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class FunctionCall(Foreign):
    name: str
    arguments: str = ""


class CustomCall(Foreign):
    name: str
    input: str = ""


class ChatToolCall(Foreign):
    id: str
    function: FunctionCall | None = None
    custom: CustomCall | None = None


class ImageUrl(Foreign):
    url: str


class AudioData(Foreign):
    data: str
    format: str


class ChatText(Foreign):
    type: Literal["text"]
    text: str


class ChatRefusal(Foreign):
    type: Literal["refusal"]
    refusal: str


class ChatImage(Foreign):
    type: Literal["image_url"]
    image_url: ImageUrl


class ChatAudio(Foreign):
    type: Literal["input_audio"]
    input_audio: AudioData


class ChatOther(Foreign):
    """A part of a kind that we do not know: passed on, and recorded by the name of its kind."""

    type: str


def _known_part(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else getattr(part, "type", None)
    return kind if kind in ("text", "refusal", "image_url", "input_audio") else "other"


ChatPart = Annotated[
    Annotated[ChatText, Tag("text")]
    | Annotated[ChatRefusal, Tag("refusal")]
    | Annotated[ChatImage, Tag("image_url")]
    | Annotated[ChatAudio, Tag("input_audio")]
    | Annotated[ChatOther, Tag("other")],
    Discriminator(_known_part),
]


class ChatMessage(Foreign):
    role: Role
    content: str | tuple[ChatPart, ...] | None = None
    name: str | None = None
    tool_calls: tuple[ChatToolCall, ...] | None = None
    tool_call_id: str | None = None


class AgentViewIn(Shape):
    """What one agent knew and had done when it acted."""

    state: tuple[Number, ...] | None = Field(None, max_length=100_000)
    """State vector."""
    actions: tuple[Text, ...] | None = Field(None, max_length=10_000)
    """Its own history, oldest first."""
    heard: tuple[Name, ...] | None = Field(None, max_length=10_000)
    """Turns of others that it had read."""
    progress: Share | None = None
    """0 to 1."""


class TurnContext(Shape):
    """Where a turn belongs. Under `heedful` in the body; the short ones also as headers or metadata."""

    turn: Name | None = None
    """Yours: sent again with the same one, the first answer comes back. Header `x-heedful-turn`."""
    episode: Name | None = None
    """The task; without one, an episode of its own. Header `x-heedful-episode`."""
    user: Name | None = None
    """A pseudonym of who waits for the answer. Header `x-heedful-user`."""
    segment: Short | None = None
    """Which users. Header `x-heedful-segment`."""
    to: Name | None = None
    """Whom the answer is for: an agent, or `user`. Header `x-heedful-to`."""
    parent: Name | None = None
    """The turn that this one answers. Header `x-heedful-parent`."""
    agent_instance: Name | None = None
    """Which of several running copies. Header `x-heedful-agent-instance`."""
    product: Name | None = None
    """Which application. Header `x-heedful-product`."""
    language: Short | None = None
    """Such as `en`. Header `x-heedful-language`."""
    view: AgentViewIn | None = None
    """What the agent knew. Only in the body."""
    world: WorldIn | None = None
    """The surroundings at this turn, when they change. Only in the body."""

    def view_to_domain(self) -> AgentView | None:
        if self.view is None:
            return None
        heard = self.view.heard
        return AgentView(
            state=self.view.state,
            actions=self.view.actions,
            heard=None if heard is None else tuple(TurnId(id) for id in heard),
            progress=self.view.progress,
        )


IN_HEADERS = (
    "turn",
    "episode",
    "user",
    "segment",
    "to",
    "parent",
    "agent_instance",
    "product",
    "language",
)
"""Fields of `TurnContext` that may come as `x-heedful-…` headers, or as `heedful_…` in the metadata."""


class StreamOptions(Foreign):
    include_usage: StrictBool = False


class ChatRequest(Foreign):
    """`POST /v1/chat/completions`. What is not named here goes on to the upstream as it is."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    messages: Annotated[tuple[ChatMessage, ...], FailFast(), Field(min_length=1)]
    n: Annotated[Whole, Field(ge=1, le=128)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=10)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[Whole, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[Whole, Field(ge=1)] | None = None
    seed: Whole | None = None
    stop: str | tuple[str, ...] | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    logprobs: StrictBool | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: StrictBool | None = None
    heedful: dict[str, Any] | None = None


class EmbeddingsRequest(Foreign):
    """`POST /v1/embeddings`: passed on as it is, to the server of the agent's policy."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    input: str | tuple[Any, ...]
    user: str | None = None
    heedful: dict[str, Any] | None = None


FEEDBACK: TypeAdapter[FeedbackIn] = TypeAdapter(FeedbackIn)


def shapes() -> Iterator[type[BaseModel]]:
    """Every shape of this page: for docs and tests."""
    for value in list(globals().values()):
        if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == __name__:
            yield value
