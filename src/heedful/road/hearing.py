"""Stop 1: somebody says something about a turn or an episode, and it is kept.

Whoever can wait says `hear`. Whoever must not, because others wait behind it, hands everything over with
`begin_to_hear` and learns later, from `heard`, what became of it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from heedful.domain.feedback import Feedback, Parked
from heedful.domain.ids import EpisodeId, FeedbackId, TenantId, TurnId
from heedful.domain.labeling import Assignment
from heedful.errors import Conflict, HeedfulError
from heedful.feedback import intake
from heedful.labeling import desk
from heedful.road.answering import captured
from heedful.road.parts import Parts
from heedful.road.records import act
from heedful.store.protocol import Batch, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What became of one piece of feedback."""

    id: FeedbackId
    kept: bool  # False: it was there already, or it was refused
    parked: bool = False  # what it is about is not here yet
    error: HeedfulError | None = None

    @property
    def standing(self) -> Literal["kept", "duplicate", "parked"]:
        """Of what was not refused."""
        if not self.kept:
            return "duplicate"
        return "parked" if self.parked else "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """Feedback that was handed to the store: when its `futures` are done, `heard` says what became of it."""

    tenant: TenantId
    said: Sequence[Feedback]
    refused: Mapping[int, HeedfulError]  # by place: what never got to the store
    parked: frozenset[int]
    plain: tuple[int, ...]  # places of what went in one batch, each on its own
    kept: Future[Outcome] | None
    judged: Mapping[int, Future[Outcome]]  # judgements: each with the end of its assignment

    @property
    def futures(self) -> list[Future[Outcome]]:
        return [*([self.kept] if self.kept else ()), *self.judged.values()]


def hear(
    parts: Parts,
    tenant: TenantId,
    said: Sequence[Feedback],
    *,
    actor: str,
    fresh: Mapping[TurnId, intake.Answered] | None = None,
) -> list[Heard]:
    """Each piece is checked, completed and kept on its own: a bad one never rejects its neighbours.

    What is about a turn or an episode that is not here yet is parked, and becomes feedback when that comes.
    `fresh` has turns that were answered and are still on their way to the disk.
    """
    turns, episodes = asked_for(said)
    known = parts.views.targets(tenant, turns, episodes)
    answered = {**known.turns, **(fresh or {})}
    return heard(parts, begin_to_hear(parts, tenant, said, answered, known.episodes, actor=actor))


def asked_for(said: Sequence[Feedback]) -> tuple[list[TurnId], list[EpisodeId]]:
    """What the feedback is about, each once."""
    turns = dict.fromkeys(id for one in said for id in one.turns)
    episodes = dict.fromkeys(one.episode for one in said if one.episode is not None)
    return list(turns), list(episodes)


def begin_to_hear(
    parts: Parts,
    tenant: TenantId,
    said: Sequence[Feedback],
    turns: Mapping[TurnId, intake.Answered],
    episodes: Container[EpisodeId],
    *,
    actor: str,
) -> Hearing:
    """As `hear`, for whoever knows the targets and must not wait: nothing here asks the database, unless a
    piece is a judgement."""
    said = [
        captured(parts, one) for one in said
    ]  # first of all: no more of it is kept, whatever becomes of it
    now = parts.clock.now()
    refused: dict[int, HeedfulError] = {}
    judged: dict[int, Future[Outcome]] = {}
    records: list[Feedback | Parked] = []
    sent: list[str] = []
    places: list[int] = []
    parked: set[int] = set()
    for place, one in enumerate(said):
        try:
            intake.check(one, taxonomy=parts.taxonomy, metrics=parts.metrics, now=now)
            waits_for = () if one.judgement else intake.missing(one, turns=turns, episodes=episodes)
            record: Feedback | Parked
            if waits_for:
                record = Parked(id=one.id, tenant=tenant, feedback=one, waits_for=waits_for, since=now)
                parked.add(place)
            else:
                record = intake.complete(
                    one, turns=turns, episodes=episodes, taxonomy=parts.taxonomy, now=now
                )
            digest = intake.sent(one)
            if isinstance(record, Feedback) and record.judgement is not None:
                judged[place] = _judge(parts, record, digest, actor=actor, now=now)
                continue
        except HeedfulError as error:
            refused[place] = error
            continue
        records.append(record)
        sent.append(digest)
        places.append(place)
    kept: Future[Outcome] | None = None
    if records:
        try:
            kept = parts.store.submit(Batch(add=tuple(records), sent=tuple(sent), each=True))
        except HeedfulError as error:
            refused |= dict.fromkeys(places, error)
            places = []
    return Hearing(
        tenant=tenant,
        said=said,
        refused=refused,
        parked=frozenset(parked),
        plain=tuple(places),
        kept=kept,
        judged=judged,
    )


def _judge(parts: Parts, whole: Feedback, sent: str, *, actor: str, now: datetime) -> Future[Outcome]:
    """A judgement ends its assignment in the same commit, and is an act."""
    closed = desk.close(parts.store, whole, now=now)
    acts = (act(parts, whole.tenant, actor, "feedback.judged", whole),)
    return parts.store.submit(Batch(add=(whole,), sent=(sent,), swap=(closed,) if closed else (), acts=acts))


def heard(parts: Parts, hearing: Hearing) -> list[Heard]:
    """What became of each piece; waits for the commits that are not done."""
    found = {
        place: Heard(id=hearing.said[place].id, kept=False, error=error)
        for place, error in hearing.refused.items()
    }
    if hearing.kept is not None:
        found |= _of_batch(hearing, hearing.kept)
    for place, future in hearing.judged.items():
        found[place] = _of_judgement(parts, hearing.said[place], future)
    return [found[place] for place in range(len(hearing.said))]


def _of_batch(hearing: Hearing, future: Future[Outcome]) -> dict[int, Heard]:
    said, parked = hearing.said, hearing.parked
    try:
        outcome = future.result()
    except HeedfulError as error:
        return {place: Heard(id=said[place].id, kept=False, error=error) for place in hearing.plain}
    if not outcome.refused:
        return {
            place: Heard(id=said[place].id, kept=kept, parked=place in parked)
            for place, kept in zip(hearing.plain, outcome.added, strict=True)
        }
    return {
        place: Heard(id=said[place].id, kept=kept, parked=place in parked, error=outcome.refused.get(number))
        for number, (place, kept) in enumerate(zip(hearing.plain, outcome.added, strict=True))
    }


def _of_judgement(parts: Parts, said: Feedback, future: Future[Outcome]) -> Heard:
    try:
        return Heard(id=said.id, kept=future.result().added[0])
    except Conflict as error:
        # The same judgement may have been on its way twice: its assignment was closed by the other one.
        if said.judgement is not None and said.judgement.assignment is not None:
            held = parts.store.get(Assignment, said.tenant, said.judgement.assignment)
            if held is not None and held.feedback == said.id:
                return Heard(id=said.id, kept=False)
        return Heard(id=said.id, kept=False, error=error)
    except HeedfulError as error:
        return Heard(id=said.id, kept=False, error=error)
