"""Intervals for one look at data whose amount was fixed before: reports and validation suites.

Not for a gate that looks again and again: there the confidence sequences belong.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeVar

from heedful.errors import InvalidInput
from heedful.stats.checks import alpha_checked, finite

if TYPE_CHECKING:
    import numpy as np

A = TypeVar("A")
B = TypeVar("B")

CHUNK = 200  # bootstrap samples held in memory at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate and what the data do not exclude; infinite ends mean that nothing is excluded yet."""

    estimate: float
    lower: float
    upper: float

    def __contains__(self, value: float) -> bool:
        return self.lower <= value <= self.upper


def wilson(successes: float, trials: float, *, alpha: float = 0.05) -> Interval:
    """The score interval of a proportion: E. B. Wilson, JASA 22 (1927), 209-212; Brown, Cai and DasGupta,
    Statistical Science 16(2) (2001), equation (4).

    Without trials it is all of [0, 1], around one half.
    """
    if not 0 <= successes <= trials:
        raise InvalidInput(f"{successes} successes in {trials} trials cannot be")
    if trials == 0:
        alpha_checked(alpha)
        return Interval(estimate=0.5, lower=0.0, upper=1.0)
    z, rate = _z(alpha), successes / trials
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    reach = z / (1 + z**2 / trials) * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    # At 0 and 1 the ends are exact, and rounding must not push them off the estimate.
    lower = min(max(centre - reach, 0.0), rate)
    return Interval(estimate=rate, lower=lower, upper=max(min(centre + reach, 1.0), rate))


def win_rate(wins: int, losses: int, ties: int = 0, *, alpha: float = 0.05) -> Interval:
    """How often one answer beats another, a tie counting half a win.

    Wilson's interval, with the number of comparisons stretched by how much the ties shrink the variance:
    a proportion p varies by p(1 - p), a win rate by a quarter of the share of ties less. One more win and
    one more loss enter that factor, so that a handful of ties does not look like certainty.
    """
    if min(wins, losses, ties) < 0:
        raise InvalidInput(f"{wins} wins, {losses} losses and {ties} ties cannot be")
    trials = wins + losses + ties
    padded, half = trials + 2, (wins + 1 + ties / 2) / (trials + 2)
    shrunk = 1 - ties / 4 / padded / (half * (1 - half))
    effective = trials / shrunk
    return wilson((wins + ties / 2) / trials * effective if trials else 0, effective, alpha=alpha)


def paired_difference(first: Sequence[float], second: Sequence[float], *, alpha: float = 0.05) -> Interval:
    """The mean of first minus second over the same prompts: Student's interval on the differences.

    Pairing is what makes it narrow: a hard prompt is hard for both.
    """
    from scipy.stats import t as student

    differences = [finite(a - b) for a, b in _paired(first, second)]
    count = len(differences)
    if count < 2:
        raise InvalidInput(f"{count} pairs say nothing about how much they vary: two are the least")
    mean = math.fsum(differences) / count
    variance = math.fsum((value - mean) ** 2 for value in differences) / (count - 1)
    reach = float(student.ppf(1 - alpha_checked(alpha) / 2, count - 1)) * math.sqrt(variance / count)
    return Interval(estimate=mean, lower=mean - reach, upper=mean + reach)


def cluster_bootstrap(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    random: np.random.Generator,
    alpha: float = 0.05,
    samples: int = 2000,
) -> Interval:
    """The mean of values that come in groups: whole clusters are drawn anew, and the percentiles taken.

    Values of one prompt, rater or conversation resemble each other; treating them as independent makes an
    interval too narrow. With fewer than about twenty clusters it is still somewhat narrow. Cameron, Gelbach
    and Miller, Review of Economics and Statistics 90(3) (2008), section II.
    """
    import numpy as np

    alpha_checked(alpha)
    grouped: dict[Hashable, list[float]] = {}
    for value, cluster in _paired(values, clusters):
        grouped.setdefault(cluster, []).append(finite(value))
    if len(grouped) < 2:
        raise InvalidInput(f"{len(grouped)} clusters say nothing about how much they vary: two are the least")
    if samples < 1:
        raise InvalidInput(f"{samples} bootstrap samples are none", field="samples")
    sums_c = np.array([math.fsum(group) for group in grouped.values()])
    sizes_c = np.array([len(group) for group in grouped.values()])
    means = []
    for start in range(0, samples, CHUNK):
        drawn_sc = random.integers(len(sums_c), size=(min(CHUNK, samples - start), len(sums_c)))
        means.append(sums_c[drawn_sc].sum(axis=1) / sizes_c[drawn_sc].sum(axis=1))
    lower, upper = np.quantile(np.concatenate(means), [alpha / 2, 1 - alpha / 2])
    return Interval(estimate=float(sums_c.sum() / sizes_c.sum()), lower=float(lower), upper=float(upper))


def _z(alpha: float) -> float:
    return NormalDist().inv_cdf(1 - alpha_checked(alpha) / 2)


def _paired(first: Sequence[A], second: Sequence[B]) -> list[tuple[A, B]]:
    if len(first) != len(second):
        raise InvalidInput(f"{len(first)} and {len(second)} values cannot be paired")
    return list(zip(first, second, strict=True))
