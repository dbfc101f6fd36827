"""What DPO and KTO have in common: the model they start from, its optimiser, and its way back to disk."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from heedful.lm import lora, state
from heedful.lm.load import Loaded, load, save
from heedful.lm.loop import LoopSettings, Stopped
from heedful.lm.lora import Lora
from heedful.lm.optim import Stepper


class PreferenceSettings(LoopSettings):
    """What to start from, how far to go from there, and how often to go through the data."""

    model: str
    """Directory or hub name of the policy to start from; also the reference that it is held to."""

    beta: float = Field(0.1, gt=0)
    """How dear it is to move away from the reference."""

    epochs: float = Field(1.0, gt=0)
    """Passes over the data."""

    batch: int = Field(32, ge=1)
    """Samples per step."""

    rate: float = Field(1e-4, gt=0)
    """Highest learning rate; for pretrained models use far less."""

    lora: Lora | None = None
    """Train low-rank adapters instead of all weights."""

    cache: Path | None = None
    """Directory that keeps what the reference said, for the next run over the same data."""

    def steps(self, samples: int) -> int:
        return max(1, round(samples * self.epochs / self.batch))


def start(settings: PreferenceSettings, steps: int) -> tuple[Loaded, Stepper]:
    loaded = load(settings.model, device=settings.device, trust_remote_code=settings.trust_remote_code)
    if settings.lora is not None:
        lora.add(loaded.model, settings.lora)
    stepper = Stepper(
        [(settings.highest_rate(), loaded.model.parameters())],
        steps=steps,
        warmup=settings.warmup,
        schedule=settings.schedule,
        clip=settings.clip,
        decay=settings.decay,
    )
    return loaded, stepper


def finish(loaded: Loaded, settings: PreferenceSettings, work: Path, stopped: Stopped) -> str:
    """The directory of the trained model, as any library loads it."""
    if settings.lora is not None:
        lora.merge(loaded.model)
    save(loaded, work / "model")
    if stopped == "done":
        state.discard(work)
    return str(work / "model")
