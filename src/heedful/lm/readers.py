"""A model that remembers what it has read: rows of a batch, each at its own length.

`SlotReader` knows the blocks and keeps keys and values of a row in a place of its own, aligned at their beginnings,
so that rows come and go while others are under way. On a CPU it looks at them lane by lane: eight places share
one width, that of the longest row among them. Everything has one of few widths, because the CPU's library
prepares code for every new shape. Where all places of a lane begin with one prompt, as the answers of a group do, its
keys are looked at once for all of them: they are most of what a step has to fetch.

`AnyReader` asks any causal model of the library, whose cache holds rows of one beginning only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache

from heedful.errors import InvalidInput
from heedful.lm.blocks import Blocks, blocks_of

LANE = 8  # places that are looked at together on a CPU
KEYS = 64  # widths are multiples of it
SPARE = 32  # keys of room at least, when places are laid out
TOKENS = 4096  # of prompts, read at once
SHARED = 96  # keys that places have in common, from which they are looked at together


class Reader(Protocol):
    """Rows in places 0, 1, …; `at` or `read` is how many tokens of each have been read."""

    joins: bool  # whether rows may come while others are under way

    def fits(self, read: Sequence[int]) -> bool:
        """Whether these are as many places as there are, each with room for one token more than `read`."""
        ...

    def arrange(self, order: Sequence[int | None], read: Sequence[int]) -> None:
        """Places anew: the first gets the row that was in place order[0], and so on; None is an empty one.

        Each has room for what it has or will have `read`, and some more.
        """
        ...

    def join(self, prompts: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> None:
        """Read each of the prompts once, into all of its places."""
        ...

    def copy(self, source: int, length: int, places: Sequence[int]) -> None:
        """Let these places have read what `source` has, up to this length."""
        ...

    def advance(self, ids: Sequence[int], at: Sequence[int]) -> Tensor:
        """Read one more token in every place; the next logits, bv."""
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


@dataclass(frozen=True, slots=True)
class _Lane:
    """Neighbouring places of one width: one piece of every layer's memory."""

    start: int
    stop: int
    width: int  # keys of each head
    heads: slice  # its share of all places' heads
    piece: slice


