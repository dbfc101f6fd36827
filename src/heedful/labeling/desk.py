"""Hand out work so that two raters never lose or double it.

An assignment's id is its item and its place, so taking a free place is adding a record and taking over a lapsed
one is swapping it. Whoever comes second is refused by the store; nothing else has to be locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from heedful.domain.feedback import Feedback
from heedful.domain.ids import AssignmentId, PersonId
from heedful.domain.labeling import Assignment, AssignmentState, Item, Queue
from heedful.errors import Conflict, NotFound
from heedful.store.protocol import Batch, Store
from heedful.store.views import Views

Leased = tuple[Assignment, Item]


def lease(
    store: Store, views: Views, queue: Queue, rater: PersonId, *, now: datetime, limit: int, random: Random
) -> list[Leased]:
    """Up to `limit` assignments for this rater, hidden gold among them, in random order."""
    if queue.per_rater is not None:
        had = len(store.find(Assignment, queue.tenant, where={"queue": queue.id, "rater": rater}, limit=None))
        limit = min(limit, queue.per_rater - had)
    if limit < 1:
        return []
    wanted = sum(random.random() < queue.gold_share for _ in range(limit))
    gold = list(_unseen_gold(store, queue, rater)) if wanted else []
    random.shuffle(gold)
    tests = [_gold_place(queue, item, rater, now) for item in gold[:wanted]]
    taken = [test for test in tests if _take(store, None, test[0])]
    for place in views.open_items(queue.tenant, queue.id, rater, now=now, limit=limit - len(taken)):
        assignment = Assignment(
            id=AssignmentId(f"{place.item.id}:{place.slot}"),
            tenant=queue.tenant,
            queue=queue.id,
            item=place.item.id,
            rater=rater,
            leased_at=now,
            until=now + timedelta(seconds=queue.lease_seconds),
        )
        if _take(store, place.lapsed, assignment):
            taken.append((assignment, place.item))
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
        raise NotFound(f"judgement.assignment {said.judgement.assignment!r} is not known here")
    if held.rater != said.by:
        raise Conflict(
            f"assignment {held.id!r} is {held.rater!r}'s: the lease ran out, or it never was yours"
        )
    if held.feedback == said.id:
        return None  # sent again
    if held.state is not AssignmentState.LEASED:
        raise Conflict(f"assignment {held.id!r} is {held.state}: it was answered before")
    return held, replace(held, state=state, feedback=said.id)


def _take(store: Store, lapsed: Assignment | None, assignment: Assignment) -> bool:
    try:
        if lapsed is None:
            return store.commit(Batch(add=(assignment,))).added[0]
        store.commit(Batch(swap=((lapsed, assignment),)))
    except Conflict:
        return False  # somebody was faster
    return True


def _unseen_gold(store: Store, queue: Queue, rater: PersonId) -> Sequence[Item]:
    items = store.find(Item, queue.tenant, where={"queue": queue.id, "gold": True}, limit=None)
    places = {AssignmentId(f"{item.id}:{rater}"): item for item in items}
    seen = store.get_many(Assignment, queue.tenant, list(places))
    return [item for id, item in places.items() if id not in seen]


def _gold_place(queue: Queue, item: Item, rater: PersonId, now: datetime) -> Leased:
    return (
        Assignment(
            id=AssignmentId(f"{item.id}:{rater}"),
            tenant=queue.tenant,
            queue=queue.id,
            item=item.id,
            rater=rater,
            leased_at=now,
            until=now + timedelta(seconds=queue.lease_seconds),
        ),
        item,
    )
