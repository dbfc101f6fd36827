"""Power that fails in the middle of a commit: nothing acknowledged is lost, and no batch is there by half.

The real store writes over a disk that keeps a record (`_disk`), while a ledger notes what was acknowledged and
when. Then the power fails, at hundreds of moments of that record and each time in several ways: what was
synced is there, of everything else nothing, all or some sectors. Each of these disks is opened as a server
would open it after the failure, and must hold exactly the batches up to one that is not before the last
acknowledged. The next life goes on from one of them. As a control the same is done with a database that does
not sync (`synchronous=off`), with one that syncs only its checkpoints (`normal`), and on a disk that lies:
there the loss must be seen.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import reduce
from operator import xor
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import select

from _apsw import Driver
from _disk import MOODS, Cut, Disk, Recorder
from heedful.domain.content import Message, Role
from heedful.domain.episode import Episode, Turn
from heedful.domain.feedback import Feedback, Source, Thumbs
from heedful.domain.ids import (
    AgentId,
    EpisodeId,
    FeedbackId,
    ItemId,
    PersonId,
    PolicyId,
    QueueId,
    RunId,
    TenantId,
    TurnId,
)
from heedful.domain.labeling import Item, ItemState
from heedful.domain.models import Run
from heedful.errors import Conflict
from heedful.store import auditing, codec
from heedful.store.protocol import Act, Batch, Link, Outcome, Record, Ref
from heedful.store.sql import SqlStore, open_store
from heedful.store.sqlite import WRITER, SqliteFile
from heedful.store.tables import TABLES, effect, link
from heedful.store.views import Views
from heedful.store.writer import Writer

TENANT = TenantId("acme")
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DATABASE = "heedful.db"
CHECKPOINT_BYTES = 128 << 10  # so that a life sees many checkpoints
BATCHES = 50  # of one life
CRASHES, CRASHES_QUICK = 400, 60
PER_LIFE = 20  # crashes
IMAGES = 2 * len(MOODS)  # of one crash
CONTROLS = ("off", "normal", "lying")

Contents = Mapping[tuple[str, str], str]


# -- what is written -------------------------------------------------------------------------------------


@dataclass
class Ledger:
    """Batches in the order in which they were sent, and what the store holds behind each of them."""

    random: Random
    batches: list[Batch] = field(default_factory=list)
    holds: list[int] = field(default_factory=lambda: [0])  # digest of the contents behind the first n batches
    open_items: list[Item] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    said: list[Feedback] = field(default_factory=list)
    _now: dict[tuple[str, str], str] = field(default_factory=dict)
    _acts: int = 0

    def more(self, count: int) -> None:
        kinds = (self._turns, self._feedback, self._mixed, self._work, self._run, self._drop, self._again)
        for _ in range(count):
            self._enter(self.random.choice(kinds)())

    def _turns(self) -> Batch:
        """A task begins, with answers of every length: some fill many pages."""
        episode = EpisodeId(f"e{len(self.batches)}")
        turns = tuple(
            Turn(
                id=TurnId(f"{episode}.{number}"),
                tenant=TENANT,
                episode=episode,
                agent=AgentId("resolver"),
                at=NOW,
                request=(Message(role=Role.USER, content="Where is my parcel?"),),
                answer="It comes tomorrow. " * self.random.choice((1, 20, 300, 3000)),
                policy=PolicyId("resolver@1"),
            )
            for number in range(self.random.randint(1, 4))
        )
        return Batch(add=(Episode(id=episode, tenant=TENANT, started_at=NOW), *turns))

    def _pieces(self) -> tuple[Feedback, ...]:
        made = tuple(
            Feedback(
                id=FeedbackId(f"f{len(self.batches)}.{number}"),
                tenant=TENANT,
                said=Thumbs(up=self.random.random() < 0.5),
                source=Source.DIRECT,
                at=NOW,
                turn=TurnId("t"),
                by=PersonId("rita"),
            )
            for number in range(self.random.randint(1, 5))
        )
        self.said.extend(made)
        return made

    def _feedback(self) -> Batch:
        made = self._pieces()
        return Batch(add=made, acts=(self._act("feedback.judged", Ref(kind="feedback", id=made[0].id)),))

    def _mixed(self) -> Batch:
        """Pieces that are each on their own, and one of them under a name that is taken."""
        taken = [replace(self.random.choice(self.said), by=PersonId("mallory"))] if self.said else []
        return Batch(add=(*taken, *self._pieces()), each=True)

    def _work(self) -> Batch:
        """An item is closed and two others are opened."""
        new = tuple(
            Item(
                id=ItemId(f"i{len(self.batches)}.{side}"),
                tenant=TENANT,
                queue=QueueId("q"),
                turns=(TurnId("t"), TurnId("u")),
                prompt=(Message(role=Role.USER, content="Where is my parcel?"),),
                answers=("It comes tomorrow.", "I do not know."),
                created_at=NOW,
            )
            for side in "ab"
        )
        swap: tuple[tuple[Item, Item], ...] = ()
        if self.open_items:
            old = self.open_items.pop(self.random.randrange(len(self.open_items)))
            swap = ((old, replace(old, state=ItemState.DONE)),)
        self.open_items.extend(new)
        return Batch(add=new, swap=swap, acts=(self._act("item.closed", Ref(kind="item", id=new[0].id)),))

    def _run(self) -> Batch:
        """An effect that happens once, with where it came from."""
        id = f"r{len(self.batches)}"
        run = Run(id=RunId(id), tenant=TENANT, task="heedful.training.improve", spec={}, started_at=NOW)
        made = Link(made=Ref(kind="note", id=id), source=Ref(kind="run", id=id))
        self.runs.append(run)
        return Batch(
            add=(run,), links=(made,), acts=(self._act("run.begun", Ref(kind="run", id=id)),), once=id
        )

    def _drop(self) -> Batch:
        """A run is forgotten; that it happened is not."""
        if not self.runs:
            return self._run()
        old = self.runs.pop(self.random.randrange(len(self.runs)))
        return Batch(drop=(old,), acts=(self._act("run.dropped", Ref(kind="run", id=old.id)),))

    def _again(self) -> Batch:
        """A sender that did not hear the answer sends the same once more."""
        return self.random.choice(self.batches) if self.batches else self._turns()

    def _act(self, verb: str, subject: Ref) -> Act:
        self._acts += 1
        return Act(
            tenant=TENANT, at=NOW, actor="bench", verb=verb, subject=subject, detail={"number": self._acts}
        )

    def _enter(self, batch: Batch) -> None:
        digest = self.holds[-1]
        if batch not in self.batches:
            for place in map(_place, batch.drop):
                digest ^= _digest(place, self._now.pop(place))
            for place, text in _leaves(batch):
                if place in self._now:
                    if batch.each:
                        continue  # the name is taken
                    digest ^= _digest(place, self._now[place])
                self._now[place] = text
                digest ^= _digest(place, text)
        self.batches.append(batch)
        self.holds.append(digest)


def _leaves(batch: Batch) -> Iterator[tuple[tuple[str, str], str]]:
    """What a batch leaves in the store, each thing with its place."""
    for record in (*batch.add, *(new for _, new in batch.swap)):
        yield _place(record), codec.encode(record).decode()
    for act in batch.acts:
        yield ("act", str(act.detail["number"])), act.verb
    for one in batch.links:
        yield ("link", one.made.id), one.source.id
    if batch.once is not None:
        yield ("effect", batch.once), "1" * len(batch.add)


def _place(record: Record) -> tuple[str, str]:
    return codec.kind_of(type(record)), record.id


def contents(store: SqlStore) -> Contents:
    """Everything that the store holds, each thing with its place."""
    found: dict[tuple[str, str], str] = {}
    with store.reading() as connection:
        for kind, table in TABLES.items():
            name = codec.kind_of(kind)
            found.update(
                ((name, id), body) for id, body in connection.execute(select(table.c.id, table.c.body))
            )
        found.update(
            (("link", made), source)
            for made, source in connection.execute(
                select(link.c.made_id, link.c.source_id).where(link.c.made_kind == "note")
            )
        )
        found.update(
            (("effect", once), added)
            for once, added in connection.execute(select(effect.c.once, effect.c.added))
        )
    for _, body, _ in store.audit_entries():
        act = json.loads(body)
        found["act", str(act["detail"]["number"])] = act["verb"]
    return found


def digest_of(held: Contents) -> int:
    return reduce(xor, (_digest(place, text) for place, text in held.items()), 0)


def _digest(place: tuple[str, str], text: str) -> int:
    """Of one thing; those of many are put together by xor, so that their order does not matter."""
    return int.from_bytes(hashlib.blake2b("\0".join((*place, text)).encode(), digest_size=16).digest())


# -- a life ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A record of one life, and when the store had said what to whom."""

    recorder: Recorder
    ledger: Ledger
    first: int  # how many of the ledger's batches its disk held at the beginning
    said: Sequence[int]  # when batch first + n was acknowledged: so many events had been recorded

    def owed(self, moment: int) -> int:
        """How many batches must be there when the power fails at that moment."""
        return self.first + bisect_right(self.said, moment)

    @property
    def checkpoints(self) -> int:
        """How often the log was emptied."""
        return sum(isinstance(event, Cut) and event.size == 0 for event in self.recorder.events)


