"""May a reward model that learned a little more take the place of an earlier one? A holdout says.

Both judge the same rows, which neither learned from: pairs and flags whose answers are known, by experts or from gold
questions. Row by row the later model's figure is compared with the earlier one's, so that a row that is hard for both
says nothing, and the rows of one prompt count together. Without evidence that a figure did not fall, it counts as
fallen: the bound is on what the holdout cannot exclude. What is too few rows to exclude anything is told with the
number that would do.

Log-odds are cooled before they are compared (`calibration`): a model is not better for being less sure of itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from heedful.errors import InvalidInput, TrainingFailed
from heedful.lm.columns import GROUPS
from heedful.lm.splits import Rows
from heedful.rewards.calibration import cooled
from heedful.rewards.judge import Fitted
from heedful.rewards.report import ranked_right
from heedful.stats.intervals import cluster_bootstrap

Floats = NDArray[np.float64]
Scores = dict[str, Floats]  # by name, one number per answer
TURNED = 0.05  # of the pairs that an update of a few steps turns round: what a holdout is sized by
FEWEST_FLAGS = 30  # of either kind: a holdout without violations cannot see that they are overlooked
SMALLEST = 1e-9  # probability that a flag's surprise is counted with


class GuardSettings(BaseModel):
    """By how much a figure on the holdout may fall, at most, with a risk of `alpha` that it fell further."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    accuracy: float = Field(0.02, gt=0, lt=1)
    """Share of held-out pairs that are ranked right."""

    log_loss: float = Field(0.02, gt=0)
    """Surprise at a held-out pair, in nats."""

    flag_loss: float = Field(0.02, gt=0)
    """Surprise at a held-out flag, in nats."""

    alpha: float = Field(0.05, gt=0, lt=0.5)
    """Risk of each comparison."""


