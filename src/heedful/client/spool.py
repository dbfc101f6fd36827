"""What could not be sent waits in a local file, and is sent again in order when the server is back.

Each process has a file of its own in the folder and holds a lock on it, so that two never write into one. The lock
ends with the process, however it ends: the next process with the same folder then takes the file over. A line is
one request, written with one write before `put` returns: it survives kill -9. It is not fsync'ed unless `sync`
says so, so a power cut may cost the last seconds. Every line carries an id made before its first attempt, and the
server keeps an id once: after a crash a whole file may be sent again, and nothing is doubled.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heedful.client.calls import new_id
from heedful.errors import InvalidInput, Unavailable
from heedful.wire import Kept

log = logging.getLogger("heedful.client")

MOST_BYTES = 64 * 2**20  # in one process's file, and as many of what was refused
READ_AT_ONCE = 2**20  # bytes


class Spooled(Kept):
    """Kept on this machine, not yet by the server."""


@dataclass(frozen=True, slots=True)
class Line:
    """One request that waits, and where the next one begins."""

    path: str
    body: Any
    raw: bytes
    end: int


class SpoolFile:
    """A file of requests under a lock. `taken` is where what is still to be sent begins."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.taken = 0
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    @classmethod
    def new(cls, folder: Path) -> SpoolFile:
        path = folder / f"{new_id('spool')}.jsonl"
        return cls(path, _locked(path, os.O_CREAT | os.O_EXCL))

    @classmethod
    def left(cls, folder: Path) -> Iterator[SpoolFile]:
        """Files whose processes are gone, oldest first: now they are ours."""
        for path in sorted(folder.glob("*.jsonl")):
            try:
                descriptor = _locked(path, 0)
            except (BlockingIOError, FileNotFoundError):
                continue  # somebody's, or just gone
            if os.fstat(descriptor).st_nlink == 0:  # emptied and removed between our look and our lock
                os.close(descriptor)
                continue
            yield cls(path, descriptor)

    @property
    def waiting(self) -> int:
        """Bytes that are still to be sent."""
        return self.size - self.taken

    def append(self, line: bytes, *, sync: bool) -> None:
        """The whole line, or an error and nothing of it."""
        try:
            written = os.write(self._descriptor, line)
            if written != len(line):
                raise OSError(f"{written} of {len(line)} bytes were written")
            if sync:
                os.fsync(self._descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self.size)  # half a line would spoil the next one
            raise Unavailable(f"the spool {self.path} cannot be written: {error}") from error
        self.size += len(line)

    def read(self) -> list[Line]:
        """The next lines. One that no process finished writing, or that is damaged, is put aside as refused."""
        at_once = READ_AT_ONCE
        while True:
            data = os.pread(self._descriptor, at_once, self.taken)
            if b"\n" in data or self.taken + len(data) >= self.size:
                break
            at_once *= 2  # a very long line
        lines, at = [], self.taken
        for raw in data.splitlines(keepends=True):
            whole = raw.endswith(b"\n")
            if not whole and at + len(raw) < self.size:
                break  # the rest of it is read the next time
            line = _line(raw, at + len(raw)) if whole else None
            if line is not None:
                lines.append(line)
            elif lines:
                break  # first what is before it
            else:
                self.refuse(raw, "the line is torn or damaged")
                self.done(at + len(raw))
            at += len(raw)
        return lines

    def done(self, end: int) -> None:
        """Everything up to here has been sent."""
        self.taken = end
        if self.taken >= self.size:
            os.ftruncate(self._descriptor, 0)
            self.taken = self.size = 0

    def refuse(self, raw: bytes, reason: str) -> None:
        """Put aside what the server will never take, with the reason."""
        log.error("feedback refused", extra={"reason": reason, "spool": str(self.path)})
        said = json.dumps({"reason": reason, "line": raw.decode(errors="replace").rstrip("\n")})
        aside = os.open(self.refused, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(aside).st_size < MOST_BYTES:
                os.write(aside, said.encode() + b"\n")
        finally:
            os.close(aside)

    @property
    def refused(self) -> Path:
        return self.path.with_suffix(".refused")

    def close(self) -> None:
        """Let go; an empty file is removed."""
        if not self.waiting:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def forget(self) -> None:
        """In a forked child: the file is the parent's."""
        os.close(self._descriptor)


class Spool:
    """The files of one folder that are this process's: its own, and those it took over."""

    def __init__(self, folder: str | Path, *, most_bytes: int = MOST_BYTES, sync: bool = False) -> None:
        self.folder = Path(folder)
        self.most_bytes = most_bytes
        self.sync = sync
        self._begin()
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.adopt()
        except OSError as error:
            raise InvalidInput(f"the spool {self.folder} cannot be used: {error}", field="spool") from error
        _all.add(self)

    def _begin(self) -> None:
        self.changed = threading.Condition()
        self._own: SpoolFile | None = None
        self._adopted: list[SpoolFile] = []

    @property
    def waiting(self) -> int:
        """Bytes that are still to be sent."""
        with self.changed:
            return sum(file.waiting for file in self._files())

    def put(self, requests: Sequence[tuple[str, Any]]) -> None:
        """Paths and bodies, in order. When it returns they are written; when it raises, none of them is."""
        line = b"".join(
            json.dumps({"path": path, "body": body}, separators=(",", ":")).encode() + b"\n"
            for path, body in requests
        )
        with self.changed:
            if self._own is None:
                self._own = SpoolFile.new(self.folder)
            if self._own.size + len(line) > self.most_bytes:
                raise Unavailable(
                    f"the server does not answer, and the spool {self._own.path} is full: "
                    f"{self._own.size} of {self.most_bytes} bytes"
                )
            self._own.append(line, sync=self.sync)
            self.changed.notify_all()

    def adopt(self) -> None:
        """Take over what processes left that are gone."""
        with self.changed:
            for file in SpoolFile.left(self.folder):
                self._adopted.append(file)
                if file.waiting:
                    log.info("spool taken over", extra={"spool": str(file.path), "bytes": file.waiting})

    def next(self) -> tuple[SpoolFile, list[Line]] | None:
        """What is to be sent next; what others left goes first. None when nothing waits."""
        with self.changed:
            for file in self._files():
                while file.waiting:
                    if lines := file.read():
                        return file, lines
            for file in self._adopted:
                file.close()
            self._adopted.clear()
            return None

    def done(self, file: SpoolFile, end: int) -> None:
        with self.changed:
            file.done(end)
            self.changed.notify_all()

    def refuse(self, file: SpoolFile, line: Line, reason: str) -> None:
        with self.changed:
            file.refuse(line.raw, reason)

    def close(self) -> None:
        """Let go of the files; what waits in them is for the next process."""
        with self.changed:
            for file in self._files():
                file.close()
            self._own = None
            self._adopted.clear()

    def _files(self) -> list[SpoolFile]:
        return self._adopted + ([self._own] if self._own else [])

    def forked(self) -> None:
        for file in self._files():
            file.forget()
        self._begin()


def _locked(path: Path, flags: int) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _line(raw: bytes, end: int) -> Line | None:
    try:
        said = json.loads(raw)
        return Line(path=str(said["path"]), body=said["body"], raw=raw, end=end)
    except (ValueError, KeyError, TypeError):
        return None


_all: weakref.WeakSet[Spool] = weakref.WeakSet()


def _forked() -> None:
    for spool in list(_all):
        spool.forked()


os.register_at_fork(after_in_child=_forked)
