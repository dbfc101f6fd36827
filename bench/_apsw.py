"""SQLite by `apsw` in the clothes of Python's own driver: what SQLAlchemy and our store ask of one, no more.

Only `apsw` lets a file system be written in Python, which is what a disk that loses power needs. An instance
stands where a driver's module would stand, and every file that it opens lies on its file system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import apsw

FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
Row = tuple[Any, ...]


# By the names that the DB-API gives them: SQLAlchemy tells them apart by these.
class Error(Exception):
    pass


class InterfaceError(Error):
    pass


class DatabaseError(Error):
    pass


class OperationalError(DatabaseError):
    pass


class IntegrityError(DatabaseError):
    pass


class InternalError(DatabaseError):
    pass


class ProgrammingError(DatabaseError):
    pass


class DataError(DatabaseError):
    pass


class NotSupportedError(DatabaseError):
    pass


KINDS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], type[Error]], ...] = (
    ((apsw.ConstraintError, apsw.MismatchError), IntegrityError),
    ((apsw.CorruptError, apsw.NotADBError), DatabaseError),
    (apsw.TooBigError, DataError),
    ((apsw.MisuseError, apsw.ThreadingViolationError, apsw.ConnectionClosedError), ProgrammingError),
    (apsw.Error, OperationalError),  # locked, full, cannot be opened, cannot be read
)


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        ours = next(ours for theirs, ours in KINDS if isinstance(error, theirs))
        raise ours(str(error)) from error


class Driver:
    """`connect` and what belongs to it, over the file system that `vfs` names."""

    apilevel, paramstyle, threadsafety = "2.0", "qmark", 1
    sqlite_version = apsw.sqlite_lib_version()
    sqlite_version_info = tuple(map(int, apsw.sqlite_lib_version().split(".")))
    Error, InterfaceError, DatabaseError = Error, InterfaceError, DatabaseError
    OperationalError, IntegrityError, InternalError = OperationalError, IntegrityError, InternalError
    ProgrammingError, DataError, NotSupportedError = ProgrammingError, DataError, NotSupportedError
    Binary = memoryview

    def __init__(self, vfs: str) -> None:
        self._vfs = vfs

    def connect(self, address: str, *, timeout: float, **_: Any) -> Connection:
        with _named():
            raw = apsw.Connection(address, flags=FLAGS, vfs=self._vfs)
            raw.set_busy_timeout(int(timeout * 1000))
        return Connection(raw)


class Connection:
    isolation_level = None  # transactions are begun by whoever uses it

    def __init__(self, raw: apsw.Connection) -> None:
        self._raw = raw

    def cursor(self) -> Cursor:
        return Cursor(self._raw)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Cursor:
        return self.cursor().execute(statement, values)

    def create_function(self, name: str, count: int, function: Callable[..., Any], **also: Any) -> None:
        self._raw.create_scalar_function(name, function, count, **also)

    def commit(self) -> None:
        self._end("COMMIT")

    def rollback(self) -> None:
        self._end("ROLLBACK")

    def _end(self, how: str) -> None:
        if self._raw.in_transaction:  # an error may have ended it already
            self.execute(how)

    def close(self) -> None:
        with _named():
            self._raw.close()


class Cursor:
    """All rows are fetched at once, so that no question is left open."""

    arraysize = 1

    def __init__(self, raw: apsw.Connection) -> None:
        self._raw = raw
        self._rows: Iterator[Row] = iter(())
        self.description: tuple[Row, ...] | None = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Cursor:
        return self._run(lambda cursor: cursor.execute(statement, tuple(values)))

    def executemany(self, statement: str, many: Sequence[Sequence[Any]]) -> Cursor:
        return self._run(lambda cursor: cursor.executemany(statement, [tuple(values) for values in many]))

    def _run(self, do: Callable[[apsw.Cursor], apsw.Cursor]) -> Cursor:
        cursor, before, columns = self._raw.cursor(), self._raw.total_changes(), list[Row]()

        def look(running: apsw.Cursor, *_: Any) -> bool:
            # Only now: where nothing is found, apsw has forgotten the columns when it returns.
            columns[:] = [(name, *[None] * 6) for name, _ in running.get_description()]
            return True

        cursor.exec_trace = look
        with _named():
            self._rows = iter(do(cursor).fetchall())
        self.description = tuple(columns) or None
        self.rowcount = -1 if columns else self._raw.total_changes() - before
        self.lastrowid = self._raw.last_insert_rowid()
        return self

    def fetchone(self) -> Row | None:
        return next(self._rows, None)

    def fetchmany(self, size: int | None = None) -> list[Row]:
        return [row for row, _ in zip(self._rows, range(size or self.arraysize), strict=False)]

    def fetchall(self) -> list[Row]:
        return list(self._rows)

    def close(self) -> None:
        self._rows = iter(())
