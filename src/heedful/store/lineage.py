"""What a record was made from, read off its own fields.

`heedful why` walks these steps, back to people and forward to weights. Turns and feedback are many and each
names its sources in columns that have an index, so that no `link` row is written for those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from heedful.domain.episode import Turn
from heedful.domain.feedback import Feedback
from heedful.domain.labeling import Assignment, Item, Verdict
from heedful.domain.models import Cycle, Policy, RewardModel
from heedful.domain.preference import Dataset
from heedful.domain.release import Release
from heedful.domain.watch import Alert
from heedful.store.codec import kind_of
from heedful.store.protocol import Record, Ref

Ids = Callable[[Any], Iterable[str | None]]


def _field(name: str) -> Ids:
    return lambda record: (getattr(record, name),)


def _fields(name: str) -> Ids:
    return lambda record: getattr(record, name)


SOURCES: Mapping[type, tuple[tuple[str, Ids], ...]] = {
    Turn: (
        ("policy", _field("policy")),
        ("episode", _field("episode")),
        ("turn", _field("sibling_of")),
        ("turn", _field("parent")),
    ),
    Feedback: (
        ("turn", _fields("turns")),
        ("turn", _field("turn")),
        ("episode", _field("episode")),
        ("item", lambda feedback: (feedback.judgement.item,) if feedback.judgement else ()),
    ),
    Item: (("turn", _fields("turns")), ("queue", _field("queue"))),
    Assignment: (("item", _field("item")),),
    Verdict: (("feedback", _fields("feedback")), ("item", _field("item"))),
    Dataset: (("dataset", _field("parent")),),
    RewardModel: (("dataset", _field("dataset")), ("policy", _field("backbone")), ("run", _field("run"))),
    Policy: (
        ("policy", _field("parent")),
        ("run", _field("run")),
        ("reward_model", _field("reward")),
        ("dataset", _fields("datasets")),
    ),
    Cycle: (("policy", _field("start")),),
    Release: (("policy", _field("policy")), ("policy", _field("against"))),
    Alert: (("episode", _fields("episodes")),),
}

# (kind, column, kind of the source): these columns are as good as links.
COLUMNS: tuple[tuple[type, str, str], ...] = (
    (Turn, "policy", "policy"),
    (Turn, "episode", "episode"),
    (Turn, "sibling_of", "turn"),
    (Feedback, "turn", "turn"),
    (Feedback, "episode", "episode"),
    (Feedback, "item", "item"),
)


_BY_COLUMN: Mapping[type, tuple[tuple[str, str], ...]] = {
    kind: tuple((name, source) for made, name, source in COLUMNS if made is kind) for kind in SOURCES
}


def parents(record: Record) -> tuple[Ref, ...]:
    """Everything that the record's own fields say it was made from, each once."""
    found = (
        Ref(kind=kind, id=id)
        for kind, ids in SOURCES.get(type(record), ())
        for id in ids(record)
        if id is not None
    )
    return tuple(dict.fromkeys(found))


def linked(record: Record, columns: Mapping[str, Any]) -> tuple[Ref, ...]:
    """Those of the parents that need a `link` row."""
    named = {(kind, columns[name]) for name, kind in _BY_COLUMN.get(type(record), ())}
    found = {
        (kind, id): None
        for kind, ids in SOURCES.get(type(record), ())
        for id in ids(record)
        if id is not None and (kind, id) not in named
    }
    return tuple([Ref(kind=kind, id=id) for kind, id in found])


def ref_of(record: Record) -> Ref:
    return Ref(kind=kind_of(type(record)), id=record.id)
