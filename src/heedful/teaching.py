"""Training from files, without a server: one command, one model directory."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from heedful.errors import InvalidInput, Misconfigured


@dataclass(frozen=True, slots=True)
class Task:
    """Which function does it, and under which name its spec takes the data."""

    module: str
    spec: str
    data: str


TASKS: Mapping[str, Task] = {
    "sft": Task("heedful.training.sft", "SftSpec", "demonstrations"),
    "reward": Task("heedful.rewards.fit", "FitSpec", "preferences"),
    "dpo": Task("heedful.training.dpo", "DpoSpec", "preferences"),
    "kto": Task("heedful.training.kto", "KtoSpec", "thumbs"),
}


def spec_of(
    name: str, data: Path | None, model: str | None, config: Path | None, options: Sequence[str]
) -> dict[str, Any]:
    """The whole order: the file first, then what was said beside it."""
    task = TASKS[name]
    asked: dict[str, Any] = {} if config is None else _read(config)
    asked |= dict(map(_option, options))
    asked |= {} if data is None else {task.data: str(data)}
    asked |= {} if model is None else {"model": model}
    shape: type[BaseModel] = getattr(importlib.import_module(task.module), task.spec)
    try:
        shape.model_validate(asked)
    except ValidationError as error:
        known = f"{task.spec} has {', '.join(shape.model_fields)}"
        raise InvalidInput(f"{'; '.join(map(_told, error.errors()))} ({known})") from None
    return asked


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
    done: dict[str, Any] = importlib.import_module(TASKS[name].module).run(spec, out, track)
    return done


def _read(config: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured(f"{config} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{config} is neither YAML nor JSON: {error}") from error
    if not isinstance(found, dict):
        raise Misconfigured(f"{config} holds no table of settings")
    return found


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidInput(f"{text!r} is not NAME=VALUE")
    return name, yaml.safe_load(value) if value else ""


def _told(error: Any) -> str:
    return f"{'.'.join(map(str, error['loc'])) or 'the order'}: {error['msg'][:1].lower()}{error['msg'][1:]}"
