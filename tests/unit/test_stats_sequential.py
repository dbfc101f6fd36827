"""Sequential statistics: worked by hand, summed exactly where that is possible, and watched for false alarms.

The third part is a harness that looks after every event, as an operator's dashboard does. It must acquit what
we use and convict a z-test that is looked at again and again: one that acquits everything proves nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import product
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from heedful.errors import InvalidInput
from heedful.stats.asymptotic_cs import AsymptoticCS, margin, rho_squared
from heedful.stats.contrast import Contrast
from heedful.stats.empirical_bernstein import EmpiricalBernsteinCS
from heedful.stats.ipw import PseudoOutcomes
from heedful.stats.rare_events import RareEvents

# --- by hand ---------------------------------------------------------------------------------------------


def test_the_asymptotic_margin_by_hand() -> None:
    """t = 3 and rho^2 = 1 give t rho^2 + 1 = 4; its root over alpha = 2/e is e, the log 1: sqrt(8 / 9)."""
    assert margin(3, alpha=2 / math.e, rho_squared=1) == pytest.approx(math.sqrt(8 / 9), abs=1e-12)


def test_rho_by_hand() -> None:
    """alpha = exp(-1/2) makes -2 log alpha = 1, whose log is 0: rho^2 = (1 + 0 + 1) / t*."""
    assert rho_squared(math.exp(-0.5), 8) == pytest.approx(0.25, abs=1e-12)


def test_the_margin_is_narrowest_near_the_count_that_was_asked_for() -> None:
    """In the paper's sense: among all rho, the one for t* is (nearly) the best at t*."""
    chosen = margin(1000, alpha=0.05, rho_squared=rho_squared(0.05, 1000))
    others = [
        margin(1000, alpha=0.05, rho_squared=rho_squared(0.05, best)) for best in (100, 300, 3000, 10000)
    ]
    assert chosen < min(others)


def test_the_asymptotic_interval_by_hand() -> None:
    """0, 1, 2 have mean 1 and deviation 1: the margin itself."""
    cs = AsymptoticCS(alpha=0.05, best_at=4, start=3)
    for value in (0.0, 1.0, 2.0):
        assert cs.interval().lower == -math.inf
        cs = cs.add(value)
    reach = margin(3, alpha=0.05, rho_squared=rho_squared(0.05, 4))
    interval = cs.interval()
    assert (interval.estimate, interval.lower, interval.upper) == pytest.approx((1, 1 - reach, 1 + reach))


def test_values_that_never_differed_exclude_nothing() -> None:
    cs = AsymptoticCS(start=2).add(0.5).add(0.5).add(0.5)
    assert 1e9 in cs.interval()


def test_empirical_bernstein_by_hand() -> None:
    """alpha = 2 / e^2 makes log(2/alpha) = 2, and both bets reach their limit of 1/2.

    First 1: the guess before was 1/2, so the penalty is 1/4 (log 2 - 1/2); the mean moves to 3/4, and the
    squares are 1/16. Then 0: the penalty grows by 9/16 (log 2 - 1/2); the mean is 1/2, the squares grow by
    1/4. The centre is (1/2 * 1) / 1 = 1/2.
    """
    cs = EmpiricalBernsteinCS(alpha=2 / math.e**2).add(1.0)
    assert (cs.bets, cs.bet_total, cs.squares) == pytest.approx((0.5, 0.5, 1 / 16))
    cs = cs.add(0.0)
    assert (cs.bets, cs.bet_total, cs.squares) == pytest.approx((1.0, 0.5, 5 / 16))
    assert cs.penalty == pytest.approx((1 / 4 + 9 / 16) * (math.log(2) - 0.5))
    assert (cs.interval().lower, cs.interval().upper) == (0.0, 1.0)  # 1/2 +- 2.16, cut at the bounds


