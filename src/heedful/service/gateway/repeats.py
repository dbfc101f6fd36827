"""A client that asks again, because the first answer was late or got lost, gets the first answer.

OpenAI's clients repeat a request by themselves and send no name for it, only a count of their attempts. So
every request is remembered for a while by what was sent. A later attempt waits for what became of the one before
it; only when that failed, or there was none, it is asked anew. Two requests that merely look alike are no
repetition: neither says that it is one. A request that brings its turn's id does say so, however often it comes.

What is remembered are the very bytes that were sent, so that it is known how much memory that takes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from heedful.service.door.front import Reply
from heedful.service.gateway.asking import Asked

REMEMBERED = 4_000  # requests
SECONDS = 900.0  # beyond the ten minutes that OpenAI's clients wait
BYTES = 32 << 20  # of answers


class Lost(Exception):
    """Nothing came of an attempt: who waits for it asks anew."""


@dataclass(slots=True, eq=False)
class Attempt:
    """One request that is answered or being answered."""

    fingerprint: bytes
    at: float
    number: int  # the client's count of the latest attempt that waits for it
    outcome: asyncio.Future[Reply]
    bytes: int = 0
    known: bool = True


class Repeats:
    def __init__(self, *, most: int = REMEMBERED, most_bytes: int = BYTES, seconds: float = SECONDS) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._known: dict[bytes, list[Attempt]] = {}
        self._order: deque[Attempt] = deque()  # oldest first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._order)

    @property
    def bytes(self) -> int:
        """Of the answers that are remembered."""
        return self._bytes

    async def once(self, asked: Asked, answer: Callable[[], Awaitable[Reply]]) -> Reply:
        """What `answer` gives, or what an attempt before this one was given."""
        before = await self.before(asked)
        if before is not None:
            return before
        attempt = self.begin(asked)
        try:
            reply = await answer()
        except BaseException:
            self.lost(attempt)
            raise
        self.answered(attempt, reply)
        return reply

    async def before(self, asked: Asked) -> Reply | None:
        """What the attempt before this one was given, as soon as that is known."""
        while (attempt := self._earlier(asked)) is not None:
            try:
                return await asyncio.shield(attempt.outcome)
            except Lost:
                pass
        return None

    def begin(self, asked: Asked) -> Attempt:
        """An attempt that has to be told what became of it: `answered` or `lost`."""
        outcome = asyncio.get_running_loop().create_future()
        attempt = Attempt(asked.fingerprint, time.monotonic(), asked.attempt, outcome)
        self._known.setdefault(attempt.fingerprint, []).append(attempt)
        self._order.append(attempt)
        self._forget_old()
        return attempt

    def answered(self, attempt: Attempt, reply: Reply) -> None:
        """`reply` is whole: a stream can be sent once only."""
        assert isinstance(reply.body, bytes)
        attempt.outcome.set_result(reply)
        if attempt.known:
            attempt.bytes = len(reply.body)
            self._bytes += attempt.bytes
            if attempt.bytes > self._most_bytes // 4:
                self._forget(attempt)  # one that would push out too many others
            self._forget_old()

    def lost(self, attempt: Attempt) -> None:
        if not attempt.outcome.done():
            attempt.outcome.set_exception(Lost())
            attempt.outcome.exception()  # nobody needs to look at it
        self._forget(attempt)

    def _earlier(self, asked: Asked) -> Attempt | None:
        """The newest attempt that this one may repeat. Unnamed, each is taken up once by every later count."""
        named = asked.context.turn is not None
        if not named and asked.attempt == 0:
            return None  # a first attempt repeats nothing, however many look like it
        for attempt in reversed(self._known.get(asked.fingerprint, ())):
            if named or attempt.number < asked.attempt:
                attempt.number = max(attempt.number, asked.attempt)
                return attempt
        return None

    def _forget_old(self) -> None:
        oldest = time.monotonic() - self._seconds
        while self._order and (
            len(self._order) > self._most
            or self._bytes > self._most_bytes
            or self._order[0].at < oldest
            or not self._order[0].known
        ):
            self._forget(self._order.popleft())

    def _forget(self, attempt: Attempt) -> None:
        if attempt.known:
            attempt.known = False
            self._bytes -= attempt.bytes
            alike = self._known[attempt.fingerprint]
            alike.remove(attempt)
            if not alike:
                del self._known[attempt.fingerprint]
