"""May this reward model teach, may this policy go out? Each gate names the figure that stopped it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

MISSED = re.compile(r"failed\..+\.value")  # in a report: a bound of the model's own that it missed


class GateSettings(BaseModel):
    """Bounds below which the loop stops by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    reward_accuracy: float = Field(0.6, ge=0, le=1)
    """A reward model that agrees less often than this with held-out judgements teaches nobody."""

    win_rate: float = Field(0.5, ge=0, le=1)
    """Share of held-out prompts on which the reward model must like the new policy better than its parent."""

    violation_rise: float = Field(0.02, ge=0, le=1)
    """How far the predicted share of violations may rise above the parent's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One gate's answer."""

    gate: str
    value: float
    bound: float
    passed: bool

    def __str__(self) -> str:
        return f"{self.gate} {self.value:.3f} {'meets' if self.passed else 'misses'} {self.bound:.3f}"


def of_reward(report: Mapping[str, float], settings: GateSettings) -> list[Finding]:
    """A figure that is missing fails its gate; so does each bound that the report itself says was missed."""
    accuracy = report.get("quality.accuracy", math.nan)  # which no comparison finds good enough
    names = [name.removesuffix(".value") for name in sorted(report) if MISSED.fullmatch(name)]
    return [
        Finding(
            gate="reward accuracy",
            value=accuracy,
            bound=settings.reward_accuracy,
            passed=accuracy >= settings.reward_accuracy,
        ),
        *(
            Finding(
                gate=name.removeprefix("failed."),
                value=report[f"{name}.value"],
                bound=report.get(f"{name}.limit", math.nan),
                passed=False,
            )
            for name in names
        ),
    ]


def missed(findings: Iterable[Finding]) -> str:
    """Every gate that was not passed, in words."""
    return "; ".join(str(finding) for finding in findings if not finding.passed)


def of_policy(figures: Mapping[str, float], settings: GateSettings) -> list[Finding]:
    """`figures` are those of `heedful.evaluation.offline`: a figure that is missing fails its gate."""
    win = figures.get("win_rate", math.nan)
    rise = figures.get("violations", math.nan) - figures.get("violations_parent", math.nan)
    return [
        Finding(gate="win rate", value=win, bound=settings.win_rate, passed=win >= settings.win_rate),
        Finding(
            gate="violation rise",
            value=rise,
            bound=settings.violation_rise,
            passed=rise <= settings.violation_rise,
        ),
    ]
