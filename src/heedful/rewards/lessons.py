"""What a judge learns from: pairs that people compared, answers that they ranked, flagged or passed.

Every member of the judge has its own sample of them: how often each counts for it is drawn once (a bootstrap by
Poisson counts; Chamandy et al. 2012, "Estimating uncertainty for massive data streams"). A single member has
everything once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from heedful.lm.flat import require_room
from heedful.lm.layout import Packed, Tree, pack
from heedful.rewards.losses import bradley_terry, centring, flagged, plackett_luce
from heedful.rewards.model import RewardModel


class PairSettings(Protocol):
    """What the loss of a comparison depends on."""

    @property
    def seed(self) -> int: ...
    @property
    def noise(self) -> float: ...
    @property
    def smoothing(self) -> float: ...
    @property
    def call_weight(self) -> float: ...
    @property
    def centre(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a lesson; n pairs, lists or flags, m members."""

    packed: Packed
    calls_a: Tensor
    weights_nm: Tensor
    given: Mapping[str, Tensor]  # what else is known of each

    def to(self, device: str) -> Part:
        given = {name: values.to(device) for name, values in self.given.items()}
        return Part(self.packed.to(device), self.calls_a.to(device), self.weights_nm.to(device), given)


def counted(rows: Sequence[Mapping[str, Any]], members: int, seed: int) -> Tensor:
    """The weight of each row for each member, nm."""
    weights_n = torch.tensor([float(row.get("weight", 1.0)) for row in rows])
    if members == 1:
        return weights_n[:, None]
    counts_nm = np.random.default_rng(seed).poisson(1.0, (len(rows), members))
    return weights_n[:, None] * torch.from_numpy(counts_nm).float()