@dataclass(frozen=True, slots=True)
class Holdout:
    """Rows that nothing learns from."""

    pairs: Rows
    flags: Rows

    @property
    def prompts(self) -> set[str]:
        return {prompt_of(row) for row in (*self.pairs, *self.flags)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One figure of a later model beside an earlier one's."""

    figure: str
    before: float
    after: float
    gain: float  # more is better: of a loss, how far it fell
    low: float  # what the holdout excludes: a gain below it
    high: float  # and one above it
    allowed: float  # the deepest fall
    prompts: int

    @property
    def held(self) -> bool:
        return self.low >= -self.allowed

    @property
    def gained(self) -> bool:
        return self.low > 0

    def told(self, against: str) -> str:
        """Why it did not hold."""
        said = (
            f"{self.figure} against the {against} model went from {self.before:.4f} to {self.after:.4f}, and that it "
            f"is worse by {-self.low:.4f} is not excluded: {self.allowed:g} is allowed"
        )
        if self.high < 0 or self.gain <= -self.allowed:
            return said
        telling = math.ceil(self.prompts * ((self.gain - self.low) / (self.gain + self.allowed)) ** 2)
        return f"{said} (about {telling} prompts in the holdout would tell; it has {self.prompts})"

    def row(self) -> dict[str, Any]:
        told = asdict(self) | {"held": self.held}
        return {name: value for name, value in told.items() if name != "figure"}


def prompt_of(row: Mapping[str, Any]) -> str:
    return json.dumps(row["prompt"], sort_keys=True)


def idle(found: Sequence[Finding], figures: Collection[str]) -> list[str]:
    """Of these figures, those that did not even seem to rise: what shows no gain is not worth its risk, and who would
    push a model down by steps too small to be seen has to show one each time."""
    return [
        f"{one.figure} went from {one.before:.4f} to {one.after:.4f}, which is no gain"
        for one in found
        if one.figure in figures and one.held and one.gain <= 0
    ]


def needed(guard: GuardSettings) -> int:
    """Prompts in a holdout of pairs, below which the guard could only refuse: as many as bound the fall of accuracy
    of a model that is as good as the one before it and differs in the usual share of pairs."""
    z = NormalDist().inv_cdf(1 - guard.alpha)
    return math.ceil(TURNED * (z / guard.accuracy) ** 2)


def require_enough(holdout: Holdout, guard: GuardSettings, objectives: Sequence[str]) -> None:
    """Refused where a holdout could not tell whether such a model fell."""
    prompts, fewest = len({prompt_of(pair) for pair in holdout.pairs}), needed(guard)
    if "quality" in objectives and prompts < fewest:
        raise InvalidInput(
            f"a holdout of {prompts} prompts with decided pairs tells nothing: a fall in accuracy of "
            f"{guard.accuracy:g} needs about {fewest}; give so many, or allow a deeper fall (guard.accuracy)",
            field="preferences_holdout",
        )
    flagged = sum(flag["violation"] > 0.5 for flag in holdout.flags)
    if "safety" in objectives and min(flagged, len(holdout.flags) - flagged) < FEWEST_FLAGS:
        raise InvalidInput(
            f"the model tells violations, and a holdout of {flagged} flagged and {len(holdout.flags) - flagged} passed "
            f"answers cannot see that it stops to: give {FEWEST_FLAGS} of each or more",
            field="safety_holdout",
        )


def scored(model: Fitted, holdout: Holdout) -> Scores:
    """What a model says of every answer: the chosen ones, the rejected ones, the flagged or passed ones.

    As later use has them: where rows name groups, with those groups' leanings.
    """
    rows = [*holdout.pairs, *holdout.pairs, *holdout.flags]
    named = {name: [row.get(name) for row in rows] for name in GROUPS if any(name in row for row in rows)}
    answers = [pair[side] for side in ("chosen", "rejected") for pair in holdout.pairs]
    answers += [flag["answer"] for flag in holdout.flags]
    return model.score([row["prompt"] for row in rows], answers, columns=named or None)


def figures(said: Scores, holdout: Holdout) -> dict[str, Floats]:
    """How right it is about each row, by name of the figure; more is better."""
    pairs, found = len(holdout.pairs), dict[str, Floats]()
    if pairs and "quality" in said:
        odds_p = cooled(said["quality"][:pairs] - said["quality"][pairs : 2 * pairs])
        found["accuracy"] = np.asarray(ranked_right(odds_p), dtype=np.float64)
        found["log_loss"] = -np.logaddexp(0.0, -odds_p)
    if holdout.flags and "violation" in said:
        chances_n = np.clip(said["violation"][2 * pairs :], SMALLEST, 1 - SMALLEST)
        flags_n = np.array([float(flag["violation"]) for flag in holdout.flags])
        found["flag_loss"] = flags_n * np.log(chances_n) + (1 - flags_n) * np.log1p(-chances_n)
    wrong = sorted(name for name, values in found.items() if not np.isfinite(values).all())
    if wrong:
        raise TrainingFailed(f"{', '.join(wrong)} of the holdout is no number: the model has diverged")
    return found


def compared(
    after: Mapping[str, Floats],
    before: Mapping[str, Floats],
    holdout: Holdout,
    guard: GuardSettings,
    *,
    seed: int = 0,
) -> list[Finding]:
    """Every figure of a later model beside an earlier one's."""
    rows = {"accuracy": holdout.pairs, "log_loss": holdout.pairs, "flag_loss": holdout.flags}
    found = []
    for name, values in after.items():
        prompts = [prompt_of(row) for row in rows[name]]
        gain = cluster_bootstrap(
            (values - before[name]).tolist(),
            prompts,
            random=np.random.default_rng(seed),
            alpha=2 * guard.alpha,  # one end of it is asked
        )
        found.append(
            Finding(
                figure=name,
                before=abs(float(before[name].mean())),
                after=abs(float(values.mean())),
                gain=gain.estimate,
                low=gain.lower,
                high=gain.upper,
                allowed=getattr(guard, name),
                prompts=len(set(prompts)),
            )
        )
    return found
