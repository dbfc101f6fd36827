"""When no feedback is a finding, and when it is only a quiet hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from heedful.domain.ids import TenantId
from heedful.monitoring.silence import LEAST_SECONDS, UNLIKELY, silence
from heedful.service.state.sources import Sources

BUSY = [1] * 360
TENANT = TenantId("acme")


def test_a_busy_source_is_missed_after_some_minutes_and_not_before() -> None:
    assert not silence(BUSY, LEAST_SECONDS - 1).silent
    assert silence(BUSY, LEAST_SECONDS).silent


def test_a_rare_source_is_missed_when_so_long_a_gap_is_unlikely() -> None:
    """Something comes in one span of ten: the chance of k empty ones is 0.9 ^ k, below 1e-4 from 88 on."""
    rare = ([0] * 9 + [3]) * 36
    found = silence(rare, 870)
    assert not found.silent
    assert abs(found.chance - (1 - 36 / 361) ** 87) < 1e-12
    assert silence(rare, 890).silent
    assert silence(rare, 890).chance < UNLIKELY


def test_how_much_comes_at_once_makes_no_difference() -> None:
    assert silence([1, 0] * 180, 400) == silence([0, 900] * 180, 400)


def test_nobody_is_alarmed_before_it_is_known_what_is_usual() -> None:
    assert not silence([], 1e6).silent
    assert not silence([1] * 5, 1e6).silent


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 6, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def test_sources_are_counted_by_what_became_of_them() -> None:
    clock = Hands()
    sources = Sources(clock)
    sources.note(TENANT, "direct", "thumbs", "kept", 5)
    clock.forward(120)
    sources.note(TENANT, "direct", "thumbs", "duplicate")
    sources.note(TENANT, None, "unread", "error", 2)
    thumbs, unread = sorted(sources.lines(TENANT), key=lambda line: line["form"])
    assert (thumbs["kept"], thumbs["duplicate"], thumbs["last_minute"], thumbs["last_hour"]) == (5, 1, 1, 6)
    assert thumbs["last_seen"] == clock.now
    assert (unread["error"], unread["last_seen"]) == (2, None)
    clock.forward(3599)
    assert next(iter(sources.lines(TENANT)))["last_hour"] in (0, 1)
    assert list(sources.lines(TenantId("globex"))) == []


def test_a_silence_is_seen_and_ends_with_the_next_piece() -> None:
    clock = Hands()
    sources = Sources(clock)
    for _ in range(100):
        sources.note(TENANT, "direct", "thumbs", "kept")
        clock.forward(10)
    assert not sources.silences()[TENANT].silent
    clock.forward(900)
    found = sources.silences()[TENANT]
    assert found.silent
    assert found.quiet_seconds == 910
    sources.note(TENANT, "direct", "thumbs", "parked")
    assert not sources.silences()[TENANT].silent


def test_errors_are_no_feedback() -> None:
    clock = Hands()
    sources = Sources(clock)
    sources.note(TENANT, "direct", "thumbs", "error")
    assert sources.silences() == {}


def test_a_restart_does_not_hide_a_silence() -> None:
    clock = Hands()
    sources = Sources(clock)
    sources.remember(TENANT, [clock.now - timedelta(seconds=2000 - 10 * n) for n in range(100)])
    assert sources.silences()[TENANT].silent
