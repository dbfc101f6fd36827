"""One process owns a SQLite file.

Two that commit to one file would each keep their own group commit, audit tree and checkpoints apart. The lock
belongs to the process and ends with it, however it ends, so that nothing stale is ever in the way.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path

from heedful.errors import Conflict, Unavailable


class Owner:
    """Holds the lock beside the database until `release`."""

    def __init__(self, database: Path, name: str) -> None:
        """`name` says what this process is, in words for whoever is refused."""
        self.path = database.with_name(database.name + ".lock")
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise Unavailable(f"the lock file {self.path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = self._holder()
            os.close(self._file)
            raise Conflict(
                f"{database} belongs to {holder}: stop that process, or go through its API; "
                "reading is possible beside it"
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps({"pid": os.getpid(), "name": name}).encode(), 0)

    def _holder(self) -> str:
        # The holder may be between taking the lock and writing its name.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = json.loads(os.pread(self._file, 4096, 0))
            return f"{said['name']!r}, process {said['pid']}"
        return "another process"

    def release(self) -> None:
        # The file stays: removing it would let a third process lock a file that a second still waits for.
        os.close(self._file)
