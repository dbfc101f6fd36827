"""Episodes and turns: begun, ended, looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from starlette.responses import Response

from heedful import road
from heedful.access.permissions import Action, may
from heedful.domain.episode import Episode, EpisodeState, Turn
from heedful.domain.ids import EpisodeId, check_id
from heedful.errors import Conflict, NotFound
from heedful.service.pages.routes import Route, Visit, Visiting, known, reply
from heedful.store.protocol import Batch
from heedful.wire import EpisodeEnd, EpisodeIn, EpisodeStatus, conversation

T = TypeVar("T")


def begin_episode(visit: Visiting, episode: EpisodeIn) -> Response:
    """A task begins. Needed only when there is more to say about it than its first turn does."""
    said = episode.to_domain(
        tenant=visit.tenant, id=episode.id or visit.parts.mint("episode"), at=visit.parts.clock.now()
    )
    new = road.captured(visit.parts, said)
    kept, fresh = keep_once(visit, new, lambda there: replace(new, started_at=there.started_at))
    return reply(kept, status=201 if fresh else 200)


def end_episode(visit: Visiting, id: str, end: EpisodeEnd | None = None) -> Response:
    """The task is over, for all agents that worked on it."""
    end = end or EpisodeEnd()
    visit.service.recorder.settle()
    ended = road.end_episode(
        visit.parts,
        visit.tenant,
        EpisodeId(check_id(id, "episode")),
        state=EpisodeState(end.state),
        outcome=end.outcome,
    )
    return reply(ended)


def get_episode(visit: Visiting, id: str) -> Response:
    """An episode with its turns, what was said about them, and who spoke to whom. Callers that may not read
    raw text get its state only."""
    visit.service.recorder.settle()
    view = visit.parts.views.episode(visit.tenant, EpisodeId(check_id(id, "episode")))
    if view is None:
        raise NotFound(f"episode {id!r} is not known here", field="episode")
    if may(visit.caller, Action.READ_TEXT):
        return reply(
            {
                "episode": view.episode,
                "turns": view.turns,
                "feedback": view.feedback,
                "conversation": conversation(view.turns),
            }
        )
    if may(visit.caller, Action.WORK):  # an agent reads what agents said, not what people think of it
        return reply({"episode": view.episode, "turns": view.turns, "conversation": conversation(view.turns)})
    one = view.episode
    return reply(
        EpisodeStatus(
            id=one.id,
            state=one.state,
            started_at=one.started_at,
            ended_at=one.ended_at,
            outcome=one.outcome,
            turns=len(view.turns),
        )
    )


def get_turn(visit: Visiting, id: str) -> Response:
    """One turn with everything needed to weigh it again."""
    return reply(known(visit, Turn, id))


ROUTES = (
    Route(
        method="POST",
        path="/v1/episodes",
        action=Action.WORK,
        handler=begin_episode,
        status=201,
        gives=Episode,
        also={200: Episode},
    ),
    Route(
        method="POST",
        path="/v1/episodes/{id:path}/end",
        action=Action.WORK,
        handler=end_episode,
        gives=Episode,
    ),
    Route(
        method="GET",
        path="/v1/episodes/{id:path}",
        action=Action.FOLLOW,
        handler=get_episode,
        gives=dict[str, Any],
    ),
    Route(method="GET", path="/v1/turns/{id:path}", action=Action.READ_TEXT, handler=get_turn, gives=Turn),
)


def keep_once(visit: Visit, new: T, as_then: Callable[[T], T]) -> tuple[T, bool]:
    """Add the record, or find that it is there; `as_then` is the new one with the old one's time."""
    record: Any = new
    try:
        return new, visit.parts.store.commit(Batch(add=(record,))).added[0]
    except Conflict:
        there = visit.parts.store.get(type(new), visit.tenant, record.id)
        if there is None or as_then(there) != there:
            raise
        return there, False
