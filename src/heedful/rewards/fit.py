"""Fit a reward model to answers that people compared, ranked and flagged.

A task: `run(spec, work, track)`. One backbone carries all objectives: pairs, rankings and flags take turns
within a step. Data are split by prompt, not by pair: two pairs from one prompt on both sides would leak the answer.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from pydantic import Field

from heedful.errors import InvalidInput
from heedful.lm import columns, state
from heedful.lm.decode import Sampler
from heedful.lm.load import Loaded
from heedful.lm.load import load as load_model
from heedful.lm.loop import LoopSettings, Stopped, Track, set_up
from heedful.lm.records import key_of, write_records
from heedful.lm.splits import between
from heedful.rewards.bounds import Bounds
from heedful.rewards.data import Data, Sources, implied, read, sides
from heedful.rewards.finding import doubt_of, leanings_of, scale_of
from heedful.rewards.grading import graded
from heedful.rewards.learning import LessonSettings, taught
from heedful.rewards.model import RewardModel


class FitSpec(Sources, LessonSettings):
    """From which judgements, on which backbone, how long."""

    model: str
    """Directory or hub name of the backbone; usually the policy whose answers were judged."""

    reference: Path | None = None
    """JSONL of {"prompt", "answer"} by the starting policy, to set the scale; nothing: `model` is asked."""

    members: int = Field(1, ge=1, le=64)
    """Heads on the backbone, each fitted to its own draw of the data: scores are their mean, and have a spread."""

    end_only: bool = False
    """Read an answer only at its end, as most reward models do, and not behind its call as well."""

    leanings: bool = True
    """Let products, segments and languages that rows name have a taste of their own, where they clearly do."""

    folds: int = Field(0, ge=0, le=20)
    """Parts of the prompts for a cross-validation; each costs as much as the fit itself. 0: none."""

    max_tokens: int = Field(64, ge=1)
    """Longest answer when `model` is asked for its own answers."""

    bounds: Bounds = Bounds()
    """What the report must show, or later stops refuse the model."""


def run(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """Fit and save; returns {"reward", "report", "stopped"}."""
    settings = FitSpec.model_validate(spec)
    set_up(settings)
    data = read(settings)
    if not data.all:
        raise InvalidInput("nothing to fit: give preferences, rankings or safety labels", field="preferences")
    if settings.folds == 1:
        raise InvalidInput("folds=1 leaves nothing to fit to: give 2 or more, or 0 for none", field="folds")
    known, kept_back = sides(data, settings)
    objectives = [
        name for name, there in (("quality", known.pairs or known.rankings), ("safety", known.flags)) if there
    ]
    if not objectives:
        raise InvalidInput(
            f"held_out={settings.held_out} keeps back every prompt that there is: give more prompts, or less of it",
            field="held_out",
        )
    loaded = load_model(settings.model, device=settings.device, trust_remote_code=settings.trust_remote_code)
    reference = reference_of(loaded, settings, data.all)  # before the backbone changes
    model = RewardModel(loaded, objectives=objectives, end_only=settings.end_only, members=settings.members)
    key = key_of(spec, settings.preferences, settings.rankings, settings.safety)
    share = shares(settings, settings.folds + 1)
    stopped = taught(model, known, settings.model_copy(update=share), work, track, key)
    report = graded(model, kept_back.pairs, kept_back.flags, settings.bounds)
    model.leanings = leanings_of(model, known.pairs, reference) if settings.leanings else None
    model.scale = scale_of(model, reference, kept_back.pairs)
    model.doubt = doubt_of(model, known.all, kept_back.all)
    if settings.folds and stopped == "done":
        stopped, elsewhere = _cross_validated(
            spec | share, data, settings.folds, work / "folds" / key[:12], track
        )
        report |= {"cross_validation": elsewhere}
    model.save(work / "reward", report=report)
    if stopped == "done":
        state.discard(work)
    return {"reward": str(work / "reward"), "report": report, "stopped": stopped}


def shares(settings: LoopSettings, parts: int) -> dict[str, Any]:
    """What each of several fits may spend of a budget, which is of them all."""
    return {
        "seconds": settings.seconds and settings.seconds / parts,
        "money": settings.money and settings.money / parts,
        "tokens": settings.tokens and max(1, settings.tokens // parts),
    }


def reference_of(
    loaded: Loaded, settings: FitSpec, records: list[dict[str, Any]]
) -> tuple[list[Any], list[str]]:
    """Prompts and answers of the starting policy."""
    if settings.reference is not None:
        given = columns.demonstrations(settings.reference)
        return [record["prompt"] for record in given], [record["answer"] for record in given]
    prompts = [record["prompt"] for record in records[:256]]
    samples = Sampler(loaded).sample(prompts, max_tokens=settings.max_tokens, seed=settings.seed)
    # What ended by itself: an answer that was cut off is nobody's, and may be longer when it is read again.
    ended = [place for place, (sample,) in enumerate(samples) if sample.finish_reason == "stop"]
    chosen = ended or range(len(samples))
    return [prompts[place] for place in chosen], [samples[place][0].text for place in chosen]


def _cross_validated(
    spec: dict[str, Any], data: Data, folds: int, work: Path, track: Track
) -> tuple[Stopped, dict[str, Any]]:
    """How models fitted to all folds but one judge that one: what this fit would do elsewhere."""
    accuracies: list[float] = []
    for fold in range(folds):
        place = work / str(fold)
        done = place / "reward" / "reward.json"
        if not done.is_file():  # those of a run that was cut off are there
            place.mkdir(parents=True, exist_ok=True)
            asked = spec | _without(data, fold / folds, (fold + 1) / folds, place)
            stopped: Stopped = run(asked, place, track)["stopped"]
            if stopped != "done":
                shutil.rmtree(place / "reward")
                return stopped, {"folds": folds, "each": accuracies}
        report = json.loads(done.read_text(encoding="utf-8"))["report"]
        if "quality" not in report:
            raise InvalidInput(
                f"fold {fold + 1} of {folds} has no pairs to judge: give fewer folds", field="folds"
            )
        accuracies.append(report["quality"]["accuracy"])
    return "done", {
        "folds": folds,
        "each": accuracies,
        "accuracy": mean(accuracies),
        "std": stdev(accuracies),
    }


def _without(data: Data, low: float, high: float, place: Path) -> dict[str, Any]:
    """What to change in an order so that these prompts are only judged."""
    held = data.each(lambda rows: between(rows, low, high))
    kept = data.each(lambda rows: between(rows, 0.0, low) + between(rows, high, 1.0))
    files = {
        "preferences": kept.pairs,
        "rankings": kept.rankings,
        "safety": kept.flags,
        "preferences_holdout": held.pairs + implied(held.rankings),
        "safety_holdout": held.flags,
    }
    for name, rows in files.items():
        write_records(place / f"{name}.jsonl", rows)
    given = {name: str(place / f"{name}.jsonl") if rows else None for name, rows in files.items()}
    return given | {"folds": 0, "leanings": False, "held_out": 0.0}
