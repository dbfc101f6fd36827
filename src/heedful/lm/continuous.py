"""A batch that rows join and leave while others are under way.

A row that is done leaves its place at once, and one that waits takes it: prompts are read some at a time, when there
is room for them. Every row brings its own uniform numbers, limit, temperature and stop strings, so that what it says
does not depend on its neighbours (up to rounding).

A prompt is read without its last token, which goes the way of all drawn ones: a row that joins needs nothing
but a place where the rest of its prompt has been read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from heedful.lm.readers import Reader, widened

STEP = 16  # places come and go by so many: every new shape costs a little
JOIN = 4  # free places before prompts are read, where more are waiting
BLOCK = 64  # tokens of the vocabulary that are summed up before one is searched in them
BELOW_ONE = 1.0 - 2.0**-24  # the largest number under one in single precision


@dataclass(slots=True, eq=False)
class Row:
    """An answer on its way."""

    prompt: tuple[int, ...]
    draws: np.ndarray  # one uniform number for each token that it may have, in single precision
    temperature: float = 1.0
    stop: tuple[str, ...] = ()
    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    finish: Literal["end", "stop", "length"] | None = None  # an end token, a stop string, or its limit

    @property
    def read(self) -> int:
        """How many of its tokens the model has read."""
        return len(self.prompt) - 1 + len(self.ids)

    @property
    def last(self) -> int:
        return self.ids[-1] if self.ids else self.prompt[-1]


class Batch:
    """Rows under way and rows that wait. `say` gives the text of ids, and is asked only for rows with stops."""

    def __init__(
        self, reader: Reader, *, ends: Collection[int], say: Callable[[Sequence[int]], str], most: int
    ) -> None:
        self._reader = reader
        self._ends = frozenset(ends)
        self._say = say
        self._most = most
        self._waiting: deque[Row] = deque()
        self._places: list[Row | None] = []

    def __len__(self) -> int:
        return len(self._waiting) + self._live

    def add(self, row: Row) -> None:
        self._waiting.append(row)

    def drop(self, row: Row) -> None:
        """Nobody wants it any more."""
        if row in self._waiting:
            self._waiting.remove(row)
        elif row in self._places:
            self._places[self._places.index(row)] = None

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """One more token for every row under way; those that are done with it."""
        self._admit()
        if not self._live:
            return []
        rows = self._places
        logits_bv = self._reader.advance(
            [row.last if row else 0 for row in rows], [row.read if row else 0 for row in rows]
        )
        uniform = [row.draws[len(row.ids)] if row else 0.0 for row in rows]
        heat = [row.temperature if row else 1.0 for row in rows]
        uniform_b, heat_b = torch.tensor(np.array([uniform, heat], dtype=np.float32)).to(logits_bv.device)
        picked, logps = choose(logits_bv, uniform_b, heat_b if len(set(heat)) > 1 else heat[0])
        done = []
        for place, (row, token, logp) in enumerate(
            zip(list(rows), picked.tolist(), logps.tolist(), strict=True)
        ):
            if row is not None:
                row.ids.append(token)
                row.logps.append(logp)
                row.finish = self._finish(row)
                if row.finish is not None:
                    rows[place] = None
                    done.append(row)
        return done

    @property
    def _live(self) -> int:
        return len(self._places) - self._places.count(None)

    def _finish(self, row: Row) -> Literal["end", "stop", "length"] | None:
        if row.ids[-1] in self._ends:
            return "end"
        if row.stop and stopped(row, self._say):
            return "stop"
        return "length" if len(row.ids) == len(row.draws) else None

    # -- who stands where --------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Who waits comes in, where there is room; places are laid out anew when rows do not fit into theirs."""
        live, waiting = self._live, len(self._waiting)
        coming = min(waiting, self._most - live)
        if coming < min(JOIN, waiting) or (live and not self._reader.joins):
            coming = 0
        rows = [self._waiting.popleft() for _ in range(coming)]
        places = min(roundly(live + coming), self._most)
        if waiting > coming and self._reader.joins:
            places = max(places, len(self._places))  # those who wait will fill them
        free = iter(rows)
        filled = [one or next(free, None) for one in self._places]
        if len(filled) != places or not self._reader.fits([one.read if one else 0 for one in filled]):
            filled = sorted((*filter(None, self._places), *rows), key=lambda one: one.read, reverse=True) + [
                None
            ] * (places - live - coming)
            where = {id(one): place for place, one in enumerate(self._places) if one}
            order = [where.get(id(one)) for one in filled]
            self._reader.arrange(order, [one.read if one else 0 for one in filled])
        self._places = filled
        if rows:
            self._join(rows)

    def _join(self, rows: Sequence[Row]) -> None:
        new = set(map(id, rows))
        held: dict[tuple[int, ...], int] = {}
        into: dict[tuple[int, ...], list[int]] = {}
        for place, row in enumerate(self._places):
            if row is not None and id(row) in new:
                into.setdefault(row.prompt, []).append(place)
            elif row is not None:
                held[row.prompt] = place
        for prompt in held.keys() & into.keys():  # read before, for a row that is still here
            self._reader.copy(held[prompt], len(prompt) - 1, into.pop(prompt))
        if into:
            self._reader.join([prompt[:-1] for prompt in into], list(into.values()))


