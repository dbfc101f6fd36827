"""What was kept long enough, removed when somebody asks for it."""

from __future__ import annotations

from dataclasses import asdict

from starlette.responses import Response

from heedful import road
from heedful.access.permissions import Action, require
from heedful.domain.ids import TenantId
from heedful.service.pages.routes import Route, Visiting, reply
from heedful.wire import PurgedOut, PurgeIn


def purge(visit: Visiting, asked: PurgeIn | None = None) -> Response:
    """Remove what is older than the tenant's retention (`capture.retention_days`); sent again, nothing is left
    to do."""
    asked = asked or PurgeIn()
    tenant = visit.tenant
    if asked.tenant is not None and asked.tenant != tenant:
        require(visit.caller, Action.TENANTS)
        tenant = TenantId(asked.tenant)
    purged = road.purge_old(visit.parts, tenant, actor=visit.caller.actor, dry_run=asked.dry_run)
    return reply(PurgedOut(**asdict(purged)))


ROUTES = (Route(method="POST", path="/v1/purge", action=Action.PURGE, handler=purge, gives=PurgedOut),)
