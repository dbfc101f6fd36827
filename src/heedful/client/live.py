"""Feedback from an agent that runs: several streams side by side, none of which can stop another.

A source is a function that begins a stream. One that raises, ends, is cancelled or stalls is begun again after a
moment, and everybody is told. What it had given stays: each source has a room of its own that fills up when the
server is slow, and then the source waits (nothing is dropped). A source that begins again may give events again
that it gave before: with ids made from your own events' ids they are kept once.

A source that blocks the event loop itself blocks them all: run such work in a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from random import Random, SystemRandom
from typing import Any, Self, TypeVar

from heedful.client.calls import Json, Said, piece
from heedful.client.patience import passing
from heedful.domain.clock import WallClock
from heedful.errors import InvalidInput
from heedful.wire import FEEDBACK, FeedbackIn, Kept

T = TypeVar("T")
log = logging.getLogger("heedful.live")

FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0  # seconds before a source, or a delivery, is tried again
LETTING_GO = 1.0  # seconds that a stalled source has to end when it is told to
STOP_SECONDS = 30.0  # for what is still to be delivered

Source = Callable[[], AsyncIterator[Said]]
Sink = Callable[[Sequence[Json]], Awaitable[Sequence[Kept] | None]]  # an AsyncClient's `feedback` is one


class State(StrEnum):
    RUNNING = "running"
    WAITING = "waiting"  # it failed, and is begun again in a moment
    STOPPED = "stopped"  # on purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How one source stands."""

    state: State
    events: int = 0  # given by the source, good ones
    delivered: int = 0  # taken by the sink
    refused: int = 0  # that cannot be, or that the sink refused for their own fault
    restarts: int = 0
    last_error: str | None = None  # why it was begun again the last time
    last_event: datetime | None = None


OnReport = Callable[[str, Report], object]


@dataclass
class _Line:
    """One source with its room."""

    name: str
    source: Source
    report: Report = field(default_factory=lambda: Report(state=State.STOPPED))
    room: deque[Json] = field(default_factory=deque)
    left: asyncio.Event = field(default_factory=asyncio.Event)  # there is room
    heard: float = 0.0  # loop time of the last sign of life
    busy: bool = False  # an event waits for room: not the source's fault
    turn: int = 0  # which beginning of the source is the one that counts


