"""What feedback can be about, as little of it as is needed: no turn's text is read for a thumb on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection

from heedful.domain.episode import Episode, Turn
from heedful.domain.ids import EpisodeId, PolicyId, TenantId, TurnId
from heedful.store.bulk import known
from heedful.store.tables import TABLES


class Target(NamedTuple):
    """A turn, seen from feedback on it."""

    episode: EpisodeId
    policy: PolicyId  # that wrote the answer


@dataclass(frozen=True, slots=True)
class Targets:
    """Those that are here, of the ones that were asked for."""

    turns: Mapping[TurnId, Target] = field(default_factory=dict)
    episodes: frozenset[EpisodeId] = frozenset()


def read(
    connection: Connection, tenant: TenantId, turns: Sequence[TurnId], episodes: Sequence[EpisodeId]
) -> Targets:
    found: dict[TurnId, Target] = {}
    if turns:
        (rows,) = known(connection, [(TABLES[Turn], tenant, turns)], "episode", "policy")
        found = {TurnId(id): Target(episode, policy) for id, episode, policy in rows}
    if not episodes:
        return Targets(found)
    (here,) = known(connection, [(TABLES[Episode], tenant, episodes)])
    return Targets(found, frozenset(EpisodeId(id) for (id,) in here))
