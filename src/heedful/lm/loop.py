"""The one training loop: any lesson, step after step, until its steps or its budget are used up.

A lesson has samples and a loss over some of them. A step's loss is a sum over its samples divided by what the
whole step holds, so that cutting a step into parts that fit into memory never changes its gradient. Which samples
a step takes follows from (seed, epoch, offset) alone: a run that was cut off goes on from its last state and
ends with the very same weights.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from heedful.lm import state
from heedful.lm.budget import BudgetSettings, Spent
from heedful.lm.layout import batches, micro_batches
from heedful.lm.optim import Precision, Schedule, Stepper, autocast
from heedful.lm.state import Progress

Track = Callable[[int, Mapping[str, float]], None]
Figures = Mapping[str, Tensor]  # sums over samples, divided like the loss
Stopped = Literal["done"] | Spent

LOOK = 10  # steps between two looks at the figures: each look waits for the device


class Lesson(Protocol):
    """What is to be learned from how much."""

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each sample."""
        ...

    def begin(self, indices: Sequence[int]) -> float:
        """What the loss of a step over these samples is divided by; also when it is cut into parts."""
        ...

    def prepare(self, indices: Sequence[int]) -> Any:
        """A part of a step, laid out on the CPU; may be called ahead of time and from another thread."""
        ...

    def loss(self, part: Any) -> tuple[Tensor, Figures]:
        """The sum over the samples of the part, and figures as sums."""
        ...


@dataclass(frozen=True, slots=True)
class Course:
    """A lesson, and how many of its samples a step takes."""

    lesson: Lesson
    batch: int
    name: str = ""  # of its figures


class LoopSettings(BudgetSettings):
    """How a lesson is gone through. Every training task has these."""

    rate: float = Field(3e-4, gt=0)
    """Highest learning rate; for pretrained models use far less than for tiny ones."""

    warmup: int = Field(10, ge=0)
    """Steps over which the rate rises."""

    schedule: Schedule = "linear"
    """How the rate falls after that: linear, cosine, or not at all (constant)."""

    clip: float = Field(1.0, gt=0)
    """Longest gradient; longer ones are shortened."""

    decay: float = Field(0.0, ge=0)
    """Weight decay."""

    quality: float | None = Field(None, ge=0, le=1)
    """How good the feedback is, when somebody knows: below 0.8 the rate shrinks in proportion."""

    recompute: bool = False
    """Compute each block again on the way back instead of keeping what it held: for models that do not fit."""

    micro_tokens: int = Field(8192, ge=1)
    """Tokens that are computed at once; a step with more is cut into parts."""

    seed: int = 0
    """The same seed, settings and data give the same weights on the same machine."""

    threads: int = Field(1, ge=1)
    """Torch threads. More than one per core is slower."""

    device: str = "cpu"
    """Where to compute."""

    precision: Precision = "auto"
    """bfloat16, or not; auto asks the processor."""

    save_seconds: float = Field(60.0, gt=0)
    """Between two states on disk."""

    trust_remote_code: bool = False
    """Allow code that ships with the model."""

    def highest_rate(self, rate: float | None = None) -> float:
        """The rate, as far as the feedback deserves it."""
        share = 1.0 if self.quality is None else min(1.0, self.quality / GOOD_FEEDBACK)
        return (self.rate if rate is None else rate) * share


GOOD_FEEDBACK = 0.8  # quality from which the full rate is used


def sparing(model: Any, settings: LoopSettings) -> None:
    """Let the model keep less, where that is asked for."""
    if settings.recompute:
        # The library is giving it a new name.
        name = "activation_checkpointing_enable"
        enable = getattr(model, name) if hasattr(model, name) else model.gradient_checkpointing_enable
        enable({"use_reentrant": False})


def stepper_of(
    settings: LoopSettings, groups: Sequence[tuple[float, Iterable[nn.Parameter]]], steps: int
) -> Stepper:
    """An optimiser as these settings want it; each group has its highest rate for feedback that is good."""
    return Stepper(
        [(settings.highest_rate(rate), parameters) for rate, parameters in groups],
        steps=steps,
        warmup=settings.warmup,
        schedule=settings.schedule,
        clip=settings.clip,
        decay=settings.decay,
    )


def learn(
    courses: Sequence[Course],
    stepper: Stepper,
    modules: Mapping[str, nn.Module],
    settings: LoopSettings,
    *,
    steps: int,
    work: Path,
    track: Track,
    key: str = "",
) -> Stopped:
    """Take steps up to `steps`, from wherever the states under `work` end. `modules` is what moves."""
    run = _Run(courses, stepper, modules, settings, work, track, key)
    with asked_to_stop() as asked:
        while stepper.taken < steps:
            over = run.over_budget()
            if over is not None or asked.is_set():
                run.save()
                if over is None:
                    raise SystemExit(128 + signal.SIGTERM)
                return over
            if not run.step(asked):
                continue
            if stepper.taken % LOOK == 0 or stepper.taken == steps:
                run.look(steps)
            if run.since_save() >= settings.save_seconds:
                run.save()
    run.look(steps)
    return "done"


