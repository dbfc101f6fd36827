"""Supervised start: a model learns to answer as the demonstrations do.

A task: `run(spec, work, track)` reads files, writes a model directory under `work`, returns figures. With
no `model` in the spec a tiny one is made from the demonstrations themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from heedful.errors import InvalidInput
from heedful.lm.chat import answers_ids, prompts_ids
from heedful.lm.columns import demonstrations
from heedful.lm.flat import require_room
from heedful.lm.layout import Packed, Tree, micro_batches, pack
from heedful.lm.load import Loaded
from heedful.lm.logprobs import answer_logprobs
from heedful.lm.loop import LoopSettings, Track, set_up
from heedful.lm.optim import autocast
from heedful.lm.records import key_of
from heedful.lm.tiny import TinyShape, make_tiny
from heedful.training.losses import nll
from heedful.training.starting import PolicySettings, adapted, opened, parted, teach


class SftSpec(PolicySettings):
    """What to learn from whom, and how long."""

    demonstrations: Path
    """JSONL of {"prompt", "answer", "weight"}; weight may be left out."""

    model: str | None = None
    """Directory or hub name to start from; nothing: make a tiny model for these texts."""

    tiny: TinyShape = TinyShape()
    """Shape of that tiny model."""

    steps: int = Field(500, ge=1)
    """Optimiser steps."""

    rate: float = Field(3e-3, gt=0)
    """Highest learning rate; for pretrained models use far less."""

    warmup: int = Field(30, ge=0)
    """Steps over which the rate rises."""

    held_out: float = Field(0.02, ge=0, lt=1)
    """Share of the prompts kept back to measure the loss."""


def run(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """Train and save; returns {"model", "loss", "held_out_loss", "stopped", "steps", "parameters"}."""
    settings = SftSpec.model_validate(spec)
    set_up(settings)
    records = demonstrations(settings.demonstrations)
    if not records:
        raise InvalidInput(f"{settings.demonstrations} holds no demonstrations", field="demonstrations")
    shown, kept_back = parted(records, settings.held_out)
    loaded = _start(settings, records)
    taught = teach(
        loaded,
        Demonstrations(loaded, shown, settings.device),
        settings,
        steps=settings.steps,
        work=work,
        track=track,
        key=key_of(spec, settings.demonstrations),
    )
    held = Demonstrations(loaded, kept_back, settings.device)
    return {
        "model": taught.model,
        "loss": sum(figures["loss"] for figures in taught.recent) / max(1, len(taught.recent)),
        "held_out_loss": held.mean_loss(settings),
        "stopped": taught.stopped,
        "steps": taught.steps,
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
    }


def _start(settings: SftSpec, records: list[dict[str, Any]]) -> Loaded:
    if settings.model is not None:
        return opened(settings, settings.model)
    texts = [message["content"] for record in records for message in record["prompt"]]
    texts += [record["answer"] for record in records]
    tiny = make_tiny(texts, shape=settings.tiny, seed=settings.seed)
    return adapted(Loaded(tiny.model.to(settings.device), tiny.tokenizer), settings)


@dataclass(frozen=True, slots=True)
class Part:
    packed: Packed
    weights_m: Tensor


class Demonstrations:
    """A lesson: the negative log-likelihood of what was shown, per token of an answer."""

    def __init__(self, loaded: Loaded, records: Sequence[Mapping[str, Any]], device: str) -> None:
        self._model, self._device = loaded.model, device
        prompts = prompts_ids(loaded.tokenizer, [record["prompt"] for record in records])
        answers = answers_ids(loaded.tokenizer, [record["answer"] for record in records])
        self._trees = [Tree(prompt, (answer,)) for prompt, answer in zip(prompts, answers, strict=True)]
        require_room(loaded.model, self._trees)
        self._weights = torch.tensor([float(record.get("weight", 1.0)) for record in records])
        self._tokens = torch.tensor([float(len(answer)) for answer in answers])
        self.lengths = [len(tree) for tree in self._trees]

    def begin(self, indices: Sequence[int]) -> float:
        chosen = list(indices)
        return max(1e-9, float((self._weights[chosen] * self._tokens[chosen]).sum()))

    def prepare(self, indices: Sequence[int]) -> Part:
        packed = pack([self._trees[one] for one in indices])
        return Part(packed, self._weights[list(indices)][packed.answer_m])

    def loss(self, part: Part) -> tuple[Tensor, Mapping[str, Tensor]]:
        logps_m = answer_logprobs(self._model, part.packed.to(self._device))
        return nll(logps_m, part.weights_m.to(self._device)), {}

    @torch.inference_mode()
    def mean_loss(self, settings: LoopSettings) -> float | None:
        """Loss per answer token, weights aside; None when there is nothing to measure on."""
        total = 0.0
        for indices in micro_batches(self.lengths, settings.micro_tokens):
            with autocast("float32", self._device):
                total -= float(
                    answer_logprobs(self._model, self.prepare(indices).packed.to(self._device)).sum()
                )
        return total / float(self._tokens.sum()) if self.lengths else None
