"""People are asked: queues, leases, known answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from heedful import road
from heedful.access.permissions import Action, require
from heedful.domain.access import Scope
from heedful.domain.ids import ItemId, PersonId, check_id
from heedful.domain.labeling import Item, ItemState, Queue
from heedful.errors import InvalidInput, NotAllowed
from heedful.service.pages.episodes import keep_once
from heedful.service.pages.routes import Route, Visit, Visiting, known, reply
from heedful.wire import GoldIn, LeaseIn, QueueIn, Work


def make_queue(visit: Visiting, queue: QueueIn) -> Response:
    """A new queue; its items come from the loop."""
    new = queue.to_domain(
        tenant=visit.tenant, id=queue.id or visit.parts.mint("queue"), at=visit.parts.clock.now()
    )
    kept, fresh = keep_once(visit, new, lambda there: replace(new, created_at=there.created_at))
    return reply(kept, status=201 if fresh else 200)


def list_queues(visit: Visiting) -> Response:
    """All queues, oldest first."""
    return reply({"queues": visit.parts.store.find(Queue, visit.tenant)})


def get_queue(visit: Visiting, id: str) -> Response:
    """A queue's rules, and how much is open, leased and answered."""
    queue = known(visit, Queue, id)
    state = visit.parts.views.queue_state(visit.tenant, queue.id, now=visit.parts.clock.now())
    return reply({"queue": queue, "state": state})


def lease(visit: Visiting, id: str, asked: LeaseIn | None = None) -> Response:
    """Work for a rater, for a while. A rater's key speaks for its own person and for nobody else."""
    asked = asked or LeaseIn()
    queue = known(visit, Queue, id)
    taken = road.lease(visit.parts, visit.tenant, queue.id, _rater(visit, asked), limit=asked.limit)
    return reply(Work.of(queue, taken))


def _rater(visit: Visit, asked: LeaseIn) -> PersonId:
    own = visit.caller.person
    if asked.rater is None or asked.rater == own:
        if own is None:
            raise InvalidInput("this key belongs to no person: name a rater", field="rater")
        return own
    if visit.caller.scope is Scope.RATER:
        raise NotAllowed(f"this key is {own!r}'s: it takes no work for {asked.rater!r}", field="rater")
    require(visit.caller, Action.ASSIGN)
    return PersonId(asked.rater)


def list_items(
    visit: Visiting,
    queue: str,
    state: ItemState | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Items of a queue, oldest first, with their known answers."""
    where = {"queue": check_id(queue, "queue")} | ({} if state is None else {"state": state})
    return reply({"items": visit.parts.store.find(Item, visit.tenant, where=where, limit=limit)})


def set_gold(visit: Visiting, id: str, gold: GoldIn) -> Response:
    """From now on the item tests raters instead of asking them."""
    item = ItemId(check_id(id, "item"))
    return reply(road.set_gold(visit.parts, visit.tenant, item, gold.to_domain(), actor=visit.caller.actor))


ROUTES = (
    Route(
        method="POST",
        path="/v1/queues",
        action=Action.ASK,
        handler=make_queue,
        status=201,
        gives=Queue,
        also={200: Queue},
    ),
    Route(
        method="GET",
        path="/v1/queues",
        action=Action.READ,
        handler=list_queues,
        gives=dict[str, list[Queue]],
    ),
    Route(method="POST", path="/v1/queues/{id:path}/lease", action=Action.JUDGE, handler=lease, gives=Work),
    Route(
        method="GET",
        path="/v1/queues/{id:path}",
        action=Action.READ,
        handler=get_queue,
        gives=dict[str, Any],
    ),
    Route(
        method="GET",
        path="/v1/items",
        action=Action.READ_TEXT,
        handler=list_items,
        gives=dict[str, list[Item]],
    ),
    Route(
        method="POST",
        path="/v1/items/{id:path}/gold",
        action=Action.ADJUDICATE,
        handler=set_gold,
        gives=Item,
    ),
)
