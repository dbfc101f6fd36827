"""What each token of an answer is credited with, measured against the other answers to the same prompt.

The call is credited with what it adds, the prose with what is left: or a rude answer that happens to follow a right
call would be praised for it. A violation whose price is found while training is held against all answers of the
batch and never within a group: of answers that are all unsafe none would be better than the others.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from heedful.training.experience import Experience, RolloutSettings
from heedful.training.losses import group_advantages, leave_one_out_advantages, split_credit

Baseline = Literal["group", "others"]
WAYS = {"group": group_advantages, "others": leave_one_out_advantages}


def credits(experience: Experience, settings: RolloutSettings, baseline: Baseline) -> list[Tensor]:
    """Per prompt, of each token of its answers."""
    judged, price = experience.judged, experience.price

    def relative(values: np.ndarray) -> Tensor:
        values = np.where(judged.known_a, values, np.nan)
        return WAYS[baseline](torch.from_numpy(values).float().view(-1, settings.group)).flatten()

    base = judged.total_a if price is None else judged.liked_a
    rest_a = relative(base if judged.action_a is None else base - judged.action_a)
    call_a = rest_a if judged.action_a is None else settings.call_weight * relative(judged.action_a)
    if price is not None:
        # Divided by what the price adds, so that a high one makes no long step: Dai et al. 2023, "Safe RLHF", eq. 13.
        rest_a = (rest_a - price * torch.from_numpy(judged.cost_a).float()) / (1.0 + price)
    rest, call = (experience.of_answers(one.to(settings.device)) for one in (rest_a, call_a))
    return [
        split_credit(*one, experience.packed([place], settings.device))
        for place, one in enumerate(zip(rest, call, experience.calls, strict=True))
    ]
