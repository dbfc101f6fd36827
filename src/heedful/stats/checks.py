"""Refusals that every statistic shares."""

from __future__ import annotations

import math

from heedful.errors import InvalidInput


def alpha_checked(alpha: float) -> float:
    if not 0 < alpha < 1:
        raise InvalidInput(f"alpha is {alpha}: an error level lies between 0 and 1", field="alpha")
    return alpha


def finite(value: float) -> float:
    if not math.isfinite(value):
        raise InvalidInput(f"{value} is not a finite number: leave it out and count it elsewhere")
    return value
