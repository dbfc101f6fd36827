"""Stop 7: the fleet gets it bit by bit, or gets rid of it."""

from __future__ import annotations

from dataclasses import replace

from heedful.domain.ids import PolicyId, ReleaseId, TenantId
from heedful.domain.models import External, Policy, Standing
from heedful.domain.release import Release, Stage, Step, Target, Unit, moved
from heedful.errors import Conflict
from heedful.feedback.formats import found as elsewhere
from heedful.release import duty, gate
from heedful.road.parts import Parts
from heedful.road.records import act, get
from heedful.store.protocol import Batch


def release(
    parts: Parts,
    tenant: TenantId,
    policy: PolicyId,
    *,
    actor: str,
    once: str,
    steps: tuple[float, ...] | None = None,
    unit: Unit = Unit.EPISODE,
    override: str | None = None,
) -> Release:
    """Begin: an agent's first policy goes to everyone, any other starts with the first step's share."""
    id = ReleaseId(f"release:{once}")
    begun = parts.store.get(Release, tenant, id)
    if begun is not None:
        return begun
    new = get(parts, Policy, tenant, policy)
    if new.standing is Standing.REFUSED and override is None:
        raise Conflict(
            f"policy {policy!r} was refused ({new.notes.get('findings')}): release it with a reason, or not"
        )
    if isinstance(new.body, External) and new.body.upstream == elsewhere.IMPORTED:
        raise Conflict(f"policy {policy!r} answered elsewhere: it has no server here that could be released")
    now, before = parts.clock.now(), parts.store.find(Release, tenant, where={"agent": new.agent}, limit=None)
    known = duty.on_duty(before).get(new.agent)
    if known is not None and known.release is not None:
        raise Conflict(f"release {known.release.id!r} of agent {new.agent!r} is under way: one at a time")
    if known is not None and known.live == policy:
        raise Conflict(f"policy {policy!r} is live already")
    begun = Release(
        id=id,
        tenant=tenant,
        target=Target(agent=new.agent),
        policy=policy,
        against=known.live if known else None,
        steps=(steps or parts.releases.steps) if known else (100.0,),
        unit=unit,
        salt=f"{parts.random.getrandbits(64):016x}",
        started_at=now,
        since=now,
        stage=Stage.CANARY if known else Stage.FULL,
        ended_at=None if known else now,
        reason=override,
        by=actor,
    )
    outcome = parts.store.commit(
        Batch(
            add=(begun,),
            acts=(act(parts, tenant, actor, "release.begun", begun),),
            once=f"release {len(before)} of {new.agent}",
        )
    )
    kept = parts.store.get(Release, tenant, id) if outcome.repeated else begun
    if kept is None:
        raise Conflict(f"another release of agent {new.agent!r} began at this moment: one at a time")
    return kept


def decide(parts: Parts, tenant: TenantId, id: ReleaseId) -> Release:
    """Look at what the release has shown so far, and move it on, leave it, or take it back."""
    known = get(parts, Release, tenant, id)
    if known.stage is not Stage.CANARY:
        return known
    decision = gate.decide(known, parts.views.exposures(tenant, id), parts.releases)
    if decision.verb is gate.Verb.HOLD:
        return known
    return _move(parts, known, decision, actor="gate")


def roll_back(parts: Parts, tenant: TenantId, id: ReleaseId, *, reason: str, actor: str) -> Release:
    """Take it back now; whoever asks next is answered by the policy before."""
    known = get(parts, Release, tenant, id)
    if known.stage is Stage.ROLLED_BACK:
        return known
    return _move(
        parts, known, gate.Decision(verb=gate.Verb.ROLL_BACK, reason=reason, figures={}), actor=actor
    )


def _move(parts: Parts, known: Release, decision: gate.Decision, *, actor: str) -> Release:
    now = parts.clock.now()
    taken = Step(
        percent=known.percent,
        turns=int(decision.figures.get("step_turns", 0)),
        at=now,
        decision=decision.verb,
        figures=decision.figures,
    )
    stage = gate.NEXT[decision.verb](known)
    changed = replace(
        moved(known, stage),
        step=known.step + 1 if decision.verb is gate.Verb.ADVANCE and stage is Stage.CANARY else known.step,
        since=now,
        taken=(*known.taken, taken),
        ended_at=now if stage in {Stage.FULL, Stage.ROLLED_BACK} else None,
        reason=decision.reason,
    )
    parts.store.commit(
        Batch(swap=((known, changed),), acts=(act(parts, known.tenant, actor, "release.moved", changed),))
    )
    return changed
