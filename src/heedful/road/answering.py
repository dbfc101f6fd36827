"""Stop 0: an agent asks and a policy answers. Which policy that is, and what is kept of the turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar

from heedful.domain.episode import Episode, EpisodeState, Turn
from heedful.domain.feedback import Feedback
from heedful.domain.ids import AgentId, EpisodeId, TenantId
from heedful.domain.release import Release
from heedful.errors import Conflict
from heedful.feedback import capture
from heedful.release import duty
from heedful.release.duty import Duty
from heedful.road.parts import Parts
from heedful.road.records import get
from heedful.store.protocol import Batch

Said = TypeVar("Said", Turn, Episode, Feedback)


def on_duty(parts: Parts, tenant: TenantId) -> Mapping[AgentId, Duty]:
    """Which policy is live for each agent, and which release is under way."""
    return duty.on_duty(parts.store.find(Release, tenant, limit=None))


def captured(parts: Parts, record: Said) -> Said:
    """What of a turn, an episode or a feedback its tenant lets us keep: asked before anything is written down."""
    return capture.captured(record, parts.capture.of(record.tenant))


def keeps_bytes(parts: Parts, tenant: TenantId) -> bool:
    """Whether pictures and recordings of this tenant may be kept."""
    return capture.keeps_bytes(parts.capture.of(tenant))


def keep(parts: Parts, turns: Sequence[Turn], *, episodes: Sequence[Episode] = ()) -> Future[Any]:
    """Turns go on record, and with the first of each episode the episode; done when it is on disk."""
    begun = [captured(parts, episode) for episode in episodes]
    return parts.store.submit(Batch(add=(*begun, *(captured(parts, turn) for turn in turns))))


def end_episode(
    parts: Parts, tenant: TenantId, id: EpisodeId, *, state: EpisodeState, outcome: float | None
) -> Episode:
    """The task is over; its outcome is shared by every agent that worked on it."""
    episode = get(parts, Episode, tenant, id)
    if episode.state is state and episode.outcome == outcome:
        return episode
    if episode.state is not EpisodeState.OPEN:
        raise Conflict(f"episode {id!r} is {episode.state} already")
    ended = replace(episode, state=state, outcome=outcome, ended_at=parts.clock.now())
    parts.store.commit(Batch(swap=((episode, ended),)))
    return ended
