"""Lay rows of token ids out as tensors, and choose which rows share a batch.

Rows are padded on the right. A causal model never looks right, so padding can not change what it says of
real tokens, and no attention mask has to be built; what counts is always told by an explicit mask, never
by comparing with the padding id (that id may be a real token).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Rows:
    """Prompts with their answers, padded on the right; b rows of t tokens."""

    ids_bt: Tensor
    mask_bt: Tensor  # bool: a real token
    answer_bt: Tensor  # bool: a token of the answer (its end token included)

    def last(self) -> Tensor:
        """Index of each row's last real token."""
        return self.mask_bt.sum(1) - 1

    def first(self) -> Tensor:
        """Index of each row's first answer token."""
        return self.answer_bt.int().argmax(1)


def lay_out(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], *, device: str | torch.device = "cpu"
) -> Rows:
    """Each prompt followed by its answer, as one padded batch."""
    lengths = [len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)]
    ids = np.zeros((len(lengths), max(lengths)), dtype=np.int64)
    mask = np.zeros(ids.shape, dtype=bool)
    answer_mask = np.zeros(ids.shape, dtype=bool)
    for row, (prompt, answer, length) in enumerate(zip(prompts, answers, lengths, strict=True)):
        ids[row, : len(prompt)] = prompt
        ids[row, len(prompt) : length] = answer
        mask[row, :length] = True
        answer_mask[row, len(prompt) : length] = True
    return Rows(*(torch.from_numpy(array).to(device) for array in (ids, mask, answer_mask)))


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
