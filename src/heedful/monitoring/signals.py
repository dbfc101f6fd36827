"""The named signals, from counts that the store keeps. Pure: counts in, signals out.

A band is as wide as chance alone may make it over all looks together: somebody looks every few seconds, and a
share of a hundred turns lies above its limit now and then without anything being wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from heedful.domain.release import Release
from heedful.domain.watch import Signal
from heedful.stats.asymptotic_cs import margin, rho_squared


class WatchSettings(BaseModel):
    """Bands of the signals."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    violations: float = Field(0.05, ge=0, le=1)
    """Share of checked turns that may break the taxonomy; where the live policy breaks more, its share."""

    success: float = Field(0.9, gt=0)
    """Success may fall to this share of the live policy's before someone looks."""

    least: int = Field(100, ge=1)
    """Observations below which a signal has no band."""

    alpha: float = Field(0.01, gt=0, lt=0.5)
    """Chance that a signal ever leaves its band, over all looks at one release, with nothing wrong."""


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
    base = next((one for one in known if one.policy == live), None)
    found = []
    for one in known:
        labels = {"policy": one.policy}
        if one.checked:
            high = _highest(one, base, settings) if one.checked >= settings.least else None
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
            low = _lowest(one, base, settings) if one.answered >= settings.least else None
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


def _highest(one: Tally, base: Tally | None, settings: WatchSettings) -> float:
    """Violations that this policy may have: as the settings say, or as the live one has if that is more."""
    if base is not None and base.checked >= settings.least:
        usual = base.violations / base.checked
        if usual > settings.violations:
            return usual + _chance(usual, one.checked, base.checked, settings)
    return settings.violations + _chance(settings.violations, one.checked, math.inf, settings)


def _lowest(one: Tally, base: Tally | None, settings: WatchSettings) -> float | None:
    """Success that this policy must have; None while the live one's is not known."""
    if base is None or base.answered < settings.least:
        return None
    wanted = settings.success * base.completed / base.answered
    return wanted - _chance(wanted, one.answered, base.answered, settings)


def _chance(share: float, count: int, beside: float, settings: WatchSettings) -> float:
    """How far `count` observations may lie from a share that was itself seen in `beside` observations."""
    worth = 1 / (1 / count + 1 / beside)
    reach = margin(worth, alpha=settings.alpha, rho_squared=rho_squared(settings.alpha, 10 * settings.least))
    return math.sqrt(share * (1 - share)) * reach
