"""Work handed out to raters: nothing lost, nothing doubled, and what was let go comes back."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from factories import NOW, TENANT, make_choice, make_item, make_judgement, make_queue
from heedful.domain.clock import SetClock
from heedful.domain.feedback import Feedback
from heedful.domain.ids import PersonId, TurnId
from heedful.domain.labeling import Assignment, AssignmentState, Gold, Item
from heedful.errors import Conflict, NotFound
from heedful.labeling import desk
from heedful.store.protocol import Batch
from heedful.store.sql import SqlStore, open_store
from heedful.store.views import Views


class Office:
    """A queue over a real store, and a clock to move."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.clock = SetClock(NOW)
        self.queue = make_queue(id="queue_1")

    def open(self, items: int = 0, *, gold: int = 0, **queue: object) -> None:
        self.queue = make_queue(id="queue_1", **queue)
        known: list[Gold | None] = [None] * items + [Gold(chosen=TurnId("turn_1"))] * gold
        made = [make_item(id=f"item_{place}", gold=answer) for place, answer in enumerate(known)]
        self.store.commit(Batch(add=(self.queue, *made)))

    def lease(self, rater: str, limit: int = 5, *, seed: int = 0) -> list[tuple[Assignment, Item]]:
        return desk.lease(
            self.store,
            Views(self.store),
            self.queue,
            PersonId(rater),
            now=self.clock.now(),
            limit=limit,
            random=Random(seed),
        )

    def judged(self, assignment: Assignment, by: str) -> Feedback:
        judgement = make_judgement(item=assignment.item, assignment=assignment.id)
        return make_choice(by=by, judgement=judgement)

    def close(self, said: Feedback) -> None:
        closed = desk.close(self.store, said, now=self.clock.now())
        self.store.commit(Batch(add=(said,), swap=(closed,) if closed else ()))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    store = open_store(f"sqlite:///{tmp_path / 'heedful.db'}")
    yield Office(store)
    store.close()


def items(leased: list[tuple[Assignment, Item]]) -> set[str]:
    return {item.id for _, item in leased}


def test_two_raters_at_once_share_the_work_without_losing_or_doubling_any(office: Office) -> None:
    office.open(40)
    got: list[list[tuple[Assignment, Item]]] = []

    def work(rater: str) -> None:
        while leased := office.lease(rater, limit=7):
            got.append(leased)

    raters = [threading.Thread(target=work, args=(name,)) for name in ("ann", "bob", "cy")]
    for rater in raters:
        rater.start()
    for rater in raters:
        rater.join()
    counts = Counter(item.id for leased in got for _, item in leased)
    assert counts == Counter({f"item_{place}": 1 for place in range(40)})
    held = office.store.find(Assignment, TENANT, where={"queue": "queue_1"}, limit=None)
    assert {one.id for one in held} == {one.id for leased in got for one, _ in leased}


def test_who_comes_second_gets_other_work_and_not_less(office: Office) -> None:
    office.open(10)
    first, second = office.lease("ann", 5), office.lease("bob", 5)
    assert len(first) == len(second) == 5
    assert not items(first) & items(second)
    assert office.lease("cy", 5) == []


def test_as_many_raters_as_the_queue_asks_for_see_an_item_and_each_once(office: Office) -> None:
    office.open(2, overlap=2)
    assert items(office.lease("ann")) == items(office.lease("bob")) == {"item_0", "item_1"}
    assert office.lease("ann") == office.lease("cy") == []


def test_a_lease_that_ran_out_comes_back_to_somebody_else(office: Office) -> None:
    office.open(3, lease_seconds=60)
    before = office.lease("ann")
    office.clock.forward(59)
    assert office.lease("bob") == []
    office.clock.forward(1)
    after = office.lease("bob")
    assert items(after) == items(before)
    assert {one.until for one, _ in after} == {NOW + timedelta(seconds=120)}
    with pytest.raises(Conflict, match="is held by 'bob': the lease ran out"):
        office.close(office.judged(before[0][0], "ann"))


def test_work_that_was_done_late_counts_while_nobody_else_has_it(office: Office) -> None:
    office.open(1, lease_seconds=60)
    ((held, _),) = office.lease("ann")
    office.clock.forward(3600)
    office.close(office.judged(held, "ann"))
    assert office.lease("bob") == []
    done = office.store.get(Assignment, TENANT, held.id)
    assert done is not None
    assert done.state is AssignmentState.DONE


def test_an_assignment_is_answered_once_by_whom_it_was_given_to(office: Office) -> None:
    office.open(1)
    ((held, _),) = office.lease("ann")
    with pytest.raises(Conflict, match="it never was yours"):
        office.close(office.judged(held, "bob"))
    said = office.judged(held, "ann")
    office.close(said)
    assert desk.close(office.store, said, now=NOW) is None  # sent again
    with pytest.raises(Conflict, match="it was answered before"):
        office.close(office.judged(held, "ann"))
    with pytest.raises(NotFound, match="'item_9:0' is not known here"):
        office.close(make_choice(judgement=make_judgement(assignment="item_9:0")))
    assert desk.close(office.store, make_choice(), now=NOW) is None


def test_a_rater_gets_no_more_than_the_queue_allows(office: Office) -> None:
    office.open(10, per_rater=3)
    assert [len(office.lease("ann", 2)), len(office.lease("ann", 2)), len(office.lease("ann", 2))] == [
        2,
        1,
        0,
    ]


def test_gold_is_hidden_among_the_rest_in_its_share_and_each_rater_sees_it(office: Office) -> None:
    """40 assignments at one half: 20 within 3 sigma of 9.5."""
    office.open(60, gold=60, gold_share=0.5)
    for rater in ("ann", "bob"):
        leased = office.lease(rater, 20, seed=1) + office.lease(rater, 20, seed=2)
        tests = [item.gold is not None for _, item in leased]
        assert len(tests) == len(items(leased)) == 40
        assert abs(sum(tests) - 20) <= 9
        assert tests != sorted(tests)
        assert tests != sorted(tests, reverse=True)


def test_without_unseen_gold_there_is_only_work(office: Office) -> None:
    office.open(5, gold=1, gold_share=0.9)
    first = office.lease("ann", 3, seed=1)
    assert sum(item.gold is not None for _, item in first) == 1
    assert all(item.gold is None for _, item in office.lease("ann", 3, seed=2))
