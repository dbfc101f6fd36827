"""Looking things up: what was learned from what, how it stands, and the audit log's root."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from starlette.responses import Response

from heedful.access.permissions import Action
from heedful.domain.ids import check_id
from heedful.domain.models import RewardModel, Run
from heedful.domain.preference import Dataset
from heedful.errors import InvalidInput
from heedful.road import on_duty
from heedful.service.pages.routes import Route, Visiting, known, reply
from heedful.store.codec import kind_of
from heedful.store.protocol import Record, Ref

KINDS = {kind_of(kind): kind for kind in get_args(Record)}
SECRET = frozenset({"key", "tenant"})  # nothing is made from these


def _getter(kind: type) -> Callable[..., Response]:
    def get(visit: Visiting, id: str) -> Response:
        return reply(known(visit, kind, id))

    get.__doc__ = f"One {kind_of(kind).replace('_', ' ')}."
    get.__name__ = f"get_{kind_of(kind)}"
    return get


def get_why(visit: Visiting, kind: str, id: str) -> Response:
    """What this was made from, back to people, and what was made from it, forward to weights. Ids and counts only."""
    if kind not in KINDS or kind in SECRET:
        kinds = ", ".join(sorted(KINDS.keys() - SECRET))
        raise InvalidInput(f"kind is {kind[:60]!r}: it is one of {kinds}", field="kind")
    ref = Ref(kind=kind, id=check_id(id, kind))
    return reply(visit.parts.views.why(visit.tenant, ref).plain())


def get_status(visit: Visiting) -> Response:
    """How everything stands: what is live, what is under way, how much there is."""
    parts, tenant = visit.parts, visit.tenant
    return reply(
        {
            "tenant": tenant,
            "at": parts.clock.now(),
            "agents": [
                {
                    "agent": one.agent,
                    "live": one.live,
                    "testing": one.release.policy if one.release else None,
                    "release": one.release.id if one.release else None,
                    "percent": one.release.percent if one.release else None,
                }
                for one in on_duty(parts, tenant).values()
            ],
            "releases": parts.views.releases_running(tenant),
            "records": parts.views.tallies(tenant),
            "config": parts.config,
        }
    )


def get_audit_root(visit: Visiting) -> Response:
    """How long the audit log is, and its root: keep that elsewhere, and no entry can change unseen."""
    tree = visit.service.tree.now(visit.parts.store)
    return reply({"size": tree.size, "root": tree.root().hex(), "at": visit.parts.clock.now()})


ROUTES = (
    Route(
        method="GET",
        path="/v1/datasets/{id:path}",
        action=Action.READ,
        handler=_getter(Dataset),
        gives=Dataset,
    ),
    Route(
        method="GET",
        path="/v1/rewards/{id:path}",
        action=Action.READ,
        handler=_getter(RewardModel),
        gives=RewardModel,
    ),
    Route(method="GET", path="/v1/runs/{id:path}", action=Action.READ, handler=_getter(Run), gives=Run),
    Route(
        method="GET",
        path="/v1/why/{kind}/{id:path}",
        action=Action.READ,
        handler=get_why,
        gives=dict[str, Any],
    ),
    Route(method="GET", path="/v1/status", action=Action.READ, handler=get_status, gives=dict[str, Any]),
    Route(
        method="GET",
        path="/v1/audit/root",
        action=Action.AUDIT,
        handler=get_audit_root,
        gives=dict[str, Any],
    ),
)
