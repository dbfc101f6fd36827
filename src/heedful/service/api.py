"""The service put together: the door (`door/front.py`), behind it the busy routes, then the API and health."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

import heedful
from heedful.access.permissions import Action, require
from heedful.domain.ids import PolicyId
from heedful.road import Parts
from heedful.service.door import errors
from heedful.service.door.auth import Door
from heedful.service.door.floor import Floor
from heedful.service.door.front import Front
from heedful.service.gateway import INSIDE, Gateway
from heedful.service.intake.ingest import Ingest
from heedful.service.intake.joiner import Joiner
from heedful.service.intake.recorder import Recorder
from heedful.service.loop import Loop
from heedful.service.pages import (
    episodes,
    feedback,
    imports,
    keys,
    labeling,
    openapi,
    overwatch,
    records,
    releases,
    retention,
    sources,
    traces,
    widget,
)
from heedful.service.pages.routes import Route, add
from heedful.service.service import Service
from heedful.service.state.fleet import Fleet
from heedful.service.state.metrics import Metrics
from heedful.service.state.sources import Sources, remembered
from heedful.service.state.tree import Tree
from heedful.settings import Settings

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]

ROUTES: tuple[Route, ...] = (
    *feedback.ROUTES,
    *imports.ROUTES,
    *sources.ROUTES,
    *episodes.ROUTES,
    *labeling.ROUTES,
    *releases.ROUTES,
    *records.ROUTES,
    *keys.ROUTES,
    *retention.ROUTES,
    *overwatch.ROUTES,
)


class House(FastAPI):
    """The app with its door in front of everything that FastAPI puts around its routes."""

    front: Front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.front(scope, receive, send)

    async def behind(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)


def build(
    parts: Parts, loop: Loop, settings: Settings | None = None, *, lifespan: Lifespan | None = None
) -> House:
    """The app. Its own lifespan stores what was answered, keeps the fleet's view fresh and joins parked feedback,
    inside of the one that is handed in."""
    settings = settings or Settings()
    # A house over other parts, as tests build one, has no directory of its own.
    floor = Floor(settings.data if settings.data.is_dir() else None, settings.server.disk_floor_mb << 20)
    heard, metrics = Sources(parts.clock.now), Metrics()
    metrics.silences(heard.silences)
    recorder = Recorder(parts, settings.gateway, metrics)
    ingest = Ingest(parts, metrics, heard, floor)
    service = Service(
        parts,
        loop,
        Fleet(parts, fallbacks=map(PolicyId, settings.gateway.fallbacks.values())),
        Door(parts),
        metrics,
        Tree(),
        heard,
        ingest,
        recorder,
    )
    prices = {name: upstream.prices for name, upstream in settings.inference.upstreams.items()}
    gateway = Gateway(service, settings.gateway, prices, signs=settings.feedback.signs)
    joiner = Joiner(parts)

    @asynccontextmanager
    async def around(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if lifespan is not None:
                await stack.enter_async_context(lifespan(app))
            service.recorder.start()
            stack.push_async_callback(asyncio.to_thread, service.recorder.stop)
            stack.push_async_callback(asyncio.to_thread, gateway.noticing.stop)
            service.fleet.start()
            stack.callback(service.fleet.stop)
            await asyncio.to_thread(remembered, parts, heard)
            joiner.start()
            stack.callback(joiner.stop)
            yield

    app = House(
        title="Heedful",
        version=heedful.__version__,
        lifespan=around,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    app.state.fleet = service.fleet
    add(app, ROUTES)
    _health(app, service, floor)
    app.add_route(widget.PATH, widget.script, methods=["GET"])
    errors.install(app)
    openapi.describe(app, inside=INSIDE)
    app.front = Front(
        app.behind,
        door=service.door,
        metrics=service.metrics,
        mint=parts.mint,
        hot=(*gateway.routes(), *ingest.routes(), *traces.routes(parts)),
        body_limit=settings.server.body_limit,
        body_seconds=settings.server.body_seconds,
        unread_seconds=settings.server.unread_seconds,
        requests_per_second=settings.server.requests_per_second,
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
