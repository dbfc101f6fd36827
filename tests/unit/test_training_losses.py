"""Losses, against values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from heedful.lm.layout import Tree, pack
from heedful.training.losses import (
    clipped_policy_loss,
    direct_preference,
    from_thumbs,
    group_advantages,
    kl_k3,
    nll,
    split_credit,
)


def test_nll_weighs_tokens() -> None:
    """Tokens -1, -2 (weight 1) and -4 (weight 3): 1 + 2 + 3*4 = 15."""
    assert nll(torch.tensor([-1.0, -2.0, -4.0]), torch.tensor([1.0, 1.0, 3.0])).item() == pytest.approx(15.0)


def test_the_surrogate_at_ratio_one_is_minus_the_summed_advantage() -> None:
    """-(1 + 1 - 2) = 0; the gradient of each token is -A."""
    logps = torch.zeros(3, requires_grad=True)
    loss = clipped_policy_loss(logps, torch.zeros(3), torch.tensor([1.0, 1.0, -2.0]))
    loss.backward()
    assert loss.item() == pytest.approx(0.0)
    assert logps.grad is not None
    assert logps.grad.tolist() == [-1.0, -1.0, 2.0]


def test_the_surrogate_clips_gains_but_not_losses() -> None:
    """Ratio 1.5, clip 0.2: A = 1 gives 1.2 (flat), A = -1 gives -1.5 (still pulled back)."""
    logps = torch.full((2,), math.log(1.5), requires_grad=True)
    loss = clipped_policy_loss(logps, torch.zeros(2), torch.tensor([1.0, -1.0]), clip=0.2)
    loss.backward()
    assert loss.item() == pytest.approx(-(1.2 - 1.5))
    assert logps.grad is not None
    assert logps.grad.tolist() == pytest.approx([0.0, 1.5])


def test_k3_by_hand() -> None:
    """log r = ln 2: 2 - 1 - ln 2 = 0.3069; log r = 0: nothing."""
    logps, reference = torch.tensor([-math.log(2.0), -1.0]), torch.tensor([0.0, -1.0])
    assert kl_k3(logps, reference).item() == pytest.approx(1 - math.log(2.0), abs=1e-6)


def test_k3_estimates_the_divergence() -> None:
    """KL of (0.9, 0.1) to (0.5, 0.5) is 0.9 ln 1.8 + 0.1 ln 0.2 = 0.3681."""
    first = torch.rand(200_000, generator=torch.Generator().manual_seed(0)) < 0.9
    logps = torch.where(first, math.log(0.9), math.log(0.1))
    reference = torch.full_like(logps, math.log(0.5))
    assert kl_k3(logps, reference).item() / 200_000 == pytest.approx(0.3681, abs=0.01)


@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_splitting_a_batch_never_changes_the_gradient(pieces: int) -> None:
    generator = torch.Generator().manual_seed(1)
    old, advantages = (torch.randn(40, generator=generator) for _ in range(2))
    start = old + 0.1 * torch.randn(40, generator=generator)

    def gradient(parts: int) -> torch.Tensor:
        logps = start.clone().requires_grad_()
        for at in torch.arange(40).chunk(parts):
            (clipped_policy_loss(logps[at], old[at], advantages[at]) / 8).backward()
        assert logps.grad is not None
        return logps.grad

    assert torch.allclose(gradient(pieces), gradient(1), atol=1e-7)


def test_group_advantages_by_hand() -> None:
    """(0, 2): mean 1, deviation 1, so -1 and 1; (3, 3) teaches nothing."""
    advantages = group_advantages(torch.tensor([[0.0, 2.0], [3.0, 3.0]]))
    assert advantages[0].tolist() == pytest.approx([-1.0, 1.0], abs=1e-3)
    assert advantages[1].tolist() == [0.0, 0.0]


def test_an_answer_without_a_reward_counts_for_none_of_the_others() -> None:
    """(0, -, 2) is (0, 2) with a 0 between; one alone has nobody to be measured against."""
    nan = float("nan")
    advantages = group_advantages(torch.tensor([[0.0, nan, 2.0], [nan, 3.0, nan], [nan, nan, nan]]))
    assert advantages[0].tolist() == pytest.approx([-1.0, 0.0, 1.0], abs=1e-3)
    assert advantages[1:].tolist() == [[0.0] * 3] * 2


def test_the_call_is_credited_apart_from_the_prose() -> None:
    """Answer 0: a call of two, one word. Answer 1: a call of one."""
    packed = pack([Tree([1], [[2, 3, 4]]), Tree([1, 2], [[5]])])
    credit = split_credit(torch.tensor([1.0, 2.0]), torch.tensor([-5.0, 7.0]), torch.tensor([2, 1]), packed)
    assert credit.tolist() == [-5.0, -5.0, 1.0, 7.0]


# -- from preferences ----------------------------------------------------------------------------------------


def test_direct_preference_by_hand() -> None:
    """beta 0.5, difference 2 ln 3: -ln sigmoid(ln 3) = ln(4/3); the wrong way round ln 4. Smoothed by 0.1: 0.9 of
    one and 0.1 of the other; robust: (0.9 ln(4/3) - 0.1 ln 4) / 0.8; ipo: (2 ln 3 - 1)^2."""
    difference, right, wrong = torch.tensor([2 * math.log(3.0)]), math.log(4 / 3), math.log(4)

    def loss(**more: Any) -> float:
        return float(direct_preference(difference, beta=0.5, **more))

    assert loss() == pytest.approx(right)
    assert loss(smoothing=0.1) == pytest.approx(0.9 * right + 0.1 * wrong)
    assert loss(kind="robust", smoothing=0.1) == pytest.approx((0.9 * right - 0.1 * wrong) / 0.8)
    assert loss(kind="ipo") == pytest.approx((2 * math.log(3.0) - 1) ** 2, rel=1e-5)


def test_a_robust_loss_is_the_same_on_average_whatever_is_turned_round() -> None:
    """0.8 of the pairs as they are and 0.2 turned round cost what all pairs as they are cost."""
    difference = torch.tensor([1.3])
    right, turned = (
        direct_preference(sign * difference, beta=1.0, kind="robust", smoothing=0.2) for sign in (1, -1)
    )
    assert float(0.8 * right + 0.2 * turned) == pytest.approx(float(direct_preference(difference, beta=1.0)))


def test_thumbs_by_hand() -> None:
    """beta 1, moved ln 3, baseline 0: up 1 - 3/4, down 1 - 1/4. With baseline ln 3 both are 1/2."""
    moved, up = torch.full((2,), math.log(3.0)), torch.tensor([True, False])
    assert from_thumbs(moved, up, beta=1.0).tolist() == pytest.approx([0.25, 0.75])
    assert from_thumbs(moved, up, beta=1.0, baseline=math.log(3.0)).tolist() == pytest.approx([0.5, 0.5])
    assert from_thumbs(moved, up, beta=1.0, kind="apo_zero_unpaired").tolist() == pytest.approx([0.25, 0.75])
