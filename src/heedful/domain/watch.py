"""What monitoring sees, and what is done about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from heedful.domain.ids import AlertId, EpisodeId, IncidentId, TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One number at one time, with the band that it should stay in."""

    name: str
    value: float
    at: datetime
    low: float | None = None
    high: float | None = None
    n: int | None = None  # how many observations stand behind it
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Inside its band; a value without a band always is."""
        return (self.low is None or self.value >= self.low) and (self.high is None or self.value <= self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A signal left its band; `action` is what was done about it at once."""

    id: AlertId
    tenant: TenantId
    signal: Signal
    at: datetime
    pages: bool  # a person is woken up
    action: str | None = None
    episodes: tuple[EpisodeId, ...] = ()  # examples
    incident: IncidentId | None = None


class IncidentState(StrEnum):
    OPEN = "open"
    MITIGATED = "mitigated"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    id: IncidentId
    tenant: TenantId
    title: str
    opened_at: datetime
    state: IncidentState = IncidentState.OPEN
    timeline: tuple[tuple[datetime, str], ...] = ()
    closed_at: datetime | None = None
