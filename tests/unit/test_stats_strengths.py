"""Strengths from who was preferred to whom."""

from __future__ import annotations

import math

import numpy as np
import pytest

from heedful.stats.strengths import strengths


def test_two_states_with_a_loose_prior_are_the_logit_of_the_share() -> None:
    won = np.array([[0.0, 20.0], [60.0, 0.0]])
    found = strengths(won, neighbours=1e3)
    assert found.mean[0] == 0
    assert found.mean[1] == pytest.approx(math.log(3), abs=1e-4)
    assert found.covariance[1, 1] == pytest.approx(1 / (80 * 0.75 * 0.25), rel=1e-3)  # of a logit from counts


def test_by_hand_with_the_prior() -> None:
    # at the top of the posterior: won - asked * p - theta / s^2 = 0
    found = strengths(np.array([[0.0, 2.0], [6.0, 0.0]]), neighbours=0.5)
    theta = found.mean[1]
    assert 6 - 8 / (1 + math.exp(-theta)) - theta / 0.25 == pytest.approx(0, abs=1e-8)


def test_a_state_that_nobody_was_asked_about_is_as_strong_as_the_one_before_it_and_less_sure() -> None:
    won = np.zeros((3, 3))
    won[1, 0], won[0, 1] = 30, 10
    found = strengths(won)
    assert found.mean[2] == pytest.approx(found.mean[1])
    assert found.covariance[2, 2] == pytest.approx(found.covariance[1, 1] + 0.7**2)


def test_a_comparison_by_way_of_a_third_counts() -> None:
    won = np.zeros((3, 3))
    won[1, 0], won[0, 1] = 40, 20
    won[2, 1], won[1, 2] = 40, 20
    found = strengths(won, neighbours=1e3)
    more, error = found.difference(2, 0)
    assert more == pytest.approx(2 * math.log(2), abs=1e-3)
    assert error == pytest.approx(math.sqrt(2 / (60 * 2 / 9)), rel=1e-3)


def test_the_truth_is_within_its_error_as_often_as_it_should_be() -> None:
    random, inside, tried = np.random.default_rng(0), 0, 400
    for _ in range(tried):
        truth = np.concatenate([[0.0], random.normal(0, 0.7, 4).cumsum()])
        won = np.zeros((5, 5))
        for place in range(1, 5):
            for other in (0, place - 1):
                count = random.binomial(32, 1 / (1 + math.exp(truth[other] - truth[place])))
                won[place, other] += count
                won[other, place] += 32 - count
        found = strengths(won)
        inside += abs(found.mean[4] - truth[4]) <= 1.96 * math.sqrt(found.covariance[4, 4])
    assert 0.91 <= inside / tried <= 0.98


def test_one_state_is_the_zero() -> None:
    found = strengths(np.zeros((1, 1)))
    assert found.mean.tolist() == [0.0]
    assert found.difference(0, 0) == (0.0, 0.0)


@pytest.mark.parametrize("won", [np.zeros((2, 3)), np.zeros((0, 0)), np.array([[0.0, -1.0], [1.0, 0.0]])])
def test_what_is_no_square_of_counts_is_refused(won: np.ndarray) -> None:
    with pytest.raises(ValueError, match="square of counts"):
        strengths(won)
