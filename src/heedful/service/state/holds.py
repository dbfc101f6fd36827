"""Answers that wait for a person: who asked waits along, and is refused when nobody decides in time.

They wait in this process, because the caller does too: if it dies the caller's connection is gone as well, and
the client asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from heedful.domain.content import Message
from heedful.domain.guard import Decision, Ruling
from heedful.domain.ids import AgentId, EpisodeId, TenantId
from heedful.errors import Conflict, NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A request or an answer that a guard would not let go by itself."""

    id: str
    tenant: TenantId
    agent: AgentId
    episode: EpisodeId
    request: tuple[Message, ...]
    answer: str | None  # None: the request itself is held, and no policy has been asked
    ruling: Ruling
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What a person made of it; `text` where it is to be said in other words."""

    decision: Decision  # allow, rewrite or refuse
    by: str
    text: str | None = None
    reason: str | None = None


@dataclass(slots=True)
class _Waiting:
    held: Held
    answer: asyncio.Future[Decided]
    loop: asyncio.AbstractEventLoop


@dataclass(slots=True)
class Holds:
    _waiting: dict[tuple[TenantId, str], _Waiting] = field(default_factory=dict)

    async def wait(self, held: Held) -> Decided | None:
        """What a person decides; None when nobody did in time."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(held, loop.create_future(), loop)
        self._waiting[held.tenant, held.id] = waiting
        try:
            async with asyncio.timeout((held.until - held.since).total_seconds()):
                return await waiting.answer
        except TimeoutError:
            return None
        finally:
            del self._waiting[held.tenant, held.id]

    def all(self, tenant: TenantId) -> Sequence[Held]:
        """What waits now, the oldest first."""
        return sorted(
            (one.held for one in list(self._waiting.values()) if one.held.tenant == tenant),
            key=lambda held: held.since,
        )

    def decide(self, tenant: TenantId, id: str, decided: Decided) -> Held:
        """From any thread. The first decision counts."""
        waiting = self._waiting.get((tenant, id))
        if waiting is None:
            raise NotFound(f"nothing is held under {id!r}: it was decided, or its time is over", field="id")
        if waiting.answer.done():
            raise Conflict(f"{id!r} was decided at this moment by somebody else")
        waiting.loop.call_soon_threadsafe(_settle, waiting.answer, decided)
        return waiting.held


def _settle(answer: asyncio.Future[Decided], decided: Decided) -> None:
    if not answer.done():
        answer.set_result(decided)
