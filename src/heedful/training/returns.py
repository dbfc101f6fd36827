"""From what answers earned to what each of their tokens was worth: pure functions for learning with a critic.

Axes: a answers, m tokens of all answers one after another, with `lengths` saying how many are each answer's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def token_rewards(
    end_a: Tensor, call_a: Tensor, calls_a: Tensor, distance_m: Tensor, lengths: Sequence[int], price: float
) -> Tensor:
    """What each token earns: the last one what the whole answer does, the last of its call what the call does, and
    all pay for how far they are from the reference.

    Ziegler et al. 2019, "Fine-tuning language models from human preferences", equation 2: the distance is the
    reward's affair, so that it reaches the tokens that moved.
    """
    ends_a = torch.tensor(lengths, device=end_a.device).cumsum(0)
    begins_a = ends_a - torch.tensor(lengths, device=end_a.device)
    rewards_m = -price * distance_m
    rewards_m = rewards_m.index_add(0, begins_a + calls_a - 1, call_a)
    return rewards_m.index_add(0, ends_a - 1, end_a)


def advantages(
    rewards_m: Tensor, values_m: Tensor, lengths: Sequence[int], *, discount: float = 1.0, trace: float = 0.95
) -> Tensor:
    """By how much each token did better than the critic thought, with what came after it faded by `trace`.

    Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation", equation 16.
    Behind an answer's last token there is nothing.
    """
    rewards_at, values_at = (_padded(part, lengths) for part in (rewards_m, values_m))
    nothing_a = torch.zeros_like(rewards_at[:, 0])
    after_a, value_a = nothing_a, nothing_a
    found: list[Tensor] = []
    for place in reversed(range(rewards_at.shape[1])):
        surprise_a = rewards_at[:, place] + discount * value_a - values_at[:, place]
        after_a = surprise_a + discount * trace * after_a
        value_a = values_at[:, place]
        found.append(after_a)
    advantages_at = torch.stack(found[::-1], 1)
    return torch.cat([row[:length] for row, length in zip(advantages_at, lengths, strict=True)])


def whitened(values_m: Tensor, known_m: Tensor) -> Tensor:
    """To mean 0 and deviation 1 over the tokens that are known; the others get nothing."""
    some = values_m[known_m]
    if len(some) < 2:
        return torch.zeros_like(values_m)
    return torch.where(known_m, (values_m - some.mean()) / (some.std() + 1e-8), 0.0)


def value_loss(values_m: Tensor, old_m: Tensor, returns_m: Tensor, known_m: Tensor, *, clip: float) -> Tensor:
    """Half the squared error, summed; a value that has moved further than `clip` from what it was is not pulled on.

    As in Schulman et al. 2017's own code: the larger of the two errors counts.
    """
    near_m = old_m + (values_m - old_m).clamp(-clip, clip)
    errors_m = torch.maximum((values_m - returns_m).square(), (near_m - returns_m).square())
    return 0.5 * (errors_m * known_m).sum()


def _padded(values_m: Tensor, lengths: Sequence[int]) -> Tensor:
    """One row per answer, nought behind its end."""
    return pad_sequence(list(values_m.split(list(lengths))), batch_first=True)
