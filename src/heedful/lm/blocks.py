"""The blocks of plain decoders by hand, for reading on and on: Llama's kind and GPT-2's.

`flat.py` does the same sums to learn from them. Here nothing is kept for a way back, so that projections of the same
states become one product each, with weights that are joined once, in whatever type is asked for. How places look
at one another is the caller's: `attend` gets queries, keys and values of a layer and gives what was seen. Where it
gives None, nobody reads on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from heedful.lm import flat

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor | None]  # layer, query, key, value nhd -> n(hd)


class Blocks(Protocol):
    """A stack of blocks between ids and logits."""

    layers: int
    heads: int
    kv_heads: int
    size: int  # of a head
    scale: float  # of scores
    dtype: torch.dtype
    device: torch.device

    def states(self, ids_n: Tensor, positions_n: Tensor, attend: Attend) -> Tensor | None:
        """What the last block says of each token, nd; None where `attend` broke off."""
        ...

    def logits(self, states_nd: Tensor) -> Tensor:
        """Of the next token, nv."""
        ...


def blocks_of(model: Any, dtype: torch.dtype) -> Blocks | None:
    """The model's blocks with weights as they are now; None where they are of a kind that is not known here."""
    if not flat.knows(model):
        return None
    return Gpt2(model, dtype) if type(model).__name__ == "GPT2LMHeadModel" else Llama(model, dtype)


@dataclass(frozen=True, slots=True)
class _Linear:
    """One product for the projections of the same states."""

    weight_io: Tensor
    bias_o: Tensor | None

    def __call__(self, states_ni: Tensor) -> Tensor:
        if self.bias_o is None:
            return states_ni @ self.weight_io
        return torch.addmm(self.bias_o, states_ni, self.weight_io)


def _joined(parts: list[Any], dtype: torch.dtype, *, turned: bool = False) -> _Linear:
    weights = [_whole(part).T if turned else _whole(part) for part in parts]
    bias = None if parts[0].bias is None else torch.cat([part.bias for part in parts]).to(dtype)
    weight_io = torch.cat(weights).to(dtype).T
    if dtype == torch.float32 and weight_io.device.type == "cpu":  # a third faster so, for few rows
        weight_io = weight_io.contiguous()
    return _Linear(weight_io, bias)


def _whole(projection: Any) -> Tensor:
    """The weight with what adapters add to it while they are on."""
    weight: Tensor = projection.weight
    if hasattr(projection, "get_delta_weight") and not projection.disable_adapters and not projection.merged:
        for name in projection.active_adapters:
            weight = weight + projection.get_delta_weight(name)
    return weight


# -- Llama's kind ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _LlamaLayer:
    before_attention: Tensor
    qkv: _Linear
    query_norm: Tensor | None
    key_norm: Tensor | None
    out: _Linear
    before_mlp: Tensor
    gate_up: _Linear
    down: _Linear


