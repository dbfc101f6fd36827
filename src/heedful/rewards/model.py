"""A reward model: a language model's backbone, and heads that read how good and how dangerous an answer is.

`quality` is in standard deviations of the starting policy's own answers, so that "one better" means the
same for every reward model and KL coefficients keep their meaning. `quality_action` is what the call at
the opening adds to it; `violation` is a probability; `doubt` says how unlike everything it was fitted to
an answer is (`rewards/doubt.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from heedful.errors import InvalidInput
from heedful.lm.chat import Message, answers_ids, prompts_ids
from heedful.lm.flat import hidden_states, require_room
from heedful.lm.heads import CallFinder, Points, ScalarHeads, read_points
from heedful.lm.layout import Packed, Tree, micro_batches, pack
from heedful.lm.load import Loaded, save
from heedful.lm.load import load as load_model
from heedful.rewards import doubt as doubts
from heedful.rewards.doubt import Doubt, Look, joined

Scores = dict[str, NDArray[np.float64]]
DOUBT = "doubt.safetensors"
MOST_SHARED = 16  # answers that are read behind one reading of their prompt


@dataclass(frozen=True, slots=True)
class Scale:
    """What turns raw scores into standard deviations of the starting policy."""

    mean: float = 0.0
    action_mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True, slots=True)
class Readings:
    """Raw outputs for a batch of answers, before scaling; one number per answer."""

    quality: Tensor | None
    action: Tensor | None
    violation: Tensor | None  # log-odds


class RewardModel(nn.Module):
    """Backbone and heads. `score` is all that a user of it needs."""

    def __init__(
        self,
        loaded: Loaded,
        *,
        objectives: Sequence[str],
        scale: Scale | None = None,
        end_only: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = loaded.model
        self.tokenizer = loaded.tokenizer
        self.objectives = tuple(objectives)
        self.scale = scale or Scale()
        self.end_only = end_only
        self.doubt: Doubt | None = None
        self.heads = ScalarHeads(loaded.model.config.hidden_size, len(self.objectives)).to(
            loaded.model.device
        )
        self._calls = CallFinder(loaded.tokenizer)

    def encode(
        self, prompts: Sequence[Sequence[Message]], answers: Sequence[str]
    ) -> tuple[list[list[int]], list[list[int]]]:
        return prompts_ids(self.tokenizer, prompts), answers_ids(self.tokenizer, answers)

    def calls(self, answers: Sequence[Sequence[int]]) -> Tensor:
        """How long each answer's call is."""
        return torch.tensor([self._calls.length(answer) for answer in answers])

    def read(self, packed: Packed, calls_a: Tensor) -> Readings:
        """Raw outputs, with gradient."""
        if self.end_only:
            return self._at_the_end(hidden_states(self.backbone, packed, packed.last_a))
        return self._at(read_points(self.backbone, packed, calls_a))

    def _at(self, points: Points) -> Readings:
        if self.end_only:
            return self._at_the_end(points.at_end)
        at_call, at_end = self.heads(points.at_call, points.at_end)
        quality = action = violation = None
        if "quality" in self.objectives:
            place = self.objectives.index("quality")
            action = at_call[:, place] + self.heads.belief * points.call_logp
            quality = action + at_end[:, place] + self.heads.sense * points.worst_logp
        if "safety" in self.objectives:
            violation = at_end[:, self.objectives.index("safety")]
        return Readings(quality, action, violation)

    def _at_the_end(self, state_ad: Tensor) -> Readings:
        """As most reward models read: one look, behind the last token."""
        at_end = self.heads.end(state_ad.float())
        found = {name: at_end[:, place] for place, name in enumerate(self.objectives)}
        return Readings(found.get("quality"), None, found.get("safety"))

    @torch.inference_mode()
    def score(
        self, prompts: Sequence[Sequence[Message]], answers: Sequence[str], *, tokens: int = 8192
    ) -> Scores:
        """One number per answer under each name; names of what was never fitted are absent."""
        out: Scores = {name: np.zeros(len(answers)) for name in self._names()}
        for places, packed, calls_a in self._packed(prompts, answers, tokens):
            if self.doubt is None:
                readings = self.read(packed, calls_a)
            else:
                points = read_points(self.backbone, packed, calls_a)
                readings = self._at(points)
                out["doubt"][places] = self.doubt.of(Look.at(points))
            for name, values in self._scaled(readings).items():
                out[name][places] = values.double().cpu().numpy()
        return out

    @torch.inference_mode()
    def look(
        self, prompts: Sequence[Sequence[Message]], answers: Sequence[str], *, tokens: int = 8192
    ) -> Look:
        """What a doubt is made of; answers to one prompt come together."""
        return joined(
            [
                Look.at(read_points(self.backbone, packed, calls_a))
                for _, packed, calls_a in self._packed(prompts, answers, tokens)
            ]
        )

    def _packed(
        self, prompts: Sequence[Sequence[Message]], answers: Sequence[str], tokens: int
    ) -> Iterator[tuple[list[int], Packed, Tensor]]:
        """Which answers, the row that they lie in, and how long their calls are."""
        if len(prompts) != len(answers):
            raise InvalidInput(
                f"{len(prompts)} prompts for {len(answers)} answers: give one prompt per answer"
            )
        trees, order = _shared(*self.encode(prompts, answers))
        require_room(self.backbone, trees)
        device = self.heads.call.weight.device
        done = 0
        for some in micro_batches([len(tree) for tree in trees], tokens):
            part = [trees[one] for one in some]
            rows = [answer for tree in part for answer in tree.answers]
            yield order[done : done + len(rows)], pack(part).to(device), self.calls(rows).to(device)
            done += len(rows)

    def _names(self) -> list[str]:
        names = ["quality"] if self.end_only else ["quality", "quality_action"]
        quality = names if "quality" in self.objectives else []
        violation = ["violation"] if "safety" in self.objectives else []
        return quality + violation + ([] if self.doubt is None else ["doubt"])

    def _scaled(self, readings: Readings) -> dict[str, Tensor]:
        scaled: dict[str, Tensor] = {}
        if readings.quality is not None:
            scaled["quality"] = (readings.quality - self.scale.mean) / self.scale.std
        if readings.action is not None:
            scaled["quality_action"] = (readings.action - self.scale.action_mean) / self.scale.std
        if readings.violation is not None:
            scaled["violation"] = readings.violation.sigmoid()
        return scaled

    def save(self, directory: Path, *, report: Mapping[str, Any]) -> None:
        save(Loaded(self.backbone, self.tokenizer), directory / "backbone")
        save_file(self.heads.state_dict(), directory / "heads.safetensors")
        if self.doubt is not None:
            self.doubt.save(directory / DOUBT)
        scale = {"mean": self.scale.mean, "action_mean": self.scale.action_mean, "std": self.scale.std}
        card = {
            "objectives": self.objectives,
            "end_only": self.end_only,
            "scale": scale,
            "doubt": None if self.doubt is None else self.doubt.card(),
            "report": report,
        }
        (directory / "reward.json").write_text(json.dumps(card, indent=2, sort_keys=True), encoding="utf-8")