class Collector:
    """Gathers the sources while its block lasts; leaving the block delivers what is left."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        sink: Sink,
        *,
        stall_after: float | None,
        at_once: int,
        within: float,
        room: int,
        on_report: OnReport | None,
        random: Random,
    ) -> None:
        if not sources:
            raise InvalidInput("there is no source: name one", field="sources")
        self._lines = [_Line(name, source) for name, source in sources.items()]
        self._sink = sink
        self._stall_after = stall_after
        self._at_once = at_once
        self._within = within
        self._room = room
        self._on_report = on_report
        self._random = random
        self._clock = WallClock()
        self._given = asyncio.Event()
        self._batch: list[tuple[_Line, Json]] = []  # on its way: kept until the sink has it
        self._tasks: list[asyncio.Task[None]] = []
        self._pumps: set[asyncio.Task[None]] = set()
        self._ending = False

    def report(self) -> Mapping[str, Report]:
        """How every source stands."""
        return {line.name: line.report for line in self._lines}

    @property
    def waiting(self) -> int:
        """Events that the sink does not have yet."""
        return len(self._batch) + sum(len(line.room) for line in self._lines)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._kept_up(line), name=line.name) for line in self._lines]
        self._delivery = asyncio.create_task(self._delivered(), name="delivery")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self, seconds: float = STOP_SECONDS) -> Sequence[Json]:
        """End the sources and deliver what they gave. Returns what could not be delivered in time."""
        for task in (*self._tasks, *self._pumps):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._pumps:
            await asyncio.wait(self._pumps, timeout=LETTING_GO)
        for line in self._lines:
            self._say(line, state=State.STOPPED)
        self._ending = True
        self._given.set()
        await asyncio.wait({self._delivery}, timeout=seconds)
        self._delivery.cancel()
        await asyncio.gather(self._delivery, return_exceptions=True)
        left = [one for _, one in self._batch] + [one for line in self._lines for one in line.room]
        if left:
            log.error("feedback not delivered", extra={"pieces": len(left)})
        return left

    # -- the sources -------------------------------------------------------------------------------------

    async def _kept_up(self, line: _Line) -> None:
        """The source's whole life: begun, watched, and begun again."""
        failures = 0
        while True:
            before = line.report.events
            self._say(line, state=State.RUNNING)
            why = await self._until_it_ends(line)
            failures = 1 if line.report.events > before else failures + 1
            self._say(line, state=State.WAITING, restarts=line.report.restarts + 1, last_error=why)
            await asyncio.sleep(self._pause(failures))

    async def _until_it_ends(self, line: _Line) -> str:
        """Run the source once. Returns why it is over."""
        line.turn += 1
        line.heard = asyncio.get_running_loop().time()
        # A task of its own, so that whatever kills it kills nothing else.
        pump = asyncio.create_task(self._pumped(line, line.turn), name=f"source {line.name}")
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)
        while not pump.done():
            await asyncio.wait({pump}, timeout=self._left(line))
            if not pump.done() and self._left(line) == 0:
                pump.cancel()
                await asyncio.wait({pump}, timeout=LETTING_GO)
                return f"nothing came for {self._stall_after:g} s"
        if pump.cancelled():
            return "it was cancelled"
        error = pump.exception()
        return "it ended" if error is None else f"{type(error).__name__}: {error}"

    def _left(self, line: _Line) -> float | None:
        """Seconds until the source counts as stalled; None when that is never looked at."""
        if self._stall_after is None:
            return None
        if line.busy:
            return self._stall_after
        return max(0.0, line.heard + self._stall_after - asyncio.get_running_loop().time())

    async def _pumped(self, line: _Line, turn: int) -> None:
        """From the source into its room. An event that has come is in there before anything else can happen."""
        loop = asyncio.get_running_loop()
        async with closing(line.source()) as stream:
            async for said in stream:
                line.heard = loop.time()
                if (good := self._checked(line, said)) is not None:
                    line.room.append(good)
                    self._given.set()
                    self._note(line, events=line.report.events + 1, last_event=self._clock.now())
                if turn != line.turn:
                    return  # it would not end when it was told to, and another was begun
                await self._until_there_is_room(line)

    async def _until_there_is_room(self, line: _Line) -> None:
        line.busy = True
        try:
            while len(line.room) >= self._room:
                line.left.clear()
                await line.left.wait()
        finally:
            line.busy = False
            line.heard = asyncio.get_running_loop().time()

    def _checked(self, line: _Line, said: Said) -> Json | None:
        """As it is sent, with an id from now on; None for what cannot be, which must not spoil its neighbours."""
        try:
            whole = said if isinstance(said, FeedbackIn) else FEEDBACK.validate_python(said)
            return piece(whole)
        except ValueError as error:
            log.error("feedback refused", extra={"source": line.name, "reason": str(error)})
            self._note(line, refused=line.report.refused + 1)
            return None

    # -- the sink ----------------------------------------------------------------------------------------

    async def _delivered(self) -> None:
        """Batch after batch, until everything is delivered and no more comes."""
        while True:
            if not self._batch:
                if not any(line.room for line in self._lines):
                    if self._ending:
                        return
                    self._given.clear()
                    await self._given.wait()
                await self._gathered()
            await self._deliver()

    async def _gathered(self) -> None:
        """One from each in turn, so that a loud source does not keep the others waiting."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._within
        while True:
            for line in self._lines:
                if line.room and len(self._batch) < self._at_once:
                    self._batch.append((line, line.room.popleft()))
                    line.left.set()
            if len(self._batch) >= self._at_once:
                return
            if self._ending and not any(line.room for line in self._lines):
                return
            if any(line.room for line in self._lines):
                continue
            self._given.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._given.wait()
            except TimeoutError:
                return

    async def _deliver(self) -> None:
        """This batch, however long it takes. Its ids stay the same, so that it cannot be kept twice."""
        failures = 0
        while self._batch:
            try:
                self._settle(await self._sink([one for _, one in self._batch]))
                reason = "the server is busy"
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                reason = repr(error)  # it is the sink's own
            except Exception as error:  # noqa: BLE001 (any sink's: nothing of it may lose a batch)
                reason = repr(error)
            if self._batch:
                failures += 1
                if failures == 1:
                    log.warning("feedback waits", extra={"reason": reason, "pieces": len(self._batch)})
                await asyncio.sleep(self._pause(failures))

    def _settle(self, kept: Sequence[Kept] | None) -> None:
        """Only what met a full server stays in the batch."""
        again = set() if kept is None else set(passing(kept))
        for place, (line, one) in enumerate(self._batch):
            error = None if kept is None else kept[place].error
            if error is None:
                self._note(line, delivered=line.report.delivered + 1)
            elif place not in again:
                extra = {"source": line.name, "feedback": one["id"], "reason": error.message}
                log.error("feedback refused", extra=extra)
                self._note(line, refused=line.report.refused + 1)
        self._batch = [one for place, one in enumerate(self._batch) if place in again]

    # -- telling -----------------------------------------------------------------------------------------

    def _pause(self, failures: int) -> float:
        return self._random.uniform(0.5, 1.0) * min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(failures, 30))

    def _note(self, line: _Line, **changed: Any) -> None:
        line.report = replace(line.report, **changed)

    def _say(self, line: _Line, **changed: Any) -> None:
        self._note(line, **changed)
        report = line.report
        level = logging.WARNING if report.state is State.WAITING else logging.INFO
        log.log(
            level,
            "live source",
            extra={
                "source": line.name,
                "state": str(report.state),
                "restarts": report.restarts,
                "reason": report.last_error if report.state is State.WAITING else None,
            },
        )
        if self._on_report is not None:
            try:
                self._on_report(line.name, report)
            except Exception:
                log.exception("whoever is told about sources failed", extra={"source": line.name})


@asynccontextmanager
async def closing(stream: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """A stream that is let go of at the end, if it is of the kind that can be."""
    try:
        yield stream
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


def collect(
    sources: Mapping[str, Source],
    sink: Sink,
    *,
    stall_after: float | None = None,
    at_once: int = 100,
    within: float = 0.5,
    room: int = 1000,
    on_report: OnReport | None = None,
    random: Random | None = None,
) -> Collector:
    """Begin with `async with collect({"corrections": stream, …}, client.feedback) as collector:`.

    `stall_after` seconds without an event count as a failure; None for sources that may be silent. What comes
    goes to the sink when there are `at_once` of it or the first has waited `within` seconds; a source with
    `room` events on their way waits. `on_report` is called whenever a source begins, fails or stops.
    """
    return Collector(
        sources,
        sink,
        stall_after=stall_after,
        at_once=at_once,
        within=within,
        room=room,
        on_report=on_report,
        random=random or SystemRandom(),
    )
