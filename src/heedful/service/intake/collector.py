"""Requests that come at the same moment go to the store together.

Alone, each would cost a question about its targets, a batch, a future and a wake-up of the event loop, and
these cost more than the feedback itself. Nothing waits on purpose: what has come by the end of one pass of the
loop goes on, and what comes while targets are being looked up shares the next look.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from threading import get_ident
from typing import Any, Generic, TypeVar

from heedful import road
from heedful.domain.episode import Turn
from heedful.domain.feedback import Feedback
from heedful.domain.ids import EpisodeId, TenantId, TurnId
from heedful.errors import Busy, HeedfulError
from heedful.road import Heard, Hearing, Parts
from heedful.store.targets import Target, Targets

Value = TypeVar("Value")
MOST = 500  # pieces that are prepared in one pass of the loop: others want to be answered too
AHEAD = 2  # batches on their way to the disk: one is being written and one is ready, the rest gathers here
FULL_AHEAD = 8  # the same for batches that have `MOST` pieces already and gain nothing by waiting
WAITING_PIECES, WAITING_BYTES = 20_000, 128 << 20  # of requests that wait here; beyond that they are `Busy`
REMEMBERED = 20_000  # targets of each generation: some ten megabytes in all
ACTOR = "ingest"  # judgements, which are acts of somebody, do not come through here


@dataclass(frozen=True, slots=True)
class Waiting:
    """One request's pieces, and who waits for them."""

    tenant: TenantId
    said: Sequence[Feedback]
    size: int  # bytes
    done: asyncio.Future[list[Heard]]


class Seen:
    """Targets that were here lately: what a turn is never changes."""

    def __init__(self) -> None:
        self.turns: Recent[Target] = Recent()
        self.episodes: Recent[bool] = Recent()

    def answered(self, turns: Sequence[Turn]) -> None:
        """These just were: feedback on them needs no look-up, and may come before the disk has them."""
        for turn in turns:
            self.turns.add((turn.tenant, turn.id), Target(turn.episode, turn.policy))
            self.episodes.add((turn.tenant, turn.episode), True)

    def forget(self) -> None:
        """Look everything up again: something was dropped."""
        self.turns.clear()
        self.episodes.clear()


