"""Stop 8: is it still good? What is not takes its release back."""

from __future__ import annotations

from heedful.domain.ids import AgentId, AlertId, TenantId
from heedful.domain.watch import Alert, Signal
from heedful.monitoring import signals
from heedful.road.answering import on_duty
from heedful.road.parts import Parts
from heedful.road.records import act
from heedful.road.releasing import roll_back
from heedful.store.protocol import Batch


def watch(parts: Parts, tenant: TenantId, agent: AgentId) -> list[Signal]:
    """The signals of an agent's policies. One outside its band is an alert, which takes the release back."""
    known = on_duty(parts, tenant).get(agent)
    if known is None:
        return []
    now = parts.clock.now()
    if known.release is None:
        return []
    tallies = signals.tallies(known.release, parts.views.exposures(tenant, known.release.id))
    found = signals.signals(tallies, live=known.live, at=now, settings=parts.watch)
    for signal in found:
        if signal.healthy or signal.labels["policy"] != known.release.policy:
            continue
        alert = Alert(
            id=AlertId(f"alert:{known.release.id}:{signal.name}"),
            tenant=tenant,
            signal=signal,
            at=now,
            pages=True,
            action=f"rolled back {known.release.id}",
        )
        if parts.store.get(Alert, tenant, alert.id) is None:
            parts.store.commit(
                Batch(add=(alert,), acts=(act(parts, tenant, "watch", "alert.raised", alert),))
            )
        # Also when the alert is known: who raised it may have died before this line.
        roll_back(parts, tenant, known.release.id, reason=f"{signal.name} left its band", actor="watch")
    return found
