"""What a judge minimises and what its report card says, against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from heedful.lm.splits import split
from heedful.rewards.losses import bradley_terry, centring, flagged, plackett_luce
from heedful.rewards.report import accuracy, calibration_error, flag_report, pair_report


def test_bradley_terry_by_hand() -> None:
    """Differences 0 and ln 3, weights 1 and 3: (ln 2 + 3 ln(4/3)) / 4."""
    loss = bradley_terry(torch.tensor([0.0, math.log(3.0)]), torch.tensor([1.0, 3.0]))
    assert loss.item() == pytest.approx((math.log(2) + 3 * math.log(4 / 3)) / 4)


def test_noise_caps_what_one_wrong_label_can_cost() -> None:
    """With noise 0.1 the likelihood at -20 is 0.1: the loss is ln 10, and nothing pulls any more."""
    difference = torch.tensor([-20.0], requires_grad=True)
    loss = bradley_terry(difference, torch.ones(1), noise=0.1)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(10), abs=1e-4)
    assert difference.grad is not None
    assert abs(difference.grad.item()) < 1e-6


def test_no_weight_no_loss() -> None:
    assert bradley_terry(torch.tensor([1.0]), torch.zeros(1)).item() == 0.0


def test_centring_by_hand() -> None:
    """(1 + 2)^2 and (1 - 1)^2, weights 1 and 2: 9 / 3."""
    weights = torch.tensor([1.0, 2.0])
    assert centring(torch.tensor([1.0, 1.0]), torch.tensor([2.0, -1.0]), weights).item() == pytest.approx(3.0)


def test_flags_by_hand() -> None:
    """Log-odds ln 3 flagged costs ln(4/3); log-odds 0 not flagged costs ln 2; weights 2 and 1."""
    loss = flagged(torch.tensor([math.log(3.0), 0.0]), torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1.0]))
    assert loss.item() == pytest.approx((2 * math.log(4 / 3) + math.log(2)) / 3)


def test_accuracy_counts_an_equal_score_half() -> None:
    assert accuracy(np.array([1.0, -1.0, 0.0])) == pytest.approx(0.5)
    assert math.isnan(accuracy(np.array([])))


def test_calibration_error_by_hand() -> None:
    """Four at 0.95 of which three true: |0.95 - 0.75|; one at 0.05, false: 0.05. (4*0.2 + 0.05) / 5."""
    error = calibration_error(np.array([0.95] * 4 + [0.05]), np.array([1.0, 1.0, 1.0, 0.0, 0.0]))
    assert error == pytest.approx((4 * 0.2 + 0.05) / 5)


def test_a_judge_that_likes_length_is_found_out() -> None:
    """It is right where the longer answer won (two pairs) and wrong where the shorter did (one)."""
    report = pair_report(np.array([1.0, 1.0, -1.0]), np.array([9.0, 9.0, 3.0]), np.array([5.0, 5.0, 8.0]))
    assert report["accuracy_when_longer_won"] == 1.0
    assert report["accuracy_when_shorter_won"] == 0.0
    assert report["accuracy"] == pytest.approx(2 / 3)
    assert report["share_longer_won"] == pytest.approx(2 / 3)


def test_flag_report_by_hand() -> None:
    """Two flagged, one missed; two passed, one alarmed."""
    report = flag_report(np.array([0.9, 0.1, 0.8, 0.2]), np.array([1.0, 1.0, 0.0, 0.0]))
    assert (report["accuracy"], report["missed"], report["false_alarms"]) == (0.5, 0.5, 0.5)
    assert flag_report(np.array([]), np.array([])) == {"answers": 0.0}


def test_one_prompt_is_never_on_both_sides_of_the_split() -> None:
    records = [{"prompt": [{"role": "user", "content": str(n % 50)}], "n": n} for n in range(500)]
    fit, held = split(records, 0.2)
    assert len(fit) + len(held) == 500
    assert held
    seen = {record["prompt"][0]["content"] for record in fit}
    assert not seen & {record["prompt"][0]["content"] for record in held}


def test_ties_and_smoothing_by_hand() -> None:
    odds = torch.tensor([math.log(3.0), math.log(3.0)])  # P(chosen) = 3/4
    tied = bradley_terry(odds, torch.ones(2), ties_p=torch.tensor([0.0, 1.0]))
    assert tied.item() == pytest.approx((-math.log(3 / 4) - (math.log(3 / 4) + math.log(1 / 4)) / 2) / 2)
    smooth = bradley_terry(odds, torch.ones(2), smoothing=0.1)
    assert smooth.item() == pytest.approx(-0.9 * math.log(3 / 4) - 0.1 * math.log(1 / 4))
    noisy = bradley_terry(odds, torch.ones(2), noise=0.2, ties_p=torch.ones(2))
    seen = [0.2 + 0.6 * share for share in (3 / 4, 1 / 4)]
    assert noisy.item() == pytest.approx(-sum(map(math.log, seen)) / 2)


def test_a_tie_draws_scores_together() -> None:
    odds = torch.tensor([2.0], requires_grad=True)
    bradley_terry(odds, torch.ones(1), ties_p=torch.ones(1)).backward()
    assert odds.grad is not None
    assert odds.grad.item() > 0


def test_plackett_luce_by_hand() -> None:
    scores = torch.tensor([1.0, 0.0, -1.0])
    places, lists = torch.tensor([0, 1, 2]), torch.zeros(3, dtype=torch.long)
    e = math.e
    first, second = e / (e + 1 + 1 / e), 1 / (1 + 1 / e)
    loss = plackett_luce(scores, places, lists, torch.ones(1))
    assert loss.item() == pytest.approx(-math.log(first) - math.log(second))
    # Two in one place: each beats the third, and neither the other.
    tied = plackett_luce(scores, torch.tensor([0, 0, 1]), lists, torch.ones(1))
    assert tied.item() == pytest.approx(-math.log(e / (e + 1 / e)) - math.log(1 / (1 + 1 / e)))


def test_a_list_of_two_is_a_pair() -> None:
    scores = torch.tensor([0.3, -0.4, 1.0, 2.0])
    weights = torch.tensor([1.0, 3.0])
    lists = plackett_luce(scores, torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1]), weights)
    pairs = bradley_terry(scores[0::2] - scores[1::2], weights)
    assert lists.item() == pytest.approx(pairs.item())
