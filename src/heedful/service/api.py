"""The service put together: the door (`front.py`), behind it the busy routes, then the API and health."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import Response

import heedful
from heedful.access.permissions import Action, require
from heedful.road import Parts
from heedful.service import episodes, errors, feedback, keys, labeling, records, releases, sources
from heedful.service.auth import Door
from heedful.service.fleet import Fleet
from heedful.service.floor import Floor
from heedful.service.front import Front
from heedful.service.gateway import Gateway
from heedful.service.joiner import Joiner
from heedful.service.loop import Loop
from heedful.service.metrics import Metrics
from heedful.service.routes import Route, Service, add
from heedful.service.tree import Tree
from heedful.settings import ServerSettings

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]

ROUTES: tuple[Route, ...] = (
    *feedback.ROUTES,
    *sources.ROUTES,
    *episodes.ROUTES,
    *labeling.ROUTES,
    *releases.ROUTES,
    *records.ROUTES,
    *keys.ROUTES,
)


def build(
    parts: Parts,
    loop: Loop,
    settings: ServerSettings | None = None,
    *,
    lifespan: Lifespan | None = None,
    data: Path | None = None,
) -> FastAPI:
    """The ASGI app. Its own lifespan keeps the fleet's view fresh and joins parked feedback, inside of the one
    that is handed in. `data` is where the disk must not run full."""
    settings = settings or ServerSettings()
    floor = Floor(data, settings.disk_floor_mb << 20)
    heard, metrics = sources.Sources(parts.clock.now), Metrics()
    metrics.silences(heard.silences)
    ingest = feedback.Ingest(parts, metrics, heard, floor)
    service = Service(parts, loop, Fleet(parts), Door(parts), metrics, Tree(), heard, ingest)
    joiner = Joiner(parts)

    @asynccontextmanager
    async def around(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if lifespan is not None:
                await stack.enter_async_context(lifespan(app))
            service.fleet.start()
            stack.callback(service.fleet.stop)
            await asyncio.to_thread(sources.remembered, parts, heard)
            joiner.start()
            stack.callback(joiner.stop)
            yield

    app = FastAPI(
        title="Heedful",
        version=heedful.__version__,
        lifespan=around,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    app.state.fleet = service.fleet
    app.router.routes.extend(Gateway(service).addresses())
    add(app, ROUTES)
    _health(app, service, floor)
    errors.install(app)
    # Around everything that FastAPI puts before a route, which a busy route has no use for; and in the place of
    # its outermost layer, which would answer what is our own fault in a shape of its own.
    stack = app.build_middleware_stack()
    app.middleware_stack = Front(
        stack.app if isinstance(stack, ServerErrorMiddleware) else stack,
        door=service.door,
        metrics=service.metrics,
        mint=parts.mint,
        hot=ingest.routes(),
        body_limit=settings.body_limit,
        body_seconds=settings.body_seconds,
        requests_per_second=settings.requests_per_second,
    )
    return app


def _health(app: FastAPI, service: Service, floor: Floor) -> None:
    async def alive(request: Request) -> Response:
        """`GET /healthz`: the process runs."""
        request.state.route = "/healthz"
        return Response(b'{"ok":true}', media_type="application/json")

    def ready(request: Request) -> Response:
        """`GET /readyz`: the database reads and writes, and the disk has room. The loop was launched before any
        request is taken."""
        request.state.route = "/readyz"
        floor.check()
        service.parts.store.ping()
        return Response(b'{"ok":true}', media_type="application/json")

    async def metrics(request: Request) -> Response:
        """`GET /metrics`: for Prometheus, of the whole server."""
        request.state.route = "/metrics"
        require(request.state.caller, Action.OPERATE)
        return Response(service.metrics.text(), media_type=service.metrics.content_type)

    app.add_route("/healthz", alive, methods=["GET"])
    app.add_route("/readyz", ready, methods=["GET"])
    app.add_route("/metrics", metrics, methods=["GET"])
