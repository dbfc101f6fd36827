"""A gateway behind uvicorn, the upstream that a test plugs into it, and what can be seen of both from outside."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import uvicorn
from fastapi import FastAPI

import rogue
from heedful.dialect.chat import Wire
from heedful.domain.episode import Turn
from heedful.domain.ids import TenantId
from heedful.domain.models import Policy
from heedful.inference.openai_http import OpenAIInference, UpstreamSettings
from heedful.inference.upstreams import Upstreams
from heedful.road import Parts
from heedful.service.api import build
from heedful.service.door.http import config
from heedful.settings import Settings
from parts import make_parts
from rogue import Rogue, kind

from .conftest import QuietLoop

TENANT = TenantId("default")
TIMEOUT = 0.4
STREAM_SECONDS = 0.8
LATE = 1.0  # beyond the upstream's timeout, a client waits no longer than this
HI: list[Any] = [{"role": "user", "content": "Hi"}]
Json = Any


class Switch:
    """An upstream that each test plugs its own adapter into."""

    def __init__(self) -> None:
        self.adapter = OpenAIInference(UpstreamSettings(url="http://127.0.0.1:1/v1"))

    async def chat(self, policy: Policy, asked: Wire) -> Wire:
        return await self.adapter.chat(policy, asked)

    def stream(self, policy: Policy, asked: Wire) -> AsyncGenerator[Wire, None]:
        return self.adapter.stream(policy, asked)

    async def forward(self, policy: Policy, path: str, asked: Wire) -> Wire:
        return await self.adapter.forward(policy, path, asked)

    async def prepare(self, policy: Policy) -> None:
        await self.adapter.prepare(policy)

    async def close(self) -> None:
        await self.adapter.close()


@dataclass
class House:
    """A gateway behind uvicorn, and what can be seen of it from outside."""

    app: FastAPI
    parts: Parts
    switch: Switch
    url: str
    loop: asyncio.AbstractEventLoop
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=20.0, trust_env=False))

    def run(self, call: Callable[[], Awaitable[Any]]) -> Any:
        async def here() -> Any:
            return await call()

        return asyncio.run_coroutine_threadsafe(here(), self.loop).result(20)

    def tasks(self) -> int:
        async def count() -> int:
            return len(asyncio.all_tasks()) - 1

        return int(self.run(count))

    @contextmanager
    def asking(self, server: Rogue, **more: Any) -> Iterator[OpenAIInference]:
        """From here on that server answers; afterwards nothing of it is left."""
        given: dict[str, Any] = {
            "url": server.url,
            "timeout": TIMEOUT,
            "stream_seconds": STREAM_SECONDS,
            "attempts": 1,
        }
        adapter = self.switch.adapter = OpenAIInference(UpstreamSettings(**(given | more)), name="rogue")
        tasks = self.tasks()
        yield adapter
        # Nobody outside can see the counter that decides who is asked next.
        eventually(lambda: all(one.asked == 0 for one in adapter._replicas.all), "a request is still counted")
        if not server.keeps:
            eventually(lambda: not server.open, "a connection to the server is open")
        eventually(lambda: self.tasks() <= tasks, "a task is left")
        self.run(adapter.close)

    def ask(self, path: str = "/v1/chat/completions", **more: Any) -> httpx.Response:
        body = {"model": "agent", "messages": HI, **more}
        return self.http.post(self.url + path, json=body)

    def turns(self, episode: str) -> list[Turn]:
        self.app.state.service.recorder.settle()
        return list(self.parts.store.find(Turn, TENANT, where={"episode": episode}))


def eventually(true: Callable[[], bool], otherwise: str, seconds: float = 3.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, otherwise
        time.sleep(0.01)


@contextmanager
def open_house(directory: Path, settings: Settings | None = None, **parts_: Any) -> Iterator[House]:
    """Its one agent is called `agent`."""
    switch = Switch()
    parts = make_parts(directory, inference=Upstreams(switch, {"rogue": switch}), **parts_)
    app = build(parts, QuietLoop(parts), settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config(app))
        loops: list[asyncio.AbstractEventLoop] = []

        async def serve() -> None:
            loops.append(asyncio.get_running_loop())
            await server.serve(sockets=[listener])

        make_loop = server.config.get_loop_factory()
        assert make_loop is not None
        thread = threading.Thread(target=lambda: make_loop().run_until_complete(serve()))
        thread.start()
        try:
            eventually(lambda: server.started, "the gateway did not start", 20)
            house = House(app, parts, switch, f"http://127.0.0.1:{listener.getsockname()[1]}", loops[0])
            policy = {"agent": "agent", "body": {"kind": "external", "upstream": "rogue", "model": "m"}}
            id = house.http.post(f"{house.url}/v1/policies", json=policy).json()["id"]
            assert house.http.post(f"{house.url}/v1/releases", json={"policy": id}).status_code == 201
            with rogue.in_a_thread(kind) as good, house.asking(good):
                assert house.ask().status_code == 200  # what is made once is there before anything is counted
            yield house
            house.http.close()
        finally:
            server.should_exit = True
            thread.join()
            parts.store.close()
            parts.journal.close()


def sent(house: House, **more: Any) -> socket.socket:
    """A request on a connection of its own, with its answer still to be read."""
    body = orjson.dumps({"model": "agent", "messages": HI, **more})
    connection = connected(house)
    connection.sendall(head("/v1/chat/completions", len(body)) + body)
    return connection


def connected(house: House) -> socket.socket:
    url = httpx.URL(house.url)
    assert url.port is not None
    return socket.create_connection((url.host, url.port), timeout=10)


def head(path: str, length: int) -> bytes:
    lines = (
        f"POST {path} HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/json",
        f"content-length: {length}",
    )
    return "\r\n".join([*lines, "\r\n"]).encode()


def until(connection: socket.socket, words: bytes) -> bytes:
    got = b""
    while words not in got:
        piece = connection.recv(65536)
        assert piece, got
        got += piece
    return got


def events_of(answer: httpx.Response) -> list[Json]:
    """The data of every event, which a client can read to the end."""
    said = [part.partition("data: ")[2] for part in answer.text.split("\n\n") if part]
    return [orjson.loads(one) for one in said if one != "[DONE]"]
