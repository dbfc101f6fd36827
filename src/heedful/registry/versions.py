"""Give what came out of a run its name: the next version of an agent's policy, or of the judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from heedful.domain.content import Sampling
from heedful.domain.ids import AgentId, DatasetId, Digest, PolicyId, RewardModelId, RunId, TenantId
from heedful.domain.models import Adapter, External, Policy, RewardModel, Weights


def next_version(known: Iterable[Policy] | Iterable[RewardModel]) -> int:
    return max((one.version for one in known), default=0) + 1


def policy(
    body: Weights | Adapter | External,
    *,
    tenant: TenantId,
    agent: AgentId,
    version: int,
    at: datetime,
    sampling: Sampling,
    parent: PolicyId | None = None,
    run: RunId | None = None,
    reward: RewardModelId | None = None,
    datasets: tuple[DatasetId, ...] = (),
    figures: Mapping[str, float] | None = None,
    notes: Mapping[str, str] | None = None,
) -> Policy:
    return Policy(
        id=PolicyId(f"{agent}@{version}"),
        tenant=tenant,
        agent=agent,
        version=version,
        body=body,
        created_at=at,
        sampling=sampling,
        parent=parent,
        run=run,
        reward=reward,
        datasets=datasets,
        figures=figures or {},
        notes=notes or {},
    )


def reward_model(
    digest: Digest,
    *,
    tenant: TenantId,
    version: int,
    at: datetime,
    dataset: DatasetId,
    backbone: PolicyId,
    run: RunId,
    report: Mapping[str, float],
    objectives: tuple[str, ...],
) -> RewardModel:
    return RewardModel(
        id=RewardModelId(f"reward@{version}"),
        tenant=tenant,
        version=version,
        digest=digest,
        objectives=objectives,
        members=1,
        created_at=at,
        dataset=dataset,
        backbone=backbone,
        run=run,
        report=report,
    )
