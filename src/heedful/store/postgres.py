"""A PostgreSQL database as the store needs it: many processes write, one after the other.

A number from a sequence is taken before the commit that makes it visible, so that two writers side by side
could show the later number first. An advisory lock around each transaction rules that out; group commit makes
up for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from heedful.errors import Misconfigured, Unavailable
from heedful.store.migrations import migrate, require_current

log = logging.getLogger(__name__)

LOCK = 0x48656564  # "Heed": every writer of the database takes it for its transaction
READERS = 8

# A server that went away is noticed in seconds; a writer that hangs is thrown out, it holds everyone's lock.
_PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
_WRITER = "-c lock_timeout=30s -c idle_in_transaction_session_timeout=30s"
_READER = "-c default_transaction_read_only=on"


def with_driver(url: URL) -> URL:
    """The same address by psycopg 3, which is what comes along: SQLAlchemy alone would look for psycopg2."""
    return url.set(drivername="postgresql+psycopg")


class PostgresDatabase:
    def __init__(self, url: URL, *, name: str, read_only: bool) -> None:
        try:
            import psycopg  # noqa: F401
        except ImportError as error:
            raise Misconfigured("PostgreSQL needs psycopg: pip install 'heedful[prod]'") from error
        url = with_driver(url)
        common = {**_PATIENCE, "application_name": name}
        self._read_only = read_only
        self._writers = create_engine(
            url,
            pool_size=1,
            max_overflow=0,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",  # each question sees what was committed before we got the lock
            connect_args={**common, "options": _WRITER},
        )
        event.listen(self._writers, "connect", _durable)
        self.readers = create_engine(
            url,
            pool_size=READERS,
            max_overflow=READERS,
            pool_pre_ping=True,
            isolation_level="AUTOCOMMIT",
            connect_args={**common, "options": _READER},
        )
        try:
            self._prepare()
        except DBAPIError as error:
            self.close()
            raise Unavailable(f"PostgreSQL does not answer: {str(error.orig).splitlines()[0]}") from error
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        with self.readers.connect() as connection:
            encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
            if encoding != "UTF8":
                raise Misconfigured(f"the database's encoding is {encoding}: create it with ENCODING 'UTF8'")
            if connection.execute(text("SHOW fsync")).scalar_one() == "off":
                log.warning("the database does not sync its disk: what it acknowledges can be lost")
            if self._read_only:
                require_current(connection)
        if not self._read_only:
            with self.writing() as connection:
                migrate(connection)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        if self._read_only:
            raise Misconfigured("this store was opened to read")
        with self._writers.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            yield connection

    def settle(self) -> None:
        """PostgreSQL checkpoints by itself."""

    def close(self) -> None:
        self._writers.dispose()
        self.readers.dispose()


def _durable(connection: object, _record: object) -> None:
    """Acknowledged means synced, even where the server's default says otherwise."""
    with connection.cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') = 'off'"
        )
    connection.commit()  # type: ignore[attr-defined]
