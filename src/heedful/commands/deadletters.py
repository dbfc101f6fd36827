"""Dead letters from the command line: looked at without a lock, and dealt with through the server that runs
here, else as the owner of the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import quote

from heedful import road, running
from heedful.client import Call, Client, Patience
from heedful.commands.keychain import ACTOR, KEY_VARIABLE, SECONDS
from heedful.domain.feedback import DeadLetter
from heedful.domain.ids import DeadLetterId, TenantId
from heedful.errors import NotFound, NotKnown
from heedful.road import Parts
from heedful.service.sources import replayed, said
from heedful.settings import Settings
from heedful.wiring import read, wire

Result = dict[str, Any]


class Letters(Protocol):
    """Raises `NotFound` for one that is not there."""

    def replay(self, id: str, payload: str | None = None) -> list[Result]:
        """What became of each piece in it."""
        ...

    def purge(self, id: str) -> None: ...


@contextmanager
def opened(settings: Settings, tenant: TenantId, key: str | None) -> Iterator[Letters]:
    """Whatever may write here now."""
    server = running.find(settings.data)
    if server is not None:
        with Client(server.url, key, timeout=SECONDS, patience=Patience(attempts=2)) as client:
            try:
                yield Remote(client)
            except NotKnown as error:
                raise NotKnown(f"{error}; here: --key or {KEY_VARIABLE}, or stop the server first") from error
        return
    wired = wire(settings)
    try:
        yield Own(wired.parts, tenant)
    finally:
        wired.close()


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
