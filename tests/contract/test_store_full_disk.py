"""A full disk: what cannot be kept is not acknowledged, and with room again everything goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from _disk import Recorder
from factories import TENANT, make_act, make_turn
from heedful.audit.verification import verify
from heedful.domain.episode import Turn
from heedful.errors import Unavailable
from heedful.store.protocol import Batch
from heedful.store.sql import SqlStore, open_store
from power_loss import DATABASE, store_on

TEXT = "x" * 5_000


def pair(number: int) -> Batch:
    return Batch(
        add=tuple(make_turn(id=f"{number}.{side}", answer=TEXT) for side in "ab"),
        acts=(make_act(),),
        once=f"pair {number}",
    )


def begun(directory: Path) -> tuple[Recorder, SqlStore]:
    """A store with one pair in it, and nothing in its log."""
    recorder = Recorder(directory)
    store = store_on(recorder)
    store.commit(pair(0))
    store.close()
    return recorder, store_on(recorder)


def used(directory: Path) -> int:
    return sum(one.stat().st_size for one in directory.iterdir())


def pairs(store: SqlStore) -> set[int]:
    """Numbers of the pairs that are there; each must be whole, and have its act."""
    turns = [turn.id.split(".") for turn in store.find(Turn, TENANT, limit=None)]
    sides = {side: {int(number) for number, its in turns if its == side} for side in "ab"}
    assert sides["a"] == sides["b"]
    entries = list(store.audit_entries())
    assert len(entries) == len(sides["a"])
    assert verify(entries, (), keys={}).intact
    return sides["a"]


# From nothing at all to some commits, and a checkpoint that does not find the room that it needs.
@pytest.mark.parametrize("room", [0, 1_000, 20_000, 50_000, 100_000, 150_000, 200_000])
def test_a_full_disk_is_unavailable_and_keeps_what_it_acknowledged(tmp_path: Path, room: int) -> None:
    recorder, store = begun(tmp_path)
    recorder.room = used(tmp_path) + room
    kept, refused = {0}, set()
    for number in range(1, 15):
        try:
            store.commit(pair(number))
            kept.add(number)
        except Unavailable:
            refused.add(number)
            assert pairs(store) == kept  # reading goes on
    assert refused
    recorder.room = None
    store.ping()
    assert all(not store.commit(pair(number)).repeated for number in sorted(refused))
    assert all(store.commit(pair(number)).repeated for number in sorted(kept))
    store.close()
    again = open_store(f"sqlite:///{tmp_path / DATABASE}")
    assert pairs(again) == kept | refused
    with again.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalars().all() == ["ok"]
    again.close()


def test_a_batch_too_large_for_the_disk_leaves_room_for_smaller_ones(tmp_path: Path) -> None:
    recorder, store = begun(tmp_path)
    recorder.room = used(tmp_path) + 300_000
    large = store.submit(Batch(add=tuple(make_turn(answer=TEXT * 10) for _ in range(20))))
    with pytest.raises(Unavailable, match="full"):
        large.result()
    store.commit(pair(1))
    assert pairs(store) == {0, 1}
    store.close()


# Our own store, with a limit of the system's on the size of files.
SENDER = """
import resource, sys
from factories import make_turn
from heedful.errors import Unavailable
from heedful.store.protocol import Batch
from heedful.store.sql import open_store

store = open_store(sys.argv[1])
batch = lambda number: Batch(add=(make_turn(id=f"turn{number}", answer="x" * 10_000),))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
refused = []
for number in range(60):
    try:
        store.commit(batch(number))
        print("kept", number)
    except Unavailable as error:
        refused.append(number)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
store.ping()
for number in refused[::2]:
    store.commit(batch(number))
    print("kept", number)
print("refused", len(refused))
store.close()
"""


def test_files_that_may_not_grow_are_as_a_full_disk(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / DATABASE}"
    done = subprocess.run(
        [sys.executable, "-c", SENDER, url],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    *kept, (word, refused) = [line.split() for line in done.stdout.splitlines()]
    assert word == "refused"
    assert int(refused) > 10
    store = open_store(url)
    assert {turn.id for turn in store.find(Turn, TENANT, limit=None)} == {
        f"turn{number}" for _, number in kept
    }
    store.close()
