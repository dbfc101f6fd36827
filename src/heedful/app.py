"""The server: the API and the gateway in front, the loop's threads behind, one lifespan around both.

It signs how the audit log stands when it starts and when it ends: whoever does not hold the key as well cannot
rewrite unseen what lies before the last of these.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn

from heedful.access.bind import check_bind
from heedful.errors import HeedfulError, Unavailable
from heedful.logs import set_up_logging
from heedful.running import announced
from heedful.service.api import build
from heedful.service.door.http import config
from heedful.service.door.keyring import has_keys
from heedful.settings import Settings
from heedful.store import auditing
from heedful.wiring import Wired, wire
from heedful.worker import Worker

log = logging.getLogger("heedful")

# Objects, and rounds: a full collection is a pause, and there is little to find.
COLLECT_AFTER = (20_000, 20, 200)
# A thread that works on the store gets its turn soon, and keeps answers waiting no longer.
SWITCH_SECONDS = 0.0002


def create(wired: Wired, settings: Settings) -> Any:
    """The ASGI app. Its lifespan launches the loop and, at the end, lets go of everything in order."""
    worker = Worker(wired.parts, wired.durable)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        try:
            worker.launch(asyncio.get_running_loop())
        except HeedfulError as error:
            app.state.refused = error  # uvicorn says only that there was one
            raise
        signing = asyncio.create_task(asyncio.to_thread(_sign, wired, settings.data))
        # What start-up made stays: without this every full collection walks all of it, and answers wait.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        log.info("server ready", extra={"data": str(settings.data)})
        try:
            yield
        finally:
            wired.parts.engine.close()
            await asyncio.to_thread(worker.close)
            await wired.parts.inference.close()
            await signing
            await asyncio.to_thread(_sign, wired, settings.data)

    app = build(wired.parts, worker, settings, lifespan=lifespan)
    app.state.refused = None
    worker.on_change(app.state.fleet.refresh)
    return app


def _sign(wired: Wired, data: Path) -> None:
    """A checkpoint, if the audit log has grown. A damaged log is not signed, and the server works none the less."""
    try:
        made = auditing.sign_growth(wired.store, data, wired.parts.clock)
    except (HeedfulError, OSError) as error:
        log.error("the audit log was not signed", extra={"reason": str(error)})
    else:
        if made is not None:
            log.info("the audit log was signed", extra={"entries": made.size})


def serve(settings: Settings, *, ready: Callable[[str], None] = lambda url: None) -> None:
    """Run until SIGTERM or Ctrl-C, then drain. `ready` hears the address as soon as it listens."""
    set_up_logging(settings.server.log_level)
    sys.setswitchinterval(SWITCH_SECONDS)
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
            app = create(wired, settings)
            server = uvicorn.Server(config(app, drain_seconds=settings.server.drain_seconds))
            try:
                server.run(sockets=[listener])
            except SystemExit:
                if app.state.refused is not None:
                    raise app.state.refused from None
                raise
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
