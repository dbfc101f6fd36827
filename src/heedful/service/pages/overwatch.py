"""Held requests and answers, and what a person decides about them."""

from __future__ import annotations

from starlette.responses import Response

from heedful.access.permissions import Action
from heedful.domain.guard import Decision
from heedful.errors import InvalidInput
from heedful.service.pages.routes import Route, Visiting, reply
from heedful.service.state.holds import Decided, Held
from heedful.wire import DecisionIn


def list_held(visit: Visiting) -> Response:
    """What waits for a decision on this server, the oldest first."""
    return reply({"held": visit.service.holds.all(visit.tenant)})


def decide(visit: Visiting, id: str, decision: DecisionIn) -> Response:
    """Let it go, say it in other words, or refuse it: whoever asked is still waiting and gets that."""
    if (decision.decision is Decision.REWRITE) != (decision.text is not None):
        raise InvalidInput("text goes with decision rewrite, and only with it", field="text")
    held = visit.service.holds.decide(
        visit.tenant,
        id,
        Decided(
            decision=decision.decision, by=visit.caller.actor, text=decision.text, reason=decision.reason
        ),
    )
    return reply(held)


ROUTES = (
    Route(
        method="GET",
        path="/v1/held",
        action=Action.OVERWATCH,
        handler=list_held,
        gives=dict[str, list[Held]],
    ),
    Route(method="POST", path="/v1/held/{id:path}", action=Action.OVERWATCH, handler=decide, gives=Held),
)
