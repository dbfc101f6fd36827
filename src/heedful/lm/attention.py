"""Attention by tree: a prompt looks at itself, an answer at its prompt and at itself.

One function with its own way back. The pieces of a row are short, and what the general machinery does around
each of them (cutting, masks, gradients that are added up and copied) would cost more than the sums themselves.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

Trees = tuple[tuple[int, ...], ...]


def tree_attention(query: Tensor, key: Tensor, value: Tensor, trees: Trees, scale: float) -> Tensor:
    """Heads first, hnd each, places in a row's order; those behind the trees see nothing and give zeros."""
    out: Tensor = _ByTree.apply(query, key, value, trees, scale)  # type: ignore[no-untyped-call]
    return out


class _ByTree(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, trees: Trees, scale: float) -> Tensor:
        out = torch.zeros_like(query)
        kept: list[Tensor] = []
        for own, seen in _looks(trees):
            keys, values = _seen(key, seen), _seen(value, seen)
            scores = torch.bmm(query[:, own], keys.transpose(1, 2)).mul_(scale)
            scores += _future(scores.shape[1], scores.shape[2], scores.dtype, scores.device)
            shares = scores.softmax(-1)
            out[:, own] = torch.bmm(shares, values)
            kept.append(shares)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.trees, ctx.scale = trees, scale
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        (to_out,) = gradients
        to_query, to_key, to_value = (torch.zeros_like(part) for part in (query, key, value))
        for (own, seen), shares in zip(_looks(ctx.trees), kept, strict=True):
            keys, values, out = _seen(key, seen), _seen(value, seen), to_out[:, own]
            to_shares = torch.bmm(out, values.transpose(1, 2))
            to_scores = torch._softmax_backward_data(to_shares, shares, -1, shares.dtype).mul_(ctx.scale)
            to_query[:, own] = torch.bmm(to_scores, keys)
            _add(to_key, seen, torch.bmm(to_scores.transpose(1, 2), query[:, own]))
            _add(to_value, seen, torch.bmm(shares.transpose(1, 2), out))
        return to_query, to_key, to_value, None, None


@lru_cache(maxsize=64)
def _looks(trees: Trees) -> tuple[tuple[slice, tuple[slice, ...]], ...]:
    """Who looks and at what: the last of what is seen are the places that look."""
    looks: list[tuple[slice, tuple[slice, ...]]] = []
    at = 0
    for prompt, *answers in trees:
        root = slice(at, at + prompt)
        looks.append((root, (root,)))
        at += prompt
        for length in answers:
            own = slice(at, at + length)
            # The first answer stands right behind its prompt: one piece, and nothing to join.
            looks.append((own, (slice(root.start, own.stop),) if root.stop == own.start else (root, own)))
            at += length
    return tuple(looks)


def _seen(part: Tensor, seen: tuple[slice, ...]) -> Tensor:
    return part[:, seen[0]] if len(seen) == 1 else torch.cat([part[:, one] for one in seen], 1)


def _add(to: Tensor, seen: tuple[slice, ...], gradient: Tensor) -> None:
    done = 0
    for one in seen:
        length = one.stop - one.start
        to[:, one] += gradient[:, done : done + length]
        done += length


@lru_cache(maxsize=512)
def _future(own: int, seen: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is added to scores: nothing where a place may be seen, minus infinity behind it."""
    return torch.full((own, seen), float("-inf"), dtype=dtype, device=device).triu_(seen - own + 1)
