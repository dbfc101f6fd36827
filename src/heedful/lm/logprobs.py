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
    wanted = rows.answer_bt[:, 1:]
    targets_n = rows.ids_bt[:, 1:][wanted]
    if _plain_head(model):
        states_nd = hidden_states(model, rows.ids_bt)[:, :-1][wanted]
        head = model.get_output_embeddings()
        parts = [
            picked(head(states), targets, temperature)
            for states, targets in zip(states_nd.split(CHUNK), targets_n.split(CHUNK), strict=True)
        ]
        logps_n = torch.cat(parts)
    else:
        every = torch.ones_like(rows.ids_bt)
        logits_nv = model(input_ids=rows.ids_bt, attention_mask=every, use_cache=False).logits[:, :-1][wanted]
        logps_n = picked(logits_nv, targets_n, temperature)
    logps_bt = torch.zeros(rows.ids_bt.shape, dtype=logps_n.dtype, device=logps_n.device)
    place = torch.zeros_like(rows.answer_bt)
    place[:, 1:] = wanted
    return logps_bt.masked_scatter(place, logps_n)


def picked(logits_nv: Tensor, targets_n: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature) at the targets, in float32."""
    scaled = logits_nv.float() if temperature == 1.0 else logits_nv.float() / temperature
    return -functional.cross_entropy(scaled, targets_n, reduction="none")


def _plain_head(model: Any) -> bool:
    """Whether logits are just the output embedding of the last hidden state."""
    config = model.config
    bent = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier_scale")
    return model.get_output_embeddings() is not None and not any(getattr(config, name, None) for name in bent)
