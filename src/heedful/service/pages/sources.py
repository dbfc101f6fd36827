"""Where feedback comes from and how much of it, what waits for what it is about, and what could not be taken."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from heedful import road
from heedful.access.permissions import Action
from heedful.domain.feedback import DeadLetter, Parked
from heedful.domain.ids import DeadLetterId, check_id
from heedful.service.intake.replaying import replayed, said
from heedful.service.pages.routes import Route, Visit, Visiting, known, reply
from heedful.wire import ListOf, ReplayIn


def get_sources(visit: Visiting) -> Response:
    """Which feedback comes, how fast, and whether it has stopped; what waits and what is dead."""
    parts, tenant, now = visit.parts, visit.tenant, visit.parts.clock.now()
    tallies = parts.views.tallies(tenant)
    return reply(
        {
            "at": now,
            "silence": visit.service.sources.silences().get(tenant),
            "sources": list(visit.service.sources.lines(tenant)),
            "last_day": parts.views.feedback_by_source(tenant, now - timedelta(days=1)),
            "parked": tallies.get("parked", 0),
            "dead_letters": tallies.get("dead_letter", 0),
        }
    )


Limit = Annotated[int, Query(ge=1, le=1000)]
After = Annotated[int, Query(ge=0, lt=2**63)]


def get_parked(visit: Visiting, limit: Limit = 100, after: After = 0) -> Response:
    """Feedback that came before what it is about, the oldest first. `next` is the `after` of the next page."""
    return reply(_page(visit, Parked, limit, after))


def get_deadletters(visit: Visiting, limit: Limit = 100, after: After = 0) -> Response:
    """What was taken in and could not become what it should, without its payload. `next` is the `after` of the
    next page."""
    page = _page(visit, DeadLetter, limit, after)
    return reply({**page, "results": [_plain(one) for one in page["results"]]})


def get_deadletter(visit: Visiting, id: str) -> Response:
    """One dead letter, whole."""
    return reply(known(visit, DeadLetter, id))


def replay_deadletter(visit: Visiting, id: str, how: ReplayIn | None = None) -> Response:
    """Hear it once more. It goes when all of it was taken, and stays with the new reason otherwise."""
    letter = known(visit, DeadLetter, id)
    payload = letter.payload if how is None or how.payload is None else how.payload
    heard = replayed(visit.parts, visit.tenant, letter, payload, actor=visit.caller.actor)
    visit.service.ingest.seen.forget()
    return reply({"id": letter.id, "results": [said(one) for one in heard]})


def delete_deadletter(visit: Visiting, id: str) -> Response:
    """Throw it away; the audit log says who did."""
    name = DeadLetterId(check_id(id, "dead_letter"))
    return reply(_plain(road.purge(visit.parts, visit.tenant, name, actor=visit.caller.actor)))


def _page(visit: Visit, kind: Any, limit: int, after: int) -> dict[str, Any]:
    found = visit.parts.store.changes(kind, visit.tenant, after=after, limit=limit)
    return {
        "results": [record for _, record in found],
        "next": found[-1][0] if len(found) == limit else None,
    }


def _plain(letter: DeadLetter) -> dict[str, Any]:
    names = ("id", "origin", "reason", "first_seen", "last_seen", "attempts")
    return {name: getattr(letter, name) for name in names}


ROUTES = (
    Route(method="GET", path="/v1/sources", action=Action.READ, handler=get_sources, gives=dict[str, Any]),
    Route(
        method="GET",
        path="/v1/parked",
        action=Action.READ_TEXT,
        handler=get_parked,
        gives=ListOf[Parked],
    ),
    Route(
        method="GET",
        path="/v1/deadletters",
        action=Action.READ,
        handler=get_deadletters,
        gives=ListOf[dict[str, Any]],
    ),
    Route(
        method="POST",
        path="/v1/deadletters/{id}/replay",
        action=Action.MEND,
        handler=replay_deadletter,
        gives=dict[str, Any],
    ),
    Route(
        method="GET",
        path="/v1/deadletters/{id:path}",
        action=Action.READ_TEXT,
        handler=get_deadletter,
        gives=DeadLetter,
    ),
    Route(
        method="DELETE",
        path="/v1/deadletters/{id:path}",
        action=Action.MEND,
        handler=delete_deadletter,
        gives=dict[str, Any],
    ),
)
