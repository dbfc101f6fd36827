"""The service put together: doors, gateway, API, health.

The order of the doors is the order in which a request meets them: it gets an id and a log line, then a
caller, then a limit on its size; only then does a handler see it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

import heedful
from heedful.access.permissions import Action, require
from heedful.road import Parts
from heedful.service import episodes, errors, feedback, keys, labeling, records, releases, widget
from heedful.service.auth import Authenticated, Door
from heedful.service.fleet import Fleet
from heedful.service.gateway import Gateway
from heedful.service.limits import BodyLimit, Entrance
from heedful.service.loop import Loop
from heedful.service.metrics import Metrics
from heedful.service.routes import Route, Service, add
from heedful.service.tree import Tree
from heedful.settings import ServerSettings

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]

ROUTES: tuple[Route, ...] = (
    *feedback.ROUTES,
    *episodes.ROUTES,
    *labeling.ROUTES,
    *releases.ROUTES,
    *records.ROUTES,
    *keys.ROUTES,
)


def build(
    parts: Parts, loop: Loop, settings: ServerSettings | None = None, *, lifespan: Lifespan | None = None
) -> FastAPI:
    """The ASGI app. Its own lifespan keeps the fleet's view fresh around the one that is handed in."""
    settings = settings or ServerSettings()
    service = Service(parts, loop, Fleet(parts), Door(parts), Metrics(), Tree())

    @asynccontextmanager
    async def around(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if lifespan is not None:
                await stack.enter_async_context(lifespan(app))
            service.fleet.start()
            stack.callback(service.fleet.stop)
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
    _health(app, service)
    app.add_route(widget.PATH, widget.script, methods=["GET"])
    errors.install(app)
    # Added last is met first.
    app.add_middleware(BodyLimit, most=settings.body_limit)
    app.add_middleware(Authenticated, door=service.door, requests_per_second=settings.requests_per_second)
    app.add_middleware(Entrance, mint=parts.mint, metrics=service.metrics)
    return app


def _health(app: FastAPI, service: Service) -> None:
    async def alive(request: Request) -> Response:
        """`GET /healthz`: the process runs."""
        request.state.route = "/healthz"
        return Response(b'{"ok":true}', media_type="application/json")

    def ready(request: Request) -> Response:
        """`GET /readyz`: the database reads and writes. The loop was launched before any request is taken."""
        request.state.route = "/readyz"
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
