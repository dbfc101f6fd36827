"""Intervals for one look: worked by hand, and their coverage summed exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest

from heedful.errors import InvalidInput
from heedful.stats.intervals import cluster_bootstrap, paired_difference, wilson, win_rate

TWO_SIGMA = 2 * (1 - NormalDist().cdf(2))  # the alpha at which z is 2


def test_wilson_by_hand() -> None:
    """2 of 4 with z = 2, so that z^2/n = 1: 1/2 +- (2/2) sqrt(1/16 + 1/16)."""
    interval = wilson(2, 4, alpha=TWO_SIGMA)
    reach = math.sqrt(1 / 8)
    assert (interval.estimate, interval.lower, interval.upper) == pytest.approx(
        (0.5, 0.5 - reach, 0.5 + reach)
    )


def test_wilson_at_the_edges() -> None:
    """0 of n reaches from 0 to z^2 / (n + z^2); without trials everything is possible."""
    assert wilson(0, 12, alpha=TWO_SIGMA).upper == pytest.approx(4 / 16)
    assert wilson(0, 12).lower == 0
    assert wilson(12, 12).upper == 1
    assert (wilson(0, 0).lower, wilson(0, 0).upper) == (0, 1)


def test_a_win_rate_counts_half_a_win_for_a_tie() -> None:
    assert win_rate(6, 2, 2).estimate == pytest.approx(0.7)
    assert win_rate(3, 7).estimate == pytest.approx(0.3)
    left, right = win_rate(6, 2, 2), win_rate(2, 6, 2)
    assert (left.lower, left.upper) == pytest.approx((1 - right.upper, 1 - right.lower))


def test_a_win_rate_without_ties_is_wilsons() -> None:
    assert win_rate(30, 12) == wilson(30, 42)
    assert win_rate(0, 0) == wilson(0, 0)


def test_ties_make_a_win_rate_surer_but_a_few_of_them_do_not_make_it_certain() -> None:
    decided, tied = win_rate(50, 50), win_rate(10, 10, 80)
    assert tied.upper - tied.lower < 0.6 * (decided.upper - decided.lower)
    assert win_rate(0, 0, 5).upper - win_rate(0, 0, 5).lower > 0.4


@pytest.mark.parametrize(
    ("wins", "ties"), [(0.4, 0.2), (0.25, 0.5), (0.2, 0.75), (0.7, 0.2), (0.9, 0.05), (0.02, 0.96)]
)
def test_a_win_rate_covers_as_often_as_it_says_summed_over_all_outcomes(wins: float, ties: float) -> None:
    """All outcomes of 30 comparisons with their multinomial probability."""
    count, losses, covered = 30, 1 - wins - ties, 0.0
    for won in range(count + 1):
        for tied in range(count - won + 1):
            lost = count - won - tied
            ways = math.factorial(count) // (
                math.factorial(won) * math.factorial(tied) * math.factorial(lost)
            )
            if wins + ties / 2 in win_rate(won, lost, tied):
                covered += ways * wins**won * ties**tied * losses**lost
    assert covered >= 0.94


def test_a_paired_difference_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, deviation 1; Student's 97.5 % point, 2 degrees of freedom, is 4.302653."""
    interval = paired_difference([5.0, 7.0, 9.0], [4.0, 5.0, 6.0])
    reach = 4.302653 / math.sqrt(3)
    assert (interval.estimate, interval.lower, interval.upper) == pytest.approx(
        (2, 2 - reach, 2 + reach), abs=1e-6
    )


def test_pairing_removes_what_both_share() -> None:
    chance = np.random.default_rng(0)
    hardness = chance.normal(0, 10, 50)
    interval = paired_difference((hardness + 1 + chance.normal(0, 0.1, 50)).tolist(), hardness.tolist())
    assert 0.9 < interval.lower < 1 < interval.upper < 1.1


def test_the_bootstrap_draws_whole_clusters() -> None:
    """Clusters {0, 0, 0} and {1}: a sample is all of one (mean 0 or 1) or both (mean 1/4)."""
    interval = cluster_bootstrap([0, 0, 0, 1], ["a", "a", "a", "b"], random=np.random.default_rng(0))
    assert (interval.estimate, interval.lower, interval.upper) == (0.25, 0.0, 1.0)


def test_the_bootstrap_is_wider_where_clusters_differ_and_the_same_for_the_same_generator() -> None:
    chance = np.random.default_rng(2)
    prompts = np.repeat(np.arange(40), 25)
    values = (chance.normal(0, 1, 40)[prompts] + chance.normal(0, 0.1, 1000)).tolist()
    clustered = cluster_bootstrap(values, prompts.tolist(), random=np.random.default_rng(1), samples=500)
    alone = cluster_bootstrap(values, list(range(1000)), random=np.random.default_rng(1), samples=500)
    again = cluster_bootstrap(values, prompts.tolist(), random=np.random.default_rng(1), samples=500)
    assert clustered.upper - clustered.lower > 3 * (alone.upper - alone.lower)
    assert again == clustered


@pytest.mark.parametrize(
    "make",
    [
        lambda: wilson(3, 2),
        lambda: wilson(-1, 2),
        lambda: wilson(1, 2, alpha=0),
        lambda: wilson(0, 0, alpha=1),
        lambda: win_rate(-1, 2),
        lambda: paired_difference([1.0], [2.0]),
        lambda: paired_difference([1.0, 2.0], [2.0]),
        lambda: paired_difference([1.0, math.nan], [2.0, 1.0]),
        lambda: cluster_bootstrap([1.0, 2.0], ["a", "a"], random=np.random.default_rng(0)),
        lambda: cluster_bootstrap([1.0, 2.0], ["a", "b"], random=np.random.default_rng(0), samples=0),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput):
        make()