@torch.inference_mode()
def measured(lesson: Lesson, settings: LoopSettings) -> dict[str, float]:
    """Loss and figures of a lesson as it stands, without learning from it; nothing where it is empty."""
    if not lesson.lengths:
        return {}
    units = lesson.begin(range(len(lesson.lengths)))
    told: dict[str, float] = {}
    for cut in micro_batches(lesson.lengths, settings.micro_tokens):
        with autocast(settings.precision, settings.device):
            loss, figures = lesson.loss(lesson.prepare(cut))
        for name, value in {"loss": loss, **figures}.items():
            told[name] = told.get(name, 0.0) + float(value) / units
    return told


class _Run:
    def __init__(
        self,
        courses: Sequence[Course],
        stepper: Stepper,
        modules: Mapping[str, nn.Module],
        settings: LoopSettings,
        work: Path,
        track: Track,
        key: str,
    ) -> None:
        self._courses = courses
        self._stepper = stepper
        self._modules = modules
        self._settings = settings
        self._track = track
        self._key = key
        self._states = work / state.FOLDER
        self._metrics = work / "metrics.jsonl"
        work.mkdir(parents=True, exist_ok=True)
        found = state.resume(self._states, modules, stepper, key)
        self.progress = found or Progress(turns=[(0, 0) for _ in courses])
        _cut(self._metrics, self.progress.step)
        self._orders: list[tuple[int, list[list[int]]]] = [(-1, []) for _ in courses]
        self._seen: list[tuple[int, dict[str, Tensor]]] = []
        self._begun = self._saved = time.monotonic()
        self._before = self.progress.seconds
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="prepare")

    def step(self, asked: threading.Event) -> bool:
        """One optimiser step; False when it was given up because somebody asked to stop."""
        device, figures, tokens = self._settings.device, dict[str, Tensor](), 0
        turns = list(self.progress.turns)
        for place, course in enumerate(self._courses):
            indices, turns[place] = self._next(place)
            lesson, units = course.lesson, course.lesson.begin(indices)
            for part in self._parts(lesson, indices):
                if asked.is_set():
                    self._stepper.forget()
                    return False
                with autocast(self._settings.precision, device):
                    loss, found = lesson.loss(part)
                (loss / units).backward()
                for name, value in {"loss": loss, **found}.items():
                    name = f"{course.name}_{name}" if course.name else name
                    figures[name] = figures.get(name, 0.0) + value.detach() / units
            tokens += sum(lesson.lengths[one] for one in indices)
        figures["gradient_norm"] = self._stepper.update()
        self.progress.turns = turns
        self.progress.step = self._stepper.taken
        self.progress.tokens += tokens
        self._seen.append((self._stepper.taken, figures))
        return True

    def look(self, steps: int) -> None:
        """Tell what the last steps looked like."""
        with self._metrics.open("a", encoding="utf-8") as file:
            for step, figures in self._seen:
                told = {name: float(value) for name, value in figures.items()}
                self._stepper.check(told["gradient_norm"])
                file.write(json.dumps({"step": step, **told}) + "\n")
                self._track(step, {**told, "steps": float(steps)})
        self._seen.clear()

    def save(self) -> None:
        self.look(self._stepper.taken)
        self.progress.seconds = self._before + time.monotonic() - self._begun
        state.save(self._states, self.progress, self._modules, self._stepper, self._key)
        self._saved = time.monotonic()

    def since_save(self) -> float:
        return time.monotonic() - self._saved

    def over_budget(self) -> Spent | None:
        return self._settings.spent(self._before + time.monotonic() - self._begun, self.progress.tokens)

    def _next(self, place: int) -> tuple[list[int], tuple[int, int]]:
        """The samples of a course's next turn, and where it stands after that."""
        epoch, offset = self.progress.turns[place]
        course = self._courses[place]
        if self._orders[place][0] != epoch:
            random = np.random.default_rng((self._settings.seed, place, epoch))
            self._orders[place] = (epoch, batches(course.lesson.lengths, course.batch, random))
        order = self._orders[place][1]
        after = (epoch, offset + 1) if offset + 1 < len(order) else (epoch + 1, 0)
        return order[offset], after

    def _parts(self, lesson: Lesson, indices: Sequence[int]) -> Iterator[Any]:
        """The step's parts, each prepared while the one before it is computed."""
        lengths = [lesson.lengths[one] for one in indices]
        cuts = [[indices[one] for one in cut] for cut in micro_batches(lengths, self._settings.micro_tokens)]
        if self._settings.device == "cpu":  # the same processor would do both
            yield from map(lesson.prepare, cuts)
            return
        coming = self._ahead.submit(lesson.prepare, cuts[0])
        for cut in cuts[1:]:
            part, coming = coming.result(), self._ahead.submit(lesson.prepare, cut)
            yield part
        yield coming.result()


def _cut(metrics: Path, step: int) -> None:
    """Drop what was told of steps that are taken again, and a line that was torn."""
    if not metrics.exists():
        return
    kept = []
    for line in metrics.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except ValueError:
            break
    beside = metrics.with_suffix(".tmp")
    beside.write_text("".join(kept), encoding="utf-8")
    beside.replace(metrics)


@contextmanager
def asked_to_stop() -> Iterator[threading.Event]:
    """Set by SIGTERM and by the first Ctrl-C; a second one ends the process at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def hear(number: int, _: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    heard = [
        number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, hear) for number in heard}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def set_up(settings: LoopSettings) -> None:
    """Before anything random or anything heavy happens."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
