"""Log-probabilities of answer tokens.

Logits are computed only where an answer token is predicted, and some thousand places at a time: with a large
vocabulary they are what fills memory. What fits is kept for the way back, the rest is computed again there. The
log-softmax is taken in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from heedful.errors import InvalidInput
from heedful.lm.flat import hidden_states
from heedful.lm.layout import Packed

CHUNK = 1024  # places whose logits are alive at once
KEPT_BYTES = 256 << 20  # of probabilities that wait for the way back


def answer_logprobs(model: Any, packed: Packed, *, temperature: float = 1.0) -> Tensor:
    """log p of each answer token given all before it, m."""
    states_md = hidden_states(model, packed, packed.source_m)
    return logprobs_of(model, states_md, packed, temperature=temperature)


def logprobs_of(model: Any, states_md: Tensor, packed: Packed, *, temperature: float = 1.0) -> Tensor:
    """The same from hidden states that are already there, those of `packed.source_m`."""
    head = model.get_output_embeddings()
    if not plain(model):
        raise InvalidInput(
            f"a {type(model).__name__} bends its logits in a way that is not known here: use a model whose "
            "logits are a plain projection",
            field="model",
        )
    logps: Tensor = _Picked.apply(  # type: ignore[no-untyped-call]
        states_md, head.weight, packed.target_m, temperature, torch.is_grad_enabled()
    )
    return logps


def plain(model: Any) -> bool:
    """Whether the model's logits are a plain projection of its states."""
    head = model.get_output_embeddings()
    return head is not None and getattr(head, "bias", None) is None and not _bent(model.config)


class _Picked(torch.autograd.Function):
    """log softmax(states @ weight.T / temperature) at the targets, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any, states_md: Tensor, weight_vd: Tensor, target_m: Tensor, temperature: float, learning: bool
    ) -> Tensor:
        kind = torch.get_autocast_dtype(states_md.device.type) if _autocast(states_md) else weight_vd.dtype
        states, weight = states_md.to(kind), weight_vd.to(kind)
        # Weights ask for a gradient even where nobody will go back.
        needed = learning and (ctx.needs_input_grad[0] or ctx.needs_input_grad[1])
        keep = needed and len(states) * len(weight) * states.element_size() <= KEPT_BYTES
        kept, logps = [], []
        for part, target in zip(states.split(CHUNK), target_m.split(CHUNK), strict=True):
            logp_cv = _log_softmax(part, weight, temperature)
            logps.append(logp_cv.gather(1, target[:, None])[:, 0])
            if keep:
                kept.append(logp_cv.exp_().to(kind))
        ctx.save_for_backward(states, weight, target_m, *kept)
        ctx.temperature, ctx.kinds = temperature, (states_md.dtype, weight_vd.dtype)
        return torch.cat(logps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, target_m, *kept = ctx.saved_tensors
        scale_m = gradients[0] / ctx.temperature
        to_states, to_weight = [], torch.zeros_like(weight, dtype=torch.float32)
        parts = zip(states.split(CHUNK), target_m.split(CHUNK), scale_m.split(CHUNK), strict=True)
        for number, (part, target, scale) in enumerate(parts):
            if kept:
                to_logits = kept[number].mul_(-scale[:, None])
            else:
                to_logits = _log_softmax(part, weight, ctx.temperature).exp_().mul_(-scale[:, None])
                to_logits = to_logits.to(part.dtype)
            to_logits.scatter_add_(1, target[:, None], scale[:, None].to(to_logits.dtype))
            if ctx.needs_input_grad[0]:
                to_states.append(to_logits @ weight)
            if ctx.needs_input_grad[1]:
                to_weight += to_logits.T @ part
        states_kind, weight_kind = ctx.kinds
        return (
            torch.cat(to_states).to(states_kind) if ctx.needs_input_grad[0] else None,
            to_weight.to(weight_kind) if ctx.needs_input_grad[1] else None,
            None,
            None,
            None,
        )


def _log_softmax(states_cd: Tensor, weight_vd: Tensor, temperature: float) -> Tensor:
    logits_cv = functional.linear(states_cd, weight_vd).float()
    return functional.log_softmax(logits_cv if temperature == 1.0 else logits_cv / temperature, dim=1)


def _autocast(states: Tensor) -> bool:
    return torch.is_autocast_enabled(states.device.type)


def _bent(config: Any) -> bool:
    names = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier_scale")
    return any(getattr(config, name, None) not in (None, 1.0) for name in names)
