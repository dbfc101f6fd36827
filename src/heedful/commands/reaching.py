"""Who does what a command asks: the server that runs here, else this process as the owner of the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from heedful import running
from heedful.client import Client, Patience
from heedful.errors import NotKnown
from heedful.road import Parts
from heedful.settings import Settings
from heedful.wiring import wire

SECONDS = 30.0  # until a server counts as not answering
ACTOR = "command line"
KEY_VARIABLE = "HEEDFUL_KEY"
HURRIED = Patience(attempts=2)  # somebody sits there and waits

Hand = TypeVar("Hand")


@contextmanager
def reached(
    settings: Settings,
    key: str | None,
    *,
    remote: Callable[[Client], Hand],
    own: Callable[[Parts], Hand],
    seconds: float = SECONDS,
    patience: Patience = HURRIED,
) -> Iterator[Hand]:
    """Whatever may write here now: `remote` of a client of the server, or `own` of the parts under the lock."""
    server = running.find(settings.data)
    if server is not None:
        with Client(server.url, key, timeout=seconds, patience=patience) as client:
            try:
                yield remote(client)
            except NotKnown as error:
                raise NotKnown(f"{error}; here: --key or {KEY_VARIABLE}, or stop the server first") from error
        return
    wired = wire(settings)
    try:
        yield own(wired.parts)
    finally:
        wired.close()
