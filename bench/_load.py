"""Load from a process of its own, as light as it can be: raw HTTP/1.1 over kept connections, bodies made before.

What it costs to ask must not be what is measured: `aiohttp` as a client takes as much of a core as a fast
server does.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import uvloop

WARM_SECONDS = 1.0
OK = frozenset({200, 201, 202, 207})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    clients: int
    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    refused: int  # answers that are no success

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def request(path: str, body: bytes, *, key: str | None = None, host: str = "127.0.0.1") -> bytes:
    """A whole POST as bytes."""
    auth = f"authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\n{auth}content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Connection(asyncio.Protocol):
    """Sends one request after the other, each when the last one is answered."""

    def __init__(self, next_request: Callable[[], bytes], run: _Run) -> None:
        self._next = next_request
        self._run = run
        self._got = b""
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._next())

    def data_received(self, data: bytes) -> None:
        self._got += data
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._got[:end].lower()
        place = head.find(b"content-length:")
        if place >= 0:
            length = int(head[place + 15 : (head.find(b"\r\n", place) + 1 or len(head) + 1) - 1])
            if len(self._got) < end + 4 + length:
                return
        elif not self._got.endswith(b"0\r\n\r\n"):  # in chunks
            return
        now = time.perf_counter()
        self._run.answered(int(head[9:12]), now - self._sent, now)
        self._got = b""
        if now >= self._run.until:
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            if exc is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(exc)


class _Run:
    def __init__(self, seconds: float, warm: float) -> None:
        self.begin = time.perf_counter() + warm
        self.until = self.begin + seconds
        self.times: list[float] = []
        self.refused = 0

    def answered(self, status: int, seconds: float, now: float) -> None:
        if now < self.begin:
            return
        self.times.append(seconds)
        self.refused += status not in OK


async def _go(port: int, clients: int, seconds: float, warm: float, requests: Sequence[bytes]) -> Measured:
    run, place, loop = _Run(seconds, warm), 0, asyncio.get_running_loop()

    def next_request() -> bytes:
        nonlocal place
        place += 1
        return requests[place % len(requests)]

    made = [
        await loop.create_connection(lambda: _Connection(next_request, run), "127.0.0.1", port)
        for _ in range(clients)
    ]
    await asyncio.gather(*(connection.done for _, connection in made))
    times = sorted(run.times)
    return Measured(
        clients=clients,
        requests=len(times),
        seconds=time.perf_counter() - run.begin,
        p50_ms=times[len(times) // 2] * 1e3,
        p99_ms=times[int(len(times) * 0.99)] * 1e3,
        worst_ms=times[-1] * 1e3,
        refused=run.refused,
    )


def _child(answer: Any, *arguments: Any) -> None:
    try:
        answer.send(uvloop.run(_go(*arguments)))
    except BaseException as error:  # noqa: BLE001  whatever it is, whoever waits is told
        answer.send(error)


def load(
    port: int, requests: Sequence[bytes], *, clients: int, seconds: float, warm: float = WARM_SECONDS
) -> Measured:
    """What that many clients see, each asking again as soon as it is answered."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(there, port, clients, seconds, warm, list(requests)))
    child.start()
    there.close()
    try:
        said = here.recv()
    finally:
        child.join()
    if isinstance(said, BaseException):
        raise said
    measured: Measured = said
    return measured
