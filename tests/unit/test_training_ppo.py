"""PPO's arithmetic against values worked out by hand, and that it learns, stops and repeats itself as it should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from heedful.lm.layout import Tree
from heedful.lm.load import load
from heedful.training.credit import credits
from heedful.training.critic import Critic, explained
from heedful.training.experience import Experience, Judged, RolloutSettings, _silent
from heedful.training.leash import Leash
from heedful.training.losses import leave_one_out_advantages
from heedful.training.returns import advantages, token_rewards, value_loss, whitened


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values)


# -- what tokens earn ----------------------------------------------------------------------------------------


def test_token_rewards_by_hand() -> None:
    """Answers of 3 and 2 tokens, their calls of 2 and 1; half a nat's price at 0.1 is 0.05."""
    found = token_rewards(
        numbers(1.0, -2.0),
        numbers(10.0, 20.0),
        torch.tensor([2, 1]),
        numbers(0.5, 0.0, -0.5, 1.0, 0.0),
        [3, 2],
        price=0.1,
    )
    assert found.tolist() == pytest.approx([-0.05, 10.0, 1.05, 19.9, -2.0])


def test_advantages_by_hand() -> None:
    """One answer of two tokens: delta_1 = 1 - 0.4 = 0.6; delta_0 = 0 + 0.9 * 0.4 - 0.5 = -0.14, and
    A_0 = -0.14 + 0.9 * 0.5 * 0.6 = 0.13. A second of one token: 2 - 1 = 1."""
    found = advantages(numbers(0.0, 1.0, 2.0), numbers(0.5, 0.4, 1.0), [2, 1], discount=0.9, trace=0.5)
    assert found.tolist() == pytest.approx([0.13, 0.6, 1.0])


def test_without_a_critic_and_with_a_full_trace_credit_is_what_came_after() -> None:
    rewards = torch.randn(9)
    found = advantages(rewards, torch.zeros(9), [4, 5], trace=1.0)
    assert found[:4].tolist() == pytest.approx(rewards[:4].flip(0).cumsum(0).flip(0).tolist(), abs=1e-6)
    assert found[4:].tolist() == pytest.approx(rewards[4:].flip(0).cumsum(0).flip(0).tolist(), abs=1e-6)


def test_answers_do_not_see_one_another_however_they_lie() -> None:
    torch.manual_seed(0)
    rewards, values = torch.randn(12), torch.randn(12)
    together = advantages(rewards, values, [5, 1, 6])
    apart = [advantages(rewards[a:b], values[a:b], [b - a]) for a, b in ((0, 5), (5, 6), (6, 12))]
    assert torch.allclose(together, torch.cat(apart))


def test_whitening_is_over_what_is_known() -> None:
    known = torch.tensor([True, True, False, True])
    found = whitened(numbers(1.0, 2.0, 99.0, 3.0), known)
    assert found.tolist() == pytest.approx([-1.0, 0.0, 0.0, 1.0], abs=1e-5)
    assert whitened(numbers(5.0), torch.tensor([True])).tolist() == [0.0]


def test_the_value_loss_by_hand() -> None:
    """Values 1 and 3, both 0 before, returns 2 and 2, clip 0.5. The first: max(1, 2.25) = 2.25, the second:
    max(1, 2.25) = 2.25, the third is not known: half of 4.5."""
    now = numbers(1.0, 3.0, 7.0).requires_grad_()
    loss = value_loss(
        now, torch.zeros(3), numbers(2.0, 2.0, 2.0), torch.tensor([True, True, False]), clip=0.5
    )
    assert loss.item() == pytest.approx(2.25)
    loss.backward()
    assert now.grad is not None
    assert now.grad.tolist() == [0.0, 0.0, 0.0]  # both have moved too far to be pulled on
    near = numbers(0.25).requires_grad_()
    value_loss(near, torch.zeros(1), numbers(2.0), torch.tensor([True]), clip=0.5).backward()
    assert near.grad is not None
    assert near.grad.item() == pytest.approx(-1.75)


def test_what_is_explained() -> None:
    returns, known = numbers(1.0, 2.0, 3.0, 50.0), torch.tensor([True, True, True, False])
    assert explained(returns, returns, known) == pytest.approx(1.0)
    assert explained(torch.zeros(4), returns, known) == pytest.approx(0.0)
    assert explained(torch.zeros(4), torch.ones(4), known) == 0.0


