"""What the database looks like: one table per kind of record, and what each record is found by.

A record is kept whole, as JSON text; the columns beside it are read off it when it is written and only serve
to find it. Text and not `jsonb`, so that both databases keep the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from operator import attrgetter
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

from heedful.domain.access import Key, Tenant
from heedful.domain.episode import Episode, Turn
from heedful.domain.feedback import (
    Choice,
    Completion,
    DeadLetter,
    Feedback,
    Parked,
    Ranking,
    Rating,
    Thumbs,
    Violation,
)
from heedful.domain.labeling import Assignment, Item, Queue, Verdict
from heedful.domain.models import Cycle, Policy, RewardModel, Run
from heedful.domain.preference import Dataset
from heedful.domain.release import Release
from heedful.domain.watch import Alert, Incident
from heedful.errors import InvalidInput
from heedful.store.codec import kind_of

BIG = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts by itself only in an INTEGER
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST = 500  # characters in a column that has an index: PostgreSQL's indexes refuse very long ones


@dataclass(frozen=True, slots=True)
class Extract:
    """One column read off a record."""

    name: str
    of: Callable[[Any], Any]
    type: TypeEngine[Any]
    indexed: bool
    sparse: bool = False  # mostly empty: the index leaves the empty ones out
    carries: tuple[str, ...] = ()  # what a view reads from the index alone, without the rows


def _path(path: str) -> Callable[[Any], Any]:
    """`allocation.release` of a turn; None where a step on the way is None."""
    if "." not in path:
        return attrgetter(path)
    first, last = path.split(".")

    def found(record: Any) -> Any:
        inner = getattr(record, first)
        return None if inner is None else getattr(inner, last)

    return found


def by(
    name: str,
    of: str | Callable[[Any], Any] | None = None,
    *,
    type: TypeEngine[Any] | None = None,
    sparse: bool = False,
    carries: tuple[str, ...] = (),
) -> Extract:
    """A column that records are found by."""
    return Extract(name, of if callable(of) else _path(of or name), type or Text(), True, sparse, carries)


def beside(
    name: str, of: str | Callable[[Any], Any] | None = None, *, type: TypeEngine[Any] | None = None
) -> Extract:
    """A column that views read without opening the record; found by only together with an indexed one."""
    return Extract(name, of if callable(of) else _path(of or name), type or Text(), False)


def mark(feedback: Feedback) -> float | None:
    """What was said as a number, 0 to 1: thumb up, task done, category broken; a rating on its own scale."""
    match feedback.said:
        case Thumbs(up=yes) | Completion(completed=yes):
            return float(yes)
        case Violation(category=category):
            return float(category is not None)
        case Rating(value=value, low=low, high=high):
            return (value - low) / (high - low)
        case _:
            return None


def pick(feedback: Feedback) -> str | None:
    """What is compared with a gold item's known answer: the chosen turn, or the broken category."""
    match feedback.said:
        case Choice(chosen=turn):
            return turn
        case Violation(category=category):
            return category
        case _:
            return None


def alone(feedback: Feedback) -> str | None:
    """The turn of feedback that does not say in which episode; what came through `feedback.intake` does."""
    return None if feedback.episode or isinstance(feedback.said, Choice | Ranking) else feedback.turn


def _paying(turn: Turn) -> str | None:
    """Whose budget a turn counts against; what costs nothing counts against none."""
    return turn.key if turn.usage.spend else None


def _quality(feedback: Feedback) -> float | None:
    return feedback.said.quality if isinstance(feedback.said, Completion) else None


# Of a turn under a release, for `exposures`: thousands of rows, asked for again and again while it runs.
EXPOSED = ("id", "episode", "unit", "arm", "probability", "at", "latency", "purpose")