class Collector:
    """Of one event loop: everything but the look-ups and the commits happens on it."""

    def __init__(self, parts: Parts, seen: Seen, threads: Executor, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.thread = loop, get_ident()
        self._threads = threads
        self._parts = parts
        self._turns, self._episodes = seen.turns, seen.episodes
        self._bell = Bell(loop)
        self._ready: deque[Waiting] = deque()  # whose targets are known, as far as they are here
        self._unknown: deque[Waiting] = deque()
        self._here = parts.views.near
        self._looking = False
        self._going = False
        self._ahead = 0  # batches that the store has and did not finish
        self.pieces = self._bytes = 0  # of everything that is not answered

    async def hear(self, tenant: TenantId, said: Sequence[Feedback], size: int) -> list[Heard]:
        """As `road.hear`, for feedback without judgements; `size` is how many bytes it came in."""
        if self.pieces + len(said) > WAITING_PIECES or self._bytes + size > WAITING_BYTES:
            raise Busy(f"{self.pieces} pieces of feedback wait to be written: send this again soon")
        self.pieces += len(said)
        self._bytes += size
        try:
            return await self._through(Waiting(tenant, said, size, self.loop.create_future()))
        finally:
            self.pieces -= len(said)
            self._bytes -= size

    async def _through(self, waiting: Waiting) -> list[Heard]:
        if self._known(waiting):
            self._ready.append(waiting)
            self._go()
        else:
            self._unknown.append(waiting)
            self._look()
        return await waiting.done

    # -- what it is about --------------------------------------------------------------------------------

    def _known(self, waiting: Waiting) -> bool:
        """Whether everything that these pieces are about was seen lately."""
        tenant, turns, episodes = waiting.tenant, self._turns, self._episodes
        for one in waiting.said:
            if one.episode is not None and episodes.get((tenant, one.episode)) is None:
                return False
            for id in one.turns:
                if turns.get((tenant, id)) is None:
                    return False
        return True

    def _look(self) -> None:
        if self._unknown and not self._looking:
            self._looking = True
            self.loop.call_soon(self._ask)  # those of this pass come along

    def _ask(self) -> None:
        some, pieces = [], 0
        while self._unknown and pieces < 2 * MOST:
            some.append(self._unknown.popleft())
            pieces += len(some[-1].said)
        asked = _by_tenant(some)
        looked: asyncio.Future[dict[TenantId, Targets]]
        if self._here:  # a few reads of a file: waking a thread for them takes longer
            looked = self.loop.create_future()
            try:
                looked.set_result(_looked(self._parts, asked))
            except Exception as error:  # noqa: BLE001  told to those who wait, as from a thread
                looked.set_exception(error)
            self._found(some, looked)
            return
        looked = self.loop.run_in_executor(self._threads, _looked, self._parts, asked)
        looked.add_done_callback(partial(self._found, some))

    def _found(self, some: Sequence[Waiting], looked: asyncio.Future[dict[TenantId, Targets]]) -> None:
        self._looking = False
        self._look()
        try:
            found = looked.result()
        except HeedfulError as error:
            for one in some:
                _settle(one, _all_failed(one.said, error))
            return
        except Exception as error:  # noqa: BLE001  those who wait must hear of it
            for one in some:
                if not one.done.done():
                    one.done.set_exception(error)
            return
        for tenant, targets in found.items():
            for id, target in targets.turns.items():
                self._turns.add((tenant, id), target)
            for episode in targets.episodes:
                self._episodes.add((tenant, episode), True)
        self._ready.extend(some)
        self._go()

    # -- on its way to the store -------------------------------------------------------------------------

    def _go(self) -> None:
        if self._ready and not self._going and self._may_go():
            self._going = True
            self.loop.call_soon(self._send)

    def _may_go(self) -> bool:
        if self._ahead < AHEAD:
            return True
        return self._ahead < FULL_AHEAD and sum(len(one.said) for one in self._ready) >= MOST

    def _send(self) -> None:
        """A batch for the store, of one tenant; what is left has the next pass."""
        self._going = False
        first = self._ready[0]
        some, pieces, left = [], 0, deque[Waiting]()
        while self._ready and pieces < MOST:
            one = self._ready.popleft()
            if one.tenant == first.tenant:
                some.append(one)
                pieces += len(one.said)
            else:
                left.append(one)
        self._ready.extendleft(reversed(left))
        said = [piece for one in some for piece in one.said] if len(some) > 1 else first.said
        turns, episodes = self._targets(first.tenant, said)
        hearing = road.begin_to_hear(self._parts, first.tenant, said, turns, episodes, actor=ACTOR)
        if hearing.kept is None:
            self._tell(some, hearing)
        else:
            self._ahead += 1
            hearing.kept.add_done_callback(self._bell.ringer(partial(self._kept, some, hearing)))
        self._go()

    def _targets(
        self, tenant: TenantId, said: Sequence[Feedback]
    ) -> tuple[Mapping[TurnId, Target], frozenset[EpisodeId]]:
        turns, episodes = road.asked_for(said)
        seen = self._turns.get
        found = {id: target for id in turns if (target := seen((tenant, id))) is not None}
        return found, frozenset(id for id in episodes if self._episodes.get((tenant, id)))

    def _kept(self, some: Sequence[Waiting], hearing: Hearing) -> None:
        self._ahead -= 1
        self._go()
        self._tell(some, hearing)

    def _tell(self, some: Sequence[Waiting], hearing: Hearing) -> None:
        try:
            results = iter(road.heard(self._parts, hearing))
        except Exception as error:  # noqa: BLE001  those who wait must hear of it
            for one in some:
                if not one.done.done():
                    one.done.set_exception(error)
            return
        for one in some:
            _settle(one, list(islice(results, len(one.said))))


def _by_tenant(some: Sequence[Waiting]) -> dict[TenantId, list[Feedback]]:
    asked: dict[TenantId, list[Feedback]] = {}
    for one in some:
        asked.setdefault(one.tenant, []).extend(one.said)
    return asked


def _looked(parts: Parts, asked: Mapping[TenantId, Sequence[Feedback]]) -> dict[TenantId, Targets]:
    return {tenant: parts.views.targets(tenant, *road.asked_for(said)) for tenant, said in asked.items()}


def _settle(one: Waiting, results: list[Heard]) -> None:
    if not one.done.done():  # who waited may have gone
        one.done.set_result(results)


def _all_failed(said: Sequence[Feedback], error: HeedfulError) -> list[Heard]:
    return [Heard(id=one.id, kept=False, error=error) for one in said]


class Recent(Generic[Value]):
    """What was seen lately, by tenant and id, in two generations: when the young one is full the old one goes."""

    def __init__(self) -> None:
        self._young: dict[tuple[TenantId, str], Value] = {}
        self._old: dict[tuple[TenantId, str], Value] = {}

    def get(self, key: tuple[TenantId, str]) -> Value | None:
        return self._young.get(key) or self._old.get(key)

    def add(self, key: tuple[TenantId, str], value: Value) -> None:
        self._young[key] = value
        if len(self._young) >= REMEMBERED:
            self._old, self._young = self._young, {}

    def clear(self) -> None:
        self._young, self._old = {}, {}


class Bell:
    """Calls from other threads, each answered on the event loop, and one wake-up for all that come together."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Callable[[], None]] = deque()
        self._rung = False

    def ringer(self, call: Callable[[], None]) -> Callable[[Future[Any]], None]:
        """For a future: `call` is made on the loop when it is done."""

        waiting = [call]

        def ring(_: Future[Any]) -> None:
            # Taken out: a future keeps its callbacks for ever, and this call leads back to the future.
            self._calls.append(waiting.pop())
            if not self._rung:
                self._rung = True
                with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                    self._loop.call_soon_threadsafe(self._answer)

        return ring

    def _answer(self) -> None:
        self._rung = False  # first: whoever comes now rings again
        while self._calls:
            self._calls.popleft()()
