"""What Prometheus reads: one registry of our own per app, so that two apps in one process do not mix."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from heedful.domain.ids import TenantId
from heedful.monitoring.silence import Silence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "heedful_requests", "Requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._seconds = Histogram(
            "heedful_request_seconds",
            "Seconds from request to answer.",
            ("method", "route"),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._feedback = Counter(
            "heedful_feedback", "Pieces of feedback by form.", ("form", "status"), registry=self._registry
        )
        self._said: dict[tuple[str, str], Counter] = {}
        self._turns = Counter(
            "heedful_turns", "Turns by policy.", ("tenant", "policy", "arm"), registry=self._registry
        )
        self._unrecorded = Counter(
            "heedful_turns_unrecorded",
            "Turns that were answered and could not be recorded.",
            registry=self._registry,
        )
        self._silences: Callable[[], Mapping[TenantId, Silence]] = dict
        self._last = Gauge(
            "heedful_feedback_last_seconds",
            "Seconds since feedback came.",
            ("tenant",),
            registry=self._registry,
        )
        self._silent = Gauge(
            "heedful_feedback_silent",
            "1 when no feedback has come for longer than is usual.",
            ("tenant",),
            registry=self._registry,
        )
        self._unnoticed = Counter(
            "heedful_conversations_unread",
            "Conversations in which nobody looked for signs, because too many came.",
            registry=self._registry,
        )
        self._waiting = Gauge(
            "heedful_ingest_waiting",
            "Pieces of feedback that wait for their commit.",
            registry=self._registry,
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        known = self._known.get((method, route, status))
        if known is None:  # finding a labelled metric costs more than counting with it
            counter = self._requests.labels(method, route, str(status))
            known = self._known[method, route, status] = (counter, self._seconds.labels(method, route))
        known[0].inc()
        known[1].observe(seconds)

    def feedback(self, form: str, status: str, count: int = 1) -> None:
        known = self._said.get((form, status))
        if known is None:
            known = self._said[form, status] = self._feedback.labels(form, status)
        known.inc(count)

    def silences(self, read: Callable[[], Mapping[TenantId, Silence]]) -> None:
        """How long no feedback has come: asked whenever somebody reads the metrics."""
        self._silences = read

    def waiting(self, read: Callable[[], int]) -> None:
        """How much feedback is on its way to the disk: asked as well."""
        self._waiting.set_function(read)

    def turns(self, tenant: str, policy: str, arm: str, count: int) -> None:
        self._turns.labels(tenant, policy, arm).inc(count)

    def unnoticed(self) -> None:
        self._unnoticed.inc()

    def unrecorded(self, count: int) -> None:
        self._unrecorded.inc(count)

    def text(self) -> bytes:
        for tenant, one in self._silences().items():
            self._last.labels(tenant).set(one.quiet_seconds)
            self._silent.labels(tenant).set(one.silent)
        return generate_latest(self._registry)
