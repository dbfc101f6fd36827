"""How a reward model learns from what people said: which lessons, how many of each in a step, how far.

Pairs, rankings and flags take turns within a step, so that one backbone carries all objectives.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from heedful.lm.loop import Course, LoopSettings, Stopped, Track, learn, sparing, stepper_of
from heedful.lm.optim import freeze_embeddings
from heedful.rewards.data import Data
from heedful.rewards.lessons import Flags, Pairs, Rankings
from heedful.rewards.model import RewardModel


class LessonSettings(LoopSettings):
    """How long, how fast, and what a comparison is taken to be worth."""

    epochs: float = Field(2.0, gt=0)
    """Passes over the pairs."""

    safety_epochs: float = Field(1.0, gt=0)
    """Passes over the flags."""

    batch: int = Field(32, ge=1)
    """Pairs per step."""

    rate: float = Field(4e-4, gt=0)
    """Highest learning rate of the backbone; for pretrained models use far less."""

    head_rate: float = Field(5e-3, gt=0)
    """Highest learning rate of the heads, which start from nothing."""

    embeddings: bool = False
    """Whether token embeddings move too. A few thousand pairs see most words too rarely to move them well."""

    warmup: int = Field(10, ge=0)
    """Steps over which the rate rises."""

    noise: float = Field(0.2, ge=0, lt=0.5)
    """Share of choices expected to be the wrong way round."""

    smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of every choice that is given to the other side."""

    call_weight: float = Field(0.5, ge=0)
    """Weight of the choice as seen by the call alone, for pairs whose calls differ."""

    centre: float = Field(0.005, ge=0)
    """Weight of the term that keeps scores near zero."""


def taught(
    model: RewardModel, data: Data, settings: LessonSettings, work: Path, track: Track, key: str
) -> Stopped:
    """Every step takes one batch of the first lesson and its share of the others."""
    lessons = [
        (name, lesson, rows, epochs)
        for name, lesson, rows, epochs in (
            ("quality", Pairs, data.pairs, settings.epochs),
            ("ranking", Rankings, data.rankings, settings.epochs),
            ("safety", Flags, data.flags, settings.safety_epochs),
        )
        if rows
    ]
    _, _, first, epochs = lessons[0]
    steps = max(1, round(len(first) * epochs / settings.batch))
    courses = [
        Course(
            lesson(model, rows, settings, settings.device),
            settings.batch if rows is first else max(1, round(len(rows) * epochs / steps)),
            name,
        )
        for name, lesson, rows, epochs in lessons
    ]
    sparing(model.backbone, settings)
    if not settings.embeddings:
        freeze_embeddings(model.backbone)
    rates = [
        (settings.rate, model.backbone.parameters()),
        (settings.head_rate, model.heads.parameters()),
    ]
    stepper = stepper_of(settings, rates, steps)
    modules = {"backbone": model.backbone, "heads": model.heads}
    return learn(courses, stepper, modules, settings, steps=steps, work=work, track=track, key=key)
