"""A weight for every feature, from comparisons and from flags: two logistic regressions, both convex.

Comparisons have soft outcomes and margins, which is why they are minimised here and not by a library's classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
USUAL = 0.3  # where nothing can be left out to find it
ROUNDS = 500
PARTS = 4


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of some answers. Each is read once, however often it was judged."""

    features_af: Any  # sparse
    first_r: Places  # per row the answer that it is about
    second_r: Places | None  # and the one that it was compared with; none: it was judged alone
    outcomes_r: Floats  # that the first is better, or that it was flagged: 0 to 1
    margins_r: Floats  # by how much the log-odds must be ahead
    weights_r: Floats

    def __len__(self) -> int:
        return len(self.outcomes_r)

    def some(self, places: Places) -> Judged:
        """These rows."""
        return replace(
            self,
            first_r=self.first_r[places],
            second_r=None if self.second_r is None else self.second_r[places],
            outcomes_r=self.outcomes_r[places],
            margins_r=self.margins_r[places],
            weights_r=self.weights_r[places],
        )

    def odds(self, weights_f: Floats) -> Floats:
        """What these weights make of each row."""
        scores_a = self.features_af @ weights_f
        odds_r: Floats = scores_a[self.first_r] - self.margins_r
        return odds_r if self.second_r is None else odds_r - scores_a[self.second_r]

    def slope(self, errors_r: Floats) -> Floats:
        """By each weight, of a loss whose slope by each row's odds is this."""
        answers = self.features_af.shape[0]
        errors_a = np.bincount(self.first_r, errors_r, answers)
        if self.second_r is not None:
            errors_a -= np.bincount(self.second_r, errors_r, answers)
        slope_f: Floats = self.features_af.T @ errors_a
        return slope_f


def surprise(judged: Judged, weights_f: Floats) -> float:
    """Mean over the rows, in nats."""
    odds_r = judged.odds(weights_f)
    of_rows_r = np.logaddexp(0.0, odds_r) - judged.outcomes_r * odds_r
    return float(judged.weights_r @ of_rows_r) / max(float(judged.weights_r.sum()), 1e-9)


def fit(judged: Judged, strength: float, start_f: Floats | None = None) -> Floats:
    """The weights that surprise least, with half their square over `strength` on top (as libraries call it: C)."""

    def loss(weights_f: Floats) -> tuple[float, Floats]:
        odds_r = judged.odds(weights_f)
        of_rows_r = np.logaddexp(0.0, odds_r) - judged.outcomes_r * odds_r
        errors_r = judged.weights_r * (expit(odds_r) - judged.outcomes_r)
        value = float(judged.weights_r @ of_rows_r) + float(weights_f @ weights_f) / (2 * strength)
        return value, judged.slope(errors_r) + weights_f / strength

    start_f = np.zeros(judged.features_af.shape[1]) if start_f is None else start_f
    found = minimize(
        loss, start_f, jac=True, method="L-BFGS-B", options={"maxiter": ROUNDS, "maxcor": 20, "ftol": 1e-8}
    )
    weights_f: Floats = found.x
    return weights_f


def strength_of(
    judged: Judged, groups: Sequence[str], told: Callable[[float, float], None] = lambda strength, loss: None
) -> float:
    """Of a few, the one that is surprised least on groups that it did not see."""
    names = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    if len(names) < 2:
        return USUAL
    part_r = np.array([names[group] for group in groups]) % min(PARTS, len(names))
    parts = [(np.flatnonzero(part_r != part), np.flatnonzero(part_r == part)) for part in np.unique(part_r)]
    weights: list[Floats | None] = [None] * len(parts)  # of the strength before: a good place to start
    best, least = USUAL, np.inf
    for strength in STRENGTHS:
        losses, sizes = [], []
        for place, (known, unseen) in enumerate(parts):
            weights_f = weights[place] = fit(judged.some(known), strength, weights[place])
            losses.append(surprise(judged.some(unseen), weights_f))
            sizes.append(float(judged.weights_r[unseen].sum()))
        loss = float(np.average(losses, weights=sizes))
        told(strength, loss)
        if loss < least:
            best, least = strength, loss
    return best
