"""Questions about queues: what is left to be judged, by whom, and how well raters do on what is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, func, or_, select

from heedful.domain.feedback import Feedback
from heedful.domain.ids import PersonId, QueueId, TenantId
from heedful.domain.labeling import Assignment, AssignmentState, Item, ItemState, Queue
from heedful.store import codec
from heedful.store.bulk import among
from heedful.store.tables import TABLES, micros


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    open: int  # items
    done: int  # items
    leased: int  # assignments that somebody holds
    answered: int  # assignments


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenItem:
    """An item that this rater may have now: commit an Assignment with the id `f"{item.id}:{slot}"`."""

    item: Item
    slot: int
    stale: Assignment | None = None  # holds that id, expired or skipped: swap it; None: add a new one


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterLine:
    rater: PersonId
    judged: int
    gold_judged: int
    gold_right: int


def queue_state(connection: Connection, tenant: TenantId, queue: QueueId, now: datetime | None) -> QueueState:
    item, assignment = TABLES[Item], TABLES[Assignment]

    def counted(of: Table, *conditions: ColumnElement[bool]) -> dict[str, int]:
        question = select(of.c.state, func.count()).where(
            of.c.tenant == tenant, of.c.queue == queue, *conditions
        )
        return dict(connection.execute(question.group_by(of.c.state)).all())

    items = counted(item)
    if now is None:
        assignments = counted(assignment)
    else:
        run_out = and_(assignment.c.state == AssignmentState.LEASED.value, assignment.c.until <= micros(now))
        assignments = counted(assignment, ~run_out)
    return QueueState(
        open=items.get(ItemState.OPEN, 0),
        done=items.get(ItemState.DONE, 0),
        leased=assignments.get(AssignmentState.LEASED, 0),
        answered=assignments.get(AssignmentState.DONE, 0),
    )


def open_items(
    connection: Connection,
    queue: Queue,
    rater: PersonId,
    now: datetime,
    *,
    gold: bool | None,
    limit: int,
) -> list[OpenItem]:
    item, assignment = TABLES[Item], TABLES[Assignment]
    about = (assignment.c.tenant == queue.tenant, assignment.c.item == item.c.id)
    # Not by the index on raters: one may have had thousands of items, an item has a handful of raters.
    # A lease that ran out does not count: a rater who comes back may take the item up again.
    alive = and_(assignment.c.state == AssignmentState.LEASED.value, assignment.c.until > micros(now))
    held = or_(assignment.c.state == AssignmentState.DONE.value, alive)
    theirs = func.coalesce(assignment.c.rater, "") == rater
    skipped = assignment.c.state == AssignmentState.SKIPPED.value
    had = select(assignment.c.seq).where(*about, theirs, or_(held, skipped)).exists()
    taken = select(func.count()).select_from(assignment).where(*about, held).scalar_subquery()
    question = select(item.c.body).where(
        item.c.tenant == queue.tenant,
        item.c.queue == queue.id,
        item.c.state == ItemState.OPEN.value,
        ~had,
        or_(item.c.gold, taken < queue.overlap),
    )
    if gold is not None:
        question = question.where(item.c.gold == gold)
    bodies = connection.execute(question.order_by(item.c.seq).limit(limit)).scalars().all()
    items = [codec.decode(Item, body) for body in bodies]
    slots = _assignments(connection, queue.tenant, [one.id for one in items])
    offered = (
        _offered(one, slots.get(one.id, ()), now, most=queue.overlap if one.gold is None else None)
        for one in items
    )
    return [place for place in offered if place is not None]


def _assignments(
    connection: Connection, tenant: TenantId, items: Sequence[str]
) -> dict[str, list[Assignment]]:
    assignment = TABLES[Assignment]
    question = select(assignment.c.item, assignment.c.body).where(
        assignment.c.tenant == tenant, assignment.c.item.in_(items)
    )
    found: dict[str, list[Assignment]] = {}
    for item, body in connection.execute(question):
        found.setdefault(item, []).append(codec.decode(Assignment, body))
    return found


def _offered(
    item: Item, assignments: Iterable[Assignment], now: datetime, *, most: int | None
) -> OpenItem | None:
    """The lowest slot whose holder let it go, or else the lowest that nobody had.

    None when all `most` slots are held: somebody took the last one between our two questions.
    """
    slots = {int(one.id.rpartition(":")[2]): one for one in assignments}
    let_go = [slot for slot, one in sorted(slots.items()) if _let_go(one, now)]
    if let_go:
        return OpenItem(item=item, slot=let_go[0], stale=slots[let_go[0]])
    free = next(slot for slot in range(len(slots) + 1) if slot not in slots)
    return OpenItem(item=item, slot=free) if most is None or free < most else None


def _let_go(assignment: Assignment, now: datetime) -> bool:
    match assignment.state:
        case AssignmentState.DONE:
            return False
        case AssignmentState.LEASED:
            return assignment.until <= now
        case AssignmentState.SKIPPED | AssignmentState.EXPIRED:
            return True


def raters(connection: Connection, tenant: TenantId, queue: QueueId) -> list[RaterLine]:
    """Right means: the choice is the gold item's, or the broken category is."""
    item, feedback = TABLES[Item], TABLES[Feedback]
    judged = connection.execute(
        select(feedback.c.by, func.count())
        .where(feedback.c.tenant == tenant, feedback.c.queue == queue, feedback.c.by.is_not(None))
        .group_by(feedback.c.by)
    )
    known = {
        row.id: row
        for row in connection.execute(
            select(item.c.id, item.c.gold_chosen, item.c.gold_category).where(
                item.c.tenant == tenant, item.c.queue == queue, item.c.gold
            )
        )
    }
    on_gold = connection.execute(
        select(feedback.c.by, feedback.c.form, feedback.c.pick, feedback.c.item).where(
            feedback.c.tenant == tenant, among(connection, feedback.c.item, list(known))
        )
    ).all()
    gold = Counter(row.by for row in on_gold)
    right = Counter(row.by for row in on_gold if _right(row, known[row.item]))
    return [
        RaterLine(rater=by, judged=count, gold_judged=gold[by], gold_right=right[by])
        for by, count in sorted(judged.all())
    ]


def _right(said: Any, gold: Any) -> bool:
    match said.form:
        case "choice":
            return bool(said.pick == gold.gold_chosen)
        case "violation":
            return bool(said.pick == gold.gold_category)
        case _:
            return False
