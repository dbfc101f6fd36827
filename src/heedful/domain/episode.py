"""Work that agents did: one episode is one task, one turn is one action of one agent in it.

An episode may have several agents. Each turn says who acted, whom it addressed and which turn it answers,
so the conversation graph is read off the turns and is not kept twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from heedful.domain.capture import Capture
from heedful.domain.content import Json, Message, Sampling, Tokens, ToolCall, Usage
from heedful.domain.guard import Ruling
from heedful.domain.ids import (
    AgentId,
    EpisodeId,
    KeyId,
    PersonId,
    PolicyId,
    ProductId,
    ReleaseId,
    TenantId,
    TurnId,
)
from heedful.errors import InvalidInput


class Purpose(StrEnum):
    LIVE = "live"  # somebody waited for the answer
    CANDIDATE = "candidate"  # made on purpose, to be judged
    SHADOW = "shadow"  # a copy of live traffic that nobody saw
    IMPORTED = "imported"  # from yesterday's logs


class EpisodeState(StrEnum):
    OPEN = "open"
    DONE = "done"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentView:
    """What one agent knew and had done when it acted. Every field is optional: send what you have."""

    state: tuple[float, ...] | None = None  # state vector
    actions: tuple[str, ...] | None = None  # its own history, oldest first
    heard: tuple[TurnId, ...] | None = None  # turns of others that it had read
    progress: float | None = None  # 0 to 1

    def __post_init__(self) -> None:
        if self.progress is not None and not 0 <= self.progress <= 1:
            raise InvalidInput(f"progress is {self.progress}: it goes from 0 to 1", field="view.progress")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The surroundings that all agents of an episode share. Every field is optional."""

    environment: Mapping[str, Json] | None = None
    coordination: tuple[tuple[AgentId, AgentId], ...] | None = None  # planned edges: from, to
    safety: Mapping[str, float] | None = None  # named metrics, such as distance to a limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Which policy answers this unit, and how likely that was."""

    policy: PolicyId
    probability: float  # of this policy, at this moment, over units
    unit: str  # what was hashed: an agent instance, a user, a conversation or an episode
    bucket: float  # where the unit fell, in [0, 1): recomputable from the salt
    release: ReleaseId | None = None  # None when no release was running
    arm: str = "live"  # "live", "canary" or "control"
    percent: float | None = None  # of the release when this was decided

    def __post_init__(self) -> None:
        if not 0 < self.probability <= 1:
            raise InvalidInput(
                f"probability is {self.probability}: what happened cannot have had chance 0",
                field="allocation.probability",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    id: EpisodeId
    tenant: TenantId
    started_at: datetime
    product: ProductId | None = None
    user: PersonId | None = None  # a pseudonym; people's names do not belong here
    segment: str | None = None
    language: str | None = None
    task_type: str | None = None
    purpose: Purpose = Purpose.LIVE
    state: EpisodeState = EpisodeState.OPEN
    ended_at: datetime | None = None
    outcome: float | None = None  # shared by all its agents, 0 to 1
    world: World | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    capture: Capture = field(default=Capture.FULL, metadata={"stamp": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One action of one agent: what it saw, what it said, and everything needed to weigh it again later."""

    id: TurnId
    tenant: TenantId
    episode: EpisodeId
    agent: AgentId
    at: datetime  # when the answer was complete
    request: tuple[Message, ...]
    answer: str
    policy: PolicyId
    index: int = 0  # 0 unless several answers to one request were asked for
    sibling_of: TurnId | None = None  # the turn of index 0, for the others
    tool_calls: tuple[ToolCall, ...] = ()
    addressee: str | None = None  # an agent or "user"; None when unknown
    parent: TurnId | None = None  # the turn that this one answers
    agent_instance: str | None = None
    key: KeyId | None = None  # whose request it was
    finish: str = "stop"  # stop, length, tool_calls, content_filter, error
    tokens: Tokens | None = None  # where the engine gives them
    sampling: Sampling = field(default_factory=Sampling)
    allocation: Allocation | None = None
    config: str | None = None  # digest of the settings in force
    latency: float | None = None  # seconds from request to last token
    usage: Usage = field(default_factory=Usage)
    rewards: Mapping[str, float] = field(default_factory=dict)  # by objective, for training
    rulings: tuple[Ruling, ...] = ()
    view: AgentView | None = None
    world: World | None = None  # the surroundings at this turn, when they change
    purpose: Purpose = Purpose.LIVE
    metadata: Mapping[str, str] = field(default_factory=dict)
    capture: Capture = field(default=Capture.FULL, metadata={"stamp": True})


def addressees(turns: Sequence[Turn]) -> Mapping[TurnId, str | None]:
    """Whom each of an episode's turns was for, in the order of time; None where nobody can tell.

    Who calls tools hands over when another agent goes on from there. Any other turn without an addressee
    answers its parent's agent.
    """
    agents = {turn.id: turn.agent for turn in turns}
    went_on: dict[TurnId, AgentId] = {}
    for turn in turns:
        if turn.parent is not None and turn.agent != agents.get(turn.parent):
            went_on.setdefault(turn.parent, turn.agent)
    return {
        turn.id: turn.addressee
        or (went_on.get(turn.id) if turn.tool_calls else agents.get(turn.parent) if turn.parent else None)
        for turn in turns
    }
