"""How far two people who judged the same things agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from heedful.errors import InvalidInput


def percent_agreement(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """The share of things that both judged alike; flatters whoever always says the most common thing."""
    if len(first) != len(second) or not first:
        raise InvalidInput(
            f"{len(first)} and {len(second)} judgements: both must judge the same things, one at least"
        )
    return sum(a == b for a, b in zip(first, second, strict=True)) / len(first)


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Agreement beyond what chance gives: J. Cohen, Educational and Psychological Measurement 20(1) (1960),
    equation (1).

    1 is perfect, 0 is chance, below 0 is worse than chance. None when both always said one and the same
    thing: chance alone then agrees always, and there is nothing beyond it to measure.
    """
    observed = percent_agreement(first, second)
    ones, others = Counter(first), Counter(second)
    by_chance = sum(count * others[label] for label, count in ones.items()) / len(first) ** 2
    if by_chance == 1:
        return None
    return (observed - by_chance) / (1 - by_chance)
