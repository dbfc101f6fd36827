"""API keys as values: made, read, checked, rotated, revoked.

A key is `prefix.secret`. The prefix is its id and may be shown; the secret is 32 random bytes, shown once. A
plain SHA-256 of it is kept: with that much chance in it there is nothing to guess, and a slow hash would only
slow us.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, replace
from datetime import datetime

from heedful.access.caller import Caller
from heedful.domain.access import UNLIMITED, Key, Limits, Scope
from heedful.domain.ids import KeyId, PersonId, TenantId
from heedful.errors import Conflict, InvalidInput, NotAllowed, NotKnown

SECRET_BYTES = 32
NOBODY = hashlib.sha256(b"").hexdigest()  # compared with when there is no such key, so that it takes as long
_REFUSED = "this key is not valid: check it, or ask an admin for another"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A key and its text, which nobody can show again."""

    key: Key
    text: str


def issue(
    id: KeyId,
    *,
    tenant: TenantId,
    scope: Scope,
    at: datetime,
    name: str = "",
    person: PersonId | None = None,
    origin: str | None = None,
    expires_at: datetime | None = None,
    limits: Limits = UNLIMITED,
) -> Issued:
    """A new key. A rater's names its person, a widget's its origin: without them neither means anything."""
    if (scope is Scope.RATER) and person is None:
        raise InvalidInput("a rater's key names its person: whose judgements are these?", field="person")
    if (scope is Scope.WIDGET) != (origin is not None):
        raise InvalidInput("origin goes with scope widget, and only with it", field="origin")
    if expires_at is not None and expires_at <= at:
        raise InvalidInput(
            f"expires_at is {expires_at.isoformat()}: that is over already", field="expires_at"
        )
    secret = secrets.token_urlsafe(SECRET_BYTES)
    key = Key(
        id=id,
        tenant=tenant,
        scope=scope,
        digest=digest(secret),
        created_at=at,
        name=name,
        person=person,
        origin=origin,
        expires_at=expires_at,
        limits=limits,
    )
    return Issued(key=key, text=f"{id}.{secret}")


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def split(text: str) -> tuple[KeyId, str]:
    """Prefix and secret of what came with a request."""
    prefix, dot, secret = text.partition(".")
    if not (prefix and dot and secret):
        raise NotKnown("a key looks like hk_….…, prefix and secret with a dot between: send it whole")
    return KeyId(prefix), secret


def check(key: Key | None, secret: str, *, now: datetime, origin: str | None = None) -> Caller:
    """Whose key this is, or `NotKnown`. An unknown key and a wrong secret look the same from outside."""
    right = hmac.compare_digest(digest(secret), NOBODY if key is None else key.digest)
    if key is None or not right:
        raise NotKnown(_REFUSED)
    if key.revoked_at is not None and key.revoked_at <= now:
        raise NotKnown(f"key {key.id} was revoked on {key.revoked_at.isoformat()}: ask an admin for another")
    if key.expires_at is not None and key.expires_at <= now:
        raise NotKnown(f"key {key.id} ended on {key.expires_at.isoformat()}: ask an admin for another")
    if key.origin is not None and origin != key.origin:
        raise NotAllowed(f"key {key.id} works from {key.origin} only, not from {origin or 'nowhere'}")
    return Caller(
        tenant=key.tenant,
        scope=key.scope,
        key=key.id,
        person=key.person,
        origin=key.origin,
        limits=key.limits,
    )


def live(key: Key, now: datetime) -> bool:
    """Neither revoked nor over."""
    return not any(end is not None and end <= now for end in (key.revoked_at, key.expires_at))


def rotated(key: Key, id: KeyId, *, at: datetime, until: datetime) -> tuple[Key, Issued]:
    """The old key, which works until then, and its successor with the same rights and as long a life."""
    if key.successor is not None:
        raise Conflict(f"key {key.id} was rotated already: its successor is {key.successor}")
    if not live(key, at):
        raise Conflict(f"key {key.id} works no more: issue a new one")
    new = issue(
        id,
        tenant=key.tenant,
        scope=key.scope,
        at=at,
        name=key.name,
        person=key.person,
        origin=key.origin,
        expires_at=None if key.expires_at is None else at + (key.expires_at - key.created_at),
        limits=key.limits,
    )
    ends = until if key.expires_at is None else min(until, key.expires_at)
    return replace(key, successor=id, expires_at=ends), new


def revoked(key: Key, *, at: datetime) -> Key:
    """The key from now on good for nothing; revoking it again changes nothing."""
    return key if key.revoked_at is not None else replace(key, revoked_at=at)
