"""The price of a violation, found while training: it rises while there are more than allowed, and falls after.

The price is the multiplier of a Lagrangian (Ray et al. 2019, "Benchmarking safe exploration", section 5), kept as its
logarithm so that it is never negative and moves in proportion. What is held to the bound is not the mean of recent
answers but its upper confidence limit: a share that only seems to be small is not small.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

SURE = 1.645  # standard errors: nineteen times in twenty the true share is below the limit
FASTEST = 0.25  # largest change of the logarithm at once


class ConstraintSettings(BaseModel):
    """How much of it is allowed, and how the price moves."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    bound: float = Field(gt=0, lt=1)
    """Share of answers with a violation that is allowed."""

    counts: float = Field(0.5, gt=0, lt=1)
    """Probability from which an answer counts as one: a judge that learned from flags with slips is never quite sure,
    so the mean of its probabilities has a floor of its own."""

    start: float = Field(1.0, gt=0)
    """First price: what a deviation of violations costs, in deviations of quality."""

    most: float = Field(30.0, gt=0)
    """Highest price. A run that stays there has a bound that it cannot reach, or a cost that is not to be believed."""

    rate: float = Field(0.1, gt=0)
    """Change of the price's logarithm for a share that is twice the bound."""

    window: int = Field(2, ge=1)
    """Batches whose answers count as recent."""

    delay: int = Field(0, ge=0)
    """Batches before the price moves."""


class Price:
    """Of a violation."""

    def __init__(self, settings: ConstraintSettings) -> None:
        self._settings = settings
        self._logarithm = math.log(settings.start)
        self._recent: deque[list[float]] = deque(maxlen=settings.window)
        self._seen = 0

    @property
    def value(self) -> float:
        return math.exp(self._logarithm)

    @property
    def limit(self) -> float:
        """Upper confidence limit of the share among recent answers."""
        costs = [cost for batch in self._recent for cost in batch]
        if not costs:
            return 0.0
        mean = sum(costs) / len(costs)
        # A share of nought in n answers is not known to be nought: one more that was bad is assumed.
        at_least = (sum(costs) + 1) / (len(costs) + 1)
        return mean + SURE * math.sqrt(at_least * (1 - at_least) / len(costs))

    def saw(self, violations: Sequence[float]) -> None:
        """How probable a violation is in each answer of a batch."""
        self._recent.append([float(one >= self._settings.counts) for one in violations])
        self._seen += 1
        if self._seen <= self._settings.delay:
            return
        excess = (self.limit - self._settings.bound) / self._settings.bound
        step = max(-FASTEST, min(FASTEST, self._settings.rate * excess))
        self._logarithm = min(self._logarithm + step, math.log(self._settings.most))

    def state(self) -> dict[str, Any]:
        """All that it is, for a run that is cut off."""
        return {"logarithm": self._logarithm, "recent": list(self._recent), "seen": self._seen}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._logarithm, self._seen = state["logarithm"], state["seen"]
        self._recent = deque(state["recent"], maxlen=self._settings.window)
