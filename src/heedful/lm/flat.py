"""The forward pass of plain decoders over a packed row, by hand: Llama's kind of block and GPT-2's.

The library's own models do the same sums with more and smaller kernels, and know nothing of trees. The last
block is computed only at the places that somebody reads: keys and values are needed everywhere, queries and the
feed-forward part are not. Models whose blocks are not known here are asked row by row, as the library does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from heedful.errors import InvalidInput
from heedful.lm.attention import tree_attention
from heedful.lm.layout import Packed, Tree

Forward = Callable[[Any, Packed, Tensor | None], Tensor]
PLAIN_ROPE = frozenset({"default", "llama3", "linear", "yarn"})  # tables that do not change with what is read


def hidden_states(model: Any, packed: Packed, places_k: Tensor | None = None) -> Tensor:
    """The last hidden states at these places of the row, kd; at all of them when none are named."""
    return _forward_of(model)(model, packed, places_k)


def require_room(model: Any, trees: Sequence[Tree]) -> None:
    """Refuse what is longer than the model reads, by its number: better before a run than in its middle."""
    limit = getattr(model.config, "max_position_embeddings", None)
    for number, tree in enumerate(trees, start=1):
        length = len(tree.prompt) + max(map(len, tree.answers))
        if limit is not None and length > limit:
            raise InvalidInput(
                f"row {number} has {length} tokens and the model reads {limit}: shorten it or leave it out"
            )


def knows(model: Any) -> bool:
    """Whether the model's blocks are known here."""
    return type(model).__name__ in FORWARDS and not _unusual(model.config)


def _forward_of(model: Any) -> Forward:
    return FORWARDS[type(model).__name__] if knows(model) else _row_by_row


def _unusual(config: Any) -> bool:
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    rope = getattr(config, "rope_parameters", None) or {}
    return bool(
        kinds != {"full_attention"}
        or (getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True))
        or rope.get("rope_type", "default") not in PLAIN_ROPE
        or getattr(config, "scale_attn_by_inverse_layer_idx", False)
        or getattr(config, "reorder_and_upcast_attn", False)
    )


def _through(model: Any, block: Callable[..., Tensor], *given: Any) -> Tensor:
    """The block's states; where the model is told to save memory, what it held is computed again on the way back."""
    if getattr(model.base_model, "gradient_checkpointing", False) and torch.is_grad_enabled():
        again: Tensor = checkpoint(block, *given, use_reentrant=False)
        return again
    return block(*given)


# -- Llama's kind ------------------------------------------------------------------------------------------


def _llama(model: Any, packed: Packed, places_k: Tensor | None) -> Tensor:
    base = model.base_model
    states = functional.embedding(packed.ids_n, base.embed_tokens.weight)
    with torch.no_grad():
        cos, sin = base.rotary_emb(states[None], packed.positions_n[None])
    cos_n1d, sin_n1d = cos[0][:, None], sin[0][:, None]
    for layer in base.layers:
        at = places_k if layer is base.layers[-1] else None
        states = _through(model, _llama_block, layer, states, cos_n1d, sin_n1d, packed, at)
    return _rms(base.norm, states)


def _llama_block(
    layer: Any, states: Tensor, cos: Tensor, sin: Tensor, packed: Packed, places_k: Tensor | None
) -> Tensor:
    normed = _rms(layer.input_layernorm, states)
    looked = _llama_attention(layer.self_attn, normed, cos, sin, packed, places_k)
    states = (states if places_k is None else states.index_select(0, places_k)) + looked
    mlp, inner = layer.mlp, _rms(layer.post_attention_layernorm, states)
    out: Tensor = states + mlp.down_proj(mlp.act_fn(mlp.gate_proj(inner)) * mlp.up_proj(inner))
    return out


