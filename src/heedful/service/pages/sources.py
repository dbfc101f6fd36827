"""Where feedback comes from and how much of it, as this server sees it, and what it could not make sense of.

The counts are of this process since it started; how much there is on record is the store's to say.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Annotated, Any

from fastapi import Query
from pydantic_core import from_json
from starlette.responses import Response

from heedful import road
from heedful.access.permissions import Action
from heedful.domain.feedback import DeadLetter, Feedback, Parked
from heedful.domain.ids import DeadLetterId, FeedbackId, TenantId, check_id
from heedful.errors import HeedfulError, InvalidInput, Malformed
from heedful.monitoring.silence import SPAN_SECONDS, SPANS, Silence, silence
from heedful.road import Heard, Parts
from heedful.service.door import body, errors
from heedful.service.intake.recorder import JOURNAL, Entry
from heedful.service.pages.routes import Route, Visit, Visiting, known, reply
from heedful.store import codec
from heedful.wire import FeedbackIn, Kept, ListOf, ReplayIn

TOOK = frozenset({"kept", "duplicate", "parked"})


@dataclass(slots=True)
class Pulse:
    """Pieces per span of time, for an hour up to the last that came."""

    spans: deque[int] = field(default_factory=lambda: deque(maxlen=SPANS))
    span: int = 0  # number of the last one
    last: float | None = None  # seconds since 1970

    def note(self, at: float, count: int) -> None:
        span = int(at // SPAN_SECONDS)
        if self.last is None:
            self.span = span - 1
        for _ in range(min(span - self.span, SPANS)):
            self.spans.append(0)
        self.span = max(span, self.span)
        self.spans[-1] += count
        self.last = at if self.last is None else max(at, self.last)

    def since(self, now: float, seconds: float) -> int:
        """Pieces in the last so many seconds, to the span."""
        first = int((now - seconds) // SPAN_SECONDS) + 1
        width = self.span - first + 1
        return sum(list(self.spans)[-width:]) if width > 0 and self.spans else 0

    def silence(self, now: float) -> Silence | None:
        return None if self.last is None else silence(self.spans, max(0.0, now - self.last))


@dataclass(slots=True)
class Line:
    """One source and form of one tenant."""

    pulse: Pulse = field(default_factory=Pulse)
    counts: Counter[str] = field(default_factory=Counter)


class Sources:
    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lines: dict[tuple[TenantId, str | None, str], Line] = {}
        self._tenants: dict[TenantId, Pulse] = {}
        self._lock = Lock()

    def note(self, tenant: TenantId, source: str | None, form: str, status: str, count: int = 1) -> None:
        """So many pieces of one kind came, now."""
        at = self._now().timestamp()
        with self._lock:
            line = self._lines.get((tenant, source, form))
            if line is None:
                line = self._lines[tenant, source, form] = Line()
            line.counts[status] += count
            if status in TOOK:
                line.pulse.note(at, count)
                self._tenants.setdefault(tenant, Pulse()).note(at, count)

    def remember(self, tenant: TenantId, times: Sequence[datetime]) -> None:
        """What came before this server started, the oldest first: a restart must not hide a silence."""
        with self._lock:
            pulse = self._tenants.setdefault(tenant, Pulse())
            for at in times:
                if pulse.last is None or at.timestamp() >= pulse.last:
                    pulse.note(at.timestamp(), 1)

    def silences(self) -> dict[TenantId, Silence]:
        """Of every tenant that ever had feedback here."""
        now = self._now().timestamp()
        with self._lock:
            found = {tenant: pulse.silence(now) for tenant, pulse in self._tenants.items()}
        return {tenant: one for tenant, one in found.items() if one is not None}

    def lines(self, tenant: TenantId) -> Iterator[dict[str, Any]]:
        now = self._now().timestamp()
        with self._lock:
            ours = [(key[1:], line) for key, line in self._lines.items() if key[0] == tenant]
            for (source, form), line in sorted(ours, key=lambda one: (one[0][0] or "", one[0][1])):
                last = line.pulse.last
                yield {
                    "source": source,
                    "form": form,
                    "last_minute": line.pulse.since(now, 60),
                    "last_hour": line.pulse.since(now, 3600),
                    "last_seen": None if last is None else datetime.fromtimestamp(last, UTC),
                    **{status: line.counts[status] for status in (*sorted(TOOK), "error")},
                }


def remembered(parts: Parts, sources: Sources) -> None:
    """What the store knows of when feedback came."""
    for tenant in parts.views.feedback_tenants():
        sources.remember(tenant, parts.views.feedback_pulse(tenant))


# -- addresses -------------------------------------------------------------------------------------------


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


def replayed(parts: Parts, tenant: TenantId, letter: DeadLetter, payload: str, *, actor: str) -> list[Heard]:
    """As a person asks for it: what cannot even be read stays dead."""
    try:
        if letter.origin == JOURNAL:
            entry = Entry.of_line(payload.encode())
            begun = () if entry.episode is None else (entry.episode,)
            road.replay_turns(parts, tenant, letter.id, entry.turns, begun, actor=actor)
            return [Heard(id=FeedbackId(letter.id), kept=True)]
        pieces = understood(parts, tenant, payload)
    except HeedfulError as error:
        return [Heard(id=FeedbackId(letter.id), kept=False, error=error)]
    return road.replay(parts, tenant, letter.id, pieces, actor=actor)


def understood(parts: Parts, tenant: TenantId, payload: str) -> list[Feedback]:
    """A dead letter's feedback: as we had read it already, or as somebody sent it, one piece or a list."""
    try:
        sent = from_json(payload)
    except ValueError as error:
        raise Malformed(f"the payload is not JSON: {error}", field="payload") from error
    pieces = sent if isinstance(sent, list) else [sent]
    if not pieces:
        raise InvalidInput("the payload is an empty list", field="payload")
    return [_piece(parts, tenant, one) for one in pieces]


def _piece(parts: Parts, tenant: TenantId, one: Any) -> Feedback:
    if isinstance(one, dict) and one.get("tenant") == tenant and "received_at" in one:
        kept: Feedback = codec.decode(Feedback, codec.canonical(one))
        return kept
    sent: FeedbackIn = body.checked(FeedbackIn, one)
    return sent.to_domain(tenant=tenant, id=sent.id or parts.mint("feedback"), at=parts.clock.now())


def _page(visit: Visit, kind: Any, limit: int, after: int) -> dict[str, Any]:
    found = visit.parts.store.changes(kind, visit.tenant, after=after, limit=limit)
    return {
        "results": [record for _, record in found],
        "next": found[-1][0] if len(found) == limit else None,
    }


def _plain(letter: DeadLetter) -> dict[str, Any]:
    names = ("id", "origin", "reason", "first_seen", "last_seen", "attempts")
    return {name: getattr(letter, name) for name in names}


def said(heard: Heard) -> Kept:
    """What became of one piece, as the wire says it."""
    error = None if heard.error is None else errors.describe(heard.error)
    return Kept(id=heard.id, status="error" if error else heard.standing, error=error)


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
