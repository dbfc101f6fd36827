"""How sure a judge's log-odds really are.

A judge that was fitted long is surer of its comparisons than it is right; one number to divide its log-odds by puts
that right (Guo et al. 2017, "On calibration of modern neural networks", section 4.2). It is found on pairs that the
judge was not fitted to, and never graded on the pairs that it was found on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

Floats = NDArray[np.float64]
FEWEST = 30  # pairs; with fewer a temperature says nothing
RANGE = (np.log(0.05), np.log(20.0))  # of its logarithm


def temperature(odds_p: Floats) -> float:
    """Of the log-odds that the chosen answer is better: the one that makes the choices likeliest."""
    if len(odds_p) < FEWEST:
        return 1.0

    def surprise(log_temperature: float) -> float:
        return float(np.logaddexp(0.0, -odds_p / np.exp(log_temperature)).mean())

    return float(np.exp(minimize_scalar(surprise, bounds=RANGE, method="bounded").x))


def cooled(odds_p: Floats) -> Floats:
    """Log-odds as they would be after calibration: each half by the other half's temperature."""
    out = odds_p.copy()
    for half in (0, 1):
        out[half::2] = odds_p[half::2] / temperature(odds_p[1 - half :: 2])
    return out
