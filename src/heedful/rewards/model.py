"""A reward model: a language model's backbone, and heads that read how good and how dangerous an answer is.

`quality` is in standard deviations of the starting policy's own answers, so that "one better" means the
same for every reward model and KL coefficients keep their meaning. `quality_action` is what the call at
the opening adds to it; `violation` is a probability; `doubt` says how unlike everything it was fitted to
an answer is (`rewards/doubt.py`). Who says for which product, segment or language an answer is meant gets
that group's own `quality`, where groups were found to differ (`rewards/leanings.py`). With several members
(heads on the one backbone, each fitted to pairs drawn anew) a score is their mean, and `spread` says how far they
are apart: of disagreement it tells something, of strange answers little, which is what `doubt` is for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
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
from heedful.rewards import leanings as leaning
from heedful.rewards.doubt import Doubt, Look, joined
from heedful.rewards.leanings import Leanings
from heedful.rewards.loading import CARD, card_in
from heedful.rewards.scale import Scale

Scores = dict[str, NDArray[np.float64]]
Columns = Mapping[str, Sequence[Any]]  # by name, what else is known of each answer
DOUBT, LEANINGS = "doubt.safetensors", "leanings.safetensors"
MOST_SHARED = 16  # answers that are read behind one reading of their prompt


@dataclass(frozen=True, slots=True)
class Readings:
    """Raw outputs for a batch of answers, before scaling; am, one number per answer and member."""

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
        members: int = 1,
    ) -> None:
        super().__init__()
        self.backbone = loaded.model
        self.tokenizer = loaded.tokenizer
        self.objectives = tuple(objectives)
        self.scale = scale or Scale()
        self.end_only = end_only
        self.members = members
        self.doubt: Doubt | None = None
        self.leanings: Leanings | None = None
        self.heads = ScalarHeads(loaded.model.config.hidden_size, len(self.objectives) * members).to(
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
        at_call = at_call + self.heads.belief * points.call_logp[:, None]
        sense = self.heads.sense * points.worst_logp[:, None]
        action = self._of("quality", at_call)
        prose = self._of("quality", at_end + sense)
        quality = None if action is None or prose is None else action + prose
        return Readings(quality, action, self._of("safety", at_end))

    def _at_the_end(self, state_ad: Tensor) -> Readings:
        """As most reward models read: one look, behind the last token."""
        at_end = self.heads.end(state_ad.float())
        return Readings(self._of("quality", at_end), None, self._of("safety", at_end))

    def _of(self, objective: str, outputs_ao: Tensor) -> Tensor | None:
        """The outputs of one objective's members, am."""
        if objective not in self.objectives:
            return None
        place = self.objectives.index(objective) * self.members
        return outputs_ao[:, place : place + self.members]

    @torch.inference_mode()
    def score(
        self,
        prompts: Sequence[Sequence[Message]],
        answers: Sequence[str],
        *,
        columns: Columns | None = None,
        tokens: int = 8192,
    ) -> Scores:
        """One number per answer under each name; names of what was never fitted are absent."""
        out: Scores = {name: np.zeros(len(answers)) for name in self._names()}
        leanings = None if columns is None else self.leanings
        for places, packed, calls_a in self._packed(prompts, answers, tokens):
            if self.doubt is None and leanings is None:
                readings = self.read(packed, calls_a)
            else:
                points = read_points(self.backbone, packed, calls_a)
                readings = self._at(points)
                if self.doubt is not None:
                    out["doubt"][places] = self.doubt.of(Look.at(points))
            for name, values in self._scaled(readings).items():
                out[name][places] = values.double().cpu().numpy()
            if columns is not None and leanings is not None:
                mine = {name: [values[place] for place in places] for name, values in columns.items()}
                out["quality"][places] += leanings.add(self._seen(points, readings), mine) / self.scale.std
        return out

    @torch.inference_mode()
    def each(
        self, prompts: Sequence[Sequence[Message]], answers: Sequence[str], *, tokens: int = 8192
    ) -> NDArray[np.float64]:
        """What every member says of each answer's quality, raw, am."""
        out = np.zeros((len(answers), self.members))
        for places, packed, calls_a in self._packed(prompts, answers, tokens):
            readings = self.read(packed, calls_a)
            assert readings.quality is not None
            out[places] = readings.quality.double().cpu().numpy()
        return out

    @torch.inference_mode()
    def seen(
        self, prompts: Sequence[Sequence[Message]], answers: Sequence[str], *, tokens: int = 8192
    ) -> NDArray[np.float64]:
        """What a leaning looks at in each answer, in their order, af: what the judge's own heads read, and last
        what they make of it."""
        found: dict[int, NDArray[np.float64]] = {}
        for places, packed, calls_a in self._packed(prompts, answers, tokens):
            points = read_points(self.backbone, packed, calls_a)
            found |= dict(zip(places, self._seen(points, self._at(points)), strict=True))
        return np.stack([found[place] for place in range(len(answers))])

    def _seen(self, points: Points, readings: Readings) -> NDArray[np.float64]:
        assert readings.quality is not None
        parts = [points.at_end]
        if not self.end_only:
            parts += [points.at_call, points.call_logp[:, None], points.worst_logp[:, None]]
        parts.append(readings.quality.mean(1, keepdim=True))
        read_af: NDArray[np.float64] = torch.cat([part.float() for part in parts], 1).double().cpu().numpy()
        return read_af

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
        names += ["spread"] if self.members > 1 else []
        quality = names if "quality" in self.objectives else []
        violation = ["violation"] if "safety" in self.objectives else []
        return quality + violation + ([] if self.doubt is None else ["doubt"])

    def _scaled(self, readings: Readings) -> dict[str, Tensor]:
        scaled: dict[str, Tensor] = {}
        if readings.quality is not None:
            scaled["quality"] = (readings.quality.mean(1) - self.scale.mean) / self.scale.std
            if self.members > 1:
                zeros_m = readings.quality.new_tensor(self.scale.zeros or [0.0] * self.members)
                scaled["spread"] = (readings.quality - zeros_m).std(1) / self.scale.std
        if readings.action is not None:
            scaled["quality_action"] = (readings.action.mean(1) - self.scale.action_mean) / self.scale.std
        if readings.violation is not None:
            scaled["violation"] = readings.violation.mean(1).sigmoid()
        return scaled

    def save(self, directory: Path, *, report: Mapping[str, Any]) -> None:
        save(Loaded(self.backbone, self.tokenizer), directory / "backbone")
        save_file(self.heads.state_dict(), directory / "heads.safetensors")
        if self.doubt is not None:
            self.doubt.save(directory / DOUBT)
        if self.leanings is not None:
            self.leanings.save(directory / LEANINGS)
        card = {
            "objectives": self.objectives,
            "end_only": self.end_only,
            "members": self.members,
            "scale": asdict(self.scale),
            "doubt": None if self.doubt is None else self.doubt.card(),
            "leanings": None if self.leanings is None else self.leanings.card(),
            "report": report,
        }
        (directory / CARD).write_text(json.dumps(card, indent=2, sort_keys=True), encoding="utf-8")


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
    card = card_in(root)
    loaded = load_model(root / "backbone", device=device)
    model = RewardModel(
        loaded,
        objectives=card["objectives"],
        scale=Scale(**card["scale"] | {"zeros": tuple(card["scale"].get("zeros", ()))}),
        end_only=card.get("end_only", False),
        members=card.get("members", 1),
    )
    try:
        model.heads.load_state_dict(load_file(root / "heads.safetensors", device=device))
    except (RuntimeError, SafetensorError, OSError) as error:
        raise InvalidInput(f"the heads in {str(root)!r} are not of this kind: fit the model again") from error
    if card.get("doubt"):
        model.doubt = doubts.load(root / DOUBT)
    if card.get("leanings"):
        model.leanings = leaning.load(root / LEANINGS)
    return model.eval()
