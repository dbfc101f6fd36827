"""The promises of `heedful.store.protocol.Store`, one test each, on both databases."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import timedelta
from itertools import pairwise
from threading import Barrier

import pytest

from factories import (
    MAKERS,
    NOW,
    TENANT,
    make_act,
    make_assignment,
    make_choice,
    make_dataset,
    make_episode,
    make_feedback,
    make_item,
    make_judgement,
    make_parked,
    make_policy,
    make_run,
    make_turn,
)
from heedful.audit.merkle import frontier
from heedful.audit.verification import verify
from heedful.domain.episode import Episode, EpisodeState, Purpose, Turn
from heedful.domain.feedback import Feedback, Parked, Ranking, Thumbs
from heedful.domain.ids import EpisodeId, PersonId, PolicyId, RunId, TenantId, TurnId
from heedful.domain.labeling import Assignment, Item
from heedful.domain.models import Policy, Run
from heedful.errors import Conflict, InvalidInput, Misconfigured, Unavailable
from heedful.store.codec import digest
from heedful.store.protocol import Batch, Link, Outcome, Ref
from heedful.store.sql import SqlStore, open_store
from heedful.store.tables import KINDS, columns, found_by
from heedful.store.views import Views

OTHER = TenantId("globex")


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    store = open_store(url)
    yield store
    store.close()


# --- kept ------------------------------------------------------------------------------------------------


def test_every_kind_comes_back_as_it_went_in(store: SqlStore) -> None:
    records = {kind: make() for kind, make in MAKERS.items()}
    store.commit(Batch(add=tuple(records.values())))
    assert set(records) == set(KINDS.values())
    for kind, record in records.items():
        assert store.get(kind, TENANT, record.id) == record


def test_what_was_committed_is_there_after_opening_again(url: str) -> None:
    turn = make_turn()
    first = open_store(url)
    first.commit(Batch(add=(turn,)))
    first.close()
    second = open_store(url)
    assert second.get(Turn, TENANT, turn.id) == turn
    second.close()


def test_closing_finishes_what_is_queued_and_then_refuses(url: str) -> None:
    store = open_store(url)
    futures = [store.submit(Batch(add=(make_turn(),))) for _ in range(50)]
    store.close()
    assert all(future.result(0) == Outcome(added=(True,)) for future in futures)
    with pytest.raises(Unavailable, match="closed"):
        store.commit(Batch(add=(make_turn(),)))


def test_an_empty_batch_is_nothing_to_do(store: SqlStore) -> None:
    assert store.commit(Batch()) == Outcome(added=())


def test_nul_bytes_and_strange_letters_in_texts_come_back(store: SqlStore) -> None:
    turn = make_turn(answer="a\0b \U0001f600 \u2028 'quoted' \\ \"more\"")
    store.commit(Batch(add=(turn,)))
    assert store.get(Turn, TENANT, turn.id) == turn


def test_a_number_that_is_none_comes_back(store: SqlStore) -> None:
    run = make_run(figures={"loss": math.nan, "gain": math.inf})
    store.commit(Batch(add=(run,)))
    found = store.get(Run, TENANT, run.id)
    assert found is not None
    assert math.isnan(found.figures["loss"])
    assert found.figures["gain"] == math.inf


# --- whole or not at all ---------------------------------------------------------------------------------


def test_a_refused_batch_leaves_nothing_behind(store: SqlStore) -> None:
    there = make_turn()
    store.commit(Batch(add=(there,)))
    new, act = make_turn(), make_act()
    with pytest.raises(Conflict, match=there.id):
        store.commit(Batch(add=(new, replace(there, answer="other")), acts=(act,), once="it"))
    assert store.get(Turn, TENANT, new.id) is None
    assert list(store.audit_entries()) == []
    assert store.commit(Batch(add=(new,), once="it")) == Outcome(added=(True,))


def test_refused_batches_leave_their_neighbours_alone(store: SqlStore) -> None:
    there = make_turn()
    store.commit(Batch(add=(there,)))
    good = [make_turn() for _ in range(40)]
    bad = [replace(there, answer=f"other {n}") for n in range(20)]
    futures = [
        store.submit(Batch(add=(turn,))) for pair in zip(good, bad + bad, strict=True) for turn in pair
    ]
    for place, future in enumerate(futures):
        if place % 2:
            with pytest.raises(Conflict):
                future.result()
        else:
            assert future.result().added == (True,)
    assert store.get_many(Turn, TENANT, [turn.id for turn in good]) == {turn.id: turn for turn in good}


def test_a_value_that_the_database_refuses_harms_only_its_own_batch(store: SqlStore) -> None:
    good = [make_policy() for _ in range(10)]
    futures = [store.submit(Batch(add=(policy,))) for policy in good]
    bad = store.submit(Batch(add=(make_turn(), make_policy(version=2**70))))
    more = [store.submit(Batch(add=(make_turn(),))) for _ in range(10)]
    with pytest.raises(InvalidInput):
        bad.result()
    assert all(future.result().added == (True,) for future in futures + more)
    assert len(store.find(Turn, TENANT)) == 10


def test_a_name_that_cannot_be_kept_is_refused_before_anything_is_stored(store: SqlStore) -> None:
    turn = make_turn()
    for name in ("a\0b", "a" * 501, "\ud800"):
        with pytest.raises(InvalidInput):
            store.commit(Batch(add=(turn, make_turn(agent=name))))
    assert store.get(Turn, TENANT, turn.id) is None


def test_a_time_without_zone_is_refused(store: SqlStore) -> None:
    with pytest.raises(InvalidInput, match="time zone"):
        store.commit(Batch(add=(make_turn(at=NOW.replace(tzinfo=None)),)))


def test_a_batch_of_two_tenants_is_refused(store: SqlStore) -> None:
    with pytest.raises(InvalidInput, match="one tenant"):
        store.commit(Batch(add=(make_turn(), make_turn(tenant=OTHER))))


# --- each on its own -------------------------------------------------------------------------------------


def test_with_each_what_is_wrong_with_one_record_leaves_the_others_alone(store: SqlStore) -> None:
    there = make_policy()
    store.commit(Batch(add=(there,)))
    good, nul, large = make_policy(), make_policy(agent="a\0b"), make_policy(version=2**70)
    other = replace(there, figures={"gain": 1.0})
    records = (good, nul, there, other, large, good, make_policy())
    for first in (True, False):  # sent again the outcome is the same, but for what was added
        outcome = store.commit(Batch(add=records, each=True))
        assert outcome.added == (first, False, False, False, False, False, first)
        assert {place: type(error) for place, error in outcome.refused.items()} == {
            1: InvalidInput,
            3: Conflict,
            4: InvalidInput,
        }
    assert len(store.find(Policy, TENANT)) == 3
    assert Views(store).tallies(TENANT) == {"policy": 3}


def test_with_each_nothing_but_records_is_taken(store: SqlStore) -> None:
    for more in ({"once": "it"}, {"acts": (make_act(),)}, {"drop": (make_turn(),)}):
        with pytest.raises(InvalidInput, match="nothing else"):
            store.commit(Batch(add=(make_turn(),), each=True, **more))


# --- once ------------------------------------------------------------------------------------------------


def test_what_was_sent_decides_and_not_what_we_made_of_it(store: SqlStore) -> None:
    said = make_feedback()
    whole = replace(said, episode=EpisodeId("episode_1"), policy=PolicyId("policy_1"))
    sent = (digest(said),)
    assert store.commit(Batch(add=(whole,), sent=sent)).added == (True,)
    assert store.commit(Batch(add=(replace(whole, episode=EpisodeId("episode_2")),), sent=sent)).added == (
        False,
    )
    assert store.commit(Batch(add=(whole,))).added == (False,)
    other = replace(said, confidence=0.5)
    with pytest.raises(Conflict):
        store.commit(Batch(add=(replace(whole, confidence=0.5),), sent=(digest(other),)))
    with pytest.raises(InvalidInput, match="2 digests for 1"):
        store.commit(Batch(add=(whole,), sent=sent * 2))
    assert store.find(Feedback, TENANT) == [whole]


def test_feedback_and_parked_feedback_share_their_ids(store: SqlStore) -> None:
    said, later = make_feedback(), make_feedback()
    parked, late = make_parked(said), make_parked(later)
    sent = (digest(said),)
    assert store.commit(Batch(add=(parked, later))).added == (True, True)
    assert store.commit(Batch(add=(said, late), each=True)).added == (False, False)
    again = replace(parked, waits_for=(TurnId("turn_9"),), since=NOW + timedelta(days=1))
    assert store.commit(Batch(add=(again,))).added == (False,)
    other = replace(said, confidence=0.5)
    for changed in (other, make_parked(other)):
        with pytest.raises(Conflict):
            store.commit(Batch(add=(changed,)))
    assert store.find(Feedback, TENANT) == [later]
    assert store.find(Parked, TENANT) == [parked]
    whole = replace(said, policy=PolicyId("policy_1"), episode=EpisodeId("episode_1"))
    joined = [store.submit(Batch(add=(whole,), sent=sent, drop=(parked,))) for _ in range(2)]
    assert joined[0].result().added == (True,)
    assert isinstance(joined[1].exception(), Conflict)
    assert store.commit(Batch(add=(parked,))).added == (False,)
    assert store.find(Feedback, TENANT) == [later, whole]
    assert store.find(Parked, TENANT) == []


def test_the_same_record_twice_is_kept_once(store: SqlStore) -> None:
    turn = make_turn()
    assert store.commit(Batch(add=(turn,))).added == (True,)
    assert store.commit(Batch(add=(make_turn(), turn))).added == (True, False)
    assert len(store.find(Turn, TENANT)) == 2


def test_the_same_record_twice_in_one_batch_is_kept_once(store: SqlStore) -> None:
    turn = make_turn()
    assert store.commit(Batch(add=(turn, turn))).added == (True, False)
    assert store.find(Turn, TENANT) == [turn]


def test_the_same_record_from_many_threads_is_kept_once(store: SqlStore) -> None:
    turns = [make_turn() for _ in range(30)]
    barrier = Barrier(6)

    def send(_: int) -> int:
        barrier.wait()
        return sum(store.commit(Batch(add=(turn,))).added[0] for turn in turns)

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(send, range(6))) == len(turns)
    assert store.find(Turn, TENANT) == sorted(turns, key=lambda turn: turn.id)


def test_what_we_stamp_ourselves_makes_no_difference(store: SqlStore) -> None:
    said = make_feedback(received_at=NOW)
    store.commit(Batch(add=(said,)))
    assert store.commit(Batch(add=(replace(said, received_at=NOW + timedelta(days=1)),))).added == (False,)
    assert store.get(Feedback, TENANT, said.id) == said


def test_a_record_sent_again_after_it_was_changed_is_still_a_repeat(store: SqlStore) -> None:
    episode = make_episode()
    done = replace(episode, state=EpisodeState.DONE)
    store.commit(Batch(add=(episode,)))
    store.commit(Batch(swap=((episode, done),)))
    assert store.commit(Batch(add=(episode,))).added == (False,)
    assert store.commit(Batch(add=(done,))).added == (False,)
    assert store.get(Episode, TENANT, episode.id) == done


def test_an_effect_happens_once(store: SqlStore) -> None:
    first = Batch(add=(make_turn(), make_turn()), acts=(make_act(),), once="cycle-7/fit")
    assert store.commit(first) == Outcome(added=(True, True))
    other = make_turn()
    again = Batch(add=(other,), acts=(make_act(),), once="cycle-7/fit")
    assert store.commit(again) == Outcome(added=(True, True), repeated=True)
    assert store.get(Turn, TENANT, other.id) is None
    assert len(list(store.audit_entries())) == 1


def test_an_effect_repeated_at_the_same_moment_happens_once(store: SqlStore) -> None:
    batches = [Batch(add=(make_turn(),), once="it") for _ in range(20)]
    outcomes = [future.result() for future in [store.submit(batch) for batch in batches]]
    assert [outcome.repeated for outcome in outcomes] == [False] + [True] * 19
    assert len(store.find(Turn, TENANT)) == 1


# --- swaps -----------------------------------------------------------------------------------------------


def test_a_swap_replaces_the_record_and_what_it_is_found_by(store: SqlStore) -> None:
    episode = make_episode()
    done = replace(episode, state=EpisodeState.DONE, outcome=1.0)
    store.commit(Batch(add=(episode,)))
    store.commit(Batch(swap=((episode, done),)))
    assert store.get(Episode, TENANT, episode.id) == done
    assert store.find(Episode, TENANT, where={"state": EpisodeState.DONE}) == [done]
    assert store.find(Episode, TENANT, where={"state": EpisodeState.OPEN}) == []


def test_of_two_swaps_one_wins(store: SqlStore) -> None:
    lease = make_assignment()
    store.commit(Batch(add=(lease,)))
    wanted = [replace(lease, rater=PersonId(f"rater_{n}")) for n in range(8)]
    futures = [store.submit(Batch(add=(make_turn(),), swap=((lease, new),))) for new in wanted]
    errors = [future.exception() for future in futures]
    assert errors[0] is None
    assert all(isinstance(error, Conflict) for error in errors[1:])
    assert store.get(type(lease), TENANT, lease.id) == wanted[0]
    assert len(store.find(Turn, TENANT)) == 1


def test_a_record_can_be_added_and_changed_in_one_group(store: SqlStore) -> None:
    episode = make_episode()
    done = replace(episode, state=EpisodeState.DONE)
    added = store.submit(Batch(add=(episode,)))
    changed = store.submit(Batch(swap=((episode, done),)))
    repeated = store.submit(Batch(add=(episode,)))
    assert (added.result().added, changed.result().added, repeated.result().added) == ((True,), (), (False,))
    assert store.find(Episode, TENANT) == [done]


def test_swapping_what_is_not_there_is_a_conflict(store: SqlStore) -> None:
    episode = make_episode()
    with pytest.raises(Conflict, match="not there"):
        store.commit(Batch(swap=((episode, replace(episode, segment="new")),)))


def test_a_swap_of_two_different_records_is_refused(store: SqlStore) -> None:
    with pytest.raises(InvalidInput, match="one record"):
        store.commit(Batch(swap=((make_episode(), make_episode()),)))


# --- drops -----------------------------------------------------------------------------------------------


def test_what_is_dropped_is_nowhere_to_be_found(store: SqlStore) -> None:
    choice, stays = make_choice(shown=("turn_1", "turn_2")), make_feedback()
    store.commit(Batch(add=(choice, stays)))
    assert store.commit(Batch(drop=(choice,))) == Outcome(added=())
    assert store.get(Feedback, TENANT, choice.id) is None
    assert store.find(Feedback, TENANT) == [stays]
    assert store.find(Feedback, TENANT, where={"form": "choice"}) == []
    assert store.children(TENANT, ref("turn", "turn_2")) == []
    assert Views(store).tallies(TENANT) == {"feedback": 1}


def test_a_drop_and_what_comes_in_its_place_are_one(store: SqlStore) -> None:
    lease, turn = make_assignment(), make_turn()
    store.commit(Batch(add=(lease,)))
    there = make_turn()
    store.commit(Batch(add=(there,)))
    with pytest.raises(Conflict):
        store.commit(Batch(add=(turn, replace(there, answer="other")), drop=(lease,)))
    assert store.get(Assignment, TENANT, lease.id) == lease
    store.commit(Batch(add=(turn,), drop=(lease,), acts=(make_act(),)))
    assert store.get(Assignment, TENANT, lease.id) is None
    assert store.get(Turn, TENANT, turn.id) == turn
    assert len(list(store.audit_entries())) == 1


def test_of_two_who_drop_or_change_a_record_one_wins(store: SqlStore) -> None:
    lease = make_assignment()
    store.commit(Batch(add=(lease,)))
    futures = [store.submit(Batch(add=(make_turn(),), drop=(lease,))) for _ in range(4)]
    futures.append(store.submit(Batch(swap=((lease, replace(lease, rater=PersonId("other"))),))))
    errors = [future.exception() for future in futures]
    assert errors[0] is None
    assert all(isinstance(error, Conflict) for error in errors[1:])
    assert len(store.find(Turn, TENANT)) == 1


def test_what_changed_since_it_was_read_is_not_dropped(store: SqlStore) -> None:
    episode = make_episode()
    done = replace(episode, state=EpisodeState.DONE)
    store.commit(Batch(add=(episode,)))
    store.commit(Batch(swap=((episode, done),)))
    with pytest.raises(Conflict, match="not what it was"):
        store.commit(Batch(drop=(episode,)))
    with pytest.raises(Conflict, match="not there"):
        store.commit(Batch(drop=(make_episode(),)))
    assert store.find(Episode, TENANT) == [done]


def test_the_id_of_what_was_dropped_is_free_again(store: SqlStore) -> None:
    choice = make_choice(shown=("turn_1", "turn_2"))
    other = make_choice(shown=("turn_3", "turn_4"), id=choice.id)
    batches = (Batch(add=(choice,)), Batch(drop=(choice,)), Batch(add=(other,)))
    for _ in range(2):  # the second time what is in the database goes as well
        futures = [store.submit(batch) for batch in batches]
        assert [future.result().added for future in futures] == [(True,), (), (True,)]
        assert store.find(Feedback, TENANT) == [other]
        assert store.children(TENANT, ref("turn", "turn_2")) == []
        assert store.children(TENANT, ref("turn", "turn_4")) == [ref("feedback", choice.id)]
        assert Views(store).tallies(TENANT) == {"feedback": 1}
        store.commit(Batch(drop=(other,)))
    assert store.find(Feedback, TENANT) == []


# --- audit -----------------------------------------------------------------------------------------------


def test_acts_enter_the_tree_in_order_and_without_gaps(store: SqlStore) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(
            pool.map(
                lambda n: store.commit(Batch(add=(make_turn(),), acts=(make_act(detail={"n": n}),))),
                range(60),
            )
        )
    entries = list(store.audit_entries())
    assert [index for index, _, _ in entries] == list(range(60))
    assert verify(entries, (), keys={}).intact
    assert list(store.audit_entries(start=58)) == entries[58:]
    assert frontier(leaf for _, _, leaf in entries).size == Views(store).audit_size() == 60


def test_a_repeat_that_adds_nothing_is_no_act(store: SqlStore) -> None:
    batch = Batch(add=(make_turn(),), acts=(make_act(),))
    store.commit(batch)
    store.commit(batch)
    assert len(list(store.audit_entries())) == 1


# --- questions -------------------------------------------------------------------------------------------


def test_a_record_is_found_by_each_of_its_indexed_columns(store: SqlStore) -> None:
    said = make_feedback(episode="episode_1", turn="turn_1", policy="policy_1", judgement=make_judgement())
    records = {kind: make() for kind, make in MAKERS.items()} | {Feedback: said}
    store.commit(Batch(add=tuple(records.values())))
    for kind, record in records.items():
        for name in found_by(kind):
            value = columns(record)[name]
            if value is not None:
                assert store.find(kind, TENANT, where={name: value}) == [record], (kind, name)
                assert store.find(kind, TENANT, where={name: [value]}) == [record], (kind, name)


def test_find_takes_the_values_that_records_have(store: SqlStore) -> None:
    turns = [make_turn(purpose=Purpose.CANDIDATE), make_turn(at=NOW + timedelta(seconds=1)), make_turn()]
    store.commit(Batch(add=tuple(turns)))
    assert store.find(Turn, TENANT, where={"purpose": Purpose.CANDIDATE}) == turns[:1]
    assert store.find(Turn, TENANT, where={"at": NOW + timedelta(seconds=1)}) == turns[1:2]
    assert store.find(Turn, TENANT, where={"purpose": (Purpose.LIVE, Purpose.CANDIDATE)}) == turns


def test_find_pages_oldest_or_newest_first(store: SqlStore) -> None:
    turns = [make_turn() for _ in range(5)]
    store.commit(Batch(add=tuple(turns)))
    third = store.changes(Turn, TENANT)[2][0]
    assert store.find(Turn, TENANT, limit=2) == turns[:2]
    assert store.find(Turn, TENANT, newest_first=True, limit=2) == turns[:2:-1]
    assert store.find(Turn, TENANT, after=third) == turns[3:]
    assert store.find(Turn, TENANT, limit=None) == turns


def test_a_question_without_an_index_is_refused_and_says_what_can_be_asked(store: SqlStore) -> None:
    for where in ({"answer": "no"}, {"latency": 1.0}, {"release": None}):
        with pytest.raises(InvalidInput):
            store.find(Turn, TENANT, where=where)
    with pytest.raises(InvalidInput, match=r"found by agent, at, episode, key, policy"):
        store.find(Turn, TENANT, where={"answer": "no"})


def test_a_column_without_index_may_narrow_one_that_has_an_index(store: SqlStore) -> None:
    assert store.find(Turn, TENANT, where={"release": "release_1", "arm": "canary"}) == []


def test_what_is_no_record_is_refused(store: SqlStore) -> None:
    with pytest.raises(InvalidInput, match="not a record"):
        store.get(Thumbs, TENANT, "x")


def test_changes_come_in_the_order_of_commits_and_none_is_skipped(url: str) -> None:
    """A reader who follows the numbers while several write sees every record, once, in order."""
    stores = [open_store(url)] if url.startswith("sqlite") else [open_store(url), open_store(url)]
    seen: list[tuple[int, Turn]] = []

    def write(store: SqlStore) -> None:
        for _ in range(60):
            store.commit(Batch(add=(make_turn(), make_turn())))

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, stores[n % len(stores)]) for n in range(4)]
        while not all(writer.done() for writer in writers):
            seen += stores[0].changes(Turn, TENANT, after=seen[-1][0] if seen else 0, limit=7)
        for writer in writers:
            writer.result()
    while more := stores[0].changes(Turn, TENANT, after=seen[-1][0] if seen else 0):
        seen += more
    assert len({turn.id for _, turn in seen}) == len(seen) == 480
    assert all(a < b for (a, _), (b, _) in pairwise(seen))
    for store in stores:
        store.close()


def test_nothing_of_one_tenant_is_seen_by_another(store: SqlStore) -> None:
    turn, said = make_turn(id="turn_1"), make_choice()
    ours = Batch(
        add=(turn, said), links=(Link(made=ref("dataset", "d"), source=ref("feedback", said.id)),), once="it"
    )
    store.commit(ours)
    assert store.get(Turn, OTHER, turn.id) is None
    assert store.get_many(Turn, OTHER, [turn.id]) == {}
    assert store.find(Turn, OTHER) == []
    assert store.changes(Turn, OTHER) == []
    assert store.find(Turn, OTHER, where={"agent": turn.agent}) == []
    assert store.parents(OTHER, ref("feedback", said.id)) == store.children(OTHER, ref("turn", turn.id)) == []
    theirs = replace(turn, tenant=OTHER, answer="theirs")
    assert store.commit(Batch(add=(theirs,), once="it")) == Outcome(added=(True,))
    assert store.get(Turn, TENANT, turn.id) == turn
    with pytest.raises(Conflict):
        store.commit(
            Batch(swap=((replace(said, tenant=OTHER), replace(said, tenant=OTHER, confidence=0.5)),))
        )
    assert Views(store).tallies(OTHER) == {"turn": 1}


# --- lineage ---------------------------------------------------------------------------------------------


def ref(kind: str, id: str) -> Ref:
    return Ref(kind=kind, id=id)


def test_every_turn_that_was_compared_leads_to_the_feedback(store: SqlStore) -> None:
    choice = make_choice(shown=("turn_1", "turn_2", "turn_3"))
    ranking = make_feedback(Ranking(places=(("turn_2",), ("turn_3", "turn_1"))), turn=None)  # type: ignore[arg-type]
    store.commit(Batch(add=(choice, ranking)))
    for turn in ("turn_1", "turn_2", "turn_3"):
        assert set(store.children(TENANT, ref("turn", turn))) == {
            ref("feedback", choice.id),
            ref("feedback", ranking.id),
        }
    assert store.parents(TENANT, ref("feedback", ranking.id)) == [ref("turn", f"turn_{n}") for n in (2, 3, 1)]


def test_links_are_walked_both_ways(store: SqlStore) -> None:
    policy = make_policy(parent="policy_0", datasets=("dataset_1",), run="run_1", reward="reward_1")
    dataset = make_dataset(id="dataset_1")
    link = Link(made=ref("dataset", "dataset_1"), source=ref("verdict", "verdict_1"))
    store.commit(Batch(add=(policy, dataset), links=(link,)))
    assert set(store.parents(TENANT, ref("policy", policy.id))) == {
        ref("policy", "policy_0"),
        ref("run", "run_1"),
        ref("reward_model", "reward_1"),
        ref("dataset", "dataset_1"),
    }
    assert store.parents(TENANT, ref("dataset", "dataset_1")) == [ref("verdict", "verdict_1")]
    assert store.children(TENANT, ref("verdict", "verdict_1")) == [ref("dataset", "dataset_1")]
    assert store.children(TENANT, ref("dataset", "dataset_1")) == [ref("policy", policy.id)]


def test_a_swap_that_names_a_new_source_adds_its_link(store: SqlStore) -> None:
    policy = make_policy()
    store.commit(Batch(add=(policy,)))
    store.commit(Batch(swap=((policy, replace(policy, run=RunId("run_1"))),)))
    assert store.children(TENANT, ref("run", "run_1")) == [ref("policy", policy.id)]


# --- standing --------------------------------------------------------------------------------------------


def test_ping_returns_while_reads_and_writes_work(store: SqlStore) -> None:
    store.ping()
    assert list(store.audit_entries()) == []


def test_a_reader_beside_the_owner_reads_and_cannot_write(url: str, store: SqlStore) -> None:
    reader = open_store(url, read_only=True)
    item = make_item()
    store.commit(Batch(add=(item,)))
    assert reader.get(Item, TENANT, item.id) == item
    with pytest.raises(Misconfigured, match="opened to read"):
        reader.commit(Batch(add=(make_item(),)))
    reader.ping()
    reader.close()


def test_a_reader_alone_reads(url: str) -> None:
    item = make_item()
    owner = open_store(url)
    owner.commit(Batch(add=(item,)))
    owner.close()
    reader = open_store(url, read_only=True)
    assert reader.get(Item, TENANT, item.id) == item
    reader.close()


@pytest.mark.parametrize("wrong", ["sqlite://", "mysql://host/name", "no address", "sqlite:///:memory:"])
def test_an_address_that_cannot_work_is_refused(wrong: str) -> None:
    with pytest.raises(Misconfigured, match=r"^database is"):
        open_store(wrong)


def test_every_field_of_a_batch_is_known_here() -> None:
    """Who adds a field to Batch is reminded to keep it."""
    assert {field.name for field in fields(Batch)} == {
        *("add", "swap", "drop", "links", "acts", "once", "each", "sent")
    }
