"""The writing thread, with a database that can be made to wait or to fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from factories import make_turn
from heedful.errors import Busy, Unavailable
from heedful.store.batches import Prepared, prepare
from heedful.store.protocol import Batch, Outcome
from heedful.store.sqlite import SqliteFile
from heedful.store.writer import GROUP_ROWS, Writer


class Moody:
    """A real database that waits for a permission and can be told to fail."""

    def __init__(self, path: Path) -> None:
        self.inner = SqliteFile(path, name="test", read_only=False)
        self.may_write = threading.Event()
        self.entered = threading.Event()
        self.failing = False
        self.transactions = 0

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        self.entered.set()
        self.may_write.wait(10)
        with self.inner.writing() as connection:
            yield connection
            if self.failing:
                raise OperationalError("COMMIT", {}, Exception("database or disk is full"))
        self.transactions += 1

    def settle(self) -> None:
        self.inner.settle()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Moody]:
    database = Moody(tmp_path / "heedful.db")
    yield database
    database.inner.close()


def one_turn(text: str = "yes") -> Prepared:
    return prepare(Batch(add=(make_turn(answer=text),)))


def test_what_waits_while_one_group_is_written_shares_the_next(database: Moody) -> None:
    writer = Writer(database, queue_rows=10_000, queue_bytes=1 << 30)
    first = writer.submit(one_turn())
    database.entered.wait(10)
    rest = [writer.submit(one_turn()) for _ in range(200)]
    assert not first.done()
    database.may_write.set()
    assert all(future.result(10) == Outcome(added=(True,)) for future in [first, *rest])
    writer.close()
    assert database.transactions == 2


def test_a_group_has_a_size(database: Moody) -> None:
    writer = Writer(database, queue_rows=100_000, queue_bytes=1 << 30)
    first = writer.submit(one_turn())
    database.entered.wait(10)
    rest = [writer.submit(one_turn()) for _ in range(GROUP_ROWS)]  # two rows each, with what goes around them
    database.may_write.set()
    assert all(future.result(10).added for future in [first, *rest])
    writer.close()
    assert database.transactions == 3


@pytest.mark.parametrize(("rows", "size"), [(10, 1 << 30), (10_000, 20_000)])
def test_a_full_queue_is_busy_and_empties(database: Moody, rows: int, size: int) -> None:
    writer = Writer(database, queue_rows=rows, queue_bytes=size)
    futures = [writer.submit(one_turn())]
    database.entered.wait(10)
    second = one_turn("x" * 15_000)
    futures.append(writer.submit(second))
    third = prepare(Batch(add=tuple(make_turn(answer="x" * 3000) for _ in range(9))))
    with pytest.raises(Busy, match="wait to be written") as refused:
        writer.submit(third)
    assert refused.value.retry_after > 0
    database.may_write.set()
    for future in futures:
        future.result(10)
    assert writer.submit(one_turn()).result(10).added == (True,)
    writer.close()


def test_a_batch_larger_than_the_queue_has_its_turn_when_nothing_waits(database: Moody) -> None:
    writer = Writer(database, queue_rows=10, queue_bytes=1000)
    database.may_write.set()
    large = prepare(Batch(add=tuple(make_turn() for _ in range(100))))
    assert sum(writer.submit(large).result(10).added) == 100
    writer.close()


def test_a_disk_that_is_full_is_unavailable_and_nothing_was_kept(database: Moody) -> None:
    writer = Writer(database, queue_rows=10_000, queue_bytes=1 << 30)
    database.may_write.set()
    database.failing = True
    batches = [one_turn() for _ in range(5)]
    for future in [writer.submit(batch) for batch in batches]:
        with pytest.raises(Unavailable, match="disk is full"):
            future.result(10)
    database.failing = False
    assert [writer.submit(batch).result(10).added for batch in batches] == [(True,)] * 5
    writer.close()


def test_one_who_gave_up_waiting_stops_nobody(database: Moody) -> None:
    writer = Writer(database, queue_rows=10_000, queue_bytes=1 << 30)
    first = writer.submit(one_turn())
    database.entered.wait(10)
    second, third = writer.submit(one_turn()), writer.submit(one_turn())
    assert second.cancel()
    database.may_write.set()
    assert first.result(10) == third.result(10) == Outcome(added=(True,))
    writer.close()
