"""Taking a policy to the fleet, bit by bit, and taking it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from heedful.domain.ids import AgentId, PolicyId, ProductId, ReleaseId, TenantId
from heedful.errors import Conflict, InvalidInput


class Stage(StrEnum):
    WAITING = "waiting"  # another release has the same target
    SHADOW = "shadow"
    CANARY = "canary"
    PAUSED = "paused"
    INCONCLUSIVE = "inconclusive"  # the budget is used up; a person decides
    FULL = "full"
    ROLLED_BACK = "rolled_back"


MOVES: Mapping[Stage, frozenset[Stage]] = {
    Stage.WAITING: frozenset({Stage.SHADOW, Stage.CANARY, Stage.ROLLED_BACK}),
    Stage.SHADOW: frozenset({Stage.CANARY, Stage.PAUSED, Stage.ROLLED_BACK}),
    Stage.CANARY: frozenset({Stage.CANARY, Stage.PAUSED, Stage.INCONCLUSIVE, Stage.FULL, Stage.ROLLED_BACK}),
    Stage.PAUSED: frozenset({Stage.SHADOW, Stage.CANARY, Stage.ROLLED_BACK}),
    Stage.INCONCLUSIVE: frozenset({Stage.CANARY, Stage.FULL, Stage.ROLLED_BACK}),
    Stage.FULL: frozenset({Stage.ROLLED_BACK}),
    Stage.ROLLED_BACK: frozenset(),
}


class Unit(StrEnum):
    """What is kept on one side of a release."""

    INSTANCE = "instance"
    USER = "user"
    CONVERSATION = "conversation"
    EPISODE = "episode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which traffic a release is about."""

    agent: AgentId
    product: ProductId | None = None  # None means all
    segment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One decision of a release and what it was based on."""

    percent: float
    turns: int  # seen by the new policy at this step
    at: datetime
    decision: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    id: ReleaseId
    tenant: TenantId
    target: Target
    policy: PolicyId
    against: PolicyId | None  # who answers the rest; None only for an agent's first policy
    steps: tuple[float, ...]  # percent of units, rising, the last one 100
    salt: str  # with a unit's name it gives the unit's bucket
    started_at: datetime
    unit: Unit = Unit.EPISODE
    stage: Stage = Stage.CANARY
    step: int = 0  # index into `steps`
    since: datetime | None = None  # when this step began
    taken: tuple[Step, ...] = ()
    ended_at: datetime | None = None
    reason: str | None = None
    by: str | None = None

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.steps, self.steps[1:], strict=False))
        if not self.steps or not rising or self.steps[0] <= 0 or self.steps[-1] != 100:
            raise InvalidInput(
                f"steps are {list(self.steps)}: percentages that rise and end at 100", field="steps"
            )
        if not 0 <= self.step < len(self.steps):
            raise InvalidInput(f"step {self.step} of {len(self.steps)}", field="step")

    @property
    def percent(self) -> float:
        """Of units that the new policy answers now."""
        match self.stage:
            case Stage.FULL:
                return 100.0
            case Stage.CANARY | Stage.PAUSED | Stage.INCONCLUSIVE:
                return self.steps[self.step]
            case _:
                return 0.0


def moved(release: Release, to: Stage) -> Release:
    """The release in its next stage, or `Conflict` that says where it can go."""
    if to not in MOVES[release.stage]:
        allowed = ", ".join(sorted(MOVES[release.stage])) or "nowhere"
        raise Conflict(f"release {release.id!r} is {release.stage}: it can move to {allowed}, not to {to}")
    return replace(release, stage=to)
