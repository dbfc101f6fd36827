"""What training minimises: pure functions of tensors, one per idea, each with its source.

Axes: b rows, t tokens. A mask is True where a token counts. Sums are divided by what the caller says
(tokens or rows of the whole step), so that splitting a step into pieces never changes its gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor


def nll(logps_bt: Tensor, mask_bt: Tensor, weights_b: Tensor) -> Tensor:
    """Weighted negative log-likelihood per answer token."""
    weights_bt = weights_b[:, None] * mask_bt
    return -(logps_bt * weights_bt).sum() / weights_bt.sum().clamp(min=1e-9)


def clipped_policy_loss(
    logps_bt: Tensor, old_logps_bt: Tensor, advantages_bt: Tensor, mask_bt: Tensor, *, clip: float = 0.2
) -> Tensor:
    """The clipped surrogate, summed over tokens and divided by rows.

    Schulman et al. 2017, "Proximal Policy Optimization Algorithms", equation 7. Divided by the number of
    rows and not by their lengths: a mean per row would favour short wins and long losses (Liu et al. 2025,
    "Understanding R1-Zero-Like Training", section 3.1).
    """
    ratio_bt = (logps_bt - old_logps_bt).clamp(-10, 10).exp()
    plain_bt = ratio_bt * advantages_bt
    clipped_bt = ratio_bt.clamp(1 - clip, 1 + clip) * advantages_bt
    return -(torch.minimum(plain_bt, clipped_bt) * mask_bt).sum() / len(mask_bt)


def kl_k3(logps_bt: Tensor, reference_bt: Tensor, mask_bt: Tensor) -> Tensor:
    """Distance to the reference in nats per answer: the estimator k3 = r - 1 - log r, r = reference / policy.

    Shao et al. 2024, "DeepSeekMath", equation 4 (after Schulman 2020, "Approximating KL divergence").
    Never negative; its mean is the KL divergence when the tokens were drawn from the policy itself.
    """
    log_ratio_bt = (reference_bt - logps_bt).clamp(-10, 10)
    k3_bt = log_ratio_bt.exp() - 1 - log_ratio_bt
    return (k3_bt * mask_bt).sum() / len(mask_bt)


def group_advantages(rewards_pg: Tensor, *, epsilon: float = 1e-4) -> Tensor:
    """Each answer against the others to the same prompt, in standard deviations of its group; pg.

    Shao et al. 2024, "DeepSeekMath", section 4.1.2. A group whose rewards are all equal teaches nothing
    and gets zeros.
    """
    centred = rewards_pg - rewards_pg.mean(1, keepdim=True)
    spread = rewards_pg.std(1, keepdim=True, unbiased=False)
    return torch.where(spread > epsilon, centred / (spread + epsilon), torch.zeros_like(centred))


def split_credit(
    answer_b: Tensor, call_b: Tensor, calls_b: Tensor, mask_bt: Tensor, first_b: Tensor
) -> Tensor:
    """Advantages per token: the call's own on the tokens of the call, the whole answer's on the rest; bt.

    What an agent does is decided before it says anything: the call should not be praised for the manners
    that follow it, nor blamed for them.
    """
    place_bt = torch.arange(mask_bt.shape[1], device=mask_bt.device)[None, :] - first_b[:, None]
    in_call_bt = place_bt < calls_b[:, None]
    return torch.where(in_call_bt, call_b[:, None], answer_b[:, None]) * mask_bt
