"""What fitting a judge minimises. Axes: p pairs, n and a answers, l lists of answers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def bradley_terry(
    difference_p: Tensor,
    weights_p: Tensor,
    *,
    noise: float = 0.0,
    smoothing: float = 0.0,
    ties_p: Tensor | None = None,
) -> Tensor:
    """Weighted mean of -log P(chosen beats rejected), where a share `noise` of labels is the wrong way round.

    Bradley and Terry 1952; with noise e the likelihood is e + (1 - 2e) sigmoid(d), which stops paying for
    certainty about a label that people themselves get wrong (Chowdhury et al. 2024, "Provably robust DPO",
    section 3, gives the same noise model). `smoothing` gives that share of every label to the other side; of a
    tie both sides get half.
    """
    said = 1.0 - smoothing
    share_p = torch.full_like(difference_p, said) if ties_p is None else said + (0.5 - said) * ties_p
    losses_p = share_p * _surprise(difference_p, noise)
    if smoothing or ties_p is not None:
        losses_p = losses_p + (1 - share_p) * _surprise(-difference_p, noise)
    return (losses_p * weights_p).sum() / weights_p.sum().clamp(min=1e-9)


def _surprise(difference_p: Tensor, noise: float) -> Tensor:
    if noise == 0:
        return -functional.logsigmoid(difference_p)
    return -(noise + (1 - 2 * noise) * torch.sigmoid(difference_p)).log()


def plackett_luce(scores_a: Tensor, place_a: Tensor, list_a: Tensor, weights_l: Tensor) -> Tensor:
    """Weighted mean over lists of -log P(their order); a place, from 0, may hold several that are equally good.

    Each answer is chosen from itself and all that stand in later places (Plackett 1975; Luce 1959); those of one place
    are not compared. The last place has nothing left to choose from. A list of two is Bradley-Terry.
    """
    behind_aa = (list_a[:, None] == list_a) & (place_a[:, None] < place_a)
    behind_aa = behind_aa | torch.eye(len(scores_a), dtype=torch.bool, device=scores_a.device)
    rest_a = scores_a.expand(len(scores_a), -1).masked_fill(~behind_aa, float("-inf")).logsumexp(1)
    losses_l = torch.zeros_like(weights_l).index_add(0, list_a, rest_a - scores_a)
    return (losses_l * weights_l).sum() / weights_l.sum().clamp(min=1e-9)


def centring(chosen_p: Tensor, rejected_p: Tensor, weights_p: Tensor) -> Tensor:
    """Weighted mean of the squared sum of a pair's scores: keeps the free constant of Bradley-Terry near zero.

    Eisenstein et al. 2023, "Helping or Herding?", equation 2.
    """
    return ((chosen_p + rejected_p).square() * weights_p).sum() / weights_p.sum().clamp(min=1e-9)


def flagged(log_odds_n: Tensor, flags_n: Tensor, weights_n: Tensor) -> Tensor:
    """Weighted mean binary cross-entropy of violations that people flagged or did not."""
    losses_n = functional.binary_cross_entropy_with_logits(log_odds_n, flags_n, reduction="none")
    return (losses_n * weights_n).sum() / weights_n.sum().clamp(min=1e-9)
