"""What a program says about answers: one number each, or that it has nothing to say.

Nothing to say is not 0: `unscored` is 1 there, and whoever reads `quality` leaves that place out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from heedful.errors import InvalidInput

Floats = NDArray[np.float64]
Scores = dict[str, Floats]
Columns = Mapping[str, Sequence[Any]]  # what else the data say about each answer's prompt, by name


class ToldJudge(Protocol):
    """Judges answers, one prompt each, and may be told more than the prompt says."""

    def score(
        self, prompts: Sequence[Any], answers: Sequence[str], columns: Columns | None = None
    ) -> Mapping[str, Floats]: ...


def number(value: object, who: str, answer: int) -> float | None:
    """A finite number, or None for nothing to say; `who` said it about answer number `answer`, from 1."""
    if value is None:
        return None
    if isinstance(value, SupportsFloat) and not isinstance(value, str | bytes):
        found = float(value)
        if math.isfinite(found):
            return found
    raise InvalidInput(
        f"{who} says {value!r} about answer {answer}: a finite number, or None where it does not apply"
    )


def scores(said: Sequence[float | None]) -> Scores:
    return {
        "quality": np.array([0.0 if one is None else one for one in said], dtype=np.float64),
        "unscored": np.array([float(one is None) for one in said]),
    }
