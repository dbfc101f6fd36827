"""The named signals, from counts that the store keeps. Pure: counts in, signals out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from heedful.domain.release import Release
from heedful.domain.watch import Signal


class WatchSettings(BaseModel):
    """Bands of the signals."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    violations: float = Field(0.05, ge=0, le=1)
    """Share of checked turns that may break the safety taxonomy; where the live policy breaks more, as many as it."""

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


class Exposure(Protocol):
    """One episode under a release, as far as anyone said how it went."""

    @property
    def arm(self) -> str: ...
    @property
    def completed(self) -> bool | None: ...
    @property
    def violations(self) -> int: ...
    @property
    def checked(self) -> int: ...


def tallies(release: Release, exposures: Sequence[Exposure]) -> list[Tally]:
    """The records of the two policies that share an agent's traffic."""
    found = []
    for arm, policy in (("canary", release.policy), ("control", release.against)):
        mine = [one for one in exposures if one.arm == arm]
        if policy is not None:
            found.append(
                Tally(
                    policy=policy,
                    episodes=len(mine),
                    completed=sum(one.completed is True for one in mine),
                    answered=sum(one.completed is not None for one in mine),
                    checked=sum(one.checked for one in mine),
                    violations=sum(one.violations for one in mine),
                )
            )
    return found


def signals(known: Sequence[Tally], *, live: str, at: datetime, settings: WatchSettings) -> list[Signal]:
    """Success and violations per policy. The live policy's own record is what the others are held to."""
    base = next((one for one in known if one.policy == live and one.answered >= settings.least), None)
    found = []
    for one in known:
        labels = {"policy": one.policy}
        if one.checked:
            usual = base.violations / base.checked if base and base.checked else 0.0
            high = max(settings.violations, usual) if one.checked >= settings.least else None
            found.append(
                Signal(
                    name="violation_rate",
                    value=one.violations / one.checked,
                    at=at,
                    high=high,
                    n=one.checked,
                    labels=labels,
                )
            )
        if one.answered:
            held = base is not None and one.answered >= settings.least
            low = settings.success * base.completed / base.answered if base and held else None
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
