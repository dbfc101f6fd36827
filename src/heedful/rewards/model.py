"""A reward model: a language model's backbone, and heads that read how good and how dangerous an answer is.

`quality` is in standard deviations of the starting policy's own answers, so that "one better" means the
same for every reward model and KL coefficients keep their meaning. `quality_action` is what the call at
the opening adds to it; `violation` is a probability.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
from heedful.lm.heads import CallFinder, ScalarHeads, read_points
from heedful.lm.layout import Rows, lay_out
from heedful.lm.load import Loaded, save
from heedful.lm.load import load as load_model

Scores = dict[str, NDArray[np.float64]]


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

    def __init__(self, loaded: Loaded, *, objectives: Sequence[str], scale: Scale | None = None) -> None:
        super().__init__()
        self.backbone = loaded.model
        self.tokenizer = loaded.tokenizer
        self.objectives = tuple(objectives)
        self.scale = scale or Scale()
        self.heads = ScalarHeads(loaded.model.config.hidden_size, len(self.objectives)).to(
            loaded.model.device
        )
        self._calls = CallFinder(loaded.tokenizer)

    def encode(
        self, prompts: Sequence[Sequence[Message]], answers: Sequence[str]
    ) -> tuple[list[list[int]], list[list[int]]]:
        return prompts_ids(self.tokenizer, prompts), answers_ids(self.tokenizer, answers)

    def lay_out(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> tuple[Rows, Tensor]:
        """The rows as a batch, and how long each one's call is."""
        device = self.heads.call.weight.device
        calls = torch.tensor([self._calls.length(answer) for answer in answers], device=device)
        return lay_out(prompts, answers, device=device), calls

    def read(self, rows: Rows, calls_b: Tensor) -> Readings:
        """Raw outputs, with gradient."""
        points = read_points(self.backbone, rows, calls_b)
        at_call, at_end = self.heads(points.at_call, points.at_end)
        quality = action = violation = None
        if "quality" in self.objectives:
            place = self.objectives.index("quality")
            action = at_call[:, place] + self.heads.belief * points.call_logp
            quality = action + at_end[:, place] + self.heads.sense * points.worst_logp
        if "safety" in self.objectives:
            violation = at_end[:, self.objectives.index("safety")]
        return Readings(quality, action, violation)

    @torch.inference_mode()
    def score(
        self, prompts: Sequence[Sequence[Message]], answers: Sequence[str], *, batch: int = 128
    ) -> Scores:
        """One number per answer under each name; names of objectives never fitted are absent."""
        if len(prompts) != len(answers):
            raise InvalidInput(
                f"{len(prompts)} prompts for {len(answers)} answers: give one prompt per answer"
            )
        prompt_rows, answer_rows = self.encode(prompts, answers)
        order = sorted(range(len(answers)), key=lambda i: len(prompt_rows[i]) + len(answer_rows[i]))
        out: Scores = {name: np.zeros(len(answers)) for name in self._names()}
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            rows, calls = self.lay_out([prompt_rows[i] for i in part], [answer_rows[i] for i in part])
            for name, values in self._scaled(self.read(rows, calls)).items():
                out[name][part] = values.double().cpu().numpy()
        return out

    def _names(self) -> list[str]:
        quality = ["quality", "quality_action"] if "quality" in self.objectives else []
        return quality + (["violation"] if "safety" in self.objectives else [])

    def _scaled(self, readings: Readings) -> dict[str, Tensor]:
        scaled: dict[str, Tensor] = {}
        if readings.quality is not None and readings.action is not None:
            scaled["quality"] = (readings.quality - self.scale.mean) / self.scale.std
            scaled["quality_action"] = (readings.action - self.scale.action_mean) / self.scale.std
        if readings.violation is not None:
            scaled["violation"] = readings.violation.sigmoid()
        return scaled

    def save(self, directory: Path, *, report: Mapping[str, Any]) -> None:
        save(Loaded(self.backbone, self.tokenizer), directory / "backbone")
        save_file(self.heads.state_dict(), directory / "heads.safetensors")
        scale = {"mean": self.scale.mean, "action_mean": self.scale.action_mean, "std": self.scale.std}
        card = {"objectives": self.objectives, "scale": scale, "report": report}
        (directory / "reward.json").write_text(json.dumps(card, indent=2, sort_keys=True), encoding="utf-8")


def load(directory: str | Path, *, device: str = "cpu") -> RewardModel:
    """The reward model that a fit saved."""
    root = Path(directory)
    try:
        card = json.loads((root / "reward.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise InvalidInput(f"{str(root)!r} is not the directory of a reward model: {error}") from error
    loaded = load_model(root / "backbone", device=device)
    model = RewardModel(loaded, objectives=card["objectives"], scale=Scale(**card["scale"]))
    model.heads.load_state_dict(load_file(root / "heads.safetensors", device=device))
    return model.eval()
