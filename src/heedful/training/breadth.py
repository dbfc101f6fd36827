"""How much is left of a policy's choice of words, and what is done when it runs out.

A policy that has found one answer for everything stops learning long before it is stopped by anything else. So its
entropy and its diversity are held against the start's: while one of them is low, distance to the start gets dearer from
iteration to iteration; where hardly anything is left the run ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from heedful.lm.decode import Sample

DEAREST = 50.0  # times the price of distance, however narrow the policy is
CHEAPEST = 0.05  # what is made dearer where distance has hardly a price


class BreadthSettings(BaseModel):
    """How narrow is too narrow."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    floor: float = Field(0.25, ge=0, lt=1)
    """Share of the start's entropy, and of its diversity, below which distance gets dearer."""

    least: float = Field(0.05, ge=0, lt=1)
    """Share of either below which the run ends."""

    gain: float = Field(1.5, gt=1)
    """How much dearer by iteration; cheaper again by as much once there is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breadth:
    """Of an iteration's answers."""

    entropy: float  # nats per token, as estimated from what was drawn
    distinct: float  # different pairs of neighbouring tokens, of all that there are
    alike: float  # share of the prompts whose first answer is another prompt's as well


def breadth(groups: Sequence[Sequence[Sample]]) -> Breadth:
    """Of answers to several prompts."""
    samples = [sample for group in groups for sample in group]
    logprobs = [value for sample in samples for value in sample.logprobs]
    pairs = [pair for sample in samples for pair in pairwise(sample.token_ids)]
    said = Counter(group[0].token_ids for group in groups)
    return Breadth(
        entropy=-float(np.mean(logprobs)) if logprobs else 0.0,
        distinct=len(set(pairs)) / max(1, len(pairs)),
        alike=sum(count for count in said.values() if count > 1) / len(groups),
    )


def price_of_distance(price: float, factor: float) -> float:
    """Of a nat, while breadth asks for so many times of it."""
    return price + (factor - 1.0) * max(price, CHEAPEST)


class Keeper:
    """Makes distance dearer while breadth is low."""

    def __init__(self, settings: BreadthSettings) -> None:
        self._settings = settings
        self._start: dict[str, float] | None = None
        self.factor = 1.0  # of the price of distance
        self.left = 1.0  # share of the start's breadth, of the scarcer kind

    @property
    def collapsed(self) -> bool:
        return self.left < self._settings.least

    def saw(self, now: Breadth) -> None:
        """At an iteration's begin; the first is the start."""
        own = {"entropy": now.entropy, "distinct": now.distinct}
        if self._start is None:
            self._start = own
        self.left = min(own[name] / value if value > 0 else 1.0 for name, value in self._start.items())
        gain = self._settings.gain
        step = gain if self.left < self._settings.floor else 1 / gain
        self.factor = min(DEAREST, max(1.0, self.factor * step))

    def state(self) -> dict[str, Any]:
        """All that it knows between iterations."""
        return {"start": self._start, "factor": self.factor, "left": self.left}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._start, self.factor, self.left = state["start"], state["factor"], state["left"]
