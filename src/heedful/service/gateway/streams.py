"""A stream on its way through: each chunk leaves under our ids, and all of them together are kept as a turn.

The turn is kept before the stream's last word leaves. When the policy's server breaks off in the middle, or the
client goes away, what was said until then is kept, with a finish that says so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from heedful.dialect.chat import Gathered, Wire
from heedful.domain.ids import TurnId
from heedful.errors import HeedfulError, Unavailable
from heedful.service.gateway.asking import Asked
from heedful.service.gateway.turns import turn_id

Kept = Callable[[Wire, str | None], Awaitable[None]]  # what was said, and how it ended when not by itself
Chunks = AsyncGenerator[Wire, None]
Gone = Callable[[], Coroutine[Any, Any, None]]  # returns when the client does not wait any longer


async def opened(chunks: Chunks) -> tuple[Wire, Chunks]:
    """The first chunk, waited for: until then a failure can still be said with a status, or fallen back from."""
    try:
        return await anext(chunks), chunks
    except StopAsyncIteration:
        raise Unavailable("the policy's server sent an empty stream") from None
    except BaseException:
        await chunks.aclose()
        raise


async def relayed(
    asked: Asked, first: TurnId, config: str, created: float, head: Wire, rest: Chunks, kept: Kept
) -> AsyncGenerator[Wire, None]:
    """The chunks as the client gets them. The turn is kept by `kept`, once, however it ends."""
    gathered, frame = Gathered(n=asked.n), _frame(asked, first, config, created)
    ended: str | None = "cancelled"
    try:
        async for chunk in _from(head, rest):
            gathered.take(chunk)
            if chunk.get("choices"):
                yield _shown(asked, first, frame, chunk)
        _whole(gathered, asked.n)
        ended = None
    except HeedfulError:
        ended = "error"
        raise
    finally:
        await rest.aclose()
        reply = gathered.reply()
        if reply["choices"]:
            await kept(reply, ended)
    if asked.with_usage:
        yield {**frame, "choices": [], "usage": gathered.usage}


async def _from(head: Wire, rest: Chunks) -> AsyncIterator[Wire]:
    yield head
    async for chunk in rest:
        yield chunk


def _whole(gathered: Gathered, n: int) -> None:
    if gathered.answers != n:
        raise Unavailable(
            f"the policy's server sent {gathered.answers} answers, {n} were asked for: does it know `n`?"
        )


def _frame(asked: Asked, first: TurnId, config: str, created: float) -> Wire:
    frame: Wire = {
        "id": first,
        "object": "chat.completion.chunk",
        "created": int(created),
        "model": asked.model,
        "system_fingerprint": config,
    }
    if asked.with_usage:
        frame["usage"] = None
    return frame


def _shown(asked: Asked, first: TurnId, frame: Wire, chunk: Wire) -> Wire:
    """The chunk under our ids, without what only we wanted to know."""
    choices: list[dict[str, Any]] = []
    for choice in chunk["choices"]:
        index = choice.get("index") or 0
        shown = {**choice, "index": index, "turn": turn_id(first, index)}
        if not asked.chat.get("logprobs"):
            shown["logprobs"] = None
        if not asked.chat.get("return_token_ids"):
            shown.pop("token_ids", None)
        choices.append(shown)
    rest = {name: value for name, value in chunk.items() if name not in ("usage", "choices")}
    return {**rest, **frame, "choices": choices}


async def until_gone(
    pieces: AsyncGenerator[bytes, None],
    gone: Gone,
    over: Callable[[list[bytes]], None],
) -> AsyncGenerator[bytes, None]:
    """The pieces, until whoever wants them goes away: a server is not asked on for nobody.

    Who has gone before anything was sent may have lost patience and ask again: then the stream goes on, and
    `over` is told all that it said. Otherwise `over` is told nothing.
    """
    here, leaving = asyncio.current_task(), asyncio.ensure_future(gone())
    waiting = False

    def leave(_: object) -> None:
        if waiting and here is not None:
            here.cancel()

    said: list[bytes] = []
    try:
        async with contextlib.aclosing(pieces):
            await asyncio.sleep(0)  # those who have gone already are known to have
            if leaving.done():
                said = [piece async for piece in pieces]
                return
            leaving.add_done_callback(leave)
            while not leaving.done():
                waiting = True
                try:
                    piece = await anext(pieces, None)
                except asyncio.CancelledError:
                    if here is None or not leaving.done() or here.uncancel() > 0:
                        raise
                    return
                finally:
                    waiting = False
                if piece is None:
                    return
                yield piece
    finally:
        leaving.cancel()
        over(said)
