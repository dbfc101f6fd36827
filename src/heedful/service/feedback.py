"""Feedback comes in, one piece or many at once, and each gets its own answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from fastapi import Body
from starlette.responses import Response

from heedful import road
from heedful.access.caller import Caller
from heedful.access.permissions import Action, may, require_source
from heedful.domain.access import Scope
from heedful.domain.feedback import Feedback, Source
from heedful.domain.ids import AssignmentId
from heedful.domain.labeling import Assignment
from heedful.errors import Conflict, HeedfulError, InvalidInput, NotAllowed, TooLarge
from heedful.road import Heard
from heedful.service import body, errors
from heedful.service.routes import Route, Visit, Visiting, known, reply
from heedful.wire import MOST_FEEDBACK, FeedbackIn, Kept, KeptMany

T = TypeVar("T")


def post_feedback(visit: Visiting, said: Annotated[Any, Body()]) -> Response:
    """One piece of feedback, or a list of up to 1000: then each has its own result, and a bad one never
    rejects its neighbours. With an `id`, sending it again is safe."""
    if isinstance(said, list):
        if not said:
            raise InvalidInput("the list is empty: send at least one piece of feedback", field="body")
        if len(said) > MOST_FEEDBACK:
            raise TooLarge(f"the list has {len(said)} pieces: send {MOST_FEEDBACK} at a time", field="body")
        return reply(KeptMany(results=tuple(_result(*one) for one in take(visit, said))), status=207)
    _, heard = take(visit, [said])[0]
    if isinstance(heard, HeedfulError):
        raise heard
    if heard.error is not None:
        raise heard.error
    return reply(_result(None, heard), status=201 if heard.kept else 200)


def get_feedback(visit: Visiting, id: str) -> Response:
    """One piece of feedback as it was kept."""
    return reply(known(visit, Feedback, id))


ROUTES = (
    Route(
        method="POST",
        path="/v1/feedback",
        action=Action.SAY,
        handler=post_feedback,
        status=201,
        gives=Kept | KeptMany,
    ),
    Route(
        method="GET",
        path="/v1/feedback/{id:path}",
        action=Action.READ_TEXT,
        handler=get_feedback,
        gives=Feedback,
    ),
)


# -- each piece on its own -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Read:
    """A piece that could be read."""

    said: Feedback
    dated: bool  # the sender said when


def take(visit: Visit, said: Sequence[Any]) -> list[tuple[str | None, Heard | HeedfulError]]:
    """What became of each: heard by the road, or refused before it."""
    visit.service.recorder.settle()
    pieces = _bound(visit, [_caught(_read, visit, one) for one in said])
    good = [one for one in pieces if isinstance(one, Read)]
    with visit.service.metrics.waiting.track_inprogress():
        heard = iter(_hear(visit, good))
    results: list[tuple[str | None, Heard | HeedfulError]] = []
    for raw, piece in zip(said, pieces, strict=True):
        if isinstance(piece, HeedfulError):
            visit.service.metrics.feedback("unread", "error")
            results.append((_id_of(raw), piece))
            continue
        one = next(heard)
        visit.service.metrics.feedback(piece.said.said.form, _status(one))
        results.append((one.id, one))
    return results


def _read(visit: Visit, raw: Any) -> Read:
    sent: FeedbackIn = body.checked(FeedbackIn, raw)
    caller = visit.caller
    _may_judge(caller, sent)
    feedback = sent.to_domain(
        tenant=visit.tenant,
        id=sent.id or visit.parts.mint("feedback"),
        at=visit.parts.clock.now(),
        by=caller.person,
        judged=Source.EXPERT if sent.judgement is not None else None,
    )
    require_source(caller, feedback.source)
    return Read(feedback, dated=sent.at is not None)


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


def _bound(visit: Visit, pieces: Sequence[Read | HeedfulError]) -> list[Read | HeedfulError]:
    """Judgements of assignments say which item they are about; one that says another is refused.

    Otherwise a rater could lease one item and be counted on all others.
    """
    named = {
        judgement.assignment
        for piece in pieces
        if isinstance(piece, Read) and (judgement := piece.said.judgement) and judgement.assignment
    }
    if not named:
        return list(pieces)
    held = visit.parts.store.get_many(Assignment, visit.tenant, sorted(named))
    assignments = {AssignmentId(id): one for id, one in held.items()}
    return [_caught(_about, piece, assignments) if isinstance(piece, Read) else piece for piece in pieces]


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


def _hear(visit: Visit, pieces: Sequence[Read]) -> list[Heard]:
    """As the road hears it. Who sends the same again without a time meant the time of the first sending."""
    heard = road.hear(visit.parts, visit.tenant, [piece.said for piece in pieces], actor=visit.caller.actor)
    undated = [
        place
        for place, (piece, one) in enumerate(zip(pieces, heard, strict=True))
        if isinstance(one.error, Conflict) and not piece.dated
    ]
    if undated:
        first = visit.parts.store.get_many(Feedback, visit.tenant, [pieces[n].said.id for n in undated])
        undated = [place for place in undated if pieces[place].said.id in first]
        again = [replace(pieces[n].said, at=first[pieces[n].said.id].at) for n in undated]
        repeated = road.hear(visit.parts, visit.tenant, again, actor=visit.caller.actor)
        for place, one in zip(undated, repeated, strict=True):
            heard[place] = one
    return heard


def _caught(do: Any, *arguments: Any) -> Read | HeedfulError:
    try:
        done: Read = do(*arguments)
    except HeedfulError as error:
        return error
    return done


def _id_of(raw: Any) -> str | None:
    """The id that the sender will look for; only if it is a text at all."""
    id = raw.get("id") if isinstance(raw, dict) else None
    return id[:200] if isinstance(id, str) else None


def _status(heard: Heard) -> Any:
    return "error" if heard.error is not None else "kept" if heard.kept else "duplicate"


def _result(id: str | None, what: Heard | HeedfulError) -> Kept:
    if isinstance(what, HeedfulError):
        return Kept(id=id, status="error", error=errors.describe(what))
    error = None if what.error is None else errors.describe(what.error)
    return Kept(id=what.id, status=_status(what), error=error)
