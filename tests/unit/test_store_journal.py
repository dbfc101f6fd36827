"""The journal: what was written is there, in order, whatever dies, until somebody says that it is done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.errors import Busy, InvalidInput, Misconfigured, Unavailable
from heedful.store.journal import Journal


@contextmanager
def opened(directory: Path, **settings: Any) -> Iterator[Journal]:
    journal = Journal(directory, **settings).own()
    try:
        yield journal
    finally:
        journal.close()


def left(directory: Path) -> list[bytes]:
    with opened(directory) as journal:
        return list(journal.left())


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.log"))


LINES = st.lists(st.binary(max_size=50).filter(lambda line: b"\n" not in line), max_size=20)


@given(first=LINES, second=LINES, segment=st.integers(1, 200))
def test_lines_come_back_in_order_over_any_number_of_files(
    tmp_path_factory: pytest.TempPathFactory, first: list[bytes], second: list[bytes], segment: int
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    for lines in (first, second):
        with opened(directory, segment_bytes=segment) as journal:
            assert [journal.append(line) for line in lines] == list(range(1, len(lines) + 1))
    assert left(directory) == first + second


@given(LINES, st.integers(0, 25), st.integers(1, 200))
def test_what_is_done_need_not_come_back_and_the_rest_must(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], done: int, segment: int
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    with opened(directory, segment_bytes=segment) as journal:
        for line in lines:
            journal.append(line)
        journal.done(min(done, len(lines)))
        size = journal.size
    found = left(directory)
    rest = lines[done:]
    assert found[len(found) - len(rest) :] == rest
    assert (size == 0) == (not rest) or not lines
    if not rest:
        assert found == []
        assert files(directory) == []


def test_done_frees_files_and_room(tmp_path: Path) -> None:
    with opened(tmp_path, segment_bytes=100) as journal:
        for _ in range(50):
            journal.append(b"x" * 40)
        many, full = len(files(tmp_path)), journal.size
        journal.done(25)
        assert len(files(tmp_path)) <= many // 2 + 1
        assert journal.size < full
        journal.done(50)
        assert len(files(tmp_path)) == 1
        assert journal.size == 0
        assert journal.append(b"more") == 51
    assert left(tmp_path) == [b"more"]


def test_a_line_that_was_cut_off_is_skipped_and_a_damaged_one_too(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        for line in (b"one", b"two", b"three", b"four"):
            journal.append(line)
    (path,) = tmp_path.glob("*.log")
    damaged = path.read_bytes().replace(b"two", b"tvo")
    path.write_bytes(damaged[:-2])
    assert left(tmp_path) == [b"one", b"three"]
    path.write_bytes(bytes(range(256)) * 3)
    assert left(tmp_path) == []


def test_a_line_has_no_line_break(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        with pytest.raises(InvalidInput, match="no line break"):
            journal.append(b"one\ntwo")
        journal.append(b"one\rtwo")
    assert left(tmp_path) == [b"one\rtwo"]


def test_a_full_journal_says_so_and_takes_more_when_something_is_done(tmp_path: Path) -> None:
    with opened(tmp_path, most_bytes=100) as journal:
        assert journal.append(b"x" * 500) == 1  # alone, even the largest line has its turn
        with pytest.raises(Busy, match="wait to be stored"):
            journal.append(b"y")
        journal.done(1)
        assert journal.append(b"y") == 2
    assert left(tmp_path) == [b"y"]


def test_what_an_earlier_process_left_takes_room_too(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.append(b"x" * 80)
    with opened(tmp_path, most_bytes=100) as journal:
        assert journal.size > 80
        with pytest.raises(Busy):
            journal.append(b"y" * 50)
        journal.forget_left()
        assert journal.size == 0
        assert journal.append(b"y" * 50) == 1
        journal.forget_left()
    assert left(tmp_path) == [b"y" * 50]


def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    with (
        opened(tmp_path),
        pytest.raises(Misconfigured, match="another process keeps its journal in"),
        opened(tmp_path),
    ):
        pass
    with opened(tmp_path):  # and leaves nothing behind
        pass


def test_another_process_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    owner = writing(tmp_path)
    assert owner.stdout is not None
    owner.stdout.readline()
    with pytest.raises(Misconfigured), opened(tmp_path):
        pass
    owner.kill()
    owner.wait()
    with opened(tmp_path):
        pass


WRITER = """
import sys
from pathlib import Path
from heedful.store.journal import Journal
journal = Journal(Path(sys.argv[1]), segment_bytes=2000)
for number in range(10**9):
    journal.append(b"line %d" % number)
    print(number, flush=True)
    if number % 100 == 99:
        journal.done(number - 50)
"""


def writing(directory: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(directory)], stdout=subprocess.PIPE)


@pytest.mark.parametrize("lines", [1, 777, 5000])
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, lines: int) -> None:
    process = writing(tmp_path)
    assert process.stdout is not None
    for _ in range(lines):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    heard = process.stdout.read().split(b"\n")  # the last one may be half a number
    process.wait()
    last = lines - 1 + max(0, len(heard) - 1)
    found = [int(line.removeprefix(b"line ")) for line in left(tmp_path)]
    assert found == list(range(found[0], found[-1] + 1))
    assert found[-1] >= last
    assert found[0] <= max(0, (last + 1) // 100 * 100 - 49)  # it may have died just behind a hundred


FULL = """
import resource, sys
from pathlib import Path
from heedful.errors import Unavailable
from heedful.store.journal import Journal
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
journal = Journal(Path(sys.argv[1]))
def until_full():
    for number in range(10**6):
        try:
            journal.append(b"x" * 90 + b" %d" % number)
        except Unavailable as error:
            assert "takes no more" in str(error), error
            return number
resource.setrlimit(resource.RLIMIT_FSIZE, (2050, hard))
kept = until_full()
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))  # there is room again
for number in range(3):
    journal.append(b"after %d" % number)
print(kept, journal.size)
"""


def test_a_full_disk_is_said_and_nothing_that_comes_after_it_is_lost(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True
    )
    kept, size = map(int, done.stdout.split())
    found = left(tmp_path)
    assert kept > 10
    assert found == [
        *(b"x" * 90 + b" %d" % number for number in range(kept)),
        *(b"after %d" % number for number in range(3)),
    ]
    assert size == sum(len(line) + 10 for line in found)  # a checksum, a blank, a line break


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_takes_nothing_is_said(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        tmp_path.chmod(0o500)
        try:
            with pytest.raises(Unavailable, match="takes no more"):
                journal.append(b"x")
        finally:
            tmp_path.chmod(0o700)
        assert journal.append(b"x") == 1


def test_one_thread_appends_while_another_is_done(tmp_path: Path) -> None:
    last, over = 0, threading.Event()

    with opened(tmp_path, segment_bytes=1000) as journal:

        def does() -> None:
            while not over.is_set():
                journal.done(last - 10)

        doing = threading.Thread(target=does)
        doing.start()
        for number in range(1, 5001):
            assert journal.append(b"line %d" % number) == number
            last = number
        over.set()
        doing.join()
    found = left(tmp_path)
    assert found[-11:] == [b"line %d" % number for number in range(4990, 5001)]
    assert found == sorted(found, key=lambda line: int(line[5:]))
