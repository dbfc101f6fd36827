"""A client that asks again, because the first answer was late or got lost, gets the first answer.

OpenAI's clients repeat a request by themselves and send no name for it, only a count of their attempts. So
every request is remembered for a while by what was sent. A second attempt waits for what became of the first;
only when that failed, or there was none, it is asked anew. Two requests that merely look alike are no
repetition: neither says that it is one.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from heedful.service.gateway.asking import Asked

T = TypeVar("T")

REMEMBERED = 4_000  # requests
SECONDS = 900.0  # beyond the ten minutes that OpenAI's clients wait


@dataclass(slots=True)
class _Attempt(Generic[T]):
    at: float
    outcome: asyncio.Future[T]
    claimed: bool = field(default=False)  # by an attempt that came after it


class Repeats(Generic[T]):
    def __init__(self) -> None:
        self._known: OrderedDict[bytes, list[_Attempt[T]]] = OrderedDict()

    async def once(self, asked: Asked, answer: Callable[[], Awaitable[T]]) -> T:
        """What `answer` gives, or what it gave to the attempt before this one."""
        if asked.retry and (before := self._before(asked.fingerprint)) is not None:
            before.claimed = True
            # Whoever asks this time may give up, too: the next attempt finds the same answer.
            self._remember(asked.fingerprint, _Attempt(time.monotonic(), before.outcome))
            try:
                return await asyncio.shield(before.outcome)
            except Exception:  # noqa: BLE001  that is why it is asked again
                pass
        attempt = _Attempt(time.monotonic(), asyncio.get_running_loop().create_future())
        self._remember(asked.fingerprint, attempt)
        try:
            given = await answer()
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                attempt.outcome.cancel()
            else:
                attempt.outcome.set_exception(error)
                attempt.outcome.exception()  # nobody needs to look at it
            raise
        attempt.outcome.set_result(given)
        return given

    def _before(self, fingerprint: bytes) -> _Attempt[T] | None:
        """The newest attempt that nobody has taken up yet."""
        attempts = self._known.get(fingerprint, ())
        usable = [one for one in attempts if not one.claimed and not _failed(one)]
        return usable[-1] if usable else None

    def _remember(self, fingerprint: bytes, attempt: _Attempt[T]) -> None:
        self._known.setdefault(fingerprint, []).append(attempt)
        self._known.move_to_end(fingerprint)
        oldest = attempt.at - SECONDS
        while self._known:
            first = next(iter(self._known))
            if len(self._known) <= REMEMBERED and self._known[first][-1].at >= oldest:
                return
            del self._known[first]


def _failed(attempt: _Attempt[T]) -> bool:
    outcome = attempt.outcome
    return outcome.cancelled() or (outcome.done() and outcome.exception() is not None)
