"""Episodes: how they begin and end, and who spoke to whom in them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from heedful.domain.episode import Episode, EpisodeState, Turn, World, addressees
from heedful.domain.ids import AgentId, EpisodeId, PersonId, ProductId, TenantId
from heedful.wire.fields import Metadata, Name, Number, Shape, Share, Short, optional


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
            product=optional(ProductId, self.product),
            user=optional(PersonId, self.user),
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
