"""Whole episodes that happened elsewhere, in our own words: what `heedful import` sends to a running server.

Each record is checked and kept on its own. Whoever brings what was done may bring what was said about it, but
not what would teach (corrections, choices, checks), and nothing about answers that were given here: for those a
key must be allowed to give feedback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, StringConstraints
from starlette.responses import Response

from heedful import road
from heedful.access.caller import Caller
from heedful.access.permissions import Action, may, require_source
from heedful.domain.content import ImagePart, Message, Role, Sampling, TextPart, ToolCall, Usage
from heedful.domain.episode import Episode, EpisodeState, Purpose, Turn
from heedful.domain.feedback import Completion, Efficiency, Feedback, Flag, Rating, Thumbs
from heedful.domain.ids import AgentId, EpisodeId, TenantId, TurnId
from heedful.errors import HeedfulError, InvalidInput, NotAllowed
from heedful.feedback.formats.found import MODEL, Found, Problem, Reading, in_time, kept_of, policy_id
from heedful.service.door import body
from heedful.service.pages.routes import Route, Visiting, reply
from heedful.wire import (
    MOST_FEEDBACK,
    At,
    EpisodeIn,
    FeedbackIn,
    Metadata,
    Name,
    Number,
    SamplingIn,
    Shape,
    Share,
    Short,
    Whole,
)

T = TypeVar("T")
HARMLESS = (Rating, Thumbs, Flag, Completion, Efficiency)  # nothing is learned from these


class EpisodeImport(EpisodeIn):
    """An episode that happened elsewhere."""

    id: Name
    """Yours: brought again with the same one, it is kept once."""
    started_at: At
    """When it began."""
    ended_at: At | None = None
    """When it ended."""
    state: EpisodeState = EpisodeState.DONE
    """open, done or abandoned."""
    outcome: Share | None = None
    """Of the whole task."""

    def to_domain(self, *, tenant: TenantId, id: str, at: datetime) -> Episode:
        return replace(
            super().to_domain(tenant=tenant, id=id, at=at),
            purpose=Purpose.IMPORTED,
            ended_at=self.ended_at,
            state=self.state,
            outcome=self.outcome,
        )


class TextPartIn(Shape):
    """A piece of text."""

    type: Literal["text"] = "text"
    """This kind."""
    text: str
    """What is said."""


class ImagePartIn(Shape):
    """A picture on the web."""

    type: Literal["image"] = "image"
    """This kind."""
    url: Annotated[str, StringConstraints(pattern=r"^https?://", max_length=4096)]
    """Its address."""
    media_type: Short | None = None
    """Such as `image/png`."""


class ToolCallImport(Shape):
    """A tool that was called."""

    id: str = ""
    """As the model named it."""
    name: str = ""
    """Of the tool."""
    arguments: str = ""
    """JSON text as the model wrote it."""


class MessageImport(Shape):
    """One message as a log has it."""

    role: Role
    """system, developer, user, assistant or tool."""
    content: str | tuple[Annotated[TextPartIn | ImagePartIn, Field(discriminator="type")], ...] | None = None
    """Text, or parts."""
    name: str | None = None
    """Of the one who speaks."""
    tool_calls: tuple[ToolCallImport, ...] = ()
    """Tools that the message calls."""
    tool_call_id: str | None = None
    """The call that a tool's message answers."""

    def to_domain(self) -> Message:
        content = self.content
        if isinstance(content, tuple):
            parts = tuple(
                TextPart(text=one.text)
                if isinstance(one, TextPartIn)
                else ImagePart(url=one.url, media_type=one.media_type)
                for one in content
            )
        return Message(
            role=self.role,
            content=parts if isinstance(content, tuple) else content,
            name=self.name,
            tool_calls=tuple(ToolCall(**dict(call)) for call in self.tool_calls),
            tool_call_id=self.tool_call_id,
        )


class UsageIn(Shape):
    """What one call of a model took."""

    prompt_tokens: Annotated[Whole, Field(ge=0)] | None = None
    """That were read."""
    answer_tokens: Annotated[Whole, Field(ge=0)] | None = None
    """That were written."""
    spend: Annotated[Number, Field(ge=0)] | None = None
    """In the currency of the price table."""


