"""Dead letters from the command line: looked at without a lock, and dealt with through the server that runs
here, else as the owner of the database."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol
from urllib.parse import quote

from heedful import road
from heedful.client import Call, Client
from heedful.commands.reaching import ACTOR, reached
from heedful.domain.feedback import DeadLetter
from heedful.domain.ids import DeadLetterId, TenantId
from heedful.errors import NotFound
from heedful.road import Parts
from heedful.service.intake.replaying import replayed, said
from heedful.settings import Settings
from heedful.wiring import read

Result = dict[str, Any]


class Letters(Protocol):
    """Raises `NotFound` for one that is not there."""

    def replay(self, id: str, payload: str | None = None) -> list[Result]:
        """What became of each piece in it."""
        ...

    def purge(self, id: str) -> None: ...


def opened(settings: Settings, tenant: TenantId, key: str | None) -> AbstractContextManager[Letters]:
    """Whatever may write here now."""
    return reached(settings, key, remote=Remote, own=lambda parts: Own(parts, tenant))


def listed(settings: Settings, tenant: TenantId, *, limit: int | None = None) -> list[DeadLetter]:
    """The oldest first: looking needs neither lock nor server."""
    store, _ = read(settings)
    try:
        return store.find(DeadLetter, tenant, limit=limit)
    finally:
        store.close()


def one(settings: Settings, tenant: TenantId, id: str) -> DeadLetter:
    store, _ = read(settings)
    try:
        found = store.get(DeadLetter, tenant, id)
    finally:
        store.close()
    if found is None:
        raise NotFound(f"dead letter {id!r} is not known here", field="dead_letter")
    return found


class Remote:
    """Through the server's API; letters are of the key's own tenant."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def replay(self, id: str, payload: str | None = None) -> list[Result]:
        call: Call[list[Result]] = Call(
            method="POST",
            path=f"/v1/deadletters/{quote(id)}/replay",
            body={"payload": payload},
            read=lambda response: list(response.json()["results"]),
        )
        return self._client.send(call)

    def purge(self, id: str) -> None:
        call: Call[None] = Call(
            method="DELETE", path=f"/v1/deadletters/{quote(id)}", read=lambda _: None, again=False
        )
        self._client.send(call)


class Own:
    """With the owner's lock."""

    def __init__(self, parts: Parts, tenant: TenantId) -> None:
        self._parts = parts
        self._tenant = tenant

    def replay(self, id: str, payload: str | None = None) -> list[Result]:
        letter = self._parts.store.get(DeadLetter, self._tenant, id)
        if letter is None:
            raise NotFound(f"dead letter {id!r} is not known here", field="dead_letter")
        text = letter.payload if payload is None else payload
        heard = replayed(self._parts, self._tenant, letter, text, actor=ACTOR)
        return [said(one).model_dump(mode="json") for one in heard]

    def purge(self, id: str) -> None:
        road.purge(self._parts, self._tenant, DeadLetterId(id), actor=ACTOR)
