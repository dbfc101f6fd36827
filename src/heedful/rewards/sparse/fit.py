"""Fit a sparse reward model to the same judgements as any other: a task, `run(spec, work, track)`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from heedful.errors import InvalidInput
from heedful.lm import columns
from heedful.lm.splits import Rows
from heedful.rewards.bounds import Bounds
from heedful.rewards.calibration import temperature
from heedful.rewards.data import Data, Sources, decided, implied, read, said, sides, texts
from heedful.rewards.grading import graded, odds
from heedful.rewards.scale import Scale
from heedful.rewards.sparse.features import Reader, reader_of
from heedful.rewards.sparse.linear import Judged, fit, strength_of, surprise
from heedful.rewards.sparse.model import Line, SparseModel

Floats = NDArray[np.float64]
Track = Callable[[int, Mapping[str, float]], None]
CONSTANT = 10.0  # the size of a feature that is always there: so large that no penalty holds its weight


class SparseSpec(Sources):
    """From which judgements, and how freely."""

    reference: Path | None = None
    """JSONL of {"prompt", "answer"} by the starting policy, to set the scale; nothing: the judged answers do."""

    strength: float | None = Field(None, gt=0)
    """How freely weights move (C of a logistic regression); nothing: found on prompts that are left out."""

    balance: float = Field(0.0, ge=0, le=1)
    """Against a mere liking for length: 0 takes pairs as they come; with 1, those in which the shorter answer
    won count as much altogether as those in which the longer one did."""

    smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of every choice that is given to the other side."""

    bounds: Bounds = Bounds()
    """What the report must show, or later stops refuse the model."""


def run(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """Fit and save; returns {"reward", "report", "stopped"}, and the strengths that were found best."""
    settings = SparseSpec.model_validate(spec)
    data = read(settings)
    if not data.all:
        raise InvalidInput("nothing to fit: give preferences, rankings or safety labels", field="preferences")
    known, kept_back = sides(data, settings)
    if not known.all:
        raise InvalidInput(
            f"held_out={settings.held_out} keeps back every prompt that there is: give more prompts, or less of it",
            field="held_out",
        )
    reader = reader_of(*said(known.all))
    told = _Told(track)
    lines, strengths = {}, {}
    pairs = known.pairs + implied(known.rankings)
    if pairs:
        lines["quality"], strengths["quality"] = _compared(reader, pairs, settings, told)
    if known.flags:
        lines["safety"], strengths["safety"] = _flagged(reader, known.flags, settings, told)
    model = SparseModel(reader, lines)
    report = graded(model, kept_back.pairs, kept_back.flags, settings.bounds)
    model.scale = _scale(model, settings.reference, known, kept_back.pairs)
    work.mkdir(parents=True, exist_ok=True)
    model.save(work / "reward", report=report)
    return {
        "reward": str(work / "reward"),
        "report": report,
        "strengths": strengths,
        "looks_at": model.heaviest() if pairs else {},
        "stopped": "done",
    }


class _Told:
    """Counts what is done, over both objectives."""

    def __init__(self, track: Track) -> None:
        self._track, self._done = track, 0

    def __call__(self, strength: float, loss: float) -> None:
        self._done += 1
        self._track(self._done, {"strength": strength, "loss": loss})


def _compared(reader: Reader, pairs: Rows, settings: SparseSpec, told: _Told) -> tuple[Line, float]:
    features_af, place_of = _read_once(reader, pairs)
    keys = _keys(pairs)
    chosen_p, rejected_p = (
        np.array([place_of[key, pair[side]] for key, pair in zip(keys, pairs, strict=True)])
        for side in ("chosen", "rejected")
    )
    judged = Judged(
        features_af,
        chosen_p,
        rejected_p,
        np.array([0.5 if pair.get("tie") else 1.0 - settings.smoothing for pair in pairs]),
        np.array([float(pair.get("margin") or 0.0) for pair in pairs]),
        balanced(pairs, settings.balance),
    )
    weights_f, strength = _fitted(judged, keys, settings.strength, told)
    return Line(weights_f), strength


def _flagged(reader: Reader, flags: Rows, settings: SparseSpec, told: _Told) -> tuple[Line, float]:
    from scipy import sparse

    features_af, place_of = _read_once(reader, flags)
    constant_af = sparse.csr_matrix(np.full((features_af.shape[0], 1), CONSTANT))
    keys = _keys(flags)
    judged = Judged(
        sparse.hstack([features_af, constant_af], format="csr"),
        np.array([place_of[key, flag["answer"]] for key, flag in zip(keys, flags, strict=True)]),
        None,
        np.array([float(flag["violation"]) for flag in flags]),
        np.zeros(len(flags)),
        np.array([float(flag.get("weight", 1.0)) for flag in flags]),
    )
    weights_f, strength = _fitted(judged, keys, settings.strength, told)
    return Line(weights_f[:-1], float(weights_f[-1]) * CONSTANT), strength


def _read_once(reader: Reader, rows: Rows) -> tuple[Any, dict[tuple[str, str], int]]:
    """Features of every answer in the rows, and in which line those of an answer to a prompt lie."""
    found = {
        (key, text): row["prompt"] for key, row in zip(_keys(rows), rows, strict=True) for text in texts(row)
    }
    features_af = reader.read(list(found.values()), [text for _, text in found])
    return features_af, {answer: line for line, answer in enumerate(found)}


def _fitted(
    judged: Judged, groups: Sequence[str], strength: float | None, told: _Told
) -> tuple[Floats, float]:
    chosen = strength_of(judged, groups, told) if strength is None else strength
    weights_f = fit(judged, chosen)
    told(chosen, surprise(judged, weights_f))
    return weights_f, chosen


def balanced(pairs: Rows, balance: float) -> Floats:
    """The weight of each pair, with those in which the shorter answer won raised as far as is asked."""
    weights_p = np.array([float(pair.get("weight", 1.0)) for pair in pairs])
    longer, shorter = (
        np.array(
            [
                not pair.get("tie") and sign * (len(pair["chosen"]) - len(pair["rejected"])) > 0
                for pair in pairs
            ]
        )
        for sign in (1, -1)
    )
    all_longer, all_shorter = float(weights_p[longer].sum()), float(weights_p[shorter].sum())
    if not all_longer or not all_shorter:
        return weights_p
    raised = np.where(shorter, (all_longer / all_shorter) ** balance, 1.0) * weights_p
    evened: Floats = raised * (weights_p.sum() / raised.sum())
    return evened


def _keys(rows: Rows) -> list[str]:
    return [json.dumps(row["prompt"], sort_keys=True) for row in rows]


def _scale(model: SparseModel, reference: Path | None, known: Data, kept_back: Rows) -> Scale:
    if "quality" not in model.objectives:
        return Scale()
    given = known.all if reference is None else columns.demonstrations(reference)
    scores = model.score(*said(given))["quality"]
    return Scale(
        mean=float(scores.mean()),
        std=max(float(scores.std()), 1e-3),
        temperature=temperature(odds(model, decided(kept_back))),
    )
