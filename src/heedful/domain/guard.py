"""What a guard decided about a text before it went on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Decision(StrEnum):
    ALLOW = "allow"
    REWRITE = "rewrite"
    HOLD = "hold"  # a person decides
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    guard: str
    decision: Decision
    category: str | None = None  # of the safety taxonomy
    reason: str | None = None
    score: float | None = None