# The narrowest first: that is the order in which `find` prefers their indexes.
EXTRACTS: Mapping[type, tuple[Extract, ...]] = {
    Tenant: (by("name"),),
    Key: (
        *(by("person", sparse=True), by("scope")),
        by("revoked", lambda key: key.revoked_at is not None, type=Boolean()),
    ),
    Episode: (
        *(by("user", sparse=True), by("started_at", type=BigInteger()), by("product", sparse=True)),
        *(by("state"), by("purpose"), beside("segment"), beside("task_type")),
    ),
    Turn: (
        *(by("episode"), by("sibling_of", sparse=True)),
        by("release", "allocation.release", sparse=True, carries=EXPOSED),
        *(by("at", type=BigInteger()), by("policy"), by("agent"), by("purpose")),
        by("key", _paying, sparse=True, carries=("at", "spend")),
        beside("spend", "usage.spend", type=Double()),
        *(beside("arm", "allocation.arm"), beside("unit", "allocation.unit")),
        *(beside("probability", "allocation.probability", type=Double()), beside("latency", type=Double())),
    ),
    Feedback: (
        # A choice names several turns: this is the first, the others are in `link`.
        by("turn", lambda feedback: next(iter(feedback.turns), feedback.turn), sparse=True),
        *(by("item", "judgement.item", sparse=True), by("episode", sparse=True)),
        *(beside("at", type=BigInteger()), by("queue", "judgement.queue", sparse=True)),
        # Nobody looks feedback up by these alone, and an index on everything that comes in has its price.
        *(beside("by"), beside("policy"), beside("source"), by("form", "said.form")),
        *(beside("mark", mark, type=Double()), beside("quality", _quality, type=Double())),
        *(beside("pick", pick), by("alone", alone, sparse=True), by("slot", sparse=True)),
    ),
    Parked: (
        # The first of what it waits for; when that has come, the joiner writes the rest.
        by("waits", lambda parked: next(iter(parked.waits_for), None)),
        beside("since", type=BigInteger()),
    ),
    DeadLetter: (by("origin"), beside("last_seen", type=BigInteger())),
    Queue: (by("name"),),
    Item: (
        *(by("queue"), by("state"), by("gold", lambda item: item.gold is not None, type=Boolean())),
        *(beside("gold_chosen", "gold.chosen"), beside("gold_category", "gold.category")),
    ),
    Assignment: (by("item"), by("rater"), by("until", type=BigInteger()), by("queue"), by("state")),
    Verdict: (by("item"), by("queue"), by("objective")),
    Dataset: (by("digest"), by("parent", sparse=True), by("name")),
    RewardModel: (by("run", sparse=True), by("dataset"), by("version", type=Integer()), by("standing")),
    Policy: (by("run", sparse=True), by("agent"), by("version", type=Integer()), by("standing")),
    Run: (by("task"), by("state")),
    Cycle: (by("agent"), by("stage")),
    Release: (by("policy"), by("agent", "target.agent"), by("stage")),
    Alert: (by("incident", sparse=True), by("at", type=BigInteger()), by("name", "signal.name")),
    Incident: (by("state"),),
}

# What a view asks for together, beyond (tenant, column, seq) for every column found by.
TOGETHER: Mapping[type, tuple[tuple[str, ...], ...]] = {
    Feedback: (("tenant", "at", "source"), ("tenant", "queue", "by")),
    Item: (("tenant", "queue", "state", "seq"), ("tenant", "queue", "gold")),
    Assignment: (("tenant", "queue", "state", "until"),),
    Policy: (("tenant", "agent", "version"),),
    # A request shows a key and does not say whose it is.
    Key: (("id",),),
}

# Kinds that share their ids, because one is the other at another time.
TWINS: Mapping[type, type] = {Feedback: Parked, Parked: Feedback}

metadata = MetaData()


