"""Keys from the command line: through the server that runs here, else as the owner of the database.

The first key has to be made while nobody can come in yet; so without a server the lock is enough.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import quote

from pydantic import ValidationError

from heedful.client import Call, Client
from heedful.commands.reaching import ACTOR, reached
from heedful.domain.access import Key
from heedful.domain.ids import KeyId, PersonId, TenantId
from heedful.errors import InvalidInput
from heedful.road import Parts
from heedful.service.door import keyring
from heedful.settings import Settings
from heedful.wire import KeyIn, KeyIssued, KeyOut, RotateIn
from heedful.wiring import read


class Keys(Protocol):
    """Raises `Conflict`, `InvalidInput` or `NotFound` as the keyring does, whoever does the work."""

    def issue(self, key: KeyIn) -> KeyIssued: ...

    def rotate(self, id: str, rotate: RotateIn) -> KeyIssued: ...

    def revoke(self, id: str) -> KeyOut: ...


def opened(settings: Settings, tenant: TenantId, key: str | None) -> AbstractContextManager[Keys]:
    """Whatever may write here now."""
    return reached(
        settings, key, remote=lambda client: Remote(client, tenant), own=lambda parts: Own(parts, tenant)
    )


def listed(settings: Settings, tenant: TenantId) -> list[KeyOut]:
    """All keys of the tenant, also those that are over: looking needs neither lock nor server."""
    store, _ = read(settings)
    try:
        return [KeyOut.of(key) for key in store.find(Key, tenant, limit=None)]
    finally:
        store.close()


def checked(**said: Any) -> KeyIn:
    """What was asked for, or `InvalidInput` that names the field."""
    try:
        return KeyIn(**said)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"{field} is {first['input']!r}: {first['msg']}", field=field) from error


class Remote:
    """Through the server's API. Keys are of the caller's own tenant; only `issue` can name another."""

    def __init__(self, client: Client, tenant: TenantId) -> None:
        self._client = client
        self._tenant = tenant

    def issue(self, key: KeyIn) -> KeyIssued:
        asked = key.model_copy(update={"tenant": self._tenant}).model_dump(mode="json", exclude_none=True)
        return self._client.issue_key(**asked)

    def rotate(self, id: str, rotate: RotateIn) -> KeyIssued:
        call = Call(
            method="POST",
            path=f"/v1/keys/{quote(id)}/rotate",
            body=rotate.model_dump(mode="json"),
            read=lambda response: KeyIssued.model_validate(response.json()),
            again=False,
        )
        return self._client.send(call)

    def revoke(self, id: str) -> KeyOut:
        return KeyOut.model_validate(self._client.revoke_key(id))


class Own:
    """With the owner's lock."""

    def __init__(self, parts: Parts, tenant: TenantId) -> None:
        self._parts = parts
        self._tenant = tenant

    def issue(self, key: KeyIn) -> KeyIssued:
        issued = keyring.issue(
            self._parts,
            self._tenant,
            key.scope,
            actor=ACTOR,
            name=key.name,
            person=None if key.person is None else PersonId(key.person),
            origin=key.origin,
            expires_at=key.expires_at,
            limits=key.limits.to_domain(),
        )
        return KeyIssued(key=KeyOut.of(issued.key), text=issued.text)

    def rotate(self, id: str, rotate: RotateIn) -> KeyIssued:
        overlap = timedelta(seconds=rotate.overlap_seconds)
        _, new = keyring.rotate(self._parts, self._tenant, KeyId(id), actor=ACTOR, overlap=overlap)
        return KeyIssued(key=KeyOut.of(new.key), text=new.text)

    def revoke(self, id: str) -> KeyOut:
        return KeyOut.of(keyring.revoke(self._parts, self._tenant, KeyId(id), actor=ACTOR))
