"""Feedback comes in, one piece or many at once, and each gets its own answer.

This is the busiest address that there is. It is answered on the event loop, without FastAPI: what is small is
read and checked there, what is large in a thread, and what is kept goes through `collector.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import get_ident
from typing import Any

import orjson

from heedful import road
from heedful.access.caller import Caller
from heedful.access.permissions import Action, may, require_source
from heedful.domain.access import Scope
from heedful.domain.feedback import Feedback, Parked, Source
from heedful.domain.ids import AssignmentId
from heedful.domain.labeling import Assignment
from heedful.errors import Busy, Conflict, HeedfulError, InvalidInput, NotAllowed, TooLarge
from heedful.feedback.metrics import declared
from heedful.road import Heard, Parts
from heedful.service.door import body, errors
from heedful.service.door.floor import Floor
from heedful.service.door.front import Arrival, HotRoute, Reply
from heedful.service.intake.collector import Collector, Seen
from heedful.service.state.metrics import Metrics
from heedful.service.state.sources import Sources
from heedful.wire import MOST_FEEDBACK, FeedbackIn

STATUS = {"kept": 201, "duplicate": 200, "parked": 202}
SLOWLY = 250  # pieces that are read in a thread: on the event loop they would hold up others


@dataclass(frozen=True, slots=True)
class Read:
    """A piece that could be read."""

    said: Feedback
    dated: bool  # the sender said when


class Ingest:
    """From a request's body to an answer that is sent when everything it speaks of is on disk."""

    def __init__(self, parts: Parts, metrics: Metrics, sources: Sources, floor: Floor) -> None:
        self._parts = parts
        self._metrics = metrics
        self._sources = sources
        self._floor = floor
        self.seen = Seen()
        self._collector: Collector | None = None
        metrics.waiting(lambda: 0 if self._collector is None else self._collector.pieces)
        # One thread, so that it is always the same connection that looks, with its pages at hand.
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="heedful-targets")

    def routes(self) -> tuple[HotRoute, ...]:
        return (HotRoute(method="POST", path="/v1/feedback", action=Action.SAY, handler=self._arrived),)

    async def _arrived(self, arrival: Arrival) -> Reply:
        sent = await body.load(arrival.body, arrival.headers.get("content-type", ""))
        return Reply(*await self.take(arrival.caller, sent, len(arrival.body)))

    async def take(self, caller: Caller, sent: Any, size: int) -> tuple[int, bytes]:
        """Status and body of the answer to so many bytes."""
        self._floor.check()
        if isinstance(sent, list):
            _check_length(sent)
            return 207, _many(await self._each(caller, sent, size))
        _, what = (await self._each(caller, [sent], size))[0]
        if isinstance(what, HeedfulError):
            raise what
        if what.error is not None:
            raise what.error
        return STATUS[_status(what)], orjson.dumps(_result(what.id, what))

    # -- each piece on its own ---------------------------------------------------------------------------

    async def _each(self, caller: Caller, sent: Sequence[Any], size: int) -> list[Result]:
        """What became of each: heard by the road, or refused before it."""
        if len(sent) > SLOWLY:
            pieces = await asyncio.to_thread(self._read_all, caller, sent)
        else:
            pieces = self._read_all(caller, sent)
        good = [one for one in pieces if isinstance(one, Read)]
        heard = await self._heard(caller, good, size)
        _refuse_if_busy(heard)
        results = list(_in_order(sent, pieces, heard))
        self._count(caller, good, heard, len(sent) - len(good))
        return results

    def _read_all(self, caller: Caller, sent: Sequence[Any]) -> list[Read | HeedfulError]:
        read: list[Read | HeedfulError] = []
        for one in sent:
            try:
                read.append(self._read(caller, one))
            except HeedfulError as error:
                read.append(error)
        return read

    def _read(self, caller: Caller, raw: Any) -> Read:
        sent: FeedbackIn = body.checked(FeedbackIn, raw)
        _may_judge(caller, sent)
        scale = None if sent.name is None else declared(sent.name, self._parts.metrics).scale
        feedback = sent.to_domain(
            tenant=caller.tenant,
            id=sent.id or self._parts.mint("feedback"),
            at=self._parts.clock.now(),
            by=caller.person,
            judged=Source.EXPERT if sent.judgement is not None else None,
            scale=scale,
        )
        require_source(caller, feedback.source)
        return Read(feedback, sent.at is not None)

    async def _heard(self, caller: Caller, pieces: Sequence[Read], size: int) -> list[Heard]:
        """As the road hears it. Who sends the same again without a time meant the time of the first sending."""
        if not pieces:
            return []
        if any(one.said.judgement is not None for one in pieces):
            return await asyncio.to_thread(_judged, self._parts, caller, pieces)
        heard = await self._here().hear(caller.tenant, [one.said for one in pieces], size)
        if any(isinstance(one.error, Conflict) for one in heard):
            return await asyncio.to_thread(_undated, self._parts, caller, pieces, heard)
        return heard

    def _here(self) -> Collector:
        here = self._collector
        if here is None or here.thread != get_ident() or here.loop.is_closed():
            loop = asyncio.get_running_loop()  # asked for once: it is a system call
            self._collector = here = Collector(self._parts, self.seen, self._threads, loop)
        return here

    def _count(self, caller: Caller, good: Sequence[Read], heard: Sequence[Heard], unread: int) -> None:
        kinds: dict[tuple[Source, str, str], int] = {}
        for one, what in zip(good, heard, strict=True):
            kind = one.said.source, one.said.said.form, _status(what)
            kinds[kind] = kinds.get(kind, 0) + 1
        for (source, form, status), count in kinds.items():
            self._metrics.feedback(form, status, count)
            self._sources.note(caller.tenant, source, form, status, count)
        if unread:
            self._metrics.feedback("unread", "error", unread)
            self._sources.note(caller.tenant, None, "unread", "error", unread)


