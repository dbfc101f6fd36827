"""Learn from pairs directly, without a reward model in between.

A task: `run(spec, work, track)`. Both answers of a pair stand behind one reading of their prompt; what the
reference says of them is computed once, before anything moves.
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
from heedful.lm.columns import pairs
from heedful.lm.flat import require_room
from heedful.lm.layout import Packed, Tree, pack
from heedful.lm.load import Loaded
from heedful.lm.logprobs import answer_logprobs
from heedful.lm.loop import Track, set_up
from heedful.lm.records import key_of
from heedful.lm.reference import log_likelihoods
from heedful.training.losses import PairLoss, direct_preference
from heedful.training.starting import PreferenceSettings, parted, prefer


class DpoSpec(PreferenceSettings):
    """From which pairs, with which loss."""

    preferences: Path
    """JSONL of {"prompt", "chosen", "rejected", "weight"}; weight may be left out."""

    loss: PairLoss = "sigmoid"
    """sigmoid, robust (to labels that are the wrong way round) or ipo."""

    smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of pairs expected to be the wrong way round."""

    per_token: bool = False
    """Compare means over tokens instead of sums, so that length earns nothing; ipo always does."""


def run(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """Train and save; returns {"model", "steps", "stopped", "loss", "accuracy", "margin", "held_out"}."""
    settings = DpoSpec.model_validate(spec)
    set_up(settings)
    records = pairs(settings.preferences)
    if not records:
        raise InvalidInput(f"{settings.preferences} holds no pairs", field="preferences")
    shown, kept_back = parted(records, settings.held_out)
    key = key_of(spec, settings.preferences)
    return prefer(settings, shown, kept_back, Pairs, work=work, track=track, key=key)


@dataclass(frozen=True, slots=True)
class Part:
    packed: Packed
    reference_a: Tensor
    weights_p: Tensor


class Pairs:
    """A lesson: move towards the chosen answer and away from the rejected one, as seen from the reference."""

    def __init__(self, loaded: Loaded, records: Sequence[Mapping[str, Any]], settings: DpoSpec) -> None:
        self._model, self._settings = loaded.model, settings
        prompts = prompts_ids(loaded.tokenizer, [record["prompt"] for record in records])
        chosen, rejected = (
            answers_ids(loaded.tokenizer, [record[side] for record in records])
            for side in ("chosen", "rejected")
        )
        self._trees = [
            Tree(prompt, (better, worse))
            for prompt, better, worse in zip(prompts, chosen, rejected, strict=True)
        ]
        require_room(loaded.model, self._trees)
        self._weights = torch.tensor([float(record.get("weight", 1.0)) for record in records])
        # Adapters start as nothing: before the first step the model is its own reference.
        said_a = log_likelihoods(loaded.model, self._trees, settings, cache=settings.cache)
        self._reference = said_a.view(len(self._trees), 2)
        self.lengths = [len(tree) for tree in self._trees]

    def begin(self, indices: Sequence[int]) -> float:
        return max(1e-9, float(self._weights[list(indices)].sum()))

    def prepare(self, indices: Sequence[int]) -> Part:
        chosen = list(indices)
        packed = pack([self._trees[one] for one in chosen])
        return Part(packed, self._reference[chosen].flatten(), self._weights[chosen])

    def loss(self, part: Part) -> tuple[Tensor, Mapping[str, Tensor]]:
        settings = self._settings
        packed, weights_p = part.packed.to(settings.device), part.weights_p.to(settings.device)
        moved_a = packed.sums(answer_logprobs(self._model, packed)) - part.reference_a.to(settings.device)
        if settings.per_token or settings.loss == "ipo":
            moved_a = moved_a / packed.lengths()
        difference_p = moved_a[0::2] - moved_a[1::2]
        losses_p = direct_preference(
            difference_p, beta=settings.beta, kind=settings.loss, smoothing=settings.smoothing
        )
        figures = {
            "accuracy": ((difference_p > 0) * weights_p).sum(),
            "margin": (settings.beta * difference_p * weights_p).sum(),
            "chosen": (settings.beta * moved_a[0::2] * weights_p).sum(),
            "rejected": (settings.beta * moved_a[1::2] * weights_p).sum(),
        }
        return (losses_p * weights_p).sum(), figures
