"""Answers from weights in the blobs, computed by a child process of this machine.

The child is started on the first request and started again when it dies; requests that it took along are
repeated once on the new one. Weights are laid out on disk from the blobs the first time a policy is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from heedful.domain.content import Message, Sampling, Tokens
from heedful.domain.models import Policy, Weights
from heedful.errors import Misconfigured, Unavailable
from heedful.inference.protocol import Answer

START_TIMEOUT = 60.0  # seconds: importing torch on a busy laptop is slow
DEFAULT_MAX_TOKENS = 256


class LocalInference:
    """`lay_out` makes a directory out of a digest; `root` is where such directories go."""

    def __init__(self, lay_out: Callable[[str, Path], None], root: Path, *, timeout: float = 60.0) -> None:
        self._lay_out = lay_out
        self._root = root
        self._timeout = timeout
        self._child: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self._starting = asyncio.Lock()
        self._sockets = tempfile.TemporaryDirectory(prefix="heedful-", ignore_cleanup_errors=True)
        self._started = 0
        self._asked = 0

    async def complete(
        self, policy: Policy, messages: Sequence[Message], *, sampling: Sampling, n: int = 1
    ) -> list[Answer]:
        self._asked += 1
        chosen = (
            sampling.seed
            if sampling.seed is not None
            else zlib.crc32(f"{os.getpid()} {self._asked}".encode())
        )
        order = {
            "model": str(await self._directory(policy)),
            "messages": [{"role": str(message.role), "content": message.text} for message in messages],
            "n": n,
            "temperature": 1.0 if sampling.temperature is None else sampling.temperature,
            "max_tokens": sampling.max_tokens or DEFAULT_MAX_TOKENS,
            "seed": chosen,
        }
        return [_answer(raw) for raw in (await self._post("/complete", order))["answers"]]

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
        if not place.exists():
            await asyncio.to_thread(self._lay_out, body.digest, place)
        return place

    async def _post(self, path: str, order: dict[str, Any]) -> dict[str, Any]:
        for attempt in (1, 2):
            session = await self._ready()
            try:
                async with session.post(f"http://child{path}", json=order) as response:
                    body: dict[str, Any] = await response.json()
                    if response.status != 200:
                        raise Unavailable(f"the local engine failed: {body.get('error')}")
                    return body
            except TimeoutError as error:
                raise Unavailable(f"the local engine did not answer within {self._timeout:g} s") from error
            except aiohttp.ClientError as error:
                if attempt == 2:
                    raise Unavailable(f"the local engine broke off twice: {error}") from error
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
        async with asyncio.timeout(START_TIMEOUT):
            while not socket.exists():
                if self._child.returncode is not None:
                    raise Unavailable(
                        "the local engine does not start: is the extra `train` installed? (pip install 'heedful[train]')"
                    )
                await asyncio.sleep(0.05)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=str(socket), limit=0),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
        )


def _answer(raw: dict[str, Any]) -> Answer:
    return Answer(
        text=raw["text"],
        finish=raw["finish"],
        tokens=Tokens(ids=tuple(raw["ids"]), logprobs=tuple(raw["logprobs"])),
        prompt_tokens=raw["prompt_tokens"],
    )
