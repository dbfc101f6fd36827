"""Losses, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from heedful.lm.layout import Tree, pack
from heedful.training.losses import clipped_policy_loss, group_advantages, kl_k3, nll, split_credit


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


def test_the_call_is_credited_apart_from_the_prose() -> None:
    """Answer 0: a call of two, one word. Answer 1: a call of one."""
    packed = pack([Tree([1], [[2, 3, 4]]), Tree([1, 2], [[5]])])
    credit = split_credit(torch.tensor([1.0, 2.0]), torch.tensor([-5.0, 7.0]), torch.tensor([2, 1]), packed)
    assert credit.tolist() == [-5.0, -5.0, 1.0, 7.0]
