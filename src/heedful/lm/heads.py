"""Numbers read off a language model's hidden states at two points of an answer.

An answer of an agent opens with what it does (`[refund]`) and goes on with what it says. Read only at the
end, a small model confuses the two; so there is one head for the end of the call and one for the end of the
answer. An answer that opens with no call has its first token as the first point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from heedful.lm.layout import Rows
from heedful.lm.logprobs import hidden_states, picked

CALL_LIMIT = 16  # a call longer than this is prose in brackets


class CallFinder:
    """Where the opening call of an answer ends, told from its token ids."""

    def __init__(self, tokenizer: Any) -> None:
        pieces = [tokenizer.decode([token]) for token in range(len(tokenizer))]
        self._opens = frozenset(token for token, piece in enumerate(pieces) if piece.lstrip().startswith("["))
        self._closes = frozenset(token for token, piece in enumerate(pieces) if "]" in piece)

    def length(self, ids: Sequence[int]) -> int:
        """How many tokens the call has; 1 when there is none."""
        if ids and ids[0] in self._opens:
            for place, token in enumerate(ids[:CALL_LIMIT]):
                if token in self._closes:
                    return place + 1
        return 1


class ScalarHeads(nn.Module):
    """One number per output, read after the call and at the end of the answer."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.call = nn.Linear(width, outputs)
        self.end = nn.Linear(width, outputs)
        self.belief = nn.Parameter(torch.tensor(0.5))
        for head in (self.call, self.end):
            nn.init.zeros_(head.weight)  # starts by saying nothing
            nn.init.zeros_(head.bias)

    def forward(self, at_call_bd: Tensor, at_end_bd: Tensor) -> tuple[Tensor, Tensor]:
        """Both readings, bo each; the score is their sum."""
        return self.call(at_call_bd.float()), self.end(at_end_bd.float())


@dataclass(frozen=True, slots=True)
class Points:
    """What is read off one batch of answers."""

    at_call: Tensor  # hidden state at the last token of the call, bd
    at_end: Tensor  # hidden state at the last token of the answer, bd
    call_logp: Tensor  # log p of the call as this very model would open, b


def read_points(model: Any, rows: Rows, calls_b: Tensor) -> Points:
    """Hidden states at both points, and what the model itself thinks of the call."""
    states_btd = hidden_states(model, rows.ids_bt)
    each = torch.arange(len(states_btd), device=states_btd.device)
    first_b = rows.first()
    place_bt = torch.arange(rows.ids_bt.shape[1], device=first_b.device)[None, :]
    call_bt = (place_bt >= first_b[:, None]) & (place_bt < (first_b + calls_b)[:, None])
    before_bt = call_bt.roll(-1, dims=1)  # a token is predicted at the place before it
    logps_n = picked(model.get_output_embeddings()(states_btd[before_bt]), rows.ids_bt[call_bt])
    call_logp = torch.zeros_like(states_btd[:, 0, 0]).float().index_add(0, before_bt.nonzero()[:, 0], logps_n)
    return Points(states_btd[each, first_b + calls_b - 1], states_btd[each, rows.last()], call_logp)
