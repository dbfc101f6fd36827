"""What the loop refuses to begin, before anybody is asked to work for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from factories import TENANT
from heedful import road
from heedful.domain.content import Sampling
from heedful.domain.models import Cycle, External
from heedful.errors import Conflict
from heedful.road import Parts
from heedful.worker import Worker
from roadside import AGENT, first_policy, make_parts


class Idle:
    """Durable that does nothing of what it is asked: the shortest adapter."""

    def __init__(self) -> None:
        self.started: list[tuple[str, str]] = []

    def register(self, name: str, workflow: Any) -> None: ...

    def start(self, name: str, id: str, *arguments: Any) -> None:
        self.started.append((name, id))


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
