"""One piece of feedback, stop by stop: over a real store, with an engine that pretends to learn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from factories import (
    NOW,
    TENANT,
    make_choice,
    make_completion,
    make_feedback,
    make_judgement,
    make_queue,
    make_turn,
    make_violation,
)
from heedful import road
from heedful.domain.access import OPERATOR
from heedful.domain.content import Message, Role
from heedful.domain.episode import EpisodeState
from heedful.domain.feedback import Correction, Demonstration, Feedback, Parked
from heedful.domain.ids import (
    AgentId,
    EpisodeId,
    FeedbackId,
    PersonId,
    PolicyId,
    QueueId,
    ReleaseId,
    RunId,
    TenantId,
)
from heedful.domain.labeling import Gold, Item, Queue, Verdict
from heedful.domain.models import External, Policy, RewardModel, Run, Standing
from heedful.domain.preference import Dataset
from heedful.domain.release import Release, Stage
from heedful.domain.watch import Alert
from heedful.errors import Conflict, InvalidInput, NotFound, TrainingFailed
from heedful.road import Parts
from heedful.store.protocol import Batch, Ref
from roadside import AGENT, PretendingEngine, first_policy, judge_all, make_parts, work_tickets

OTHER = TenantId("globex")
QUEUE = QueueId("queue_1")


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = make_parts(tmp_path)
    yield made
    made.store.close()


def prompts(parts: Parts) -> list[tuple[Message, ...]]:
    return [turn.request for _, turn in reversed(parts.views.turns(TENANT, agent=AGENT, limit=1000))]


def ask_people(parts: Parts, policy: Policy, *, once: str = "cycle/ask") -> Queue:
    queue = make_queue(id=QUEUE)
    answers = asyncio.run(road.candidates(parts, TENANT, policy.id, prompts(parts), once=once))
    road.ask(parts, queue, answers, once=once)
    return queue


def judged(parts: Parts) -> tuple[Policy, Dataset]:
    """The road up to the dataset."""
    start = first_policy(parts)
    work_tickets(parts, 40)
    ask_people(parts, start)
    judge_all(parts, QUEUE)
    road.agree(parts, TENANT, QUEUE)
    return start, road.freeze_judged(parts, TENANT, AGENT)


def improved(parts: Parts) -> tuple[Policy, Policy]:
    """The road up to a policy that may be released."""
    start, dataset = judged(parts)
    reward = road.fit(parts, TENANT, dataset.id, start.id, once="cycle/fit")
    return start, road.improve(parts, TENANT, start.id, reward.id, prompts(parts), once="cycle/improve")


def runs_of(parts: Parts) -> Path:
    return parts.engine.work(RunId("any")).parent


def with_figures(parts: Parts, **figures: float) -> Parts:
    return replace(parts, engine=PretendingEngine(runs_of(parts), **figures))


def everything(parts: Parts) -> dict[str, int]:
    return parts.views.tallies(TENANT) | {"audit": parts.views.audit_size()}


# --- the whole road, twice ---------------------------------------------------------------------------


def test_what_a_person_said_reaches_the_fleet_and_repeating_any_stop_changes_nothing(parts: Parts) -> None:
    start, tuned = improved(parts)
    begun = road.release(parts, TENANT, tuned.id, actor="ann", once="cycle/release")
    assert (begun.stage, begun.against, begun.percent) == (Stage.CANARY, start.id, 50.0)
    work_tickets(parts, 200, start=1000)
    moved = road.decide(parts, TENANT, begun.id)
    assert moved.stage is Stage.FULL
    assert road.on_duty(parts, TENANT)[AGENT].live == tuned.id
    assert road.watch(parts, TENANT, AGENT) == []

    before = everything(parts)
    work_tickets(parts, 0)
    road.release(parts, TENANT, start.id, actor="ann", once="first")
    road.agree(parts, TENANT, QUEUE)
    (first, *_) = parts.store.find(Dataset, TENANT)
    reward = road.fit(parts, TENANT, first.id, start.id, once="cycle/fit")
    again = road.improve(parts, TENANT, start.id, reward.id, prompts(parts)[:40], once="cycle/improve")
    assert again == parts.store.get(Policy, TENANT, tuned.id)
    assert road.release(parts, TENANT, tuned.id, actor="bob", once="cycle/release") == moved
    assert road.decide(parts, TENANT, begun.id) == moved
    assert everything(parts) == before


def test_lineage_goes_from_a_policy_to_people_and_back(parts: Parts) -> None:
    _, tuned = improved(parts)

    def back(ref: Ref, seen: set[Ref]) -> set[Ref]:
        for parent in parts.store.parents(TENANT, ref):
            if parent not in seen:
                seen.add(parent)
                back(parent, seen)
        return seen

    sources = back(Ref(kind="policy", id=tuned.id), set())
    kinds = {ref.kind for ref in sources}
    assert {"run", "reward_model", "dataset", "verdict", "feedback", "item", "turn", "policy"} <= kinds
    (choice, *_) = parts.store.find(Feedback, TENANT, where={"queue": QUEUE})
    assert Ref(kind="feedback", id=choice.id) in sources
    assert choice.by == "rater_1"

    ahead, frontier = set[Ref](), [Ref(kind="feedback", id=choice.id)]
    while frontier:
        found = set(parts.store.children(TENANT, frontier.pop())) - ahead
        ahead |= found
        frontier += found
    assert Ref(kind="policy", id=tuned.id) in ahead


# --- hear --------------------------------------------------------------------------------------------


@pytest.fixture
def worked(parts: Parts) -> Parts:
    first_policy(parts)
    work_tickets(parts, 3)
    return parts


def about(turn: str = "ticket-0/turn", **given: Any) -> Feedback:
    return make_feedback(turn=turn, **given)


def test_feedback_sent_twice_is_kept_once(worked: Parts) -> None:
    said = about()
    (first,) = road.hear(worked, TENANT, [said], actor="product")
    again, within = road.hear(worked, TENANT, [said, said], actor="product")
    assert (first.kept, again.kept, within.kept) == (True, False, False)
    assert (again.error, within.error) == (None, None)
    (heard,) = [one for one in worked.store.find(Feedback, TENANT) if one.id == said.id]
    assert (heard.policy, heard.episode, heard.received_at) == ("resolver@1", "ticket-0", NOW)


def test_a_bad_piece_does_not_reject_its_neighbours(worked: Parts) -> None:
    said = [
        about(),
        about("turn_unknown"),
        about(at=NOW.replace(year=2030)),
        about(by="r\0"),
        about("ticket-1/turn"),
    ]
    heard = road.hear(worked, TENANT, said, actor="product")
    assert [one.kept for one in heard] == [True, True, False, False, True]
    assert [one.parked for one in heard] == [False, True, False, False, False]
    assert [type(one.error) for one in heard[2:4]] == [InvalidInput, InvalidInput]
    (taken,) = road.hear(worked, TENANT, [replace(said[0], confidence=0.5)], actor="product")
    assert isinstance(taken.error, Conflict)  # the same id with other content


def test_feedback_waits_for_its_own_tenant_s_turn_and_not_for_another_s(worked: Parts) -> None:
    said = [
        replace(about(), tenant=OTHER),
        replace(make_completion(turn=None, episode="ticket-0"), tenant=OTHER),
    ]
    heard = road.hear(worked, OTHER, said, actor="product")
    assert [(one.kept, one.parked) for one in heard] == [(True, True), (True, True)]
    waiting = worked.store.find(Parked, OTHER)
    assert road.join(worked, OTHER, waiting) == []
    assert worked.store.find(Parked, OTHER) == waiting
    assert worked.store.find(Feedback, OTHER) == []


def test_a_judgement_on_its_way_twice_closes_its_assignment_once(parts: Parts) -> None:
    start = first_policy(parts)
    work_tickets(parts, 5)
    ask_people(parts, start)
    ((assignment, item), *_) = road.lease(parts, TENANT, QUEUE, PersonId("rater_1"), limit=1)
    judgement = make_judgement(queue=QUEUE, item=item.id, assignment=assignment.id)
    said = make_choice(shown=item.turns, chosen=item.turns[0], judgement=judgement)
    one, other = road.hear(parts, TENANT, [said, said], actor="rater_1")
    assert (one.kept, other.kept, one.error, other.error) == (True, False, None, None)
    (late,) = road.hear(parts, TENANT, [replace(said, id=FeedbackId("another"))], actor="rater_1")
    assert isinstance(late.error, Conflict)


def test_an_episode_ends_once(worked: Parts) -> None:
    def end(outcome: float) -> Any:
        return road.end_episode(
            worked, TENANT, EpisodeId("ticket-0"), state=EpisodeState.DONE, outcome=outcome
        )

    assert end(1.0) == end(1.0)
    with pytest.raises(Conflict, match="is done already"):
        end(0.0)
    with pytest.raises(NotFound, match="episode 'ticket-9'"):
        road.end_episode(worked, TENANT, EpisodeId("ticket-9"), state=EpisodeState.DONE, outcome=None)


# --- ask, agree, freeze ------------------------------------------------------------------------------


def test_asking_again_after_a_crash_asks_nothing_new(parts: Parts) -> None:
    start = first_policy(parts)
    work_tickets(parts, 20)
    ask_people(parts, start)
    before = everything(parts)
    assert before["item"] > 10
    ask_people(replace(parts, random=Random(99)), start)
    assert everything(parts) == before
    for item in parts.store.find(Item, TENANT):
        assert item.answers[0] != item.answers[1]


def test_below_the_quorum_there_is_no_verdict_and_gold_items_have_none(parts: Parts) -> None:
    start = first_policy(parts)
    work_tickets(parts, 6)
    queue = make_queue(id=QUEUE, overlap=2, quorum=2)
    answers = asyncio.run(road.candidates(parts, TENANT, start.id, prompts(parts), once="ask"))
    asked = road.ask(parts, queue, answers, once="ask")
    (first, *_) = parts.store.find(Item, TENANT)
    road.set_gold(parts, TENANT, first.id, Gold(chosen=first.turns[0]), actor="ann")
    with pytest.raises(InvalidInput, match="is not one of"):
        road.set_gold(parts, TENANT, first.id, Gold(chosen="turn_9"), actor="ann")  # type: ignore[arg-type]
    judge_all(parts, QUEUE, "ann")
    assert road.agree(parts, TENANT, QUEUE) == 0
    judge_all(parts, QUEUE, "bob")
    assert road.agree(parts, TENANT, QUEUE) == asked - 1
    assert road.agree(parts, TENANT, QUEUE) == 0
    verdicts = parts.store.find(Verdict, TENANT)
    assert {len(verdict.feedback) for verdict in verdicts} == {2}
    assert first.id not in {verdict.item for verdict in verdicts}


def test_the_same_evidence_is_the_same_dataset_and_more_is_another(parts: Parts) -> None:
    _, dataset = judged(parts)
    assert road.freeze_judged(parts, TENANT, AGENT) == dataset
    said = [
        make_feedback(Correction(text="It came yesterday."), turn="ticket-1/turn"),
        make_violation(turn="ticket-2/turn"),
    ]
    assert all(one.kept for one in road.hear(parts, TENANT, said, actor="product"))
    grown = road.freeze_judged(parts, TENANT, AGENT)
    assert grown.digest != dataset.digest
    assert sum(grown.rows.values()) == sum(dataset.rows.values()) + 2


def test_what_is_said_of_another_agent_teaches_this_one_nothing(parts: Parts) -> None:
    _, dataset = judged(parts)
    other = make_turn(agent="triage", episode="ticket-1")
    parts.store.commit(Batch(add=(other,)))
    said = [make_feedback(Correction(text="Hand it to the resolver."), turn=other.id)]
    assert all(one.kept for one in road.hear(parts, TENANT, said, actor="product"))
    assert road.freeze_judged(parts, TENANT, AGENT) == dataset
    assert sum(road.freeze_judged(parts, TENANT, AgentId("triage")).rows.values()) == 1


def test_demonstrations_are_a_dataset_of_their_own_and_can_be_narrowed_to_who_gave_them(parts: Parts) -> None:
    _, before = judged(parts)
    prompt = (Message(role=Role.USER, content="Where is it?"),)
    said = [
        make_feedback(
            Demonstration(prompt=prompt, answer=f"Here, {who}."), id=f"shown-{who}", turn=None, by=who
        )
        for who in ("ann", "contractor")
    ]
    assert all(one.kept for one in road.hear(parts, TENANT, said, actor="product"))
    assert road.freeze_judged(parts, TENANT, AGENT) == before
    assert sum(road.freeze_shown(parts, TENANT, "resolver-shown").rows.values()) == 2
    assert sum(road.freeze_shown(parts, TENANT, "one", only={"by": "contractor"}).rows.values()) == 1


# --- fit, improve, release ---------------------------------------------------------------------------


def test_a_dataset_without_safety_checks_still_makes_a_judge_and_a_thin_one_does_not(parts: Parts) -> None:
    start, dataset = judged(parts)
    assert not any(name.startswith("labels") for name in dataset.files)
    reward = road.fit(parts, TENANT, dataset.id, start.id, once="cycle/fit")
    assert (reward.standing, reward.report["quality.accuracy"]) == (Standing.VALIDATED, 0.8)
    thin = replace(parts, datasets=parts.datasets.model_copy(update={"min_preferences": 1000}))
    with pytest.raises(Conflict, match=r"nothing is learned from fewer than 1000"):
        road.fit(thin, TENANT, dataset.id, start.id, once="cycle-2/fit")


def test_a_refused_judge_may_not_teach(parts: Parts) -> None:
    start, dataset = judged(parts)
    weak = with_figures(parts, accuracy=0.55)
    reward = road.fit(weak, TENANT, dataset.id, start.id, once="cycle/fit")
    assert reward.standing is Standing.REFUSED
    with pytest.raises(Conflict, match="may not teach"):
        road.improve(parts, TENANT, start.id, reward.id, prompts(parts), once="cycle/improve")


def test_a_judge_below_its_own_bounds_may_not_teach_and_the_refusal_names_them(parts: Parts) -> None:
    start, dataset = judged(parts)
    sure_of_what_is_wrong = with_figures(parts, log_loss=1.7)
    reward = road.fit(sure_of_what_is_wrong, TENANT, dataset.id, start.id, once="cycle/fit")
    assert (reward.standing, reward.report["passed"]) == (Standing.REFUSED, 0.0)
    with pytest.raises(Conflict, match=r"may not teach: max_log_loss 1\.700 misses 1\.500"):
        road.improve(parts, TENANT, start.id, reward.id, prompts(parts), once="cycle/improve")


def test_a_policy_practises_the_way_that_the_settings_say(parts: Parts) -> None:
    ours = parts.learn.model_copy(
        update={"algorithm": "ppo", "ppo": {"kl_target": 0.5}, "grpo": {"group": 3}}
    )
    _, tuned = improved(replace(parts, learn=ours))
    assert tuned.run is not None
    run = parts.store.get(Run, TENANT, tuned.run)
    assert run is not None
    assert (run.task, run.spec["kl_target"], run.spec.get("group")) == ("heedful.training.ppo:run", 0.5, None)


def test_a_refused_policy_goes_out_only_with_a_reason(parts: Parts) -> None:
    start, dataset = judged(parts)
    worse = with_figures(parts, violations=0.4)
    reward = road.fit(worse, TENANT, dataset.id, start.id, once="cycle/fit")
    tuned = road.improve(worse, TENANT, start.id, reward.id, prompts(parts), once="cycle/improve")
    assert tuned.standing is Standing.REFUSED
    with pytest.raises(Conflict, match=r"violation rise 0\.300 misses 0\.020"):
        road.release(parts, TENANT, tuned.id, actor="ann", once="cycle/release")
    begun = road.release(parts, TENANT, tuned.id, actor="ann", once="drill", override="a drill")
    assert (begun.stage, begun.reason, begun.by) == (Stage.CANARY, "a drill", "ann")


def test_only_weights_learn_and_only_from_enough_prompts(parts: Parts) -> None:
    start, dataset = judged(parts)
    body = External(upstream="hosted", model="m")
    hosted = road.adopt(parts, TENANT, AGENT, body, sampling=start.sampling, actor="ann")
    assert hosted.id == "resolver@2"
    with pytest.raises(InvalidInput, match="only weights can be trained"):
        road.fit(parts, TENANT, dataset.id, hosted.id, once="cycle/fit")
    reward = road.fit(parts, TENANT, dataset.id, start.id, once="cycle/fit")
    with pytest.raises(Conflict, match="both sides need some"):
        road.improve(parts, TENANT, start.id, reward.id, prompts(parts)[:1], once="cycle/improve")
    with pytest.raises(InvalidInput, match="has no demonstrations"):
        road.imitate(parts, TENANT, AGENT, dataset.id, parent=start.id, once="cycle/imitate")


def imitated(parts: Parts, tenant: TenantId, once: str) -> RunId:
    """The run that taught a policy the one answer that this tenant showed."""
    shown = Demonstration(prompt=(Message(role=Role.USER, content="Hi"),), answer=f"Hello, {tenant}.")
    said = replace(make_feedback(shown, id="shown", turn=None, by="ann"), tenant=tenant)
    (heard,) = road.hear(parts, tenant, [said], actor="product")
    assert heard.error is None
    dataset = road.freeze_shown(parts, tenant, "shown")
    run = road.imitate(parts, tenant, AGENT, dataset.id, parent=None, once=once).run
    assert run is not None
    return run


def test_tenants_that_call_their_cycles_alike_get_each_its_own_run(parts: Parts) -> None:
    asked = ((TENANT, "c/imitate"), (OTHER, "c/imitate"), (OPERATOR, "acme:c/imitate"))
    works = {parts.engine.work(imitated(parts, tenant, once)) for tenant, once in asked}
    assert len(works) == 3
    assert all((work / "begun").read_text() == "heedful.training.sft:run\n" for work in works)


def test_cycles_whose_names_look_alike_get_each_its_own_run(parts: Parts) -> None:
    cycles = ["a/b", "a.b", "a@.b", "a@/b", "a@@.b", "a@@b", "a@b", "a..b", "a//b", "a./b", "a/.b"]
    runs = [imitated(parts, OPERATOR, f"{cycle}/imitate") for cycle in cycles]
    assert len(set(runs)) == len(cycles)
    assert all((parts.engine.work(run) / "begun").read_text().count("\n") == 1 for run in runs)


def test_a_run_is_called_as_its_cycle_and_step(parts: Parts) -> None:
    assert imitated(parts, OPERATOR, "demo-imitate/imitate") == "demo-imitate.imitate"
    assert imitated(parts, TENANT, "cycle_1/improve/validate") == "acme/cycle_1.improve.validate"
    assert imitated(parts, TENANT, "nightly-2026.11/imitate") == "acme/nightly-2026@.11.imitate"


def test_a_name_that_was_another_order_is_refused(parts: Parts) -> None:
    start, dataset = judged(parts)
    road.fit(parts, TENANT, dataset.id, start.id, once="cycle/fit")
    hurried = replace(parts, learn=parts.learn.model_copy(update={"reward": {"epochs": 1}}))
    with pytest.raises(Conflict, match=r"'acme/cycle\.fit' is .*epochs: unset.* again as .*epochs: 1"):
        road.fit(hurried, TENANT, dataset.id, start.id, once="cycle/fit")


def test_training_that_fails_leaves_a_run_that_says_so(parts: Parts) -> None:
    start, dataset = judged(parts)

    class Failing(PretendingEngine):
        def _pretend(self, task: str, work: Path) -> dict[str, Any]:
            raise TrainingFailed("no memory")

    failing = replace(parts, engine=Failing(runs_of(parts)))
    with pytest.raises(TrainingFailed):
        road.fit(failing, TENANT, dataset.id, start.id, once="cycle/fit")
    (run,) = parts.store.find(Run, TENANT)
    assert (run.state, run.error) == ("failed", "no memory")
    assert parts.store.find(RewardModel, TENANT) == []
    assert road.fit(parts, TENANT, dataset.id, start.id, once="cycle/fit").run == run.id


def test_one_release_at_a_time_and_the_live_policy_is_not_released_again(parts: Parts) -> None:
    start, tuned = improved(parts)
    with pytest.raises(Conflict, match="is live already"):
        road.release(parts, TENANT, start.id, actor="ann", once="again")
    begun = road.release(parts, TENANT, tuned.id, actor="ann", once="one")
    with pytest.raises(Conflict, match="one at a time"):
        road.release(parts, TENANT, tuned.id, actor="ann", once="two")
    ended = road.roll_back(parts, TENANT, begun.id, reason="a complaint", actor="ann")
    assert (ended.stage, ended.reason) == (Stage.ROLLED_BACK, "a complaint")
    assert road.roll_back(parts, TENANT, begun.id, reason="again", actor="bob") == ended
    assert road.on_duty(parts, TENANT)[AGENT].live == start.id
    assert road.release(parts, TENANT, tuned.id, actor="ann", once="two").stage is Stage.CANARY
    with pytest.raises(NotFound, match="policy 'resolver@9'"):
        road.release(parts, TENANT, PolicyId("resolver@9"), actor="ann", once="three")


def test_two_who_release_at_the_same_moment_do_not_both_win(parts: Parts) -> None:
    """The second reads before the first has written: what it read is what it would write from."""
    _, tuned = improved(parts)
    stale = parts.store.find(Release, TENANT, where={"agent": AGENT}, limit=None)
    road.release(parts, TENANT, tuned.id, actor="ann", once="one")

    class Late:
        """The store as the second one saw it."""

        def __getattr__(self, name: str) -> Any:
            return getattr(parts.store, name)

        def find(self, *asked: Any, **more: Any) -> Any:
            return stale

    with pytest.raises(Conflict, match="began at this moment"):
        road.release(replace(parts, store=Late()), TENANT, tuned.id, actor="bob", once="two")
    assert len(parts.views.releases_running(TENANT)) == 1


# --- decide, watch -----------------------------------------------------------------------------------


def test_a_release_waits_while_little_is_known(parts: Parts) -> None:
    _, tuned = improved(parts)
    begun = road.release(parts, TENANT, tuned.id, actor="ann", once="cycle/release")
    work_tickets(parts, 10, start=1000)
    assert road.decide(parts, TENANT, begun.id) == begun
    with pytest.raises(NotFound, match="release 'release_9'"):
        road.decide(parts, TENANT, ReleaseId("release_9"))


def flag_the_canary(parts: Parts, release: Release, count: int) -> None:
    turns = parts.views.turns(TENANT, policy=release.policy, limit=count)
    said = [make_violation(turn=turn.id) for _, turn in turns]
    assert all(one.kept for one in road.hear(parts, TENANT, said, actor="guard"))


def test_harm_takes_the_release_back_and_the_fleet_gets_the_policy_before(parts: Parts) -> None:
    start, tuned = improved(parts)
    begun = road.release(parts, TENANT, tuned.id, actor="ann", once="cycle/release")
    work_tickets(parts, 60, start=1000)
    flag_the_canary(parts, begun, 15)
    ended = road.decide(parts, TENANT, begun.id)
    assert ended.stage is Stage.ROLLED_BACK
    assert ended.reason is not None
    assert ended.reason.startswith("violations: 15 by the canary and 0 by control")
    (step,) = ended.taken
    assert (step.percent, step.decision) == (50.0, "roll back")
    assert road.on_duty(parts, TENANT)[AGENT].live == start.id


def test_an_alert_takes_the_release_back_even_if_who_raised_it_died_before(parts: Parts) -> None:
    _, tuned = improved(parts)
    begun = road.release(parts, TENANT, tuned.id, actor="ann", once="cycle/release")
    work_tickets(parts, 300, start=1000)
    flag_the_canary(parts, begun, 140)

    class Dying:
        """Dies between the alert and what is done about it."""

        def __getattr__(self, name: str) -> Any:
            return getattr(parts.store, name)

        def commit(self, batch: Any) -> Any:
            outcome = parts.store.commit(batch)
            if any(isinstance(record, Alert) for record in batch.add):
                raise SystemExit
            return outcome

    with pytest.raises(SystemExit):
        road.watch(replace(parts, store=Dying()), TENANT, AGENT)
    known = parts.store.get(Release, TENANT, begun.id)
    assert known is not None
    assert known.stage is Stage.CANARY
    found = road.watch(parts, TENANT, AGENT)
    assert not all(signal.healthy for signal in found)
    (alert,) = parts.store.find(Alert, TENANT)
    assert (alert.signal.name, alert.pages) == ("violation_rate", True)
    known = parts.store.get(Release, TENANT, begun.id)
    assert known is not None
    assert (known.stage, known.by) == (Stage.ROLLED_BACK, "ann")
    assert known.reason == "violation_rate left its band"
