"""Turns on their way to the store: in the journal before the answer leaves, in the store some milliseconds later.

One thread takes whatever waits and commits it together. When the store is away it tries again until it is
back, and the journal holds what has been answered meanwhile; when that is full, the settings say whether to
refuse requests or to answer them without a record. Neither happens silently.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from threading import Condition, Thread

import orjson

from heedful import road
from heedful.domain.access import OPERATOR
from heedful.domain.episode import Episode, Turn
from heedful.domain.ids import EpisodeId, TenantId, TurnId
from heedful.errors import Busy, Corrupt, HeedfulError, Unavailable
from heedful.road import Parts
from heedful.service.state.metrics import Metrics
from heedful.settings import GatewaySettings
from heedful.store import codec

log = logging.getLogger("heedful.gateway")

TOGETHER = 256  # entries in one commit
AGAIN_SECONDS = (0.05, 2.0)  # first and longest pause while the store is away
FULL_SECONDS = 1.0  # how long nobody is asked after a turn could not be kept
SETTLE_SECONDS = 10.0
JOURNAL = "journal"  # the origin of dead letters that hold a line of it


@dataclass(frozen=True, slots=True)
class Entry:
    """The turns of one request, with their episode when they may be its first."""

    tenant: TenantId
    turns: tuple[Turn, ...]
    episode: Episode | None
    named: bool = True  # the caller's name for the episode, so that it may be there already
    number: int = 0  # in the journal
    stored: Future[None] = field(default_factory=Future)

    def line(self) -> bytes:
        episode = None if self.episode is None else orjson.Fragment(codec.encode(self.episode))
        turns = [orjson.Fragment(codec.encode(turn)) for turn in self.turns]
        return orjson.dumps({"episode": episode, "turns": turns})

    @classmethod
    def of_line(cls, line: bytes) -> Entry:
        """`Corrupt` when it is not what `line` writes: an older version may have written it."""
        try:
            said = orjson.loads(line)
            turns = tuple(codec.decode(Turn, orjson.dumps(one)) for one in said["turns"])
            episode = said["episode"] and codec.decode(Episode, orjson.dumps(said["episode"]))
            return cls(turns[0].tenant, turns, episode)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise Corrupt(f"a line of the journal does not read: {error!r}") from error


class Recorder:
    def __init__(self, parts: Parts, settings: GatewaySettings, metrics: Metrics) -> None:
        self._parts = parts
        self._settings = settings
        self._metrics = metrics
        self._waiting: deque[Entry] = deque()
        self._fresh: dict[tuple[TenantId, TurnId], Turn] = {}
        self._kept = self._stored = 0  # entries so far
        self._full_until = float("-inf")
        self._changed = Condition()
        self._closing = False
        self._thread: Thread | None = None

    # -- for the gateway -----------------------------------------------------------------------------------

    def room(self) -> None:
        """Nothing, or `Busy` before anybody is asked: the journal is full, and the settings say to refuse."""
        if self._settings.when_full != "refuse":
            return
        size, full = self._parts.journal.size, time.monotonic() < self._full_until
        if full or size >= self._settings.journal_bytes:
            raise Busy(
                f"{size >> 20} MiB of turns wait to be stored, and no more can be kept: ask again soon",
                retry_after=2.0,
            )

    def keep(self, turns: Sequence[Turn], episode: Episode | None, *, named: bool) -> Entry | None:
        """On record from now on; None when it could not be and the settings say to serve all the same."""
        kept = tuple(road.captured(self._parts, turn) for turn in turns)
        begun = None if episode is None else road.captured(self._parts, episode)
        entry = Entry(turns[0].tenant, kept, begun, named)
        try:
            number = self._parts.journal.append(entry.line())
        except (Busy, Unavailable) as error:
            if self._settings.when_full == "refuse":
                self._full_until = (
                    time.monotonic() + FULL_SECONDS
                )  # an answer that cannot be kept costs money
                raise
            self._metrics.unrecorded(len(turns))
            log.error(
                "a turn was answered and not recorded", extra={"turn": turns[0].id, "reason": str(error)}
            )
            return None
        entry = replace(entry, number=number)
        entry.stored.set_running_or_notify_cancel()  # who waits may go away: the turn is stored all the same
        with self._changed:
            self._waiting.append(entry)
            self._kept += 1
            for turn in kept:
                self._fresh[entry.tenant, turn.id] = turn
            self._start()
            self._changed.notify_all()
        return entry

    # -- for everybody else --------------------------------------------------------------------------------

    def fresh(self, tenant: TenantId, ids: Iterable[str]) -> Mapping[TurnId, Turn]:
        """Those of these turns that are answered and still on their way to the store."""
        if not self._fresh:
            return {}
        found = ((TurnId(id), self._fresh.get((tenant, TurnId(id)))) for id in ids)
        return {id: turn for id, turn in found if turn is not None}

    def settle(self, seconds: float = SETTLE_SECONDS) -> None:
        """Wait until what was answered before now is in the store, so that it can be read there."""
        with self._changed:
            wanted = self._kept
            if not self._changed.wait_for(lambda: self._stored >= wanted or self._closing, seconds):
                raise Unavailable(f"{wanted - self._stored} turns are not in the store after {seconds:g} s")

    def start(self) -> None:
        """First of all, what an earlier process left behind."""
        with self._changed:
            self._closing = False
            for line in self._parts.journal.left():
                try:
                    self._waiting.append(Entry.of_line(line))
                    self._kept += 1
                except Corrupt as error:
                    self._bury(OPERATOR, line, error)
            if self._kept:
                log.warning("turns of an earlier process are being stored", extra={"entries": self._kept})
            self._start()

    def _start(self) -> None:
        if self._thread is None and not self._closing:
            self._thread = Thread(target=self._run, name="heedful-recorder", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Store what waits, as far as the store lets us; the journal has the rest."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    # -- the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while entries := self._next():
            if not self._store(entries):
                return
            with self._changed:
                for entry in entries:
                    for turn in entry.turns:
                        self._fresh.pop((entry.tenant, turn.id), None)
                self._stored += len(entries)
                # Earlier processes' come first: with the first of our own, the last of theirs is stored.
                left = bool(self._waiting) and self._waiting[0].number == 0
                self._changed.notify_all()
            self._let_go(entries[-1].number, left=left)
            for entry in entries:
                entry.stored.set_result(None)

    def _let_go(self, number: int, *, left: bool) -> None:
        """What is stored need not be in the journal. Where it cannot be let go of, it is stored again, as the same."""
        try:
            self._parts.journal.done(number)
            if not left:
                self._parts.journal.forget_left()
        except OSError as error:
            log.warning("the journal keeps what is stored", extra={"reason": str(error)})

    def _next(self) -> list[Entry]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]

    def _store(self, entries: Sequence[Entry]) -> bool:
        """Until it has worked; False when we are closing and it has not."""
        pause, longest = AGAIN_SECONDS
        while True:
            try:
                self._once(entries)
                return True
            except Exception as error:  # noqa: BLE001  this thread must not end: the journal would fill up
                log.warning("turns wait for the store", extra={"entries": len(entries), "reason": str(error)})
                if self._closing:
                    return False
                time.sleep(pause)
                pause = min(longest, 2 * pause)

    def _once(self, entries: Sequence[Entry]) -> None:
        """Each tenant's entries in one commit, or one by one where they do not go together."""
        by_tenant: dict[TenantId, list[Entry]] = {}
        for entry in entries:
            by_tenant.setdefault(entry.tenant, []).append(entry)
        for tenant, some in by_tenant.items():
            begun = self._begun(tenant, some)
            try:
                turns = [turn for entry in some for turn in entry.turns]
                episodes = [
                    entry.episode
                    for entry in some
                    if entry.episode is not None and entry.episode.id not in begun
                ]
                road.keep(self._parts, turns, episodes=episodes).result()
            except (Busy, Unavailable):
                raise
            except Exception:  # noqa: BLE001  one of them does not go in: alone, it cannot keep the others out
                for entry in some:
                    self._alone(entry)

    def _begun(self, tenant: TenantId, entries: Iterable[Entry]) -> set[EpisodeId]:
        """Episodes that are there already: begun through the API, or by another gateway."""
        asked = [entry.episode.id for entry in entries if entry.episode is not None and entry.named]
        return (
            {EpisodeId(id) for id in self._parts.store.get_many(Episode, tenant, asked)} if asked else set()
        )

    def _alone(self, entry: Entry) -> None:
        refused: Exception | None = None
        for episodes in ((entry.episode,) if entry.episode else (), ()):
            try:
                road.keep(self._parts, entry.turns, episodes=episodes).result()
                return
            except (Busy, Unavailable):
                raise
            except Exception as error:  # noqa: BLE001  it is logged below, and must not end this thread
                refused = error
        # Such as the same id, used by two gateways at once for different answers: the first one counts.
        self._bury(entry.tenant, entry.line(), refused)

    def _bury(self, tenant: TenantId, line: bytes, reason: Exception | None) -> None:
        """What cannot be stored waits for a person; if even that cannot be written, the log has it."""
        log.error("turns could not be stored", extra={"tenant": tenant, "reason": str(reason)})
        try:
            road.bury(self._parts, tenant, line.decode(errors="replace"), str(reason), origin=JOURNAL)
        except HeedfulError as error:
            log.error(
                "nor could they be kept as a dead letter", extra={"reason": str(error), "line": line[:2000]}
            )
