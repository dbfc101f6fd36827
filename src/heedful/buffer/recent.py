"""The newest of what came in, drawn from by how recent it is.

It holds anything: what people said of answers, episodes, what a policy experienced. A loop that learns while it runs
needs the last hour more than the last week, and needs no row for ever: so the oldest go, and a draw is not even.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Generic, Self, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from heedful.errors import InvalidInput

T = TypeVar("T")


class RecentSettings(BaseModel):
    """How much is held, and how fast it fades."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    fewest: int = Field(200, ge=1)
    """Below so many nothing is given: a handful teaches its own chance."""

    most: int = Field(20_000, ge=1)
    """Beyond so many the oldest go."""

    half_life: float = Field(86_400.0, gt=0)
    """Seconds after which something is half as likely to be drawn as what is new."""

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.fewest > self.most:
            raise ValueError(f"fewest={self.fewest} never fit into most={self.most}")
        return self


class Recent(Generic[T]):
    """At most `most` things with the time each came in; what has the same key is the same thing."""

    def __init__(self, settings: RecentSettings, key: Callable[[T], Hashable]) -> None:
        self._settings, self._key = settings, key
        self._held: dict[Hashable, tuple[float, T]] = {}
        self._oldest: list[tuple[float, int, Hashable]] = []  # a heap; of what is gone until its turn comes
        self._put = 0

    def put(self, thing: T, at: float) -> bool:
        """False where it is held already: it stays as old as it was, so that nobody keeps it young by repeating it.

        `at` is when it came in, in seconds from any beginning.
        """
        key = self._key(thing)
        if not math.isfinite(at):
            raise InvalidInput(f"came in at {at}: a time in seconds", field="at")
        if key in self._held:
            return False
        self._held[key] = (at, thing)
        heapq.heappush(self._oldest, (at, self._put, key))
        self._put += 1
        while len(self._held) > self._settings.most:
            at, _, key = heapq.heappop(self._oldest)
            if key in self._held and self._held[key][0] == at:
                del self._held[key]
        return True

    def remove(self, keys: Iterable[Hashable]) -> None:
        """Those of them that are held."""
        for key in keys:
            self._held.pop(key, None)
        if len(self._oldest) > 2 * len(self._held) + 64:
            self._oldest = [one for one in self._oldest if one[2] in self._held]
            heapq.heapify(self._oldest)

    def sample_recent(self, count: int, random: np.random.Generator) -> list[T]:
        """Up to `count` different things, a half-life's age halving the odds of each; nothing below `fewest`.

        Without replacement, one after the other in proportion to what is left (Efraimidis and Spirakis 2006, "Weighted
        random sampling with a reservoir"), done at once by the largest of log weight plus Gumbel noise. Only
        differences of age count, so no clock is asked.
        """
        if len(self) < self._settings.fewest:
            return []
        held = list(self._held.values())
        ages = np.array([at for at, _ in held])
        logs = (ages - ages.max()) * (math.log(2) / self._settings.half_life)
        order = np.argsort(-(logs + random.gumbel(size=len(held))), kind="stable")
        return [held[place][1] for place in order[:count].tolist()]

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._held

    def __iter__(self) -> Iterator[tuple[float, T]]:
        """When each came in, and what it is; in the order in which they were put."""
        return iter(list(self._held.values()))
