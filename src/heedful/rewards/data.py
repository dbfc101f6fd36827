"""What people said, by how they said it, and which of it a judge is fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from heedful.lm import columns
from heedful.lm.splits import Rows, split


class Sources(BaseModel):
    """Where the judgements lie, and which of them are kept back."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    preferences: Path | None = None
    """JSONL of {"prompt", "chosen", "rejected", "weight"}, perhaps with a "margin", a "tie", and the "product",
    "segment" or "language" that the answers were meant for."""

    rankings: Path | None = None
    """JSONL of {"prompt", "ranking", "weight"}: answers, best first; a list in the list holds equally good ones.
    With neither these nor preferences there is no quality objective."""

    safety: Path | None = None
    """JSONL of {"prompt", "answer", "violation", "weight"}; nothing: no safety objective."""

    preferences_holdout: Path | None = None
    """As `preferences`, for the report alone; nothing: a share of the prompts is kept back."""

    safety_holdout: Path | None = None
    """As `safety`, for the report alone; nothing: a share of the prompts is kept back."""

    held_out: float = Field(0.1, ge=0, lt=1)
    """Share of the prompts kept back for the report."""


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


def read(sources: Sources) -> Data:
    return Data(
        columns.judgements(sources.preferences) if sources.preferences else [],
        columns.rankings(sources.rankings) if sources.rankings else [],
        columns.flags(sources.safety) if sources.safety else [],
    )


def sides(data: Data, sources: Sources) -> tuple[Data, Data]:
    """What to fit on and what to report on: the caller's own hold-out, or a share of the prompts."""
    known, kept_back = (
        data.each(lambda rows, side=side: split(rows, sources.held_out)[side])  # type: ignore[misc]
        for side in (0, 1)
    )
    if sources.preferences_holdout is not None:
        known = replace(known, pairs=data.pairs)
        kept_back = replace(kept_back, pairs=columns.judgements(sources.preferences_holdout))
    if sources.safety_holdout is not None:
        known = replace(known, flags=data.flags)
        kept_back = replace(kept_back, flags=columns.flags(sources.safety_holdout))
    return known, replace(kept_back, pairs=kept_back.pairs + implied(kept_back.rankings))


def decided(pairs: Rows) -> Rows:
    return [pair for pair in pairs if not pair.get("tie")]


def implied(rankings: Rows) -> Rows:
    """What rankings say of answers in neighbouring places, as pairs."""
    return [
        {
            "prompt": ranking["prompt"],
            "chosen": better,
            "rejected": worse,
            "weight": ranking.get("weight", 1.0),
        }
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
