"""Fit a reward model to pairs that people compared and to answers that they flagged.

A task: `run(spec, work, track)`. One backbone carries both objectives: pairs and flags take turns within a
step. Data are split by prompt, not by pair: two pairs from one prompt on both sides would leak the answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from heedful.errors import InvalidInput
from heedful.lm import columns, state
from heedful.lm.decode import Sampler
from heedful.lm.load import Loaded
from heedful.lm.load import load as load_model
from heedful.lm.logprobs import plain
from heedful.lm.loop import Course, LoopSettings, Stopped, Track, learn, set_up
from heedful.lm.optim import Stepper, freeze_embeddings
from heedful.lm.records import key_of, read_records
from heedful.rewards import doubt
from heedful.rewards.bounds import Bounds, verdict
from heedful.rewards.lessons import Flags, Pairs
from heedful.rewards.model import RewardModel, Scale
from heedful.rewards.report import flag_report, pair_report

KNOWN = 4000  # prompts that a doubt is fitted to, at most
PAIR, FLAG = ("prompt", "chosen", "rejected"), ("prompt", "answer", "violation")


class FitSpec(LoopSettings):
    """From which judgements, on which backbone, how long."""

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

    end_only: bool = False
    """Read an answer only at its end, as most reward models do, and not behind its call as well."""

    centre: float = Field(0.005, ge=0)
    """Weight of the term that keeps scores near zero."""

    held_out: float = Field(0.1, ge=0, lt=1)
    """Share of the prompts kept back for the report."""

    max_tokens: int = Field(64, ge=1)
    """Longest answer when `model` is asked for its own answers."""

    bounds: Bounds = Bounds()
    """What the report must show, or later stops refuse the model."""


def run(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """Fit and save; returns {"reward", "report", "stopped"}."""
    settings = FitSpec.model_validate(spec)
    set_up(settings)
    pairs = columns.pairs(settings.preferences) if settings.preferences else []
    flags = read_records(settings.safety, *FLAG) if settings.safety else []
    objectives = [name for name, data in (("quality", pairs), ("safety", flags)) if data]
    if not objectives:
        raise InvalidInput("nothing to fit: give preferences, safety labels or both", field="preferences")
    loaded = load_model(settings.model, device=settings.device, trust_remote_code=settings.trust_remote_code)
    reference = _reference(loaded, settings, pairs or flags)  # before the backbone changes
    model = RewardModel(loaded, objectives=objectives, end_only=settings.end_only)
    fit_pairs, held_pairs = _sides(pairs, settings.preferences_holdout, PAIR, settings.held_out)
    fit_flags, held_flags = _sides(flags, settings.safety_holdout, FLAG, settings.held_out)
    key = key_of(spec, settings.preferences, settings.safety)
    stopped = _train(model, fit_pairs, fit_flags, settings, work, track, key)
    report = _report(model, held_pairs, held_flags, settings.bounds)
    model.scale = _scale(model, reference)
    model.doubt = _doubt(model, fit_pairs + fit_flags, held_pairs + held_flags)
    model.save(work / "reward", report=report)
    if stopped == "done":
        state.discard(work)
    return {"reward": str(work / "reward"), "report": report, "stopped": stopped}


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
    work: Path,
    track: Track,
    key: str,
) -> Stopped:
    """Every step takes one batch of pairs and its share of the flags."""
    larger = pairs or flags
    epochs = settings.epochs if pairs else settings.safety_epochs
    steps = max(1, round(len(larger) * epochs / settings.batch))
    courses = []
    if pairs:
        courses.append(Course(Pairs(model, pairs, settings, settings.device), settings.batch, "quality"))
    if flags:
        share = max(1, round(len(flags) * settings.safety_epochs / steps))
        courses.append(Course(Flags(model, flags, settings.device), share, "safety"))
    if not settings.embeddings:
        freeze_embeddings(model.backbone)
    stepper = Stepper(
        [
            (settings.highest_rate(), model.backbone.parameters()),
            (settings.highest_rate(settings.head_rate), model.heads.parameters()),
        ],
        steps=steps,
        warmup=settings.warmup,
        schedule=settings.schedule,
        clip=settings.clip,
        decay=settings.decay,
    )
    modules = {"backbone": model.backbone, "heads": model.heads}
    return learn(courses, stepper, modules, settings, steps=steps, work=work, track=track, key=key)


def _reference(
    loaded: Loaded, settings: FitSpec, records: list[dict[str, Any]]
) -> tuple[list[Any], list[str]]:
    """Prompts and answers of the starting policy."""
    if settings.reference is not None:
        given = read_records(settings.reference, "prompt", "answer")
        return [record["prompt"] for record in given], [record["answer"] for record in given]
    prompts = [record["prompt"] for record in records[:256]]
    samples = Sampler(loaded).sample(prompts, max_tokens=settings.max_tokens, seed=settings.seed)
    # What ended by itself: an answer that was cut off is nobody's, and may be longer when it is read again.
    ended = [place for place, (sample,) in enumerate(samples) if sample.finish_reason == "stop"]
    chosen = ended or range(len(samples))
    return [prompts[place] for place in chosen], [samples[place][0].text for place in chosen]


def _scale(model: RewardModel, reference: tuple[list[Any], list[str]]) -> Scale:
    if "quality" not in model.objectives:
        return Scale()
    scores = model.score(*reference)
    return Scale(
        mean=float(scores["quality"].mean()),
        action_mean=float(scores["quality_action"].mean()) if "quality_action" in scores else 0.0,
        std=max(float(scores["quality"].std()), 1e-3),
    )


def _doubt(
    model: RewardModel, known: list[dict[str, Any]], kept_back: list[dict[str, Any]]
) -> doubt.Doubt | None:
    """None where too little was kept back, or where the backbone does not tell likelihoods."""
    prompts, answers = _said(kept_back)
    if len(answers) < doubt.FEWEST or not plain(model.backbone):
        return None
    once = {json.dumps(record["prompt"], sort_keys=True): record for record in known}
    seen = list(once.values())[:KNOWN]
    states_ad = model.look([record["prompt"] for record in seen], [_texts(record)[0] for record in seen])
    return doubt.fit(states_ad.prompt_ad, model.look(prompts, answers))


def _said(records: list[dict[str, Any]]) -> tuple[list[Any], list[str]]:
    """Every answer in them, with its prompt."""
    rows = [(record["prompt"], text) for record in records for text in _texts(record)]
    return [prompt for prompt, _ in rows], [text for _, text in rows]


def _texts(record: dict[str, Any]) -> list[str]:
    return [record[name] for name in ("chosen", "rejected", "answer") if name in record]


def _report(
    model: RewardModel, pairs: list[dict[str, Any]], flags: list[dict[str, Any]], bounds: Bounds
) -> dict[str, Any]:
    """Figures on what was kept back, and whether they pass; scores are still raw, so differences are log-odds."""
    report: dict[str, Any] = {}
    if pairs:
        prompts = [pair["prompt"] for pair in pairs]
        sides = [[pair[side] for pair in pairs] for side in ("chosen", "rejected")]
        better, worse = (model.score(prompts, side)["quality"] for side in sides)
        chosen, rejected = (np.array([float(len(text)) for text in side]) for side in sides)
        keys = [json.dumps(prompt, sort_keys=True) for prompt in prompts]
        report["quality"] = pair_report(better - worse, chosen, rejected, keys)
    if flags:
        scores = model.score([flag["prompt"] for flag in flags], [flag["answer"] for flag in flags])
        report["safety"] = flag_report(
            scores["violation"], np.array([float(flag["violation"]) for flag in flags])
        )
    return report | verdict(report.get("quality", {}), bounds)
