"""Go through what a tenant has, and say in batches what has been kept long enough (`retention.py` decides).

Feedback first, then turns, then episodes that have none left, and then whatever else holds words of those days:
items that people were asked about, feedback that still waits for its turn, dead letters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TypeVar

from heedful.domain.capture import Capture
from heedful.domain.episode import Episode, Turn
from heedful.domain.feedback import DeadLetter, Feedback, Parked
from heedful.domain.ids import TenantId
from heedful.domain.labeling import Item
from heedful.feedback import retention
from heedful.feedback.capture import captured
from heedful.feedback.retention import Fate
from heedful.store.protocol import Batch, Record, Ref, Store
from heedful.store.views import Views

R = TypeVar("R", Turn, Episode, Feedback)
PAGE = 200  # records in one commit


def due(store: Store, views: Views, tenant: TenantId, before: datetime) -> Iterator[Batch]:
    """Batches without acts. Each is read when it is asked for: what the one before took is gone by then."""
    under_way = views.releases_running(tenant)
    running = retention.Running(
        releases={one.id for one in under_way},
        policies={id for one in under_way for id in (one.policy, one.against) if id is not None},
    )

    def of_feedback(said: Feedback) -> Fate:
        used = bool(store.children(tenant, Ref(kind="feedback", id=said.id), limit=1))
        return retention.of_feedback(said, before=before, running=running, used=used)

    def of_turn(turn: Turn) -> Fate:
        return retention.of_turn(turn, before=before, running=running)

    def of_episode(episode: Episode) -> Fate:
        left = store.find(Turn, tenant, where={"episode": episode.id}, limit=None)
        return Fate.GO if all(of_turn(turn) is Fate.GO for turn in left) else Fate.STAY

    yield from _older(views, Feedback, tenant, before, of_feedback)
    yield from _older(views, Turn, tenant, before, of_turn)
    yield from _older(views, Episode, tenant, before, of_episode)
    yield from _items(store, tenant, before)
    waiting = [one for one in store.find(Parked, tenant, limit=None) if one.since < before]
    letters = [one for one in store.find(DeadLetter, tenant, limit=None) if one.first_seen < before]
    yield from _dropped((*waiting, *letters))


def _older(
    views: Views, kind: type[R], tenant: TenantId, before: datetime, fate_of: Callable[[R], Fate]
) -> Iterator[Batch]:
    after = (0, 0)
    while page := views.older(kind, tenant, before, after=after, limit=PAGE):
        after = page[-1][0]
        fates = [(one, fate_of(one)) for _, one in page]
        drop = tuple(one for one, fate in fates if fate is Fate.GO)
        bare = tuple((one, captured(one, Capture.METADATA)) for one, fate in fates if fate is Fate.LOSE_WORDS)
        if drop or bare:
            yield Batch(drop=drop, swap=bare)


def _items(store: Store, tenant: TenantId, before: datetime) -> Iterator[Batch]:
    after = 0
    while page := store.changes(Item, tenant, after=after, limit=PAGE):
        after = page[-1][0]
        old = [(one, retention.without_words(one)) for _, one in page if one.created_at < before]
        if swap := tuple((one, bare) for one, bare in old if bare != one):
            yield Batch(swap=swap)


def _dropped(records: tuple[Record, ...]) -> Iterator[Batch]:
    for start in range(0, len(records), PAGE):
        yield Batch(drop=records[start : start + PAGE])
