"""The whole app in front of a hosted model, for tests: asked over a real port, and started again over its data."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from heedful.domain.episode import Turn
from heedful.domain.ids import TenantId
from heedful.inference.openai_http import OpenAIInference, UpstreamSettings
from heedful.inference.scripted import ScriptedInference
from heedful.inference.upstreams import Upstreams
from heedful.road import Parts
from heedful.service.api import build
from heedful.service.door.http import config
from heedful.service.loop import Loop
from heedful.settings import Settings
from hosted import Hosted
from parts import SCRIPTS, make_parts

TENANT = TenantId("default")
UPSTREAM = "hosted"
Json = Any


@contextmanager
def served_at(app: FastAPI) -> Iterator[str]:
    """The app behind uvicorn on a free port of this machine: its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        server = uvicorn.Server(config(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


class House:
    """One server and its data. `loop` makes what begins turns of the loop."""

    def __init__(
        self, directory: Path, hosted: Hosted, loop: Callable[[Parts], Loop], **upstream: Any
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.hosted = hosted
        self._directory = directory
        self._loop = loop
        self._upstream = UpstreamSettings(url=hosted.url, **upstream)
        self.address = ""
        self.parts: Parts

    @contextmanager
    def open(self) -> Iterator[House]:
        self._begin()
        try:
            yield self
        finally:
            self._end()

    def restart(self) -> None:
        """A new process in all but name: nothing is remembered but what is on disk."""
        self._end()
        self._begin()

    def _begin(self) -> None:
        scripted = ScriptedInference(SCRIPTS)
        asking = OpenAIInference(self._upstream, name=UPSTREAM)
        self.parts = make_parts(
            self._directory, inference=Upstreams(scripted, {UPSTREAM: asking, "scripts": scripted})
        )

        @asynccontextmanager
        async def closing(app: Any) -> AsyncIterator[None]:
            yield
            await asking.close()

        settings = Settings.model_validate({"inference": {"upstreams": {UPSTREAM: self._upstream}}})
        self._app = build(self.parts, self._loop(self.parts), settings, lifespan=closing)
        self._serving = served_at(self._app)
        self.address = self._serving.__enter__()

    def _end(self) -> None:
        self._serving.__exit__(None, None, None)
        self.parts.journal.close()
        self.parts.store.close()

    # -- set-up and inspection -----------------------------------------------------------------------------

    def post(self, path: str, body: Json, **headers: str) -> Json:
        answer = httpx.post(f"{self.address}{path}", json=body, headers=headers, trust_env=False)
        assert answer.is_success, answer.text
        return answer.json()

    def get(self, path: str) -> Json:
        answer = httpx.get(f"{self.address}{path}", trust_env=False)
        assert answer.is_success, answer.text
        return answer.json()

    def agent(self, name: str, model: str, **body: Json) -> str:
        """An agent whose only policy is this model of the hosted server."""
        external = {"kind": "external", "upstream": UPSTREAM, "model": model, **body}
        policy = self.post("/v1/policies", {"agent": name, "body": external})["id"]
        self.post("/v1/releases", {"policy": policy})
        return name

    def turn(self, id: str) -> Turn:
        """From the store, where it is some milliseconds after its answer left."""
        self._app.state.service.recorder.settle()
        found = self.parts.store.get(Turn, TENANT, id)
        assert found is not None, f"turn {id} never came to the store"
        return found

    def turns(self) -> list[Turn]:
        """All that were answered, oldest first."""
        self._app.state.service.recorder.settle()
        return sorted(self.parts.store.find(Turn, TENANT, limit=None), key=lambda turn: turn.at)

    def conversation(self, episode: str) -> list[tuple[str, str | None]]:
        """Who spoke to whom, as the API says it."""
        return [(one["by"], one["to"]) for one in self.get(f"/v1/episodes/{episode}")["conversation"]]
