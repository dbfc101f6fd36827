"""What was answered and is not in the store yet: lines in files of this machine, kept until it is.

An answer must not wait for a disk's sync, and must not be forgotten when the process dies. So a turn is first
written here, without a sync: the operating system has it from then on, whatever becomes of us. The store has
it, synced, some milliseconds later. Only a machine that loses power in between loses it.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Self

from heedful.errors import Busy, InvalidInput, Misconfigured, Unavailable

log = logging.getLogger(__name__)

SEGMENT_BYTES = 8 << 20


@dataclass(slots=True)
class _Segment:
    path: Path
    last: int  # number of its last entry
    bytes: int


class Journal:
    """Lines in order, numbered from 1; those up to a number are let go of together.

    One process has a directory. `append` and `done` may be called from different threads.
    """

    def __init__(
        self, directory: Path, *, most_bytes: int = 256 << 20, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self._directory = directory
        self._most = most_bytes
        self._changing = RLock()
        self._lock: int | None = None  # held from the first use on
        self._left: list[Path] = []
        self._next_file = 1
        self._segment_bytes = segment_bytes
        self._segments: deque[_Segment] = deque()
        self._file: int | None = None
        self._torn = False  # the last line in it is not whole
        self._count = 0
        self._left_bytes = 0
        self._bytes = 0  # of what is not done, and what stands in the same files

    def own(self) -> Self:
        """This process is the one that has the directory, and knows what an earlier one left in it."""
        with self._changing:
            if self._lock is not None:
                return self
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self._directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(lock)
                raise Misconfigured(
                    f"another process keeps its journal in {self._directory}: give each server a data "
                    "directory or a server.name of its own"
                ) from error
            self._lock = lock
            self._left = sorted(self._directory.glob("*.log"))
            numbers = (int(path.stem) for path in self._left if path.stem.isdigit())
            self._next_file = 1 + max(numbers, default=0)
            self._left_bytes = sum(path.stat().st_size for path in self._left)
            self._bytes += self._left_bytes
            return self

    @property
    def size(self) -> int:
        """Bytes of what waits."""
        return self._bytes

    def append(self, line: bytes) -> int:
        """The line's number; from then on it survives the death of this process.

        Raises `Busy` when as much as may wait is waiting, `Unavailable` when the disk does not take it.
        """
        if b"\n" in line:
            raise InvalidInput("a line of the journal has no line break")
        whole = b"%08x %s\n" % (zlib.crc32(line), line)
        if self._lock is None:
            self.own()
        with self._changing:
            if self._bytes + len(whole) > self._most and self._bytes:
                raise Busy(f"{self._bytes >> 20} MiB of turns wait to be stored: send this again soon")
            try:
                if self._torn or self._file is None or self._segments[-1].bytes >= self._segment_bytes:
                    self._begin()
                assert self._file is not None
                if os.write(self._file, whole) < len(whole):
                    # A full disk takes a part. What is written behind that part could not be read: a new file.
                    self._torn = True
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                raise Unavailable(f"the journal in {self._directory} takes no more: {error}") from error
            self._count += 1
            self._bytes += len(whole)
            self._segments[-1].last = self._count
            self._segments[-1].bytes += len(whole)
            return self._count

    def _begin(self) -> None:
        path = self._directory / f"{self._next_file:012d}.log"
        file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        if self._file is not None:
            os.close(self._file)
        self._file, self._torn = file, False
        self._next_file += 1
        self._segments.append(_Segment(path, self._count, 0))

    def done(self, number: int) -> None:
        """Everything up to that number is in the store."""
        with self._changing:
            while len(self._segments) > 1 and self._segments[0].last <= number:
                segment = self._segments.popleft()
                self._bytes -= segment.bytes
                segment.path.unlink(missing_ok=True)
            if self._file is not None and self._count <= number and self._segments[0].bytes:
                os.ftruncate(self._file, 0)
                self._torn = False
                self._bytes -= self._segments[0].bytes
                self._segments[0].bytes = 0

    def left(self) -> Iterator[bytes]:
        """Lines that an earlier process did not get into the store, oldest first."""
        self.own()
        for path in self._left:
            for line in path.read_bytes().split(b"\n"):
                sum, _, rest = line.partition(b" ")
                if sum == b"%08x" % zlib.crc32(rest):
                    yield rest
                elif line:
                    log.warning("a line of the journal was cut off", extra={"file": path.name})

    def forget_left(self) -> None:
        """They are in the store now."""
        with self._changing:
            for path in self._left:
                path.unlink(missing_ok=True)
            self._bytes -= self._left_bytes
            self._left, self._left_bytes = [], 0

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        for segment in self._segments:
            if not segment.bytes:
                segment.path.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
