"""What turns a judge's raw scores into standard deviations of the starting policy's own answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """So "one better" means the same for every reward model, and KL coefficients keep their meaning."""

    mean: float = 0.0
    action_mean: float = 0.0
    std: float = 1.0
    zeros: tuple[float, ...] = ()  # by member: no comparison fixes where its scores begin
    temperature: float = 1.0  # of the log-odds of a comparison, so that they are as sure as they are right

    @property
    def unit(self) -> float:
        """What one deviation of difference in quality is in log-odds."""
        return self.std / self.temperature
