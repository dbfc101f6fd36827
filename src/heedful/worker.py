"""The loop that never forgets where it was: the road's functions as durable workflows.

A workflow is the road read aloud; each line of it is a step that is done once, whatever happens to the
process. What a step writes carries the step's name, so one that was cut off in the middle is repeated without
harm.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from heedful import road
from heedful.domain.access import OPERATOR
from heedful.domain.capture import Capture
from heedful.domain.content import Message
from heedful.domain.ids import (
    AgentId,
    CycleId,
    DatasetId,
    PolicyId,
    QueueId,
    ReleaseId,
    RewardModelId,
    TenantId,
)
from heedful.domain.labeling import Queue
from heedful.domain.models import Cycle, CycleStage, Policy, RewardModel, Standing, Weights
from heedful.domain.release import Stage
from heedful.durable.protocol import Durable, Flow
from heedful.errors import Busy, Conflict, InvalidInput, NotFound, Unavailable
from heedful.road import Parts
from heedful.store import codec
from heedful.store.protocol import Batch

log = logging.getLogger("heedful.worker")
T = TypeVar("T")
Wait = Callable[[Coroutine[Any, Any, T]], T]
PROMPTS_PER_STEP = 256
SETTLED = frozenset({Stage.FULL, Stage.ROLLED_BACK, Stage.INCONCLUSIVE})
FORWARD = list(CycleStage)  # a cycle's stages in the order in which it goes through them


class Worker:
    """Starts cycles and watches releases."""

    def __init__(self, parts: Parts, durable: Durable) -> None:
        self._parts = parts
        self._durable = durable
        self._changed: Callable[[], None] = lambda: None
        self._events: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        durable.register("imitate", self._imitate)
        durable.register("improve", self._improve)
        durable.register("release", self._release)

    def on_change(self, call: Callable[[], None]) -> None:
        """`call` is called whenever what is live for the fleet may have changed."""
        self._changed = call

    def launch(self, events: asyncio.AbstractEventLoop) -> None:
        """Go on with whatever a dead process left; `events` is where inference lives."""
        self._events = events
        self._durable.launch()
        for tenant in {OPERATOR, *(one.id for one in self._parts.views.tenants())}:
            self._watch_all(tenant)

    def close(self) -> None:
        self._stopping = True
        self._durable.close()

    def start_cycle(
        self,
        tenant: TenantId,
        agent: AgentId,
        *,
        kind: str,
        actor: str,
        options: Mapping[str, Any],
        id: CycleId | None = None,
    ) -> Cycle:
        """One turn of the loop: "imitate" learns from demonstrations, "improve" from judgements.

        Whoever brings an id may ask again: the cycle is there already, and goes on as it was.
        """
        there = None if id is None else self._parts.store.get(Cycle, tenant, id)
        if there is not None:
            return there
        if kind not in {"imitate", "improve"}:
            raise InvalidInput(f"kind is {kind!r}: it is imitate or improve", field="kind")
        known = road.on_duty(self._parts, tenant).get(agent)
        if known is None and kind == "improve":
            raise Conflict(f"agent {agent!r} has no policy yet: start with a cycle of kind imitate")
        live = None if known is None else self._parts.store.get(Policy, tenant, known.live)
        if live is not None and not isinstance(live.body, Weights):
            raise Conflict(  # now, and not after people have judged for an hour
                f"policy {live.id!r} answers for agent {agent!r} and is {live.body.kind}: "
                "only weights can be trained here"
            )
        cycle = Cycle(
            id=id or CycleId(self._parts.mint("cycle")),
            tenant=tenant,
            agent=agent,
            started_at=self._parts.clock.now(),
            start=known.live if known else None,
        )
        # First the workflow, which writes the cycle down if we die before we do: none is left unworked.
        begun = codec.encode(cycle).decode()
        self._durable.start(kind, f"{tenant}/{cycle.id}", tenant, dict(options), begun, actor)
        self._begin(cycle, actor)
        return cycle

    def _begin(self, cycle: Cycle, actor: str) -> Cycle:
        """The cycle is on record, whoever comes first; and as far as it has come."""
        started = road.act(self._parts, cycle.tenant, actor, "cycle.started", cycle)
        self._parts.store.commit(Batch(add=(cycle,), acts=(started,)))
        return self._cycle(cycle.tenant, cycle.id)

    def release_begun(self, tenant: TenantId, release: ReleaseId) -> None:
        """Look at this release until it is settled."""
        self._changed()
        self._durable.start("release", f"watch:{tenant}/{release}", tenant, release)

    def _watch_all(self, tenant: TenantId) -> None:
        """Whoever began a release may have died before anybody watched it. A cycle watches its own."""
        cycles = self._parts.store.find(Cycle, tenant, where={"stage": CycleStage.RELEASING}, limit=None)
        watched = {f"release:{cycle.id}/release" for cycle in cycles}
        for release in self._parts.views.releases_running(tenant):
            if release.id not in watched:
                self._durable.start("release", f"watch:{tenant}/{release.id}", tenant, release.id)

    # -- workflows -----------------------------------------------------------------------------------------

    def _imitate(self, flow: Flow, tenant: TenantId, options: dict[str, Any], begun: str, actor: str) -> str:
        """demonstrations -> dataset -> policy -> release"""
        cycle = self._begin(codec.decode(Cycle, begun), actor)
        try:
            self._stage(cycle, CycleStage.FITTING)
            only = options.get("only")
            dataset = flow.step(
                "freeze", lambda: road.freeze_shown(self._parts, tenant, f"{cycle.agent}-shown", only=only).id
            )
            self._stage(cycle, CycleStage.IMPROVING, dataset=DatasetId(dataset))
            policy = flow.step(
                "imitate",
                lambda: (
                    road.imitate(
                        self._parts,
                        tenant,
                        cycle.agent,
                        DatasetId(dataset),
                        parent=cycle.start,
                        once=f"{cycle.id}/imitate",
                        overrides=options.get("sft", {}),
                        progress=self._progress(cycle, "imitate"),
                    ).id
                ),
            )
            return self._to_the_fleet(flow, cycle, PolicyId(policy), options)
        except Exception as error:
            self._fail(cycle, error)
            raise

    def _improve(self, flow: Flow, tenant: TenantId, options: dict[str, Any], begun: str, actor: str) -> str:
        """candidates -> judgements -> verdicts -> dataset -> reward model -> policy -> release"""
        cycle = self._begin(codec.decode(Cycle, begun), actor)
        parts, start = self._parts, cycle.start
        assert start is not None
        queue = QueueId(f"{cycle.id}/pairs")
        try:
            flow.step("ask", lambda: self._ask(cycle, queue, start))
            flow.step("judged", lambda: self._until_judged(cycle, queue), attempts=1)
            self._stage(cycle, CycleStage.FITTING)
            flow.step("agree", lambda: road.agree(parts, tenant, queue))
            dataset = flow.step("freeze", lambda: road.freeze_judged(parts, tenant, cycle.agent).id)
            self._stage(cycle, CycleStage.FITTING, dataset=DatasetId(dataset))
            reward = flow.step(
                "fit",
                lambda: (
                    road.fit(
                        parts,
                        tenant,
                        DatasetId(dataset),
                        start,
                        once=f"{cycle.id}/fit",
                        progress=self._progress(cycle, "fit"),
                    ).id
                ),
            )
            self._stage(cycle, CycleStage.IMPROVING, reward=RewardModelId(reward))
            model = parts.store.get(RewardModel, tenant, reward)
            if model is None or model.standing is Standing.REFUSED:
                why = "it is gone" if model is None else road.why_refused(parts, model)
                return self._stage(
                    cycle, CycleStage.STOPPED, note=f"reward model {reward} missed its bounds: {why}"
                ).stage
            policy = flow.step(
                "improve",
                lambda: (
                    road.improve(
                        parts,
                        tenant,
                        start,
                        RewardModelId(reward),
                        self._prompts(cycle, parts.learn.prompts),
                        once=f"{cycle.id}/improve",
                        progress=self._progress(cycle, "improve"),
                    ).id
                ),
            )
            tuned = parts.store.get(Policy, tenant, policy)
            if tuned is None or tuned.standing is Standing.REFUSED:
                note = tuned.notes.get("findings") if tuned else "it is gone"
                return self._stage(cycle, CycleStage.STOPPED, policy=PolicyId(policy), note=note).stage
            return self._to_the_fleet(flow, cycle, PolicyId(policy), options)
        except Exception as error:
            self._fail(cycle, error)
            raise

    def _release(self, flow: Flow, tenant: TenantId, release: ReleaseId) -> str:
        return str(flow.step("watch", lambda: self._until_settled(tenant, release)))

    # -- the steps' longer sentences -----------------------------------------------------------------------

    def _to_the_fleet(self, flow: Flow, cycle: Cycle, policy: PolicyId, options: Mapping[str, Any]) -> str:
        self._stage(cycle, CycleStage.RELEASING, policy=policy)
        begun = flow.step(
            "release",
            lambda: (
                road.release(
                    self._parts,
                    cycle.tenant,
                    policy,
                    actor=f"cycle {cycle.id}",
                    once=f"{cycle.id}/release",
                    steps=tuple(options["steps"]) if options.get("steps") else None,
                ).id
            ),
        )
        self._changed()
        self._stage(cycle, CycleStage.RELEASING, release=ReleaseId(begun))
        stage = flow.step("settle", lambda: self._until_settled(cycle.tenant, ReleaseId(begun)))
        return str(self._stage(cycle, CycleStage.DONE, note=f"release {stage}").stage)

    def _ask(self, cycle: Cycle, queue: QueueId, policy: PolicyId) -> int:
        parts, asked = self._parts, 0
        desk = Queue(
            id=queue,
            tenant=cycle.tenant,
            name=f"Which answer is better? ({cycle.agent})",
            asks="choice",
            instructions="Choose the answer that you would want to get. The right action matters most.",
            created_at=parts.clock.now(),
            lease_seconds=parts.labeling.lease_seconds,
            gold_share=parts.labeling.gold_share,
        )
        prompts = self._prompts(cycle, int(parts.learn.judgements * 1.1))
        for start in range(0, len(prompts), PROMPTS_PER_STEP):
            once = f"{cycle.id}/ask/{start}"
            answers = self._wait(
                road.candidates(
                    parts, cycle.tenant, policy, prompts[start : start + PROMPTS_PER_STEP], once=once
                )
            )
            asked += road.ask(parts, desk, answers, once=once)
        return asked

    def _until_judged(self, cycle: Cycle, queue: QueueId) -> int:
        parts = self._parts
        items = parts.views.queue_state(cycle.tenant, queue)
        wanted = min(parts.learn.judgements, items.open + items.done)
        deadline = time.monotonic() + parts.learn.wait_seconds
        while (judged := self._judged(cycle.tenant, queue)) < wanted:
            if time.monotonic() > deadline:
                raise Conflict(f"{judged} of {wanted} judgements came within {parts.learn.wait_seconds:g} s")
            self._pause(0.3)
        return judged

    def _judged(self, tenant: TenantId, queue: QueueId) -> int:
        """Answers that say something new: those on gold items only test the rater."""
        return sum(one.judged - one.gold_judged for one in self._parts.views.raters(tenant, queue))

    def _until_settled(self, tenant: TenantId, release: ReleaseId) -> str:
        while True:
            try:
                known = road.decide(self._parts, tenant, release)
                self._changed()
                if known.stage in SETTLED:
                    return known.stage
                road.watch(self._parts, tenant, known.target.agent)
            except (Conflict, Busy, Unavailable) as error:
                # Somebody moved it at this moment, or the database is away: no reason to leave it alone.
                log.warning("release looked at again", extra={"release": release, "error": str(error)})
            self._pause(self._parts.releases.look_seconds)

    def _pause(self, seconds: float) -> None:
        if self._stopping:
            raise SystemExit  # the step is not recorded, so the next process takes it up
        time.sleep(seconds)

    def _prompts(self, cycle: Cycle, limit: int) -> list[tuple[Message, ...]]:
        """Different requests that people sent lately, oldest first."""
        turns = self._parts.views.turns(cycle.tenant, agent=cycle.agent, limit=2 * limit)
        found = {
            tuple((m.role, m.text) for m in turn.request): turn.request
            for _, turn in reversed(turns)
            if turn.capture is not Capture.METADATA
        }
        return list(found.values())[:limit]

    def _fail(self, cycle: Cycle, error: Exception) -> None:
        if self._stopping:
            raise SystemExit  # the parts were closed under our feet: the next process takes it up
        self._stage(cycle, CycleStage.FAILED, note=str(error) or repr(error))

    def _cycle(self, tenant: TenantId, id: str) -> Cycle:
        found = self._parts.store.get(Cycle, tenant, id)
        if found is None:
            raise NotFound(f"cycle {id!r} is not known here")
        return found

    def _stage(self, cycle: Cycle, stage: CycleStage, **found: Any) -> Cycle:
        """Write down how far the cycle is. Repeating it changes nothing."""
        known = self._cycle(cycle.tenant, cycle.id)
        stage = max(known.stage, stage, key=FORWARD.index)  # a workflow that goes on reads its lines again
        if stage is known.stage and known.ended_at is not None:
            return known
        ended = stage in {CycleStage.DONE, CycleStage.STOPPED, CycleStage.FAILED}
        changed = replace(known, stage=stage, ended_at=self._parts.clock.now() if ended else None, **found)
        if changed != known:
            self._parts.store.commit(Batch(swap=((known, changed),)))
            log.info("cycle moved", extra={"cycle": cycle.id, "stage": str(stage)})
        return changed

    def _progress(self, cycle: Cycle, what: str) -> Callable[[int, Mapping[str, float]], None]:
        def report(step: int, values: Mapping[str, float]) -> None:
            log.debug("training", extra={"cycle": cycle.id, "task": what, "step": step, **values})

        return report

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        assert self._events is not None
        answer = asyncio.run_coroutine_threadsafe(coroutine, self._events)
        while not concurrent.futures.wait([answer], timeout=0.3).done:
            if self._stopping:
                answer.cancel()
                raise SystemExit
        return answer.result()
