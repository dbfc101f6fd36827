"""From several answers to one request, pick the two that teach most.

Two answers that open with different actions show what a policy should *do*; two that differ in wording only
show how it should talk. Left and right are dealt by chance, so that a habit of looking left cancels out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from random import Random
from typing import TypeVar

T = TypeVar("T")


def opening(answer: str) -> str:
    """What the answer does first: its leading bracketed call, else its first word."""
    text = answer.strip()
    if text.startswith("["):
        return text.split("]", 1)[0] + "]"
    return text.split(maxsplit=1)[0] if text else ""


def pair(answers: Sequence[T], *, text: Callable[[T], str], random: Random) -> tuple[T, T] | None:
    """Two different answers, with different openings where possible; None when all are the same."""
    different = [(a, b) for a, b in combinations(answers, 2) if text(a) != text(b)]
    if not different:
        return None
    contrasts = [(a, b) for a, b in different if opening(text(a)) != opening(text(b))]
    left, right = random.choice(contrasts or different)
    return (left, right) if random.random() < 0.5 else (right, left)
