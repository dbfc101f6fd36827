"""A server that does whatever a test wants to the bytes: late, cut, wrong, or without end.

Raw asyncio, because an HTTP library would not send what no HTTP server should.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

T = TypeVar("T")
Send = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Call:
    """One request on one connection, and the means to answer it badly."""

    path: str
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter

    @property
    def asked(self) -> dict[str, Any]:
        asked: dict[str, Any] = orjson.loads(self.body)
        return asked

    @property
    def stream(self) -> bool:
        return bool(self.asked.get("stream"))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Not a farewell: the other side gets ECONNRESET."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Behaviour = Callable[[Call], Awaitable[None]]


@dataclass
class Rogue:
    """`behave` may be replaced between requests. A connection is closed when it has returned, unless it is kept."""

    behave: Behaviour
    port: int = 0
    keeps: bool = False  # connections open for another request
    calls: list[Call] = field(default_factory=list)
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        behaving: asyncio.Task[None] | None = None
        try:
            while call := await _read(reader, writer):
                self.calls.append(call)
                behaving = asyncio.ensure_future(_behaved(self.behave, call))
                # Whoever hangs up ends it, so that `open` says who is still connected.
                leaving = asyncio.ensure_future(_hangs_up(reader)) if not self.keeps else None
                waiting = {behaving} if leaving is None else {behaving, leaving}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if leaving is not None:
                    leaving.cancel()
                if not self.keeps:
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the connection ends here, whatever ended it
        finally:
            if behaving is not None:
                behaving.cancel()
            writer.close()
            self.open.discard(writer)


async def _behaved(behave: Behaviour, call: Call) -> None:
    with contextlib.suppress(OSError):
        await behave(call)


async def _hangs_up(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(1 << 16):
            pass


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Call | None:
    """The next request; None when there is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, OSError):
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length") or 0))
    return Call(first.split(" ")[1], headers, body, writer)


@asynccontextmanager
async def listening(behave: Behaviour, *, keeps: bool = False) -> AsyncIterator[Rogue]:
    """The server in this very loop."""
    rogue = Rogue(behave, keeps=keeps, loop=asyncio.get_running_loop())
    server = await asyncio.start_server(rogue._serve, "127.0.0.1", 0, limit=1 << 24)
    rogue.port = server.sockets[0].getsockname()[1]
    try:
        yield rogue
    finally:
        server.close()
        for writer in list(rogue.open):
            writer.transport.abort()


@contextmanager
def in_a_thread(behave: Behaviour, *, keeps: bool = False) -> Iterator[Rogue]:
    """The same in a loop of its own, for tests that wait."""
    with loop_of_its_own() as run:
        listener = listening(behave, keeps=keeps)
        try:
            yield run(listener.__aenter__())
        finally:
            run(listener.__aexit__(None, None, None))


@contextmanager
def loop_of_its_own() -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """`run` for coroutines that go on while the test waits for something else."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    try:
        yield run
    finally:
        run(_all_ended())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _all_ended() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# -- what a server says when it means well ------------------------------------------------------------------


def reply(text: str = "Hello", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "x", "choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}, **more}


def chunk(text: str | None = None, finish: str | None = None) -> dict[str, Any]:
    delta = {} if text is None else {"role": "assistant", "content": text}
    return {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def whole(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1") + body


EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def event(data: Any) -> bytes:
    """In a frame of its own."""
    said = b"data: " + (data if isinstance(data, bytes) else orjson.dumps(data)) + b"\n\n"
    return framed(said)


def framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


DONE = event(b"[DONE]") + framed(b"")


async def kind(call: Call) -> None:
    """Answers as it should."""
    if call.stream:
        await call.send(
            EVENTS + event(chunk("Hel")) + event(chunk("lo")) + event(chunk(finish="stop")) + DONE
        )
    else:
        await call.send(whole(orjson.dumps(reply())))
