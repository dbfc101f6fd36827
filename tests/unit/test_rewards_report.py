"""The figures of a report card, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from heedful.errors import InvalidInput
from heedful.rewards import report
from heedful.rewards.bounds import Bounds, verdict
from heedful.rewards.suites import suite

SURE = math.log(3)  # log-odds of 0.75


# -- pairs -----------------------------------------------------------------------------------------------------


def test_accuracy_has_wilsons_interval() -> None:
    """2.5 of 4 with z = 1.96: centre (0.625 + 3.8415/8) / (1 + 3.8415/4) = 0.5638, reach 0.3443."""
    found = report.share(report.ranked_right(np.array([2.0, -1.0, 0.0, 1.0])))
    assert found.estimate == 0.625
    assert [found.lower, found.upper] == pytest.approx([0.2194, 0.9081], abs=1e-4)


def test_pairs_of_one_prompt_are_one_trial() -> None:
    right = np.ones(40)
    alone, together = report.share(right), report.share(right, ["a"] * 20 + ["b"] * 20)
    assert together == report.share(np.ones(2))
    assert together.lower < alone.lower


def test_nothing_excludes_nothing() -> None:
    found = report.pair_report(np.array([]), np.array([]), np.array([]))
    assert (found["pairs"], found["accuracy_low"], found["accuracy_high"]) == (0, 0, 1)
    assert math.isnan(found["brier"])


def test_brier_and_log_loss_by_hand() -> None:
    """0.75 and right, 0.75 and wrong: (0.25^2 + 0.75^2) / 2 and (-ln 0.75 - ln 0.25) / 2."""
    differences = np.array([SURE, -SURE])
    assert report.brier(differences) == pytest.approx(0.3125)
    assert report.log_loss(differences) == pytest.approx(0.836988)
    assert report.log_loss(np.array([-1000.0])) == pytest.approx(1000.0)


@pytest.mark.parametrize(("right", "gap"), [(3, 0.0), (4, 0.25), (0, 0.75)])
def test_calibration_does_not_depend_on_the_order_of_the_pairs(right: int, gap: float) -> None:
    """Four verdicts at 0.75 of which `right` are right."""
    differences = np.array([SURE] * right + [-SURE] * (4 - right))
    for order in (differences, differences[::-1]):
        found = report.pair_report(order, np.zeros(4), np.zeros(4))
        assert found["calibration_error"] == pytest.approx(gap)


def test_a_reliability_diagram_says_how_sure_and_how_often_right() -> None:
    low, high = report.reliability(np.array([SURE, SURE, SURE, -SURE, 5.0, 5.0]))
    assert (low["confidence"], low["accuracy"], low["n"]) == (pytest.approx(0.75), 0.75, 4)
    assert (high["n"], high["accuracy"]) == (2, 1.0)
    assert high["low"] == pytest.approx(0.3424, abs=1e-4)  # two of two prove little


def test_its_bins_are_those_of_the_calibration_error() -> None:
    differences = np.random.default_rng(3).normal(0.5, 2, 400)
    rows = report.reliability(differences)
    gap = sum(row["n"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / 400
    assert report.pair_report(differences, np.zeros(400), np.zeros(400))[
        "calibration_error"
    ] == pytest.approx(gap)


def test_the_keys_that_others_read_stay() -> None:
    found = report.pair_report(np.array([1.0]), np.array([2.0]), np.array([1.0]))
    assert {
        "pairs",
        "accuracy",
        "calibration_error",
        "accuracy_when_longer_won",
        "accuracy_when_shorter_won",
        "share_longer_won",
    } <= set(found)
    assert all(isinstance(value, float) for value in found.values())


def test_slices_come_by_size_and_the_smallest_shows_how_little_it_says() -> None:
    rows = report.slices(np.array([1.0, 1.0, -1.0, 1.0]), ["shop", "shop", "shop", "bank"])
    assert [(row["value"], row["n"], row["accuracy"]) for row in rows] == [
        ("shop", 3, pytest.approx(2 / 3)),
        ("bank", 1, 1.0),
    ]
    assert rows[1]["low"] == pytest.approx(0.2065, abs=1e-4)
    with pytest.raises(InvalidInput, match="one per pair"):
        report.slices(np.array([1.0]), [])


# -- what could be reached ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [(3, 0, 1.0), (3, 1, 0.75), (2, 1, 1 / 3), (1, 1, 0.0), (2, 2, 0.0), (4, 2, 2 / 3)],
)
def test_a_rater_is_held_against_the_others(chosen: int, rejected: int, expected: float) -> None:
    """3:1: each of the three has two against one behind him, the fourth has nobody. 2:1: two have a tie, one nobody."""
    assert report.ceiling_of_votes(chosen, rejected) == pytest.approx(expected)


def test_one_vote_says_nothing_about_agreement() -> None:
    with pytest.raises(InvalidInput, match="agreement needs two"):
        report.ceiling_of_votes(1, 0)


def test_the_ceiling_is_what_raters_reach() -> None:
    """Right where 0.8 agree, wrong where 0.6 do: sides with 0.8 and 0.4. (0.6 - 0.5) / (0.7 - 0.5)."""
    shares = np.array([0.8, 0.6])
    found = report.against_raters(np.array([1.0, 0.0]), shares, shares)
    assert found == {
        "model": pytest.approx(0.6),
        "ceiling": pytest.approx(0.7),
        "of_ceiling": pytest.approx(0.5),
        "pairs": 2,
    }


def test_a_known_noise_is_a_ceiling_too() -> None:
    """0.7 right where 0.2 of the labels are wrong: (0.7 - 0.5) / (0.8 - 0.5)."""
    found = report.against_noise(np.array([1.0] * 7 + [0.0] * 3), 0.2)
    assert [found["ceiling"], found["of_ceiling"]] == pytest.approx([0.8, 2 / 3])
    with pytest.raises(InvalidInput, match=r"below 0\.5"):
        report.against_noise(np.array([1.0]), 0.5)


# -- answers --------------------------------------------------------------------------------------------------


def test_doubt_tells_apart_by_hand() -> None:
    """2 > 1, 2 = 2, 3 > 1, 3 > 2: 3.5 of 4."""
    assert report.told_apart(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == 0.875
    assert math.isnan(report.told_apart(np.array([]), np.array([1.0])))


def test_doubt_is_worth_something_where_it_is_high_elsewhere_and_where_the_model_errs() -> None:
    found = report.disagreement(
        np.array([0.1, 0.3]),
        np.array([0.9]),
        right=np.array([1.0, 0.0, 1.0]),
        of_pairs=np.array([0.2, 0.8, 0.1]),
    )
    assert found == {
        "inside": pytest.approx(0.2),
        "outside": 0.9,
        "elsewhere_told_apart": 1.0,
        "wrong_told_apart": 1.0,
    }


def test_correlations_by_hand() -> None:
    """Pearson: 6.5 / sqrt(5 * 8.75). The order is the same, so Spearman is one."""
    found = report.correlation(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0, 5.0]))
    assert [found["spearman"], found["pearson"]] == pytest.approx([1.0, 0.982708], abs=1e-6)
    # Fisher: tanh(atanh(0.9827) -+ 1.96 / sqrt(4 - 3))
    assert found["pearson_low"] == pytest.approx(math.tanh(math.atanh(0.982708) - 1.959964), abs=1e-5)


def test_what_never_changes_correlates_with_nothing() -> None:
    found = report.correlation(np.ones(5), np.arange(5.0))
    assert math.isnan(found["spearman"])
    assert (found["spearman_low"], found["spearman_high"]) == (-1, 1)
    with pytest.raises(InvalidInput, match="5 scores for 4"):
        report.correlation(np.ones(5), np.ones(4))


# -- bounds ---------------------------------------------------------------------------------------------------


def liking_length(pairs: int) -> dict[str, float]:
    """Right where the longer answer won, wrong where the shorter did, half and half."""
    long, short = np.full(pairs, 9.0), np.full(pairs, 3.0)
    differences = np.concatenate([np.full(pairs, 0.1), np.full(pairs, -0.1)])
    return report.pair_report(differences, np.concatenate([long, short]), np.concatenate([short, long]))


def test_a_judge_that_likes_length_misses_a_bound_by_name_value_and_limit() -> None:
    found = verdict(liking_length(40), Bounds())
    assert found == {"passed": False, "failed": {"min_shorter_won": {"value": 0.0, "limit": 0.3}}}


def test_a_figure_over_a_handful_of_pairs_stops_nobody() -> None:
    assert verdict(liking_length(10), Bounds()) == {"passed": True, "failed": {}}
    assert not verdict(liking_length(10), Bounds(fewest=10))["passed"]
    assert verdict({}, Bounds())["passed"]


def test_confidence_in_what_is_wrong_misses_two_bounds() -> None:
    found = verdict(report.pair_report(np.full(50, -4.0), np.zeros(50), np.zeros(50)), Bounds())
    assert set(found["failed"]) == {"min_accuracy", "max_calibration_error", "max_log_loss"}


def test_a_bound_that_is_just_met_is_met() -> None:
    quality = report.pair_report(np.array([1.0, -1.0] * 25), np.zeros(50), np.zeros(50))
    assert verdict(quality, Bounds(min_accuracy=0.5, max_log_loss=quality["log_loss"]))["passed"]


# -- benchmarks -----------------------------------------------------------------------------------------------


def test_sections_weigh_subsets_by_prompts_and_mathematics_as_much_as_all_code() -> None:
    """Reasoning: mathematics 1/2 weighs 6 as the code does; python 4/4, go 0/2: (3 + 4 + 0) / 12."""
    subsets = ["math-prm"] * 2 + ["hep-python"] * 4 + ["hep-go"] * 2 + ["mt-bench-easy", "house"]
    found = suite(np.array([1, -1, 1, 1, 1, 1, -1, -1, 1, 0], dtype=float), subsets)
    assert found["sections"] == {"house": 0.0, "Reasoning": pytest.approx(7 / 12), "Chat": 1.0}
    assert found["mean"] == pytest.approx((0 + 7 / 12 + 1) / 3)
    assert {row["subset"]: row["n"] for row in found["subsets"]}["math-prm"] == 2
    with pytest.raises(InvalidInput, match="one at least"):
        suite(np.array([]), [])


def test_mathematics_alone_is_its_section() -> None:
    assert suite(np.array([1.0, -1.0]), ["math-prm"] * 2)["sections"] == {"Reasoning": 0.5}
