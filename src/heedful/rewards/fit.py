"""Fit a reward model to pairs that people compared and to answers that they flagged.

A task: `run(spec, work, track)`. One backbone carries both objectives: pairs and flags take turns within a
step. Data are split by prompt, not by pair: two pairs from one prompt on both sides would leak the answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from heedful.errors import InvalidInput
from heedful.lm.decode import Sampler
from heedful.lm.layout import batches
from heedful.lm.load import Loaded
from heedful.lm.load import load as load_model
from heedful.lm.optim import Precision, Stepper, autocast, freeze_embeddings
from heedful.lm.records import read_records
from heedful.rewards.losses import bradley_terry, centring, flagged
from heedful.rewards.model import RewardModel, Scale
from heedful.rewards.report import flag_report, pair_report

Track = Callable[[int, Mapping[str, float]], None]


PAIR, FLAG = ("prompt", "chosen", "rejected"), ("prompt", "answer", "violation")


class FitSpec(BaseModel):
    """From which judgements, on which backbone, how long."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: str
    """Directory or hub name of the backbone; usually the policy whose answers were judged."""

    preferences: Path | None = None
    """JSONL of {"prompt", "chosen", "rejected", "weight"}; nothing: no quality objective."""

    safety: Path | None = None
    """JSONL of {"prompt", "answer", "violation", "weight"}; nothing: no safety objective."""

    preferences_holdout: Path | None = None
    """As `preferences`, for the report alone; nothing: a share of the prompts is kept back."""

    safety_holdout: Path | None = None
    """As `safety`, for the report alone; nothing: a share of the prompts is kept back."""

    reference: Path | None = None
    """JSONL of {"prompt", "answer"} by the starting policy, to set the scale; nothing: `model` is asked."""

    epochs: float = Field(2.0, gt=0)
    """Passes over the pairs."""

    safety_epochs: float = Field(1.0, gt=0)
    """Passes over the flags."""

    batch: int = Field(32, ge=1)
    """Pairs per step."""

    rate: float = Field(4e-4, gt=0)
    """Highest learning rate of the backbone; for pretrained models use far less."""

    head_rate: float = Field(5e-3, gt=0)
    """Highest learning rate of the heads, which start from nothing."""

    embeddings: bool = False
    """Whether token embeddings move too. A few thousand pairs see most words too rarely to move them well."""

    warmup: int = Field(10, ge=0)
    """Steps over which the rate rises."""

    noise: float = Field(0.2, ge=0, lt=0.5)
    """Share of choices expected to be the wrong way round."""

    call_weight: float = Field(0.5, ge=0)
    """Weight of the choice as seen by the call alone, for pairs whose calls differ."""

    centre: float = Field(0.005, ge=0)
    """Weight of the term that keeps scores near zero."""

    held_out: float = Field(0.1, ge=0, lt=1)
    """Share of the prompts kept back for the report."""

    max_tokens: int = Field(64, ge=1)
    """Longest answer when `model` is asked for its own answers."""

    seed: int = 0
    """The same seed and spec give the same weights on the same machine."""

    threads: int = Field(1, ge=1)
    """Torch threads."""

    device: str = "cpu"
    """Where to compute."""

    precision: Precision = "auto"
    """bfloat16 autocast, or not; auto asks the processor."""

    trust_remote_code: bool = False
    """Allow code that ships with the model."""


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Answers as token rows, with what people said about each row."""

    prompts: list[list[int]]
    answers: list[list[int]]
    values: Tensor  # flags for answers; unused for pairs
    weights: Tensor

    def lengths(self) -> list[int]:
        return [len(prompt) + len(answer) for prompt, answer in zip(self.prompts, self.answers, strict=True)]


def run(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """Fit and save; returns {"reward", "report"}."""
    settings = FitSpec.model_validate(spec)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    pairs = read_records(settings.preferences, *PAIR) if settings.preferences else []
    flags = read_records(settings.safety, *FLAG) if settings.safety else []
    objectives = [name for name, data in (("quality", pairs), ("safety", flags)) if data]
    if not objectives:
        raise InvalidInput("nothing to fit: give preferences, safety labels or both", field="preferences")
    loaded = load_model(settings.model, device=settings.device, trust_remote_code=settings.trust_remote_code)
    reference = _reference(loaded, settings, pairs or flags)  # before the backbone changes
    model = RewardModel(loaded, objectives=objectives)
    fit_pairs, held_pairs = _sides(pairs, settings.preferences_holdout, PAIR, settings.held_out)
    fit_flags, held_flags = _sides(flags, settings.safety_holdout, FLAG, settings.held_out)
    _train(model, fit_pairs, fit_flags, settings, track)
    report = _report(model, held_pairs, held_flags)
    model.scale = _scale(model, reference)
    model.save(work / "reward", report=report)
    return {"reward": str(work / "reward"), "report": report}


def _sides(
    records: list[dict[str, Any]], holdout: Path | None, needed: Sequence[str], share: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What to fit on and what to report on: the caller's own hold-out, or a share of the prompts."""
    return split(records, share) if holdout is None else (records, read_records(holdout, *needed))