def _total(weights_nm: Tensor, indices: Sequence[int]) -> float:
    return max(1e-9, float(weights_nm[list(indices)].sum()))


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
        differ = [
            float(a[: call + 1] != b[: call + 1])
            for a, b, call in zip(chosen, rejected, self._calls[:, 0].tolist(), strict=True)
        ]
        self._given = {
            "differ": torch.tensor(differ),  # whether the calls do
            "ties": torch.tensor([float(pair.get("tie", False)) for pair in pairs]),
            "margins": torch.tensor([float(pair.get("margin", 0.0)) for pair in pairs]),
        }
        self._weights_nm = counted(pairs, model.members, settings.seed)
        self.lengths = [len(tree) for tree in self._trees]

    def begin(self, indices: Sequence[int]) -> float:
        return _total(self._weights_nm, indices)

    def prepare(self, indices: Sequence[int]) -> Part:
        chosen = list(indices)
        packed = pack([self._trees[one] for one in chosen])
        given = {name: values[chosen] for name, values in self._given.items()}
        return Part(packed, self._calls[chosen].flatten(), self._weights_nm[chosen], given)

    def loss(self, part: Part) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Bradley-Terry on the whole answers and on their calls alone; and how many are ranked as people did."""
        settings, part = self._settings, part.to(self._device)
        weights_nm, ties_n = part.weights_nm, part.given["ties"]
        readings = self._model.read(part.packed, part.calls_a)
        assert readings.quality is not None
        better, worse = readings.quality[0::2], readings.quality[1::2]
        loss = self._surprise(better - worse - part.given["margins"][:, None], weights_nm, ties_n)
        loss = loss + settings.centre * centring(better, worse, weights_nm) * weights_nm.sum()
        if readings.action is not None:
            between = readings.action[0::2] - readings.action[1::2]
            on_calls = self._surprise(between, weights_nm * part.given["differ"][:, None], ties_n)
            loss = loss + settings.call_weight * on_calls
        decided_nm = weights_nm * (1 - ties_n[:, None])
        return loss, {"accuracy": ((better > worse) * decided_nm + 0.5 * (weights_nm - decided_nm)).sum()}

    def _surprise(self, difference_nm: Tensor, weights_nm: Tensor, ties_n: Tensor) -> Tensor:
        """Summed up over pairs and members."""
        settings = self._settings
        loss = bradley_terry(
            difference_nm,
            weights_nm,
            noise=settings.noise,
            smoothing=settings.smoothing,
            ties_p=ties_n[:, None].expand_as(difference_nm) if bool(ties_n.any()) else None,
        )
        return loss * weights_nm.sum()


class Rankings:
    """A lesson: answers in the order that people put them in, all behind one reading of their prompt."""

    def __init__(
        self, model: RewardModel, rankings: Sequence[Mapping[str, Any]], settings: PairSettings, device: str
    ) -> None:
        self._model, self._settings, self._device = model, settings, device
        self._trees, self._calls, self._places = [], [], []
        for ranking in rankings:
            answers = [answer for place in ranking["ranking"] for answer in place]
            (prompt,), _ = model.encode([ranking["prompt"]], [])
            _, said = model.encode([], answers)
            self._trees.append(Tree(prompt, said))
            self._calls.append(model.calls(said))
            self._places.append([at for at, place in enumerate(ranking["ranking"]) for _ in place])
        require_room(model.backbone, self._trees)
        self._weights_nm = counted(rankings, model.members, settings.seed)
        self.lengths = [len(tree) for tree in self._trees]

    def begin(self, indices: Sequence[int]) -> float:
        return _total(self._weights_nm, indices)

    def prepare(self, indices: Sequence[int]) -> Part:
        chosen = list(indices)
        places = [self._places[one] for one in chosen]
        given = {
            "places": torch.tensor([at for own in places for at in own]),
            "lists": torch.tensor([number for number, own in enumerate(places) for _ in own]),
        }
        packed = pack([self._trees[one] for one in chosen])
        calls_a = torch.cat([self._calls[one] for one in chosen])
        return Part(packed, calls_a, self._weights_nm[chosen], given)

    def loss(self, part: Part) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Plackett-Luce on the whole answers and on their calls alone."""
        part = part.to(self._device)
        readings = self._model.read(part.packed, part.calls_a)
        assert readings.quality is not None
        loss = self._surprise(readings.quality, part)
        if readings.action is not None:
            loss = loss + self._settings.call_weight * self._surprise(readings.action, part)
        return loss, {}

    def _surprise(self, scores_am: Tensor, part: Part) -> Tensor:
        """Summed up over lists and members."""
        places_a, lists_a = part.given["places"], part.given["lists"]
        losses = [
            plackett_luce(scores_a, places_a, lists_a, weights_n) * weights_n.sum()
            for scores_a, weights_n in zip(scores_am.T, part.weights_nm.T, strict=True)
        ]
        return torch.stack(losses).sum()


class Flags:
    """A lesson: what people flagged is likely to break a rule, what they passed is not."""

    def __init__(
        self, model: RewardModel, flags: Sequence[Mapping[str, Any]], settings: PairSettings, device: str
    ) -> None:
        self._model, self._device = model, device
        prompts, answers = model.encode(
            [flag["prompt"] for flag in flags], [flag["answer"] for flag in flags]
        )
        self._trees = [Tree(prompt, (answer,)) for prompt, answer in zip(prompts, answers, strict=True)]
        require_room(model.backbone, self._trees)
        self._calls = model.calls(answers)
        self._flags = torch.tensor([float(flag["violation"]) for flag in flags])
        self._weights_nm = counted(flags, model.members, settings.seed + 1)
        self.lengths = [len(tree) for tree in self._trees]

    def begin(self, indices: Sequence[int]) -> float:
        return _total(self._weights_nm, indices)

    def prepare(self, indices: Sequence[int]) -> Part:
        chosen = list(indices)
        packed = pack([self._trees[one] for one in chosen])
        return Part(packed, self._calls[chosen], self._weights_nm[chosen], {"flags": self._flags[chosen]})

    def loss(self, part: Part) -> tuple[Tensor, Mapping[str, Tensor]]:
        part = part.to(self._device)
        readings = self._model.read(part.packed, part.calls_a)
        assert readings.violation is not None
        flags_nm = part.given["flags"][:, None].expand_as(readings.violation)
        loss = flagged(readings.violation, flags_nm, part.weights_nm)
        return loss * part.weights_nm.sum(), {}
