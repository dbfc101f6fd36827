"""The keys that there are: kept in the store, changed only with an entry in the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from heedful import road
from heedful.access import keys
from heedful.access.keys import Issued
from heedful.domain.access import OPERATOR, UNLIMITED, Key, Limits, Scope, Tenant
from heedful.domain.ids import KeyId, PersonId, TenantId
from heedful.errors import Conflict, NotFound
from heedful.road import Parts
from heedful.store.protocol import Act, Batch


def has_keys(parts: Parts) -> bool:
    """Whether anybody was ever given a key: from then on nobody does without."""
    tenants = {OPERATOR, *(tenant.id for tenant in parts.views.tenants())}
    return any(parts.store.find(Key, tenant, limit=1) for tenant in sorted(tenants))


def issue(
    parts: Parts,
    tenant: TenantId,
    scope: Scope,
    *,
    actor: str,
    name: str = "",
    person: PersonId | None = None,
    origin: str | None = None,
    expires_at: datetime | None = None,
    limits: Limits = UNLIMITED,
) -> Issued:
    """A new key; with its first key a tenant begins to exist."""
    now = parts.clock.now()
    issued = keys.issue(
        KeyId(parts.mint("hk")),
        tenant=tenant,
        scope=scope,
        at=now,
        name=name,
        person=person,
        origin=origin,
        expires_at=expires_at,
        limits=limits,
    )
    add: tuple[Tenant | Key, ...] = (issued.key,)
    if parts.store.get(Tenant, tenant, tenant) is None:
        add = (Tenant(id=tenant, tenant=tenant, name=tenant, created_at=now), issued.key)
    try:
        parts.store.commit(Batch(add=add, acts=(_act(parts, actor, "key.issued", issued.key),)))
    except Conflict:  # somebody else made the tenant in between
        parts.store.commit(Batch(add=(issued.key,), acts=(_act(parts, actor, "key.issued", issued.key),)))
    return issued


def rotate(
    parts: Parts, tenant: TenantId, id: KeyId, *, actor: str, overlap: timedelta
) -> tuple[Key, Issued]:
    """The old key, which works for a while yet, and its successor."""
    old = _get(parts, tenant, id)
    now = parts.clock.now()
    ending, new = keys.rotated(old, KeyId(parts.mint("hk")), at=now, until=now + overlap)
    acts = (_act(parts, actor, "key.rotated", ending), _act(parts, actor, "key.issued", new.key))
    parts.store.commit(Batch(add=(new.key,), swap=((old, ending),), acts=acts))
    return ending, new


def revoke(parts: Parts, tenant: TenantId, id: KeyId, *, actor: str) -> Key:
    """The key, of no use from now on."""
    old = _get(parts, tenant, id)
    ended = keys.revoked(old, at=parts.clock.now())
    if ended != old:
        parts.store.commit(Batch(swap=((old, ended),), acts=(_act(parts, actor, "key.revoked", ended),)))
    return ended


def known(parts: Parts, tenant: TenantId) -> Sequence[Key]:
    return parts.store.find(Key, tenant, limit=None)


def _get(parts: Parts, tenant: TenantId, id: KeyId) -> Key:
    found = parts.store.get(Key, tenant, id)
    if found is None:
        raise NotFound(f"key {id!r} is not known here", field="key")
    return found


def _act(parts: Parts, actor: str, verb: str, key: Key) -> Act:
    said = road.act(parts, key.tenant, actor, verb, key)
    detail = {"scope": str(key.scope), "name": key.name}
    if key.successor is not None:
        detail["successor"] = key.successor
    return replace(said, detail=detail)
