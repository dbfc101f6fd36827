"""A model that remembers what it has read: rows of a batch, each at its own length.

`SlotReader` knows the blocks and keeps keys and values of a row in a place of its own, aligned at their beginnings,
so that rows come and go while others are under way. On a CPU it looks at them lane by lane: sixteen places share
one width, that of the longest row among them. Everything has one of few widths, because the CPU's library
prepares code for every new shape.

`AnyReader` asks any causal model of the library, whose cache holds rows of one beginning only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache

from heedful.errors import InvalidInput
from heedful.lm.blocks import Blocks, blocks_of

LANE = 16  # places that are looked at together on a CPU
KEYS = 64  # widths are multiples of it
TOKENS = 4096  # of prompts, read at once


class Reader(Protocol):
    """Rows in places 0, 1, …; `at` is how many tokens of a row have been read."""

    joins: bool  # whether rows may come while others are under way
    lane: int  # places that share one width

    def join(self, prompts: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> None:
        """Read each of the prompts once, into all of its places."""
        ...

    def copy(self, source: int, length: int, places: Sequence[int]) -> None:
        """Let these places have read what `source` has, up to this length."""
        ...

    def advance(self, ids: Sequence[int], at: Sequence[int]) -> Tensor:
        """Read one more token in every place; the next logits, bv."""
        ...

    def arrange(self, order: Sequence[int], places: int) -> None:
        """Rows `order` move to the places 0, 1, …, of `places` that there are now; the rest is forgotten."""
        ...


def reader_of(model: Any, dtype: torch.dtype | None = None) -> Reader:
    """The fastest reader for this model, with its weights as they are now."""
    own = model.get_input_embeddings().weight.dtype
    blocks = blocks_of(model, dtype or own)
    if blocks is not None:
        return SlotReader(blocks)
    if dtype not in (None, own):
        raise InvalidInput(
            f"a {type(model).__name__} is sampled in its own {own} only, not in {dtype}: load it in that type"
        )
    return AnyReader(model)


def widened(length: int, step: int = KEYS) -> int:
    return -(-length // step) * step


class SlotReader:
    """Known blocks, with a static cache."""

    joins = True

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._device = blocks.device
        self.lane = LANE if blocks.device.type == "cpu" else 1 << 30
        self._places = self._width = 0
        self._keys: list[Tensor] = []  # of each layer, phdw: a query meets them without turning them
        self._values: list[Tensor] = []  # phwd
        self._lanes: tuple[tuple[int, int, int], ...] = ()  # from, to, width
        self._views: list[list[tuple[Tensor, Tensor]]] = []  # keys and values, by layer and lane

    def join(self, prompts: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> None:
        self._widen(max(map(len, prompts), default=0))
        start = 0
        while start < len(prompts):
            stop, tokens = start + 1, len(prompts[start])
            while stop < len(prompts) and tokens + len(prompts[stop]) <= TOKENS:
                tokens += len(prompts[stop])
                stop += 1
            if tokens:
                self._read(prompts[start:stop], places[start:stop])
            start = stop

    def copy(self, source: int, length: int, places: Sequence[int]) -> None:
        to = torch.tensor(places, device=self._device)
        for keys, values in zip(self._keys, self._values, strict=True):
            keys[to, :, :, :length] = keys[source, :, :, :length]
            values[to, :, :length] = values[source, :, :length]

    def advance(self, ids: Sequence[int], at: Sequence[int]) -> Tensor:
        self._widen(max(at) + 1)
        self._look(at)
        blocks, places = self._blocks, len(ids)
        ids_b, at_b = torch.tensor([ids, at], device=self._device)
        rows = torch.arange(places, device=self._device)
        heads = torch.arange(blocks.kv_heads, device=self._device)
        into = (rows[:, None], heads, at_b[:, None])
        write = at_b[:, None, None, None].expand(-1, blocks.kv_heads, blocks.size, 1)
        widest = max(width for _, _, width in self._lanes)
        unread = torch.arange(widest, device=self._device) > at_b[:, None]
        bias_b1w = torch.zeros(unread.shape, dtype=blocks.dtype, device=self._device)
        bias_b1w = bias_b1w.masked_fill_(unread, float("-inf"))[:, None]
        biases = [bias_b1w[start:stop, :, :width] for start, stop, width in self._lanes]
        shared = blocks.heads // blocks.kv_heads

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            self._keys[layer].scatter_(3, write, key[..., None])
            self._values[layer][into] = value
            query = (query * blocks.scale).view(-1, shared, blocks.size)
            seen = []
            for (start, stop, width), (keys, values), bias in zip(
                self._lanes, self._views[layer], biases, strict=True
            ):
                scores = torch.bmm(query[start * blocks.kv_heads : stop * blocks.kv_heads], keys)
                scores.view(stop - start, -1, width).add_(bias)
                seen.append(torch.bmm(scores.softmax(-1), values))
            return torch.cat(seen).view(places, -1)

        states = blocks.states(ids_b, at_b, attend)
        assert states is not None
        return blocks.logits(states)

    def arrange(self, order: Sequence[int], places: int) -> None:
        kept = torch.tensor(order, dtype=torch.long, device=self._device)
        self._reshape(places, self._width, kept)

    def _widen(self, width: int) -> None:
        if width > self._width:
            self._reshape(self._places, widened(max(width, self._width * 3 // 2)), None)

    def _reshape(self, places: int, width: int, kept: Tensor | None) -> None:
        """New memory, with the old rows or those of them that are kept."""
        blocks = self._blocks
        for layer in range(blocks.layers):
            for store, shape in (
                (self._keys, (places, blocks.kv_heads, blocks.size, width)),
                (self._values, (places, blocks.kv_heads, width, blocks.size)),
            ):
                new = torch.zeros(shape, dtype=blocks.dtype, device=self._device)
                if layer < len(store):
                    old = store[layer] if kept is None else store[layer].index_select(0, kept)
                    new[tuple(slice(0, size) for size in old.shape)] = old
                    store[layer] = new
                else:
                    store.append(new)
        self._places, self._width, self._lanes = places, width, ()

    def _look(self, at: Sequence[int]) -> None:
        """Cut the cache into lanes as wide as these lengths need; mostly they are as they were."""
        edges = [(start, min(start + self.lane, len(at))) for start in range(0, len(at), self.lane)]
        lanes = tuple(
            (start, stop, min(widened(max(at[start:stop]) + 1), self._width)) for start, stop in edges
        )
        if lanes != self._lanes:
            self._lanes = lanes
            self._views = [
                [
                    (
                        keys[start:stop].flatten(0, 1)[:, :, :width],
                        values[start:stop].flatten(0, 1)[:, :width],
                    )
                    for start, stop, width in lanes
                ]
                for keys, values in zip(self._keys, self._values, strict=True)
            ]

    def _read(self, prompts: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> None:
        """One row without padding, but for what makes its length one of few."""
        blocks = self._blocks
        lengths = [len(prompt) for prompt in prompts]
        filling = widened(sum(lengths)) - sum(lengths)
        ids = [one for prompt in prompts for one in prompt] + [0] * filling
        positions = [place for length in lengths for place in range(length)] + [0] * filling
        ids_n, positions_n = torch.tensor([ids, positions], device=self._device)
        into = [torch.tensor(one, device=self._device) for one in places]

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor | None:
            last = layer == blocks.layers - 1
            seen, start = [], 0
            for length, to in zip(lengths, into, strict=True):
                here = slice(start, start + length)
                keys, values = key[here].transpose(0, 1), value[here].transpose(0, 1)  # hnd
                self._keys[layer][to, :, :, :length] = keys.transpose(1, 2)
                self._values[layer][to, :, :length] = values
                start += length
                if not last:
                    looked = functional.scaled_dot_product_attention(
                        query[here].transpose(0, 1)[None],
                        keys[None],
                        values[None],
                        is_causal=True,
                        scale=blocks.scale,
                        enable_gqa=blocks.heads != blocks.kv_heads,
                    )
                    seen.append(looked[0].transpose(0, 1).flatten(1))
            if last:
                return None
            seen.append(query.new_zeros((filling, blocks.heads * blocks.size)))
            return torch.cat(seen)

        blocks.states(ids_n, positions_n, attend)


class AnyReader:
    """Any causal model of the library, with its own cache."""

    joins = False
    lane = 1 << 30

    def __init__(self, model: Any) -> None:
        self._model = model
        self._places = 0

    def join(self, prompts: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> None:
        device = self._model.device
        copies = [number for number, into in enumerate(places) for _ in into]
        order = [place for into in places for place in into]
        self._cache = DynamicCache(config=self._model.config)
        ids_bt, self._mask = _left_padded(prompts, device)
        self._next = self._mask.sum(1, keepdim=True)
        if ids_bt.shape[1]:
            positions = (self._mask.long().cumsum(1) - 1).clamp(min=0)
            self._forward(ids_bt, positions)
        at = dict(zip(order, copies, strict=True))
        self._select([at.get(place, 0) for place in range(self._places)])

    def copy(self, source: int, length: int, places: Sequence[int]) -> None:
        raise NotImplementedError("rows of one beginning only")

    def advance(self, ids: Sequence[int], at: Sequence[int]) -> Tensor:
        ids_bt = torch.tensor(ids, device=self._model.device)[:, None]
        self._mask = functional.pad(self._mask, (0, 1), value=True)
        logits = self._forward(ids_bt, self._next)
        self._next = self._next + 1
        return logits

    def arrange(self, order: Sequence[int], places: int) -> None:
        self._places = places
        if order:  # places without a row say what the first one says
            self._select([*order, *[order[0]] * (places - len(order))])

    def _select(self, rows: list[int]) -> None:
        chosen = torch.tensor(rows, device=self._model.device)
        if self._cache.get_seq_length():
            self._cache.batch_select_indices(chosen)
        self._mask, self._next = self._mask[chosen], self._next[chosen]

    def _forward(self, ids_bt: Tensor, positions_bt: Tensor) -> Tensor:
        out = self._model(
            input_ids=ids_bt,
            attention_mask=self._mask.long(),
            position_ids=positions_bt,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = out.logits[:, -1]
        return logits


def _left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompts aligned at their ends, so that all rows grow by the same column."""
    width = max(len(prompt) for prompt in prompts)
    ids = np.zeros((len(prompts), width), dtype=np.int64)
    mask = np.zeros(ids.shape, dtype=bool)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = prompt
        mask[row, width - len(prompt) :] = True
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
