"""Several processes, and processes that die: what the store promises beyond one lifetime."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from _services import postgres
from factories import TENANT, make_act, make_policy, make_turn
from heedful.audit.verification import verify
from heedful.domain.episode import Turn
from heedful.errors import Conflict, Unavailable
from heedful.store.protocol import Batch
from heedful.store.sql import open_store
from heedful.store.sqlite import CHECKPOINT_BYTES
from heedful.store.tables import TABLES
from heedful.store.views import Views

TESTS = Path(__file__).parents[1]

# Commits pairs of turns from several threads and says each pair's number once it is acknowledged.
WRITER = """
import itertools, os, sys, threading
from factories import make_act, make_turn
from heedful.store.protocol import Batch
from heedful.store.sql import open_store

store, life, numbers = open_store(sys.argv[1], name="victim"), sys.argv[2], itertools.count()

def write():
    for n in numbers:
        pair = tuple(make_turn(id=f"{life}.{n}.{side}") for side in "ab")
        store.commit(Batch(add=pair, acts=(make_act(),), once=f"{life}.{n}"))
        os.write(1, f"{life}.{n}\\n".encode())

threads = [threading.Thread(target=write, daemon=True) for _ in range(4)]
for thread in threads:
    thread.start()
os.write(2, b"started\\n")
for thread in threads:
    thread.join()
"""


def run(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )


def test_a_killed_writer_loses_nothing_acknowledged_and_halves_nothing(url: str) -> None:
    acknowledged: list[str] = []
    for life in range(3):
        child = run(WRITER, url, f"life{life}")
        assert child.stderr is not None
        assert child.stderr.readline() == b"started\n", child.stderr.read().decode()
        time.sleep(0.5)
        child.send_signal(signal.SIGKILL)
        said, _ = child.communicate()
        # The last line may be cut; a number counts when it was said whole.
        acknowledged += said.decode().split("\n")[:-1]

    store = open_store(url)
    turns = store.find(Turn, TENANT, limit=None)
    pairs = Counter(turn.id.rpartition(".")[0] for turn in turns)
    assert len(acknowledged) > 10
    assert set(acknowledged) <= set(pairs)
    assert set(pairs.values()) == {2}
    assert Views(store).tallies(TENANT) == {"turn": len(turns)}
    entries = list(store.audit_entries())
    assert len(entries) == len(pairs)
    assert verify(entries, (), keys={}).intact
    # What was repeated after the crash is known to have happened.
    again = acknowledged[-1]
    pair = tuple(make_turn(id=f"{again}.{side}") for side in "ab")
    assert store.commit(Batch(add=pair, once=again)).repeated
    store.close()


def test_a_second_owner_of_a_file_is_refused_by_name_and_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'heedful.db'}"
    child = run(WRITER, url, "life")
    try:
        assert child.stderr is not None
        assert child.stderr.readline() == b"started\n"
        with pytest.raises(Conflict, match=rf"'victim', process {child.pid}"):
            open_store(url)
        open_store(url, read_only=True).close()
    finally:
        child.kill()
        child.communicate()
    open_store(url).close()  # the lock died with its owner


def test_two_stores_in_one_process_do_not_share_a_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'heedful.db'}"
    first = open_store(url, name="first")
    with pytest.raises(Conflict, match=f"'first', process {os.getpid()}"):
        open_store(url)
    first.close()
    open_store(url).close()


# Adds the same thousand records as every other process that runs this.
SENDER = """
import sys
from factories import make_act, make_turn
from heedful.store.protocol import Batch
from heedful.store.sql import open_store

store = open_store(sys.argv[1])
input()
futures = [store.submit(Batch(add=(make_turn(id=f"turn{n}"),), acts=(make_act(),))) for n in range(1000)]
print(sum(future.result().added[0] for future in futures))
store.close()
"""


@pytest.mark.postgres
def test_two_processes_that_add_the_same_records_keep_each_once(emptied_postgres: str) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", SENDER, emptied_postgres],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        for _ in range(2)
    ]
    said = []
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
    for child in children:
        out, _ = child.communicate()
        said.append(int(out))
    store = open_store(emptied_postgres)
    assert sum(said) == 1000
    assert len(store.find(Turn, TENANT, limit=None)) == 1000
    entries = list(store.audit_entries())
    assert len(entries) == 1000
    assert verify(entries, (), keys={}).intact
    store.close()


@pytest.mark.postgres
def test_two_processes_that_open_an_empty_database_make_its_tables_once(postgres_database: str) -> None:
    children = [
        run(
            "import sys; from heedful.store.sql import open_store; open_store(sys.argv[1]).close()",
            postgres_database,
        )
        for _ in range(3)
    ]
    assert [(child.communicate()[1].decode(), child.returncode) for child in children] == [("", 0)] * 3


@pytest.mark.postgres
@pytest.mark.usefixtures("postgres_url")  # skips where PostgreSQL is not installed
def test_a_server_that_dies_is_unavailable_and_comes_back() -> None:
    with postgres() as server:
        store = open_store(server.url)
        before, after = make_turn(), make_turn()
        store.commit(Batch(add=(before,)))
        server.kill()
        for _ in range(2):
            with pytest.raises(Unavailable):
                store.commit(Batch(add=(after,)))
            with pytest.raises(Unavailable):
                store.get(Turn, TENANT, before.id)
            with pytest.raises(Unavailable):
                store.ping()
        server.start()
        store.ping()
        assert store.commit(Batch(add=(before, after))).added == (False, True)
        assert store.find(Turn, TENANT) == [before, after]
        store.close()


@pytest.mark.postgres
def test_no_server_is_unavailable(postgres_url: str) -> None:
    with pytest.raises(Unavailable):
        open_store(make_url(postgres_url).set(port=1).render_as_string(hide_password=False))


@pytest.mark.postgres
def test_a_server_that_does_not_wait_for_its_disk_is_told_to(emptied_postgres: str) -> None:
    engine = create_engine(emptied_postgres, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
        store = open_store(emptied_postgres, name="waits")
        try:
            store.commit(Batch(add=(make_policy(),), acts=(make_act(),)))
            with store._database.writing() as writer:
                assert writer.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
        finally:
            store.close()
            connection.exec_driver_sql(f"ALTER DATABASE {name} RESET synchronous_commit")
    engine.dispose()


def test_a_sqlite_file_waits_for_its_disk_and_only_the_writer_checkpoints(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'heedful.db'}")
    with store._database.writing() as writer:
        pragmas = {
            name: writer.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "wal_autocheckpoint")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0}
    with store.reading() as reader, pytest.raises(Exception, match="readonly"):
        reader.execute(TABLES[Turn].delete())
    store.close()


def test_the_write_ahead_log_does_not_grow_without_end(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'heedful.db'}")
    text = "x" * 500_000
    for _ in range(6):
        store.commit(Batch(add=tuple(make_turn(answer=text) for _ in range(25))))
    store.ping()  # what the writer does behind the last commit is done
    assert (tmp_path / "heedful.db-wal").stat().st_size < CHECKPOINT_BYTES
    assert (tmp_path / "heedful.db").stat().st_size > CHECKPOINT_BYTES
    assert len(store.find(Turn, TENANT, limit=None)) == 150  # 75 MB
    store.close()
