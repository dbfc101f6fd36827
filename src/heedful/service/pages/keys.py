"""Keys: issued, listed, rotated, revoked."""

from __future__ import annotations

from datetime import timedelta

from starlette.responses import Response

from heedful.access.permissions import Action, require
from heedful.domain.ids import KeyId, PersonId, TenantId, check_id
from heedful.service.door import keyring
from heedful.service.pages.routes import Route, Visiting, reply
from heedful.wire import KeyIn, KeyIssued, KeyOut, RotateIn


def issue_key(visit: Visiting, key: KeyIn) -> Response:
    """A new key. Its text is in this answer and nowhere else."""
    tenant = visit.tenant
    if key.tenant is not None and key.tenant != tenant:
        require(visit.caller, Action.TENANTS)
        tenant = TenantId(key.tenant)
    issued = keyring.issue(
        visit.parts,
        tenant,
        key.scope,
        actor=visit.caller.actor,
        name=key.name,
        person=None if key.person is None else PersonId(key.person),
        origin=key.origin,
        expires_at=key.expires_at,
        limits=key.limits.to_domain(),
    )
    visit.service.door.forget()
    return reply(KeyIssued(key=KeyOut.of(issued.key), text=issued.text), status=201)


def list_keys(visit: Visiting) -> Response:
    """All keys of the tenant, also those that are over."""
    return reply({"keys": [KeyOut.of(key) for key in keyring.known(visit.parts, visit.tenant)]})


def rotate_key(visit: Visiting, id: str, rotate: RotateIn | None = None) -> Response:
    """A successor with the same rights; the old key works on for the overlap."""
    overlap = timedelta(seconds=(rotate or RotateIn()).overlap_seconds)
    _, new = keyring.rotate(
        visit.parts, visit.tenant, KeyId(check_id(id, "key")), actor=visit.caller.actor, overlap=overlap
    )
    visit.service.door.forget()
    return reply(KeyIssued(key=KeyOut.of(new.key), text=new.text), status=201)


def revoke_key(visit: Visiting, id: str) -> Response:
    """The key is good for nothing from now on."""
    ended = keyring.revoke(visit.parts, visit.tenant, KeyId(check_id(id, "key")), actor=visit.caller.actor)
    visit.service.door.forget()
    return reply(KeyOut.of(ended))


ROUTES = (
    Route(
        method="POST",
        path="/v1/keys",
        action=Action.KEYS,
        handler=issue_key,
        status=201,
        gives=KeyIssued,
    ),
    Route(
        method="GET",
        path="/v1/keys",
        action=Action.KEYS,
        handler=list_keys,
        gives=dict[str, list[KeyOut]],
    ),
    Route(
        method="POST",
        path="/v1/keys/{id}/rotate",
        action=Action.KEYS,
        handler=rotate_key,
        status=201,
        gives=KeyIssued,
    ),
    Route(method="DELETE", path="/v1/keys/{id}", action=Action.KEYS, handler=revoke_key, gives=KeyOut),
)