class Llama:
    """RMS norms, rotary positions, shared key heads, gated feed-forward: Llama, Mistral, Qwen2, Qwen3."""

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        base, config = model.base_model, model.config
        attention = base.layers[0].self_attn
        self.layers = len(base.layers)
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.size, self.scale = attention.head_dim, attention.scaling
        self.dtype, self.device = dtype, base.embed_tokens.weight.device
        self._eps, self._act = config.rms_norm_eps, base.layers[0].mlp.act_fn
        self._rotary = base.rotary_emb
        self._embed, self._norm = base.embed_tokens.weight, base.norm.weight.to(dtype)
        self._head = _joined([model.lm_head], dtype)
        self._blocks = [self._layer(layer, dtype) for layer in base.layers]

    def states(self, ids_n: Tensor, positions_n: Tensor, attend: Attend) -> Tensor | None:
        states = functional.embedding(ids_n, self._embed).to(self.dtype)
        cos, sin = self._turns(positions_n)
        for number, layer in enumerate(self._blocks):
            split = layer.qkv(self._rms(states, layer.before_attention)).unflatten(1, (-1, self.size))
            turning, value = split.split((self.heads + self.kv_heads, self.kv_heads), 1)
            if layer.query_norm is not None and layer.key_norm is not None:
                query, key = turning.split((self.heads, self.kv_heads), 1)
                turning = torch.cat((self._rms(query, layer.query_norm), self._rms(key, layer.key_norm)), 1)
            turned = torch.addcmul(turning * cos, turning.roll(self.size // 2, 2), sin)
            query, key = turned.split((self.heads, self.kv_heads), 1)
            seen = attend(number, query, key, value)
            if seen is None:
                return None
            states = states + layer.out(seen)
            gate, up = layer.gate_up(self._rms(states, layer.before_mlp)).chunk(2, 1)
            states = states + layer.down(self._act(gate) * up)
        return states

    def logits(self, states_nd: Tensor) -> Tensor:
        return self._head(self._rms(states_nd, self._norm))

    def _turns(self, positions_n: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and signed sine, n1d: a place turns the first half of a head against the second."""
        angles = positions_n[:, None].float() * self._rotary.inv_freq.float()
        cos, sin = (part * self._rotary.attention_scaling for part in (angles.cos(), angles.sin()))
        both = torch.cat((cos, cos), 1), torch.cat((-sin, sin), 1)
        cos_n1d, sin_n1d = (part[:, None].to(self.dtype) for part in both)
        return cos_n1d, sin_n1d

    def _rms(self, states: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(states, weight.shape, weight, self._eps)

    def _layer(self, layer: Any, dtype: torch.dtype) -> _LlamaLayer:
        attention, mlp = layer.self_attn, layer.mlp
        norms = [getattr(attention, name, None) for name in ("q_norm", "k_norm")]
        query_norm, key_norm = (None if norm is None else norm.weight.to(dtype) for norm in norms)
        return _LlamaLayer(
            before_attention=layer.input_layernorm.weight.to(dtype),
            qkv=_joined([attention.q_proj, attention.k_proj, attention.v_proj], dtype),
            query_norm=query_norm,
            key_norm=key_norm,
            out=_joined([attention.o_proj], dtype),
            before_mlp=layer.post_attention_layernorm.weight.to(dtype),
            gate_up=_joined([mlp.gate_proj, mlp.up_proj], dtype),
            down=_joined([mlp.down_proj], dtype),
        )


# -- GPT-2 -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, states: Tensor) -> Tensor:
        return functional.layer_norm(states, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class _Gpt2Layer:
    before_attention: _Norm
    qkv: _Linear
    out: _Linear
    before_mlp: _Norm
    up: _Linear
    down: _Linear


class Gpt2:
    """Layer norms, learned positions, a plain feed-forward."""

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        base, config = model.transformer, model.config
        attention = base.h[0].attn
        self.layers = len(base.h)
        self.heads = self.kv_heads = config.n_head
        self.size = attention.head_dim
        self.scale = self.size**-0.5 if attention.scale_attn_weights else 1.0
        self.dtype, self.device = dtype, base.wte.weight.device
        self._words, self._places = base.wte.weight, base.wpe.weight
        self._act = base.h[0].mlp.act
        self._norm = _norm(base.ln_f, dtype)
        self._head = _joined([model.lm_head], dtype)
        self._blocks = [
            _Gpt2Layer(
                _norm(block.ln_1, dtype),
                _joined([block.attn.c_attn], dtype, turned=True),
                _joined([block.attn.c_proj], dtype, turned=True),
                _norm(block.ln_2, dtype),
                _joined([block.mlp.c_fc], dtype, turned=True),
                _joined([block.mlp.c_proj], dtype, turned=True),
            )
            for block in base.h
        ]

    def states(self, ids_n: Tensor, positions_n: Tensor, attend: Attend) -> Tensor | None:
        words, places = (
            functional.embedding(ids_n, self._words),
            functional.embedding(positions_n, self._places),
        )
        states = (words + places).to(self.dtype)
        for number, layer in enumerate(self._blocks):
            split = layer.qkv(layer.before_attention(states)).unflatten(1, (3, self.heads, self.size))
            seen = attend(number, *split.unbind(1))
            if seen is None:
                return None
            states = states + layer.out(seen)
            states = states + layer.down(self._act(layer.up(layer.before_mlp(states))))
        return states

    def logits(self, states_nd: Tensor) -> Tensor:
        return self._head(self._norm(states_nd))


def _norm(norm: Any, dtype: torch.dtype) -> _Norm:
    return _Norm(norm.weight.to(dtype), norm.bias.to(dtype), norm.eps)
