"""A disk that can lose its power: it remembers what was written, and which of it was synced.

A `Recorder` is a file system for SQLite that hands everything on to a real directory and writes down what
happens there, in order. Afterwards, for any moment of that record, a `Disk` says what could be found had the
power failed just then: what was synced for certain, and of each write since the last sync nothing, all or
some of its sectors. So one run shows thousands of crashes, and none of them has to be waited for.

A new or removed name is certain only once its directory was synced. SQLite syncs it with the first sync of a
log or journal that it made, and when it removes one and says so (os_unix.c); nothing else does. Writes never
damage the bytes beside them: SQLite counts on that (SQLITE_IOCAP_POWERSAFE_OVERWRITE), and so do we.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Literal

import apsw

SECTORS = (512, 4096)
LOGS = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL

Mood = Literal["none", "all", "some", "torn", "early"]
MOODS: tuple[Mood, ...] = ("none", "all", "some", "torn", "early")

_names = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Made:
    name: str
    file: int


@dataclass(frozen=True, slots=True)
class Removed:
    name: str
    certain: bool  # the directory was synced


@dataclass(frozen=True, slots=True)
class Written:
    file: int
    at: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Synced:
    file: int
    directory: bool  # its directory too


Event = Made | Removed | Written | Cut | Synced


class Recorder:
    """A file system over one directory. `deaf` hears no sync: a disk that says "done" and does nothing.

    `room` is how many bytes its files may hold together; beyond it the disk is full.
    """

    def __init__(self, directory: Path, *, deaf: bool = False) -> None:
        self.directory = directory
        self.events: list[Event] = []
        self.room: int | None = None
        self.name = f"recorder-{next(_names)}"
        self._deaf = deaf
        self._numbers = itertools.count()
        self._files = {path.name: next(self._numbers) for path in sorted(directory.iterdir())}
        self.start: Mapping[str, bytes] = MappingProxyType(
            {name: (directory / name).read_bytes() for name in self._files}
        )
        self._vfs = _FileSystem(self)

    def opened(self, path: Path) -> int:
        number = self._files.get(path.name)
        if number is None:
            number = self._files[path.name] = next(self._numbers)
            self.events.append(Made(path.name, number))
        return number

    def removed(self, path: Path, certain: bool) -> None:
        self._files.pop(path.name, None)
        self.events.append(Removed(path.name, certain and not self._deaf))

    def synced(self, file: int, *, directory: bool) -> None:
        if not self._deaf:
            self.events.append(Synced(file, directory))

    def has_room(self, path: Path, end: int) -> bool:
        """Whether the file may reach so far; what it has, it keeps."""
        if self.room is None or end <= (held := path.stat().st_size):
            return True
        used = sum(one.stat().st_size for one in self.directory.iterdir())
        return used - held + end <= self.room


class _FileSystem(apsw.VFS):
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        super().__init__(recorder.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        if name is None:  # a temporary file of SQLite's own
            return apsw.VFSFile("", name, flags)
        return _File(self._recorder, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self._recorder.removed(Path(filename), bool(syncdir))


class _File(apsw.VFSFile):
    def __init__(self, recorder: Recorder, name: str | apsw.URIFilename, flags: list[int]) -> None:
        self._recorder = recorder
        self._path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)
        self._may_sync_directory = bool(flags[0] & apsw.SQLITE_OPEN_CREATE and flags[0] & LOGS)
        super().__init__("", name, flags)
        self._file = recorder.opened(self._path)

    def xWrite(self, data: bytes, offset: int) -> None:
        if not self._recorder.has_room(self._path, offset + len(data)):
            raise apsw.FullError("the disk is full")
        super().xWrite(data, offset)
        self._recorder.events.append(Written(self._file, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self._recorder.events.append(Cut(self._file, newsize))

    def xSync(self, flags: int) -> None:
        # Handed on to nobody: what counts is the record, and a real sync would cost milliseconds.
        self._recorder.synced(self._file, directory=self._may_sync_directory)
        self._may_sync_directory = False


class Disk:
    """What is certain at one moment of a record, and what is not. It only ever moves on."""

    def __init__(self, start: Mapping[str, bytes], events: Sequence[Event]) -> None:
        self._events = events
        self.moment = 0
        self._names = {name: number for number, name in enumerate(sorted(start))}
        self._certain = {self._names[name]: bytearray(held) for name, held in start.items()}
        self._writes: dict[int, list[Written | Cut]] = {}
        self._moves: list[Made | Removed] = []

    def advance(self, moment: int) -> None:
        """To just before the event of that number."""
        for event in self._events[self.moment : moment]:
            self._take(event)
        self.moment = max(self.moment, moment)

    def _take(self, event: Event) -> None:
        match event:
            case Made(file=file):
                self._certain[file] = bytearray()
                self._moves.append(event)
            case Removed(certain=certain):
                self._moves.append(event)
                if certain:
                    self._moves_are_certain()
            case Written(file=file) | Cut(file=file):
                self._writes.setdefault(file, []).append(event)
            case Synced(file=file, directory=directory):
                for write in self._writes.pop(file, ()):
                    _apply(self._certain[file], write)
                if directory:
                    self._moves_are_certain()

    def _moves_are_certain(self) -> None:
        for move in self._moves:
            _move(self._names, move)
        self._moves.clear()

    def after_power_loss(self, mood: Mood, random: Random) -> dict[str, bytes]:
        """One of the contents that could be found: file by name."""
        names = dict(self._names)
        for move in self._moves:
            if mood == "all" or (mood != "none" and random.random() < 0.5):
                _move(names, move)
        return {name: bytes(self._found(file, mood, random)) for name, file in sorted(names.items())}

    def _found(self, file: int, mood: Mood, random: Random) -> bytearray:
        held, writes = bytearray(self._certain[file]), self._writes.get(file, [])
        arrived = random.randint(0, len(writes)) if mood == "early" else len(writes)
        for write in writes[:arrived]:
            if mood in ("all", "early") or (mood == "some" and random.random() < 0.5):
                _apply(held, write)
            elif mood == "torn" and isinstance(write, Written):
                _tear(held, write, random)
            elif mood == "torn" and random.random() < 0.5:
                _apply(held, write)
        if mood == "early" and arrived < len(writes) and isinstance(last := writes[arrived], Written):
            _tear(held, last, random)
        return held


def _move(names: dict[str, int], move: Made | Removed) -> None:
    match move:
        case Made(name=name, file=file):
            names[name] = file
        case Removed(name=name):
            names.pop(name, None)


def _apply(held: bytearray, write: Written | Cut) -> None:
    match write:
        case Cut(size=size):
            del held[size:]
            held.extend(bytes(size - len(held)))
        case Written(at=at, data=data):
            held.extend(bytes(max(0, at - len(held))))
            held[at : at + len(data)] = data


def _tear(held: bytearray, write: Written, random: Random) -> None:
    """Sector by sector: as it was, as it should be, or, rarely, neither."""
    sector, likely = random.choice(SECTORS), random.random()
    end = write.at + len(write.data)
    for start in range(write.at - write.at % sector, end, sector):
        low, high = max(start, write.at), min(start + sector, end)
        dice = random.random()
        if dice < likely:
            _apply(held, Written(write.file, low, write.data[low - write.at : high - write.at]))
        elif dice > 0.98:
            _apply(held, Written(write.file, low, random.randbytes(high - low)))
