"""What a judge learns from: pairs that people compared, and answers that they flagged or passed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from heedful.lm.flat import require_room
from heedful.lm.layout import Packed, Tree, pack
from heedful.rewards.losses import bradley_terry, centring, flagged
from heedful.rewards.model import RewardModel


class PairSettings(Protocol):
    """What the loss of a pair depends on."""

    @property
    def noise(self) -> float: ...
    @property
    def call_weight(self) -> float: ...
    @property
    def centre(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Part:
    packed: Packed
    calls_a: Tensor
    values: Tensor  # of pairs: 1 where the calls differ; of flags: 1 where flagged
    weights: Tensor


class Pairs:
    """A lesson: the better answer scores higher. Both stand behind one reading of their prompt."""

    def __init__(
        self, model: RewardModel, pairs: Sequence[Mapping[str, Any]], settings: PairSettings, device: str
    ) -> None:
        self._model, self._settings, self._device = model, settings, device
        sides = [
            model.encode([pair["prompt"] for pair in pairs], [pair[side] for pair in pairs])
            for side in ("chosen", "rejected")
        ]
        (prompts, chosen), (_, rejected) = sides
        self._trees = [Tree(*tree) for tree in zip(prompts, zip(chosen, rejected, strict=True), strict=True)]
        require_room(model.backbone, self._trees)
        self._calls = torch.stack([model.calls(chosen), model.calls(rejected)], 1)
        self._differ = torch.tensor(
            [
                float(a[: call + 1] != b[: call + 1])
                for a, b, call in zip(chosen, rejected, self._calls[:, 0].tolist(), strict=True)
            ]
        )
        self._weights = torch.tensor([float(pair.get("weight", 1.0)) for pair in pairs])
        self.lengths = [len(tree) for tree in self._trees]

    def begin(self, indices: Sequence[int]) -> float:
        return max(1e-9, float(self._weights[list(indices)].sum()))

    def prepare(self, indices: Sequence[int]) -> Part:
        chosen = list(indices)
        packed = pack([self._trees[one] for one in chosen])
        return Part(packed, self._calls[chosen].flatten(), self._differ[chosen], self._weights[chosen])

    def loss(self, part: Part) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Bradley-Terry on the whole answers and on their calls alone; and how many are ranked as people did."""
        settings = self._settings
        weights_p, differ_p = part.weights.to(self._device), part.values.to(self._device)
        readings = self._model.read(part.packed.to(self._device), part.calls_a.to(self._device))
        assert readings.quality is not None
        better, worse = readings.quality[0::2], readings.quality[1::2]
        loss = bradley_terry(better - worse, weights_p, noise=settings.noise)
        loss = (loss + settings.centre * centring(better, worse, weights_p)) * weights_p.sum()
        if readings.action is not None:
            between = readings.action[0::2] - readings.action[1::2]
            on_calls = bradley_terry(between, weights_p * differ_p, noise=settings.noise)
            loss = loss + settings.call_weight * on_calls * (weights_p * differ_p).sum()
        return loss, {"accuracy": ((better > worse) * weights_p).sum()}


class Flags:
    """A lesson: what people flagged is likely to break a rule, what they passed is not."""

    def __init__(self, model: RewardModel, flags: Sequence[Mapping[str, Any]], device: str) -> None:
        self._model, self._device = model, device
        prompts, answers = model.encode(
            [flag["prompt"] for flag in flags], [flag["answer"] for flag in flags]
        )
        self._trees = [Tree(prompt, (answer,)) for prompt, answer in zip(prompts, answers, strict=True)]
        require_room(model.backbone, self._trees)
        self._calls = model.calls(answers)
        self._values = torch.tensor([float(flag["violation"]) for flag in flags])
        self._weights = torch.tensor([float(flag.get("weight", 1.0)) for flag in flags])
        self.lengths = [len(tree) for tree in self._trees]

    def begin(self, indices: Sequence[int]) -> float:
        return max(1e-9, float(self._weights[list(indices)].sum()))

    def prepare(self, indices: Sequence[int]) -> Part:
        chosen = list(indices)
        packed = pack([self._trees[one] for one in chosen])
        return Part(packed, self._calls[chosen], self._values[chosen], self._weights[chosen])

    def loss(self, part: Part) -> tuple[Tensor, Mapping[str, Tensor]]:
        weights_a = part.weights.to(self._device)
        readings = self._model.read(part.packed.to(self._device), part.calls_a.to(self._device))
        assert readings.violation is not None
        return flagged(readings.violation, part.values.to(self._device), weights_a) * weights_a.sum(), {}
