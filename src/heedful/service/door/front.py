"""The one door: every request gets an id, a caller, limits, an answer, a log line and a place in the metrics.

Pure ASGI, and one pass instead of a middleware for each: at thousands of requests a second what stands around
a handler costs more than the handler. Routes that are that busy (the gateway, feedback) are answered from
here, with their body read and without FastAPI; everything else goes on to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heedful.access.caller import Caller
from heedful.access.permissions import Action, require
from heedful.domain.ids import check_id
from heedful.errors import HeedfulError, InvalidInput, TooLarge, TooSlow
from heedful.logs import request_id
from heedful.service.door import errors
from heedful.service.door.auth import Door
from heedful.service.door.limits import Buckets
from heedful.service.door.patience import Patience
from heedful.service.state.metrics import Metrics

log = logging.getLogger("heedful.access")

PRIVATE = ("/v1/", "/e/", "/metrics")  # what needs a caller; a console brings sessions of its own
WIDGETS = "/v1/feedback"  # the one address that web pages of others may call
JSON = ("content-type", "application/json")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request to a busy route: let in, within its limits, and read."""

    caller: Caller
    path: str
    headers: Mapping[str, str]  # names in small letters
    params: Mapping[str, str]  # out of the path
    body: bytes
    receive: Receive  # from here on only says when the sender has gone

    async def gone(self) -> None:
        """Returns when the sender does not wait any longer."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back: whole, or piece by piece as it comes."""

    status: int
    body: bytes | AsyncGenerator[bytes, None]
    headers: tuple[tuple[str, str], ...] = (JSON,)


