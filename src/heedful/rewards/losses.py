"""What fitting a judge minimises. Axes: p pairs, n answers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def bradley_terry(difference_p: Tensor, weights_p: Tensor, *, noise: float = 0.0) -> Tensor:
    """Weighted mean of -log P(chosen beats rejected), where a share `noise` of labels is the wrong way round.

    Bradley and Terry 1952; with noise e the likelihood is e + (1 - 2e) sigmoid(d), which stops paying for
    certainty about a label that people themselves get wrong (Chowdhury et al. 2024, "Provably robust DPO",
    section 3, gives the same noise model).
    """
    likelihood_p = noise + (1 - 2 * noise) * torch.sigmoid(difference_p)
    losses_p = -functional.logsigmoid(difference_p) if noise == 0 else -likelihood_p.log()
    return (losses_p * weights_p).sum() / weights_p.sum().clamp(min=1e-9)


def centring(chosen_p: Tensor, rejected_p: Tensor, weights_p: Tensor) -> Tensor:
    """Weighted mean of the squared sum of a pair's scores: keeps the free constant of Bradley-Terry near zero.

    Eisenstein et al. 2023, "Helping or Herding?", equation 2.
    """
    return ((chosen_p + rejected_p).square() * weights_p).sum() / weights_p.sum().clamp(min=1e-9)


def flagged(log_odds_n: Tensor, flags_n: Tensor, weights_n: Tensor) -> Tensor:
    """Weighted mean binary cross-entropy of violations that people flagged or did not."""
    losses_n = functional.binary_cross_entropy_with_logits(log_odds_n, flags_n, reduction="none")
    return (losses_n * weights_n).sum() / weights_n.sum().clamp(min=1e-9)
