"""Supervised start: a model learns to answer as the demonstrations do.

A task: `run(spec, work, track)` reads files, writes a model directory under `work`, returns figures. With
no `model` in the spec a tiny one is made from the demonstrations themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from heedful.errors import InvalidInput
from heedful.lm.chat import answers_ids, prompts_ids
from heedful.lm.layout import batches, lay_out
from heedful.lm.load import Loaded, load, save
from heedful.lm.logprobs import answer_logprobs
from heedful.lm.optim import Precision, Stepper, autocast
from heedful.lm.records import read_records
from heedful.lm.tiny import TinyShape, make_tiny
from heedful.training.losses import nll

Track = Callable[[int, Mapping[str, float]], None]


class SftSpec(BaseModel):
    """What to learn from whom, and how long."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    demonstrations: Path
    """JSONL of {"prompt", "answer", "weight"}; weight may be left out."""

    model: str | None = None
    """Directory or hub name to start from; nothing: make a tiny model for these texts."""

    tiny: TinyShape = TinyShape()
    """Shape of that tiny model."""

    steps: int = Field(500, ge=1)
    """Optimiser steps."""

    batch: int = Field(32, ge=1)
    """Demonstrations per step."""

    rate: float = Field(3e-3, gt=0)
    """Highest learning rate; for pretrained models use far less."""

    warmup: int = Field(30, ge=0)
    """Steps over which the rate rises."""

    held_out: float = Field(0.02, ge=0, lt=1)
    """Share of the demonstrations kept back to measure the loss."""

    seed: int = 0
    """The same seed and spec give the same weights on the same machine."""

    threads: int = Field(1, ge=1)
    """Torch threads. More than one per core is slower."""

    device: str = "cpu"
    """Where to compute."""

    precision: Precision = "auto"
    """bfloat16 autocast, or not; auto asks the processor."""

    trust_remote_code: bool = False
    """Allow code that ships with the model."""


def run(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """Train and save; returns {"model", "loss", "held_out_loss", "tokens"}."""
    settings = SftSpec.model_validate(spec)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    records = read_records(settings.demonstrations, "prompt", "answer")
    if not records:
        raise InvalidInput(f"{settings.demonstrations} holds no demonstrations", field="demonstrations")
    loaded = _start(settings, records)
    losses, tokens = _train(loaded, records, settings, track)
    save(loaded, work / "model")
    return {
        "model": str(work / "model"),
        "loss": float(np.mean(losses[-20:])),
        "held_out_loss": _held_out_loss(loaded, records, settings),
        "tokens": tokens,
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
    }


def _start(settings: SftSpec, records: list[dict[str, Any]]) -> Loaded:
    if settings.model is not None:
        return load(settings.model, device=settings.device, trust_remote_code=settings.trust_remote_code)
    texts = [message["content"] for record in records for message in record["prompt"]]
    texts += [record["answer"] for record in records]
    tiny = make_tiny(texts, shape=settings.tiny, seed=settings.seed)
    return Loaded(tiny.model.to(settings.device), tiny.tokenizer)


def _kept_back(records: list[dict[str, Any]], settings: SftSpec) -> int:
    """How many records at the end are not trained on."""
    return int(len(records) * settings.held_out)


def _train(
    loaded: Loaded, records: list[dict[str, Any]], settings: SftSpec, track: Track
) -> tuple[list[float], int]:
    shown = records[: len(records) - _kept_back(records, settings)]
    prompts = prompts_ids(loaded.tokenizer, [record["prompt"] for record in shown])
    answers = answers_ids(loaded.tokenizer, [record["answer"] for record in shown])
    weights = torch.tensor([float(record.get("weight", 1.0)) for record in shown])
    lengths = [len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)]
    random = np.random.default_rng(settings.seed)
    stepper = Stepper(
        [(settings.rate, loaded.model.parameters())], steps=settings.steps, warmup=settings.warmup
    )
    losses: list[float] = []
    tokens = 0
    while stepper.taken < settings.steps:
        for indices in batches(lengths, settings.batch, random)[: settings.steps - stepper.taken]:
            rows = lay_out(
                [prompts[i] for i in indices], [answers[i] for i in indices], device=settings.device
            )
            with autocast(settings.precision, settings.device):
                logps_bt = answer_logprobs(loaded.model, rows)
            loss = nll(logps_bt, rows.answer_bt, weights[indices].to(settings.device))
            norm = stepper.step(loss)
            losses.append(loss.item())
            tokens += sum(lengths[i] for i in indices)
            track(stepper.taken, {"loss": losses[-1], "gradient_norm": norm, "steps": float(settings.steps)})
    return losses, tokens


@torch.inference_mode()
def _held_out_loss(loaded: Loaded, records: list[dict[str, Any]], settings: SftSpec) -> float | None:
    """Loss per answer token on what was kept back; None when nothing was."""
    kept = records[len(records) - _kept_back(records, settings) :]
    total, count = 0.0, 0
    for start in range(0, len(kept), settings.batch):
        part = kept[start : start + settings.batch]
        rows = lay_out(
            prompts_ids(loaded.tokenizer, [record["prompt"] for record in part]),
            answers_ids(loaded.tokenizer, [record["answer"] for record in part]),
            device=settings.device,
        )
        total -= float(answer_logprobs(loaded.model, rows).sum())
        count += int(rows.answer_bt.sum())
    return total / count if count else None
