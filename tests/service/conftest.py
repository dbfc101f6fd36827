"""The real app over real small parts, in this process or behind a real port."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from heedful.domain.access import OPERATOR, Scope
from heedful.domain.ids import AgentId, CycleId, PersonId, ReleaseId, TenantId
from heedful.domain.models import Cycle
from heedful.road import Parts
from heedful.service.api import build
from heedful.service.door import keyring
from heedful.store.protocol import Batch
from hosted import Hosted, hosting
from house import House, served_at
from parts import make_parts

ACME = TenantId("acme")


class QuietLoop:
    """Remembers what it was asked to begin, and begins nothing."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.watched: list[ReleaseId] = []

    def start_cycle(
        self,
        tenant: TenantId,
        agent: AgentId,
        *,
        kind: str,
        actor: str,
        options: Mapping[str, Any],
        id: CycleId | None = None,
    ) -> Cycle:
        cycle = Cycle(
            id=id or CycleId(self._parts.mint("cycle")),
            tenant=tenant,
            agent=agent,
            started_at=self._parts.clock.now(),
        )
        self._parts.store.commit(Batch(add=(cycle,)))
        return cycle

    def release_begun(self, tenant: TenantId, release: ReleaseId) -> None:
        self.watched.append(release)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = make_parts(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def loop(parts: Parts) -> QuietLoop:
    return QuietLoop(parts)


@pytest.fixture
def app(parts: Parts, loop: QuietLoop) -> FastAPI:
    return build(parts, loop)


@pytest.fixture
def http(app: FastAPI) -> Iterator[TestClient]:
    """This machine, without a key: an admin as long as nobody has one."""
    with local(app) as client:
        yield client


def local(app: FastAPI, key: str | None = None, **headers: str) -> TestClient:
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    return TestClient(
        app,
        base_url="http://127.0.0.1",
        client=("127.0.0.1", 50_000),
        headers=headers,
        raise_server_exceptions=False,
    )


KeyFor = Callable[..., str]


@pytest.fixture
def key_for(app: FastAPI, parts: Parts) -> KeyFor:
    """`key_for(Scope.RATER)` is the text of a key of that scope, complete enough to be valid."""

    def issue(scope: Scope, tenant: TenantId = OPERATOR, **fields: Any) -> str:
        if scope is Scope.RATER:
            fields.setdefault("person", PersonId("rita"))
        if scope is Scope.WIDGET:
            fields.setdefault("origin", "https://shop.example")
        text = keyring.issue(parts, tenant, scope, actor="test", **fields).text
        app.state.service.door.forget()  # as the API does when it issues one
        return text

    return issue


@pytest.fixture
def served(app: FastAPI) -> Iterator[str]:
    """The app behind uvicorn on a free port of this machine: its address."""
    with served_at(app) as address:
        yield address


@pytest.fixture
def hosted() -> Iterator[Hosted]:
    """A server of somebody else's models."""
    with hosting() as made:
        yield made


@pytest.fixture
def house(tmp_path: Path, hosted: Hosted) -> Iterator[House]:
    """The app in front of it, behind a real port."""
    with House(tmp_path / "heedful-data", hosted, QuietLoop).open() as made:
        yield made


@pytest.fixture
def resolver(http: TestClient) -> str:
    """An agent whose only policy repeats what was said to it."""
    return released(http, "resolver", "echo")


def released(http: TestClient, agent: str, script: str, **release: Any) -> str:
    body = {"kind": "external", "upstream": "scripts", "model": script}
    policy = http.post("/v1/policies", json={"agent": agent, "body": body}).json()["id"]
    begun = http.post("/v1/releases", json={"policy": policy, **release})
    assert begun.status_code == 201, begun.text
    return agent


def asked(http: TestClient, agent: str = "resolver", text: str = "Where is my parcel?", **more: Any) -> Any:
    """One completion's body."""
    body = {"model": agent, "messages": [{"role": "user", "content": text}], **more}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()
