"""Looking at what is stored, as plain values: what the command line prints, and what `--json` is.

It only reads, so that it works beside a running server and without one.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from heedful import running
from heedful.domain.clock import WallClock
from heedful.domain.content import Json
from heedful.domain.episode import Episode, Turn
from heedful.domain.ids import AgentId, EpisodeId, TenantId, TurnId
from heedful.domain.models import Cycle
from heedful.domain.release import Release
from heedful.errors import Misconfigured, NotFound
from heedful.monitoring import signals
from heedful.release.duty import Duty, on_duty
from heedful.settings import Settings
from heedful.store import codec
from heedful.store.sql import SqlStore
from heedful.store.tables import KINDS
from heedful.store.views import EpisodeView, Views
from heedful.wiring import read

SHORT_NAMES = {"reward": "reward_model"}  # as the command line says it -> as lineage says it
LINEAGE = KINDS.keys() - {"key", "tenant"}  # nothing is made from these


def record_kind(name: str) -> str:
    return SHORT_NAMES.get(name, name)


# -- records -------------------------------------------------------------------------------------------------


def newest(store: SqlStore, tenant: TenantId, kind: str, limit: int) -> list[Any]:
    return store.find(KINDS[record_kind(kind)], tenant, newest_first=True, limit=limit)


def one(store: SqlStore, views: Views, tenant: TenantId, kind: str, id: str) -> Any:
    """The record; an episode with all that happened in it, a turn with what was said about it."""
    type_ = KINDS[record_kind(kind)]
    found: Any = views.episode(tenant, EpisodeId(id)) if type_ is Episode else store.get(type_, tenant, id)
    if found is None:
        raise NotFound(f"{record_kind(kind).replace('_', ' ')} {id!r} is not known here")
    if isinstance(found, Turn):
        return found, views.feedback_on(tenant, [TurnId(id)])[TurnId(id)]
    return found


def plain(found: Any) -> Json:
    """As JSON has it."""
    match found:
        case EpisodeView(episode=episode, turns=turns, feedback=feedback):
            return {
                "episode": plain(episode),
                "turns": [plain(turn) for turn in turns],
                "feedback": [plain(said) for said in feedback],
            }
        case (Turn() as turn, feedback):
            return {**plain(turn), "feedback": [plain(said) for said in feedback]}
        case _:
            return json.loads(codec.encode(found))


# -- how it stands -------------------------------------------------------------------------------------------


def status(settings: Settings, tenant: TenantId) -> dict[str, Json]:
    """Whether a server runs, and what is live for each agent."""
    server = running.find(settings.data)
    try:
        store, views = read(settings)
    except Misconfigured:
        if server is None:
            raise
        return {"server": _server(server), "agents": [], "records": {}}
    try:
        return {
            "server": _server(server),
            "agents": _agents(settings, store, views, tenant),
            "records": views.tallies(tenant),
        }
    finally:
        store.close()


def _server(server: running.Running | None) -> dict[str, Json]:
    if server is None:
        return {"running": False}
    return {"running": True, "ready": running.answers(server), "url": server.url, "pid": server.pid}


def _agents(settings: Settings, store: SqlStore, views: Views, tenant: TenantId) -> list[dict[str, Json]]:
    releases = store.find(Release, tenant, limit=None)
    duties = on_duty(releases)
    newest = {release.target.agent: release for release in releases if release.against is not None}
    cycles: dict[AgentId, Cycle] = {}
    for cycle in store.find(Cycle, tenant, newest_first=True):
        cycles.setdefault(cycle.agent, cycle)
    return [
        {
            "agent": agent,
            **_duty(duties.get(agent)),
            "cycle": _cycle(cycles.get(agent)),
            "signals": _signals(settings, views, duties.get(agent), newest.get(agent)),
        }
        for agent in sorted({*duties, *cycles})
    ]


def _duty(duty: Duty | None) -> dict[str, Json]:
    if duty is None:
        return {"live": None, "release": None}
    under_way = duty.release
    return {"live": duty.live, "release": _release(under_way) if under_way else None}


def _cycle(cycle: Cycle | None) -> dict[str, Json] | None:
    return None if cycle is None else {"id": cycle.id, "stage": cycle.stage, "note": cycle.note}


def _signals(
    settings: Settings, views: Views, duty: Duty | None, newest: Release | None
) -> list[dict[str, Json]]:
    """Of the release under way, or else of the last one: there two policies were seen side by side."""
    if duty is None or newest is None:
        return []
    release = duty.release or newest
    found = signals.signals(
        signals.tallies(release, views.exposures(release.tenant, release.id)),
        live=duty.live,
        at=WallClock().now(),
        settings=settings.watch,
    )
    return [{**asdict(signal), "release": release.id, "healthy": signal.healthy} for signal in found]


def _release(release: Release) -> dict[str, Json]:
    return {
        "id": release.id,
        "policy": release.policy,
        "stage": release.stage,
        "percent": release.percent,
    }