def test_empirical_bernstein_does_not_care_about_units() -> None:
    unit, other = EmpiricalBernsteinCS(), EmpiricalBernsteinCS(low=-10, high=30)
    for value in [0.2, 0.4, 0.3, 0.25] * 100:
        unit, other = unit.add(value), other.add(-10 + 40 * value)
    assert 0.2 < unit.interval().lower < 0.2875 < unit.interval().upper < 0.4
    for of in ("estimate", "lower", "upper"):
        assert getattr(other.interval(), of) == pytest.approx(-10 + 40 * getattr(unit.interval(), of))


def test_rare_events_by_hand() -> None:
    """At equal shares and odds of 2, p = 2/3: a canary's event counts 4/3, a stable one's 2/3.

    Two of the canary and one of stable: 16/9 * 2/3 = 32/27. With odds of 3 beside it one canary event counts
    (4/3 + 3/2) / 2 = 17/12. At a share of 1/10, p = 2/11: 20/11 and (9/11) / (9/10) = 10/11.
    """
    events = RareEvents(odds=(2.0,)).add(canary=True, probability=0.5).add(canary=True, probability=0.5)
    assert math.exp(events.log_e) == pytest.approx(16 / 9)
    events = events.add(canary=False, probability=0.5)
    assert math.exp(events.log_e) == pytest.approx(32 / 27)
    assert events.p_value == pytest.approx(9 / 16)  # of the most that there was
    assert (events.canary_events, events.stable_events) == (2, 1)
    mixed = RareEvents(odds=(2.0, 3.0)).add(canary=True, probability=0.5)
    assert math.exp(mixed.log_e) == pytest.approx(17 / 12)
    small = RareEvents(odds=(2.0,))
    assert math.exp(small.add(canary=True, probability=0.1).log_e) == pytest.approx(20 / 11)
    assert math.exp(small.add(canary=False, probability=0.1).log_e) == pytest.approx(10 / 11)


def test_an_alarm_stays_although_the_evidence_fades() -> None:
    events = RareEvents()
    for _ in range(10):
        events = events.add(canary=True, probability=0.5)
    assert events.worse(alpha=0.05)
    for _ in range(50):
        events = events.add(canary=False, probability=0.5)
    assert math.exp(events.log_e) < 1
    assert events.worse(alpha=0.05)


def test_an_event_at_full_allocation_says_nothing() -> None:
    assert RareEvents().add(canary=True, probability=1.0).log_e == pytest.approx(0)
    with pytest.raises(InvalidInput, match="stable arm cannot be at a canary probability of 1"):
        RareEvents().add(canary=False, probability=1.0)


def test_pseudo_outcomes_by_hand() -> None:
    """An outcome of 1 at the canary with 1/4: (1 - 0) * 4. Then 0 at stable: (0 - 1) * -1/(3/4) = 4/3."""
    past = PseudoOutcomes()
    assert past.phi(1.0, canary=True, probability=0.25) == pytest.approx(4)
    past = past.add(1.0)
    assert past.phi(0.0, canary=False, probability=0.25) == pytest.approx(4 / 3)
    assert past.add(0.0) == PseudoOutcomes(mean=0.5, count=2)


def test_the_contrast_by_hand() -> None:
    """Two exposures at 1/2: x = (1 - 0) * 1/2 at the canary, then (0 - 1) * -1/2 at stable; both weigh 1/4.

    The estimate is (1/2 + 1/2) / (1/2) = 2 and s^2 = (1/4 + 1/4) / (1/2) = 1: the reach is the margin at 1/2.
    """
    contrast = Contrast(each=1, best_at=4).add(1.0, canary=True, probability=0.5)
    assert contrast.interval().upper == math.inf  # nobody has seen the other arm
    contrast = contrast.add(0.0, canary=False, probability=0.5)
    reach = margin(0.5, alpha=0.05, rho_squared=rho_squared(0.05, 1))
    interval = contrast.interval()
    assert (interval.estimate, interval.lower, interval.upper) == pytest.approx((2, 2 - reach, 2 + reach))
    assert contrast.mean == 0.5


