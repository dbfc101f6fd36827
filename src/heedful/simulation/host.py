"""The demo's server: a real `heedful up` in a process of its own, started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from pathlib import Path

import httpx

from heedful.errors import Unavailable

START_TIMEOUT = 60.0  # seconds


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Host:
    """`async with Host(directory) as host:` — the server runs inside the block."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port()
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.restarts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Host:
        await self._start()
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 15)
            except TimeoutError:
                process.kill()
                await process.wait()

    async def _keep(self) -> None:
        while True:
            assert self._process is not None
            await self._process.wait()
            self.restarts += 1
            await self._start()

    async def _start(self) -> None:
        with (self._directory / "server.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *(
                    "-m",
                    "heedful.cli",
                    "--dir",
                    str(self._directory),
                    "up",
                    "--attached",
                    "--port",
                    str(self._port),
                ),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        async with httpx.AsyncClient() as client, asyncio.timeout(START_TIMEOUT):
            while True:
                if self._process.returncode is not None:
                    raise Unavailable(
                        f"the server does not start; its log is {self._directory / 'server.log'}"
                    )
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"{self.url}/readyz")).status_code == 200:
                        return
                await asyncio.sleep(0.1)
