"""What goes over the wire: an answer's head waits for its body, and for nothing else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from heedful.service.door.http import config

pytestmark = pytest.mark.anyio

ENOUGH = 5.0  # seconds; nothing here takes a tenth of it


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """`/short` at once, `/slow` its head now and its body when told, `/pieces` in three, `/empty` nothing."""
    if scope["type"] != "http":
        return
    path = scope["path"]
    length = [] if path == "/pieces" else [(b"content-length", b"0" if path == "/empty" else b"17")]
    if path == "/expects":
        await receive()
    await send({"type": "http.response.start", "status": 204 if path == "/empty" else 200, "headers": length})
    if path == "/pieces":
        for piece in (b"a", b"b"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)
    if path == "/slow":
        await GO.wait()
    body = b"" if path in ("/empty", "/pieces") else b"HTTP/1.1 is old\r\n"
    await send({"type": "http.response.body", "body": body})


GO = asyncio.Event()


class Counted:
    """What the client gets, and in how many reads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def read(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(65536), ENOUGH)

    async def ask(self, method: str, path: str, more: bytes = b"") -> None:
        self.writer.write(f"{method} {path} HTTP/1.1\r\nhost: here\r\n".encode() + more + b"\r\n")
        await self.writer.drain()


@asynccontextmanager
async def served() -> AsyncIterator[Counted]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config(app))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        try:
            yield Counted(reader, writer)
        finally:
            writer.close()
            server.should_exit = True
            await asyncio.wait_for(running, ENOUGH)


async def test_head_and_body_come_together_and_the_connection_stays() -> None:
    async with served() as client:
        for _ in range(3):
            await client.ask("GET", "/short")
            got = await client.read()
            assert got.startswith(b"HTTP/1.1 200 OK\r\n")
            assert got.endswith(b"\r\n\r\nHTTP/1.1 is old\r\n")


async def test_a_head_without_a_body_yet_is_not_held() -> None:
    GO.clear()
    async with served() as client:
        await client.ask("GET", "/slow")
        assert (await client.read()).endswith(b"\r\n\r\n")
        GO.set()
        assert await client.read() == b"HTTP/1.1 is old\r\n"


@pytest.mark.parametrize(
    ("method", "path", "ends"),
    [
        ("GET", "/pieces", b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"),
        ("GET", "/empty", b"\r\n\r\n"),
        ("HEAD", "/short", b"\r\n\r\n"),
    ],
)
async def test_answers_of_every_shape_are_whole(method: str, path: str, ends: bytes) -> None:
    async with served() as client:
        await client.ask(method, path, b"connection: close\r\n")
        got = b""
        while piece := await client.read():
            got += piece
        assert got.startswith(b"HTTP/1.1 20")
        assert got.endswith(ends)


async def test_who_asks_whether_to_go_on_is_told() -> None:
    async with served() as client:
        await client.ask("POST", "/expects", b"content-length: 2\r\nexpect: 100-continue\r\n")
        assert await client.read() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.writer.write(b"{}")
        assert (await client.read()).endswith(b"HTTP/1.1 is old\r\n")
