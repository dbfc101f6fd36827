"""Live collection: whatever kills one source, the others lose nothing, and it is back and reported."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from heedful.client import Report, Source, State, collect
from heedful.client.sources import (
    Effort,
    Interaction,
    Reaction,
    SafetyEvent,
    TaskResult,
    completion_quality,
    efficiency_meter,
    interactions,
    safety_monitor,
    task_results,
)
from heedful.domain.feedback import Confirmation, Correction
from heedful.domain.taxonomy import Severity
from heedful.errors import InvalidInput
from heedful.wire import ErrorOut, Kept

pytestmark = pytest.mark.anyio

NAMES = ("interactions", "task_results", "safety_monitor", "efficiency_meter")


def flag(id: str) -> dict[str, Any]:
    return {"id": id, "turn": "t", "said": {"form": "flag", "reason": id}}


class Sink:
    """Keeps what it gets; fails as often as it is told to."""

    def __init__(self, *, failures: int = 0, seconds: float = 0.0) -> None:
        self.got: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self._failures = failures
        self._seconds = seconds

    async def __call__(self, said: Sequence[dict[str, Any]]) -> list[Kept]:
        await asyncio.sleep(self._seconds)
        if self._failures:
            self._failures -= 1
            raise ConnectionError("away")
        self.got += said
        self.batches.append(len(said))
        return [Kept(id=one["id"], status="kept") for one in said]

    @property
    def ids(self) -> list[str]:
        return [one["id"] for one in self.got]


class Stream:
    """Numbered events from where it was, and a way to die at the next one."""

    def __init__(self, name: str, *, every: float = 0.01) -> None:
        self.name = name
        self.given = 0
        self.death: str | None = None
        self._every = every

    async def __call__(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            await asyncio.sleep(self._every)
            death, self.death = self.death, None
            match death:
                case "raises":
                    raise RuntimeError("killed")
                case "is cancelled":
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                    await asyncio.sleep(0)
                case "hangs":
                    await asyncio.Event().wait()
                case "will not let go":
                    try:
                        await asyncio.Event().wait()
                    except asyncio.CancelledError:
                        await asyncio.sleep(3)
                case "ends":
                    return
                case _:
                    self.given += 1
                    yield flag(f"{self.name}-{self.given}")


async def until(holds: Callable[[], bool], seconds: float = 10.0) -> float:
    """How long it took until it held."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not holds():
        if loop.time() > began + seconds:
            raise AssertionError(f"not within {seconds} s")
        await asyncio.sleep(0.01)
    return loop.time() - began


@pytest.mark.parametrize("death", ["raises", "is cancelled", "hangs", "ends", "will not let go"])
async def test_each_killed_in_turn_the_others_lose_nothing_and_it_is_back(death: str) -> None:
    sink = Sink()
    streams = {name: Stream(name) for name in NAMES}
    told: list[tuple[str, Report]] = []
    sources: dict[str, Source] = {**streams}
    async with collect(
        sources,
        sink,
        stall_after=0.3,
        within=0.05,
        on_report=lambda name, report: told.append((name, report)),
    ) as collector:
        for name in NAMES:
            await until(lambda: all(stream.given for stream in streams.values()))
            told.clear()
            before = {other: stream.given for other, stream in streams.items()}
            streams[name].death = death
            took = await until(lambda: streams[name].given > before[name] + 3)  # noqa: B023
            assert took < 5
            assert [report.state for who, report in told if who == name] == [State.WAITING, State.RUNNING]
            assert {who for who, _ in told} == {name}
            assert collector.report()[name].restarts == 1
            assert all(streams[other].given > before[other] + 3 for other in NAMES)
    wanted = Counter(f"{name}-{n + 1}" for name in NAMES for n in range(streams[name].given))
    assert Counter(sink.ids) == wanted
    assert {report.state for report in collector.report().values()} == {State.STOPPED}
    assert sum(report.delivered for report in collector.report().values()) == wanted.total()


async def test_the_report_says_what_went_wrong() -> None:
    stream = Stream("s")
    async with collect({"s": stream}, Sink()) as collector:
        stream.death = "raises"
        await until(lambda: collector.report()["s"].restarts > 0)
        assert collector.report()["s"].last_error == "RuntimeError: killed"
        await until(lambda: collector.report()["s"].events > 0)
        assert collector.report()["s"].last_event is not None


async def test_a_sink_that_fails_gets_the_same_again() -> None:
    sink, stream = Sink(failures=3), Stream("s")
    async with collect({"s": stream}, sink, within=0.01):
        await until(lambda: len(sink.got) > 5)
    assert sink.ids == [f"s-{n + 1}" for n in range(stream.given)]


async def test_what_met_a_full_server_is_sent_again_and_what_is_refused_is_not() -> None:
    seen: Counter[str] = Counter()

    async def sink(said: Sequence[dict[str, Any]]) -> list[Kept]:
        seen.update(one["id"] for one in said)

        def answer(id: str) -> Kept:
            if id == "s-1" and seen[id] == 1:
                return Kept(id=id, status="error", error=ErrorOut(message="", type="", code="busy"))
            if id == "s-2":
                return Kept(id=id, status="error", error=ErrorOut(message="", type="", code="not_found"))
            return Kept(id=id, status="kept")

        return [answer(one["id"]) for one in said]

    async with collect({"s": Stream("s")}, sink, within=0.01) as collector:
        await until(lambda: seen["s-4"] > 0)
    assert (seen["s-1"], seen["s-2"], collector.report()["s"].refused) == (2, 1, 1)


