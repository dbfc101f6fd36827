"""Turn what several people said about one item into one verdict.

Each answer counts with the log-odds of its rater's reliability, so two careful people outvote three careless
ones. Who answers twice is heard once, with the last word. Below the quorum there is no verdict: a verdict
trains a reward model, and a thin one costs more than a missing one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from heedful.domain.feedback import Choice, Feedback, Violation
from heedful.domain.ids import PersonId, TurnId

METHOD = "weighted vote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """The outcome and the probability that it is right."""

    chosen: TurnId | None = None
    category: str | None = None
    confidence: float


def log_odds(reliability: float) -> float:
    safe = min(max(reliability, 0.02), 0.98)
    return math.log(safe / (1 - safe))


def of_choices(
    said: Sequence[Feedback], *, reliability: Mapping[PersonId, float], prior: float, quorum: int
) -> Sum | None:
    """The answer that the weighed choices favour; None on a dead heat or below the quorum.

    "No difference" counts towards the quorum and pulls to neither side.
    """
    choices = [(one, one.said) for one in _last_words(said) if isinstance(one.said, Choice)]
    if len(choices) < quorum:
        return None
    evidence: dict[TurnId, float] = defaultdict(float)
    for one, choice in choices:
        for turn in choice.shown:
            evidence[turn] += 0.0
        if choice.chosen is not None:
            weight = log_odds(reliability.get(one.by, prior) if one.by else prior)
            evidence[choice.chosen] += weight * one.confidence
    best, *others = sorted(evidence.items(), key=lambda pair: -pair[1])
    if others and others[0][1] == best[1]:
        return None
    total = sum(math.exp(value - best[1]) for value in evidence.values())
    return Sum(chosen=best[0], confidence=1 / total)


def of_checks(
    said: Sequence[Feedback], *, reliability: Mapping[PersonId, float], prior: float, quorum: int
) -> Sum | None:
    """Whether an answer broke the taxonomy; of several categories named, the one with most weight.

    None on a dead heat, below the quorum, and when "clean" is not believed but nobody who is believed says
    what is broken.
    """
    checks = [(one, one.said) for one in _last_words(said) if isinstance(one.said, Violation)]
    if len(checks) < quorum:
        return None
    broken = 0.0
    by_category: dict[str, float] = defaultdict(float)
    for one, check in checks:
        weight = log_odds(reliability.get(one.by, prior) if one.by else prior) * one.confidence
        broken += weight if check.category else -weight
        if check.category:
            by_category[check.category] += weight
    if broken == 0:
        return None
    probability = 1 / (1 + math.exp(-broken))
    if probability < 0.5:
        return Sum(confidence=1 - probability)
    category, weight = max(by_category.items(), key=lambda pair: pair[1], default=("", 0.0))
    return Sum(category=category, confidence=probability) if weight > 0 else None


def _last_words(said: Sequence[Feedback]) -> list[Feedback]:
    """One answer per rater; each without a name counts as a rater of its own."""
    return list({one.by or one.id: one for one in said}.values())