def store_on(recorder: Recorder, *, synchronous: str = "full") -> SqlStore:
    """Our store as it is, but for its driver, its checkpoints and, for a control, its syncs."""
    database = SqliteFile(
        recorder.directory / DATABASE,
        name="bench",
        read_only=False,
        via=Driver(recorder.name),
        pragmas=tuple(f"synchronous={synchronous}" if "synchronous" in one else one for one in WRITER),
        checkpoint_bytes=CHECKPOINT_BYTES,
    )
    return SqlStore(database, Writer(database, queue_rows=20_000, queue_bytes=128 << 20))


def live(
    directory: Path, ledger: Ledger, first: int, *, synchronous: str, lying: bool, random: Random
) -> Life:
    """The store on a recording disk, alone and in groups, with a reader that sometimes takes its time."""
    recorder = Recorder(directory, deaf=lying)
    store, said = store_on(recorder, synchronous=synchronous), list[int]()
    ledger.more(max(0, first + BATCHES - len(ledger.batches)))
    waiting = list(ledger.batches[first:])
    try:
        while waiting:
            together, waiting = waiting[: (size := random.choice((1, 1, 2, 6)))], waiting[size:]
            with slow_reader(store) if random.random() < 0.2 else nobody():
                futures = [store.submit(batch) for batch in together]
                for future in futures:
                    future.add_done_callback(lambda _: said.append(len(recorder.events)))
                for future in futures:
                    if not isinstance(error := future.exception(), Conflict | None):
                        raise error
    finally:
        store.close()
    return Life(recorder=recorder, ledger=ledger, first=first, said=said)


