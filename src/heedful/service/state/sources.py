"""Where feedback comes from and how much of it, as this server sees it.

The counts are of this process since it started; how much there is on record is the store's to say.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from heedful.domain.ids import TenantId
from heedful.monitoring.silence import SPAN_SECONDS, SPANS, Silence, silence
from heedful.road import Parts

TOOK = frozenset({"kept", "duplicate", "parked"})


@dataclass(slots=True)
class Pulse:
    """Pieces per span of time, for an hour up to the last that came."""

    spans: deque[int] = field(default_factory=lambda: deque(maxlen=SPANS))
    span: int = 0  # number of the last one
    last: float | None = None  # seconds since 1970

    def note(self, at: float, count: int) -> None:
        span = int(at // SPAN_SECONDS)
        if self.last is None:
            self.span = span - 1
        for _ in range(min(span - self.span, SPANS)):
            self.spans.append(0)
        self.span = max(span, self.span)
        self.spans[-1] += count
        self.last = at if self.last is None else max(at, self.last)

    def since(self, now: float, seconds: float) -> int:
        """Pieces in the last so many seconds, to the span."""
        first = int((now - seconds) // SPAN_SECONDS) + 1
        width = self.span - first + 1
        return sum(list(self.spans)[-width:]) if width > 0 and self.spans else 0

    def silence(self, now: float) -> Silence | None:
        return None if self.last is None else silence(self.spans, max(0.0, now - self.last))


@dataclass(slots=True)
class Line:
    """One source and form of one tenant."""

    pulse: Pulse = field(default_factory=Pulse)
    counts: Counter[str] = field(default_factory=Counter)


class Sources:
    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lines: dict[tuple[TenantId, str | None, str], Line] = {}
        self._tenants: dict[TenantId, Pulse] = {}
        self._lock = Lock()

    def note(self, tenant: TenantId, source: str | None, form: str, status: str, count: int = 1) -> None:
        """So many pieces of one kind came, now."""
        at = self._now().timestamp()
        with self._lock:
            line = self._lines.get((tenant, source, form))
            if line is None:
                line = self._lines[tenant, source, form] = Line()
            line.counts[status] += count
            if status in TOOK:
                line.pulse.note(at, count)
                self._tenants.setdefault(tenant, Pulse()).note(at, count)

    def remember(self, tenant: TenantId, times: Sequence[datetime]) -> None:
        """What came before this server started, the oldest first: a restart must not hide a silence."""
        with self._lock:
            pulse = self._tenants.setdefault(tenant, Pulse())
            for at in times:
                if pulse.last is None or at.timestamp() >= pulse.last:
                    pulse.note(at.timestamp(), 1)

    def silences(self) -> dict[TenantId, Silence]:
        """Of every tenant that ever had feedback here."""
        now = self._now().timestamp()
        with self._lock:
            found = {tenant: pulse.silence(now) for tenant, pulse in self._tenants.items()}
        return {tenant: one for tenant, one in found.items() if one is not None}

    def lines(self, tenant: TenantId) -> Iterator[dict[str, Any]]:
        now = self._now().timestamp()
        with self._lock:
            ours = [(key[1:], line) for key, line in self._lines.items() if key[0] == tenant]
            for (source, form), line in sorted(ours, key=lambda one: (one[0][0] or "", one[0][1])):
                last = line.pulse.last
                yield {
                    "source": source,
                    "form": form,
                    "last_minute": line.pulse.since(now, 60),
                    "last_hour": line.pulse.since(now, 3600),
                    "last_seen": None if last is None else datetime.fromtimestamp(last, UTC),
                    **{status: line.counts[status] for status in (*sorted(TOOK), "error")},
                }


def remembered(parts: Parts, sources: Sources) -> None:
    """What the store knows of when feedback came."""
    for tenant in parts.views.feedback_tenants():
        sources.remember(tenant, parts.views.feedback_pulse(tenant))
