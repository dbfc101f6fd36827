"""How far a rater is believed: the share of hidden gold items answered rightly, shrunk to a prior.

Raters who were never tested keep the prior, so that a new account cannot move a dataset by its own word. The
estimate may fall below one half: then the opposite of what this rater says is evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from heedful.domain.ids import PersonId


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """One rater's record on gold items."""

    rater: PersonId
    right: int
    asked: int


def reliability(tested: Tested, *, prior: float = 0.75, weight: float = 8.0) -> float:
    """Posterior mean of a beta prior that counts for `weight` gold items."""
    return (tested.right + prior * weight) / (tested.asked + weight)


def reliabilities(
    tested: Iterable[Tested], *, prior: float = 0.75, weight: float = 8.0
) -> Mapping[PersonId, float]:
    return {one.rater: reliability(one, prior=prior, weight=weight) for one in tested}
