"""Questions by indexed columns, put so that the database takes the index that we mean.

PostgreSQL keeps statistics and chooses well. SQLite without them may take any index that fits, such as the
one on `form` where there is one on `turn`, or walk a whole tenant because that spares it a sort: there,
everything but the intended index is hidden from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, UnaryExpression, func

from heedful.errors import InvalidInput
from heedful.store.codec import kind_of
from heedful.store.tables import EXTRACTS, TABLES, found_by, plain, table_of

MOST_VALUES = 10_000  # behind one "one of"
S = TypeVar("S", bound=Any)  # a Select, whatever it selects
MANY = (tuple, list, set, frozenset)


def narrowed(question: S, kind: type, where: Mapping[str, Any], dialect: str) -> S:
    """The question with `where` added, or `InvalidInput` that says what a record of this kind is found by."""
    table = table_of(kind)
    _check(kind, where)
    shown = _led_by(kind, where) if dialect == "sqlite" else frozenset(where)
    for name, value in where.items():
        column: ColumnElement[Any] = table.c[name]
        if name not in shown:
            column = func.coalesce(column, column)
        if isinstance(value, MANY):
            question = question.where(column.in_([plain(name, one) for one in value]))
        else:
            question = question.where(column == plain(name, value))
    return question


def in_order(
    kind: type, where: Mapping[str, Any], dialect: str, *, newest_first: bool
) -> UnaryExpression[int]:
    """By sequence number, and on SQLite not by walking the whole tenant for it."""
    seq: ColumnElement[int] = TABLES[kind].c.seq
    if dialect == "sqlite" and where and not _comes_in_order(kind, where):
        seq = seq + 0  # sorted afterwards
    return seq.desc() if newest_first else seq.asc()


def _comes_in_order(kind: type, where: Mapping[str, Any]) -> bool:
    """Whether the index that leads has the sequence number next, and is entered at one place only."""
    led = _led_by(kind, where)
    ordered = any(
        names[0] == "tenant" and set(names[1 : len(led) + 1]) == led and names[len(led) + 1 :][:1] == ["seq"]
        for names in ([column.name for column in index.columns] for index in TABLES[kind].indexes)
    )
    return ordered and not any(isinstance(value, MANY) for value in where.values())


def _check(kind: type, where: Mapping[str, Any]) -> None:
    known, leading = {one.name for one in EXTRACTS[kind]}, found_by(kind)
    if where and not (known.issuperset(where) and leading.intersection(where)):
        others = ", ".join(sorted(known - leading))
        also = f" (and with one of those by {others})" if others else ""
        raise InvalidInput(
            f"a {kind_of(kind)} is not found by {', '.join(map(repr, where))}: "
            f"it is found by {', '.join(sorted(leading))}{also}",
            field="where",
        )
    for name, value in where.items():
        if value is None:
            raise InvalidInput(f"a {kind_of(kind)} is not found by an empty {name}", field=name)
        if isinstance(value, MANY) and len(value) > MOST_VALUES:
            raise InvalidInput(f"{name} has {len(value)} values: ask for {MOST_VALUES} at a time", field=name)


def _led_by(kind: type, where: Mapping[str, Any]) -> frozenset[str]:
    """The columns of one index: of that which takes most of them, or else of the first in `EXTRACTS`."""
    best: list[str] = []
    rank = {one.name: place for place, one in enumerate(EXTRACTS[kind])}
    for index in TABLES[kind].indexes:
        entered: list[str] = []
        for column in list(index.columns)[1:]:
            if column.name not in where:
                break
            entered.append(column.name)
        if entered and (not best or (-len(entered), rank[entered[0]]) < (-len(best), rank[best[0]])):
            best = entered
    return frozenset(best)
