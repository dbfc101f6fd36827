"""The store over SQLAlchemy Core, for SQLite and PostgreSQL alike.

Reads go straight to the database, writes through the one writing thread. Nothing is cached: what another
process committed is seen by the next question.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError

from heedful.domain.ids import TenantId
from heedful.errors import InvalidInput, Misconfigured, Unavailable
from heedful.store import codec
from heedful.store.batches import Prepared, prepare
from heedful.store.finding import in_order, narrowed
from heedful.store.lineage import COLUMNS, parents
from heedful.store.postgres import PostgresDatabase
from heedful.store.protocol import Batch, Outcome, R, Ref
from heedful.store.sqlite import SqliteFile
from heedful.store.tables import KINDS, audit_entry, link, table_of
from heedful.store.writer import Writer, translated

CHUNK = 1_000  # rows or ids in one question
PING_SECONDS = 10.0


def open_store(
    url: str,
    *,
    read_only: bool = False,
    name: str = "heedful",
    queue_rows: int = 20_000,
    queue_bytes: int = 128 << 20,
) -> SqlStore:
    """The store at `sqlite:///path/to/file` or `postgresql://…`, brought up to date.

    `name` says what this process is, to whoever is refused because it owns the file. The queue bounds are
    what may wait to be written before a commit is refused with `Busy`.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Misconfigured(f"database is not a database address: {error}") from error
    match parsed.get_backend_name():
        case "sqlite" if parsed.database not in (None, "", ":memory:"):
            database: SqliteFile | PostgresDatabase = SqliteFile(
                Path(str(parsed.database)), name=name, read_only=read_only
            )
        case "postgresql":
            database = PostgresDatabase(parsed, name=name, read_only=read_only)
        case _:
            shown = parsed.render_as_string(hide_password=True)
            raise Misconfigured(f"database is {shown!r}: use sqlite:///path/to/file or postgresql://…")
    writer = None if read_only else Writer(database, queue_rows=queue_rows, queue_bytes=queue_bytes)
    return SqlStore(database, writer)


