"""The server: the API and the gateway in front, the loop's threads behind, one lifespan around both."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from heedful.access.bind import check_bind
from heedful.logs import set_up_logging
from heedful.service.api import build
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


def serve(settings: Settings) -> None:
    """Run until SIGTERM or Ctrl-C, then drain."""
    set_up_logging(settings.server.log_level)
    wired = wire(settings)
    try:
        check_bind(settings.server.host, has_keys=wired.has_keys())
        uvicorn.run(
            create(wired, settings),
            host=settings.server.host,
            port=settings.server.port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=int(settings.server.drain_seconds) or 1,
            server_header=False,
        )
    finally:
        wired.close()
