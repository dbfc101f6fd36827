"""How strong each of a row of states is, from who was preferred to whom: Bradley and Terry 1952.

States follow one another, so a state is likely to be about as strong as the one before it: differences of neighbours
are normal around 0. That keeps an early look, with few answers, from crowning a state by luck. The first state is the
zero; strengths are in logits of being preferred.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STEPS = 50  # of Newton's method; it takes a handful
EXACT = 1e-9


@dataclass(frozen=True, slots=True)
class Strengths:
    """Of states, the first of which is 0."""

    mean: Floats
    covariance: Floats

    def difference(self, one: int, other: int) -> tuple[float, float]:
        """How much stronger `one` is, and the standard error of that."""
        variance = self.covariance[one, one] + self.covariance[other, other] - 2 * self.covariance[one, other]
        return float(self.mean[one] - self.mean[other]), float(np.sqrt(max(variance, 0.0)))


def strengths(won: Floats, *, neighbours: float = 0.7) -> Strengths:
    """`won[i, j]`: how often i was preferred to j, a tie being half for each. `neighbours` is the deviation of what two
    that follow one another differ by."""
    count = len(won)
    if won.shape != (count, count) or count == 0 or not (won >= 0).all():
        raise ValueError(f"won must be a square of counts, not {won.shape}")
    asked = won + won.T
    steps = np.diff(np.eye(count), axis=0)[:, 1:]  # from strengths but the first to differences of neighbours
    prior = steps.T @ steps / neighbours**2
    free = np.zeros(count - 1)
    for _ in range(STEPS):
        mean = np.concatenate([[0.0], free])
        chance = 1.0 / (1.0 + np.exp(mean[None, :] - mean[:, None]))
        slope = (won - asked * chance).sum(1)[1:] - prior @ free
        weight = asked * chance * (1 - chance)
        curve = (np.diag(weight.sum(1)) - weight)[1:, 1:] + prior
        move = np.linalg.solve(curve, slope) if count > 1 else slope
        free = free + move
        if not move.size or np.abs(move).max() < EXACT:
            break
    covariance = np.zeros((count, count))
    if count > 1:
        covariance[1:, 1:] = np.linalg.inv(curve)
    return Strengths(np.concatenate([[0.0], free]), covariance)