class SqlStore:
    def __init__(self, database: SqliteFile | PostgresDatabase, writer: Writer | None) -> None:
        self._database = database
        self._writer = writer

    # --- writing -------------------------------------------------------------------------------------

    def commit(self, batch: Batch) -> Outcome:
        return self.submit(batch).result()

    def submit(self, batch: Batch) -> Future[Outcome]:
        if batch == Batch():
            done: Future[Outcome] = Future()
            done.set_result(Outcome(added=()))
            return done
        return self._queue(prepare(batch))

    def _queue(self, prepared: Prepared) -> Future[Outcome]:
        if self._writer is None:
            raise Misconfigured("this store was opened to read: open it without read_only to write")
        return self._writer.submit(prepared)

    # --- reading -------------------------------------------------------------------------------------

    def get(self, kind: type[R], tenant: TenantId, id: str) -> R | None:
        table = table_of(kind)
        with self.reading() as connection:
            body = connection.execute(
                select(table.c.body).where(table.c.tenant == tenant, table.c.id == id)
            ).scalar_one_or_none()
        return None if body is None else codec.decode(kind, body)

    def get_many(self, kind: type[R], tenant: TenantId, ids: Sequence[str]) -> dict[str, R]:
        table = table_of(kind)
        asked = list(dict.fromkeys(ids))
        bodies: dict[str, str] = {}
        with self.reading() as connection:
            for start in range(0, len(asked), CHUNK):
                some = asked[start : start + CHUNK]
                question = select(table.c.id, table.c.body).where(
                    table.c.tenant == tenant, table.c.id.in_(some)
                )
                bodies.update(connection.execute(question).all())
        return {id: codec.decode(kind, bodies[id]) for id in asked if id in bodies}

    def find(
        self,
        kind: type[R],
        tenant: TenantId,
        *,
        where: Mapping[str, Any] | None = None,
        newest_first: bool = False,
        limit: int | None = 1000,
        after: int | None = None,
    ) -> list[R]:
        table = table_of(kind)
        where = where or {}
        question = narrowed(select(table.c.body).where(table.c.tenant == tenant), kind, where, self.dialect)
        if after is not None:
            question = question.where(table.c.seq > after)
        question = question.order_by(in_order(kind, where, self.dialect, newest_first=newest_first)).limit(
            limit
        )
        with self.reading() as connection:
            bodies = connection.execute(question).scalars().all()
        return [codec.decode(kind, body) for body in bodies]

    def changes(
        self, kind: type[R], tenant: TenantId, *, after: int = 0, limit: int = 1000
    ) -> list[tuple[int, R]]:
        table = table_of(kind)
        question = select(table.c.seq, table.c.body).where(table.c.tenant == tenant, table.c.seq > after)
        with self.reading() as connection:
            rows = connection.execute(question.order_by(table.c.seq).limit(limit)).all()
        return [(seq, codec.decode(kind, body)) for seq, body in rows]

    def parents(self, tenant: TenantId, ref: Ref) -> list[Ref]:
        made = KINDS.get(ref.kind)
        record: Any = None if made is None else self.get(made, tenant, ref.id)
        question = select(link.c.source_kind, link.c.source_id).where(
            link.c.tenant == tenant, link.c.made_kind == ref.kind, link.c.made_id == ref.id
        )
        with self.reading() as connection:
            rows = connection.execute(question.order_by(link.c.source_kind, link.c.source_id)).all()
        own = () if record is None else parents(record)
        return list(dict.fromkeys([*own, *(Ref(kind=kind, id=id) for kind, id in rows)]))

    def children(self, tenant: TenantId, ref: Ref, *, limit: int = 1000) -> list[Ref]:
        question = select(link.c.made_kind, link.c.made_id).where(
            link.c.tenant == tenant, link.c.source_kind == ref.kind, link.c.source_id == ref.id
        )
        found: dict[Ref, None] = {}
        with self.reading() as connection:
            rows = connection.execute(question.order_by(link.c.made_kind, link.c.made_id).limit(limit))
            found.update((Ref(kind=kind, id=id), None) for kind, id in rows)
            for kind, column, source in COLUMNS:
                if source == ref.kind and len(found) < limit:
                    table = table_of(kind)
                    ids = connection.execute(
                        select(table.c.id)
                        .where(table.c.tenant == tenant, table.c[column] == ref.id)
                        .order_by(table.c.seq)
                        .limit(limit)
                    ).scalars()
                    found.update((Ref(kind=codec.kind_of(kind), id=id), None) for id in ids)
        return list(found)[:limit]

    def audit_entries(self, *, start: int = 0) -> Iterator[tuple[int, bytes, bytes]]:
        table, behind = audit_entry, start - 1
        while True:
            question = select(table.c.index, table.c.body, table.c.leaf).where(table.c.index > behind)
            with self.reading() as connection:
                rows = connection.execute(question.order_by(table.c.index).limit(CHUNK)).all()
            yield from ((index, stored_bytes(body), stored_bytes(leaf)) for index, body, leaf in rows)
            if len(rows) < CHUNK:
                return
            behind = rows[-1][0]

    @property
    def dialect(self) -> str:
        """ "sqlite" or "postgresql"."""
        return self._database.readers.dialect.name

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for questions: each sees everything that was committed before it was asked."""
        try:
            with translated(), self._database.readers.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise InvalidInput(
                f"the database cannot answer this: {str(error.orig).splitlines()[0]}"
            ) from error

    # --- standing ------------------------------------------------------------------------------------

    def ping(self) -> None:
        with self.reading() as connection:
            connection.execute(select(1)).scalar_one()
        if self._writer is not None:
            try:
                self._queue(Prepared(tenant="", probe=True)).result(PING_SECONDS)
            except concurrent.futures.TimeoutError as error:
                raise Unavailable(f"the database did not write within {PING_SECONDS:g} s") from error

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._database.close()


def stored_bytes(value: Any) -> bytes:
    """What a column of bytes holds, even where somebody edited it and SQLite now has a text there."""
    return bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
