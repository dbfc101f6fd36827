"""Log-probabilities of answer tokens.

Logits are computed only where an answer token is predicted, and a few thousand positions at a time: with
a large vocabulary they are what fills memory. The log-softmax is taken in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from heedful.lm.layout import Rows

CHUNK = 4096  # positions whose logits are alive at once


def hidden_states(model: Any, ids_bt: Tensor) -> Tensor:
    """The last hidden state at every position of right-padded rows, btd."""
    # All ones on purpose: padding is on the right, where nothing looks (see layout), and a mask without
    # holes lets the model take its plain causal path.
    every = torch.ones_like(ids_bt)
    states: Tensor = model.base_model(
        input_ids=ids_bt, attention_mask=every, use_cache=False
    ).last_hidden_state
    return states


def answer_logprobs(model: Any, rows: Rows, *, temperature: float = 1.0) -> Tensor:
    """log p of each answer token given all before it, at the token's own place; 0 elsewhere, bt."""
    if _plain_head(model):
        return logprobs_of(model, hidden_states(model, rows.ids_bt), rows, temperature=temperature)
    wanted = rows.answer_bt[:, 1:]
    every = torch.ones_like(rows.ids_bt)
    logits_nv = model(input_ids=rows.ids_bt, attention_mask=every, use_cache=False).logits[:, :-1][wanted]
    return _placed(picked(logits_nv, rows.ids_bt[rows.answer_bt], temperature), rows)


def logprobs_of(model: Any, states_btd: Tensor, rows: Rows, *, temperature: float = 1.0) -> Tensor:
    """The same from hidden states that are already there; for models whose logits are a plain projection."""
    states_nd = states_btd[:, :-1][rows.answer_bt[:, 1:]]  # a token is predicted at the place before it
    head = model.get_output_embeddings()
    parts = [
        picked(head(states), targets, temperature)
        for states, targets in zip(
            states_nd.split(CHUNK), rows.ids_bt[rows.answer_bt].split(CHUNK), strict=True
        )
    ]
    return _placed(torch.cat(parts), rows)


def _placed(logps_n: Tensor, rows: Rows) -> Tensor:
    """Numbers of answer tokens at those tokens' places, bt."""
    empty_bt = torch.zeros(rows.ids_bt.shape, dtype=logps_n.dtype, device=logps_n.device)
    return empty_bt.masked_scatter(rows.answer_bt, logps_n)


def picked(logits_nv: Tensor, targets_n: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature) at the targets, in float32."""
    scaled = logits_nv.float() if temperature == 1.0 else logits_nv.float() / temperature
    return -functional.cross_entropy(scaled, targets_n, reduction="none")


def _plain_head(model: Any) -> bool:
    """Whether logits are just the output embedding of the last hidden state."""
    config = model.config
    bent = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier_scale")
    return model.get_output_embeddings() is not None and not any(getattr(config, name, None) for name in bent)
