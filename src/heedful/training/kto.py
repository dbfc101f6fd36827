"""Learn from thumbs: answers that people liked or did not, each by itself.

A task: `run(spec, work, track)`. How far the policy has moved at all is measured at every step on answers put
behind prompts that they do not belong to; what people say counts against that.
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
from heedful.lm.columns import thumbs
from heedful.lm.flat import require_room
from heedful.lm.layout import Packed, Tree, micro_batches, pack
from heedful.lm.load import Loaded
from heedful.lm.logprobs import answer_logprobs
from heedful.lm.loop import Track, set_up
from heedful.lm.optim import autocast
from heedful.lm.records import key_of
from heedful.lm.reference import log_likelihoods
from heedful.training.losses import ThumbLoss, from_thumbs
from heedful.training.starting import PreferenceSettings, parted, prefer


class KtoSpec(PreferenceSettings):
    """From which thumbs, with which loss."""

    thumbs: Path
    """JSONL of {"prompt", "answer", "up", "weight"}; weight may be left out."""

    loss: ThumbLoss = "kto"
    """kto, or apo_zero_unpaired, which needs no baseline and half the time."""

    up_weight: float = Field(1.0, ge=0)
    """Weight of answers that were liked."""

    down_weight: float = Field(1.0, ge=0)
    """Weight of answers that were not."""


def run(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """Train and save; returns {"model", "steps", "stopped", "loss", "accuracy", "margin", "held_out"}."""
    settings = KtoSpec.model_validate(spec)
    set_up(settings)
    records = thumbs(settings.thumbs)
    if len(records) < 2:
        raise InvalidInput(f"{settings.thumbs} holds fewer than two thumbs", field="thumbs")
    shown, kept_back = parted(records, settings.held_out)
    if settings.loss == "kto" and all(row["prompt"] == shown[0]["prompt"] for row in shown):
        raise InvalidInput(
            "all thumbs are about one prompt, and kto compares with answers to others: give more prompts, or "
            "loss=apo_zero_unpaired",
            field="thumbs",
        )
    key = key_of(spec, settings.thumbs)
    return prefer(settings, shown, kept_back, Thumbs, work=work, track=track, key=key)


@dataclass(frozen=True, slots=True)
class Part:
    packed: Packed
    reference_a: Tensor
    up_a: Tensor
    weights_a: Tensor


class Thumbs:
    """A lesson: liked answers become likelier than the reference makes them, the others less likely."""

    def __init__(self, loaded: Loaded, records: Sequence[Mapping[str, Any]], settings: KtoSpec) -> None:
        self._model, self._settings = loaded.model, settings
        prompts = prompts_ids(loaded.tokenizer, [record["prompt"] for record in records])
        answers = answers_ids(loaded.tokenizer, [record["answer"] for record in records])
        self._trees = [Tree(prompt, (answer,)) for prompt, answer in zip(prompts, answers, strict=True)]
        require_room(loaded.model, self._trees)
        self._up = torch.tensor([bool(record["up"]) for record in records], dtype=torch.bool)
        own = torch.tensor([float(record.get("weight", 1.0)) for record in records])
        self._weights = own * torch.where(self._up, settings.up_weight, settings.down_weight)
        self._reference = log_likelihoods(loaded.model, self._trees, settings, cache=settings.cache)
        self._strange: list[Tree] = []
        if settings.loss == "kto":
            self._strange = _elsewhere(self._trees)
            self._strange_reference = log_likelihoods(
                loaded.model, self._strange, settings, cache=settings.cache
            )
        self._baseline = 0.0
        self.lengths = [len(tree) for tree in self._trees]

    def begin(self, indices: Sequence[int]) -> float:
        """Sets the baseline as well: it is of the whole step."""
        if self._strange:
            self._baseline = self._moved_anyway(list(indices))
        return max(1e-9, float(self._weights[list(indices)].sum()))

    def prepare(self, indices: Sequence[int]) -> Part:
        chosen = list(indices)
        packed = pack([self._trees[one] for one in chosen])
        return Part(packed, self._reference[chosen], self._up[chosen], self._weights[chosen])

    def loss(self, part: Part) -> tuple[Tensor, Mapping[str, Tensor]]:
        settings = self._settings
        packed = part.packed.to(settings.device)
        up_a, weights_a = part.up_a.to(settings.device), part.weights_a.to(settings.device)
        moved_a = packed.sums(answer_logprobs(self._model, packed)) - part.reference_a.to(settings.device)
        losses_a = from_thumbs(moved_a, up_a, beta=settings.beta, kind=settings.loss, baseline=self._baseline)
        signs_a = torch.where(up_a, 1.0, -1.0)
        return (losses_a * weights_a).sum(), {
            "accuracy": ((moved_a > self._baseline) == up_a).float().mul(weights_a).sum(),
            "margin": (settings.beta * moved_a * signs_a * weights_a).sum(),
            "baseline": weights_a.sum() * self._baseline,
        }

    @torch.no_grad()
    def _moved_anyway(self, indices: list[int]) -> float:
        """Mean log pi/ref of answers to other prompts; never below 0, as a divergence is not."""
        settings, total = self._settings, 0.0
        lengths = [len(self._strange[one]) for one in indices]
        for cut in micro_batches(lengths, settings.micro_tokens):
            packed = pack([self._strange[indices[one]] for one in cut]).to(settings.device)
            with autocast(settings.precision, settings.device):
                total += float(answer_logprobs(self._model, packed).sum())
        return max(0.0, (total - float(self._strange_reference[indices].sum())) / len(indices))


def _elsewhere(trees: Sequence[Tree]) -> list[Tree]:
    """Each prompt with the answer to the next one that is another; nothing where there is only one prompt."""
    count = len(trees)
    ends = [one for one in range(count) if list(trees[one].prompt) != list(trees[(one + 1) % count].prompt)]
    if not ends:
        return []
    found, other = list(trees), (ends[-1] + 1) % count
    for one in ((ends[-1] - back) % count for back in range(count)):
        after = (one + 1) % count
        other = after if list(trees[one].prompt) != list(trees[after].prompt) else other
        found[one] = Tree(trees[one].prompt, trees[other].answers)
    return found