async def test_a_slow_sink_makes_sources_wait_and_drops_nothing() -> None:
    sink, loud, calm = Sink(seconds=0.05), Stream("loud", every=0), Stream("calm", every=0.02)
    async with collect({"loud": loud, "calm": calm}, sink, at_once=10, room=20, stall_after=0.2) as collector:
        await until(lambda: len(sink.got) > 100)
        assert collector.waiting <= 2 * 21 + 10
        assert collector.report()["loud"].restarts == 0  # to wait for room is not to stall
        assert sum(id.startswith("calm") for id in sink.ids) > 10  # the loud one does not keep it waiting
    assert Counter(sink.ids).total() == loud.given + calm.given
    assert max(sink.batches) == 10


async def test_one_piece_that_cannot_be_does_not_spoil_the_others() -> None:
    async def source() -> AsyncIterator[dict[str, Any]]:
        yield flag("good")
        yield {"turn": "t", "said": {"form": "flag", "reason": object()}}
        yield {"turn": "t", "said": {"form": "no such form"}}
        await asyncio.Event().wait()

    sink = Sink()
    async with collect({"s": source}, sink, within=0.01) as collector:
        await until(lambda: collector.report()["s"].refused == 2 and sink.ids == ["good"])
    assert collector.report()["s"].restarts == 0


async def test_what_cannot_be_delivered_at_the_end_is_handed_back() -> None:
    stream = Stream("s")
    collector = collect({"s": stream}, Sink(failures=10**9), within=0.01)
    async with collector:
        await until(lambda: stream.given > 5)
        left = await collector.stop(0.1)
    assert [one["id"] for one in left] == [f"s-{n + 1}" for n in range(stream.given)]


async def test_whoever_is_told_may_fail() -> None:
    def told(name: str, report: Report) -> None:
        raise RuntimeError("no")

    sink = Sink()
    async with collect({"s": Stream("s")}, sink, within=0.01, on_report=told):
        await until(lambda: len(sink.got) > 3)


async def test_the_four_streams_become_feedback() -> None:
    async def stream(*events: Any) -> AsyncIterator[Any]:
        for event in events:
            yield event
        await asyncio.Event().wait()

    sources = {
        "interactions": interactions(
            lambda: stream(
                Interaction(id="i1", turn="t", by="u", said=Correction(text="better", kind="tone")),
                Interaction(id="i2", turn="t", said=Confirmation(strength=0.25)),
            )
        ),
        "task_results": task_results(
            lambda: stream(
                TaskResult(
                    id="r1", episode="e", task_type="refund", completed=True, reaction=Reaction.THANKED
                ),
                TaskResult(id="r2", episode="e", task_type="refund", completed=True, score=math.nan),
            )
        ),
        "safety_monitor": safety_monitor(
            lambda: stream(
                SafetyEvent(id="s1", turn="t", category="privacy.payment_data", severity=Severity(3)),
                SafetyEvent(id="s2", turn="t", category=None),
            )
        ),
        "efficiency_meter": efficiency_meter(
            lambda: stream(
                Effort(id="e1", episode="e", seconds=1.5, tokens=12),
                Effort(id="e2", turn="t", tokens=-1),
            )
        ),
    }
    sink = Sink()
    async with collect(sources, sink, within=0.01) as collector:
        await until(lambda: len(sink.got) == 6)
        await until(lambda: sum(report.refused for report in collector.report().values()) == 2)
        assert all(report.restarts == 0 for report in collector.report().values())
    said = {one["id"]: one["said"] for one in sink.got}
    assert said["i1"] == {"form": "correction", "text": "better", "kind": "tone"}
    assert said["i2"] == {"form": "confirmation", "strength": 0.25}
    assert said["r1"] == {
        "form": "completion",
        "completed": True,
        "quality": 1.0,
        "task_type": "refund",
    }
    assert (said["s1"]["category"], said["s1"]["severity"]) == ("privacy.payment_data", 3)
    assert said["s2"]["category"] is None
    assert (said["e1"]["seconds"], said["e1"]["tokens"]) == (1.5, 12)


@pytest.mark.parametrize(
    ("completed", "score", "reaction", "quality"),
    [
        (True, None, None, None),
        (True, 0.8, None, 0.8),
        (True, None, Reaction.REPEATED, 0.3),
        (True, 0.8, Reaction.THANKED, 0.9),
        (False, 0.9, Reaction.THANKED, 0.5),
        (False, 0.1, Reaction.COMPLAINED, 0.05),
    ],
)
async def test_quality_is_what_the_result_measures_and_what_the_user_made_of_it(
    completed: bool, score: float | None, reaction: Reaction | None, quality: float | None
) -> None:
    result = TaskResult(episode="e", task_type="x", completed=completed, score=score, reaction=reaction)
    assert completion_quality(result) == (None if quality is None else pytest.approx(quality))


async def test_an_event_is_about_something() -> None:
    with pytest.raises(InvalidInput, match="name one"):
        Effort(seconds=1.0)
    with pytest.raises(InvalidInput, match="no source"):
        collect({}, Sink())