def test_the_leash_by_hand() -> None:
    """Twice the target: an error of 1, cut to 0.2, half of which is 0.1."""
    leash = Leash(0.5, 2.0)
    leash.saw(4.0)
    assert leash.price == pytest.approx(0.55)
    leash.saw(2.0)
    assert leash.price == pytest.approx(0.55)
    leash.saw(1.9)
    assert leash.price == pytest.approx(0.55 * (1 - 0.025))
    still = Leash(0.5, None)
    still.saw(100.0)
    assert still.price == 0.5


# -- what answers are credited with among others -------------------------------------------------------------


def test_the_mean_of_the_others_by_hand() -> None:
    """1 against (2 + 6) / 2; without a reward nobody counts, and the only one has no others."""
    nan = float("nan")
    found = leave_one_out_advantages(torch.tensor([[1.0, 2.0, 6.0], [1.0, nan, 4.0], [nan, nan, 3.0]]))
    assert found.tolist() == [[-3.0, -1.5, 4.5], [-3.0, 0.0, 3.0], [0.0, 0.0, 0.0]]


def experienced(price: float | None) -> Experience:
    """Two prompts with two answers of three tokens, calls of one."""
    liked = np.array([1.0, 3.0, 0.0, 0.0])
    violation = np.array([0.0, 0.0, 1.0, 1.0])
    action, known = np.array([0.0, 2.0, 0.0, 0.0]), np.ones(4, bool)
    judged = Judged(liked - 4.0 * violation, liked, 2.0 * violation - 1.0, action, violation, known)
    trees = [Tree([5], [[6, 7, 8], [7, 8, 6]])] * 2
    nothing = [torch.zeros(6)] * 2
    return Experience(trees, [torch.ones(2, dtype=torch.long)] * 2, nothing, nothing, judged, price)


def settings() -> RolloutSettings:
    return RolloutSettings.model_validate(
        {"model": "-", "prompts": "-", "reward_model": "-", "group": 2, "call_weight": 3.0}
    )


def test_a_group_that_is_all_unsafe_is_blamed_when_violations_have_a_price_of_their_own() -> None:
    """The call of the second answer is 3 * (2 - 0) = 6, the rest of both 1. Half are bad: a deviation is 0.5, so good
    ones cost -1 and bad ones 1; the price 1 halves all: (0 + 1) / 2 and (0 - 1) / 2."""
    free = credits(experienced(None), settings(), "others")
    assert free[0].tolist() == [-6.0, 0.0, 0.0, 6.0, 0.0, 0.0]
    assert free[1].tolist() == [0.0] * 6
    priced = credits(experienced(1.0), settings(), "others")
    assert priced[0].tolist() == [-6.0, 0.5, 0.5, 6.0, 0.5, 0.5]
    assert priced[1].tolist() == [-0.0, -0.5, -0.5, 0.0, -0.5, -0.5]


def test_a_group_is_silent_by_its_own_answers() -> None:
    """The first: both known ones are alike, whatever others got. The second differs, the third knows nothing."""
    total = np.array([5.0, 5.0, 9.0, 1.0, 2.0, 3.0, 7.0, 8.0, 9.0])
    known = np.array([True, True, False, True, True, True, False, False, False])
    judged = Judged(total, total, total, None, total, known)
    assert _silent(judged, 3) == pytest.approx(2 / 3)
    action = np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert _silent(Judged(total, total, total, action, total, known), 3) == pytest.approx(1 / 3)


# -- the critic ----------------------------------------------------------------------------------------------


def test_a_new_critic_foretells_nothing_and_reads_before_each_token(tmp_path: Path) -> None:
    from heedful.lm.layout import pack
    from heedful.lm.load import save
    from heedful.lm.tiny import TinyShape, make_tiny

    save(make_tiny(["a b c d"] * 4, shape=TinyShape(width=32, layers=2, heads=2, vocabulary=300)), tmp_path)
    critic = Critic(load(tmp_path))
    row = pack([Tree([5, 6], [[7, 8, 9], [7, 10]])])
    assert critic(row).tolist() == [0.0] * 5
    torch.nn.init.normal_(critic.head.weight)
    values = critic(row).detach()
    other = critic(pack([Tree([5, 6], [[7, 8, 10], [9, 10]])])).detach()
    assert torch.allclose(
        values[:3], other[:3], atol=1e-6
    )  # of its own token and later ones it knows nothing
    assert values[3].item() == pytest.approx(other[3].item(), abs=1e-6)
    assert values[4].item() != pytest.approx(other[4].item(), abs=1e-6)
