"""Run a heavy task somewhere else and bring back what it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from heedful.domain.ids import RunId

Progress = Callable[[int, Mapping[str, float]], None]


class Engine(Protocol):
    """Runs a task, named by its dotted path, with a JSON spec, in a work directory of its own.

    A task is a function `run(spec, work, track)`; its result is a JSON object and may name files that lie
    under `work`.

    Every adapter keeps these promises (tests/contract/test_engine.py):
    - a run id names one execution, whoever's it is: asked for again after it is done, the first result comes
      back;
    - a run that was cut off, by whatever, starts again from what its work directory holds;
    - when the caller dies the task ends too, within seconds;
    - progress is reported at least as often as the task tracks something;
    - the task sees nothing of the caller's memory: only its spec and the files it names.

    Raises `TrainingFailed` when the task raises, with the task's own last words.
    """

    def run(
        self, task: str, spec: Mapping[str, Any], *, run: RunId, progress: Progress | None = None
    ) -> dict[str, Any]: ...

    def work(self, run: RunId) -> Path:
        """The run's directory, where its result's files lie."""
        ...

    def close(self) -> None:
        """End what is running, without an outcome: whoever waits for it leaves with `SystemExit`."""
        ...
