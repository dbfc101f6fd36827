"""What a reward model must reach before later stops take it into use.

The bounds are lenient: they stop a model that harms, not one that could be better. A figure over a handful of
pairs is told and held against nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Bounds(BaseModel):
    """Below the `min_` and above the `max_` a model is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    fewest: int = Field(30, ge=1)
    """A figure over fewer pairs than this stops nobody."""

    min_accuracy: float = Field(0.5, ge=0, le=1)
    """Share of held-out pairs that are ranked as people did."""

    min_longer_won: float = Field(0.3, ge=0, le=1)
    """The same where people chose the longer answer."""

    min_shorter_won: float = Field(0.3, ge=0, le=1)
    """The same where people chose the shorter answer: a mere liking for length fails here."""

    max_calibration_error: float = Field(0.4, ge=0, le=1)
    """Mean gap between how sure the model is and how often it is right."""

    max_log_loss: float = Field(1.5, ge=0)
    """Mean surprise in nats; a coin has 0.693, and more is confidence in what is wrong."""


HELD: Mapping[str, tuple[str, str]] = {  # bound -> the figure it holds, and over how many pairs that is
    "min_accuracy": ("accuracy", "pairs"),
    "min_longer_won": ("accuracy_when_longer_won", "pairs_longer_won"),
    "min_shorter_won": ("accuracy_when_shorter_won", "pairs_shorter_won"),
    "max_calibration_error": ("calibration_error", "pairs"),
    "max_log_loss": ("log_loss", "pairs"),
}


def held(quality: Mapping[str, Any], fewest: int) -> list[str]:
    """The bounds that can be asked of these figures: known ones, over enough pairs."""
    return [
        bound
        for bound, (figure, pairs) in HELD.items()
        if quality.get(figure) is not None and quality.get(pairs, 0) >= fewest
    ]


def verdict(quality: Mapping[str, float], bounds: Bounds) -> dict[str, Any]:
    """Whether a model passed, and by name each bound that it missed: {"passed", "failed"}."""
    failed = {}
    for bound in held(quality, bounds.fewest):
        value, limit = quality[HELD[bound][0]], getattr(bounds, bound)
        met = value >= limit if bound.startswith("min_") else value <= limit
        if not met:
            failed[bound] = {"value": value, "limit": limit}
    return {"passed": not failed, "failed": failed}
