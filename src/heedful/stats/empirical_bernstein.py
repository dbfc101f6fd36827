"""A confidence interval for a mean of bounded values that holds exactly, from the first event on.

No limit is taken and nothing is assumed about the values but their bounds and that their mean, given the
past, stays the same. It is wider than the asymptotic one: the price of an exact promise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from heedful.errors import InvalidInput
from heedful.stats.checks import alpha_checked
from heedful.stats.intervals import Interval

LARGEST_BET = 0.5  # c of the paper: one half or three quarters are reasonable


@dataclass(frozen=True, slots=True, kw_only=True)
class EmpiricalBernsteinCS:
    """The predictable plug-in empirical Bernstein confidence sequence of Waudby-Smith and Ramdas, "Estimating
    means of bounded random variables by betting", JRSS-B 86(1) (2024), 1-27 (arXiv 2010.09686), Theorem 2.

    With values scaled to [0, 1] and, from the values before each,

        mu_t = (1/2 + sum x_i) / (t + 1),   var_t = (1/4 + sum (x_i - mu_i)^2) / (t + 1),
        lambda_t = min( sqrt( 2 log(2/alpha) / (var_{t-1} t log(1 + t)) ), c ),

    the mean lies at every t, with probability 1 - alpha for all t at once, within

        (sum lambda_i x_i  +-  (log(2/alpha) + sum 4 (x_i - mu_{i-1})^2 psi(lambda_i))) / sum lambda_i

    where psi(lambda) = (-log(1 - lambda) - lambda) / 4.
    """

    low: float = 0.0  # no value is lower
    high: float = 1.0  # no value is higher
    alpha: float = 0.05  # how often, over all looks together, the mean may be outside
    count: int = 0
    total: float = 0.0  # sum of scaled values
    squares: float = 0.0  # sum of (x_i - mu_i)^2
    bets: float = 0.0  # sum of lambda_i
    bet_total: float = 0.0  # sum of lambda_i x_i
    penalty: float = 0.0  # sum of 4 (x_i - mu_{i-1})^2 psi(lambda_i)

    def __post_init__(self) -> None:
        alpha_checked(self.alpha)
        if not -math.inf < self.low < self.high < math.inf:
            raise InvalidInput(f"values cannot lie between {self.low} and {self.high}")

    def add(self, value: float) -> EmpiricalBernsteinCS:
        if not self.low <= value <= self.high:
            raise InvalidInput(f"{value} is outside the bounds {self.low} to {self.high} that were promised")
        scaled = (value - self.low) / (self.high - self.low)
        count = self.count + 1
        mean_before = (0.5 + self.total) / count
        variance_before = (0.25 + self.squares) / count
        bet = min(
            math.sqrt(2 * math.log(2 / self.alpha) / (variance_before * count * math.log1p(count))),
            LARGEST_BET,
        )
        mean = (0.5 + self.total + scaled) / (count + 1)
        return EmpiricalBernsteinCS(
            low=self.low,
            high=self.high,
            alpha=self.alpha,
            count=count,
            total=self.total + scaled,
            squares=self.squares + (scaled - mean) ** 2,
            bets=self.bets + bet,
            bet_total=self.bet_total + bet * scaled,
            penalty=self.penalty + (scaled - mean_before) ** 2 * (-math.log1p(-bet) - bet),
        )

    def interval(self) -> Interval:
        """Never wider than the bounds. The estimate is the plain mean; the interval is centred elsewhere."""
        if self.count == 0:
            return Interval(estimate=(self.low + self.high) / 2, lower=self.low, upper=self.high)
        centre = self.bet_total / self.bets
        reach = (math.log(2 / self.alpha) + self.penalty) / self.bets
        return Interval(
            estimate=self._unscaled(self.total / self.count),
            lower=self._unscaled(max(centre - reach, 0.0)),
            upper=self._unscaled(min(centre + reach, 1.0)),
        )

    def _unscaled(self, scaled: float) -> float:
        return self.low + scaled * (self.high - self.low)
