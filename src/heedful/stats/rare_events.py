"""Does the canary cause more of what should hardly ever happen? Exact, and may be asked after every event.

Only events are looked at, not the millions of exposures without one. If the canary is as good as stable, an
event is the canary's with the probability that the allocation gives: whatever the base rate is, and however
it drifts. Several events of one user or conversation are one: count the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from heedful.errors import InvalidInput
from heedful.stats.checks import alpha_checked

ODDS = (1.25, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0)  # how many times worse the canary might be


@dataclass(frozen=True, slots=True, kw_only=True)
class RareEvents:
    """The conditional test of two arms' event rates of Lindon and Malek, "Anytime-valid inference for
    multinomial count data", NeurIPS 2022 (arXiv 2011.03567), with a uniform mixture over a grid of odds.

    Against "the canary is theta times as likely to cause an event" an event at allocation pi multiplies the
    evidence by p/pi if it was the canary's and by (1 - p)/(1 - pi) if not, where
    p = pi theta / (pi theta + 1 - pi). Each product has mean 1 while the canary is as good as stable, and
    mean below 1 while it is better; so has their average, and by Ville's inequality it ever reaches 1 / alpha
    with probability alpha at most.
    """

    odds: tuple[float, ...] = ODDS
    logs: tuple[float, ...] = ()  # of the evidence against each of the odds; empty before the first event
    canary_events: int = 0
    stable_events: int = 0
    highest: float = 0.0  # the largest that log_e has been

    def __post_init__(self) -> None:
        object.__setattr__(self, "odds", tuple(self.odds))  # JSON gives lists back
        object.__setattr__(self, "logs", tuple(self.logs) or (0.0,) * len(self.odds))
        if not self.odds or min(self.odds) <= 1 or len(self.logs) != len(self.odds):
            raise InvalidInput(
                f"odds {self.odds} must be above 1, with one log of evidence each", field="odds"
            )

    def add(self, *, canary: bool, probability: float) -> RareEvents:
        """One more event: whose it was, and the canary's share when its exposure was allocated."""
        if not 0 <= probability <= 1 or probability == (0 if canary else 1):
            arm = "canary" if canary else "stable"
            raise InvalidInput(
                f"an event of the {arm} arm cannot be at a canary probability of {probability}",
                field="probability",
            )
        logs = tuple(
            log + (math.log(odds) if canary else 0.0) - math.log1p(probability * (odds - 1))
            for log, odds in zip(self.logs, self.odds, strict=True)
        )
        return RareEvents(
            odds=self.odds,
            logs=logs,
            canary_events=self.canary_events + canary,
            stable_events=self.stable_events + (not canary),
            highest=max(self.highest, _log_mean(logs)),
        )

    @property
    def log_e(self) -> float:
        """Log of the e-value: the evidence now that the canary is worse."""
        return _log_mean(self.logs)

    @property
    def p_value(self) -> float:
        """Valid whenever one looks, because it rests on the most evidence that there ever was."""
        return math.exp(-self.highest)

    def worse(self, *, alpha: float) -> bool:
        """Whether the evidence that the canary causes more events has ever reached 1 / alpha."""
        return self.highest >= -math.log(alpha_checked(alpha))


def _log_mean(logs: Sequence[float]) -> float:
    most = max(logs)
    return most + math.log(math.fsum(math.exp(log - most) for log in logs) / len(logs))
