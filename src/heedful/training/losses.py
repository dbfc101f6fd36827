"""What training minimises: pure functions of tensors, one per idea, each with its source.

Axes: a answers, m tokens of all answers one after another. Losses are sums: the caller divides them by what the
whole step holds (tokens or answers), so that splitting a step into pieces never changes its gradient.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from heedful.lm.layout import Packed


def nll(logps_m: Tensor, weights_m: Tensor) -> Tensor:
    """Weighted negative log-likelihood, summed over answer tokens."""
    return -(logps_m * weights_m).sum()


def clipped_policy_loss(
    logps_m: Tensor, old_logps_m: Tensor, advantages_m: Tensor, *, clip: float = 0.2
) -> Tensor:
    """The clipped surrogate, summed over tokens.

    Schulman et al. 2017, "Proximal Policy Optimization Algorithms", equation 7. To be divided by the number of
    answers and not by their lengths: a mean per answer would favour short wins and long losses (Liu et al. 2025,
    "Understanding R1-Zero-Like Training", section 3.1).
    """
    ratio_m = (logps_m - old_logps_m).clamp(-10, 10).exp()
    plain_m = ratio_m * advantages_m
    clipped_m = ratio_m.clamp(1 - clip, 1 + clip) * advantages_m
    return -torch.minimum(plain_m, clipped_m).sum()


def kl_k3(logps_m: Tensor, reference_m: Tensor) -> Tensor:
    """Distance to the reference in nats, summed: the estimator k3 = r - 1 - log r, r = reference / policy.

    Shao et al. 2024, "DeepSeekMath", equation 4 (after Schulman 2020, "Approximating KL divergence").
    Never negative; its mean is the KL divergence when the tokens were drawn from the policy itself.
    """
    log_ratio_m = (reference_m - logps_m).clamp(-10, 10)
    return (log_ratio_m.exp() - 1 - log_ratio_m).sum()


def group_advantages(rewards_pg: Tensor, *, epsilon: float = 1e-4) -> Tensor:
    """Each answer against the others to the same prompt, in standard deviations of its group; pg.

    Shao et al. 2024, "DeepSeekMath", section 4.1.2. A group whose rewards are all equal teaches nothing
    and gets zeros; so does an answer without a reward (NaN), which counts for none of the others.
    """
    centred = rewards_pg - rewards_pg.nanmean(1, keepdim=True)
    spread = centred.square().nanmean(1, keepdim=True).sqrt()
    return torch.where(spread > epsilon, centred / (spread + epsilon), 0.0).nan_to_num()


def leave_one_out_advantages(rewards_pg: Tensor) -> Tensor:
    """Each answer against the mean of the others to the same prompt, in the reward's own unit; pg.

    Ahmadian et al. 2024, "Back to basics: revisiting REINFORCE style optimization", section 4.3. An answer without a
    reward (NaN) gets nothing and counts for none of the others; so does one that has no others.
    """
    there_pg = ~rewards_pg.isnan()
    others_pg = there_pg.sum(1, keepdim=True) - 1
    sums_pg = rewards_pg.nansum(1, keepdim=True) - rewards_pg.nan_to_num()
    left_pg = rewards_pg - sums_pg / others_pg.clamp(min=1)
    return torch.where(there_pg & (others_pg > 0), left_pg, 0.0).nan_to_num()


def split_credit(answer_a: Tensor, call_a: Tensor, calls_a: Tensor, packed: Packed) -> Tensor:
    """Advantages per token: the call's own on the tokens of the call, the whole answer's on the rest; m.

    What an agent does is decided before it says anything: the call should not be praised for the manners
    that follow it, nor blamed for them.
    """
    whose = packed.answer_m
    return torch.where(packed.place() < calls_a[whose], call_a[whose], answer_a[whose])


# -- from preferences, without a reward model ----------------------------------------------------------------

PairLoss = Literal["sigmoid", "robust", "ipo"]
ThumbLoss = Literal["kto", "apo_zero_unpaired"]


def direct_preference(
    difference_p: Tensor, *, beta: float, kind: PairLoss = "sigmoid", smoothing: float = 0.0
) -> Tensor:
    """Per pair, from how much further the policy has moved towards the chosen answer than towards the other:
    log pi/ref of the chosen minus log pi/ref of the rejected.

    `sigmoid`: Rafailov et al. 2023, "Direct Preference Optimization", equation 7; smoothed as in Mitchell 2023, "A
    note on DPO with noisy preferences". `robust`: Chowdhury et al. 2024, "Provably robust DPO", equation 12, whose
    mean does not move when a share `smoothing` of the labels is turned round. `ipo`: Azar et al. 2023, "A general
    theoretical paradigm", equation 17; its differences are means over tokens.
    """
    if kind == "ipo":
        return (difference_p - 1 / (2 * beta)).square()
    right_p, wrong_p = (functional.logsigmoid(sign * beta * difference_p) for sign in (1, -1))
    if kind == "robust":
        return (-(1 - smoothing) * right_p + smoothing * wrong_p) / (1 - 2 * smoothing)
    return -(1 - smoothing) * right_p - smoothing * wrong_p


def from_thumbs(
    moved_a: Tensor, up_a: Tensor, *, beta: float, kind: ThumbLoss = "kto", baseline: float = 0.0
) -> Tensor:
    """Per answer, from log pi/ref of it and whether people liked it.

    `kto`: Ethayarajh et al. 2024, "KTO", equation 8; `baseline` is how far the policy has moved on answers that
    have nothing to do with their prompts. `apo_zero_unpaired`: D'Oosterlinck et al. 2024, "Anchored Preference
    Optimization", for answers without a partner; needs none.
    """
    if kind == "kto":
        towards_a = torch.where(up_a, moved_a - baseline, baseline - moved_a)
        return 1 - torch.sigmoid(beta * towards_a)
    return torch.where(up_a, 1 - torch.sigmoid(beta * moved_a), torch.sigmoid(beta * moved_a))
