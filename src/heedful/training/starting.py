"""What SFT, DPO and KTO have in common: from a model and a lesson to a trained model on disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from heedful.errors import InvalidInput
from heedful.lm import lora, state
from heedful.lm.load import Loaded, load, save
from heedful.lm.loop import Course, Lesson, LoopSettings, Stopped, Track, learn, measured, sparing, stepper_of
from heedful.lm.lora import Lora
from heedful.lm.splits import Rows, split

RECENT = 20  # steps whose figures are told at the end


class PolicySettings(LoopSettings):
    """How a policy is taught."""

    batch: int = Field(32, ge=1)
    """Samples per step."""

    lora: Lora | None = None
    """Train low-rank adapters instead of all weights."""


class PreferenceSettings(PolicySettings):
    """What to start from, how far to go from there, and how often to go through the data."""

    model: str
    """Directory or hub name of the policy to start from; also the reference that it is held to."""

    beta: float = Field(0.1, gt=0)
    """How dear it is to move away from the reference."""

    epochs: float = Field(1.0, gt=0)
    """Passes over the data."""

    rate: float = Field(1e-4, gt=0)
    """Highest learning rate; for pretrained models use far less."""

    held_out: float = Field(0.0, ge=0, lt=1)
    """Share of the prompts kept back to measure on."""

    cache: Path | None = None
    """Directory that keeps what the reference said, for the next run over the same data."""

    def steps(self, samples: int) -> int:
        return max(1, round(samples * self.epochs / self.batch))


Chosen = TypeVar("Chosen", bound=PreferenceSettings)


@dataclass(frozen=True, slots=True)
class Taught:
    """What became of a run."""

    model: str  # directory, as any library loads it
    steps: int
    stopped: Stopped
    recent: tuple[Mapping[str, float], ...]  # figures of the last steps

    def last(self, *names: str) -> dict[str, float | None]:
        """Figures of the last step; None where there was none."""
        figures = self.recent[-1] if self.recent else {}
        return {name: figures.get(name) for name in names}


def opened(settings: PolicySettings, model: str) -> Loaded:
    """The model that is to learn."""
    return adapted(
        load(model, device=settings.device, trust_remote_code=settings.trust_remote_code), settings
    )


def adapted(loaded: Loaded, settings: PolicySettings) -> Loaded:
    """With adapters, where they are asked for, and sparing with memory."""
    sparing(loaded.model, settings)
    if settings.lora is not None:
        lora.add(loaded.model, settings.lora)
    return loaded


def teach(
    loaded: Loaded,
    lesson: Lesson,
    settings: PolicySettings,
    *,
    steps: int,
    work: Path,
    track: Track,
    key: str,
) -> Taught:
    """Go through the lesson and save what has learned."""
    stepper = stepper_of(settings, [(settings.rate, loaded.model.parameters())], steps)
    recent: deque[Mapping[str, float]] = deque(maxlen=RECENT)

    def note(step: int, figures: Mapping[str, float]) -> None:
        recent.append(dict(figures))
        track(step, figures)

    stopped = learn(
        [Course(lesson, settings.batch)],
        stepper,
        {"model": loaded.model},
        settings,
        steps=steps,
        work=work,
        track=note,
        key=key,
    )
    if settings.lora is not None:
        lora.merge(loaded.model)
    save(loaded, work / "model")
    if stopped == "done":
        state.discard(work)
    return Taught(str(work / "model"), stepper.taken, stopped, tuple(recent))


def parted(records: Rows, held_out: float) -> tuple[Rows, Rows]:
    """Rows to learn from, of which there are some, and rows kept back."""
    shown, kept_back = split(records, held_out)
    if not shown:
        raise InvalidInput(
            f"held_out={held_out} keeps back every prompt that there is: give more prompts, or less of it",
            field="held_out",
        )
    return shown, kept_back


def prefer(
    settings: Chosen,
    shown: Rows,
    kept_back: Rows,
    lesson_of: Callable[[Loaded, Rows, Chosen], Lesson],
    *,
    work: Path,
    track: Track,
    key: str,
) -> dict[str, Any]:
    """Learn from preferences, and measure what was learned on those that were kept back."""
    loaded = opened(settings, settings.model)
    lesson, held = (lesson_of(loaded, rows, settings) for rows in (shown, kept_back))
    steps = settings.steps(len(shown))
    taught = teach(loaded, lesson, settings, steps=steps, work=work, track=track, key=key)
    return {
        "model": taught.model,
        "steps": taught.steps,
        "stopped": taught.stopped,
        "held_out": measured(held, settings),
        **taught.last("loss", "accuracy", "margin"),
    }
