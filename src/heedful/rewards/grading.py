"""What a judge that was just fitted makes of the judgements that were kept back from it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful.lm.splits import Rows
from heedful.rewards.bounds import Bounds, verdict
from heedful.rewards.calibration import cooled
from heedful.rewards.data import decided
from heedful.rewards.judge import Fitted
from heedful.rewards.report import flag_report, pair_report


def odds(model: Fitted, pairs: Rows) -> NDArray[np.float64]:
    """That the chosen answer of each pair is better, in log-odds; before the model has its scale."""
    prompts = [pair["prompt"] for pair in pairs]
    better, worse = (
        model.score(prompts, [pair[side] for pair in pairs])["quality"] for side in ("chosen", "rejected")
    )
    return better - worse


def graded(model: Fitted, pairs: Rows, flags: Rows, bounds: Bounds) -> dict[str, Any]:
    """Figures on what was kept back, before the model has its scale, and whether they pass."""
    report: dict[str, Any] = {}
    pairs = decided(pairs)
    if pairs and "quality" in model.objectives:
        chosen, rejected = (
            np.array([float(len(pair[side])) for pair in pairs]) for side in ("chosen", "rejected")
        )
        prompts = [json.dumps(pair["prompt"], sort_keys=True) for pair in pairs]
        report["quality"] = pair_report(cooled(odds(model, pairs)), chosen, rejected, prompts)
    if flags and "safety" in model.objectives:
        scores = model.score([flag["prompt"] for flag in flags], [flag["answer"] for flag in flags])
        report["safety"] = flag_report(
            scores["violation"], np.array([float(flag["violation"]) for flag in flags])
        )
    return report | verdict(report.get("quality", {}), bounds)
