"""Many rows in one statement, each database in its own fastest way.

SQLite takes hundreds of rows behind one VALUES: its driver lets go of the interpreter for every step, and to
get it back from a busy event loop can take milliseconds, so that a step for each row would make writing a
hundred times as slow. PostgreSQL takes all rows as one JSON text (psycopg writes arrays of texts full of
quotes three times as slowly). Lists of ids go as one value too: a statement with a thousand placeholders would
be parsed anew for every other number of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

import orjson
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    LargeBinary,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.exc import DBAPIError

T = TypeVar("T")


def insert_all(
    connection: Connection, table: Table, rows: Sequence[dict[str, Any]], *, or_leave: bool = False
) -> None:
    """All rows, in their order; all have the same columns. `or_leave` skips those that are there already."""
    if connection.dialect.name == "sqlite":
        for some in _portions(rows):
            values = tuple([value for row in some for value in row.values()])
            raw(connection, _insert(table, tuple(rows[0]), len(some), or_leave), values)
    elif any(isinstance(one.type, LargeBinary) for one in table.columns):  # JSON cannot say bytes
        connection.execute(insert(table), list(rows))
    else:
        names = list(rows[0])
        text = orjson.dumps(list(rows)).decode()
        given = func.json_to_recordset(cast(bindparam(None, text, Text()), JSON)).table_valued(
            *(column(name, table.c[name].type) for name in names), name="given"
        )
        typed = given.render_derived(with_types=True)
        whole = postgresql.insert(table).from_select(names, select(*(typed.c[name] for name in names)))
        connection.execute(whole.on_conflict_do_nothing() if or_leave else whole)


FEW, MANY = 64, 256  # rows behind one VALUES: any number up to `FEW`, so that the driver remembers them all
STATEMENTS = 1024  # that it is to remember


def _portions(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    done = 0
    while done < len(rows):
        left = len(rows) - done
        size = MANY if left >= MANY else min(left, FEW)
        yield rows[done : done + size]
        done += size


def raw(connection: Connection, statement: str, values: tuple[Any, ...] = ()) -> Any:
    """The statement by SQLite's own driver, for what is done a hundred times a second by one thread: what
    SQLAlchemy does around each costs more than the statement."""
    inner: Any = connection.connection.dbapi_connection
    try:
        return inner.execute(statement, values)
    except connection.dialect.dbapi.Error as error:  # type: ignore[union-attr]
        kind = connection.dialect.dbapi.Error  # type: ignore[union-attr]
        raise DBAPIError.instance(statement, values, error, kind, dialect=connection.dialect) from error


@cache
def _insert(table: Table, names: tuple[str, ...], rows: int, or_leave: bool) -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    values = ", ".join([f"({', '.join('?' * len(names))})"] * rows)
    end = " ON CONFLICT DO NOTHING" if or_leave else ""
    return f'INSERT INTO "{table.name}" ({listed}) VALUES {values}{end}'


Asked = tuple[Table, str, Sequence[str]]  # where, whose, which ids


def known(connection: Connection, asked: Sequence[Asked], *names: str) -> list[list[Any]]:
    """(id, columns …) of those rows that are there, a list for each question. On SQLite all come as one row,
    because each row is a step."""
    if connection.dialect.name == "sqlite":
        return [one for some in _portions(asked) for one in _known_here(connection, some, names)]
    return [
        list(
            connection.execute(
                select(*(table.c[name] for name in ("id", *names))).where(
                    table.c.tenant == tenant, among(connection, table.c.id, ids)
                )
            )
        )
        for table, tenant, ids in asked
    ]


def _known_here(connection: Connection, asked: Sequence[Asked], names: tuple[str, ...]) -> list[list[Any]]:
    given = [value for _, tenant, ids in asked for value in (tenant, orjson.dumps(list(ids)).decode())]
    statement = _known(tuple(table for table, _, _ in asked), names)
    (found,) = raw(connection, statement, tuple(given)).fetchall()
    return [orjson.loads(one) for one in found]


@cache
def _known(tables: tuple[Table, ...], names: tuple[str, ...]) -> str:
    listed = ", ".join(f'"{name}"' for name in ("id", *names))
    found = (
        f'(SELECT json_group_array(json_array({listed})) FROM "{table.name}" '
        "WHERE tenant = ? AND id IN (SELECT value FROM json_each(?)))"
        for table in tables
    )
    return f"SELECT {', '.join(found)}"


@cache
def _add_up(table: Table, amount: str, names: tuple[str, ...], rows: int) -> str:
    keys = ", ".join(f'"{column.name}"' for column in table.primary_key)
    added = f'"{amount}" = "{amount}" + excluded."{amount}"'
    return f"{_insert(table, names, rows, False)} ON CONFLICT ({keys}) DO UPDATE SET {added}"


def add_up(connection: Connection, table: Table, amount: Column[int], rows: Sequence[dict[str, Any]]) -> None:
    """Add each row's amount to what stands under its primary key, which may be nothing yet."""
    if connection.dialect.name == "sqlite":
        for some in _portions(rows):
            values = tuple([value for row in some for value in row.values()])
            raw(connection, _add_up(table, amount.name, tuple(rows[0]), len(some)), values)
        return
    new = postgresql.insert(table)
    more = new.on_conflict_do_update(
        index_elements=list(table.primary_key), set_={amount.name: amount + new.excluded[amount.name]}
    )
    connection.execute(more, list(rows))


def among(connection: Connection, of: Column[str], values: Sequence[str]) -> ColumnElement[bool]:
    """That the column is one of these texts."""
    text = orjson.dumps(list(values)).decode()
    if connection.dialect.name == "sqlite":
        given = func.json_each(text).table_valued("value")
        return of.in_(select(column("value")).select_from(given))
    texts = func.jsonb_array_elements_text(cast(bindparam(None, text, Text()), JSONB))
    return of == any_(func.array(select(texts).scalar_subquery()))
