"""Begin something long, and have it end, whatever happens to the process in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

Json = Any


class FlowState(StrEnum):
    WAITING = "waiting"  # not begun, or between two attempts
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowStatus:
    id: str
    name: str
    state: FlowState
    result: Json = None
    error: str | None = None


class Flow(Protocol):
    """What a workflow is handed: the only ways in which it may touch the world."""

    @property
    def id(self) -> str: ...

    def step(self, name: str, do: Callable[[], Json], *, attempts: int = 3) -> Json:
        """Do it and remember the answer; a workflow that goes on after a crash gets the remembered one.

        A crash in the middle of `do` has it done again, so what it writes must carry this step's name.
        """
        ...

    def sleep(self, seconds: float) -> None: ...

    def receive(self, topic: str, *, timeout: float) -> Json | None:
        """The next message under this topic, or None when the time is over."""
        ...


Workflow = Callable[..., Json]  # (flow, *arguments)


class Durable(Protocol):
    """Every adapter keeps these promises (tests/contract/test_durable.py):

    - a workflow that was started ends, even if the process is killed again and again in between;
    - a step that has ended is never done again;
    - starting an id a second time changes nothing;
    - a message that was sent arrives, whether the workflow waits for it yet or not.
    """

    def register(self, name: str, workflow: Workflow) -> None:
        """Before `launch`: every workflow that may be started or recovered."""
        ...

    def launch(self) -> None:
        """Begin to work, first of all on what a dead process left behind.

        Raises `Conflict` when the process that it would take over from is alive.
        """
        ...

    def start(self, name: str, id: str, *arguments: Json) -> None: ...

    def send(self, id: str, topic: str, message: Json) -> None: ...

    def cancel(self, id: str) -> None: ...

    def status(self, id: str) -> FlowStatus | None: ...

    def statuses(self, name: str | None = None) -> Sequence[FlowStatus]: ...

    def close(self) -> None: ...
