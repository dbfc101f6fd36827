"""What happened in the episodes that ran under a release: one row each, for whoever decides about it.

The counting is done here and not in SQL: it is a few thousand rows, and one readable function serves both
databases.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Table, func, select

from heedful.domain.episode import Purpose, Turn
from heedful.domain.feedback import Feedback
from heedful.domain.ids import EpisodeId, ReleaseId, TenantId
from heedful.store.bulk import among
from heedful.store.tables import TABLES, moment

FORMS = ("completion", "thumbs", "violation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """One episode under a release: who answered it, and how it went as far as anyone said."""

    episode: EpisodeId
    unit: str  # what was allocated
    arm: str
    probability: float  # of this arm's policy, at the first turn
    at: datetime  # of the first turn
    turns: int  # live ones, under the release
    latency: float | None = None  # mean seconds; None when no turn says
    completed: bool | None = None  # as last reported; None when nobody did
    quality: float | None = None  # with that report, 0 to 1
    thumbs: float | None = None  # share that is up; None without thumbs
    violations: int = 0  # turns that somebody found to break the taxonomy (the episode itself counts as one)
    checked: int = 0  # turns that somebody checked


class Acted(NamedTuple):
    """A turn under the release."""

    id: str
    episode: str
    unit: str
    arm: str
    probability: float
    at: int
    latency: float | None


class Said(NamedTuple):
    """Feedback on one of the episodes or on a turn in it."""

    episode: str
    at: int
    seq: int
    turn: str | None
    form: str
    mark: float | None
    quality: float | None
    slot: str | None


@dataclass(slots=True)
class _Sum:
    acted: list[Acted] = field(default_factory=list)
    completed: bool | None = None
    quality: float | None = None
    thumbs: list[float] = field(default_factory=list)
    broken: set[str | None] = field(default_factory=set)
    checked: set[str | None] = field(default_factory=set)


def summed(acted: Iterable[Acted], said: Iterable[Said]) -> list[Exposure]:
    """Turns in the order of time and feedback in the order it was said -> episodes in the order of time.

    A completion may be reported on any turn of the episode; thumbs and violations on other turns than those
    under the release are about somebody else's work and are left out.
    """
    sums: defaultdict[str, _Sum] = defaultdict(_Sum)
    for turn in acted:
        sums[turn.episode].acted.append(turn)
    ours = {turn.id for one in sums.values() for turn in one.acted}
    for one in said:
        total = sums.get(one.episode)
        if total is None:
            continue
        if one.form == "completion":
            total.completed, total.quality = bool(one.mark), one.quality
        elif one.turn is not None and one.turn not in ours:
            continue
        elif one.form == "thumbs":
            total.thumbs.append(one.mark or 0.0)
        else:
            total.checked.add(one.turn)
            if one.mark:
                total.broken.add(one.turn)
    return [_exposure(episode, total) for episode, total in sums.items()]


def _exposure(episode: str, total: _Sum) -> Exposure:
    first = total.acted[0]
    latencies = [turn.latency for turn in total.acted if turn.latency is not None]
    return Exposure(
        episode=EpisodeId(episode),
        unit=first.unit,
        arm=first.arm,
        probability=first.probability,
        at=moment(first.at),
        turns=len(total.acted),
        latency=_mean(latencies),
        completed=total.completed,
        quality=total.quality,
        thumbs=_mean(total.thumbs),
        violations=len(total.broken),
        checked=len(total.checked),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def read(connection: Connection, tenant: TenantId, release: ReleaseId) -> list[Exposure]:
    turn = TABLES[Turn]
    names = ("id", "episode", "unit", "arm", "probability", "at", "latency")
    live = func.coalesce(turn.c.purpose, "") == Purpose.LIVE.value  # not by its index: nearly all are
    acted = connection.execute(
        select(*(turn.c[name] for name in names))
        .where(turn.c.tenant == tenant, turn.c.release == release, live)
        .order_by(turn.c.seq)
    ).all()
    in_time = sorted(map(Acted._make, acted), key=attrgetter("at"))
    episodes = list(dict.fromkeys(one.episode for one in in_time))
    said = [*_on_episodes(connection, tenant, episodes), *_on_turns_alone(connection, tenant, episodes)]
    return summed(in_time, _newest(sorted(said, key=attrgetter("at", "seq"))))


def _newest(said: Sequence[Said]) -> Iterator[Said]:
    """Without what its own speaker has replaced since."""
    last = {one.slot: one for one in said}
    return (one for one in said if one.slot is None or last[one.slot] is one)


def _on_episodes(connection: Connection, tenant: TenantId, episodes: list[str]) -> Iterator[Said]:
    """Feedback that names its episode, as all does that came through `feedback.intake`."""
    feedback = TABLES[Feedback]
    form = func.coalesce(feedback.c.form, "")  # not by its index
    rows = connection.execute(
        select(feedback.c.episode, *_said(feedback)).where(
            feedback.c.tenant == tenant, among(connection, feedback.c.episode, episodes), form.in_(FORMS)
        )
    ).all()
    yield from map(Said._make, rows)


def _on_turns_alone(connection: Connection, tenant: TenantId, episodes: list[str]) -> Iterator[Said]:
    """Feedback that names a turn and not its episode: rare, so that it has an index of its own."""
    turn, feedback = TABLES[Turn], TABLES[Feedback]
    alone = select(*_said(feedback)).where(feedback.c.tenant == tenant)
    if connection.execute(alone.where(feedback.c.alone > "").limit(1)).first() is None:
        return
    in_episodes = select(turn.c.id, turn.c.episode).where(
        turn.c.tenant == tenant, among(connection, turn.c.episode, episodes)
    )
    episode_of = dict(connection.execute(in_episodes).all())
    rows = connection.execute(alone.where(among(connection, feedback.c.alone, list(episode_of)))).all()
    yield from (Said(episode_of[row.turn], *row) for row in rows if row.form in FORMS)


def _said(feedback: Table) -> tuple[Column[Any], ...]:
    return tuple(feedback.c[name] for name in ("at", "seq", "turn", "form", "mark", "quality", "slot"))
