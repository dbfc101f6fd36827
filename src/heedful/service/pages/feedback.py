"""Feedback: sent, and looked at.

What is sent here is answered at the door, where it does not pass FastAPI (`intake/ingest.py`); the address stands
in this table as well, so that its page says what it takes and gives.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body
from starlette.responses import Response

from heedful.access.permissions import Action
from heedful.domain.feedback import Parked, current
from heedful.domain.ids import FeedbackId, check_id
from heedful.errors import NotFound
from heedful.service.pages.routes import Route, Visiting, reply
from heedful.wire import FeedbackIn, FeedbackOut, Kept, KeptMany


async def post_feedback(visit: Visiting, said: Annotated[Any, Body()]) -> Response:
    """One piece of feedback, or a list of up to 1000: then each has its own result, and a bad one never
    rejects its neighbours. With an `id`, sending it again is safe. 201: kept; 200: it was there already; 202:
    what it is about is not here yet, and it is kept until that comes; 207: a list. Each of them is sent when
    everything is on disk."""
    status, answer = await visit.service.ingest.take(visit.caller, said, 0)
    return Response(answer, status_code=status, media_type="application/json")


def get_feedback(visit: Visiting, id: str) -> Response:
    """One piece of feedback as it was kept. `superseded_by` is what the same person said later about the same
    target under the same name; `waits_for` is what it is about and is not here yet."""
    parts, tenant, name = visit.parts, visit.tenant, FeedbackId(check_id(id, "feedback"))
    parked = parts.store.get(Parked, tenant, name)
    if parked is not None:
        return reply(FeedbackOut.of(parked.feedback, waits_for=parked.waits_for))
    history = parts.views.history(tenant, name)
    kept = next((one for one in history if one.id == name), None)
    if kept is None:
        raise NotFound(f"feedback {id!r} is not known here", field="feedback")
    newest = current(history)[-1]
    return reply(FeedbackOut.of(kept, superseded_by=None if newest is kept else newest.id))


ROUTES = (
    Route(
        method="POST",
        path="/v1/feedback",
        action=Action.SAY,
        handler=post_feedback,
        status=201,
        takes=FeedbackIn | list[FeedbackIn],
        gives=Kept,
        also={200: Kept, 202: Kept, 207: KeptMany},
        refuses=(404, 408),
    ),
    Route(
        method="GET",
        path="/v1/feedback/{id:path}",
        action=Action.READ_TEXT,
        handler=get_feedback,
        gives=FeedbackOut,
    ),
)
