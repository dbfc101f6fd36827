"""Answers from any OpenAI-compatible server: vLLM, a hosted model, another Heedful.

A request is passed on as it came, so that a server gets every field that it may know. Beyond what was asked we
want to know how likely each token was: a server that refuses to say so is asked without, from then on.

Nothing that a server does holds a caller for longer than the upstream's `timeout`, or fills our memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import aiohttp
import orjson
from pydantic import BaseModel, ConfigDict, Field

from heedful.dialect import chat, shape, sse
from heedful.dialect.chat import Wire
from heedful.domain.models import External, Policy
from heedful.errors import Declined, HeedfulError, Misconfigured, TooFast, Unavailable
from heedful.inference.replicas import Replica, Replicas

PASSING = frozenset({408, 409, 425, 429})  # and everything from 500 on: another time it may work
OUR_FAULT = frozenset({401, 403})  # the key is ours, not the caller's
LONGEST_WAIT = 2.0  # seconds that we wait ourselves when a server asks for a pause
LONGEST_PAUSE = 3600.0  # seconds that we tell a client to wait, whatever a server says
CONNECT_SECONDS = 5.0  # until a server that does not even take the call is given up for another
WORDS = 300  # characters of what a server says that we repeat
REASON = 2_000  # the same of its own reason for a refusal
BROKEN = (aiohttp.ClientError, OSError, ValueError)
CHAT = "chat/completions"


class Price(BaseModel):
    """What a model costs, per million tokens, in the currency that you count in."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    prompt: float = Field(0.0, ge=0)
    """For a million tokens of the request."""

    answer: float = Field(0.0, ge=0)
    """For a million tokens of the answer."""


