"""Fit several reward models to the same judgements, each in its own order and from its own start: a task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from heedful.errors import InvalidInput
from heedful.lm import columns, state
from heedful.lm.load import load as load_model
from heedful.lm.loop import Stopped, Track, set_up
from heedful.lm.records import key_of, read_records, write_records
from heedful.lm.splits import Rows
from heedful.rewards import ensemble, fit
from heedful.rewards.calibration import temperature
from heedful.rewards.data import Data, decided, read, sides
from heedful.rewards.ensemble import Ensemble
from heedful.rewards.fit import FitSpec, reference_of, shares
from heedful.rewards.grading import graded, odds
from heedful.rewards.loading import load
from heedful.rewards.scale import Scale


class EnsembleSpec(FitSpec):
    """As for one reward model, and how many."""

    models: int = Field(4, ge=2, le=32)
    """Reward models; each costs as much as one alone. A budget is of all together."""


def run(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """Fit them one after the other and save; returns {"reward", "report", "each", "stopped"}."""
    settings = EnsembleSpec.model_validate(spec)
    if settings.folds:
        raise InvalidInput("an ensemble is not cross-validated: leave folds out", field="folds")
    data = read(settings)
    if not data.all:
        raise InvalidInput("nothing to fit: give preferences, rankings or safety labels", field="preferences")
    places = _places(work, spec, settings)
    reference = _reference(settings, data, places[0].parent)
    asked = {name: value for name, value in spec.items() if name != "models"}
    asked |= shares(settings, settings.models) | {"reference": str(reference)}
    members = [
        _member(asked | {"seed": settings.seed + number}, place, track) for number, place in enumerate(places)
    ]
    _keep_figures(work, places)
    together = Ensemble([load(place / "reward", device=settings.device) for place in places])
    _, kept_back = sides(data, settings)
    report = graded(together, kept_back.pairs, kept_back.flags, settings.bounds)
    together.scale = _scale(together, reference, decided(kept_back.pairs))
    ensemble.save(work / "reward", [place / "reward" for place in places], together, report=report)
    stopped: Stopped = next((one["stopped"] for one in members if one["stopped"] != "done"), "done")
    if stopped == "done":
        state.discard(work)
    each = [one["report"]["quality"]["accuracy"] for one in members if "quality" in one["report"]]
    return {"reward": str(work / "reward"), "report": report, "each": each, "stopped": stopped}


def _places(work: Path, spec: dict[str, Any], settings: EnsembleSpec) -> list[Path]:
    """Where each member is fitted: among the states, so that what was done of a run that was cut off is there."""
    key = key_of(spec, settings.preferences, settings.rankings, settings.safety)[:12]
    root = work / state.FOLDER
    other = [found.name for found in root.glob("ensemble-*") if found.name != f"ensemble-{key}"]
    if other:
        raise InvalidInput(f"{root} holds a run of other settings or other data: give another directory")
    places = [root / f"ensemble-{key}" / str(number) for number in range(settings.models)]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    return places


def _reference(settings: EnsembleSpec, data: Data, root: Path) -> Path:
    """Answers of the starting policy, asked once for all members."""
    if settings.reference is not None:
        return settings.reference
    file = root / "reference.jsonl"
    if not file.is_file():
        set_up(settings)
        loaded = load_model(
            settings.model, device=settings.device, trust_remote_code=settings.trust_remote_code
        )
        prompts, answers = reference_of(loaded, settings, data.all)
        rows = [{"prompt": prompt, "answer": answer} for prompt, answer in zip(prompts, answers, strict=True)]
        write_records(file.with_suffix(".writing"), rows)
        file.with_suffix(".writing").rename(file)
    return file


def _member(order: dict[str, Any], place: Path, track: Track) -> dict[str, Any]:
    """What its fit said; a member that is done is not fitted again."""
    said = place / "done.json"
    if said.is_file():
        known: dict[str, Any] = json.loads(said.read_text(encoding="utf-8"))
        return known
    done = fit.run(order, place, track)
    if done["stopped"] == "done":
        said.write_text(json.dumps(done), encoding="utf-8")
    return done


def _keep_figures(work: Path, places: list[Path]) -> None:
    """Those of every step, by member."""
    rows = [
        {"member": number, **row}
        for number, place in enumerate(places)
        for row in read_records(place / "metrics.jsonl")
    ]
    write_records(work / "metrics.jsonl", rows)


def _scale(together: Ensemble, reference: Path, kept_back: Rows) -> Scale:
    """The mean of several scores varies less than each of them."""
    if "quality" not in together.objectives:
        return Scale()
    given = columns.demonstrations(reference)
    scores = together.score([row["prompt"] for row in given], [row["answer"] for row in given])
    return Scale(
        mean=float(scores["quality"].mean()),
        action_mean=float(scores["quality_action"].mean()) if "quality_action" in scores else 0.0,
        std=max(float(scores["quality"].std()), 1e-3),
        temperature=temperature(odds(together, kept_back)),
    )
