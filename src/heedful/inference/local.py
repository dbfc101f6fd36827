"""Answers from weights in the blobs, computed by a child process of this machine.

The child is started on the first request and started again when it dies; requests that it took along are
repeated once on the new one. Weights are laid out on disk from the blobs the first time a policy is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import aiohttp

from heedful.dialect import chat
from heedful.dialect.chat import Wire
from heedful.domain.content import Answer, Tokens
from heedful.domain.models import Policy, Weights
from heedful.errors import InvalidInput, Misconfigured, Unavailable

START_TIMEOUT = 60.0  # seconds: importing torch on a busy laptop is slow
# At once: whoever else asks waits here. Fewer than the child lets queue at its door (`child.BACKLOG`), because
# asyncio takes a connection to a full Unix socket for an open one, and it breaks at the first word.
CONNECTIONS = 1024
BROKEN_OFF = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)
NOTICE_SECONDS = 10.0  # within which a dead child is known to be dead, also on a busy machine


class LocalInference:
    """`lay_out` makes a directory out of a digest; `root` is where such directories go."""

    def __init__(self, lay_out: Callable[[str, Path], None], root: Path, *, timeout: float = 60.0) -> None:
        self._lay_out = lay_out
        self._root = root
        self._timeout = timeout
        self._child: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self._starting = asyncio.Lock()
        self._laying_out = asyncio.Lock()
        self._sockets = tempfile.TemporaryDirectory(prefix="heedful-", ignore_cleanup_errors=True)
        self._started = 0

    async def chat(self, policy: Policy, asked: Wire) -> Wire:
        sampling = chat.sampling_of(asked)
        order = {
            "model": str(await self._directory(policy)),
            "messages": [
                {"role": str(message.role), "content": message.text}
                for message in chat.messages_of(asked["messages"])
            ],
            "n": asked.get("n") or 1,
            "temperature": 1.0 if sampling.temperature is None else sampling.temperature,
            "max_tokens": sampling.max_tokens,
            "seed": secrets.randbits(48) if sampling.seed is None else sampling.seed,
            "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
            "stop": list(sampling.stop),
        }
        return chat.reply_of([_answer(raw) for raw in (await self._post("/complete", order))["answers"]])

    async def stream(self, policy: Policy, asked: Wire) -> AsyncGenerator[Wire, None]:
        """An answer comes whole: the child computes many at once."""
        for chunk in chat.chunks_of(await self.chat(policy, asked)):
            yield chunk

    async def forward(self, policy: Policy, path: str, asked: Wire) -> Wire:
        raise InvalidInput(f"policy {policy.id!r} is weights of our own: they know no {path}", field="model")

    async def prepare(self, policy: Policy) -> None:
        await self._post("/prepare", {"model": str(await self._directory(policy))})

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._child is not None and self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()
        self._sockets.cleanup()

    async def _directory(self, policy: Policy) -> Path:
        body = policy.body
        if not isinstance(body, Weights):
            raise Misconfigured(f"policy {policy.id!r} is {body.kind}: the local engine serves weights")
        place = self._root / body.digest.split(":")[1][:24]
        async with self._laying_out:  # whoever comes second waits instead of failing
            if not place.exists():
                await asyncio.to_thread(self._lay_out, body.digest, place)
        return place

    async def _post(self, path: str, order: dict[str, Any]) -> dict[str, Any]:
        for attempt in (1, 2):
            session = await self._ready()
            child = self._child
            try:
                async with session.post(f"http://child{path}", json=order) as response:
                    body: dict[str, Any] = await response.json(content_type=None)
                    if response.status == InvalidInput.status:
                        raise InvalidInput(body["error"], field=body.get("field") or "messages")
                    if response.status != 200:
                        raise Unavailable(f"the local engine failed: {body.get('error')}")
                    return body
            except TimeoutError as error:
                raise Unavailable(f"the local engine did not answer within {self._timeout:g} s") from error
            except BROKEN_OFF as error:
                if attempt == 2:
                    raise Unavailable(f"the local engine broke off twice: {error}") from error
                await notice(child)
            except ValueError as error:
                raise Unavailable(f"the local engine failed with {response.status}: {error}") from error
        raise AssertionError("unreachable")

    async def _ready(self) -> aiohttp.ClientSession:
        async with self._starting:
            if self._child is None or self._child.returncode is not None or self._session is None:
                await self._start()
            assert self._session is not None
            return self._session

    async def _start(self) -> None:
        if self._session is not None:
            await self._session.close()
        self._started += 1
        socket = Path(self._sockets.name) / f"engine-{self._started}.sock"
        self._child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "heedful.inference.child",
            "--socket",
            str(socket),
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while not await listens(socket):
                    if self._child.returncode is not None:
                        raise Unavailable(
                            "the local engine does not start: is the extra `train` installed? "
                            "(pip install 'heedful[train]')"
                        )
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            self._child.kill()
            raise Unavailable(f"the local engine did not start within {START_TIMEOUT:g} s") from error
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=str(socket), limit=CONNECTIONS),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
        )


async def listens(socket: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(socket)
    except (FileNotFoundError, ConnectionRefusedError):  # not yet there, or there and not yet open
        return False
    writer.close()
    return True


async def notice(child: asyncio.subprocess.Process | None) -> None:
    """A connection breaks a moment before the child's death is known: the dead are not asked again."""
    if child is not None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), NOTICE_SECONDS)


def _answer(raw: dict[str, Any]) -> Answer:
    return Answer(
        text=raw["text"],
        finish=raw["finish"],
        tokens=Tokens(ids=tuple(raw["ids"]), logprobs=tuple(raw["logprobs"])),
    )
