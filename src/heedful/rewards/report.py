"""What a reward model's report card says, from its scores on pairs that it never saw.

Accuracy alone hides two things people get hurt by: confidence that is not deserved (the calibration
error) and a plain liking for long answers (the two shares by length).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def accuracy(differences: Floats, weights: Floats | None = None) -> float:
    """Share of pairs whose chosen answer scores higher; an equal score is half right."""
    if len(differences) == 0:
        return float("nan")
    right = (differences > 0) + 0.5 * (differences == 0)
    return float(np.average(right, weights=weights))


def calibration_error(probabilities: Floats, outcomes: Floats, *, bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3): mean gap of confidence and frequency."""
    if len(probabilities) == 0:
        return float("nan")
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    gap = 0.0
    for which in range(bins):
        inside = place == which
        if inside.any():
            gap += inside.sum() * abs(probabilities[inside].mean() - outcomes[inside].mean())
    return float(gap / len(probabilities))


def pair_report(differences: Floats, chosen_lengths: Floats, rejected_lengths: Floats) -> dict[str, float]:
    """Figures over held-out pairs; differences are score(chosen) - score(rejected) in log-odds."""
    longer = chosen_lengths > rejected_lengths
    shorter = chosen_lengths < rejected_lengths
    # People's own order is put at random, so that calibration sees both outcomes.
    flip = np.arange(len(differences)) % 2 == 1
    shown = np.where(flip, -differences, differences)
    probabilities = 1.0 / (1.0 + np.exp(-np.clip(shown, -30, 30)))
    return {
        "pairs": float(len(differences)),
        "accuracy": accuracy(differences),
        "calibration_error": calibration_error(probabilities, (~flip).astype(float)),
        "accuracy_when_longer_won": accuracy(differences[longer]),
        "accuracy_when_shorter_won": accuracy(differences[shorter]),
        "share_longer_won": float(longer.mean()) if len(longer) else float("nan"),
    }


def flag_report(probabilities: Floats, flags: Floats) -> dict[str, float]:
    """Figures over held-out answers that people flagged or passed."""
    if len(flags) == 0:
        return {"answers": 0.0}
    said = probabilities > 0.5
    flagged = flags > 0.5
    return {
        "answers": float(len(flags)),
        "flagged": float(flagged.mean()),
        "accuracy": float((said == flagged).mean()),
        "missed": float((~said[flagged]).mean()) if flagged.any() else float("nan"),
        "false_alarms": float(said[~flagged].mean()) if (~flagged).any() else float("nan"),
        "calibration_error": calibration_error(probabilities, flags),
    }
