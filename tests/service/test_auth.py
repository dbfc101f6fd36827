"""Whom the door lets in, and for how long it believes what it saw."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from heedful.access import keys
from heedful.domain.access import Scope
from heedful.domain.ids import KeyId, TenantId
from heedful.errors import NotAllowed, NotKnown
from heedful.road import Parts
from heedful.service.door import auth
from heedful.service.door.auth import Door
from heedful.store.protocol import Batch
from parts import make_parts

pytestmark = pytest.mark.anyio

HERE = {"client": ("127.0.0.1", 5000)}
TENANT = TenantId("default")
PAGE = "https://shop.example"


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return make_parts(tmp_path)


def issued(parts: Parts, scope: Scope = Scope.AGENT, **more: object) -> keys.Issued:
    at = parts.clock.now()
    new = keys.issue(KeyId(f"hk_{scope}"), tenant=TENANT, scope=scope, at=at, **more)  # type: ignore[arg-type]
    parts.store.commit(Batch(add=(new.key,)))
    return new


def telling(text: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}", **more}


async def test_a_key_revoked_elsewhere_is_refused_a_moment_later(parts: Parts) -> None:
    """Another server of the same house revokes it: nobody tells this one."""
    key, door = issued(parts), Door(parts)
    for _ in range(3):
        assert (await door.caller(HERE, telling(key.text))).key == key.key.id
    parts.store.commit(Batch(swap=((key.key, keys.revoked(key.key, at=parts.clock.now())),)))
    assert await goes_on_working(door, key.text) < auth.FRESH_SECONDS + 0.2
    with pytest.raises(NotKnown, match="was revoked"):
        await door.caller(HERE, telling(key.text))


async def goes_on_working(door: Door, text: str) -> float:
    """For how many seconds, five at most."""
    begun = time.monotonic()
    while time.monotonic() < begun + 5:
        try:
            await door.caller(HERE, telling(text))
        except NotKnown:
            break
        await asyncio.sleep(0.01)
    return time.monotonic() - begun


async def test_whoever_revokes_it_here_is_believed_at_once(parts: Parts) -> None:
    key, door = issued(parts), Door(parts)
    await door.caller(HERE, telling(key.text))
    parts.store.commit(Batch(swap=((key.key, keys.revoked(key.key, at=parts.clock.now())),)))
    door.forget()
    with pytest.raises(NotKnown, match="was revoked"):
        await door.caller(HERE, telling(key.text))


async def test_a_right_key_does_not_let_a_wrong_secret_in(parts: Parts) -> None:
    key, door = issued(parts), Door(parts)
    await door.caller(HERE, telling(key.text))
    for wrong in (key.text + "x", key.text[:-1], key.key.id + ".x", key.text.swapcase()):
        with pytest.raises(NotKnown):
            await door.caller(HERE, telling(wrong))


async def test_a_pages_key_is_looked_at_with_every_request(parts: Parts) -> None:
    key, door = issued(parts, Scope.WIDGET, origin=PAGE), Door(parts)
    assert (await door.caller(HERE, telling(key.text, origin=PAGE))).origin == PAGE
    with pytest.raises(NotAllowed):
        await door.caller(HERE, telling(key.text, origin="https://elsewhere.example"))


async def test_what_is_remembered_is_bounded(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "KEPT", 3)
    door, found = Door(parts), []
    for number in range(8):
        new = keys.issue(KeyId(f"hk_{number}"), tenant=TENANT, scope=Scope.AGENT, at=parts.clock.now())
        parts.store.commit(Batch(add=(new.key,)))
        found.append(new.text)
    for text in found * 2:
        await door.caller(HERE, telling(text))
    assert len(door._lately) <= 3
