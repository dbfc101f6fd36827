"""Hand out work so that two raters never lose or double it.

An assignment's id is its item and its place, so taking a free place is adding a record and taking over a
lapsed one is swapping it. Whoever comes second is refused by the store; nothing else has to be locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from heedful.domain.feedback import Feedback
from heedful.domain.ids import AssignmentId, PersonId
from heedful.domain.labeling import Assignment, AssignmentState, Item, Queue
from heedful.errors import Conflict, NotFound
from heedful.store.protocol import Batch, Store
from heedful.store.views import OpenItem, Views

Leased = tuple[Assignment, Item]
GOLD_POOL = 100  # gold items among which one is drawn
ROUNDS = 5  # of asking again, when others were faster


def lease(
    store: Store, views: Views, queue: Queue, rater: PersonId, *, now: datetime, limit: int, random: Random
) -> list[Leased]:
    """Up to `limit` assignments for this rater, hidden gold among them, in random order."""
    if queue.per_rater is not None:
        had = len(store.find(Assignment, queue.tenant, where={"queue": queue.id, "rater": rater}, limit=None))
        limit = min(limit, queue.per_rater - had)
    if limit < 1:
        return []
    taken: list[Leased] = []
    for _ in range(ROUNDS):
        offered = views.open_items(queue.tenant, queue.id, rater, now, limit=limit - len(taken), gold=False)
        if not offered:
            break  # a rater for whom there is no work is not tested either
        tests = sum(random.random() < queue.gold_share for _ in offered)
        if tests:
            gold = views.open_items(queue.tenant, queue.id, rater, now, limit=GOLD_POOL, gold=True)
            random.shuffle(gold)
            offered[: len(gold[:tests])] = gold[:tests]
        taken += _take(store, queue, rater, offered, now=now)
        if len(taken) == limit:
            break
    random.shuffle(taken)
    return taken


def close(
    store: Store, said: Feedback, *, now: datetime, state: AssignmentState = AssignmentState.DONE
) -> tuple[Assignment, Assignment] | None:
    """The swap that ends the assignment behind a judgement; None when there is none.

    A lease that ran out and was not yet given to anybody else is still good: the work was done.
    """
    if said.judgement is None or said.judgement.assignment is None:
        return None
    held = store.get(Assignment, said.tenant, said.judgement.assignment)
    if held is None:
        raise NotFound(
            f"judgement.assignment {said.judgement.assignment!r} is not known here",
            field="judgement.assignment",
        )
    if held.rater != said.by:
        raise Conflict(
            f"assignment {held.id!r} is held by {held.rater!r}: the lease ran out, or it never was yours"
        )
    if held.feedback == said.id:
        return None  # sent again
    if held.state is not AssignmentState.LEASED:
        raise Conflict(f"assignment {held.id!r} is {held.state}: it was answered before")
    return held, replace(held, state=state, feedback=said.id)


def _take(
    store: Store, queue: Queue, rater: PersonId, offered: Sequence[OpenItem], *, now: datetime
) -> list[Leased]:
    """Those of the offered places that nobody took before us."""
    sent = []
    for place in offered:
        assignment = Assignment(
            id=AssignmentId(f"{place.item.id}:{place.slot}"),
            tenant=queue.tenant,
            queue=queue.id,
            item=place.item.id,
            rater=rater,
            leased_at=now,
            until=now + timedelta(seconds=queue.lease_seconds),
        )
        change = Batch(swap=((place.stale, assignment),)) if place.stale else Batch(add=(assignment,))
        sent.append((assignment, place.item, store.submit(change)))
    taken = []
    for assignment, item, kept in sent:
        with suppress(Conflict):  # somebody was faster
            if kept.result().added != (False,):  # this rater, asking twice at the same moment
                taken.append((assignment, item))
    return taken
