"""Parked feedback meets what it waited for: looked after every fraction of a second, and whole at the start.

Work goes with what is new. Turns and episodes are followed by their sequence numbers and lead through an index
to what waits for them; feedback that was parked since the last look is checked itself, because its target may
have come while it was on its way to the disk.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from threading import Event, Thread
from typing import TypeVar

from heedful import road
from heedful.domain.feedback import Parked
from heedful.domain.ids import FeedbackId, TenantId
from heedful.errors import HeedfulError
from heedful.road import Parts
from heedful.store.waiting import Marks

log = logging.getLogger("heedful.joiner")
T = TypeVar("T")

EVERY_SECONDS = 0.2
OLD_EVERY_SECONDS = 60.0  # between looks for what has waited too long
PAGE = 500


class Joiner:
    def __init__(self, parts: Parts, *, every: float = EVERY_SECONDS) -> None:
        self._parts = parts
        self._every = every
        self._marks: Marks | None = None  # turns and episodes read so far
        self._parked: dict[TenantId, int] = {}  # parked feedback checked so far; 0 is all of it
        self._again: dict[TenantId, list[FeedbackId]] = {}
        self._aged = float("-inf")
        self._stopping = Event()
        self._thread: Thread | None = None

    def look(self) -> None:
        """Join everything that can be joined now. A failure loses nothing: the next look begins where this did."""
        parts = self._parts
        # First the marks: what comes after them is found by the next look, however long this one takes.
        upto = parts.views.newest()
        tenants = parts.views.parked_tenants()
        for tenant in tenants:
            self._new(tenant)
        if tenants and self._marks is not None:
            self._arrived(self._marks, upto)
        self._marks = upto
        if time.monotonic() - self._aged > OLD_EVERY_SECONDS:
            for tenant in tenants:
                self._old(tenant)
            self._aged = time.monotonic()

    def _new(self, tenant: TenantId) -> None:
        """What was parked since the last look, and what waits for something else since."""
        again = self._again.pop(tenant, [])
        for some in _pages(again):
            known = self._parts.store.get_many(Parked, tenant, some)
            self._join(tenant, list(known.values()))
        while True:
            after = self._parked.get(tenant, 0)
            found = self._parts.store.changes(Parked, tenant, after=after, limit=PAGE)
            if not found:
                return
            self._join(tenant, [one for _, one in found])
            self._parked[tenant] = found[-1][0]

    def _arrived(self, after: Marks, upto: Marks) -> None:
        while after != upto:
            after, came = self._parts.views.arrived(after, upto)
            ids: defaultdict[TenantId, list[str]] = defaultdict(list)
            for tenant, id in came:
                ids[tenant].append(id)
            for tenant, some in ids.items():
                waiting = self._parts.views.parked_on(tenant, some)
                for page in _pages(waiting):
                    self._join(tenant, page)

    def _old(self, tenant: TenantId) -> None:
        """From the oldest on, as long as they are too old: `join` makes dead letters of them."""
        limit = self._parts.parked_days * 86_400
        while True:
            oldest = self._parts.store.find(Parked, tenant, limit=PAGE)
            now = self._parts.clock.now()
            old = [one for one in oldest if (now - one.since).total_seconds() > limit]
            if not old:
                return
            self._join(tenant, old)

    def _join(self, tenant: TenantId, waiting: Sequence[Parked]) -> None:
        if waiting:
            again = road.join(self._parts, tenant, waiting)
            if again:
                self._again.setdefault(tenant, []).extend(again)

    # -- its thread --------------------------------------------------------------------------------------

    def start(self) -> None:
        self._stopping.clear()
        self._thread = Thread(target=self._run, name="heedful-joiner", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._every):
            try:
                self.look()
            except HeedfulError as error:
                log.warning("nothing was joined", extra={"reason": str(error)})
            except Exception:
                log.exception("nothing was joined")


def _pages(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), PAGE):
        yield items[start : start + PAGE]