Result = tuple[str | None, Heard | HeedfulError]


def _check_length(sent: Sequence[Any]) -> None:
    if not sent:
        raise InvalidInput("the list is empty: send at least one piece of feedback", field="body")
    if len(sent) > MOST_FEEDBACK:
        raise TooLarge(f"the list has {len(sent)} pieces: send {MOST_FEEDBACK} at a time", field="body")


def _may_judge(caller: Caller, sent: FeedbackIn) -> None:
    """Judgements count in verdicts: only who may take assignments gives them, and a rater only their own."""
    if sent.judgement is not None and not may(caller, Action.JUDGE):
        raise NotAllowed(f"a key with scope {caller.scope} gives no judgements", field="judgement")
    if caller.scope is not Scope.RATER:
        return
    if sent.by is not None and sent.by != caller.person:
        raise NotAllowed(f"this key is {caller.person!r}'s: it does not speak for {sent.by!r}", field="by")
    if sent.judgement is None or sent.judgement.assignment is None:
        raise NotAllowed(
            "a rater answers assignments: name one in judgement.assignment", field="judgement.assignment"
        )


def _refuse_if_busy(heard: Sequence[Heard]) -> None:
    """When nothing could be kept because the store is full or away, the whole request is to come again."""
    if heard and not any(one.error is None for one in heard):
        for one in heard:
            if one.error is not None and one.error.status == Busy.status:
                raise one.error


def _in_order(
    sent: Sequence[Any], pieces: Sequence[Read | HeedfulError], heard: Sequence[Heard]
) -> Iterator[Result]:
    rest = iter(heard)
    for raw, piece in zip(sent, pieces, strict=True):
        if isinstance(piece, HeedfulError):
            yield _id_of(raw), piece
        else:
            one = next(rest)
            yield one.id, one


def _id_of(raw: Any) -> str | None:
    """The id that the sender will look for; only if it is a text at all."""
    id = raw.get("id") if isinstance(raw, dict) else None
    return id[:200] if isinstance(id, str) else None


def _status(heard: Heard) -> str:
    return "error" if heard.error is not None else heard.standing


def _result(id: str | None, what: Heard | HeedfulError) -> dict[str, Any]:
    """As `wire.Kept` says it."""
    error = what if isinstance(what, HeedfulError) else what.error
    said = None if error is None else errors.describe(error).model_dump()
    status = "error" if isinstance(what, HeedfulError) else _status(what)
    return {"id": id, "status": status, "error": said}


def _many(results: Sequence[Result]) -> bytes:
    return orjson.dumps({"results": [_result(*one) for one in results]})


# -- judgements, and what was sent before ----------------------------------------------------------------


def _judged(parts: Parts, caller: Caller, pieces: Sequence[Read]) -> list[Heard]:
    bound = _bound(parts, caller, pieces)
    good = [one for one in bound if isinstance(one, Read)]
    heard = road.hear(parts, caller.tenant, [one.said for one in good], actor=caller.actor)
    rest = iter(_undated(parts, caller, good, heard))
    return [
        next(rest) if isinstance(one, Read) else Heard(id=piece.said.id, kept=False, error=one)
        for piece, one in zip(pieces, bound, strict=True)
    ]


def _bound(parts: Parts, caller: Caller, pieces: Sequence[Read]) -> list[Read | HeedfulError]:
    """Judgements of assignments say which item they are about; one that says another is refused.

    Otherwise a rater could lease one item and be counted on all others.
    """
    named = {
        one.said.judgement.assignment
        for one in pieces
        if one.said.judgement is not None and one.said.judgement.assignment
    }
    held = parts.store.get_many(Assignment, caller.tenant, sorted(named)) if named else {}
    assignments = {AssignmentId(id): one for id, one in held.items()}
    bound: list[Read | HeedfulError] = []
    for one in pieces:
        try:
            bound.append(_about(one, assignments))
        except HeedfulError as error:
            bound.append(error)
    return bound


def _about(piece: Read, assignments: dict[AssignmentId, Assignment]) -> Read:
    judgement = piece.said.judgement
    if judgement is None or judgement.assignment not in assignments:
        return piece  # the road says what is wrong with an unknown one
    held = assignments[judgement.assignment]
    for name, said, is_ in (("item", judgement.item, held.item), ("queue", judgement.queue, held.queue)):
        if said is not None and said != is_:
            raise InvalidInput(
                f"judgement.{name} is {said!r}, but assignment {held.id!r} is about {is_!r}",
                field=f"judgement.{name}",
            )
    whole = replace(judgement, item=held.item, queue=held.queue)
    return replace(piece, said=replace(piece.said, judgement=whole))


def _undated(parts: Parts, caller: Caller, pieces: Sequence[Read], heard: Sequence[Heard]) -> list[Heard]:
    """Conflicts only because the first sending had no time either, and got ours, are repeats."""
    results = list(heard)
    places = [
        place
        for place, (piece, one) in enumerate(zip(pieces, heard, strict=True))
        if isinstance(one.error, Conflict) and not piece.dated
    ]
    if not places:
        return results
    ids = [pieces[place].said.id for place in places]
    first = {id: one.feedback.at for id, one in parts.store.get_many(Parked, caller.tenant, ids).items()}
    first |= {id: one.at for id, one in parts.store.get_many(Feedback, caller.tenant, ids).items()}
    places = [place for place in places if pieces[place].said.id in first]
    again = [replace(pieces[place].said, at=first[pieces[place].said.id]) for place in places]
    repeated = road.hear(parts, caller.tenant, again, actor=caller.actor)
    for place, one in zip(places, repeated, strict=True):
        results[place] = one
    return results
