"""What is found out about a judge once its weights stand: its scale, its certainty, its leanings, its doubt."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful.lm.columns import GROUPS
from heedful.lm.logprobs import plain
from heedful.lm.splits import Rows
from heedful.rewards import doubt, leanings
from heedful.rewards.calibration import temperature
from heedful.rewards.data import decided, said, texts
from heedful.rewards.grading import odds
from heedful.rewards.model import RewardModel, Scores
from heedful.rewards.scale import Scale

KNOWN = 4000  # prompts that a doubt is fitted to, at most
Floats = NDArray[np.float64]
Answers = tuple[list[Any], list[str]]  # prompts, and an answer to each


def scale_of(model: RewardModel, reference: Answers, kept_back: Rows) -> Scale:
    """By answers of the starting policy, and by pairs that were kept back."""
    if "quality" not in model.objectives:
        return Scale()
    scores = model.score(*reference)
    return Scale(
        mean=float(scores["quality"].mean()),
        action_mean=float(scores["quality_action"].mean()) if "quality_action" in scores else 0.0,
        std=max(float(scores["quality"].std()), 1e-3),
        zeros=tuple(model.each(*reference).mean(0).tolist()),
        temperature=temperature(odds(model, decided(kept_back))),
    )


def scale_like(before: Scores, raw: Scores, zeros_m: Floats, odds_p: Floats) -> Scale:
    """For a model that learned on: the same answers keep the mean and the spread that they had.

    `before` is what the earlier model made of them in its own scale, `raw` what this one makes of them without any.
    Policies that were held to the one go on with the other. `zeros_m` is the mean of each member, where there are
    several; `odds_p` are of pairs, to find out how sure the model may be.
    """
    std = max(float(raw["quality"].std()), 1e-3) / max(float(before["quality"].std()), 1e-3)
    means = {
        name: float(raw[name].mean() - before[name].mean() * std)
        for name in ("quality", "quality_action")
        if name in raw
    }
    return Scale(
        mean=means["quality"],
        action_mean=means.get("quality_action", 0.0),
        std=std,
        zeros=tuple(zeros_m.tolist()),
        temperature=temperature(odds_p),
    )


def leanings_of(model: RewardModel, pairs: Rows, reference: Answers) -> leanings.Leanings | None:
    """Of the groups that the pairs name; None where there are none, or where they do not differ."""
    pairs = decided(pairs)
    places_of: dict[tuple[str, str], list[int]] = {}
    for place, pair in enumerate(pairs):
        for field in GROUPS:
            if field in pair:
                places_of.setdefault((field, pair[field]), []).append(place)
    if not places_of:
        return None
    prompts = [pair["prompt"] for pair in pairs]
    chosen_pf, rejected_pf = (
        model.seen(prompts, [pair[side] for pair in pairs]) for side in ("chosen", "rejected")
    )
    weights_p = np.array([float(pair.get("weight", 1.0)) for pair in pairs])
    keys = [json.dumps(prompt, sort_keys=True) for prompt in prompts]
    gaps_pf = chosen_pf - rejected_pf
    groups = {
        key: leanings.Group(
            gaps_pf[places, :-1],
            gaps_pf[places, -1],
            weights_p[places],
            [keys[place] for place in places],
        )
        for key, places in places_of.items()
    }
    found = leanings.fit(groups, model.seen(*reference).mean(0))
    return found if found.of else None


def doubt_of(model: RewardModel, known: Rows, kept_back: Rows) -> doubt.Doubt | None:
    """None where too little was kept back, or where the backbone does not tell likelihoods."""
    prompts, answers = said(kept_back)
    if len(answers) < doubt.FEWEST or not plain(model.backbone):
        return None
    once = {json.dumps(record["prompt"], sort_keys=True): record for record in known}
    seen = list(once.values())[:KNOWN]
    states_ad = model.look([record["prompt"] for record in seen], [texts(record)[0] for record in seen])
    return doubt.fit(states_ad.prompt_ad, model.look(prompts, answers))