class UpstreamSettings(BaseModel):
    """A server that answers for external policies."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    url: str
    """Base address, with the version: `http://localhost:8000/v1`."""

    replicas: tuple[str, ...] = ()
    """More servers that answer the same; a request that fails on one is tried on another."""

    key_from: str | None = None
    """Name of the environment variable that holds the key. The key itself never enters a file."""

    kind: Literal["openai", "vllm"] = "openai"
    """vllm is asked for the ids of its tokens as well."""

    timeout: float = Field(60.0, gt=0)
    """Seconds until an answer counts as lost, with all attempts; in a stream, until the next piece does."""

    stream_seconds: float = Field(600.0, gt=0)
    """Seconds that a whole stream may take."""

    attempts: int = Field(3, ge=1, le=10)
    """How often a request is tried, on whichever server, before it fails."""

    connections: int = Field(512, ge=1)
    """Requests to it at once; more of them wait."""

    largest_answer: int = Field(16 * 2**20, ge=1024)
    """Bytes of an answer; more of them are rubbish."""

    logprobs: bool = True
    """Ask how likely each token was, even when the caller did not."""

    prices: dict[str, Price] = Field(default_factory=dict)
    """What each model costs, by its name."""


class OpenAIInference:
    """`name` is what the settings call the upstream: errors say it."""

    def __init__(self, settings: UpstreamSettings, *, name: str | None = None) -> None:
        self._settings = settings
        self._name = repr(name or settings.url)
        self._session: aiohttp.ClientSession | None = None
        urls = (settings.url, *settings.replicas)
        self._replicas = Replicas(name or settings.url, [Replica(url.rstrip("/")) for url in urls])
        self._refused: dict[str, set[str]] = {}  # by model: what it does not want to be asked for

    async def chat(self, policy: Policy, asked: Wire) -> Wire:
        body, wishes = self._whole(policy, asked)
        reply = await self._ask(CHAT, body, wishes)
        try:
            return chat.checked(reply, n=body.get("n") or 1)
        except Unavailable as error:
            raise Unavailable(f"upstream {self._name}: {error}") from error

    async def forward(self, policy: Policy, path: str, asked: Wire) -> Wire:
        model = _external(policy).model
        reply = await self._ask(path, {**asked, "model": model}, {})
        if not isinstance(reply, dict):
            raise Unavailable(f"upstream {self._name} sent no object for {path}: {str(reply)[:WORDS]}")
        return reply

    async def stream(self, policy: Policy, asked: Wire) -> AsyncGenerator[Wire, None]:
        body, wishes = self._whole(policy, asked)
        wishes["stream_options"] = {**(asked.get("stream_options") or {}), "include_usage": True}
        body["stream"] = True
        started = time.monotonic()
        async with self._answer(CHAT, body, wishes, late=math.inf) as response:
            reader, said, finished = sse.Reader(longest=self._settings.largest_answer), 0, False
            while piece := await self._piece(response, started):
                said += len(piece)
                if said > self._settings.largest_answer:
                    raise self._too_large()
                for data in reader.take(piece):
                    if data == b"[DONE]":
                        return
                    chunk = self._chunk(data)
                    finished = finished or _ends(chunk)
                    yield chunk
            if not finished:  # some servers leave the last word out
                raise Unavailable(f"upstream {self._name} cut its stream off before the end")

    async def prepare(self, policy: Policy) -> None:
        self._open()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # -- what is asked -----------------------------------------------------------------------------------

    def _whole(self, policy: Policy, asked: Wire) -> tuple[Wire, Wire]:
        """The request, and apart from it what only we want to know."""
        _external(policy)
        body = chat.for_policy(asked, policy)
        body.pop("stream", None)
        body.pop("stream_options", None)
        wishes: Wire = {}
        if self._settings.logprobs and not body.get("logprobs"):
            wishes["logprobs"] = True
        if self._settings.kind == "vllm":
            wishes["return_token_ids"] = True
        return body, wishes

    # -- asking ------------------------------------------------------------------------------------------

    async def _ask(self, path: str, body: Wire, wishes: Wire) -> Any:
        try:
            async with (
                asyncio.timeout(self._settings.timeout),
                self._answer(path, body, wishes) as response,
            ):
                raw = await self._read(response)
        except TimeoutError as error:
            raise self._late() from error
        return self._json(raw, "")

    @contextlib.asynccontextmanager
    async def _answer(
        self, path: str, body: Wire, wishes: Wire, *, late: float | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response that says 200; whatever happens while it is read, nothing of it is left open.

        `late` are the seconds after which it is the server's fault that nobody waits any longer.
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.timeout):
                replica, response = await self._good(path, body, wishes)
        except TimeoutError as error:
            raise self._late() from error
        with self._blamed(replica, started, late=late):
            try:
                yield response
            except BROKEN as error:
                raise Unavailable(f"upstream {self._name} broke off: {error!r}") from error
            finally:
                _let_go(response)

    async def _good(self, path: str, body: Wire, wishes: Wire) -> tuple[Replica, aiohttp.ClientResponse]:
        """The first server that says 200 to the request, and its response."""
        tried: list[Replica] = []
        wishes = {name: value for name, value in wishes.items() if name not in self._unwanted(body)}
        attempt, deadline = 0, time.monotonic() + self._settings.timeout
        while True:
            attempt += 1
            started = time.monotonic()
            replica = self._replicas.choose(started, besides=tried)
            tried.append(replica)
            try:
                with self._blamed(replica, started, settled=False):
                    return replica, await self._once(replica, path, {**body, **wishes})
            except Declined as declined:
                named = {name for name in wishes if name in str(declined) or name == declined.field}
                if not named:
                    raise
                # Not the caller's wish but our own: from now on this model is asked without it.
                self._refused.setdefault(str(body.get("model")), set()).update(named)
                wishes = {name: value for name, value in wishes.items() if name not in named}
                attempt -= 1
            except (Unavailable, TooFast) as failure:
                asked = failure.retry_after if isinstance(failure, TooFast) else 0.0
                another = len(tried) < len(self._replicas.all)
                pause = asked or (0.0 if another else random.uniform(0.05, 0.1) * 2.0**attempt)
                late = time.monotonic() + pause >= deadline
                if attempt >= self._settings.attempts or pause > LONGEST_WAIT or late:
                    raise
                await asyncio.sleep(pause)

    @contextlib.contextmanager
    def _blamed(
        self, replica: Replica, started: float, *, settled: bool = True, late: float | None = None
    ) -> Iterator[None]:
        """What comes of it goes on the server's account; a request that the server declines is none of it.

        `settled` says that the request is over when the block is, so that the server has one less to do.
        """
        try:
            yield
        except Declined:
            self._replicas.worked(replica)
            raise
        except (Unavailable, TooFast):
            self._replicas.failed(replica, time.monotonic())
            raise
        except BaseException:  # cancelled: because it took too long, or because nobody waits any more
            late = 0.9 * self._settings.timeout if late is None else late
            if time.monotonic() - started >= late:
                self._replicas.failed(replica, time.monotonic())
            else:
                self._replicas.let_go(replica)
            raise
        if settled:
            self._replicas.worked(replica)

    async def _once(self, replica: Replica, path: str, body: Wire) -> aiohttp.ClientResponse:
        """One attempt."""
        said = orjson.dumps(body)
        while True:
            way = _Way()
            try:
                response = await self._open().post(
                    f"{replica.url}/{path}",
                    data=said,
                    allow_redirects=False,  # what an agent says goes to the servers of the settings only
                    trace_request_ctx=way,
                )
                break
            except BROKEN as error:
                # A server may close what lies idle, and that can cross our request: it says nothing about the server.
                if not (way.used_before and isinstance(error, aiohttp.ClientConnectionError)):
                    raise Unavailable(f"upstream {self._name} does not answer: {error!r}") from error
        if response.status == 200:
            return response
        try:
            words = (await self._read(response)).decode(errors="replace")
        except BROKEN:
            words = ""
        finally:
            _let_go(response)
        raise self._failure(response, words)

    def _failure(self, response: aiohttp.ClientResponse, words: str) -> HeedfulError:
        status, said = response.status, _said(words)
        told = (
            f"upstream {self._name} says {status}: {str(said.get('message') or '')[:REASON] or words[:WORDS]}"
        )
        if status == 429:
            return TooFast(told, retry_after=_pause(response.headers) or 1.0)
        if status in PASSING or status >= 500 or status < 400:
            return Unavailable(told)
        if status in OUR_FAULT:
            return Unavailable(f"{told} (its key comes from {self._settings.key_from or 'nowhere'})")
        param, code = said.get("param"), said.get("code")
        return Declined(
            told,
            status=status,
            field=param[:WORDS] if isinstance(param, str) else None,
            code=str(code)[:WORDS] if code else None,
        )

    def _unwanted(self, body: Wire) -> set[str]:
        return self._refused.get(str(body.get("model")), set())

    # -- reading -----------------------------------------------------------------------------------------

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        announced = response.content_length
        if announced is not None and announced > self._settings.largest_answer:
            raise self._too_large()
        if announced is not None and "content-encoding" not in response.headers:
            return await response.read()
        pieces, got = [], 0
        async for piece in response.content.iter_any():
            got += len(piece)
            if got > self._settings.largest_answer:
                raise self._too_large()
            pieces.append(piece)
        return b"".join(pieces)

    async def _piece(self, response: aiohttp.ClientResponse, started: float) -> bytes:
        """The next bytes of a stream; empty at its end."""
        left = self._settings.stream_seconds - (time.monotonic() - started)
        try:
            async with asyncio.timeout(min(self._settings.timeout, left)):
                return await response.content.readany()
        except TimeoutError as error:
            if left <= self._settings.timeout:
                whole = self._settings.stream_seconds
                raise Unavailable(
                    f"upstream {self._name} did not end its stream within {whole:g} s"
                ) from error
            raise self._late() from error
        except BROKEN as error:
            raise Unavailable(f"upstream {self._name} cut its stream off: {error!r}") from error

    def _chunk(self, data: bytes) -> Wire:
        chunk = self._json(data, " in its stream")
        if not isinstance(chunk, dict):
            raise Unavailable(f"upstream {self._name} sent no chunk: {str(chunk)[:WORDS]}")
        if chunk.get("error"):
            raise Unavailable(f"upstream {self._name} failed: {str(chunk['error'])[:WORDS]}")
        return chunk

    def _json(self, raw: bytes, where: str) -> Any:
        try:
            value = orjson.loads(raw)
        except ValueError as error:
            words = raw[:WORDS].decode(errors="replace")
            raise Unavailable(f"upstream {self._name} sent no JSON{where}: {words}") from error
        if raw.count(b"[") + raw.count(b"{") > shape.DEEPEST and not shape.flat(value):
            raise Unavailable(
                f"upstream {self._name} sent JSON{where} that is nested too deep to be passed on"
            )
        return value

    # -- the connection ----------------------------------------------------------------------------------

    def _late(self) -> Unavailable:
        return Unavailable(f"upstream {self._name} did not answer within {self._settings.timeout:g} s")

    def _too_large(self) -> Unavailable:
        return Unavailable(f"upstream {self._name} sent more than {self._settings.largest_answer} bytes")

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers = {"content-type": "application/json"}
            if self._settings.key_from is not None:
                key = os.environ.get(self._settings.key_from)
                if not key:
                    raise Misconfigured(
                        f"the environment variable {self._settings.key_from} is empty: "
                        "it holds the upstream's key"
                    )
                headers["authorization"] = f"Bearer {key}"
            self._session = aiohttp.ClientSession(
                headers=headers,
                connector=aiohttp.TCPConnector(limit=self._settings.connections),
                timeout=aiohttp.ClientTimeout(  # ours are around everything; this one leaves time for another server
                    total=None, sock_connect=min(CONNECT_SECONDS, self._settings.timeout / 2)
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[_tracing()],
            )
        return self._session


@dataclass(slots=True)
class _Way:
    """The connection that a request went over."""

    used_before: bool = False


def _tracing() -> aiohttp.TraceConfig:
    """Each request's `_Way` is told what became of it."""
    tracing = aiohttp.TraceConfig()

    async def used_before(session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
        context.trace_request_ctx.used_before = True

    tracing.on_connection_reuseconn.append(used_before)
    return tracing


def _external(policy: Policy) -> External:
    if not isinstance(policy.body, External):
        raise Misconfigured(
            f"policy {policy.id!r} is {policy.body.kind}: an upstream serves external policies"
        )
    return policy.body


def _ends(chunk: Wire) -> bool:
    choices = chunk.get("choices")
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and choice.get("finish_reason") for choice in choices
    )


def _let_go(response: aiohttp.ClientResponse) -> None:
    """A connection whose answer was not read to its end cannot be used again."""
    if response.content.at_eof():
        response.release()
    else:
        response.close()


def _said(words: str) -> Mapping[str, Any]:
    """The error object of a refusal, where there is one."""
    try:
        error = orjson.loads(words)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {"message": str(error)}


def _pause(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks us to wait; 0 when it does not say."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError):
            seconds = float(headers[name]) * unit
            return min(max(0.0, seconds), LONGEST_PAUSE) if seconds == seconds else 0.0
    return 0.0
