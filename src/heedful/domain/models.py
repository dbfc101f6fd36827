"""What acts and what judges: policies, reward models, the runs that made them, and one turn of the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from heedful.domain.content import Json, Message, Sampling
from heedful.domain.ids import (
    AgentId,
    CycleId,
    DatasetId,
    Digest,
    PolicyId,
    ReleaseId,
    RewardModelId,
    RunId,
    TenantId,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A whole model, as a directory in the blobs."""

    digest: Digest
    kind: Literal["weights"] = "weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A small change on top of a base that many policies share."""

    digest: Digest
    base: Digest
    kind: Literal["adapter"] = "adapter"


@dataclass(frozen=True, slots=True, kw_only=True)
class External:
    """A model that somebody else hosts: the prompt and the parameters are what we version."""

    upstream: str  # name of an inference upstream in the settings
    model: str
    prompt: tuple[Message, ...] = ()  # goes before the agent's own messages
    kind: Literal["external"] = "external"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    by: str
    at: datetime
    reason: str


class Standing(StrEnum):
    """How far a model has come."""

    CANDIDATE = "candidate"
    VALIDATED = "validated"
    REFUSED = "refused"  # its report failed a gate
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A named, immutable version of what acts. Its standing is what was found out about it."""

    id: PolicyId
    tenant: TenantId
    agent: AgentId
    version: int
    body: Weights | Adapter | External
    created_at: datetime
    sampling: Sampling = field(default_factory=Sampling)  # what it is served with unless asked otherwise
    parent: PolicyId | None = None
    run: RunId | None = None
    reward: RewardModelId | None = None
    datasets: tuple[DatasetId, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)  # its report card
    standing: Standing = Standing.CANDIDATE
    approvals: tuple[Approval, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardModel:
    """A named, immutable version of a judge."""

    id: RewardModelId
    tenant: TenantId
    version: int
    digest: Digest  # backbone, heads and constants, as a directory in the blobs
    objectives: tuple[str, ...]
    members: int
    created_at: datetime
    dataset: DatasetId
    backbone: PolicyId | None = None  # the policy whose weights it grew from
    run: RunId | None = None
    report: Mapping[str, float] = field(default_factory=dict)
    standing: Standing = Standing.CANDIDATE


class RunState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of training: what went in, what came out, what it cost."""

    id: RunId
    tenant: TenantId
    task: str  # dotted path of what ran
    spec: Mapping[str, Json]
    started_at: datetime
    state: RunState = RunState.RUNNING
    ended_at: datetime | None = None
    inputs: Mapping[str, Digest] = field(default_factory=dict)
    outputs: Mapping[str, Digest] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    spend: float | None = None
    error: str | None = None


class CycleStage(StrEnum):
    """Where one turn of the loop is."""

    COLLECTING = "collecting"
    FITTING = "fitting"
    IMPROVING = "improving"
    VALIDATING = "validating"
    RELEASING = "releasing"
    DONE = "done"
    STOPPED = "stopped"  # a gate said no; the reason is in `note`
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    id: CycleId
    tenant: TenantId
    agent: AgentId
    started_at: datetime
    stage: CycleStage = CycleStage.COLLECTING
    start: PolicyId | None = None  # the policy that it sets out to improve
    dataset: DatasetId | None = None
    reward: RewardModelId | None = None
    policy: PolicyId | None = None
    release: ReleaseId | None = None
    ended_at: datetime | None = None
    note: str | None = None
