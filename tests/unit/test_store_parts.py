"""The store's pure parts: encoding, what records are made from, which index a question takes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from sqlalchemy import event

from factories import (
    MAKERS,
    NOW,
    TENANT,
    make_assignment,
    make_choice,
    make_feedback,
    make_item,
    make_policy,
    make_reward_model,
    make_run,
    make_turn,
    make_verdict,
)
from heedful.domain.feedback import Feedback, Rating
from heedful.domain.ids import PolicyId
from heedful.domain.models import Run
from heedful.errors import Corrupt, InvalidInput
from heedful.store import codec
from heedful.store.lineage import SOURCES, linked, parents
from heedful.store.sql import SqlStore, open_store
from heedful.store.tables import EXTRACTS, KINDS, columns, found_by, micros, moment


@pytest.mark.parametrize("kind", MAKERS, ids=codec.kind_of)
def test_a_record_survives_its_encoding(kind: type[Any]) -> None:
    record = MAKERS[kind]()
    assert codec.decode(kind, codec.encode(record)) == record


def test_the_digest_is_of_what_was_said_and_not_of_how() -> None:
    one = make_run(spec={"a": 1, "b": 2})
    assert codec.digest(one) == codec.digest(replace(one, spec={"b": 2, "a": 1}))
    assert codec.digest(one) == codec.digest(replace(one, spec=MappingProxyType({"b": 2, "a": 1})))
    assert codec.digest(one) != codec.digest(replace(one, spec={"a": 1, "b": 3}))


def test_the_digest_leaves_out_what_we_stamp() -> None:
    said = make_feedback()
    assert codec.digest(said) == codec.digest(replace(said, received_at=NOW, policy=PolicyId("policy_7")))
    assert codec.digest(said) != codec.digest(replace(said, at=NOW + timedelta(seconds=1)))


@pytest.mark.parametrize("value", [object(), b"\xff", "\ud800", {1, object()}])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput):
        codec.encode(make_run(spec={"odd": value}))


def test_stored_nonsense_is_named_as_corrupt() -> None:
    with pytest.raises(Corrupt, match="stored run"):
        codec.decode(Run, '{"id": 1}')
    with pytest.raises(Corrupt, match="stored feedback"):
        codec.decode(Feedback, codec.encode(make_feedback()).replace(b'"confidence":1.0', b'"confidence":7'))


def test_times_are_kept_to_the_microsecond() -> None:
    at = NOW + timedelta(microseconds=123_457)
    assert moment(micros(at)) == at


def test_what_was_said_becomes_one_number() -> None:
    assert columns(make_feedback(Rating(value=4.0)))["mark"] == 0.75
    assert columns(make_feedback())["mark"] == 1.0
    assert columns(make_choice())["mark"] is None


# --- lineage ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "sources"),
    [
        (make_turn(parent="t0", sibling_of="t1"), "policy:policy_1 episode:episode_1 turn:t1 turn:t0"),
        (make_choice(shown=("t1", "t2"), chosen=None), "turn:t1 turn:t2"),
        (make_feedback(turn="t1", episode="e1"), "turn:t1 episode:e1"),
        (make_item(), "turn:turn_1 turn:turn_2 queue:queue_1"),
        (make_assignment(), "item:item_1"),
        (make_verdict(feedback=("f1", "f2")), "feedback:f1 feedback:f2 item:item_1"),
        (make_reward_model(backbone="p1", run="r1"), "dataset:dataset_1 policy:p1 run:r1"),
        (
            make_policy(parent="p1", run="r1", reward="w1", datasets=("d1", "d2")),
            "policy:p1 run:r1 reward_model:w1 dataset:d1 dataset:d2",
        ),
    ],
)
def test_parents_are_read_off_the_record(record: Any, sources: str) -> None:
    assert [f"{ref.kind}:{ref.id}" for ref in parents(record)] == sources.split()


def test_sources_in_columns_need_no_links() -> None:
    choice = make_choice(shown=("t1", "t2"))
    assert [ref.id for ref in linked(choice, columns(choice))] == ["t2"]
    turn = make_turn()
    assert linked(turn, columns(turn)) == ()


def test_lineage_and_columns_speak_of_kinds_that_exist() -> None:
    assert {kind for sources in SOURCES.values() for kind, _ in sources} <= set(KINDS)
    assert set(SOURCES) <= set(EXTRACTS) == set(KINDS.values())


# --- indexes ---------------------------------------------------------------------------------------------


def plans(store: SqlStore, kind: type[Any], where: dict[str, Any]) -> list[str]:
    asked: list[tuple[str, Any]] = []
    engine = store._database.readers
    event.listen(engine, "before_cursor_execute", lambda _c, _u, said, given, *_: asked.append((said, given)))
    store.find(kind, TENANT, where=where)
    said, given = asked[0]
    with engine.connect() as connection:
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}", given)]


def test_sqlite_takes_the_index_of_each_column_that_is_asked_for(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'heedful.db'}")
    for kind in KINDS.values():
        for name in found_by(kind):
            value = {"gold": True, "revoked": True, "version": 1}.get(name, NOW if name in TIMES else "x")
            for where in ({name: value}, {name: [value, value]}):
                first = plans(store, kind, where)[0]
                assert f"ix_{codec.kind_of(kind)}_{name}" in first, (kind, where, first)
                assert f"{name}=?" in first, (kind, where, first)
    store.close()


TIMES = {"at", "until", "started_at"}


def test_sqlite_takes_the_narrowest_of_several(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'heedful.db'}")
    for kind, where, index in [
        ("feedback", {"form": "thumbs", "turn": "x", "source": "direct"}, "ix_feedback_turn "),
        ("turn", {"purpose": "live", "agent": "x", "episode": "x"}, "ix_turn_episode "),
        ("item", {"state": "open", "queue": "x"}, "ix_item_queue_state "),
        ("assignment", {"queue": "x", "rater": "x"}, "ix_assignment_rater "),
    ]:
        assert index in plans(store, KINDS[kind], where)[0]
    store.close()
