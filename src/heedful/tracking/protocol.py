"""The seam to where the numbers of a run go."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, SupportsFloat


class Track(Protocol):
    """One run that is being tracked; a single writer at a time."""

    def log(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        """The values of some metrics at this step; not every metric needs to come at every step."""
        ...

    def artifact(self, path: Path) -> None:
        """A file or directory that the run made and that stays where it is."""
        ...

    def finish(self, outcome: str = "finished") -> None:
        """No more numbers will come; `outcome` says in a word or two how it ended."""
        ...


class Tracking(Protocol):
    """Where the numbers of runs go.

    Every adapter keeps these promises (tests/contract/test_tracking.py):
    - after `log` returns, the values survive the death of the process;
    - values may be infinite or not a number: a loss that became NaN is the one that somebody looks for;
    - a run that is started again under the same name goes on: where a step comes twice the later value
      holds, because a run resumed from a checkpoint walks some steps again;
    - a process that dies in the middle of `log` costs at most that one line;
    - logging never changes what is trained: nothing is read back from here.

    Raises `InvalidInput` for a name that cannot be a run's or a metric's and for what is not a number,
    `NotFound` for an artifact that does not exist, `Unavailable` when the other side cannot be written.
    """

    def start(self, run: str, params: Mapping[str, object]) -> Track:
        """Begin a run, or go on with it; `params` are what one would want to know to repeat it."""
        ...
