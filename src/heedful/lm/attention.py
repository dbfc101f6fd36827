"""Attention by tree, for any model of the transformers library whose attention is a plain one.

The library lets a function of one's own stand in for every model's attention. Ours gets all trees of a packed
row at once and cuts them apart with a single `split` (slices would make each piece's gradient as long as the
row). A piece looks at little: no mask of the whole row is ever made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface

from heedful.errors import InvalidInput
from heedful.lm.packed import Packed

NAME = "heedful_trees"
SHORT = 512  # keys, up to which plain sums are faster than the fused kernel on a CPU in float32


def tree_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    packed: Packed | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """As the library calls it: heads first, (1, h, n, d); what comes back has them behind, (1, n, h, d)."""
    if packed is None:
        raise InvalidInput("a model prepared for packed rows was called without one: pass packed=")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if key.shape[1] != query.shape[1]:  # several query heads share one of keys and values
        times = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(times, 1), value.repeat_interleave(times, 1)
    queries, keys, values = (part.split(packed.pieces(), 2) for part in (query, key, value))
    out: list[Tensor] = []
    at = 0
    for tree in packed.trees:
        prompt = at
        out.append(_look(queries[at], keys[at], values[at], scale))
        for at in range(prompt + 1, prompt + len(tree)):
            seen = torch.cat((keys[prompt], keys[at]), 2), torch.cat((values[prompt], values[at]), 2)
            out.append(_look(queries[at], *seen, scale))
        at = prompt + len(tree)
    out.append(torch.zeros_like(queries[at]))  # the filling looks at nothing
    return torch.cat(out, 2).transpose(1, 2), None


def _look(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """The last of the keys are the queries' own places: each sees those before it, and all of the rest."""
    own, seen = query.shape[2], key.shape[2]
    if query.device.type == "cpu" and (query.dtype != torch.float32 or seen <= SHORT):
        scores = torch.baddbmm(
            _hidden(own, seen, query.dtype), query[0], key[0].transpose(1, 2), beta=1.0, alpha=scale
        )
        return (scores.softmax(-1) @ value[0])[None]
    if own == seen:
        return functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
    mask = _hidden(own, seen, query.dtype, query.device)
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


@lru_cache(maxsize=256)
def _hidden(own: int, seen: int, dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
    """What is added to scores: nothing where a place may be seen, minus infinity behind it."""
    future = torch.full((own, seen), float("-inf"), dtype=dtype, device=device)
    return future.triu_(seen - own + 1)


AttentionInterface.register(NAME, tree_attention)
AttentionMaskInterface.register(NAME, lambda *_, **__: None)


@contextmanager
def by_tree(model: Any) -> Iterator[None]:
    """While this lasts, the model reads packed rows."""
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def hidden_states(model: Any, packed: Packed) -> Tensor:
    """The last hidden state at every place of the row, nd."""
    with by_tree(model):
        out = model.base_model(
            input_ids=packed.ids_n[None],
            position_ids=packed.positions_n[None],
            use_cache=False,
            packed=packed,
        )
    states: Tensor = out.last_hidden_state[0]
    return states
