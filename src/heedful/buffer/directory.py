"""Rows in a directory, and what became of each: it waits, it has taught, or it is in quarantine.

Each of the three is a file of JSON lines that people can read. A row counts in one of them only: what has taught or
is in quarantine does not wait again when it is sent again. Lines are added and synced; a file from which rows
leave is written beside and renamed. A row that moves is written where it goes before it leaves where it was, so that
a crash may show it twice but never loses it; where it went is then what counts. A last line that was cut off was
never acknowledged, and is dropped.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from heedful.buffer.recent import Recent, RecentSettings
from heedful.errors import Corrupt
from heedful.synced import sync

Row = dict[str, Any]
Fate = Literal["taught", "quarantine"]
WAITING = "waiting"
FATES: tuple[Fate, ...] = ("taught", "quarantine")


def key_of(row: Row) -> str:
    """What makes a row the same as another: all that it says but how much it weighs."""
    said = {name: value for name, value in row.items() if name != "weight"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class DirectoryBuffer:
    """Safe for several processes on one machine: one at a time reads and writes."""

    def __init__(self, root: Path, settings: RecentSettings) -> None:
        self.root, self._settings = root, settings

    def put(self, rows: Iterable[tuple[float, Row]]) -> int:
        """Rows with the seconds when each came in, durable on return; returns how many are new."""
        with self._alone():
            known = {key_of(row) for fate in FATES for _, row in self._read(fate)}
            waiting = self._waiting(known)
            before = len(waiting)
            new = [(at, row) for at, row in rows if key_of(row) not in known and waiting.put(row, at)]
            if len(waiting) == before + len(new):
                self._append(WAITING, new)
            else:  # the oldest had to go
                self._rewrite(WAITING, waiting)
            return len(new)

    def waiting(self) -> Recent[Row]:
        """What nothing has been decided about."""
        with self._alone():
            return self._waiting({key_of(row) for fate in FATES for _, row in self._read(fate)})

    def went(self, fate: Fate) -> list[Row]:
        """What became of others, in the order in which it did."""
        with self._alone():
            return [row for _, row in self._read(fate)]

    def move(self, rows: Iterable[Row], to: Fate, *, why: str = "") -> None:
        """Out of what waits, with the reason. Doing it again changes nothing."""
        with self._alone():
            going = {key_of(row): row for row in rows}
            there = {key_of(row) for _, row in self._read(to)}
            since = {key_of(row): at for at, row in self._read(WAITING)}
            oldest = min(since.values(), default=0.0)  # for what newer rows pushed out in the meantime
            new = [(since.get(key, oldest), row) for key, row in going.items() if key not in there]
            self._append(to, new, **({"why": why} if why else {}))
            if to == "taught":
                self._keep_newest(to)
            self._rewrite(WAITING, self._waiting(going))

    def _waiting(self, elsewhere: Collection[str]) -> Recent[Row]:
        found = Recent(self._settings, key_of)
        for at, row in self._read(WAITING):
            if key_of(row) not in elsewhere:
                found.put(row, at)
        return found

    def _keep_newest(self, fate: Fate) -> None:
        """Of what has taught no more than of what waits: it only keeps alive what was learned."""
        rows = self._read(fate)
        if len(rows) > self._settings.most:
            self._rewrite(fate, rows[-self._settings.most :])

    def _file(self, name: str) -> Path:
        return self.root / f"{name}.jsonl"

    def _read(self, name: str) -> list[tuple[float, Row]]:
        file = self._file(name)
        if not file.is_file():
            return []
        *lines, _ = file.read_bytes().split(
            b"\n"
        )  # behind the last line that is whole stands nothing, or a torn one
        rows = []
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
                rows.append((float(record["at"]), dict(record["row"])))
            except (ValueError, KeyError, TypeError) as error:
                raise Corrupt(f"{file}:{number} is no row of a buffer: {error!r}; take it out") from error
        return rows

    def _append(self, name: str, rows: Iterable[tuple[float, Row]], **more: str) -> None:
        written = "".join(_line(at, row, **more) for at, row in rows)
        if not written:
            return
        file = self._file(name)
        whole = file.read_bytes().rfind(b"\n") + 1 if file.is_file() else 0
        with file.open("ab") as out:
            out.truncate(whole)
            out.write(written.encode())
            out.flush()
            os.fsync(out.fileno())
        sync(self.root)

    def _rewrite(self, name: str, rows: Iterable[tuple[float, Row]]) -> None:
        file = self._file(name)
        beside = file.with_suffix(".writing")
        with beside.open("wb") as out:
            out.write("".join(_line(at, row) for at, row in rows).encode())
            out.flush()
            os.fsync(out.fileno())
        beside.replace(file)
        sync(self.root)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _line(at: float, row: Row, **more: str) -> str:
    return json.dumps({"at": at, "row": row, **more}, sort_keys=True) + "\n"
