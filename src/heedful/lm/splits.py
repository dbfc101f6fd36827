"""What is learned from and what is kept back: by prompt, so that an answer never leaks from one side to the other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

Rows = list[dict[str, Any]]


def split(records: Sequence[dict[str, Any]], held_out: float) -> tuple[Rows, Rows]:
    """Records to learn from and records kept back, about this share of the prompts."""
    return between(records, held_out, 1.0), between(records, 0.0, held_out)


def between(records: Sequence[dict[str, Any]], low: float, high: float) -> Rows:
    """Those whose prompts have a place from `low` up to `high`."""
    return [record for record in records if low <= _place(record["prompt"]) < high]


def _place(prompt: Any) -> float:
    """From 0 to 1 by a hash of the prompt: the same prompt, the same side of every split."""
    digest = hashlib.sha256(json.dumps(prompt, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
