"""Has feedback stopped arriving? A loop without feedback goes on learning from the past and nobody sees why.

Feedback comes in bursts, so that pieces are not counted: what counts is in how many short spans of time any
came at all. If that was so in a share p of them, k empty ones in a row have the chance (1 - p)^k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SPAN_SECONDS = 10.0  # of time, in which something came or nothing did
SPANS = 360  # before the last arrival, from which the usual share is taken: an hour
UNLIKELY = 1e-4  # the chance of so long a gap, below which it is none
LEAST_SECONDS = 300.0  # a shorter gap is never an alarm
LEAST_SPANS = 6  # with something in them, before anybody can say what is usual


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """How long nothing has come, and whether that is unusual."""

    quiet_seconds: float
    usual: float  # share of spans in which something comes
    chance: float  # of so long a gap, if everything is as usual; 1 while nobody knows what is usual
    silent: bool


def silence(counts: Sequence[int], quiet_seconds: float) -> Silence:
    """`counts` are pieces per span up to the last arrival, the oldest first and the last one not empty."""
    busy = sum(count > 0 for count in counts)
    usual = busy / (len(counts) + 1)  # one more: the last span is never empty, and would speak for itself
    if busy < LEAST_SPANS:
        return Silence(quiet_seconds=quiet_seconds, usual=usual, chance=1.0, silent=False)
    chance = (1 - usual) ** max(0.0, quiet_seconds / SPAN_SECONDS)
    return Silence(
        quiet_seconds=quiet_seconds,
        usual=usual,
        chance=chance,
        silent=chance < UNLIKELY and quiet_seconds >= LEAST_SECONDS,
    )
