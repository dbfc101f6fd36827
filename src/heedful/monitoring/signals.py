"""The named signals, from counts that the store keeps. Pure: counts in, signals out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from heedful.domain.watch import Signal


class WatchSettings(BaseModel):
    """Bands of the signals."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    violations: float = Field(0.05, ge=0, le=1)
    """Share of checked turns that may break the safety taxonomy."""

    success: float = Field(0.9, gt=0)
    """Success may fall to this share of the live policy's before someone looks."""

    least: int = Field(100, ge=1)
    """Observations below which a signal has no band."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """One policy's record."""

    policy: str
    episodes: int
    completed: int
    answered: int  # episodes with a known completion
    checked: int  # turns that were checked
    violations: int


def signals(tallies: list[Tally], *, live: str | None, at: datetime, settings: WatchSettings) -> list[Signal]:
    base = next((one for one in tallies if one.policy == live and one.answered >= settings.least), None)
    found = []
    for one in tallies:
        labels = {"policy": one.policy}
        if one.checked:
            found.append(
                Signal(
                    name="violation_rate",
                    value=one.violations / one.checked,
                    at=at,
                    high=settings.violations if one.checked >= settings.least else None,
                    n=one.checked,
                    labels=labels,
                )
            )
        if one.answered:
            low = (
                settings.success * base.completed / base.answered
                if base and one.answered >= settings.least
                else None
            )
            found.append(
                Signal(
                    name="success_rate",
                    value=one.completed / one.answered,
                    at=at,
                    low=low,
                    n=one.answered,
                    labels=labels,
                )
            )
    return found
