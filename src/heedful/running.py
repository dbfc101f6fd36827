"""Which server runs in a data directory: a note there, worth nothing once its process is gone."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NOTE = "server.json"
ANSWER_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    pid: int
    url: str


@contextmanager
def announced(data: Path, url: str) -> Iterator[None]:
    """While inside, `find` finds this process."""
    note, unfinished = data / NOTE, data / f"{NOTE}.{os.getpid()}"
    unfinished.write_text(json.dumps({"pid": os.getpid(), "url": url}))
    unfinished.replace(note)
    try:
        yield
    finally:
        found = find(data)
        if found is not None and found.pid == os.getpid():
            note.unlink(missing_ok=True)


def find(data: Path) -> Running | None:
    """The server of this data directory, if its process is alive."""
    try:
        said = json.loads((data / NOTE).read_text())
        found = Running(pid=int(said["pid"]), url=str(said["url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if _alive(found.pid) else None


def answers(server: Running) -> bool:
    """Whether it says that it can work."""
    from urllib.request import ProxyHandler, build_opener

    try:
        with build_opener(ProxyHandler({})).open(f"{server.url}/readyz", timeout=ANSWER_SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError:  # refused, timed out, or an answer that is not 200
        return False


def owner(database: Path) -> str | None:
    """Who holds the lock of this SQLite file, in words; None when nobody does."""
    try:
        file = os.open(database.with_name(database.name + ".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # Shared and for a moment: enough to see whether anybody has it.
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except OSError:
        try:
            said = json.loads(os.read(file, 4096))
            return f"{said['name']!r}, process {said['pid']}"
        except (ValueError, KeyError, TypeError):
            return "another process"
    finally:
        os.close(file)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
