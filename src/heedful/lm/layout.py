"""Prompts and answers as one flat row without padding, a prompt that several answers share only once.

A tree is a prompt and the answers that branch off it: the two of a pair, the n of a ranking or a group, the
one of a demonstration. Trees stand behind one another in one long row; everything that looks at a token by
itself (projections, norms, the feed-forward layers) sees just that row, and attention goes by tree: a prompt
looks at itself, an answer at its prompt and at itself. Positions start again with every answer, so that each
is read as if it followed its prompt alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful.errors import InvalidInput

GRID = 256  # the row is filled up to a multiple: a processor prepares code for every new shape


@dataclass(frozen=True, slots=True)
class Tree:
    """A prompt and the answers to it, as token ids."""

    prompt: Sequence[int]
    answers: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.prompt) + sum(map(len, self.answers))


@dataclass(frozen=True, slots=True)
class Packed:
    """Trees in one row of n places; m of them are predictions of answer tokens, of a answers in all."""

    ids_n: Tensor
    positions_n: Tensor
    trees: tuple[tuple[int, ...], ...]  # of each: tokens of the prompt, of the first answer, of the second …
    source_m: Tensor  # the place at which each answer token is predicted: the one before it
    target_m: Tensor  # that token
    answer_m: Tensor  # whose it is
    first_a: Tensor  # the place of each answer's first token
    last_a: Tensor  # and of its last

    @property
    def answers(self) -> int:
        return len(self.last_a)

    @property
    def tokens(self) -> int:
        """Without the filling."""
        return sum(map(sum, self.trees))

    def to(self, device: str | torch.device) -> Packed:
        tensors: dict[str, Any] = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **tensors)

    def sums(self, values_m: Tensor) -> Tensor:
        """Per answer, a."""
        return values_m.new_zeros(self.answers).index_add(0, self.answer_m, values_m)

    def lengths(self) -> Tensor:
        """Tokens of each answer, a."""
        return self.last_a - self.first_a + 1

    def place(self) -> Tensor:
        """Which token of its answer each one is, from 0, m."""
        each = torch.arange(len(self.target_m), device=self.target_m.device)
        return each - self.begins()[self.answer_m]

    def begins(self) -> Tensor:
        """Which of the m predictions is that of each answer's first token, a."""
        return self.lengths().cumsum(0) - self.lengths()


def pack(trees: Sequence[Tree], *, grid: int = GRID) -> Packed:
    """The trees as one row, on the CPU."""
    if any(not tree.prompt or not all(tree.answers) for tree in trees):
        raise InvalidInput("a prompt or an answer has no tokens: there is nothing to read or to learn")
    ids, positions, source, answer = [], [], [], []
    first: list[int] = []
    last: list[int] = []
    at = 0
    for tree in trees:
        prompt = len(tree.prompt)
        ids.append(np.asarray(tree.prompt, dtype=np.int64))
        positions.append(np.arange(prompt))
        end = at + prompt
        for one in tree.answers:
            begin, end = end, end + len(one)
            ids.append(np.asarray(one, dtype=np.int64))
            positions.append(np.arange(prompt, prompt + len(one)))
            source.append(np.concatenate(([at + prompt - 1], np.arange(begin, end - 1))))
            answer.append(np.full(len(one), len(last)))
            first.append(begin)
            last.append(end - 1)
        at = end
    filling = -at % grid
    ids.append(np.zeros(filling, dtype=np.int64))
    positions.append(np.zeros(filling, dtype=np.int64))
    shapes = tuple((len(tree.prompt), *map(len, tree.answers)) for tree in trees)
    targets = [np.asarray(one, dtype=np.int64) for tree in trees for one in tree.answers]
    whole = (np.concatenate(part) for part in (ids, positions, source, targets, answer))
    flat_ids, flat_positions, flat_source, flat_target, flat_answer = map(torch.from_numpy, whole)
    return Packed(
        flat_ids,
        flat_positions,
        shapes,
        flat_source,
        flat_target,
        flat_answer,
        torch.tensor(first),
        torch.tensor(last),
    )


def micro_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in their order, as many together as `budget` tokens hold, and at least one."""
    some: list[int] = []
    left = budget
    for index, length in enumerate(lengths):
        if some and length > left:
            yield some
            some, left = [], budget
        some.append(index)
        left -= length
    if some:
        yield some


def batches(lengths: Sequence[int], size: int, random: np.random.Generator) -> list[list[int]]:
    """Indices in random batches of `size` of about equal length, each index once, batches in random order.

    Sorting happens within pools of 16 batches: enough to save most padding, loose enough to stay random.
    """
    order = random.permutation(len(lengths))
    pool = size * 16
    rows: list[list[int]] = []
    for start in range(0, len(order), pool):
        near = sorted(order[start : start + pool].tolist(), key=lambda index: lengths[index])
        rows += [near[at : at + size] for at in range(0, len(near), size)]
    return [rows[at] for at in random.permutation(len(rows))]