@contextmanager
def slow_reader(store: SqlStore) -> Iterator[None]:
    """A checkpoint cannot empty the log meanwhile."""
    with store.reading() as connection:
        connection.exec_driver_sql("BEGIN")
        connection.execute(select(effect.c.once).limit(1)).all()
        yield
        connection.exec_driver_sql("ROLLBACK")


@contextmanager
def nobody() -> Iterator[None]:
    yield


# -- and how it ends -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one disk held after the power had failed."""

    batches: int | None  # so many of the ledger's, whole; None when it is not a number of whole ones
    trouble: str | None = None


def opened(directory: Path, ledger: Ledger, *, send_rest: int | None = None) -> Found:
    """The store as a server opens it after a failure. With `send_rest`, a client that has heard about so many
    batches sends all others once more, and then everything must be there once."""
    store = open_store(f"sqlite:///{directory / DATABASE}")
    try:
        with store.reading() as connection:
            said = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        if said != ["ok"]:
            return Found(batches=None, trouble=f"the database is damaged: {said[0]}")
        if not (audit := auditing.verify(store, directory)).intact:
            return Found(batches=None, trouble=f"audit log: {audit.said}")
        held = contents(store)
        counts = Counter(kind for kind, _ in held if kind not in ("act", "link", "effect"))
        tallies = {kind: count for kind, count in Views(store).tallies(TENANT).items() if count}
        if tallies != counts:
            return Found(batches=None, trouble=f"{dict(counts)} are there, {tallies} were counted")
        digest = digest_of(held)
        known = [number for number, holds in enumerate(ledger.holds) if holds == digest]
        if not known:
            return Found(batches=None, trouble="a batch is there by half, or out of its turn")
        if send_rest is not None:
            for batch in ledger.batches[send_rest:]:
                _send(store, batch)
            if digest_of(contents(store)) != ledger.holds[-1]:
                return Found(batches=None, trouble="what was sent again is not there once")
        return Found(batches=known[-1])
    finally:
        store.close()


def _send(store: SqlStore, batch: Batch) -> Outcome | None:
    try:
        return store.commit(batch)
    except Conflict:  # the swap of a batch that had arrived
        return None


