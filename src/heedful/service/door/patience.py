"""How long we wait for those who send: one timer for all of them.

`asyncio.timeout` sets a timer for each wait and asks for the running loop, which costs more than most of what is
waited for: nearly every body is there already.
"""

from __future__ import annotations

import asyncio
from threading import get_ident
from types import TracebackType

from heedful.errors import TooSlow


class Patience:
    """Every wait may take as long, so that whoever began first is late first."""

    def __init__(self, seconds: float, complaint: str) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0  # that the loop runs in
        self._seconds = seconds
        self._complaint = complaint
        self._looking = False
        self._waits: dict[Wait, None] = {}  # in the order in which they began

    def wait(self) -> Wait:
        """A block that is cut short with `TooSlow` when it takes too long."""
        loop = self._loop
        if loop is None or self._thread != get_ident() or loop.is_closed():
            self._loop = loop = asyncio.get_running_loop()
            self._thread = get_ident()
            self._waits, self._looking = {}, False
        if not self._looking:
            self._looking = True
            loop.call_later(self._seconds, self._look, loop)
        return Wait(self._waits, loop, loop.time() + self._seconds, self._complaint)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for wait in list(self._waits):
            if wait.until > now:
                loop.call_at(wait.until, self._look, loop)
                return
            del self._waits[wait]
            wait.cut()
        self._looking = False


class Wait:
    __slots__ = ("_complaint", "_late", "_loop", "_task", "_waits", "until")

    def __init__(
        self, waits: dict[Wait, None], loop: asyncio.AbstractEventLoop, until: float, complaint: str
    ) -> None:
        self.until = until
        self._waits = waits
        self._loop = loop
        self._complaint = complaint
        self._late = False
        self._task: asyncio.Task[object] | None = None

    def cut(self) -> None:
        assert self._task is not None  # whoever waits has begun
        self._late = True
        self._task.cancel()

    def __enter__(self) -> None:
        self._task = asyncio.current_task(self._loop)
        self._waits[self] = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._late:
            del self._waits[self]
        elif self._task is not None and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TooSlow(self._complaint) from error
