"""One number per exposure whose mean is canary minus stable, however the allocation changes on the way.

Pooled rates of two arms are not comparable while the canary's share grows: its exposures are the later ones,
and whatever the time of day does to everybody looks like its doing (Simpson). Weighting each outcome with the
probability that its arm was chosen, known because we chose it, removes that.
"""

from __future__ import annotations

from dataclasses import dataclass

from heedful.errors import InvalidInput
from heedful.stats.checks import finite


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoOutcomes:
    """The running mean of past outcomes, and what the next one means for the difference.

    phi_t = (Y_t - m_{t-1}) * (A_t / pi_t - (1 - A_t) / (1 - pi_t)): the inverse-probability-weighted outcome
    of Horvitz and Thompson, JASA 47 (1952), 663-685, centred at the mean of the past. Any centre known before
    Y_t leaves the mean alone; this one makes the variance small when outcomes lie far from zero.
    """

    mean: float = 0.0  # of the outcomes so far; before the first, a guess
    count: int = 0

    def phi(self, outcome: float, *, canary: bool, probability: float) -> float:
        """What this exposure says about canary minus stable.

        `canary` says which arm answered; `probability` is the chance that it would be the canary.
        """
        if not 0 < probability < 1:
            raise InvalidInput(
                f"the canary's probability is {probability}: with 0 or 1 the other arm is never seen",
                field="probability",
            )
        weight = 1 / probability if canary else -1 / (1 - probability)
        return (finite(outcome) - self.mean) * weight

    def add(self, outcome: float) -> PseudoOutcomes:
        count = self.count + 1
        return PseudoOutcomes(mean=self.mean * (self.count / count) + finite(outcome) / count, count=count)
