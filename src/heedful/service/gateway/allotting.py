"""Which policy answers: computed from the release's salt and the unit's name, so that every gateway decides alike."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from heedful.domain.episode import Allocation
from heedful.domain.ids import AgentId, PolicyId, TenantId
from heedful.domain.models import Policy
from heedful.domain.release import Release, Unit
from heedful.errors import NotFound, Unavailable
from heedful.release.allocate import allocate
from heedful.service.gateway.asking import Asked
from heedful.service.state.fleet import Fleet, View


@dataclass(frozen=True, slots=True)
class Allotted:
    """Who answers, how likely that was, and who answers when they cannot."""

    policy: Policy
    allocation: Allocation
    fallback: Policy | None

    def fallen_back(self) -> Allotted | None:
        """The fallback in the policy's place. It counts for no arm of a release: nobody drew it."""
        if self.fallback is None or self.fallback.id == self.policy.id:
            return None
        there = replace(
            self.allocation,
            policy=self.fallback.id,
            probability=1.0,
            release=None,
            arm="fallback",
            percent=None,
        )
        return Allotted(self.fallback, there, None)


async def view_of(fleet: Fleet, tenant: TenantId) -> View:
    view = fleet.view(tenant)
    if view is None:
        await asyncio.to_thread(fleet.refresh, tenant)
        view = fleet.view(tenant)
    assert view is not None
    return view


def allotted(asked: Asked, view: View, fallbacks: Mapping[str, str]) -> Allotted:
    duty = view.duties.get(asked.agent)
    if duty is None:
        raise no_such(asked.agent, view)
    allocation = allocate(duty.live, duty.release, _unit(asked, duty.release))
    policy = view.policies.get(allocation.policy)
    if policy is None:
        raise Unavailable(f"policy {allocation.policy!r} is released and not in the store")
    fallback = fallbacks.get(asked.agent)
    return Allotted(policy, allocation, view.policies.get(PolicyId(fallback)) if fallback else None)


def _unit(asked: Asked, release: Release | None) -> str:
    """What is kept on one side of the release; the episode where nothing closer is known."""
    match release.unit if release else Unit.EPISODE:
        case Unit.USER:
            return asked.context.user or asked.episode
        case Unit.INSTANCE:
            return asked.context.agent_instance or asked.episode
        case _:
            return asked.episode


def no_such(agent: AgentId, view: View) -> NotFound:
    known = ", ".join(sorted(view.duties)) or "none"
    return NotFound(f"model {agent!r} is no agent with a released policy: there is {known}", field="model")
