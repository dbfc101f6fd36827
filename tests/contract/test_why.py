"""Lineage both ways and the audit log against its checkpoints, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import event

from cli import _filled
from heedful.audit.verification import Outcome
from heedful.domain.clock import SetClock
from heedful.domain.feedback import Thumbs
from heedful.domain.ids import TenantId
from heedful.errors import InvalidInput, NotFound
from heedful.store import auditing
from heedful.store import why as lineage
from heedful.store.protocol import Batch, Ref
from heedful.store.sql import SqlStore, open_store
from heedful.store.why import Group, Node


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    opened = open_store(url)
    _filled.tell(opened)
    yield opened
    opened.close()


def step(groups: tuple[Group, ...], kind: str) -> Group:
    return next(group for group in groups if group.kind == kind)


def test_a_policy_leads_back_to_the_people_behind_it(store: SqlStore) -> None:
    found = lineage.why(store, _filled.T, Ref(kind="policy", id="resolver:v2"))
    reward = step(found.back, "reward_model").nodes[0]
    data = step(reward.groups, "dataset").nodes[0]
    said = step(data.groups, "feedback")
    assert (said.count, said.people, len(said.nodes)) == (_filled.JUDGED, 4, lineage.FEW)
    assert step(data.groups, "verdict").count == _filled.JUDGED
    assert step(found.back, "run").nodes[0].ref.id == "run-improve"


def test_a_feedback_leads_forward_to_the_release(store: SqlStore) -> None:
    found = lineage.why(store, _filled.T, Ref(kind="feedback", id="said-7"))
    groups = found.forward
    for kind in ("verdict", "dataset", "reward_model", "policy", "release"):
        node = step(groups, kind).nodes[0]
        groups = node.groups
    assert node.ref.id == "release-1"


def test_what_a_policy_answered_is_counted_and_not_followed(store: SqlStore) -> None:
    forward = lineage.why(store, _filled.T, Ref(kind="policy", id="resolver:v1")).forward
    turns = step(forward, "turn")
    assert turns.count == 2 * _filled.JUDGED + 2
    assert [node.groups for node in turns.nodes] == [()] * lineage.FEW


def test_a_choice_is_found_from_each_of_the_turns_it_was_between(store: SqlStore) -> None:
    for side in ("left", "right"):
        forward = lineage.why(store, _filled.T, Ref(kind="turn", id=f"{side}-3")).forward
        assert [node.ref.id for node in step(forward, "feedback").nodes] == ["said-3"]


def test_no_record_is_told_twice(store: SqlStore) -> None:
    def told(groups: tuple[Group, ...]) -> Iterator[Node]:
        for group in groups:
            for node in group.nodes:
                yield node
                yield from told(node.groups)

    for ref in (Ref(kind="policy", id="resolver:v2"), Ref(kind="feedback", id="said-7")):
        found = lineage.why(store, _filled.T, ref)
        for side in (found.back, found.forward):
            expanded = [node.ref for node in told(side) if node.groups]
            assert len(expanded) == len(set(expanded))


def test_the_walk_asks_as_much_for_a_thousand_as_for_forty(store: SqlStore) -> None:
    asked = questions(store)
    before = len(asked)
    lineage.why(store, _filled.T, Ref(kind="policy", id="resolver:v1"))
    few = len(asked) - before
    request = _filled.pair(0)[1].request  # type: ignore[union-attr]
    more = tuple(
        _filled.turn(f"more-{number}", "resolver", "user", "Yes.", request) for number in range(1000)
    )
    store.commit(Batch(add=more))
    before = len(asked)
    lineage.why(store, _filled.T, Ref(kind="policy", id="resolver:v1"))
    assert len(asked) - before == few


def questions(store: SqlStore) -> list[str]:
    """Every statement from now on."""
    asked: list[str] = []
    with store.reading() as connection:
        event.listen(
            connection.engine,
            "before_cursor_execute",
            lambda _connection, _cursor, statement, *_: asked.append(statement),
        )
    return asked


def test_an_id_alone_is_enough_while_only_one_kind_has_it(store: SqlStore) -> None:
    assert lineage.find(store, _filled.T, "said-7") == Ref(kind="feedback", id="said-7")
    with pytest.raises(NotFound):
        lineage.find(store, _filled.T, "said-7000")
    store.commit(Batch(add=(_filled.feedback("run-fit", Thumbs(up=True), turn="turn-1"),)))
    with pytest.raises(InvalidInput, match=r"feedback.*run|run.*feedback"):
        lineage.find(store, _filled.T, "run-fit")


def test_another_tenants_lineage_is_not_seen(store: SqlStore) -> None:
    with pytest.raises(NotFound):
        lineage.why(store, TenantId("other"), Ref(kind="policy", id="resolver:v2"))


def test_the_log_is_signed_and_grows_on(store: SqlStore, tmp_path: Path) -> None:
    clock = SetClock(datetime(2026, 3, 2, tzinfo=UTC))
    assert auditing.checkpoint(store, tmp_path, clock).size == 5
    store.commit(Batch(acts=(_filled.act("policy.adopted", "resolver:v1", 9),)))
    finding = auditing.verify(store, tmp_path)
    assert (finding.outcome, finding.read, finding.anchored) == (Outcome.INTACT, 6, 5)
    seen = auditing.glance(store, tmp_path)
    assert (seen.entries, seen.signed, seen.trouble) == (6, 5, None)
    assert [act["verb"] for act in auditing.newest(store, _filled.T, 2)] == [
        "policy.adopted",
        "dataset.frozen",
    ]


def test_an_empty_log_is_well(url: str, tmp_path: Path) -> None:
    store = open_store(url)
    try:
        assert auditing.verify(store, tmp_path).intact
        assert auditing.glance(store, tmp_path).trouble is None
        assert auditing.checkpoint(store, tmp_path, SetClock(_filled.AT)).size == 0
    finally:
        store.close()