def test_an_exposure_at_full_allocation_does_not_move_the_contrast() -> None:
    contrast = Contrast(each=1).add(1.0, canary=True, probability=0.5).add(0.0, canary=False, probability=0.5)
    assert contrast.add(1.0, canary=True, probability=1.0).interval() == contrast.interval()
    with pytest.raises(InvalidInput, match="canary arm cannot be at a canary probability of 0"):
        contrast.add(1.0, canary=True, probability=0.0)


def test_at_a_constant_share_the_contrast_is_the_mean_of_pseudo_outcomes() -> None:
    chance = np.random.default_rng(4)
    past, cs, contrast = PseudoOutcomes(), AsymptoticCS(), Contrast()
    for canary, outcome in zip(chance.random(2000) < 0.5, chance.normal(3, 2, 2000), strict=True):
        cs = cs.add(past.phi(float(outcome), canary=bool(canary), probability=0.5))
        past = past.add(float(outcome))
        contrast = contrast.add(float(outcome), canary=bool(canary), probability=0.5)
    theirs, ours = cs.interval(), contrast.interval()
    assert ours.estimate == pytest.approx(theirs.estimate)
    assert ours.upper - ours.lower == pytest.approx(theirs.upper - theirs.lower, rel=0.01)


def test_the_contrast_does_not_care_about_units() -> None:
    chance = np.random.default_rng(4)
    one, other = Contrast(mean=0.0), Contrast(mean=0.0)
    for canary, outcome in zip(chance.random(1000) < 0.5, chance.random(1000), strict=True):
        one = one.add(float(outcome), canary=bool(canary), probability=0.5)
        other = other.add(1000 * float(outcome), canary=bool(canary), probability=0.5)
    assert other.interval().lower == pytest.approx(1000 * one.interval().lower)


@pytest.mark.parametrize(
    "fresh",
    [
        AsymptoticCS(start=2),
        EmpiricalBernsteinCS(low=-2, high=2),
        PseudoOutcomes(mean=0.5),
    ],
)
def test_a_state_goes_through_json_and_goes_on_as_if_nothing_had_happened(fresh: Any) -> None:
    kept = revived = fresh
    for value in (0.1, -0.7, 1 / 3, 1.9):
        kept = kept.add(value)
        revived = type(fresh)(**json.loads(json.dumps(asdict(revived)))).add(value)
    assert kept == revived


def test_what_two_arms_say_goes_through_json_too() -> None:
    events = RareEvents().add(canary=True, probability=0.2).add(canary=False, probability=0.3)
    assert RareEvents(**json.loads(json.dumps(asdict(events)))) == events
    contrast = Contrast().add(0.1, canary=True, probability=0.2).add(0.7, canary=False, probability=0.3)
    assert Contrast(**json.loads(json.dumps(asdict(contrast)))) == contrast


