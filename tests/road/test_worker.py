"""What the loop refuses to begin, before anybody is asked to work for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factories import TENANT
from heedful import road
from heedful.domain.content import Sampling
from heedful.domain.ids import RunId
from heedful.domain.labeling import Queue
from heedful.domain.models import Cycle, CycleStage, External
from heedful.errors import Conflict
from heedful.road import Parts
from heedful.worker import Worker
from roadside import AGENT, PretendingEngine, first_policy, judge_all, make_parts, work_tickets


class Idle:
    """Durable that does nothing of what it is asked: the shortest adapter."""

    def __init__(self) -> None:
        self.started: list[tuple[str, str]] = []
        self.workflows: dict[str, Any] = {}
        self.arguments: tuple[Any, ...] = ()

    def register(self, name: str, workflow: Any) -> None:
        self.workflows[name] = workflow

    def start(self, name: str, id: str, *arguments: Any) -> None:
        self.started.append((name, id))
        self.arguments = arguments

    def launch(self) -> None: ...


class Straight:
    """A flow that does each step at once; when people are waited for, they have judged."""

    id = "straight"

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def step(self, name: str, do: Callable[[], Any], *, attempts: int = 3) -> Any:
        if name == "judged":
            (queue,) = self._parts.store.find(Queue, TENANT)
            judge_all(self._parts, queue.id)
        return do()


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = make_parts(tmp_path)
    yield made
    made.store.close()


def begin(parts: Parts, kind: str) -> Cycle:
    durable: Any = Idle()
    cycle = Worker(parts, durable).start_cycle(TENANT, AGENT, kind=kind, actor="ann", options={})
    assert durable.started == [(kind, f"{TENANT}/{cycle.id}")]
    return cycle


def test_a_cycle_sets_out_from_the_weights_that_are_live(parts: Parts) -> None:
    start = first_policy(parts)
    assert begin(parts, "improve").start == start.id


def test_nothing_is_improved_that_was_never_released(parts: Parts) -> None:
    with pytest.raises(Conflict, match="no policy yet"):
        begin(parts, "improve")
    assert begin(parts, "imitate").start is None


@pytest.mark.parametrize("kind", ["improve", "imitate"])
def test_what_somebody_else_hosts_is_not_trained(parts: Parts, kind: str) -> None:
    body = External(upstream="vllm", model="m")
    hosted = road.adopt(parts, TENANT, AGENT, body, sampling=Sampling(), actor="ann")
    road.release(parts, TENANT, hosted.id, actor="ann", once="first")
    with pytest.raises(Conflict, match="only weights can be trained here"):
        begin(parts, kind)
    assert parts.store.find(Cycle, TENANT) == []


def test_a_cycle_stops_at_a_judge_below_its_bounds_and_says_which(parts: Parts) -> None:
    engine = PretendingEngine(parts.engine.work(RunId("any")).parent, log_loss=1.7)
    parts = replace(parts, engine=engine)
    first_policy(parts)
    work_tickets(parts, 40)
    durable: Any = Idle()
    worker = Worker(parts, durable)
    cycle = worker.start_cycle(TENANT, AGENT, kind="improve", actor="ann", options={})

    async def go() -> None:
        worker.launch(asyncio.get_running_loop())
        await asyncio.to_thread(durable.workflows["improve"], Straight(parts), *durable.arguments)

    asyncio.run(go())
    ended = parts.store.get(Cycle, TENANT, cycle.id)
    assert ended is not None
    assert (ended.stage, ended.policy) == (CycleStage.STOPPED, None)
    assert ended.note == "reward model reward@1 missed its bounds: max_log_loss 1.700 misses 1.500"
