"""Training from files, without a server: one command, one model directory."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from heedful.commands import runs
from heedful.commands.orders import order
from heedful.domain.clock import WallClock
from heedful.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Task:
    """Which function does it, and under which name its spec takes the data."""

    module: str
    spec: str
    data: str


TASKS: Mapping[str, Task] = {
    "sft": Task("heedful.training.sft", "SftSpec", "demonstrations"),
    "reward": Task("heedful.rewards.fit", "FitSpec", "preferences"),
    "ensemble": Task("heedful.rewards.ensemble_fit", "EnsembleSpec", "preferences"),
    "sparse": Task("heedful.rewards.sparse.fit", "SparseSpec", "preferences"),
    "dpo": Task("heedful.training.dpo", "DpoSpec", "preferences"),
    "grpo": Task("heedful.training.grpo", "GrpoSpec", "prompts"),
    "ppo": Task("heedful.training.ppo", "PpoSpec", "prompts"),
    "refresh": Task("heedful.rewards.refresh", "RefreshSpec", "preferences"),
    "kto": Task("heedful.training.kto", "KtoSpec", "thumbs"),
}


EXITS: Mapping[str, int] = {"refused": 1, "waiting": 3}  # what a refresh came to; all else is 0


def spec_of(
    name: str, data: Path | None, model: str | None, config: Path | None, options: Sequence[str]
) -> dict[str, Any]:
    """The whole order: the file first, then what was said beside it."""
    said = {TASKS[name].data: None if data is None else str(data), "model": model}
    return order(_shape(name), config, options, said)


def check(name: str, spec: dict[str, Any]) -> None:
    """Nothing, or what is wrong with an order."""
    order(_shape(name), None, (), spec)


def _shape(name: str) -> type[BaseModel]:
    task = TASKS[name]
    shape: type[BaseModel] = getattr(importlib.import_module(task.module), task.spec)
    return shape


def run(
    name: str, spec: dict[str, Any], out: Path, track: Callable[..., None], *, resume: bool
) -> dict[str, Any]:
    """Train into `out`. What lies there of a run that was cut off is gone on with only when that is asked for."""
    from heedful.lm import state

    cut_off = (out / state.FOLDER).is_dir()
    if cut_off and not resume:
        raise InvalidInput(f"{out} holds a run that was cut off: go on with --resume, or give another --out")
    if resume and not cut_off:
        raise InvalidInput(f"{out} holds no run to go on with: leave --resume out")
    whole = _shape(name).model_validate(spec).model_dump(mode="json")
    inputs, began, start = runs.digests_of(whole), WallClock().now(), time.monotonic()
    done: dict[str, Any] = importlib.import_module(TASKS[name].module).run(spec, out, track)
    runs.leave(out, name, whole, inputs, began, time.monotonic() - start, done)
    return done
