"""A confidence interval for a mean that may be looked at after every event: for scores, success, win rates.

It needs no bounds and no known variance, and pays with a promise that holds in the limit: nothing is
excluded before `start` events. For few events take `empirical_bernstein`, for rare ones `rare_events`, and
for two arms on a ramp `contrast`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from heedful.errors import InvalidInput
from heedful.stats.checks import alpha_checked, finite
from heedful.stats.intervals import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class AsymptoticCS:
    """The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform
    central limit theory and asymptotic confidence sequences", Annals of Statistics 52(6) (2024), 2613-2640
    (arXiv 2103.06476), Theorem 2.2:

        mean +- s * sqrt( 2 (t rho^2 + 1) / (t^2 rho^2) * log( sqrt(t rho^2 + 1) / alpha ) )

    with the sample's standard deviation s. rho makes it narrowest near t* events; the paper's closed form
    for it (in the section on choosing rho) is rho^2 = (-2 log alpha + log(-2 log alpha) + 1) / t*.
    """

    alpha: float = 0.05  # how often, over all looks together, the mean may be outside
    best_at: int = 1000  # t*: events after which the interval should be narrowest
    start: int = 200  # events before which nothing is excluded
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared distances from the mean (Welford)

    def __post_init__(self) -> None:
        alpha_checked(self.alpha)
        if self.best_at < 1 or self.start < 2:
            raise InvalidInput(f"best_at {self.best_at} must be 1 or more, and start {self.start} 2 or more")

    def add(self, value: float) -> AsymptoticCS:
        count = self.count + 1
        step = finite(value) - self.mean
        mean = self.mean + step / count
        return AsymptoticCS(
            alpha=self.alpha,
            best_at=self.best_at,
            start=self.start,
            count=count,
            mean=mean,
            squares=self.squares + step * (value - mean),
        )

    def interval(self) -> Interval:
        # Values that never differed say nothing about how much they might.
        if self.count < self.start or self.squares == 0:
            return Interval(estimate=self.mean, lower=-math.inf, upper=math.inf)
        deviation = math.sqrt(self.squares / (self.count - 1))
        reach = deviation * margin(
            self.count, alpha=self.alpha, rho_squared=rho_squared(self.alpha, self.best_at)
        )
        return Interval(estimate=self.mean, lower=self.mean - reach, upper=self.mean + reach)


def margin(count: float, *, alpha: float, rho_squared: float) -> float:
    """Half the width for values with standard deviation 1: Robbins' normal mixture, Theorem 2.2."""
    grown = count * rho_squared + 1
    return math.sqrt(2 * grown / (count**2 * rho_squared) * math.log(math.sqrt(grown) / alpha))


def rho_squared(alpha: float, best_at: float) -> float:
    """The mixture's variance that makes the margin about the narrowest at `best_at` events."""
    wanted = -2 * math.log(alpha)
    # Near alpha = 1 the closed form turns negative; nobody tests there, and every rho is valid.
    return max(wanted + math.log(wanted) + 1, 0.1) / best_at
