"""Does this release go on, wait, or end? A pure function of what its episodes have shown.

Three questions are asked at every look, and looking often costs nothing, because each test keeps its error
rate over all looks together. Do violations come more from the new policy than its share explains? Is its
success rate surely lower? Is it surely not lower by more than the margin? The first two take the release
back, the third carries it on, and as long as none is answered it waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from heedful.domain.release import Release, Stage
from heedful.release.settings import ReleaseSettings
from heedful.stats.contrast import Contrast
from heedful.stats.rare_events import RareEvents


class Verb(StrEnum):
    HOLD = "hold"
    ADVANCE = "advance"
    ROLL_BACK = "roll back"
    HAND_OVER = "hand over"  # the budget is used up: a person decides


NEXT: Mapping[Verb, Callable[[Release], Stage]] = {
    Verb.ADVANCE: lambda release: Stage.FULL if release.step + 2 >= len(release.steps) else Stage.CANARY,
    Verb.ROLL_BACK: lambda release: Stage.ROLLED_BACK,
    Verb.HAND_OVER: lambda release: Stage.INCONCLUSIVE,
}


class Exposure(Protocol):
    """One episode that ran under the release."""

    @property
    def arm(self) -> str: ...
    @property
    def probability(self) -> float: ...
    @property
    def completed(self) -> bool | None: ...
    @property
    def violations(self) -> int: ...
    @property
    def at(self) -> datetime: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    verb: Verb
    reason: str
    figures: Mapping[str, float]


def decide(release: Release, exposures: Sequence[Exposure], settings: ReleaseSettings) -> Decision:
    """`exposures` are in the order in which their episodes began. The two tests share the chance of error."""
    alpha = settings.alpha / 2
    difference, harm = Contrast(alpha=alpha, each=settings.episodes), RareEvents()
    canary_known = step_turns = 0
    for one in exposures:
        canary = one.arm == "canary"
        chance = one.probability if canary else 1 - one.probability  # of the canary
        step_turns += canary and (release.since is None or one.at >= release.since)
        if one.violations:
            harm = harm.add(canary=canary, probability=chance)
        if one.completed is not None:
            difference = difference.add(float(one.completed), canary=canary, probability=chance)
            canary_known += canary
    span = difference.interval()
    figures = {
        "episodes": len(exposures),
        "canary_known": canary_known,
        "step_turns": step_turns,
        "difference": span.estimate,
        "difference_low": max(span.lower, -1.0),
        "difference_high": min(span.upper, 1.0),
        "harm_log_e": harm.log_e,
        "canary_violations": harm.canary_events,
        "control_violations": harm.stable_events,
    }

    def say(verb: Verb, reason: str) -> Decision:
        return Decision(verb=verb, reason=reason, figures=figures)

    if harm.worse(alpha=alpha):
        return say(
            Verb.ROLL_BACK,
            f"violations: {harm.canary_events} by the canary and {harm.stable_events} by control "
            f"are more than its share explains",
        )
    if span.upper < 0:
        return say(Verb.ROLL_BACK, f"success is lower: by {-span.upper:.3f} at least")
    enough = canary_known >= settings.episodes and step_turns >= settings.step_episodes
    if enough and span.lower > -settings.margin:
        return say(Verb.ADVANCE, f"success differs by {span.lower:+.3f} at least: within the margin")
    if len(exposures) >= settings.budget:
        return say(Verb.HAND_OVER, f"undecided after {len(exposures)} episodes")
    return say(Verb.HOLD, "not decided yet")
