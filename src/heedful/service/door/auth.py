"""Who is asking: found out once per request, before anything else looks at it."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.types import Scope

from heedful.access import keys
from heedful.access.bind import is_loopback
from heedful.access.caller import Caller
from heedful.domain.access import OPERATOR, Key
from heedful.domain.access import Scope as KeyScope
from heedful.errors import NotAllowed, NotKnown, Unavailable
from heedful.road import Parts
from heedful.service.door import keyring
from heedful.service.door.limits import Buckets

FRESH_SECONDS = 0.5  # how long a key is believed without asking the store again
KEPT = 10_000  # keys remembered, right and wrong ones
WRONG_PER_SECOND = 20.0  # wrong keys from one address, before it has to wait


class Door:
    """Tells callers by their keys, and remembers them for a moment."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lately: dict[str, tuple[Caller, float]] = {}  # by what came in `authorization`
        self._keys: OrderedDict[str, tuple[Key | None, float]] = OrderedDict()
        self._has_keys = False  # once true, for ever
        self._looked = float("-inf")
        self._wrong = Buckets(WRONG_PER_SECOND)

    async def caller(self, scope: Scope, headers: Mapping[str, str]) -> Caller:
        """Whose request this is, by its headers (names in small letters), or `NotKnown`."""
        told = headers.get("authorization", "")
        known = self._lately.get(told)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        address = scope["client"][0] if scope.get("client") else ""
        if not await self._anyone():
            _only_from_here(address, headers)
            return Caller(tenant=OPERATOR, scope=KeyScope.ADMIN)
        try:
            id, secret = keys.split(_bearer(told))
            key, asked = await self._key(id)
            caller = keys.check(key, secret, now=self._parts.clock.now(), origin=headers.get("origin"))
        except NotKnown:
            self._wrong.take(address or "this address")
            raise
        if caller.origin is None:  # one that is bound to a web page is looked at every time
            if len(self._lately) >= KEPT:
                self._lately.clear()
            self._lately[told] = caller, asked + FRESH_SECONDS
        return caller

    def forget(self) -> None:
        """Ask the store again: a key was issued or revoked."""
        self._lately.clear()
        self._keys.clear()
        self._looked = float("-inf")

    async def _anyone(self) -> bool:
        """Whether there is any key, so that from now on everyone needs one."""
        if not self._has_keys and time.monotonic() - self._looked > FRESH_SECONDS:
            try:
                self._has_keys = await asyncio.to_thread(keyring.has_keys, self._parts)
            except Unavailable:
                if self._looked == float("-inf"):
                    raise
            self._looked = time.monotonic()
        return self._has_keys

    async def _key(self, id: str) -> tuple[Key | None, float]:
        """The key, and when the store was asked for it."""
        known = self._keys.get(id)
        if known is not None and time.monotonic() - known[1] < FRESH_SECONDS:
            return known
        try:
            key = await asyncio.to_thread(self._parts.views.key, id)
        except Unavailable:
            if known is None:
                raise
            key = known[0]  # while the store is away, nobody can have revoked it there
        self._keys[id] = found = (key, time.monotonic())
        self._keys.move_to_end(id)
        while len(self._keys) > KEPT:
            self._keys.popitem(last=False)
        return found


def _bearer(told: str) -> str:
    kind, _, text = told.partition(" ")
    if kind.lower() != "bearer" or not text.strip():
        raise NotKnown("no key came with the request: send it as `Authorization: Bearer hk_….…`")
    return text.strip()


def _only_from_here(address: str, headers: Mapping[str, str]) -> None:
    """Without keys only this machine is served, and not what a web page makes a browser on it send."""
    if not is_loopback(address):
        raise NotKnown("there are no keys yet, so only this machine is served: issue a key first")
    host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    origin = urlsplit(headers.get("origin", "http://localhost")).hostname or ""
    if not (is_loopback(host) and is_loopback(origin)):
        raise NotAllowed("there are no keys yet, so requests for other hosts or from web pages are refused")