def _llama_attention(
    block: Any, states_nd: Tensor, cos: Tensor, sin: Tensor, packed: Packed, places_k: Tensor | None
) -> Tensor:
    size = block.head_dim

    def heads(projection: Any) -> Tensor:
        split: Tensor = projection(states_nd).unflatten(-1, (-1, size))
        return split

    query, key, value = heads(block.q_proj), heads(block.k_proj), heads(block.v_proj)
    if hasattr(block, "q_norm"):
        query, key = _rms(block.q_norm, query), _rms(block.k_norm, key)
    query, key = _turned(query, cos, sin), _turned(key, cos, sin)
    query, key, value = (part.to(value.dtype).transpose(0, 1).contiguous() for part in (query, key, value))
    if block.num_key_value_groups > 1:
        key, value = (part.repeat_interleave(block.num_key_value_groups, 0) for part in (key, value))
    mixed = tree_attention(query, key, value, packed.trees, block.scaling).transpose(0, 1)
    if places_k is not None:
        mixed = mixed.index_select(0, places_k)
    out: Tensor = block.o_proj(mixed.flatten(1))
    return out


def _turned(part_nhd: Tensor, cos_n1d: Tensor, sin_n1d: Tensor) -> Tensor:
    """Rotary positions: every place turns the first half of a head against the second."""
    first, second = part_nhd.chunk(2, -1)
    return part_nhd * cos_n1d + torch.cat((-second, first), -1) * sin_n1d


def _rms(norm: Any, states: Tensor) -> Tensor:
    return functional.rms_norm(states.float(), norm.weight.shape, norm.weight.float(), norm.variance_epsilon)


# -- GPT-2 -------------------------------------------------------------------------------------------------


def _gpt2(model: Any, packed: Packed, places_k: Tensor | None) -> Tensor:
    base = model.transformer
    states = base.wte(packed.ids_n) + base.wpe(packed.positions_n)
    for block in base.h:
        at = places_k if block is base.h[-1] else None
        states = _through(model, _gpt2_block, block, states, packed, at)
    out: Tensor = base.ln_f(states)
    return out


def _gpt2_block(block: Any, states: Tensor, packed: Packed, places_k: Tensor | None) -> Tensor:
    attention, inner = block.attn, block.ln_1(states)
    parts = attention.c_attn(inner).unflatten(-1, (3, attention.num_heads, attention.head_dim))
    query, key, value = (part.transpose(0, 1).contiguous() for part in parts.unbind(1))
    scale = attention.head_dim**-0.5 if attention.scale_attn_weights else 1.0
    mixed = tree_attention(query, key, value, packed.trees, scale).transpose(0, 1).flatten(1)
    if places_k is not None:
        mixed, states = mixed.index_select(0, places_k), states.index_select(0, places_k)
    states = states + attention.c_proj(mixed)
    inner = block.ln_2(states)
    out: Tensor = states + block.mlp.c_proj(block.mlp.act(block.mlp.c_fc(inner)))
    return out


# -- any other ---------------------------------------------------------------------------------------------


def _row_by_row(model: Any, packed: Packed, places_k: Tensor | None) -> Tensor:
    """Each answer behind its own copy of the prompt, padded on the right, where no causal model looks."""
    rows, at = [], 0
    for prompt, *answers in packed.trees:
        root, at = torch.arange(at, at + prompt), at + prompt
        for length in answers:
            rows.append(torch.cat((root, torch.arange(at, at + length))))
            at += length
    places_bt = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
    real_bt = (places_bt >= 0).to(packed.ids_n.device)
    places_bt = places_bt.clamp(min=0).to(packed.ids_n.device)
    out = model.base_model(
        input_ids=packed.ids_n[places_bt], attention_mask=real_bt.long(), use_cache=False
    ).last_hidden_state
    # A prompt's place has a row of each of its answers, all equal: the first of them is taken.
    flat, where = out.flatten(0, 1), places_bt.flatten().masked_fill(~real_bt.flatten(), len(packed.ids_n))
    first_n = torch.zeros(len(packed.ids_n) + 1, dtype=torch.long, device=where.device)
    first_n[where.flip(0)] = torch.arange(len(where), device=where.device).flip(0)
    chosen = first_n[:-1] if places_k is None else first_n[places_k]
    states: Tensor = flat.index_select(0, chosen)
    return states


FORWARDS: dict[str, Forward] = {
    "LlamaForCausalLM": _llama,
    "MistralForCausalLM": _llama,
    "Qwen2ForCausalLM": _llama,
    "Qwen3ForCausalLM": _llama,
    "GPT2LMHeadModel": _gpt2,
}
