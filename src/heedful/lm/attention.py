"""Attention by tree: a prompt looks at itself, an answer at its prompt and at itself.

One function with its own way back. The pieces of a row are short, and what the general machinery does around
each of them (cutting, masks, gradients that are added up and copied) would cost more than the sums themselves.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

Trees = tuple[tuple[int, ...], ...]
BLOCK = 128  # places that look at once
NARROWEST = 16  # heads, that the card's kernel takes


def tree_attention(query: Tensor, key: Tensor, value: Tensor, trees: Trees, scale: float) -> Tensor:
    """Heads first, hnd each, places in a row's order; what those behind the trees give means nothing."""
    if query.device.type == "cuda" and query.shape[2] >= NARROWEST:
        return _fused(query, key, value, trees, scale)
    out: Tensor = _ByTree.apply(query, key, value, trees, scale)  # type: ignore[no-untyped-call]
    return out


class _ByTree(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, trees: Trees, scale: float) -> Tensor:
        out = torch.zeros_like(query)
        kept: list[Tensor] = []
        for own, seen in _looks(trees):
            keys, values = _seen(key, seen), _seen(value, seen)
            scores = _product(query[:, own], keys.transpose(1, 2), scale)
            places = scores.shape[1]
            scores[:, :, -places:] += _future(places, scores.dtype, scores.device)
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
            to_scores = torch._softmax_backward_data(to_shares, shares, -1, shares.dtype)
            to_query[:, own] = _product(to_scores, keys, ctx.scale)
            _add(to_key, seen, _product(to_scores.transpose(1, 2), query[:, own], ctx.scale))
            _add(to_value, seen, torch.bmm(shares.transpose(1, 2), out))
        return to_query, to_key, to_value, None, None


def _product(one: Tensor, other: Tensor, scale: float) -> Tensor:
    """Scaled while it is computed, not in a pass of its own."""
    return torch.baddbmm(one.new_empty(()), one, other, beta=0.0, alpha=scale)


# -- on a card: one kernel for the whole row, which skips what nobody may see ------------------------------------


def _fused(query: Tensor, key: Tensor, value: Tensor, trees: Trees, scale: float) -> Tensor:
    mask = _block_mask(trees, query.shape[1], query.device)
    out: Tensor = _flex(query.device.type)(query[None], key[None], value[None], block_mask=mask, scale=scale)[
        0
    ]
    return out


@cache
def _flex(kind: str) -> Any:
    """Compiled for any length: a compilation for each would take seconds every time."""
    return torch.compile(flex_attention, dynamic=True) if kind == "cuda" else flex_attention


@lru_cache(maxsize=4)
def _block_mask(trees: Trees, places: int, device: torch.device) -> BlockMask:
    tree_n, part_n = _belongings(trees, places, device)

    def seen(_: Tensor, __: Tensor, own: Tensor, other: Tensor) -> Tensor:
        prompt_or_own = (part_n[other] == 0) | (part_n[other] == part_n[own])
        return (tree_n[own] == tree_n[other]) & (other <= own) & prompt_or_own

    return create_block_mask(seen, None, None, places, places, device=device)


def _belongings(trees: Trees, places: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of each place: its tree, and which part of it, 0 for the prompt; the filling is a tree by itself."""
    lengths = [length for tree in trees for length in tree]
    numbers = [number for number, tree in enumerate(trees) for _ in tree]
    parts = [part for tree in trees for part in range(len(tree))]
    filling = places - sum(lengths)
    repeats = torch.tensor([*lengths, filling])
    tree_n, part_n = (
        torch.tensor([*one, last]).repeat_interleave(repeats).to(device)
        for one, last in ((numbers, len(trees)), (parts, 0))
    )
    return tree_n, part_n


# -- who looks at what -------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _looks(trees: Trees) -> tuple[tuple[slice, tuple[slice, ...]], ...]:
    """Who looks and at what: the last of what is seen are the places that look. Long parts look in blocks, each of
    which leaves out what lies behind it."""
    looks: list[tuple[slice, tuple[slice, ...]]] = []
    at = 0
    for prompt, *answers in trees:
        root = slice(at, at + prompt)
        looks += [(block, (slice(at, block.stop),)) for block in _blocks(root)]
        at += prompt
        for length in answers:
            for block in _blocks(slice(at, at + length)):
                own = slice(at, block.stop)
                # The first answer stands right behind its prompt: one piece, and nothing to join.
                looks.append((block, (slice(root.start, own.stop),) if root.stop == at else (root, own)))
            at += length
    return tuple(looks)


def _blocks(part: slice) -> list[slice]:
    return [slice(at, min(at + BLOCK, part.stop)) for at in range(part.start, part.stop, BLOCK)]


def _seen(part: Tensor, seen: tuple[slice, ...]) -> Tensor:
    return part[:, seen[0]] if len(seen) == 1 else torch.cat([part[:, one] for one in seen], 1)


def _add(to: Tensor, seen: tuple[slice, ...], gradient: Tensor) -> None:
    done = 0
    for one in seen:
        length = one.stop - one.start
        to[:, one] += gradient[:, done : done + length]
        done += length


@lru_cache(maxsize=512)
def _future(places: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is added to the scores of places among themselves: minus infinity for those that come later."""
    return torch.full((places, places), float("-inf"), dtype=dtype, device=device).triu_(1)