class SlotReader:
    """Known blocks, with a cache that is laid out in advance.

    A layer's keys are one list, place by place and head by head, and so are its values. Thus every lane is dense,
    which the CPU's library wants or copies, and what a step adds is written at once.
    """

    joins = True

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._device = blocks.device
        self._per_lane = LANE if blocks.device.type == "cpu" else 1 << 30
        self._lanes: list[_Lane] = []
        self._firsts_ph = torch.zeros((0, blocks.kv_heads), dtype=torch.long)  # where a place's heads begin
        # Measured in single precision only; in others the library copies what is not dense.
        self._together = blocks.device.type == "cpu" and blocks.dtype == torch.float32
        self._begins: list[Sequence[int] | None] = []  # the prompt of each place, as an object
        empty = torch.zeros((2, 0, blocks.size), dtype=blocks.dtype, device=self._device)
        self._stores = [empty] * blocks.layers  # keys and values
        self._views: list[list[tuple[Tensor, Tensor]]] = []  # keys and values by layer and lane, (ph)wd each

    def fits(self, read: Sequence[int]) -> bool:
        return len(read) == len(self._firsts_ph) and all(
            max(read[lane.start : lane.stop]) < lane.width for lane in self._lanes
        )

    def arrange(self, order: Sequence[int | None], read: Sequence[int]) -> None:
        old_ph = self._firsts_ph
        self._begins = [None if old is None else self._begins[old] for old in order]
        self._lay_out(read)
        kept = [(new, old, read[new]) for new, old in enumerate(order) if old is not None]
        total = self._lanes[-1].piece.stop
        if kept:
            # Keys that nobody has read are not looked at: any will do.
            source = torch.zeros(total, dtype=torch.long, device=self._device)
            to, own = (
                torch.cat([_spread(firsts[one[which]], one[2]) for one in kept])
                for firsts, which in ((self._firsts_ph, 0), (old_ph, 1))
            )
            source[to] = own
            self._stores = [store.index_select(1, source) for store in self._stores]
        else:
            self._stores = [store.new_zeros((2, total, self._blocks.size)) for store in self._stores]
        self._views = [
            [
                (keys.view(-1, lane.width, self._blocks.size), values.view(-1, lane.width, self._blocks.size))
                for lane in self._lanes
                for keys, values in [store[:, lane.piece]]
            ]
            for store in self._stores
        ]

    def join(self, prompts: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> None:
        for prompt, own in zip(prompts, places, strict=True):
            for place in own:
                self._begins[place] = prompt
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
        has = _spread(self._firsts_ph[source], length)
        for place in places:
            self._begins[place] = self._begins[source]
            for store in self._stores:
                store[:, _spread(self._firsts_ph[place], length)] = store[:, has]

    def advance(self, ids: Sequence[int], at: Sequence[int]) -> Tensor:
        blocks = self._blocks
        ids_b, at_b = torch.tensor([ids, at], device=self._device)
        into = (self._firsts_ph + at_b[:, None]).flatten()
        widest = max(lane.width for lane in self._lanes)
        unread = torch.arange(widest, device=self._device) > at_b[:, None]
        bias_b1w = torch.zeros(unread.shape, dtype=blocks.dtype, device=self._device)
        bias_b1w = bias_b1w.masked_fill_(unread, float("-inf"))[:, None]
        biases = [bias_b1w[lane.start : lane.stop, :, : lane.width] for lane in self._lanes]
        commons = [self._common(lane, at) for lane in self._lanes]
        shared = blocks.heads // blocks.kv_heads

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys, values = self._stores[layer]
            keys[into], values[into] = key.flatten(0, 1), value.flatten(0, 1)
            # Keys times query: the other way round the CPU's library is three times slower.
            query = (query * blocks.scale).view(-1, shared, blocks.size).transpose(1, 2)
            seen = [
                _look(query[lane.heads], *memory, bias, common)
                for lane, memory, bias, common in zip(
                    self._lanes, self._views[layer], biases, commons, strict=True
                )
            ]
            return torch.cat(seen).view(len(ids), -1)

        states = blocks.states(ids_b, at_b, attend)
        assert states is not None
        return blocks.logits(states)

    def _common(self, lane: _Lane, at: Sequence[int]) -> tuple[int, int]:
        """How many keys all places of a lane begin with, and a place of it that has them."""
        places = range(lane.start, lane.stop)
        begins = {id(one): one for one in map(self._begins.__getitem__, places) if one is not None}
        length = len(next(iter(begins.values()))) if len(begins) == 1 else 0
        if not self._together or len(places) == 1 or length < SHARED:
            return 0, 0
        # A place without a row is written over from its first key on.
        return length, next((place - lane.start for place in places if at[place] >= length), 0)

    def _lay_out(self, read: Sequence[int]) -> None:
        """Lanes in which every place has room for so many keys and some more."""
        heads, end = self._blocks.kv_heads, 0
        firsts: list[Tensor] = []
        self._lanes = []
        for start in range(0, len(read), self._per_lane):
            stop = min(start + self._per_lane, len(read))
            width = widened(max(read[start:stop]) + SPARE)
            begin, end = end, end + (stop - start) * heads * width
            firsts.append(torch.arange(begin, end, width, device=self._device))
            self._lanes.append(
                _Lane(start, stop, width, slice(start * heads, stop * heads), slice(begin, end))
            )
        self._firsts_ph = torch.cat(firsts).view(-1, heads)

    def _read(self, prompts: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> None:
        """One row without padding, but for what makes its length one of few."""
        blocks = self._blocks
        lengths = [len(prompt) for prompt in prompts]
        filling = widened(sum(lengths)) - sum(lengths)
        ids = [one for prompt in prompts for one in prompt] + [0] * filling
        positions = [place for length in lengths for place in range(length)] + [0] * filling
        ids_n, positions_n = torch.tensor([ids, positions], device=self._device)
        starts = [sum(lengths[:number]) for number in range(len(lengths))]
        pieces = [slice(start, start + length) for start, length in zip(starts, lengths, strict=True)]
        into = [
            (piece, [_spread(self._firsts_ph[place], piece.stop - piece.start) for place in own])
            for piece, own in zip(pieces, places, strict=True)
        ]

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor | None:
            query, key, value = (part.transpose(0, 1).contiguous() for part in (query, key, value))  # hnd
            for piece, places in into:
                new = torch.stack((key[:, piece], value[:, piece])).flatten(1, 2)
                for place in places:
                    self._stores[layer][:, place] = new
            if layer == blocks.layers - 1:
                return None
            seen = torch.zeros_like(query)
            for piece in pieces:
                seen[:, piece] = functional.scaled_dot_product_attention(
                    query[None, :, piece],
                    key[None, :, piece],
                    value[None, :, piece],
                    is_causal=True,
                    scale=blocks.scale,
                    enable_gqa=blocks.heads != blocks.kv_heads,
                )[0]
            return seen.transpose(0, 1).flatten(1)

        blocks.states(ids_n, positions_n, attend)


def _look(query: Tensor, keys: Tensor, values: Tensor, bias_p1w: Tensor, common: tuple[int, int]) -> Tensor:
    """What p places of one width see, each with its own memory but for the keys that they have in common.

    Places and heads of keys are one axis: query (ph)dg, where g heads share their keys; keys and values (ph)wd.
    """
    places, width, (_, size, group) = len(bias_p1w), keys.shape[1], query.shape
    length, first = common
    own = torch.bmm(keys[:, length:], query).transpose(1, 2).reshape(places, -1, width - length)
    own = own.add_(bias_p1w[..., length:])
    if not length:
        return torch.bmm(own.softmax(-1).view(-1, group, width), values)
    heads = len(query) // places
    has = slice(first * heads, (first + 1) * heads)
    asked = query.view(places, heads, size, group).permute(1, 2, 0, 3).reshape(heads, size, -1)
    scores = torch.bmm(keys[has, :length], asked).view(heads, length, places, group)
    scores = torch.cat((scores.permute(2, 0, 3, 1).reshape(places, -1, length), own), 2)
    shares = scores.softmax(-1).view(places, heads, group, width)
    together = shares[..., :length].transpose(0, 1).reshape(heads, -1, length)
    seen = torch.bmm(together, values[has, :length]).view(heads, places, group, size).transpose(0, 1)
    alone = torch.bmm(shares[..., length:].reshape(-1, group, width - length), values[:, length:])
    return alone.add_(seen.reshape(-1, group, size))


def _spread(firsts_h: Tensor, length: int) -> Tensor:
    """Where the first keys of each of a place's heads are."""
    return (firsts_h[:, None] + torch.arange(length, device=firsts_h.device)).flatten()


class AnyReader:
    """Any causal model of the library, with its own cache."""

    joins = False

    def __init__(self, model: Any) -> None:
        self._model = model
        self._places = 0

    def fits(self, read: Sequence[int]) -> bool:
        return len(read) == self._places

    def arrange(self, order: Sequence[int | None], read: Sequence[int]) -> None:
        self._places = len(order)
        rows = [place for place in order if place is not None]
        if rows:  # places without a row say what the first one says
            self._select([rows[0] if place is None else place for place in order])

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
