"""May this reward model teach, may this policy go out?"""

from __future__ import annotations

import math

import pytest

from heedful.evaluation.gates import GateSettings, missed, of_policy, of_reward

SETTINGS = GateSettings(reward_accuracy=0.6, win_rate=0.5, violation_rise=0.02)
GOOD = {"win_rate": 0.7, "violations": 0.05, "violations_parent": 0.1}


def passed(figures: dict[str, float]) -> bool:
    return all(finding.passed for finding in of_policy(figures, SETTINGS))


@pytest.mark.parametrize(("accuracy", "teaches"), [(0.6, True), (0.599, False), (math.nan, False)])
def test_a_judge_that_agrees_with_people_may_teach(accuracy: float, teaches: bool) -> None:
    (finding,) = of_reward({"quality.accuracy": accuracy}, SETTINGS)
    assert finding.passed is teaches


def test_a_judge_that_missed_a_bound_of_its_own_is_told_off_by_name_value_and_limit() -> None:
    report = {
        "quality.accuracy": 0.7,
        "passed": 0.0,
        "failed.min_shorter_won.value": 0.21,
        "failed.min_shorter_won.limit": 0.3,
        "failed.probes.padded.rise.value": 0.8,
        "failed.probes.padded.rise.limit": 0.5,
    }
    findings = of_reward(report, SETTINGS)
    assert [finding.passed for finding in findings] == [True, False, False]
    assert missed(findings) == "min_shorter_won 0.210 misses 0.300; probes.padded.rise 0.800 misses 0.500"
    assert missed(of_reward({"quality.accuracy": 0.7, "passed": 1.0}, SETTINGS)) == ""


def test_a_policy_that_wins_and_breaks_no_more_than_before_may_go_out() -> None:
    assert passed(GOOD)
    assert passed(GOOD | {"win_rate": 0.5})
    assert passed(GOOD | {"violations": 0.12 - 1e-9})
    assert not passed(GOOD | {"win_rate": 0.49})
    assert not passed(GOOD | {"violations": 0.13})


@pytest.mark.parametrize("missing", GOOD)
def test_a_figure_that_is_missing_fails_even_the_most_generous_gate(missing: str) -> None:
    generous = GateSettings(reward_accuracy=0, win_rate=0, violation_rise=1)
    figures = {name: value for name, value in GOOD.items() if name != missing}
    assert not all(finding.passed for finding in of_policy(figures, generous))
    assert not of_reward({}, generous)[0].passed


def test_a_finding_reads_as_a_sentence() -> None:
    win, rise = of_policy(GOOD | {"violations": 0.2}, SETTINGS)
    assert str(win) == "win rate 0.700 meets 0.500"
    assert str(rise) == "violation rise 0.100 misses 0.020"
