"""Everything that a training run is at one moment, on disk: it goes on from there as if nothing had happened.

A state is a directory, complete or not there at all: it is written beside and renamed. The newest complete one
counts; those before it are removed when it stands.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from heedful.errors import InvalidInput
from heedful.synced import sync

PREFIX = "state-"
FOLDER = "states"  # of a run's directory


class Memory(Protocol):
    """What an optimiser remembers, or several together."""

    def state(self) -> dict[str, Tensor]: ...

    def restore(self, state: Mapping[str, Tensor], taken: int) -> None: ...


@dataclass(slots=True)
class Progress:
    """Where a run is: what its position, its counters and its chance are."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    turns: list[tuple[int, int]] = field(default_factory=list)  # of each course: epoch, batches taken of it
    extra: dict[str, Any] = field(default_factory=dict)  # a task's own: controllers, constants


def save(root: Path, progress: Progress, modules: Mapping[str, nn.Module], stepper: Memory, key: str) -> Path:
    """`key` says which run this is: its settings and its data."""
    root.mkdir(parents=True, exist_ok=True)
    whole, beside = root / f"{PREFIX}{progress.step:09d}", root / "writing"
    if whole.exists():
        return whole
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    save_file(_moving(modules), beside / "weights.safetensors")
    save_file(
        {name: value.contiguous() for name, value in stepper.state().items()},
        beside / "optimiser.safetensors",
    )
    save_file(_chance(), beside / "chance.safetensors")
    (beside / "progress.json").write_text(json.dumps({"key": key, **asdict(progress)}), encoding="utf-8")
    for file in beside.iterdir():
        sync(file)
    sync(beside)
    beside.rename(whole)
    sync(root)
    for other in root.glob(f"{PREFIX}*"):
        if other != whole:
            shutil.rmtree(other, ignore_errors=True)
    return whole


def resume(root: Path, modules: Mapping[str, nn.Module], stepper: Memory, key: str) -> Progress | None:
    """Put everything back as it was; None when nothing was saved. Another run's state is refused."""
    found = sorted(root.glob(f"{PREFIX}*"))
    if not found:
        return None
    card = json.loads((found[-1] / "progress.json").read_text(encoding="utf-8"))
    if card.pop("key") != key:
        raise InvalidInput(
            f"{found[-1]} is the state of a run with other settings or other data: give an empty directory, or "
            "the settings that it began with",
            field="work",
        )
    weights = load_file(found[-1] / "weights.safetensors")
    with torch.no_grad():
        for name, parameter in _named(modules).items():
            parameter.copy_(weights[name])
    stepper.restore(load_file(found[-1] / "optimiser.safetensors"), card["step"])
    _restore_chance(load_file(found[-1] / "chance.safetensors"))
    return Progress(**card | {"turns": [tuple(turn) for turn in card["turns"]]})


def discard(work: Path) -> None:
    """The run is over: its result is what remains. They leave together, so that none is ever found in part."""
    leaving = work / f"{FOLDER}.leaving"
    shutil.rmtree(leaving, ignore_errors=True)
    with suppress(FileNotFoundError):
        (work / FOLDER).rename(leaving)
    shutil.rmtree(leaving, ignore_errors=True)


def _named(modules: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """What moves; the rest comes from where the run began."""
    return {
        f"{prefix}.{name}": parameter
        for prefix, module in modules.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def _moving(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {name: parameter.detach().contiguous() for name, parameter in _named(modules).items()}


def _chance() -> dict[str, Tensor]:
    """The state of every generator that a step may draw from; what orders the data needs none."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda:{place}": one for place, one in enumerate(torch.cuda.get_rng_state_all())}
    return states


def _restore_chance(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available():
        cards = [one for name, one in sorted(states.items()) if name.startswith("cuda:")]
        torch.cuda.set_rng_state_all(cards[: torch.cuda.device_count()])
