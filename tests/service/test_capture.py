"""What a tenant does not want kept: not in the journal, the store, the blobs or anywhere else on the disk."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from factories import make_episode, make_turn
from heedful import running
from heedful.commands import purging
from heedful.domain.access import Scope
from heedful.domain.capture import Capture
from heedful.domain.episode import Turn
from heedful.domain.ids import TenantId
from heedful.errors import NotAllowed
from heedful.feedback.settings import CaptureSettings
from heedful.road import Parts
from heedful.service.api import build
from heedful.settings import Settings
from heedful.store.journal import Journal
from heedful.store.protocol import Batch
from parts import make_parts

from .conftest import KeyFor, QuietLoop, asked, local, released

TENANT = TenantId("default")
EMAIL, CARD = "ann@example.com", "4111 1111 1111 1111"
SAID = f"I am {EMAIL}, card {CARD}, and the parcel is blue"
PERSONAL = (b"ann@example", b"4111 1111", b"4111111111111111")
PICTURE = b"\x89PNG not really"


class Remembering(Journal):
    """A journal whose lines can be looked at when they are long in the store."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.lines: list[bytes] = []

    def append(self, line: bytes) -> int:
        self.lines.append(line)
        return super().append(line)


@pytest.fixture(params=["redacted", "metadata"])
def level(request: pytest.FixtureRequest) -> Capture:
    return Capture(request.param)


@pytest.fixture
def parts(tmp_path: Path, level: Capture) -> Iterator[Parts]:
    settings = CaptureSettings(default=level, retention_days=30)
    made = make_parts(tmp_path, capture=settings, journal=Remembering(tmp_path / "turns"))
    yield made
    made.store.close()


@pytest.fixture
def http(parts: Parts) -> Iterator[TestClient]:
    with local(build(parts, QuietLoop(parts))) as client:
        released(client, "resolver", "echo")
        yield client


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def turn_of(parts: Parts, id: str) -> Turn:
    for _ in range(500):
        found = parts.store.get(Turn, TENANT, id)
        if found is not None:
            return found
        time.sleep(0.01)
    raise AssertionError(f"turn {id} never came to the store")


def with_picture() -> list[dict[str, Any]]:
    picture = {"url": "data:image/png;base64," + base64.b64encode(PICTURE).decode()}
    return [{"type": "text", "text": SAID}, {"type": "image_url", "image_url": picture}]


def test_the_caller_gets_every_word_and_the_disk_does_not(
    http: TestClient, parts: Parts, level: Capture, tmp_path: Path
) -> None:
    answer = asked(http, text=SAID, metadata={"customer": EMAIL})
    assert answer["choices"][0]["message"]["content"] == f"You said: {SAID}"
    body = {"model": "resolver", "messages": [{"role": "user", "content": with_picture()}], "n": 2}
    assert http.post("/v1/chat/completions", json=body).status_code == 200
    began = {"id": "mine", "metadata": {"who": EMAIL}, "world": {"environment": {"card": CARD}}}
    assert http.post("/v1/episodes", json=began).status_code == 201
    said = [
        {"turn": answer["id"], "said": {"form": "flag", "reason": SAID}},
        {"turn": "not-here-yet", "said": {"form": "correction", "text": SAID}},
    ]
    assert http.post("/v1/feedback", json=said).status_code == 207
    assert turn_of(parts, answer["id"]).capture is level
    disk = on_disk(tmp_path)
    assert [one for one in (*PERSONAL, PICTURE) if one in disk] == []
    assert (b"the parcel is blue" in disk) is (level is Capture.REDACTED)


def test_the_journal_gets_no_more_than_the_store(http: TestClient, parts: Parts) -> None:
    asked(http, text=SAID)
    assert isinstance(parts.journal, Remembering)
    (line,) = parts.journal.lines
    assert [one for one in PERSONAL if one in line] == []


def test_an_episode_begun_twice_is_begun_once(http: TestClient) -> None:
    sent = {"id": "mine", "metadata": {"who": EMAIL}}
    first, second = (http.post("/v1/episodes", json=sent) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()


def test_an_answer_that_lost_words_is_not_said_again_as_if_it_had_them(
    http: TestClient, parts: Parts, level: Capture
) -> None:
    def ask(text: str, turn: str, server: TestClient = http) -> Any:
        messages = [{"role": "user", "content": text}]
        body = {"model": "resolver", "messages": messages, "heedful": {"turn": turn}}
        return server.post("/v1/chat/completions", json=body)

    first = ask(SAID, "personal")
    turn_of(parts, "personal")
    assert ask(SAID, "personal").json() == first.json()  # who answered remembers it for a while
    later = local(build(parts, QuietLoop(parts)))  # the record is all that another process has
    refused = ask(SAID, "personal", later)
    assert refused.status_code == 409
    assert "new id" in refused.json()["error"]["message"]
    other = ask(SAID + " and more", "personal", later)
    assert other.status_code == 409
    assert "another request" in other.json()["error"]["message"]

    assert ask("Where is it?", "plain").status_code == 200
    turn_of(parts, "plain")
    again = ask("Where is it?", "plain", later)
    assert again.status_code == (200 if level is Capture.REDACTED else 409)


# --- purging through the API -------------------------------------------------------------------------------


def old_turn(parts: Parts, tenant: TenantId = TENANT) -> None:
    at = parts.clock.now() - timedelta(days=31)
    episode = make_episode(id="old", tenant=tenant, started_at=at)
    turn = make_turn(id="old/1", tenant=tenant, episode="old", at=at)
    parts.store.commit(Batch(add=(episode, turn)))


def test_an_admin_purges_its_own_tenant_and_the_operators_any(
    http: TestClient, app: FastAPI, parts: Parts, key_for: KeyFor
) -> None:
    old_turn(parts)
    old_turn(parts, TenantId("acme"))
    counted = http.post("/v1/purge", json={"dry_run": True}).json()
    assert counted["gone"] == {"episode": 1, "turn": 1}
    strangers = local(app, key_for(Scope.ADMIN, TenantId("globex")))
    assert strangers.post("/v1/purge", json={"tenant": "acme"}).status_code == 403
    assert strangers.post("/v1/purge").json()["gone"] == {}
    admin = local(app, key_for(Scope.ADMIN))
    assert admin.post("/v1/purge", json={"tenant": "acme"}).json()["gone"] == {"episode": 1, "turn": 1}
    assert admin.post("/v1/purge").json()["gone"] == {"episode": 1, "turn": 1}
    assert admin.post("/v1/purge").json()["gone"] == {}


def test_beside_a_server_the_command_line_goes_through_it(
    served: str, parts: Parts, key_for: KeyFor, tmp_path: Path
) -> None:
    old_turn(parts)
    settings = Settings(data=tmp_path)
    with running.announced(tmp_path, served):
        assert purging.purge(settings, TENANT, None, dry_run=True).gone == {"episode": 1, "turn": 1}
        viewer = key_for(Scope.VIEWER)
        with pytest.raises(NotAllowed):
            purging.purge(settings, TENANT, viewer, dry_run=False)
        done = purging.purge(settings, TENANT, key_for(Scope.ADMIN), dry_run=False)
    assert done.gone == {"episode": 1, "turn": 1}
