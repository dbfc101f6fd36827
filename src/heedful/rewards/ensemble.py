"""Several reward models as one: each was fitted by itself, and where they are apart, less is known.

Scores are the mean of the members'. `spread` is how far apart they are in `quality`: of disagreement over answers like
the known ones it tells more than heads on one backbone do, but members that learned from the same judgements are
wrong together about what none of them saw, so `doubt` stays what warns of strange answers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful.errors import InvalidInput
from heedful.rewards.judge import Fitted, Prompt
from heedful.rewards.loading import CARD, card_in
from heedful.rewards.loading import load as load_one
from heedful.rewards.scale import Scale

KIND = "ensemble"
MEMBERS = "members"


class Ensemble:
    """Asks every member."""

    def __init__(self, members: Sequence[Fitted], scale: Scale | None = None) -> None:
        if len(members) < 2:
            raise InvalidInput(f"{len(members)} reward models are no ensemble: give 2 or more")
        if len({tuple(member.objectives) for member in members}) > 1:
            raise InvalidInput("the reward models of an ensemble were fitted to different objectives")
        self.members = list(members)
        self.objectives = tuple(members[0].objectives)
        self.scale = scale or Scale()

    def score(
        self,
        prompts: Sequence[Prompt],
        answers: Sequence[str],
        *,
        columns: Mapping[str, Sequence[Any]] | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """One number per answer under each name that every member knows."""
        told = [member.score(prompts, answers, columns=columns) for member in self.members]
        out: dict[str, NDArray[np.float64]] = {}
        for name in told[0]:
            if all(name in one for one in told):
                out[name] = np.mean([one[name] for one in told], axis=0)
        if "quality" in out:
            out["quality"] = (out["quality"] - self.scale.mean) / self.scale.std
            out["spread"] = np.std([one["quality"] for one in told], axis=0, ddof=1) / self.scale.std
        if "quality_action" in out:
            out["quality_action"] = (out["quality_action"] - self.scale.action_mean) / self.scale.std
        return out


def save(directory: Path, members: Sequence[Path], ensemble: Ensemble, *, report: Mapping[str, Any]) -> None:
    """With a copy of every member; what lay there before is gone."""
    shutil.rmtree(directory, ignore_errors=True)
    for place, member in enumerate(members):
        shutil.copytree(member, directory / MEMBERS / str(place))
    card = {
        "kind": KIND,
        "objectives": ensemble.objectives,
        "members": len(members),
        "scale": asdict(ensemble.scale),
        "report": report,
    }
    (directory / CARD).write_text(json.dumps(card, indent=2, sort_keys=True), encoding="utf-8")


def load(directory: str | Path, *, device: str = "cpu") -> Ensemble:
    """The ensemble that was saved."""
    root = Path(directory)
    card = card_in(root)
    try:
        count = int(card["members"])
        scale = Scale(**card["scale"] | {"zeros": tuple(card["scale"]["zeros"])})
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{str(root / CARD)!r} tells of no ensemble: {error!r}") from error
    return Ensemble([load_one(root / MEMBERS / str(one), device=device) for one in range(count)], scale)
