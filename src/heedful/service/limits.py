"""What comes in, and how much of it: request ids, one log line each, sizes and speeds. Pure ASGI.

Everything here happens before the first byte of a body is looked at.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heedful.access.caller import Caller
from heedful.domain.ids import check_id
from heedful.errors import HeedfulError, InvalidInput, TooFast, TooLarge
from heedful.logs import request_id
from heedful.service import errors
from heedful.service.metrics import Metrics

log = logging.getLogger("heedful.access")

BURST_SECONDS = 2.0  # of its rate, that a key may save up
BUCKETS = 10_000  # keys and addresses that are remembered


class Entrance:
    """The outermost door: every request gets an id, an answer, a log line and a place in the metrics."""

    def __init__(self, app: ASGIApp, *, mint: Callable[[str], str], metrics: Metrics) -> None:
        self._app = app
        self._mint = mint
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        id, begun, status = self._id(scope), time.perf_counter(), 0

        async def out(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = id
                headers["x-content-type-options"] = "nosniff"
            await send(message)

        scope.setdefault("state", {})
        token = request_id.set(id)
        try:
            await self._app(scope, receive, out)
        except HeedfulError as error:
            if status:
                raise
            await errors.answer(error)(scope, receive, out)
        except Exception:
            log.exception("request failed", extra={"method": scope["method"], "path": scope["path"]})
            if status:
                raise
            await errors.unforeseen()(scope, receive, out)
        finally:
            self._note(scope, status, time.perf_counter() - begun)
            request_id.reset(token)

    def _id(self, scope: Scope) -> str:
        brought = Headers(scope=scope).get("x-request-id")
        try:
            return check_id(brought, "x-request-id") if brought else self._mint("req")
        except InvalidInput:
            return self._mint("req")  # not worth refusing a request for, and not worth a log line's safety

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        caller: Caller | None = scope["state"].get("caller")
        self._metrics.request(scope["method"], scope["state"].get("route", "other"), status, seconds)
        log.info(
            "request",
            extra={
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "seconds": round(seconds, 4),
                "tenant": caller.tenant if caller else None,
                "key": caller.key if caller else None,
            },
        )


class BodyLimit:
    """Larger bodies are refused by what they announce, or else when they have sent too much."""

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdigit() and int(announced) > self._most:
            raise self._too_large()
        got = 0

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            if message["type"] == "http.request":
                got += len(message.get("body", b""))
                if got > self._most:
                    raise self._too_large()
            return message

        await self._app(scope, counted, send)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body has more than {self._most} bytes: send it in smaller pieces", field="body")


@dataclass(slots=True)
class Bucket:
    """Fills steadily, and each request takes one token out."""

    tokens: float
    at: float

    def take(self, *, rate: float, most: float, now: float) -> float:
        """0 when there was a token, else the seconds until there is one."""
        self.tokens = min(most, self.tokens + (now - self.at) * rate)
        self.at = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / rate


class Buckets:
    """One for each key; those that were used least lately are forgotten, full as they will be."""

    def __init__(self, rate: float, *, burst_seconds: float = BURST_SECONDS) -> None:
        self._rate = rate
        self._most = max(1.0, rate * burst_seconds)
        self._known: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, who: str, now: float | None = None) -> None:
        """Nothing, or `TooFast` with the time to wait."""
        now = time.monotonic() if now is None else now
        bucket = self._known.pop(who, None) or Bucket(self._most, now)
        self._known[who] = bucket
        while len(self._known) > BUCKETS:
            self._known.popitem(last=False)
        wait = bucket.take(rate=self._rate, most=self._most, now=now)
        if wait > 0:
            raise TooFast(
                f"{who} sends more than {self._rate:g} requests a second: wait {wait:.2f} s", retry_after=wait
            )
