"""What each named question answers, on both databases, and that it is answered through an index."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from factories import (
    NOW,
    TENANT,
    make_act,
    make_allocation,
    make_assignment,
    make_choice,
    make_completion,
    make_episode,
    make_feedback,
    make_item,
    make_judgement,
    make_key,
    make_parked,
    make_policy,
    make_queue,
    make_release,
    make_tenant,
    make_turn,
    make_violation,
)
from heedful.domain.content import Usage
from heedful.domain.episode import Episode, Purpose, Turn
from heedful.domain.feedback import Completion, Feedback, Source, Thumbs
from heedful.domain.ids import (
    AgentId,
    EpisodeId,
    FeedbackId,
    KeyId,
    PersonId,
    PolicyId,
    QueueId,
    ReleaseId,
    TenantId,
    TurnId,
)
from heedful.domain.labeling import AssignmentState, Gold, Item, ItemState
from heedful.domain.release import Stage
from heedful.errors import NotFound
from heedful.store import asking
from heedful.store.protocol import Batch, Ref
from heedful.store.sql import SqlStore, open_store
from heedful.store.tables import micros
from heedful.store.targets import Targets
from heedful.store.views import OpenItem, QueueState, RaterLine, Views
from heedful.store.waiting import Marks

RELEASE = ReleaseId("release_1")
QUEUE = QueueId("queue_1")
RATER = PersonId("rater_1")


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    store = open_store(url)
    yield store
    store.close()


@pytest.fixture
def views(store: SqlStore) -> Views:
    return Views(store)


def later(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


# --- counting --------------------------------------------------------------------------------------------


def test_tallies_count_what_was_added_and_not_what_was_repeated(store: SqlStore, views: Views) -> None:
    turn = make_turn()
    store.commit(Batch(add=(turn, make_turn(), make_feedback())))
    store.commit(Batch(add=(turn,), swap=((turn, replace(turn, answer="new")),)))
    assert views.tallies(TENANT) == {"feedback": 1, "turn": 2}
    assert views.tallies(TenantId("globex")) == {}


def test_feedback_is_counted_by_source_since_a_time(store: SqlStore, views: Views) -> None:
    old, new = make_feedback(at=later(-5)), make_feedback(at=later(5))
    store.commit(Batch(add=(old, new, make_choice(at=NOW), make_violation(at=later(1)))))
    assert views.feedback_by_source(TENANT, NOW) == {"direct": 1, "expert": 1, "safety": 1}


def test_what_a_keys_turns_cost_is_added_up_since_a_time(store: SqlStore, views: Views) -> None:
    costs = [make_turn(key="hk_1", at=later(at), usage=Usage(spend=0.25)) for at in (-5, 1, 2)]
    others = [make_turn(key="hk_2", usage=Usage(spend=9.0)), make_turn(key="hk_1", usage=Usage())]
    store.commit(Batch(add=(*costs, *others)))
    assert views.spent(TENANT, KeyId("hk_1"), NOW) == 0.5
    assert views.spent(TENANT, KeyId("hk_3"), NOW) == 0.0


def test_the_audit_log_is_counted(store: SqlStore, views: Views) -> None:
    assert views.audit_size() == 0
    store.commit(Batch(acts=(make_act(), make_act())))
    assert views.audit_size() == 2


# --- what happened ---------------------------------------------------------------------------------------


def test_an_episode_comes_with_its_turns_in_order_and_what_was_said(store: SqlStore, views: Views) -> None:
    episode = make_episode()
    first = make_turn(episode=episode.id)
    second = make_turn(episode=episode.id, at=later(1))
    # Made an hour later to be compared with the first: it stands behind the first all the same.
    other = make_turn(
        episode=episode.id, at=later(60), sibling_of=first.id, index=1, purpose=Purpose.CANDIDATE
    )
    elsewhere = make_turn()
    said = [
        make_feedback(turn=second.id),
        make_completion(episode=episode.id),
        make_choice(other.id, (elsewhere.id, other.id)),
    ]
    store.commit(
        Batch(add=(episode, second, other, first, elsewhere, *said, make_feedback(turn=elsewhere.id)))
    )
    seen = views.episode(TENANT, episode.id)
    assert seen is not None
    assert seen.episode == episode
    assert seen.turns == (first, other, second)
    assert seen.feedback == tuple(said)
    assert views.episode(TENANT, EpisodeId("none")) is None


def test_turns_are_paged_and_narrowed(store: SqlStore, views: Views) -> None:
    turns = [make_turn(agent="ab"[n % 2], policy=f"p{n % 3}", episode=f"e{n % 4}") for n in range(24)]
    store.commit(Batch(add=tuple(turns)))
    newest = turns[::-1]
    first = views.turns(TENANT, limit=10)
    assert [turn for _, turn in first] == newest[:10]
    assert [turn for _, turn in views.turns(TENANT, before=first[-1][0], limit=10)] == newest[10:20]
    all_three = {"agent": "a", "policy": "p1", "episode": "e0"}
    for given in ({"agent": "a"}, {"policy": "p1"}, {"episode": "e2"}, all_three):
        wanted = [one for one in newest if given.items() <= {n: getattr(one, n) for n in all_three}.items()]
        assert [turn for _, turn in views.turns(TENANT, **given)] == wanted  # type: ignore[arg-type]
        assert wanted


def test_what_is_older_comes_page_by_page_in_the_order_of_time(store: SqlStore, views: Views) -> None:
    turns = [make_turn(at=later(minutes)) for minutes in (3, 1, 2, 2, 2, 9)]
    said = [make_feedback(at=later(minutes)) for minutes in (2, 1)]
    begun = make_episode(started_at=later(1))
    store.commit(Batch(add=(*turns, *said, begun)))
    first = views.older(Turn, TENANT, later(9), limit=3)
    assert [turn for _, turn in first] == [turns[1], turns[2], turns[3]]
    rest = views.older(Turn, TENANT, later(9), after=first[-1][0], limit=3)
    assert [turn for _, turn in rest] == [turns[4], turns[0]]
    assert views.older(Turn, TENANT, later(9), after=rest[-1][0]) == []
    assert [one for _, one in views.older(Feedback, TENANT, later(3))] == said[::-1]
    assert [one for _, one in views.older(Episode, TENANT, later(3))] == [begun]
    assert views.older(Turn, TenantId("globex"), later(9)) == []


def test_feedback_on_a_turn_is_found_alone_or_beside_others(store: SqlStore, views: Views) -> None:
    choice = make_choice(shown=("turn_1", "turn_2", "turn_3"))
    thumb = make_feedback(turn="turn_2")
    store.commit(Batch(add=(choice, thumb, make_feedback(turn="turn_9"))))
    asked = [TurnId("turn_2"), TurnId("turn_3"), TurnId("turn_4")]
    assert views.feedback_on(TENANT, asked) == {"turn_2": (choice, thumb), "turn_3": (choice,), "turn_4": ()}


def test_recent_feedback_comes_newest_first(store: SqlStore, views: Views) -> None:
    said = [make_feedback() for _ in range(5)]
    store.commit(Batch(add=tuple(said)))
    page = views.feedback_recent(TENANT, limit=2)
    assert [one for _, one in page] == said[:2:-1]
    assert [one for _, one in views.feedback_recent(TENANT, before=page[-1][0])] == said[2::-1]


def test_what_was_said_under_one_name_has_a_history(store: SqlStore, views: Views) -> None:
    first, second = (make_feedback(name="helpful", at=later(n)) for n in (0, 1))
    others = (make_feedback(name="helpful", by="user_2"), make_feedback(name="polite"), make_feedback())
    store.commit(Batch(add=(first, others[0], second, *others[1:])))
    for one in (first, second):
        assert views.history(TENANT, one.id) == [first, second]
    for one in others:
        assert views.history(TENANT, one.id) == [one]
    assert views.history(TENANT, FeedbackId("none")) == []


# --- feedback on its way ---------------------------------------------------------------------------------


def test_targets_are_found_without_their_texts(store: SqlStore, views: Views) -> None:
    turn, episode = make_turn(), make_episode()
    store.commit(Batch(add=(turn, episode)))
    found = views.targets(TENANT, [turn.id, TurnId("none")], [episode.id, EpisodeId("none")])
    assert found.turns == {turn.id: (turn.episode, turn.policy)}
    assert found.episodes == {episode.id}
    assert views.targets(TenantId("globex"), [turn.id], [episode.id]) == Targets()


def test_what_came_since_leads_to_what_waits_for_it(store: SqlStore, views: Views) -> None:
    before = views.newest()
    turns, episode = [make_turn() for _ in range(5)], make_episode()
    store.commit(Batch(add=(*turns[:3], episode)))
    store.commit(Batch(add=(make_turn(id="theirs", tenant="globex"),)))
    upto = views.newest()
    store.commit(Batch(add=tuple(turns[3:])))
    page, first = views.arrived(before, upto, 2)
    rest, second = views.arrived(page, upto)
    came = [*((TENANT, turn.id) for turn in turns[:3]), (TENANT, episode.id), ("globex", "theirs")]
    assert sorted([*first, *second]) == sorted(came)
    assert rest == upto
    parked = [make_parked(make_feedback(turn=turn.id)) for turn in turns]
    store.commit(Batch(add=tuple(parked)))
    assert views.parked_on(TENANT, [turns[1].id, turns[3].id, "none"]) == [parked[1], parked[3]]
    assert views.parked_tenants() == [TENANT]
    store.commit(Batch(drop=tuple(parked)))
    assert views.parked_tenants() == []


# --- releases --------------------------------------------------------------------------------------------


def exposed(episode: str, **given: Any) -> Turn:
    allocation = make_allocation(release=RELEASE, arm="canary", unit=f"unit of {episode}")
    return make_turn(**{"episode": episode, "allocation": allocation} | given)


def test_exposures_tell_how_each_episode_under_a_release_went(store: SqlStore, views: Views) -> None:
    one = [exposed("e1", latency=1.0), exposed("e1", at=later(1), latency=3.0), exposed("e1", at=later(2))]
    others = make_turn(episode="e1", at=later(3), agent="triage")
    two = exposed("e2", at=later(-1), allocation=make_allocation(release=RELEASE, arm="control", unit="u2"))
    unseen = exposed("e1", purpose=Purpose.SHADOW)
    elsewhere = make_turn(episode="e3", allocation=make_allocation(release="release_2"))
    said = [
        make_feedback(Completion(completed=False), turn=one[0].id, at=later(5)),
        make_feedback(Completion(completed=True, quality=0.8), turn=others.id, at=later(9)),
        make_feedback(Thumbs(up=True), turn=one[0].id, episode="e1"),
        make_feedback(Thumbs(up=False), turn=one[1].id),
        make_feedback(Thumbs(up=False), turn=others.id),  # about another agent's turn
        make_violation(turn=one[0].id),
        make_violation("fraud", turn=one[0].id),
        make_violation(None, turn=one[1].id),
        make_violation(turn=others.id),
        make_feedback(turn=elsewhere.id),
    ]
    store.commit(Batch(add=(*one, others, two, unseen, elsewhere, *said)))
    second, first = views.exposures(TENANT, RELEASE)
    assert (second.episode, second.arm, second.unit, second.at, second.turns) == (
        "e2",
        "control",
        "u2",
        later(-1),
        1,
    )
    assert (second.latency, second.completed, second.quality, second.thumbs) == (None, None, None, None)
    assert (second.violations, second.checked) == (0, 0)
    assert (first.episode, first.arm, first.unit, first.at) == ("e1", "canary", "unit of e1", NOW)
    assert (first.probability, first.turns, first.latency) == (0.5, 3, 2.0)
    assert (first.completed, first.quality, first.thumbs) == (True, 0.8, 0.5)
    assert (first.violations, first.checked) == (1, 2)
    assert views.exposures(TenantId("globex"), RELEASE) == []


def test_harm_reported_on_a_whole_episode_is_not_lost(store: SqlStore, views: Views) -> None:
    store.commit(Batch(add=(exposed("e1"), make_violation(episode="e1"))))
    (exposure,) = views.exposures(TENANT, RELEASE)
    assert (exposure.violations, exposure.checked) == (1, 1)


def test_running_releases_are_those_that_began_and_did_not_end(store: SqlStore, views: Views) -> None:
    releases = {stage: make_release(stage=stage) for stage in Stage}
    store.commit(Batch(add=tuple(releases.values())))
    running = (Stage.SHADOW, Stage.CANARY, Stage.PAUSED, Stage.INCONCLUSIVE)
    assert views.releases_running(TENANT) == [releases[stage] for stage in running]


def test_policy_versions_come_newest_first(store: SqlStore, views: Views) -> None:
    policies = [make_policy(version=version) for version in (2, 10, 1)]
    store.commit(Batch(add=(*policies, make_policy(agent="triage"))))
    assert [policy.version for policy in views.policy_versions(TENANT, AgentId("resolver"))] == [10, 2, 1]


# --- queues ----------------------------------------------------------------------------------------------


def taken(item: Item, slot: int, **given: Any) -> Any:
    return make_assignment(**{"id": f"{item.id}:{slot}", "item": item.id, "until": later(10)} | given)


def offered(views: Views, rater: str = RATER, now: datetime = NOW, **given: Any) -> list[OpenItem]:
    return views.open_items(TENANT, QUEUE, PersonId(rater), now, **given)


def test_open_items_have_a_free_place_that_the_rater_did_not_have(store: SqlStore, views: Views) -> None:
    items = [make_item() for _ in range(5)]
    fresh, half, full, mine, done = (
        items[0],
        items[1],
        items[2],
        items[3],
        replace(items[4], state=ItemState.DONE),
    )
    store.commit(
        Batch(
            add=(
                *(make_queue(id=QUEUE, overlap=2, quorum=1), fresh, half, full, mine, done),
                *(taken(half, 0, rater="x"), taken(full, 0, rater="x", state=AssignmentState.DONE)),
                *(taken(full, 1, rater="y"), taken(mine, 0), make_item(queue="queue_2")),
            )
        )
    )
    assert offered(views) == [OpenItem(item=fresh, slot=0), OpenItem(item=half, slot=1)]
    assert offered(views, limit=1) == [OpenItem(item=fresh, slot=0)]
    assert [one.item for one in offered(views, "z")] == [fresh, half, mine]
    with pytest.raises(NotFound):
        views.open_items(TENANT, QueueId("none"), RATER, NOW)


def test_a_place_that_was_let_go_is_offered_with_its_assignment(store: SqlStore, views: Views) -> None:
    item, other = make_item(), make_item()
    lapsed, skipped = taken(item, 0, rater="x"), taken(other, 0, rater="x", state=AssignmentState.SKIPPED)
    store.commit(Batch(add=(make_queue(id=QUEUE), item, other, lapsed, skipped)))
    assert offered(views) == [OpenItem(item=other, slot=0, stale=skipped)]
    assert offered(views, now=later(10)) == [
        OpenItem(item=item, slot=0, stale=lapsed),
        OpenItem(item=other, slot=0, stale=skipped),
    ]


def test_a_rater_whose_lease_ran_out_may_take_the_item_up_again(store: SqlStore, views: Views) -> None:
    item = make_item()
    lapsed = taken(item, 0)
    store.commit(Batch(add=(make_queue(id=QUEUE), item, lapsed)))
    assert offered(views) == []
    assert offered(views, now=later(10)) == [OpenItem(item=item, slot=0, stale=lapsed)]


def test_the_last_place_is_not_offered_beyond_the_overlap() -> None:
    item = make_item()
    held = [taken(item, 0, rater="x", state=AssignmentState.DONE)]
    assert asking._offered(item, held, NOW, most=1) is None
    assert asking._offered(item, held, NOW, most=2) == OpenItem(item=item, slot=1)
    assert asking._offered(item, held, NOW, most=None) == OpenItem(item=item, slot=1)


def test_a_gold_item_always_has_one_more_place(store: SqlStore, views: Views) -> None:
    gold, plain = make_item(gold=Gold(chosen=TurnId("turn_1"))), make_item()
    held = [taken(gold, n, rater=f"r{n}", state=AssignmentState.DONE) for n in range(3)]
    store.commit(Batch(add=(make_queue(id=QUEUE), gold, plain, *held)))
    assert offered(views, gold=True) == [OpenItem(item=gold, slot=3)]
    assert offered(views, gold=False) == [OpenItem(item=plain, slot=0)]
    assert [one.item for one in offered(views)] == [gold, plain]
    assert offered(views, "r1", gold=True) == []


def test_a_queue_s_state_is_counted(store: SqlStore, views: Views) -> None:
    items = [make_item(), make_item(), make_item(state=ItemState.DONE), make_item(queue="queue_2")]
    held = [
        taken(items[0], 0),
        taken(items[1], 0, until=later(-1)),
        taken(items[2], 0, state=AssignmentState.DONE),
    ]
    store.commit(Batch(add=(*items, *held)))
    assert views.queue_state(TENANT, QUEUE) == QueueState(open=2, done=1, leased=2, answered=1)
    assert views.queue_state(TENANT, QUEUE, now=NOW) == QueueState(open=2, done=1, leased=1, answered=1)


def test_raters_are_compared_with_what_is_known(store: SqlStore, views: Views) -> None:
    chosen = make_item(gold=Gold(chosen=TurnId("turn_1")))
    equal = make_item(gold=Gold(chosen=None))
    unsafe = make_item(gold=Gold(category="fraud"))
    plain = make_item()

    def judged(said: Callable[..., Feedback], what: str | None, item: Item, rater: str) -> Feedback:
        judgement = make_judgement(item=item.id, gold=item.gold is not None)
        return said(what, by=rater, source=Source.EXPERT, judgement=judgement)

    said = [
        judged(make_choice, "turn_1", chosen, "a"),
        judged(make_choice, "turn_1", equal, "a"),
        judged(make_choice, "turn_2", plain, "a"),
        judged(make_choice, "turn_2", chosen, "b"),
        judged(make_choice, None, equal, "b"),
        judged(make_violation, "fraud", unsafe, "b"),
        judged(make_violation, None, unsafe, "c"),
    ]
    store.commit(Batch(add=(chosen, equal, unsafe, plain, *said)))
    assert views.raters(TENANT, QUEUE) == [
        RaterLine(rater=PersonId("a"), judged=3, gold_judged=2, gold_right=1),
        RaterLine(rater=PersonId("b"), judged=3, gold_judged=3, gold_right=2),
        RaterLine(rater=PersonId("c"), judged=1, gold_judged=1, gold_right=0),
    ]


# --- before the tenant is known --------------------------------------------------------------------------


def test_a_key_is_found_by_its_prefix_alone(store: SqlStore, views: Views) -> None:
    key = make_key(tenant="globex")
    store.commit(Batch(add=(key,)))
    assert views.key(key.id) == key
    assert views.key(KeyId("hk_none")) is None


def test_all_tenants_are_named(store: SqlStore, views: Views) -> None:
    tenants = [make_tenant(id=id) for id in ("acme", "globex")]
    for tenant in tenants:
        store.commit(Batch(add=(tenant,)))
    assert views.tenants() == tenants


# --- explained -------------------------------------------------------------------------------------------

ASKED: dict[str, Callable[[Views], object]] = {
    "tallies": lambda views: views.tallies(TENANT),
    "feedback_by_source": lambda views: views.feedback_by_source(TENANT, later(100)),
    "feedback_pulse": lambda views: views.feedback_pulse(TENANT),
    "feedback_tenants": lambda views: views.feedback_tenants(),
    "spent": lambda views: views.spent(TENANT, KeyId("hk_1"), later(-100)),
    "audit_size": lambda views: views.audit_size(),
    "episode": lambda views: views.episode(TENANT, EpisodeId("e7")),
    "turns": lambda views: views.turns(TENANT),
    "turns_before": lambda views: views.turns(TENANT, before=200),
    "turns_of_agent": lambda views: views.turns(TENANT, agent=AgentId("resolver")),
    "turns_of_policy": lambda views: views.turns(TENANT, agent=AgentId("resolver"), policy=PolicyId("p3")),
    "turns_of_episode": lambda views: views.turns(TENANT, episode=EpisodeId("e7"), policy=PolicyId("p3")),
    "feedback_on": lambda views: views.feedback_on(TENANT, [TurnId(f"t{n}") for n in range(20)]),
    "feedback_recent": lambda views: views.feedback_recent(TENANT),
    "older_of_turns": lambda views: views.older(Turn, TENANT, later(100)),
    "older_of_turns_after": lambda views: views.older(Turn, TENANT, later(100), after=(micros(NOW), 7)),
    "older_of_episodes": lambda views: views.older(Episode, TENANT, later(100)),
    "older_of_feedback": lambda views: views.older(Feedback, TENANT, later(100)),
    "exposures": lambda views: views.exposures(TENANT, RELEASE),
    "releases_running": lambda views: views.releases_running(TENANT),
    "policy_versions": lambda views: views.policy_versions(TENANT, AgentId("resolver")),
    "queue_state": lambda views: views.queue_state(TENANT, QUEUE),
    "queue_state_now": lambda views: views.queue_state(TENANT, QUEUE, now=NOW),
    "open_items": lambda views: views.open_items(TENANT, QUEUE, RATER, NOW),
    "raters": lambda views: views.raters(TENANT, QUEUE),
    "history": lambda views: views.history(TENANT, FeedbackId("judged_1")),
    "targets": lambda views: views.targets(TENANT, [TurnId("t7")], [EpisodeId("e7")]),
    "newest": lambda views: views.newest(),
    "arrived": lambda views: views.arrived(Marks(700, 100), Marks(800, 200)),
    "parked_on": lambda views: views.parked_on(TENANT, ["t7", "t8"]),
    "parked_tenants": lambda views: views.parked_tenants(),
    "why": lambda views: views.why(TENANT, Ref(kind="turn", id="t7")),
    "why_of_feedback": lambda views: views.why(TENANT, Ref(kind="item", id="known_item")),
    "key": lambda views: views.key("hk_1"),
}
BIG = {"turn", "feedback", "parked", "episode", "item", "assignment", "link", "audit_entry", "verdict"}
OLDER = [name for name in ASKED if name.startswith("older")]
# These end after a page: they read an index from its end, as far as that takes.
PAGES = {
    "turns",
    "turns_before",
    "turns_of_agent",
    "feedback_recent",
    "feedback_pulse",
    *OLDER,
    "arrived",
    "newest",
}


@pytest.fixture
def filled(store: SqlStore) -> SqlStore:
    """Small, but with the variety of something large."""
    futures = [store.submit(batch) for n in range(40) for batch in _some(n)]
    named = make_feedback(id="judged_1", name="helpful")
    known = (named, make_queue(id=QUEUE), make_release(id=RELEASE), make_policy(), make_key(id="hk_1"))
    store.commit(Batch(add=(*known, make_item(id="known_item", gold=Gold(chosen=None)))))
    assert all(future.result() for future in futures)
    return store


def _some(n: int) -> Iterator[Batch]:
    release, queue = RELEASE if n == 7 else f"release_x{n}", f"queue_{n}"
    turns = [
        make_turn(
            id=f"t{20 * n + k}",
            episode=f"e{5 * n + k // 4}",
            agent="resolver" if k % 4 == 0 else f"agent_{k % 4}",
            policy=f"p{k}",
            allocation=make_allocation(release=release),
        )
        for k in range(20)
    ]
    episodes = [make_episode(id=f"e{5 * n + k}") for k in range(5)]
    yield Batch(add=(*turns, *episodes), acts=(make_act(),) * 20)
    thumbs = [make_feedback(turn=turn.id, episode=turn.episode, at=later(n), by=f"u{n}") for turn in turns]
    items = [make_item(queue=queue) for _ in range(20)]
    choices = [
        make_choice(a.id, (a.id, b.id), by=f"r{n}", judgement=make_judgement(queue=queue, item=item.id))
        for (a, b), item in zip(pairwise(turns), items, strict=False)
    ]
    held = [taken(item, 0, queue=queue, rater=f"rater_{k}") for k, item in enumerate(items)]
    later_ones = [make_parked(waits_for=(f"t_later{n}_{k}",)) for k in range(20)]
    yield Batch(add=(*thumbs, *choices, *items, *held, *later_ones))


def test_every_question_is_answered_through_an_index(filled: SqlStore) -> None:
    views = Views(filled)
    questions = {name for name in vars(Views) if not name.startswith("_")}
    asked = {name.partition("_of_")[0].removesuffix("_before").removesuffix("_now") for name in ASKED}
    assert asked == questions - {"tenants", "near"}
    engine = filled._database.readers
    if engine.dialect.name == "postgresql":
        _seem_large(filled)
    explained = explained_by_sqlite if engine.dialect.name == "sqlite" else explained_by_postgres
    wrong = [
        f"{name}: {problem} in {statement}"
        for name, ask in ASKED.items()
        for statement, parameters in recorded(engine, partial(ask, views))
        for problem in explained(engine, statement, parameters, page=name in PAGES)
    ]
    assert not wrong, "\n".join(wrong)


def _seem_large(store: SqlStore) -> None:
    """A planner reads small tables whole, and rightly: let it believe in a thousand times as many rows."""
    with store._database.writing() as connection:
        connection.exec_driver_sql("ANALYZE")
        for name in BIG:
            connection.execute(
                text("UPDATE pg_class SET reltuples = reltuples * 1000 WHERE relname = :name"), {"name": name}
            )


def recorded(engine: Engine, ask: Callable[[], object]) -> list[tuple[str, Any]]:
    statements: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        ask()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return statements


def explained_by_sqlite(engine: Engine, statement: str, parameters: Any, *, page: bool) -> Iterator[str]:
    aliases = dict(re.findall(r'(?:FROM|JOIN|,) "?(\w+)"? AS (\w+)', statement))
    with engine.connect() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    for line in plan:
        found = re.match(r"(SCAN|SEARCH) (\w+)", line)
        if found is None:
            continue
        table = {alias: of for of, alias in aliases.items()}.get(found[2], found[2])
        ranges = ("at>?", "alone>?")  # these are narrow; others only serve an order
        entered = line.count("=?") + sum(line.count(one) for one in ranges)
        whole = found[1] == "SCAN" or entered < 2
        if table in BIG and whole and not page and "max(audit_entry" not in statement:
            yield line


def explained_by_postgres(engine: Engine, statement: str, parameters: Any, *, page: bool) -> Iterator[str]:
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    nodes = [plan[0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if node.get("Relation Name") in BIG:
            # How many columns the index was entered by: one is the tenant alone, which is the whole table.
            condition = node.get("Index Cond") or node.get("Recheck Cond") or ""
            entered = len(re.findall(r"(?: = |(?:at|alone) >)", condition))
            whole = "Scan" not in node["Node Type"] or node["Node Type"] == "Seq Scan" or entered < 2
            one_end = "Index" in node["Node Type"] and (page or node["Relation Name"] == "audit_entry")
            if whole and not one_end:
                yield f"{node['Node Type']} on {node['Relation Name']} by {condition!r}"