@pytest.mark.parametrize(
    "make",
    [
        lambda: AsymptoticCS(alpha=0),
        lambda: AsymptoticCS(best_at=0),
        lambda: AsymptoticCS().add(math.nan),
        lambda: Contrast(alpha=1),
        lambda: Contrast(each=0),
        lambda: Contrast().add(math.nan, canary=True, probability=0.5),
        lambda: Contrast().add(1.0, canary=False, probability=1.0),
        lambda: EmpiricalBernsteinCS(low=1, high=1),
        lambda: EmpiricalBernsteinCS(high=math.inf),
        lambda: EmpiricalBernsteinCS().add(1.01),
        lambda: EmpiricalBernsteinCS().add(math.nan),
        lambda: RareEvents(odds=()),
        lambda: RareEvents(odds=(0.5, 2.0)),
        lambda: RareEvents().add(canary=True, probability=0.0),
        lambda: RareEvents().add(canary=True, probability=1.5),
        lambda: RareEvents().worse(alpha=1),
        lambda: PseudoOutcomes().phi(1.0, canary=True, probability=1.0),
        lambda: PseudoOutcomes().add(math.inf),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput):
        make()


# --- exact -----------------------------------------------------------------------------------------------

RAMP = (0.01, 0.05, 0.05, 0.25, 0.25, 0.5, 0.5, 0.9)


def expected_e(length: int, worse: float) -> float:
    """The mean e-value over all sequences of `length` events of a canary that is `worse` times as likely."""
    total = 0.0
    for sequence in product((True, False), repeat=length):
        events, chance = RareEvents(), 1.0
        for canary, share in zip(sequence, RAMP, strict=False):
            true_share = share * worse / (share * worse + 1 - share)
            chance *= true_share if canary else 1 - true_share
            events = events.add(canary=canary, probability=share)
        total += chance * math.exp(events.log_e)
    return total


@pytest.mark.parametrize("length", range(1, len(RAMP) + 1))
def test_the_e_value_of_an_equal_canary_has_mean_one_along_a_ramp(length: int) -> None:
    assert expected_e(length, worse=1.0) == pytest.approx(1, abs=1e-12)


def test_the_e_value_of_a_better_canary_has_a_mean_below_one_and_of_a_worse_one_above() -> None:
    assert expected_e(8, worse=0.5) < expected_e(8, worse=0.9) < 1
    assert expected_e(8, worse=2.0) > 1


def test_pseudo_outcomes_have_the_difference_as_their_mean_along_a_ramp() -> None:
    """Summed over all allocations of eight exposures whose outcomes in both arms are known."""
    chance = np.random.default_rng(3)
    canary_t, stable_t = chance.normal(5, 2, len(RAMP)), chance.normal(4, 2, len(RAMP))
    total = 0.0
    for sequence in product((True, False), repeat=len(RAMP)):
        past, probability, phis = PseudoOutcomes(), 1.0, []
        for canary, share, ours, theirs in zip(sequence, RAMP, canary_t, stable_t, strict=True):
            probability *= share if canary else 1 - share
            outcome = float(ours if canary else theirs)
            phis.append(past.phi(outcome, canary=canary, probability=share))
            past = past.add(outcome)
        total += probability * sum(phis) / len(phis)
    assert total == pytest.approx(float(np.mean(canary_t - stable_t)), abs=1e-9)


@pytest.mark.parametrize("mean", [0.02, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("alpha", [0.1, 0.5])
def test_empirical_bernstein_excludes_the_truth_rarely_enough_summed_over_all_streams(
    mean: float, alpha: float
) -> None:
    """Every stream of twelve zeros and ones, with its probability: those that ever exclude the true mean."""

    def ever_excluded(cs: EmpiricalBernsteinCS, left: int) -> float:
        if mean not in cs.interval():
            return 1.0
        if left == 0:
            return 0.0
        return mean * ever_excluded(cs.add(1.0), left - 1) + (1 - mean) * ever_excluded(cs.add(0.0), left - 1)

    assert ever_excluded(EmpiricalBernsteinCS(alpha=alpha), 12) <= alpha


# --- watched after every event ---------------------------------------------------------------------------

Exposure = tuple[bool, float, float]  # canary?, its probability, outcome
Monitor = Callable[[Iterator[Exposure]], bool]  # whether it was ever wrong on a stream
ALPHA, STREAMS, LENGTH = 0.05, 200, 1500
HALF = np.full(LENGTH, 0.5)
GROWING = np.repeat([0.05, 0.2, 0.5], LENGTH // 3)


def share_ever_wrong(monitor: Monitor, *, shares_t: Any, rates_t: Any, difference: float) -> float:
    wrong = 0
    for seed in range(STREAMS):
        chance = np.random.default_rng([11, seed])
        canary_t = chance.random(LENGTH) < shares_t
        outcome_t = chance.random(LENGTH) < rates_t + difference * canary_t
        stream = zip(canary_t.tolist(), shares_t.tolist(), outcome_t.astype(float).tolist(), strict=True)
        wrong += monitor(stream)
    return wrong / STREAMS


def sequence_of(fresh: AsymptoticCS | EmpiricalBernsteinCS, difference: float) -> Monitor:
    def monitor(stream: Iterator[Exposure]) -> bool:
        past, cs = PseudoOutcomes(mean=0.5), fresh
        for canary, share, outcome in stream:
            cs = cs.add(past.phi(outcome, canary=canary, probability=share))
            past = past.add(outcome)
            if difference not in cs.interval():
                return True
        return False

    return monitor


def peeking_z_test(stream: Iterator[Exposure]) -> bool:
    """Two proportions, pooled variance, a look after every event from the 200th on."""
    critical = NormalDist().inv_cdf(1 - ALPHA / 2)
    count, hits = [0, 0], [0.0, 0.0]
    for canary, _, outcome in stream:
        count[canary] += 1
        hits[canary] += outcome
        seen = sum(count)
        if seen < 200 or min(count) == 0:
            continue
        rate = sum(hits) / seen
        deviation = math.sqrt(rate * (1 - rate) * (1 / count[0] + 1 / count[1]))
        if deviation and abs(hits[0] / count[0] - hits[1] / count[1]) > critical * deviation:
            return True
    return False


ALLOWED = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / STREAMS)


def contrast_of(difference: float) -> Monitor:
    def monitor(stream: Iterator[Exposure]) -> bool:
        contrast = Contrast(alpha=ALPHA)
        for canary, share, outcome in stream:
            contrast = contrast.add(outcome, canary=canary, probability=share)
            if difference not in contrast.interval():
                return True
        return False

    return monitor


@pytest.mark.parametrize(
    ("shares_t", "rates_t", "difference"),
    [
        (HALF, np.full(LENGTH, 0.8), 0.0),
        (HALF, np.full(LENGTH, 0.8), -0.03),  # exactly at the margin of a gate
        (GROWING, np.linspace(0.9, 0.5, LENGTH), 0.0),  # everybody gets worse while the canary grows
        (GROWING, np.full(LENGTH, 0.97), 0.0),
    ],
    ids=["equal", "at the margin", "ramp and drift", "ramp and few failures"],
)
def test_the_contrast_is_rarely_wrong_though_always_watched(
    shares_t: Any, rates_t: Any, difference: float
) -> None:
    monitor = contrast_of(difference)
    wrong = share_ever_wrong(monitor, shares_t=shares_t, rates_t=rates_t, difference=difference)
    assert wrong <= ALLOWED


def test_the_asymptotic_sequence_is_rarely_wrong_though_always_watched() -> None:
    monitor = sequence_of(AsymptoticCS(alpha=ALPHA), 0.0)
    assert share_ever_wrong(monitor, shares_t=HALF, rates_t=np.full(LENGTH, 0.8), difference=0.0) <= ALLOWED


def test_the_harness_convicts_a_verdict_on_an_arm_that_was_hardly_seen() -> None:
    """200 exposures at a share of 5 % hold ten of the canary: why `Contrast` counts each arm."""
    monitor = sequence_of(AsymptoticCS(alpha=ALPHA, start=200), 0.0)
    wrong = share_ever_wrong(monitor, shares_t=GROWING, rates_t=np.linspace(0.9, 0.5, LENGTH), difference=0.0)
    assert wrong > ALLOWED


def test_empirical_bernstein_is_rarely_wrong_though_always_watched() -> None:
    monitor = sequence_of(EmpiricalBernsteinCS(low=-2, high=2, alpha=ALPHA), 0.0)
    assert share_ever_wrong(monitor, shares_t=HALF, rates_t=np.full(LENGTH, 0.8), difference=0.0) <= ALLOWED


def test_the_harness_convicts_a_z_test_that_is_looked_at_again_and_again() -> None:
    wrong = share_ever_wrong(peeking_z_test, shares_t=HALF, rates_t=np.full(LENGTH, 0.8), difference=0.0)
    assert wrong > 2 * ALLOWED


def rare(stream: Iterator[Exposure]) -> bool:
    events = RareEvents()
    for canary, share, happened in stream:
        if happened:
            events = events.add(canary=canary, probability=share)
    return events.worse(alpha=ALPHA)


def test_rare_events_are_rarely_wrong_along_a_ramp_with_drift() -> None:
    wrong = share_ever_wrong(rare, shares_t=GROWING, rates_t=np.linspace(0.3, 0.05, LENGTH), difference=0.0)
    assert wrong <= ALLOWED


def test_rare_events_find_four_times_the_harm() -> None:
    """A base rate of 2 %, and 8 % at the canary: about 30 of 52 events are its own."""
    found = share_ever_wrong(rare, shares_t=GROWING, rates_t=np.full(LENGTH, 0.02), difference=0.06)
    assert found > 0.9


def test_the_contrast_finds_a_canary_that_is_ten_points_worse_along_a_ramp() -> None:
    def found(stream: Iterator[Exposure]) -> bool:
        contrast = Contrast(alpha=ALPHA)
        for canary, share, outcome in stream:
            contrast = contrast.add(outcome, canary=canary, probability=share)
        return contrast.interval().upper < 0

    assert share_ever_wrong(found, shares_t=GROWING, rates_t=np.full(LENGTH, 0.8), difference=-0.1) > 0.5


def test_the_contrast_is_not_deceived_by_simpson() -> None:
    """Everybody gets worse while the canary grows: pooled rates blame the canary."""
    chance = np.random.default_rng(5)
    length = 30_000
    share_t, rate_t = np.repeat([0.05, 0.2, 0.5], length // 3), np.linspace(0.9, 0.5, length)
    canary_t = chance.random(length) < share_t
    outcome_t = (chance.random(length) < rate_t).astype(float)
    pooled = outcome_t[canary_t].mean() - outcome_t[~canary_t].mean()
    contrast = Contrast()
    for canary, share, outcome in zip(canary_t, share_t, outcome_t, strict=True):
        contrast = contrast.add(float(outcome), canary=bool(canary), probability=float(share))
    assert pooled < -0.08
    assert pooled not in contrast.interval()
    assert 0.0 in contrast.interval()


# --- an oracle that is not ours --------------------------------------------------------------------------


def test_the_asymptotic_sequence_agrees_with_ville() -> None:
    ville = pytest.importorskip("ville")
    values = np.random.default_rng(1).normal(3, 2, 400)
    theirs = ville.AsymptoticCS(alpha=0.05, t_opt=100, min_samples=2)
    theirs.rho_ = 1 / rho_squared(0.05, 100)  # theirs is optimised numerically: the same to three digits
    theirs.fit(values)
    ours = AsymptoticCS(alpha=0.05, best_at=100, start=2)
    for place, value in enumerate(values):
        ours = ours.add(float(value))
        if place:
            both = (ours.interval().lower, ours.interval().upper)
            assert both == pytest.approx((theirs.lower_[place], theirs.upper_[place]), abs=1e-9)


def test_empirical_bernstein_agrees_with_ville() -> None:
    ville = pytest.importorskip("ville")
    values = np.random.default_rng(1).beta(2, 5, 400) * 3 - 1
    theirs = ville.EmpiricalBernsteinCS(bounds=(-1, 2), alpha=0.1, intersect=False).fit(values)
    ours = EmpiricalBernsteinCS(low=-1, high=2, alpha=0.1)
    for place, value in enumerate(values):
        ours = ours.add(float(value))
        interval = ours.interval()
        expected = (theirs.estimate_[place], theirs.lower_[place], theirs.upper_[place])
        assert (interval.estimate, interval.lower, interval.upper) == pytest.approx(expected, abs=1e-9)


def test_pseudo_outcomes_agree_with_ville() -> None:
    ville = pytest.importorskip("ville")
    chance = np.random.default_rng(1)
    treated, outcomes = chance.random(300) < 0.3, chance.normal(5, 1, 300)
    theirs = ville.AsymptoticABTest(propensity=0.3, min_samples=2).fit(outcomes, treated.astype(float))
    past, phis = PseudoOutcomes(), []
    for canary, outcome in zip(treated, outcomes, strict=True):
        phis.append(past.phi(float(outcome), canary=bool(canary), probability=0.3))
        past = past.add(float(outcome))
    assert sum(phis) / 300 == pytest.approx(theirs.estimate_[-1], abs=1e-9)