def roundly(rows: int) -> int:
    """Places for so many rows, out of few possible numbers."""
    return widened(rows, STEP) if rows >= STEP else 1 << max(0, rows - 1).bit_length()


def stopped(row: Row, say: Callable[[Sequence[int]], str]) -> bool:
    """Whether one of the row's stop strings has been said, now that its last token is there."""
    # A token says at least one byte: what was just completed lies within so many of the last ones.
    near = max(len(one.encode()) for one in row.stop) + 8
    return any(all(one in say(ids) for ids in (row.ids[-near:], row.ids)) for one in row.stop)


# -- one token ---------------------------------------------------------------------------------------------


def choose(logits_bv: Tensor, uniform_b: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    """One token per row by inverting the cumulative distribution, and its log-probability.

    One temperature for all or one per row; 0 takes the likeliest, for sure.
    """
    logits_bv = logits_bv.float()
    if isinstance(temperature, Tensor):
        cold_b = temperature == 0
        picked, logps = _drawn(logits_bv / temperature.masked_fill(cold_b, 1.0)[:, None], uniform_b)
        return torch.where(cold_b, logits_bv.argmax(1), picked), logps.masked_fill(cold_b, 0.0)
    if temperature == 0:
        return logits_bv.argmax(1), torch.zeros_like(uniform_b)
    return _drawn(logits_bv if temperature == 1 else logits_bv / temperature, uniform_b)


def _drawn(logits_bv: Tensor, uniform_b: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of blocks first: the cumulative sum of a whole vocabulary is slow, and less exact."""
    shares_bv = logits_bv.softmax(1)
    vocabulary = shares_bv.shape[1]
    whole = vocabulary // BLOCK * BLOCK
    sums = shares_bv[:, :whole].unflatten(1, (-1, BLOCK)).sum(-1)
    if whole < vocabulary:
        sums = torch.cat((sums, shares_bv[:, whole:].sum(1, keepdim=True)), 1)
    block, into = _found(sums, uniform_b[:, None])
    places = block * BLOCK + torch.arange(BLOCK, device=block.device)
    inside = shares_bv.gather(1, places.clamp(max=vocabulary - 1)).masked_fill_(places >= vocabulary, 0.0)
    picked = block * BLOCK + _found(inside, into)[0]
    return picked[:, 0], shares_bv.gather(1, picked)[:, 0].log()


def _found(masses_bn: Tensor, share_b1: Tensor) -> tuple[Tensor, Tensor]:
    """Where this share of a row's mass is reached, and how far into that piece."""
    upto = masses_bn.cumsum(1)
    # Scaled by the row's own total, so that rounding can never point past the last piece that has mass.
    target = share_b1.clamp(max=BELOW_ONE) * upto[:, -1:]
    found = torch.searchsorted(upto, target, right=True).clamp_(max=masses_bn.shape[1] - 1)
    mass = masses_bn.gather(1, found)
    return found, ((target - upto.gather(1, found) + mass) / mass).clamp(0.0, BELOW_ONE)
