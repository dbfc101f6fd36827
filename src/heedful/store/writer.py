"""The one thread that writes: it takes whatever waits, commits it together, and then says so to everyone.

A sync costs milliseconds however much it covers, so that many small batches share one. Nothing waits on
purpose: while one group is being synced, the next one gathers.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from threading import Condition, Thread
from typing import Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from heedful.errors import Busy, Conflict, Corrupt, HeedfulError, InvalidInput, Unavailable
from heedful.store.batches import Prepared
from heedful.store.group import Group
from heedful.store.protocol import Outcome

log = logging.getLogger(__name__)

GROUP_ROWS = 2_000  # in one transaction, unless a single batch is larger


class Database(Protocol):
    """What the writer needs of one."""

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that no other writer of this database overlaps; synced when the block has ended."""
        ...

    def settle(self) -> None:
        """Called between transactions."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    batch: Prepared
    rows: int
    size: int  # bytes
    future: Future[Outcome] = field(default_factory=Future)


class Writer:
    def __init__(self, database: Database, *, queue_rows: int, queue_bytes: int) -> None:
        self._database = database
        self._queue_rows, self._queue_bytes = queue_rows, queue_bytes
        self._waiting: deque[Job] = deque()
        self._rows = self._bytes = 0  # of what waits
        self._closed = False
        self._changed = Condition()
        self._thread = Thread(target=self._run, name="heedful-writer", daemon=True)
        self._thread.start()

    def submit(self, batch: Prepared) -> Future[Outcome]:
        rows, size = batch.rows, batch.bytes
        job = Job(batch, rows, size)
        with self._changed:
            if self._closed:
                raise Unavailable("the store is closed")
            full = self._rows + rows > self._queue_rows or self._bytes + size > self._queue_bytes
            if full and self._waiting:  # alone, even the largest batch has its turn
                raise Busy(
                    f"{self._rows} rows ({self._bytes >> 20} MiB) wait to be written: send this again soon"
                )
            self._waiting.append(job)
            self._rows += rows
            self._bytes += size
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Write what waits, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while jobs := self._next():
            self._settle([job for job in jobs if job.future.set_running_or_notify_cancel()])
            try:
                self._database.settle()
            except Exception:  # the thread must live: without it nobody is answered
                log.exception("settling failed")

    def _next(self) -> list[Job]:
        """What waits, up to a group's rows; empty when the writer is closed and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            jobs: list[Job] = []
            room = GROUP_ROWS
            while self._waiting and (not jobs or self._waiting[0].rows <= room):
                job = self._waiting.popleft()
                jobs.append(job)
                room -= job.rows
                self._rows -= job.rows
                self._bytes -= job.size
            return jobs

    def _settle(self, jobs: Sequence[Job]) -> None:
        try:
            answers = self._commit(jobs)
        except Unavailable as error:
            log.warning("commit failed", extra={"batches": len(jobs), "reason": str(error)})
            answers = [error] * len(jobs)
        except Exception as error:  # noqa: BLE001  whatever it is, those who wait must hear of it
            if len(jobs) > 1:  # one of them is to blame: alone, it cannot spoil the others
                for job in jobs:
                    self._settle([job])
                return
            whole = jobs[0].batch
            answers = [self._one_by_one(whole) if whole.each and len(whole.adds) > 1 else _blamed(error)]
        for job, answer in zip(jobs, answers, strict=True):
            if isinstance(answer, Outcome):
                job.future.set_result(answer)
            else:
                job.future.set_exception(answer)

    def _one_by_one(self, batch: Prepared) -> Outcome | HeedfulError:
        """A batch in which each is on its own, and one of them is nothing that the database takes."""
        refused: dict[int, HeedfulError] = dict(batch.refused)
        added = [False] * (len(batch.adds) + len(refused))
        for one in batch.alone():
            place = one.places[0]
            try:
                (answer,) = self._commit([Job(replace(one, places=(0,)), 1, 0)])
            except Unavailable as error:
                return error
            except Exception as error:  # noqa: BLE001  this one is to blame
                answer = _blamed(error)
            if isinstance(answer, HeedfulError):
                refused[place] = answer
            elif answer.refused:
                refused[place] = answer.refused[0]
            else:
                added[place] = answer.added[0]
        return Outcome(added=tuple(added), refused=refused)

    def _commit(self, jobs: Sequence[Job]) -> list[Outcome | HeedfulError]:
        answers: list[Outcome | HeedfulError] = []
        with translated(), self._database.writing() as connection:
            group = Group(connection, [job.batch for job in jobs])
            for job in jobs:
                try:
                    answers.append(group.take(job.batch))
                except (Conflict, Corrupt) as refused:
                    answers.append(refused)
            group.write()
        return answers


def _blamed(error: Exception) -> HeedfulError:
    if isinstance(error, HeedfulError):
        return error
    if isinstance(error, SQLAlchemyError | ValueError | OverflowError):
        refused = InvalidInput(f"the database does not take this batch: {str(error).splitlines()[0]}")
    else:
        log.error("commit failed for a reason that is ours", exc_info=error)
        refused = InvalidInput(f"this batch cannot be written: {error!r}")
    refused.__cause__ = error
    return refused


@contextmanager
def translated() -> Iterator[None]:
    """The database's own errors as ours, where it is the database that failed and not what it was given."""
    try:
        yield
    except DBAPIError as error:
        if is_gone(error):
            raise Unavailable(f"the database does not answer: {str(error.orig).splitlines()[0]}") from error
        raise


def is_gone(error: DBAPIError) -> bool:
    """Connection lost, shutting down, locked, disk full: not the fault of the rows."""
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)  # PostgreSQL's
    if state is not None:
        # Connection, resources, operator intervention, system, deadlock and lock timeout, read-only server.
        return str(state)[:2] in ("08", "53", "57", "58", "40", "55", "25")
    return type(error).__name__ in ("OperationalError", "InterfaceError", "InternalError")
