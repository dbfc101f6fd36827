"""How fast a key may send: a token bucket for each. Several servers count apart, each by itself."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

from heedful.errors import TooFast

BURST_SECONDS = 2.0  # of its rate, that a key may save up
BUCKETS = 10_000  # keys and addresses that are remembered


@dataclass(slots=True)
class Bucket:
    """Fills steadily, and each request takes one token out."""

    tokens: float
    at: float

    def take(self, *, rate: float, most: float, now: float) -> float:
        """0 when there was a token, else the seconds until there is one."""
        self.tokens = min(most, self.tokens + (now - self.at) * rate)
        self.at = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / rate


class Buckets:
    """One for each key; those that were used least lately are forgotten, full as they will be."""

    def __init__(self, rate: float, *, burst_seconds: float = BURST_SECONDS) -> None:
        self._rate = rate
        self._burst = burst_seconds
        self._known: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, who: str, own: float | None = None, *, now: float | None = None) -> None:
        """Nothing, or `TooFast` with the time to wait. `own` is a rate of their own, instead of everybody's."""
        now = time.monotonic() if now is None else now
        rate = self._rate if own is None else own
        most = max(1.0, rate * self._burst)
        bucket = self._known.get(who)
        if bucket is None:
            bucket = self._known[who] = Bucket(most, now)
            while len(self._known) > BUCKETS:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(who)
        wait = bucket.take(rate=rate, most=most, now=now)
        if wait > 0:
            raise TooFast(
                f"{who} sends more than {rate:g} requests a second: wait {wait:.2f} s", retry_after=wait
            )