def _shared(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> tuple[list[Tree], list[int]]:
    """Answers to the same prompt as one tree, and which answer stands where in them."""
    together: dict[tuple[int, ...], list[int]] = {}
    for place, prompt in enumerate(prompts):
        together.setdefault(tuple(prompt), []).append(place)
    cuts = [
        (prompt, places[start : start + MOST_SHARED])
        for prompt, places in together.items()
        for start in range(0, len(places), MOST_SHARED)
    ]
    trees = [Tree(prompt, [answers[place] for place in places]) for prompt, places in cuts]
    return trees, [place for _, places in cuts for place in places]


def load(directory: str | Path, *, device: str = "cpu") -> RewardModel:
    """The reward model that a fit saved."""
    root = Path(directory)
    try:
        card = json.loads((root / "reward.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise InvalidInput(f"{str(root)!r} is not the directory of a reward model: {error}") from error
    loaded = load_model(root / "backbone", device=device)
    model = RewardModel(
        loaded,
        objectives=card["objectives"],
        scale=Scale(**card["scale"]),
        end_only=card.get("end_only", False),
    )
    model.heads.load_state_dict(load_file(root / "heads.safetensors", device=device))
    if card.get("doubt"):
        model.doubt = doubts.load(root / DOUBT)
    return model.eval()
