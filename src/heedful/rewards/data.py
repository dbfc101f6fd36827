"""What people said, by how they said it, and which of it a judge is fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from heedful.lm.splits import Rows


@dataclass(frozen=True, slots=True)
class Data:
    pairs: Rows
    rankings: Rows
    flags: Rows

    @property
    def all(self) -> Rows:
        return [*self.pairs, *self.rankings, *self.flags]

    def each(self, made: Callable[[Rows], Rows]) -> Data:
        return Data(made(self.pairs), made(self.rankings), made(self.flags))


def decided(pairs: Rows) -> Rows:
    return [pair for pair in pairs if not pair.get("tie")]


def implied(rankings: Rows) -> Rows:
    """What rankings say of answers in neighbouring places, as pairs."""
    return [
        {"prompt": ranking["prompt"], "chosen": better, "rejected": worse}
        for ranking in rankings
        for ahead, behind in pairwise(ranking["ranking"])
        for better in ahead
        for worse in behind
    ]


def texts(record: dict[str, Any]) -> list[str]:
    """Every answer in it."""
    ranked = [text for place in record.get("ranking", ()) for text in place]
    return [record[name] for name in ("chosen", "rejected", "answer") if name in record] + ranked


def said(records: Rows) -> tuple[list[Any], list[str]]:
    """Every answer in them, with its prompt."""
    rows = [(record["prompt"], text) for record in records for text in texts(record)]
    return [prompt for prompt, _ in rows], [text for _, text in rows]
