"""What answers for each agent right now, read off the releases and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from heedful.domain.ids import AgentId, PolicyId
from heedful.domain.release import Release, Stage

UNDER_WAY = frozenset({Stage.CANARY, Stage.PAUSED, Stage.INCONCLUSIVE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """One agent's live policy, and the release that is testing another."""

    agent: AgentId
    live: PolicyId
    release: Release | None = None


def on_duty(releases: Iterable[Release]) -> Mapping[AgentId, Duty]:
    """The newest full release of an agent is live; a rolled-back one never was, or no longer is."""
    live: dict[AgentId, Release] = {}
    testing: dict[AgentId, Release] = {}
    for release in releases:
        agent = release.target.agent
        if release.stage is Stage.FULL and release.ended_at is not None:
            known = live.get(agent)
            if known is None or known.ended_at is None or known.ended_at <= release.ended_at:
                live[agent] = release
        elif release.stage in UNDER_WAY:
            testing[agent] = release
    return {
        agent: Duty(agent=agent, live=release.policy, release=testing.get(agent))
        for agent, release in live.items()
    }
