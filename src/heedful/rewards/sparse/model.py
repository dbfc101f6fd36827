"""A reward model without a neural network: linear in what a text shows, and fitted in seconds on any machine.

`quality` is in standard deviations of the texts that set its scale, `violation` is a probability. It cannot tell a
true answer from a false one that is as well written: where there is a GPU, or a policy to start from, fit that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.special import expit

from heedful.errors import InvalidInput
from heedful.rewards.loading import CARD, card_in
from heedful.rewards.scale import Scale
from heedful.rewards.scores import Columns
from heedful.rewards.sparse.features import NAMES, Message, Reader

Floats = NDArray[np.float64]
KIND = "sparse"
NUMBERS, WORDS = "weights.safetensors", "words.json"
AT_ONCE = 2000  # answers whose features are in memory


@dataclass(frozen=True, slots=True)
class Line:
    """An objective: a weight per feature, and where they start."""

    weights_f: Floats
    constant: float = 0.0

    def at(self, features_af: Any) -> Floats:
        values: Floats = features_af @ self.weights_f + self.constant
        return values


class SparseModel:
    """Reads, multiplies, adds up."""

    def __init__(self, reader: Reader, lines: Mapping[str, Line], scale: Scale | None = None) -> None:
        self.reader = reader
        self.lines = dict(lines)
        self.objectives = tuple(lines)
        self.scale = scale or Scale()

    def score(
        self,
        prompts: Sequence[Sequence[Message]],
        answers: Sequence[str],
        *,
        columns: Columns | None = None,  # of groups it knows nothing
    ) -> dict[str, Floats]:
        """One number per answer under each name; names of what was never fitted are absent."""
        raw: dict[str, list[Floats]] = {name: [np.zeros(0)] for name in self.lines}
        for start in range(0, max(len(answers), len(prompts)), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            features_af = self.reader.read(prompts[some], answers[some])
            for name, line in self.lines.items():
                raw[name].append(line.at(features_af))
        out: dict[str, Floats] = {}
        if "quality" in raw:
            out["quality"] = (np.concatenate(raw["quality"]) - self.scale.mean) / self.scale.std
        if "safety" in raw:
            out["violation"] = expit(np.concatenate(raw["safety"]))
        return out

    def heaviest(self, objective: str = "quality", most: int = 10) -> dict[str, float]:
        """The figures of the surface that weigh most, per deviation: what the model looks at first."""
        weights = self.lines[objective].weights_f[len(self.reader.ngrams) :]
        order = np.argsort(-np.abs(weights))[:most]
        return {NAMES[place]: float(weights[place]) for place in order}

    def save(self, directory: Path, *, report: Mapping[str, Any]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        reader = self.reader
        numbers = {"idf": reader.idf_n, "mean": reader.mean_s, "std": reader.std_s}
        numbers |= {f"line.{name}": line.weights_f for name, line in self.lines.items()}
        save_file(
            {name: np.ascontiguousarray(values) for name, values in numbers.items()}, directory / NUMBERS
        )
        words = {"ngrams": reader.ngrams, "known": sorted(reader.known), "surface": NAMES}
        (directory / WORDS).write_text(json.dumps(words), encoding="utf-8")
        card = {
            "kind": KIND,
            "objectives": self.objectives,
            "constants": {name: line.constant for name, line in self.lines.items()},
            "scale": asdict(self.scale),
            "report": report,
        }
        (directory / CARD).write_text(json.dumps(card, indent=2, sort_keys=True), encoding="utf-8")


def load(directory: str | Path) -> SparseModel:
    """The model that a fit saved."""
    root = Path(directory)
    card = card_in(root)
    if card.get("kind") != KIND:
        raise InvalidInput(f"{str(root)!r} holds a reward model of another kind")
    try:
        words = json.loads((root / WORDS).read_text(encoding="utf-8"))
        numbers = load_file(root / NUMBERS)
        reader = Reader(
            tuple(words["ngrams"]), numbers["idf"], frozenset(words["known"]), numbers["mean"], numbers["std"]
        )
        lines = {
            name: Line(numbers[f"line.{name}"], float(card["constants"][name])) for name in card["objectives"]
        }
        scale = Scale(**card["scale"] | {"zeros": tuple(card["scale"]["zeros"])})
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"the sparse reward model in {str(root)!r} cannot be read: {error}") from error
    widths = {len(line.weights_f) for line in lines.values()} | {reader.width}
    if tuple(words["surface"]) != NAMES or len(widths) != 1 or len(reader.idf_n) != len(reader.ngrams):
        raise InvalidInput(f"the sparse reward model in {str(root)!r} reads other features: fit it again")
    return SparseModel(reader, lines, scale)
