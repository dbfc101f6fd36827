"""Named questions about what is stored, for people, metrics and decisions.

Every one is explained in tests/contract/test_views.py (an index is used, on both databases) and timed at a
million turns in bench/views.py. A question that is not here is asked with `find`, or gets a name here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import func, select, tuple_

from heedful.domain.access import Key, Tenant
from heedful.domain.episode import Episode, Turn
from heedful.domain.feedback import Feedback, Parked
from heedful.domain.ids import (
    AgentId,
    EpisodeId,
    FeedbackId,
    KeyId,
    PersonId,
    PolicyId,
    QueueId,
    ReleaseId,
    TenantId,
    TurnId,
)
from heedful.domain.labeling import Queue
from heedful.domain.models import Policy
from heedful.domain.release import Release, Stage
from heedful.errors import NotFound
from heedful.store import asking, codec, exposures, targets, waiting
from heedful.store.asking import OpenItem, QueueState, RaterLine
from heedful.store.bulk import among
from heedful.store.exposures import Exposure
from heedful.store.finding import narrowed
from heedful.store.protocol import Ref
from heedful.store.sql import SqlStore
from heedful.store.tables import TABLES, audit_entry, link, micros, moment, tally
from heedful.store.targets import Targets
from heedful.store.waiting import Marks
from heedful.store.why import Why, why

__all__ = ["EpisodeView", "Exposure", "OpenItem", "QueueState", "RaterLine", "Views"]

R = TypeVar("R", Turn, Episode, Feedback)
Place = tuple[int, int]  # in the order of time: microseconds, and the sequence number among equals
WHEN = {Turn: "at", Episode: "started_at", Feedback: "at"}
RUNNING = (Stage.SHADOW, Stage.CANARY, Stage.PAUSED, Stage.INCONCLUSIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeView:
    """An episode with everything that happened in it."""

    episode: Episode
    turns: tuple[Turn, ...]  # in the order of time, other answers to the same request behind the first
    feedback: tuple[Feedback, ...]  # on the episode or on any of its turns, in the order it came


class Views:
    def __init__(self, store: SqlStore) -> None:
        self._store = store

    @property
    def near(self) -> bool:
        """Whether a short question is answered by a file of this machine, and not over a network."""
        return self._store.dialect == "sqlite"

    # --- how much, how fast --------------------------------------------------------------------------

    def tallies(self, tenant: TenantId) -> dict[str, int]:
        """How many records of each kind."""
        question = select(tally.c.kind, tally.c.records).where(tally.c.tenant == tenant)
        with self._store.reading() as connection:
            return dict(connection.execute(question.order_by(tally.c.kind)).all())

    def feedback_by_source(self, tenant: TenantId, since: datetime) -> dict[str, int]:
        """How much feedback of each source was given since then."""
        feedback = TABLES[Feedback]
        question = select(feedback.c.source, func.count()).where(
            feedback.c.tenant == tenant, feedback.c.at >= micros(since)
        )
        with self._store.reading() as connection:
            return dict(connection.execute(question.group_by(feedback.c.source)).all())

    def feedback_pulse(self, tenant: TenantId, limit: int = 1000) -> list[datetime]:
        """When the newest pieces of feedback were given, in the order they came."""
        feedback = TABLES[Feedback]
        question = select(feedback.c.at).where(feedback.c.tenant == tenant)
        with self._store.reading() as connection:
            found = connection.execute(question.order_by(feedback.c.seq.desc()).limit(limit)).scalars().all()
        return [moment(at) for at in reversed(found)]

    def feedback_tenants(self) -> list[TenantId]:
        """Those that have any feedback."""
        with self._store.reading() as connection:
            return waiting.tenants(connection, Feedback)

    def spent(self, tenant: TenantId, key: KeyId, since: datetime) -> float:
        """What a key's turns have cost since then."""
        turn = TABLES[Turn]
        question = select(func.coalesce(func.sum(turn.c.spend), 0.0)).where(
            turn.c.tenant == tenant, turn.c.key == key, turn.c.at >= micros(since)
        )
        with self._store.reading() as connection:
            return float(connection.execute(question).scalar_one())

    def audit_size(self) -> int:
        """Entries in the audit log, of all tenants."""
        with self._store.reading() as connection:
            last = connection.execute(select(func.max(audit_entry.c.index))).scalar_one()
        return 0 if last is None else last + 1

    # --- what happened -------------------------------------------------------------------------------

    def episode(self, tenant: TenantId, id: EpisodeId) -> EpisodeView | None:
        episode = self._store.get(Episode, tenant, id)
        if episode is None:
            return None
        turn, feedback = TABLES[Turn], TABLES[Feedback]
        turns = self._read(
            Turn,
            select(turn.c.seq, turn.c.body)
            .where(turn.c.tenant == tenant, turn.c.episode == id)
            .order_by(turn.c.seq),
        )
        on_episode = self._read(
            Feedback,
            select(feedback.c.seq, feedback.c.body).where(
                feedback.c.tenant == tenant, feedback.c.episode == id
            ),
        )
        said = dict(on_episode) | dict(self._on(tenant, [one.id for _, one in turns]))
        return EpisodeView(
            episode=episode,
            turns=_together([one for _, one in turns]),
            feedback=tuple(said[seq] for seq in sorted(said)),
        )

    def turns(
        self,
        tenant: TenantId,
        *,
        agent: AgentId | None = None,
        policy: PolicyId | None = None,
        episode: EpisodeId | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[tuple[int, Turn]]:
        """Turns with their sequence numbers, the newest first; `before` the last number of the page above."""
        turn = TABLES[Turn]
        given = {"episode": episode, "policy": policy, "agent": agent}
        where = {name: value for name, value in given.items() if value is not None}
        question = select(turn.c.seq, turn.c.body).where(turn.c.tenant == tenant)
        question = narrowed(question, Turn, where, self._store.dialect)
        if before is not None:
            question = question.where(turn.c.seq < before)
        return self._read(Turn, question.order_by(turn.c.seq.desc()).limit(limit))

    def feedback_on(self, tenant: TenantId, turns: Sequence[TurnId]) -> dict[TurnId, tuple[Feedback, ...]]:
        """What was said about each of these turns, alone or beside others, in the order it came."""
        found: dict[TurnId, list[Feedback]] = {turn: [] for turn in turns}
        for _, one in self._on(tenant, turns):
            for turn in dict.fromkeys((*one.turns, one.turn)):
                if turn in found:
                    found[turn].append(one)
        return {turn: tuple(said) for turn, said in found.items()}

    def feedback_recent(
        self, tenant: TenantId, *, before: int | None = None, limit: int = 50
    ) -> list[tuple[int, Feedback]]:
        """Feedback with its sequence numbers, the newest first."""
        feedback = TABLES[Feedback]
        question = select(feedback.c.seq, feedback.c.body).where(feedback.c.tenant == tenant)
        if before is not None:
            question = question.where(feedback.c.seq < before)
        return self._read(Feedback, question.order_by(feedback.c.seq.desc()).limit(limit))

    def history(self, tenant: TenantId, id: FeedbackId) -> list[Feedback]:
        """Everything that its speaker said about its target under its name, in the order it came.

        Feedback without a name or a speaker has no history but itself; what is not here has none at all.
        """
        feedback = TABLES[Feedback]
        with self._store.reading() as connection:
            found = connection.execute(
                select(feedback.c.slot, feedback.c.seq, feedback.c.body).where(
                    feedback.c.tenant == tenant, feedback.c.id == id
                )
            ).one_or_none()
        if found is None or found.slot is None:
            return [] if found is None else [codec.decode(Feedback, found.body)]
        same = (feedback.c.tenant == tenant, feedback.c.slot == found.slot)
        question = select(feedback.c.seq, feedback.c.body).where(*same).order_by(feedback.c.seq)
        return [one for _, one in self._read(Feedback, question)]

    def older(
        self, kind: type[R], tenant: TenantId, before: datetime, *, after: Place = (0, 0), limit: int = 1000
    ) -> list[tuple[Place, R]]:
        """Turns, episodes or feedback from before that time with their places, the oldest first; `after` the last
        place of the page above."""
        table = TABLES[kind]
        when, seq = table.c[WHEN[kind]], table.c.seq
        question = select(when, seq, table.c.body).where(table.c.tenant == tenant, when < micros(before))
        if after != (0, 0):
            question = question.where(when >= after[0], tuple_(when, seq) > after)
        with self._store.reading() as connection:
            rows = connection.execute(question.order_by(when, seq).limit(limit)).all()
        return [((at, number), codec.decode(kind, body)) for at, number, body in rows]

    # --- feedback on its way -------------------------------------------------------------------------

    def targets(
        self, tenant: TenantId, turns: Sequence[TurnId], episodes: Sequence[EpisodeId] = ()
    ) -> Targets:
        """Of these, what is here, and what feedback must know of it."""
        with self._store.reading() as connection:
            return targets.read(connection, tenant, turns, episodes)

    def newest(self) -> Marks:
        """How far turns and episodes go, of all tenants."""
        with self._store.reading() as connection:
            return waiting.newest(connection)

    def arrived(
        self, after: Marks, upto: Marks, limit: int = 2000
    ) -> tuple[Marks, list[tuple[TenantId, str]]]:
        """Turns and episodes of all tenants between two marks, a page of them, and where the page ends."""
        with self._store.reading() as connection:
            return waiting.arrived(connection, after, upto, limit)

    def parked_on(self, tenant: TenantId, ids: Sequence[str]) -> list[Parked]:
        """Feedback that waits for one of these."""
        with self._store.reading() as connection:
            bodies = waiting.on(connection, tenant, ids)
        return [codec.decode(Parked, body) for body in bodies]

    def parked_tenants(self) -> list[TenantId]:
        """Those for whom something is parked."""
        with self._store.reading() as connection:
            return waiting.tenants(connection, Parked)

    # --- releases and policies -----------------------------------------------------------------------

    def exposures(self, tenant: TenantId, release: ReleaseId) -> list[Exposure]:
        """Every episode that ran under the release, in the order of time."""
        with self._store.reading() as connection:
            return exposures.read(connection, tenant, release)

    def releases_running(self, tenant: TenantId) -> list[Release]:
        """Those that have begun and not ended: shadow, canary, paused, inconclusive."""
        return self._store.find(Release, tenant, where={"stage": RUNNING}, limit=None)

    def policy_versions(self, tenant: TenantId, agent: AgentId) -> list[Policy]:
        """The newest version first."""
        policy = TABLES[Policy]
        question = select(policy.c.seq, policy.c.body).where(
            policy.c.tenant == tenant, policy.c.agent == agent
        )
        return [one for _, one in self._read(Policy, question.order_by(policy.c.version.desc()))]

    # --- queues --------------------------------------------------------------------------------------

    def queue_state(self, tenant: TenantId, queue: QueueId, *, now: datetime | None = None) -> QueueState:
        """With `now`, leases that have run out are not counted as leased."""
        with self._store.reading() as connection:
            return asking.queue_state(connection, tenant, queue, now)

    def open_items(
        self,
        tenant: TenantId,
        queue: QueueId,
        rater: PersonId,
        now: datetime,
        limit: int = 10,
        *,
        gold: bool | None = None,
    ) -> list[OpenItem]:
        """What this rater can be asked, the oldest first.

        An item has as many slots as the queue's overlap; a gold item has always one more, because it tests
        the rater and not the answers. `gold` asks for gold items only, or for none.
        """
        found = self._store.get(Queue, tenant, queue)
        if found is None:
            raise NotFound(f"there is no queue {queue!r}")
        with self._store.reading() as connection:
            return asking.open_items(connection, found, rater, now, gold=gold, limit=limit)

    def raters(self, tenant: TenantId, queue: QueueId) -> list[RaterLine]:
        """How much each rater judged in this queue, and how often rightly where the answer is known."""
        with self._store.reading() as connection:
            return asking.raters(connection, tenant, queue)

    # --- lineage -------------------------------------------------------------------------------------

    def why(self, tenant: TenantId, ref: Ref) -> Why:
        """What a record was made from, back to people, and what was made from it, forward to weights."""
        return why(self._store, tenant, ref)

    # --- before the tenant is known ------------------------------------------------------------------

    def key(self, id: str) -> Key | None:
        """The key with this public prefix: the one question that cannot name its tenant."""
        key = TABLES[Key]
        found = self._read(
            Key, select(key.c.seq, key.c.body).where(key.c.id == id).order_by(key.c.seq).limit(1)
        )
        return found[0][1] if found else None

    def tenants(self) -> list[Tenant]:
        tenant = TABLES[Tenant]
        return [
            one for _, one in self._read(Tenant, select(tenant.c.seq, tenant.c.body).order_by(tenant.c.seq))
        ]

    # --- how -----------------------------------------------------------------------------------------

    def _read(self, kind: type[Any], question: Any) -> list[tuple[int, Any]]:
        with self._store.reading() as connection:
            rows = connection.execute(question).all()
        return [(seq, codec.decode(kind, body)) for seq, body in rows]

    def _on(self, tenant: TenantId, turns: Sequence[str]) -> list[tuple[int, Feedback]]:
        """Feedback on these turns: by its column where it is the first or only one, by a link elsewhere."""
        feedback = TABLES[Feedback]
        with self._store.reading() as connection:
            first = select(feedback.c.id).where(
                feedback.c.tenant == tenant, among(connection, feedback.c.turn, turns)
            )
            beside = select(link.c.made_id).where(
                link.c.tenant == tenant,
                link.c.source_kind == "turn",
                among(connection, link.c.source_id, turns),
                link.c.made_kind == "feedback",
            )
            ids = [id for question in (first, beside) for id in connection.execute(question).scalars()]
            rows = connection.execute(
                select(feedback.c.seq, feedback.c.body).where(
                    feedback.c.tenant == tenant, among(connection, feedback.c.id, ids)
                )
            ).all()
        return [(seq, codec.decode(Feedback, body)) for seq, body in sorted(rows)]


def _together(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    in_time = sorted(turns, key=lambda turn: turn.at)
    place = {turn.id: number for number, turn in enumerate(in_time)}
    return tuple(
        sorted(in_time, key=lambda turn: (place.get(turn.sibling_of or turn.id, len(place)), turn.index))
    )
