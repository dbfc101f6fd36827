"""Afterwards: nothing is kept for longer than its tenant wants."""

from __future__ import annotations

from dataclasses import replace

from heedful.domain.ids import TenantId
from heedful.errors import Conflict
from heedful.feedback import purge as purging
from heedful.feedback import retention
from heedful.feedback.retention import Purged
from heedful.road.parts import Parts
from heedful.store.protocol import Act, Ref


def purge_old(parts: Parts, tenant: TenantId, *, actor: str, dry_run: bool = False) -> Purged:
    """What is older than the tenant's retention goes, in commits of many; each is an act that holds counts only.

    What somebody changes at this very moment stays until the next time. `dry_run` counts and takes nothing.
    """
    before = retention.cutoff(parts.capture, tenant, parts.clock.now())
    purged = Purged(before=before)
    for batch in () if before is None else purging.due(parts.store, parts.views, tenant, before):
        counted = Purged.of(batch.drop, [one for one, _ in batch.swap])
        done = Act(
            tenant=tenant,
            at=parts.clock.now(),
            actor=actor,
            verb="records.purged",
            subject=Ref(kind="tenant", id=tenant),
            detail={"gone": counted.gone, "bare": counted.bare},
        )
        if not dry_run:
            try:
                parts.store.commit(replace(batch, acts=(done,)))
            except Conflict:
                continue
        purged = purged.and_also(counted)
    return purged
