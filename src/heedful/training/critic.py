"""What an answer will be worth, foretold before each of its tokens: a model of its own with one number to read.

It starts as a copy of the policy that foretells nothing (its head is nought), so that the first credits are those of
the rewards themselves.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from heedful.lm.flat import hidden_states
from heedful.lm.layout import Packed
from heedful.lm.load import Loaded


class Critic(nn.Module):
    """A backbone and a head."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.backbone: Any = loaded.model
        self.head = nn.Linear(loaded.model.config.hidden_size, 1).to(loaded.model.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, packed: Packed) -> Tensor:
        """Before each token of the answers, m."""
        states_md = hidden_states(self.backbone, packed, packed.source_m)
        values: Tensor = self.head(states_md.float())[:, 0]
        return values


def explained(values_m: Tensor, returns_m: Tensor, known_m: Tensor) -> float:
    """Share of the returns' variance that was foretold; below 0 it would be better to say their mean."""
    spread = returns_m[known_m].var() if int(known_m.sum()) > 1 else torch.tensor(0.0)
    if float(spread) < 1e-9:
        return 0.0
    return 1.0 - float((returns_m - values_m)[known_m].var() / spread)
