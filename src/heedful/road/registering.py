"""Stop 6: weights get a name and parents, and are looked at before anybody meets them."""

from __future__ import annotations

from dataclasses import replace

from heedful.domain.content import Sampling
from heedful.domain.ids import AgentId, DatasetId, Digest, PolicyId, RewardModelId, TenantId
from heedful.domain.models import Adapter, External, Policy, RewardModel, Run, Standing, Weights
from heedful.evaluation import gates
from heedful.registry import versions
from heedful.road.parts import Parts
from heedful.road.records import act, get
from heedful.road.steps import made_by, run_once, weights_of
from heedful.store.protocol import Batch


def register(
    parts: Parts,
    tenant: TenantId,
    agent: AgentId,
    run: Run,
    *,
    parent: PolicyId | None,
    reward: RewardModelId | None,
    datasets: tuple[DatasetId, ...],
) -> Policy:
    """What the run brought forth becomes the agent's next version."""
    known = made_by(parts, Policy, tenant, run.id)
    if known is not None:
        return known
    sampling = Sampling() if parent is None else get(parts, Policy, tenant, parent).sampling
    policy = versions.policy(
        Weights(digest=run.outputs["model"]),
        tenant=tenant,
        agent=agent,
        version=versions.next_version(parts.store.find(Policy, tenant, where={"agent": agent}, limit=None)),
        at=parts.clock.now(),
        sampling=sampling,
        parent=parent,
        run=run.id,
        reward=reward,
        datasets=datasets,
        figures=run.figures,
    )
    parts.store.commit(Batch(add=(policy,), acts=(act(parts, tenant, "loop", "policy.registered", policy),)))
    return policy


def adopt(
    parts: Parts,
    tenant: TenantId,
    agent: AgentId,
    body: Weights | Adapter | External,
    *,
    sampling: Sampling,
    actor: str,
) -> Policy:
    """A policy that was not made here: a hosted model with its prompt, or weights that somebody brings."""
    policy = versions.policy(
        body,
        tenant=tenant,
        agent=agent,
        version=versions.next_version(parts.store.find(Policy, tenant, where={"agent": agent}, limit=None)),
        at=parts.clock.now(),
        sampling=sampling,
    )
    parts.store.commit(Batch(add=(policy,), acts=(act(parts, tenant, actor, "policy.adopted", policy),)))
    return policy


def validate(parts: Parts, tenant: TenantId, policy: PolicyId, *, prompts: Digest, once: str) -> Policy:
    """The policy beside its parent on held-out prompts; the findings decide whether it may be released."""
    tested = get(parts, Policy, tenant, policy)
    if tested.parent is None or tested.reward is None or tested.standing is not Standing.CANDIDATE:
        return tested
    parent = get(parts, Policy, tenant, tested.parent)
    judge = get(parts, RewardModel, tenant, tested.reward)
    run = run_once(
        parts,
        "heedful.evaluation.offline:run",
        lambda at: {
            "policy": at["policy"],
            "parent": at["parent"],
            "reward": "heedful.rewards.loading:load",
            "reward_model": at["reward"],
            "prompts": at["prompts"],
            "seed": parts.learn.seed,
        },
        tenant=tenant,
        once=once,
        files={"prompts": prompts},
        trees={"policy": weights_of(tested), "parent": weights_of(parent), "reward": judge.digest},
    )
    findings = gates.of_policy(run.figures, parts.gates)
    passed = all(finding.passed for finding in findings)
    found = replace(
        tested,
        figures={**tested.figures, **run.figures},
        standing=Standing.VALIDATED if passed else Standing.REFUSED,
        notes={**tested.notes, "findings": "; ".join(map(str, findings))},
    )
    parts.store.commit(
        Batch(swap=((tested, found),), acts=(act(parts, tenant, "loop", "policy.validated", found),))
    )
    return found
