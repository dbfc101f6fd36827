"""Policies, and taking them to the fleet and back; turns of the loop that make new ones."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from heedful import road
from heedful.access.permissions import Action, require
from heedful.domain.ids import AgentId, CycleId, PolicyId, ReleaseId, check_id
from heedful.domain.models import Adapter, Cycle, Policy, Weights
from heedful.domain.release import Release
from heedful.errors import NotFound
from heedful.service.pages.routes import Route, Visit, Visiting, known, reply
from heedful.wire import CycleIn, PolicyIn, ReleaseIn, RollBackIn

Limit = Annotated[int, Query(ge=1, le=1000)]


def adopt(visit: Visiting, policy: PolicyIn) -> Response:
    """Take in a policy that was not made here, as its agent's next version. If the newest version is the same
    already, nothing changes."""
    agent, body, sampling = AgentId(policy.agent), policy.body_to_domain(), policy.sampling_to_domain()
    for digest in _digests(body):
        if not visit.parts.blobs.has(digest):
            raise NotFound(
                f"the blobs hold nothing under {digest!r}: put it there first", field="body.digest"
            )
    versions = visit.parts.views.policy_versions(visit.tenant, agent)
    if versions and (versions[0].body, versions[0].sampling) == (body, sampling):
        return reply(versions[0])
    adopted = road.adopt(visit.parts, visit.tenant, agent, body, sampling=sampling, actor=visit.caller.actor)
    return reply(adopted, status=201)


def _digests(body: object) -> tuple[str, ...]:
    match body:
        case Weights(digest=digest):
            return (digest,)
        case Adapter(digest=digest, base=base):
            return (digest, base)
        case _:
            return ()


def get_policy(visit: Visiting, id: str) -> Response:
    """One version of what acts."""
    return reply(known(visit, Policy, id))


def list_policies(visit: Visiting, agent: str | None = None, limit: Limit = 100) -> Response:
    """Policies, newest first; of one agent by its versions."""
    if agent is not None:
        found = visit.parts.views.policy_versions(visit.tenant, AgentId(check_id(agent, "agent")))[:limit]
    else:
        found = visit.parts.store.find(Policy, visit.tenant, newest_first=True, limit=limit)
    return reply({"policies": found})


def begin_release(visit: Visiting, release: ReleaseIn) -> Response:
    """Take a policy to the fleet, bit by bit. With `once`, sending it again begins nothing a second time."""
    if release.override is not None:
        require(visit.caller, Action.OVERRIDE)
    once = release.once or visit.parts.mint("api")
    begun = road.release(
        visit.parts,
        visit.tenant,
        PolicyId(release.policy),
        actor=visit.caller.actor,
        once=once,
        steps=release.steps,
        unit=release.unit,
        override=release.override,
    )
    visit.service.fleet.refresh(visit.tenant)
    visit.service.loop.release_begun(visit.tenant, begun.id)
    return reply(begun, status=201)


def roll_back(visit: Visiting, id: str, why: RollBackIn) -> Response:
    """Take a release back now. Every gateway answers with the policy before in less than a second."""
    ended = road.roll_back(
        visit.parts,
        visit.tenant,
        ReleaseId(check_id(id, "release")),
        reason=why.reason,
        actor=visit.caller.actor,
    )
    visit.service.fleet.refresh(visit.tenant)
    return reply(ended)


def get_release(visit: Visiting, id: str) -> Response:
    """A release with the steps that it took."""
    return reply(known(visit, Release, id))


def list_releases(visit: Visiting, agent: str | None = None, limit: Limit = 100) -> Response:
    """Releases, newest first."""
    return reply({"releases": _of_agent(visit, Release, agent, limit)})


def start_cycle(visit: Visiting, cycle: CycleIn) -> Response:
    """Start one turn of the loop; it goes on by itself, through restarts."""
    begun = visit.service.loop.start_cycle(
        visit.tenant,
        AgentId(cycle.agent),
        kind=cycle.kind,
        actor=visit.caller.actor,
        options=cycle.options.model_dump(mode="json", exclude_none=True),
        id=None if cycle.id is None else CycleId(cycle.id),
    )
    return reply(begun, status=202)


def get_cycle(visit: Visiting, id: str) -> Response:
    """Where one turn of the loop is."""
    return reply(known(visit, Cycle, id))


def list_cycles(visit: Visiting, agent: str | None = None, limit: Limit = 100) -> Response:
    """Turns of the loop, newest first."""
    return reply({"cycles": _of_agent(visit, Cycle, agent, limit)})


def _of_agent(visit: Visit, kind: type, agent: str | None, limit: int) -> list[object]:
    where = None if agent is None else {"agent": check_id(agent, "agent")}
    return visit.parts.store.find(kind, visit.tenant, where=where, newest_first=True, limit=limit)


ROUTES = (
    Route(
        method="POST",
        path="/v1/policies",
        action=Action.ADOPT,
        handler=adopt,
        status=201,
        gives=Policy,
        also={200: Policy},
        refuses=(404,),
    ),
    Route(
        method="GET",
        path="/v1/policies",
        action=Action.READ,
        handler=list_policies,
        gives=dict[str, list[Policy]],
    ),
    Route(method="GET", path="/v1/policies/{id:path}", action=Action.READ, handler=get_policy, gives=Policy),
    Route(
        method="POST",
        path="/v1/releases",
        action=Action.RELEASE,
        handler=begin_release,
        status=201,
        gives=Release,
        refuses=(404,),
    ),
    Route(
        method="GET",
        path="/v1/releases",
        action=Action.READ,
        handler=list_releases,
        gives=dict[str, list[Release]],
    ),
    Route(
        method="POST",
        path="/v1/releases/{id:path}/rollback",
        action=Action.RELEASE,
        handler=roll_back,
        gives=Release,
    ),
    Route(
        method="GET", path="/v1/releases/{id:path}", action=Action.READ, handler=get_release, gives=Release
    ),
    Route(
        method="POST", path="/v1/cycles", action=Action.LEARN, handler=start_cycle, status=202, gives=Cycle
    ),
    Route(
        method="GET",
        path="/v1/cycles",
        action=Action.READ,
        handler=list_cycles,
        gives=dict[str, list[Cycle]],
    ),
    Route(method="GET", path="/v1/cycles/{id:path}", action=Action.READ, handler=get_cycle, gives=Cycle),
)