@dataclass
class Tally:
    """What all lives together came to."""

    lives: int = 0
    crashes: int = 0
    images: int = 0
    acknowledged: int = 0
    checkpoints: int = 0
    lost: int = 0  # acknowledged batches that a disk did not hold, over all disks
    torn_batches: int = 0  # disks with a half batch, a damaged database or a broken audit log
    troubles: Counter[str] = field(default_factory=Counter)


def torment(
    crashes: int, seed: int, *, synchronous: str = "full", lying: bool = False, per_life: int = PER_LIFE
) -> Tally:
    """So many crashes, spread over lives that go on from one another's ruins."""
    random, tally = Random(seed), Tally()
    ledger, first, ruins = Ledger(Random(seed)), 0, dict[str, bytes]()
    while tally.crashes < crashes:
        with tempfile.TemporaryDirectory(prefix="heedful-power-") as name:
            directory = Path(name)
            _fill(directory, ruins)
            life = live(directory, ledger, first, synchronous=synchronous, lying=lying, random=random)
        tally.lives += 1
        tally.acknowledged += len(life.said)
        tally.checkpoints += life.checkpoints
        left = _crash(life, min(per_life, crashes - tally.crashes), random, tally)
        if left is None:  # nothing is left to go on from
            ledger, first, ruins = Ledger(Random(seed + tally.lives)), 0, {}
        else:
            first, ruins = left
    return tally


def _crash(life: Life, crashes: int, random: Random, tally: Tally) -> tuple[int, dict[str, bytes]] | None:
    """The power fails now, and now, and now. Returns one of the disks that were well, and what it held."""
    events = life.recorder.events
    # Any moment; and as often the one just behind an answer, when the most can be lost.
    moments = sorted(
        random.choice((random.randint(0, len(events)), random.choice(life.said))) for _ in range(crashes)
    )
    disk, left = Disk(life.recorder.start, events), None
    for moment in moments:
        disk.advance(moment)
        tally.crashes += 1
        for number in range(IMAGES):
            image = disk.after_power_loss(MOODS[number % len(MOODS)], random)
            tally.images += 1
            owed = life.owed(moment)
            found = _look(image, life.ledger, send_rest=owed if number == IMAGES - 1 else None)
            if found.batches is None:
                tally.torn_batches += 1
                tally.troubles[str(found.trouble)[:200]] += 1
            elif found.batches < owed:
                tally.lost += owed - found.batches
            else:
                left = found.batches, image
    return left


def _look(image: Mapping[str, bytes], ledger: Ledger, *, send_rest: int | None) -> Found:
    with tempfile.TemporaryDirectory(prefix="heedful-power-") as name:
        _fill(Path(name), image)
        try:
            return opened(Path(name), ledger, send_rest=send_rest)
        except Exception as error:  # noqa: BLE001  a damaged database fails in any way it likes
            return Found(batches=None, trouble=f"it cannot be read: {error!r}")


def _fill(directory: Path, files: Mapping[str, bytes]) -> None:
    for name, held in files.items():
        (directory / name).write_bytes(held)


def control(name: str, crashes: int, seed: int) -> Tally:
    """The same without what makes it safe."""
    if name == "lying":
        return torment(crashes, seed, lying=True)
    return torment(crashes, seed, synchronous=name)


def result(crashes: int, seed: int) -> dict[str, Any]:
    started = time.monotonic()
    tally = torment(crashes, seed)
    for trouble, count in tally.troubles.most_common(5):
        print(f"{count} x {trouble}")
    controls = {name: control(name, max(5, crashes // 20), seed) for name in CONTROLS}
    seen = {name: one.lost for name, one in controls.items()}
    return {
        "n": tally.images,
        "crashes": tally.crashes,
        "images": tally.images,
        "lives": tally.lives,
        "checkpoints": tally.checkpoints,
        "acknowledged": tally.acknowledged,  # batches
        "lost": tally.lost,
        "torn_batches": tally.torn_batches,
        "control_lost": seen,
        "control_torn": {name: one.torn_batches for name, one in controls.items()},
        "seconds": round(time.monotonic() - started, 1),
        "ok": tally.crashes == crashes
        and tally.checkpoints > 0
        and not tally.lost
        and not tally.torn_batches
        and all(seen.values()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crashes", type=int, help=f"by default {CRASHES}, with --quick {CRASHES_QUICK}")
    parser.add_argument("--quick", action="store_true", help="at most a minute")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    said = result(chosen.crashes or (CRASHES_QUICK if chosen.quick else CRASHES), chosen.seed)
    print(f"RESULT {json.dumps(said)}")
    return 0 if said["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