def split(
    records: Sequence[dict[str, Any]], held_out: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Records to fit on and records kept back, by a hash of the prompt: the same prompt, the same side."""
    fit: list[dict[str, Any]] = []
    held: list[dict[str, Any]] = []
    for record in records:
        digest = hashlib.sha256(json.dumps(record["prompt"], sort_keys=True).encode()).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        (held if share < held_out else fit).append(record)
    return fit, held


def _train(
    model: RewardModel,
    pairs: list[dict[str, Any]],
    flags: list[dict[str, Any]],
    settings: FitSpec,
    track: Track,
) -> None:
    """Every step takes one batch of pairs and its share of the flags."""
    random = np.random.default_rng(settings.seed)
    chosen, rejected = _encode_pairs(model, pairs, settings)
    flagged_rows = _encode_flags(model, flags, settings)
    larger = chosen.prompts if pairs else flagged_rows.prompts
    epochs = settings.epochs if pairs else settings.safety_epochs
    steps = max(1, round(len(larger) * epochs / settings.batch))
    flag_batch = max(1, round(len(flags) * settings.safety_epochs / steps)) if flags else 0
    if not settings.embeddings:
        freeze_embeddings(model.backbone)
    stepper = Stepper(
        [(settings.rate, model.backbone.parameters()), (settings.head_rate, model.heads.parameters())],
        steps=steps,
        warmup=settings.warmup,
    )
    pair_lengths = [a + b for a, b in zip(chosen.lengths(), rejected.lengths(), strict=True)]
    pair_turns = _turns(pair_lengths, settings.batch, random) if pairs else None
    flag_turns = _turns(flagged_rows.lengths(), flag_batch, random) if flags else None
    for step in range(1, steps + 1):
        figures: dict[str, float] = {"steps": float(steps)}
        total = torch.zeros((), device=settings.device)
        if pair_turns is not None:
            loss, right = _pair_loss(model, chosen, rejected, next(pair_turns), settings)
            total = total + loss
            figures |= {"quality_loss": loss.item(), "accuracy": right}
        if flag_turns is not None:
            loss = _flag_loss(model, flagged_rows, next(flag_turns), settings)
            total = total + loss
            figures["safety_loss"] = loss.item()
        figures["gradient_norm"] = stepper.step(total)
        track(step, figures)


def _turns(lengths: Sequence[int], size: int, random: np.random.Generator) -> Iterator[list[int]]:
    """Batches of indices, epoch after epoch."""
    while True:
        yield from batches(lengths, size, random)


def _encode_pairs(
    model: RewardModel, pairs: list[dict[str, Any]], settings: FitSpec
) -> tuple[_Encoded, _Encoded]:
    prompts = [pair["prompt"] for pair in pairs]
    weights = torch.tensor([float(pair.get("weight", 1.0)) for pair in pairs], device=settings.device)
    sides = []
    for side in ("chosen", "rejected"):
        rows = model.encode(prompts, [pair[side] for pair in pairs])
        sides.append(_Encoded(*rows, values=weights, weights=weights))
    return sides[0], sides[1]


def _encode_flags(model: RewardModel, flags: list[dict[str, Any]], settings: FitSpec) -> _Encoded:
    rows = model.encode([flag["prompt"] for flag in flags], [flag["answer"] for flag in flags])
    values = torch.tensor([float(flag["violation"]) for flag in flags], device=settings.device)
    weights = torch.tensor([float(flag.get("weight", 1.0)) for flag in flags], device=settings.device)
    return _Encoded(*rows, values=values, weights=weights)


def _pair_loss(
    model: RewardModel, chosen: _Encoded, rejected: _Encoded, indices: list[int], settings: FitSpec
) -> tuple[Tensor, float]:
    """Bradley-Terry on the whole answers and on their calls alone; and the share ranked as people did."""
    count = len(indices)
    prompts = [chosen.prompts[i] for i in indices] * 2
    answers = [chosen.answers[i] for i in indices] + [rejected.answers[i] for i in indices]
    rows, calls = model.lay_out(prompts, answers)
    with autocast(settings.precision, settings.device):
        readings = model.read(rows, calls)
    assert readings.quality is not None
    assert readings.action is not None
    weights = chosen.weights[indices]
    better, worse = readings.quality.split(count)
    loss = bradley_terry(better - worse, weights, noise=settings.noise)
    loss = loss + settings.centre * centring(better, worse)
    if settings.call_weight > 0:
        call_better, call_worse = readings.action.split(count)
        differ = torch.tensor(
            [
                a[: c + 1] != b[: c + 1]
                for a, b, c in zip(answers[:count], answers[count:], calls.tolist(), strict=False)
            ],
            device=weights.device,
        )
        loss = (
            loss
            + settings.call_weight
            * bradley_terry(call_better - call_worse, weights * differ, noise=settings.noise)
            * differ.float().mean()
        )
    return loss, float((better > worse).float().mean())


def _flag_loss(model: RewardModel, flags: _Encoded, indices: list[int], settings: FitSpec) -> Tensor:
    rows, calls = model.lay_out([flags.prompts[i] for i in indices], [flags.answers[i] for i in indices])
    with autocast(settings.precision, settings.device):
        readings = model.read(rows, calls)
    assert readings.violation is not None
    return flagged(readings.violation, flags.values[indices], flags.weights[indices])


def _reference(
    loaded: Loaded, settings: FitSpec, records: list[dict[str, Any]]
) -> tuple[list[Any], list[str]]:
    """Prompts and answers of the starting policy."""
    if settings.reference is not None:
        given = read_records(settings.reference, "prompt", "answer")
        return [record["prompt"] for record in given], [record["answer"] for record in given]
    prompts = [record["prompt"] for record in records[:256]]
    samples = Sampler(loaded).sample(prompts, max_tokens=settings.max_tokens, seed=settings.seed)
    return prompts, [sample.text for (sample,) in samples]


def _scale(model: RewardModel, reference: tuple[list[Any], list[str]]) -> Scale:
    if "quality" not in model.objectives:
        return Scale()
    scores = model.score(*reference)
    return Scale(
        mean=float(scores["quality"].mean()),
        action_mean=float(scores["quality_action"].mean()),
        std=max(float(scores["quality"].std()), 1e-3),
    )


def _report(
    model: RewardModel, pairs: list[dict[str, Any]], flags: list[dict[str, Any]]
) -> dict[str, dict[str, float]]:
    """Figures on what was kept back; scores are still raw, so differences are log-odds."""
    report: dict[str, dict[str, float]] = {}
    if pairs:
        prompts = [pair["prompt"] for pair in pairs]
        sides = [[pair[side] for pair in pairs] for side in ("chosen", "rejected")]
        better, worse = (model.score(prompts, side)["quality"] for side in sides)
        lengths = [np.array([float(len(text)) for text in side]) for side in sides]
        report["quality"] = pair_report(better - worse, *lengths)
    if flags:
        scores = model.score([flag["prompt"] for flag in flags], [flag["answer"] for flag in flags])
        report["safety"] = flag_report(
            scores["violation"], np.array([float(flag["violation"]) for flag in flags])
        )
    return report