class TurnImport(Shape):
    """One call of a model that happened elsewhere."""

    id: Name
    """Yours: brought again with the same one, it is kept once."""
    episode: Name
    """The episode that it belongs to."""
    agent: Name
    """Who acted."""
    model: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    """What answered, as its server calls it."""
    at: At
    """When the answer was complete."""
    request: tuple[MessageImport, ...] = ()
    """What was asked."""
    answer: str = ""
    """What was said."""
    tool_calls: tuple[ToolCallImport, ...] = ()
    """Tools that the answer calls."""
    index: Annotated[Whole, Field(ge=0, le=1000)] = 0
    """0 unless several answers to one request were asked for."""
    sibling_of: Name | None = None
    """The turn of index 0, for the others."""
    addressee: Name | None = None
    """An agent, or `user`."""
    parent: Name | None = None
    """The turn that this one answers."""
    agent_instance: Name | None = None
    """Which of several running copies."""
    finish: Literal["stop", "length", "tool_calls", "content_filter", "error"] = "stop"
    """Why the answer ended."""
    sampling: SamplingIn = SamplingIn()
    """How it was asked for."""
    latency: Annotated[Number, Field(ge=0)] | None = None
    """Seconds from request to last token."""
    usage: UsageIn = UsageIn()
    """Tokens and money."""
    metadata: Metadata = Field(default_factory=dict)
    """Yours."""

    def to_domain(self, *, tenant: TenantId) -> Turn:
        agent = AgentId(self.agent)
        request = tuple(one.to_domain() for one in self.request)
        calls = tuple(ToolCall(**dict(call)) for call in self.tool_calls)
        return Turn(
            id=TurnId(self.id),
            tenant=tenant,
            episode=EpisodeId(self.episode),
            agent=agent,
            at=self.at,
            request=request,
            answer=self.answer,
            policy=policy_id(agent, self.model),
            index=self.index,
            sibling_of=None if self.sibling_of is None else TurnId(self.sibling_of),
            tool_calls=calls,
            addressee=self.addressee,
            parent=None if self.parent is None else TurnId(self.parent),
            agent_instance=self.agent_instance,
            finish=self.finish,
            sampling=Sampling(**dict(self.sampling)),
            latency=self.latency,
            usage=Usage(**dict(self.usage)),
            purpose=Purpose.IMPORTED,
            capture=kept_of(request, self.answer, calls),
            metadata={**self.metadata, MODEL: self.model},
        )


class ImportIn(Shape):
    """What agents did elsewhere, and what was said about it. Each record is checked and kept on its own."""

    episodes: tuple[dict[str, Any], ...] = Field((), max_length=MOST_FEEDBACK)
    """Each an `EpisodeImport`; one without turns is not kept."""
    turns: tuple[dict[str, Any], ...] = Field((), max_length=MOST_FEEDBACK)
    """Each a `TurnImport`."""
    feedback: tuple[dict[str, Any], ...] = Field((), max_length=MOST_FEEDBACK)
    """Each a `FeedbackIn` with an id; about a turn, or about the episode if the turn is not known."""


class ProblemOut(Shape):
    """A record that was not kept."""

    where: str
    """Its id, or its place."""
    reason: str
    """Why."""


class Imported(Shape):
    """What became of it."""

    kept: dict[str, int]
    """New records by kind: episodes, turns, feedback."""
    duplicates: dict[str, int]
    """Records that were here already, and are as they were."""
    problems: tuple[ProblemOut, ...]
    """What was not kept."""


# -- taking it in --------------------------------------------------------------------------------------------


def import_episodes(visit: Visiting, brought: ImportIn) -> Response:
    """Episodes, turns and feedback from elsewhere, up to 1000 of each. What is here already stays as it is."""
    found = allowed(visit.caller, _found(brought, Reading(tenant=visit.tenant, now=visit.parts.clock.now())))
    taken = road.take_in(
        visit.parts,
        visit.tenant,
        found,
        actor=visit.caller.actor,
        about_ours=may(visit.caller, Action.SAY),
    )
    problems = tuple(ProblemOut(where=one.where, reason=one.reason) for one in taken.problems)
    return reply(Imported(kept=dict(taken.kept), duplicates=dict(taken.duplicates), problems=problems))


def allowed(caller: Caller, found: Found) -> Found:
    """What this caller may bring."""
    said: list[Feedback] = []
    problems: list[Problem] = []
    for one in found.feedback:
        try:
            if may(caller, Action.SAY):
                require_source(caller, one.source)
            elif not isinstance(one.said, HARMLESS):
                raise NotAllowed(f"a key with scope {caller.scope} brings no {one.said.form}: use an admin's")
            said.append(one)
        except NotAllowed as error:
            problems.append(Problem(where=found.places.get(one.id, one.id), reason=str(error)))
    return replace(found, feedback=tuple(said), problems=(*found.problems, *problems))


def _found(brought: ImportIn, reading: Reading) -> Found:
    problems: list[Problem] = []
    tenant, now = reading.tenant, reading.now

    def read(kind: str, records: tuple[dict[str, Any], ...], make: Callable[[Any], T]) -> Iterator[T]:
        for place, raw in enumerate(records):
            try:
                yield make(raw)
            except HeedfulError as error:
                id = raw.get("id")
                where = id if isinstance(id, str) and id else f"{kind}.{place}"
                problems.append(Problem(where=where[:200], reason=str(error)))

    def episode(raw: Any) -> Episode:
        one: EpisodeImport = body.checked(EpisodeImport, raw)
        return one.to_domain(tenant=tenant, id=one.id, at=one.started_at)

    def turn(raw: Any) -> Turn:
        one: TurnImport = body.checked(TurnImport, raw)
        in_time(one.at, reading)
        return one.to_domain(tenant=tenant)

    def feedback(raw: Any) -> Feedback:
        one: FeedbackIn = body.checked(FeedbackIn, raw)
        if one.id is None or one.judgement is not None:
            raise InvalidInput("imported feedback has an id, and answers no assignment", field="id")
        return one.to_domain(tenant=tenant, id=one.id, at=now)

    return Found(
        episodes=tuple(read("episodes", brought.episodes, episode)),
        turns=tuple(read("turns", brought.turns, turn)),
        feedback=tuple(read("feedback", brought.feedback, feedback)),
        problems=tuple(problems),  # the last: those above fill it
    )


ROUTES = (
    Route(
        method="POST",
        path="/v1/episodes/import",
        action=Action.BRING,
        handler=import_episodes,
        gives=Imported,
    ),
)