Handler = Callable[[Arrival], Awaitable[Reply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HotRoute:
    """An address that is answered at the door. `{name}` in a path is one segment, `{name:path}` all the rest."""

    method: str
    path: str
    action: Action
    handler: Handler
    name: str = ""  # in the metrics; the path when empty
    pattern: re.Pattern[str] | None = field(init=False)

    def __post_init__(self) -> None:
        pattern = None
        if "{" in self.path:
            inner = re.sub(r"\{(\w+):path\}", r"(?P<\1>.+)", self.path)
            pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", inner))
        object.__setattr__(self, "pattern", pattern)


class Front:
    def __init__(
        self,
        app: ASGIApp,
        *,
        door: Door,
        metrics: Metrics,
        mint: Callable[[str], str],
        hot: Iterable[HotRoute],
        body_limit: int,
        body_seconds: float,
        unread_seconds: float,
        requests_per_second: float,
    ) -> None:
        self._app = app
        self._door = door
        self._metrics = metrics
        self._name, self._numbers = mint("req"), itertools.count(1)
        self._buckets = Buckets(requests_per_second)
        self._body_limit = body_limit
        self._body_seconds = body_seconds
        self._too_slow = f"the body did not come within {body_seconds:g} s: send it again"
        self._patience = Patience(body_seconds, self._too_slow)
        self._unread_seconds = unread_seconds
        routes = list(hot)
        self._exact = {(route.method, route.path): route for route in routes if route.pattern is None}
        self._patterns = [route for route in routes if route.pattern is not None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        visit = _Visit(self._id(headers.get("x-request-id")), scope, send)
        scope.setdefault("state", {})
        token, begun = request_id.set(visit.id), time.perf_counter()
        try:
            await self._through(visit, headers, receive)
        except HeedfulError as error:
            if visit.status:
                raise
            await visit.respond(errors.answer(error), receive)
        except Exception:
            log.exception("request failed", extra={"method": scope["method"], "path": scope["path"]})
            if visit.status:
                raise
            await visit.respond(errors.unforeseen(), receive)
        finally:
            self._note(visit, time.perf_counter() - begun)
            request_id.reset(token)

    async def _through(self, visit: _Visit, headers: Mapping[str, str], receive: Receive) -> None:
        scope, path = visit.scope, visit.scope["path"]
        if path.startswith(PRIVATE):
            if scope["method"] == "OPTIONS" and path == WIDGETS:
                await visit.respond(_preflight(headers), receive)
                return
            if path == WIDGETS:  # a page must be able to read why it was refused
                visit.origin = headers.get("origin")
            visit.caller = caller = await self._door.caller(scope, headers)
            visit.origin = caller.origin
            scope["state"]["caller"] = caller
            if caller.key is not None:
                self._buckets.take(caller.key, caller.limits.requests_per_second)
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._body_limit:
            raise self._too_large()
        found = self._hot(scope["method"], path)
        if found is None:
            await self._app(scope, self._counted(receive), visit.send)
            return
        route, params = found
        visit.route = route.name or route.path
        assert visit.caller is not None  # a busy route is always a private one
        require(visit.caller, route.action)
        body = await self._read(receive)
        reply = await route.handler(Arrival(visit.caller, path, headers, params, body, receive))
        await visit.reply(reply, self._unread_seconds)

    def _hot(self, method: str, path: str) -> tuple[HotRoute, Mapping[str, str]] | None:
        exact = self._exact.get((method, path))
        if exact is not None:
            return exact, {}
        for route in self._patterns:
            if route.method == method and route.pattern is not None:
                found = route.pattern.fullmatch(path)
                if found is not None:
                    return route, found.groupdict()
        return None

    async def _read(self, receive: Receive) -> bytes:
        pieces: list[bytes] = []
        got = 0
        with self._patience.wait():
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise InvalidInput("the sender went away in the middle of the body")
                body: bytes = message.get("body", b"")
                got += len(body)
                if got > self._body_limit:
                    raise self._too_large()
                if not message.get("more_body"):
                    return b"".join((*pieces, body)) if pieces else body
                pieces.append(body)

    def _counted(self, receive: Receive) -> Receive:
        """`receive`, as long as the body is not too large and comes in time."""
        got, whole, until = 0, False, asyncio.get_running_loop().time() + self._body_seconds

        async def counted() -> Message:
            nonlocal got, whole
            if whole:  # from here on it only says when the sender has gone
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError as error:
                raise TooSlow(self._too_slow) from error
            got += len(message.get("body", b""))
            if got > self._body_limit:
                raise self._too_large()
            whole = not message.get("more_body")
            return message

        return counted

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the body has more than {self._body_limit} bytes: send it in smaller pieces", field="body"
        )

    def _id(self, brought: str | None) -> str:
        try:
            return check_id(brought, "x-request-id") if brought else self._next_id()
        except InvalidInput:
            return self._next_id()  # not worth refusing a request for, and not worth a log line's safety

    def _next_id(self) -> str:
        """This process's own name and a count: it is only to be told apart, and is needed for every request."""
        return f"{self._name}.{next(self._numbers)}"

    def _note(self, visit: _Visit, seconds: float) -> None:
        scope, caller = visit.scope, visit.caller
        route = visit.route or scope["state"].get("route", "other")
        method = (
            scope["method"] if scope["method"] in METHODS else "other"
        )  # a caller can make up as many as it likes
        self._metrics.request(method, route, visit.status, seconds)
        if log.isEnabledFor(logging.INFO):
            log.info(
                "request",
                extra={
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": visit.status,
                    "seconds": round(seconds, 4),
                    "tenant": caller.tenant if caller else None,
                    "key": caller.key if caller else None,
                },
            )


class _Visit:
    """One request on its way through the door, and what has been sent back."""

    __slots__ = ("_send", "caller", "id", "origin", "route", "scope", "status")

    def __init__(self, id: str, scope: Scope, send: Send) -> None:
        self.id = id
        self.scope = scope
        self.status = 0
        self.caller: Caller | None = None
        self.origin: str | None = None  # the web page that may read the answer
        self.route = ""
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._ours()]
        await self._send(message)

    async def respond(self, response: Response, receive: Receive) -> None:
        await response(self.scope, receive, self.send)

    async def reply(self, reply: Reply, unread_seconds: float) -> None:
        headers = [(name.encode(), value.encode("latin-1")) for name, value in reply.headers]
        start: dict[str, Any] = {"type": "http.response.start", "status": reply.status, "headers": headers}
        if isinstance(reply.body, bytes):
            headers.append((b"content-length", b"%d" % len(reply.body)))
            await self.send(start)
            await self._send({"type": "http.response.body", "body": reply.body})
            return
        async with contextlib.aclosing(reply.body) as pieces:
            await self.send(start)
            async for piece in pieces:
                try:
                    async with asyncio.timeout(unread_seconds):
                        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
                except TimeoutError as error:
                    raise TooSlow(
                        f"nobody took the next piece of the answer within {unread_seconds:g} s"
                    ) from error
            await self._send({"type": "http.response.body", "body": b""})

    def _ours(self) -> list[tuple[bytes, bytes]]:
        ours = [(b"x-request-id", self.id.encode()), (b"x-content-type-options", b"nosniff")]
        if self.origin is not None:
            ours += [
                (b"access-control-allow-origin", self.origin.encode("latin-1")),
                (b"vary", b"Origin"),
            ]
        return ours


def _preflight(headers: Mapping[str, str]) -> Response:
    """A browser asks before it sends a key. Whether the key belongs to its origin is seen when it comes."""
    return Response(
        status_code=204,
        headers={
            "access-control-allow-origin": headers.get("origin", "null"),
            "access-control-allow-methods": "POST",
            "access-control-allow-headers": "authorization, content-type, x-request-id",
            "access-control-max-age": "600",
            "vary": "Origin",
        },
    )
