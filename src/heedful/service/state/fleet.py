"""The gateway's view of what is live: read from the store every fraction of a second, and at once when told.

Nothing else carries a release to the gateways. Each of them reads the same releases and computes the same
allocations from their salts, so they agree without talking to one another.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Event, Lock, Thread

from heedful import road
from heedful.domain.ids import AgentId, PolicyId, TenantId
from heedful.domain.models import Policy
from heedful.errors import HeedfulError
from heedful.release.duty import Duty
from heedful.road import Parts

log = logging.getLogger("heedful.fleet")

EVERY_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class View:
    """One tenant's agents at one moment, with the policies that answer for them."""

    duties: Mapping[AgentId, Duty]
    policies: Mapping[PolicyId, Policy]


class Fleet:
    def __init__(
        self, parts: Parts, *, every: float = EVERY_SECONDS, fallbacks: Iterable[PolicyId] = ()
    ) -> None:
        self._parts = parts
        self._fallbacks = tuple(fallbacks)  # policies that are wanted whether or not they are live
        self._every = every
        self._views: dict[TenantId, View] = {}
        self._reading = Lock()
        self._news = Event()
        self._stopping = False
        self._thread: Thread | None = None

    def view(self, tenant: TenantId) -> View | None:
        """As last read; None when this tenant was never asked for: `refresh` it, which reads the store."""
        return self._views.get(tenant)

    def refresh(self, tenant: TenantId | None = None) -> None:
        """Read again now, the one tenant or all that were ever asked for. Not on the event loop."""
        with self._reading:  # an older reading never replaces a newer one
            for one in [tenant] if tenant is not None else list(self._views):
                self._views[one] = self._read(one)

    def _read(self, tenant: TenantId) -> View:
        duties = road.on_duty(self._parts, tenant)
        before = self._views.get(tenant)
        policies = dict(before.policies) if before is not None else {}
        wanted = {
            id
            for one in duties.values()
            for id in (one.live, *((one.release.policy,) if one.release is not None else ()))
        } | set(self._fallbacks)
        missing = sorted(wanted - policies.keys())
        if missing:  # what a policy is never changes, so it is read once
            policies |= {
                PolicyId(id): policy
                for id, policy in self._parts.store.get_many(Policy, tenant, missing).items()
            }
        return View(duties, {id: policies[id] for id in wanted if id in policies})

    def start(self) -> None:
        self._stopping = False
        self._thread = Thread(target=self._run, name="heedful-fleet", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._news.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            self._news.wait(self._every)
            self._news.clear()
            try:
                self.refresh()
            except HeedfulError as error:  # the last view holds until the store is back
                log.warning("the fleet's view is old", extra={"reason": str(error)})
            except Exception:
                log.exception("the fleet's view is old")
