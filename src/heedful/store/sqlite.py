"""A SQLite file as the store needs it: one connection commits and checkpoints, all others only read.

SQLite before 3.51.3 can damage a write-ahead log when one connection checkpoints while another commits. Here
none does, whichever version is linked; and we bring a newer one (`pysqlite3`) where there is a wheel of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool

from heedful.errors import Misconfigured, Unavailable
from heedful.store.bulk import STATEMENTS
from heedful.store.migrations import migrate, require_current
from heedful.store.owner import Owner

log = logging.getLogger(__name__)

CHECKPOINT_BYTES = 32 << 20  # of write-ahead log, before it is copied into the database
READERS = 8  # connections kept; more are opened under load
BUSY_SECONDS = 10.0
FIXED = (3, 51, 3)  # the first version without the write-ahead log bug


def driver() -> ModuleType:
    """The SQLite that we use: never two in one process on one file, their locks would not see each other."""
    try:
        from pysqlite3 import dbapi2
    except ImportError:
        from sqlite3 import dbapi2
    module: ModuleType = dbapi2
    return module


READER = ("query_only=on", "cache_size=-2000", "temp_store=memory")
WRITER = (
    "journal_mode=wal",
    "synchronous=full",  # a commit returns when the log is on the disk
    "wal_autocheckpoint=0",
    "secure_delete=on",  # what is removed or replaced is overwritten, not only let go of
    "cache_size=-8000",
    "temp_store=memory",
)


class SqliteFile:
    """The file at `path`, ours alone unless it is only read.

    `via`, `pragmas` and `checkpoint_bytes` are for trials of a disk that fails (`bench/power_loss.py`).
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        read_only: bool,
        via: Any = None,
        pragmas: tuple[str, ...] = WRITER,
        checkpoint_bytes: int = CHECKPOINT_BYTES,
    ) -> None:
        self.path = path.resolve()
        self._wal = self.path.with_name(self.path.name + "-wal")
        self._driver = via or driver()
        self._pragmas = {"ro": READER, "rwc": pragmas}
        self._owner: Owner | None = None
        self._writer: Connection | None = None
        self._step = self._patience = checkpoint_bytes
        self.readers = self._engine("ro", pool=True)  # connects when first asked
        if read_only:
            if not self.path.is_file():
                raise Misconfigured(
                    f"there is no database at {self.path}: start the server once, it makes one"
                )
        else:
            self._own(name)
        if read_only:
            try:
                with self.readers.connect() as connection:
                    require_current(connection)
            except BaseException:
                self.close()
                raise

    def _own(self, name: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._owner = Owner(self.path, name)
        try:
            if self._driver.sqlite_version_info < FIXED:
                log.warning("sqlite is old", extra={"version": self._driver.sqlite_version})
            self._writer = self._engine("rwc", pool=False).connect()
            with self._writer.begin():
                migrate(self._writer)
        except BaseException as error:
            self.close()
            if isinstance(error, DBAPIError):
                raise Unavailable(f"{self.path} cannot be opened as a database: {error.orig}") from error
            raise

    def _engine(self, mode: str, *, pool: bool) -> Engine:
        def connect() -> Any:
            # Transactions are ours to begin: the driver would begin them too late, and not IMMEDIATE.
            connection = self._driver.connect(
                f"file:{quote(str(self.path))}?mode={mode}",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                cached_statements=STATEMENTS if mode == "rwc" else 128,
                check_same_thread=False,
            )
            for pragma in self._pragmas[mode]:
                connection.execute(f"PRAGMA {pragma}").fetchall()
            return connection

        # The last one given back is taken first: few connections stay busy, and have the pages that are asked for.
        sizes = {"pool_size": READERS, "max_overflow": 56, "pool_use_lifo": True} if pool else {}
        engine = create_engine(
            "sqlite://",
            module=self._driver,
            creator=connect,
            poolclass=QueuePool if pool else NullPool,
            **sizes,
        )
        if mode == "rwc":
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        return engine

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        if self._writer is None:
            raise Misconfigured("this store was opened to read")
        with self._writer.begin():
            yield self._writer

    def settle(self) -> None:
        """Copy the write-ahead log into the database when it has grown, as far as readers allow."""
        try:
            if self._wal.stat().st_size < self._patience:
                return
            busy = self._checkpoint("TRUNCATE")
        except (OSError, self._driver.Error) as error:
            log.warning("checkpoint failed", extra={"reason": str(error)})
            busy = True
        # A reader that takes long keeps the log from being emptied: let it grow before asking again.
        self._patience = self._patience + self._step if busy else self._step

    def _checkpoint(self, how: str) -> bool:
        assert self._writer is not None
        raw: Any = self._writer.connection.dbapi_connection
        raw.execute("PRAGMA busy_timeout=20")  # those who want to commit are waiting
        try:
            busy: bool = raw.execute(f"PRAGMA wal_checkpoint({how})").fetchone()[0] != 0
            return busy
        finally:
            raw.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")

    def close(self) -> None:
        self.readers.dispose()
        if self._writer is not None:
            self._writer.close()
            self._writer.engine.dispose()
            self._writer = None
        if self._owner is not None:
            self._owner.release()
            self._owner = None