def _table(kind: type) -> Table:
    name = kind_of(kind)
    table = Table(
        name,
        metadata,
        Column("seq", BIG, primary_key=True, autoincrement=True),  # rises in the order of commits
        Column("tenant", Text, nullable=False),
        Column("id", Text, nullable=False),
        Column("sent", Text, nullable=False),  # digest of what was first added: a swap leaves it alone
        *(Column(one.name, one.type) for one in EXTRACTS[kind]),
        Column("body", Text, nullable=False),
        UniqueConstraint("tenant", "id", name=f"uq_{name}_id"),
        Index(f"ix_{name}", "tenant", "seq"),
        sqlite_autoincrement=True,  # a number is never given twice
    )
    together = TOGETHER.get(kind, ())
    for one in EXTRACTS[kind]:
        column = table.c[one.name]
        if one.indexed:
            kept = column.is_not(None) if one.sparse else None
            parts = (table.c.tenant, column, table.c.seq, *(table.c[name] for name in one.carries))
            Index(f"ix_{name}_{one.name}", *parts, sqlite_where=kept, postgresql_where=kept)
    for names in together:
        shown = "_".join(part for part in names if part not in ("tenant", "seq"))
        first = table.c[names[min(1, len(names) - 1)]]
        sparse = any(one.name == first.name and one.sparse for one in EXTRACTS[kind])
        kept = first.is_not(None) if sparse else None
        parts = tuple(table.c[part] for part in names)
        Index(f"ix_{name}_{shown}", *parts, sqlite_where=kept, postgresql_where=kept)
    return table


TABLES: Mapping[type, Table] = {kind: _table(kind) for kind in EXTRACTS}
KINDS: Mapping[str, type] = {kind_of(kind): kind for kind in EXTRACTS}

link = Table(
    "link",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("made_kind", Text, primary_key=True),
    Column("made_id", Text, primary_key=True),
    Column("source_kind", Text, primary_key=True),
    Column("source_id", Text, primary_key=True),
    Index("ix_link_back", "tenant", "source_kind", "source_id", "made_kind", "made_id"),
    sqlite_with_rowid=False,
)

effect = Table(
    "effect",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("once", Text, primary_key=True),
    Column("added", Text, nullable=False),  # the outcome, one "1" or "0" per record
)

# How many records of each kind: counting a million rows takes too long for a page that somebody looks at.
tally = Table(
    "tally",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("records", BigInteger, nullable=False),
)

audit_entry = Table(
    "audit_entry",
    metadata,
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),  # the canonical bytes that were hashed
    Column("leaf", LargeBinary, nullable=False),
    Index("ix_audit_entry_tenant", "tenant", "index"),
)

audit_frontier = Table(
    "audit_frontier",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),  # a single row, 1
    Column("frontier", Text, nullable=False),
)


def found_by(kind: type) -> frozenset[str]:
    """The columns that an index begins with, behind the tenant."""
    return frozenset(
        list(index.columns)[1].name for index in TABLES[kind].indexes if len(index.columns) > 1
    ) - {"seq"}


def table_of(kind: type) -> Table:
    found = TABLES.get(kind)
    if found is None:
        raise InvalidInput(f"a {kind.__name__} is not a record: records are {', '.join(sorted(KINDS))}")
    return found


def plain(name: str, value: Any) -> Any:
    """A column's value as both databases take it: times are microseconds since 1970, in UTC."""
    if value is None:
        return None
    if isinstance(value, str):
        text = cast(str, value.value) if isinstance(value, Enum) else value
        if len(text) > LONGEST:
            raise InvalidInput(f"{name} has {len(text)} characters: {LONGEST} at most", field=name)
        if "\0" in text:
            raise InvalidInput(f"{name} holds a NUL character: {text!r:.80}", field=name)
        return text
    if isinstance(value, datetime):
        return micros(value, name)
    return value


def micros(at: datetime, name: str = "at") -> int:
    if at.tzinfo is None:
        raise InvalidInput(f"{name} is {at}: it needs a time zone", field=name)
    return (at - EPOCH) // timedelta(microseconds=1)


def columns(record: Any) -> dict[str, Any]:
    """What stands beside the record in its table."""
    found = {}
    for one in EXTRACTS[type(record)]:
        value = one.of(record)
        # Most are short texts or nothing, and this is done for every column of everything that is written.
        simple = value is None or (type(value) is str and len(value) <= LONGEST and "\0" not in value)
        found[one.name] = value if simple else plain(one.name, value)
    return found


def moment(micros: int) -> datetime:
    """Back from microseconds."""
    return EPOCH + timedelta(microseconds=micros)
