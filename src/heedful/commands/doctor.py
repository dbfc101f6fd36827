"""Is this installation well? One check a line, and a way out for every line that is not.

Nothing is changed and no lock is taken, so that it can be asked beside a running server.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import func, make_url, select

from heedful import running
from heedful.access.bind import is_loopback
from heedful.access.keys import live
from heedful.domain.access import OPERATOR, Key
from heedful.domain.clock import Clock
from heedful.errors import HeedfulError
from heedful.settings import Settings
from heedful.store import auditing
from heedful.store.sql import SqlStore
from heedful.store.sqlite import driver
from heedful.store.tables import audit_entry, moment, tally
from heedful.store.views import Views
from heedful.wiring import database_url, read, taxonomy

State = Literal["ok", "warning", "failed"]

PYTHON = (3, 11)
# The write-ahead log bug is fixed in 3.51.3, and in these two older lines from the given version on.
SQLITE_FIXED = (3, 51, 3)
SQLITE_BACKPORTS = ((3, 50, 7), (3, 44, 6))
FREE_BYTES = 2 << 30  # below this a training run may fill the disk
LEAST_BYTES = 200 << 20
SLOW_SYNC = 0.05  # seconds; a commit waits for one
TIME = "%Y-%m-%d %H:%M:%S"
FULL_AUDIT = 20_000  # entries that are read whole in a moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    name: str
    state: State
    said: str
    way_out: str = ""  # empty when nothing has to be done


def checks(settings: Settings, clock: Clock) -> Iterator[Check]:
    """From the bottom up."""
    yield python()
    yield torch()
    yield cores()
    yield sqlite(driver().sqlite_version_info[:3], ours=settings.database is None)
    yield from directory(settings.data)
    yield lock(settings)
    yield safety(settings)
    yield from database(settings, clock)


def python() -> Check:
    said = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < PYTHON:
        return Check(name="python", state="failed", said=said, way_out="use Python 3.11 or newer")
    return Check(name="python", state="ok", said=said)


def torch() -> Check:
    """Looked up, not imported: this process has no use for it."""
    if importlib.util.find_spec("torch") is None:
        return Check(
            name="torch",
            state="warning",
            said="not installed: this machine can collect and release, but neither train nor run weights",
            way_out="pip install 'heedful[train]'",
        )
    return Check(name="torch", state="ok", said=importlib.metadata.version("torch"))


def cores() -> Check:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count < 2:
        return Check(
            name="cores",
            state="warning",
            said="1: training and the gateway share it",
            way_out="give it a second core, or train elsewhere",
        )
    return Check(name="cores", state="ok", said=str(count))


def sqlite(version: tuple[int, ...], *, ours: bool) -> Check:
    said = f"{'.'.join(map(str, version))} in use"
    backported = any(version[:2] == fixed[:2] and version >= fixed for fixed in SQLITE_BACKPORTS)
    if version >= SQLITE_FIXED or backported:
        return Check(name="sqlite", state="ok", said=said)
    return Check(
        name="sqlite",
        state="warning" if ours else "ok",
        said=f"{said}: it has the write-ahead log bug that 3.51.3 fixed (our way of checkpointing avoids it)",
        way_out="pip install pysqlite3, which brings its own" if ours else "",
    )


def directory(data: Path) -> Iterator[Check]:
    """Writable, with room, and a disk that syncs in time."""
    there = next(path for path in (data, *data.absolute().parents) if path.is_dir())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"\0" * 4096)
            started = time.perf_counter()
            os.fsync(file.fileno())
            seconds = time.perf_counter() - started
    except OSError as error:
        yield Check(
            name="data",
            state="failed",
            said=f"{data} is not writable: {error.strerror}",
            way_out="give this user the right to write there, or set `data` to another directory",
        )
    else:
        slow = seconds > SLOW_SYNC
        made = "" if there == data else ", once made"
        yield Check(
            name="data",
            state="warning" if slow else "ok",
            said=f"{data} is writable{made}; a sync takes {seconds * 1000:.1f} ms",
            way_out="a commit waits for a sync: use a faster disk for heavy traffic" if slow else "",
        )
    free = shutil.disk_usage(there).free
    state: State = "failed" if free < LEAST_BYTES else "warning" if free < FREE_BYTES else "ok"
    yield Check(
        name="disk",
        state=state,
        said=f"{free / 2**30:.1f} GiB free",
        way_out="" if state == "ok" else "make room: weights of every run are kept in blobs/ and runs/",
    )


def lock(settings: Settings) -> Check:
    file = sqlite_file(settings)
    if file is None:
        return Check(name="owner", state="ok", said="the database is shared: it needs no owner")
    owner, server = running.owner(file), running.find(settings.data)
    if owner is None:
        return Check(name="owner", state="ok", said="nobody holds the database; no server runs")
    if server is None:
        return Check(
            name="owner",
            state="warning",
            said=f"{owner} holds the database, and is no server that left its address",
            way_out="wait until it has finished, or stop it",
        )
    if not running.answers(server):
        return Check(
            name="owner",
            state="failed",
            said=f"{owner} holds the database, and does not answer at {server.url}",
            way_out="give it a moment to start or to drain; else read its log",
        )
    return Check(name="owner", state="ok", said=f"{owner}, answering at {server.url}")


def sqlite_file(settings: Settings) -> Path | None:
    url = make_url(database_url(settings))
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def safety(settings: Settings) -> Check:
    try:
        known = taxonomy(settings)
    except HeedfulError as error:
        return Check(name="taxonomy", state="failed", said=str(error), way_out="correct that file")
    return Check(
        name="taxonomy", state="ok", said=f"version {known.version}, {len(known.categories)} categories"
    )


def database(settings: Settings, clock: Clock) -> Iterator[Check]:
    """What can be seen by reading only."""
    file = sqlite_file(settings)
    if file is not None and not file.exists():
        yield Check(name="database", state="ok", said="none yet: `heedful up` makes it")
        yield keys(settings, None, clock)
        return
    try:
        store, _ = read(settings)
    except HeedfulError as error:
        yield Check(name="database", state="failed", said=str(error), way_out="see the sentence before")
        return
    try:
        with store.reading() as connection:
            records = connection.execute(select(func.coalesce(func.sum(tally.c.records), 0))).scalar_one()
        yield Check(name="database", state="ok", said=f"readable and up to date, {records:,} records")
        asks: tuple[Callable[[], Check], ...] = (
            lambda: time_is_right(store, clock),
            lambda: keys(settings, store, clock),
            lambda: audit(store, settings.data),
        )
        for ask in asks:
            yield ask()
    except HeedfulError as error:
        yield Check(name="database", state="failed", said=str(error), way_out="restore it from a backup")
    finally:
        store.close()


def time_is_right(store: SqlStore, clock: Clock) -> Check:
    """A clock that runs behind what is on record gives records that are older than their causes."""
    with store.reading() as connection:
        last = connection.execute(select(func.max(audit_entry.c.at))).scalar_one()
    now = clock.now()
    if last is not None and moment(last) > now:
        return Check(
            name="clock",
            state="failed",
            said=f"it is {now:{TIME}} here, and something was recorded at {moment(last):{TIME}}",
            way_out="set the clock (chrony or systemd-timesyncd)",
        )
    return Check(name="clock", state="ok", said=f"{now:{TIME}} UTC, behind nothing on record")


def keys(settings: Settings, store: SqlStore | None, clock: Clock) -> Check:
    host = settings.server.host
    found: list[Key] = []
    if store is not None:
        for tenant in sorted({OPERATOR, *(one.id for one in Views(store).tenants())}):
            found += store.find(Key, tenant, limit=None)
    working = sum(live(key, clock.now()) for key in found)
    if not is_loopback(host) and not found:
        return Check(
            name="keys",
            state="failed",
            said=f"none, and server.host is {host!r}: the server will not start",
            way_out="heedful keys issue --scope admin",
        )
    if found and not working:
        return Check(
            name="keys",
            state="warning",
            said=f"{len(found)}, all of them ended or revoked: nobody can get in",
            way_out="stop the server, then heedful keys issue --scope admin",
        )
    said = f"{working} of {len(found)} work" if found else "none: this machine alone may come in"
    return Check(name="keys", state="ok", said=said)


def audit(store: SqlStore, data: Path) -> Check:
    try:
        seen = auditing.glance(store, data)
        trouble = seen.trouble
        if trouble is None and seen.entries <= FULL_AUDIT:
            finding = auditing.verify(store, data)
            trouble = None if finding.intact else finding.said
    except HeedfulError as error:
        return Check(name="audit", state="failed", said=str(error), way_out="heedful audit verify")
    if trouble is not None:
        return Check(
            name="audit",
            state="failed",
            said=trouble,
            way_out="keep a copy, then run heedful audit verify and find out who",
        )
    if seen.signed is None and seen.entries:
        return Check(
            name="audit",
            state="warning",
            said=f"{seen.entries:,} entries are well, and no checkpoint vouches for them",
            way_out="heedful audit checkpoint, and keep a copy of it elsewhere",
        )
    return Check(
        name="audit", state="ok", said=f"{seen.entries:,} entries, {seen.signed or 0:,} of them signed for"
    )
