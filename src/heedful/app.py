"""The server: the API and the gateway in front, the loop's threads behind, one lifespan around both."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import uvicorn

from heedful.access.bind import check_bind
from heedful.errors import Unavailable
from heedful.logs import set_up_logging
from heedful.running import announced
from heedful.service.api import build
from heedful.service.keyring import has_keys
from heedful.settings import Settings
from heedful.wiring import Wired, wire
from heedful.worker import Worker

log = logging.getLogger("heedful")


def create(wired: Wired, settings: Settings) -> Any:
    """The ASGI app. Its lifespan launches the loop and, at the end, lets go of everything in order."""
    worker = Worker(wired.parts, wired.durable)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        worker.launch(asyncio.get_running_loop())
        log.info("server ready", extra={"data": str(settings.data)})
        try:
            yield
        finally:
            wired.parts.engine.close()
            await asyncio.to_thread(worker.close)
            await wired.parts.inference.close()

    app = build(wired.parts, worker, settings.server, lifespan=lifespan)
    worker.on_change(app.state.fleet.refresh)
    return app


def serve(settings: Settings, *, ready: Callable[[str], None] = lambda url: None) -> None:
    """Run until SIGTERM or Ctrl-C, then drain. `ready` hears the address as soon as it listens."""
    set_up_logging(settings.server.log_level)
    if threading.current_thread() is threading.main_thread():
        # uvicorn drains at SIGTERM and then raises it again: without this nothing below would be closed.
        signal.signal(signal.SIGTERM, _leave)
    wired = wire(settings)
    try:
        check_bind(settings.server.host, has_keys=has_keys(wired.parts))
        listener = _listen(settings.server.host, settings.server.port)
        url = _url(listener, settings.server.host)
        with announced(settings.data, url), suppress(KeyboardInterrupt):
            ready(url)
            server = uvicorn.Server(
                uvicorn.Config(
                    create(wired, settings),
                    log_config=None,
                    access_log=False,
                    timeout_graceful_shutdown=int(settings.server.drain_seconds) or 1,
                    server_header=False,
                )
            )
            server.run(sockets=[listener])
    finally:
        wired.close()


def _listen(host: str, port: int) -> socket.socket:
    """Whoever connects from now on is answered as soon as the server is up."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=2048)
    except OSError as error:
        raise Unavailable(
            f"server.host {host!r} with server.port {port} cannot be listened on: {error.strerror}; "
            "choose another port, or 0 for a free one"
        ) from error


def _url(listener: socket.socket, host: str) -> str:
    """Where a process on this machine reaches it."""
    reached = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.strip("[]"), host.strip("[]"))
    port = listener.getsockname()[1]
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def _leave(*_: object) -> None:
    raise SystemExit(0)
