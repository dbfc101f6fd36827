"""The road: one short function per stop, in the order in which feedback travels.

A person says something about an agent's answer (`hear`), and some stops later the fleet runs other weights
(`release`, `decide`). Each function reads from the parts, calls the pure thinking of its room, and writes
once. What has a `once` may be repeated after a crash: the second time it finds what the first time left.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Literal, TypeVar

from heedful.blobs.protocol import Blobs
from heedful.domain.access import OPERATOR
from heedful.domain.capture import Capture
from heedful.domain.clock import Clock
from heedful.domain.content import Message, Sampling
from heedful.domain.episode import Episode, EpisodeState, Purpose, Turn
from heedful.domain.feedback import Choice, DeadLetter, Feedback, Parked, current
from heedful.domain.ids import (
    AgentId,
    AlertId,
    DatasetId,
    DeadLetterId,
    Digest,
    EpisodeId,
    FeedbackId,
    ItemId,
    PersonId,
    PolicyId,
    QueueId,
    ReleaseId,
    RewardModelId,
    RunId,
    TenantId,
    TurnId,
    VerdictId,
    mint,
)
from heedful.domain.labeling import Assignment, Gold, Item, ItemState, Queue, Verdict
from heedful.domain.models import Adapter, External, Policy, RewardModel, Run, Standing, Weights
from heedful.domain.preference import Dataset, Preference, Row
from heedful.domain.release import Release, Stage, Step, Target, Unit, moved
from heedful.domain.taxonomy import Taxonomy
from heedful.domain.watch import Alert, Signal
from heedful.engine.protocol import Engine, Progress
from heedful.errors import Busy, Conflict, HeedfulError, InvalidInput, NotFound, Unavailable
from heedful.evaluation import gates
from heedful.feedback import capture, intake, retention
from heedful.feedback import purge as purging
from heedful.feedback.formats import found as elsewhere
from heedful.feedback.formats.found import Found, Problem
from heedful.feedback.metrics import Metrics
from heedful.feedback.retention import Purged
from heedful.feedback.settings import CaptureSettings
from heedful.guards.protocol import Guard
from heedful.inference.protocol import Inference, complete
from heedful.labeling import consensus, desk, pairs, raters
from heedful.labeling.settings import LabelingSettings
from heedful.monitoring import signals
from heedful.preferences import build
from heedful.preferences import freeze as freezing
from heedful.registry import runs, versions
from heedful.release import duty, gate
from heedful.release.duty import Duty
from heedful.release.settings import ReleaseSettings
from heedful.store.codec import encode, kind_of
from heedful.store.journal import Journal
from heedful.store.protocol import Act, Batch, Link, Outcome, Ref, Store
from heedful.store.targets import Targets
from heedful.store.views import Views
from heedful.tracking.protocol import Tracking
from heedful.training.settings import LearnSettings

T = TypeVar("T")
Said = TypeVar("Said", Turn, Episode, Feedback)
FIT_FROM = {  # files of a dataset -> what the fitting task calls them
    "preferences.train": "preferences",
    "preferences.holdout": "preferences_holdout",
    "labels.train": "safety",
    "labels.holdout": "safety_holdout",
}
CHUNK = 200  # records per commit where there are many
JUDGING = ("choice", "correction", "violation")  # forms of feedback that a reward model learns from
TRIES = 5  # to bring what others bring too
AT_ONCE = 64  # questions that wait for inference together


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that the road needs from outside: the seams, the settings of each stop, time and chance."""

    store: Store
    views: Views
    journal: Journal
    blobs: Blobs
    engine: Engine
    tracking: Tracking
    inference: Inference
    taxonomy: Taxonomy
    clock: Clock
    random: Random
    config: str  # digest of the settings in force, stamped on every turn
    labeling: LabelingSettings
    datasets: freezing.DatasetSettings
    learn: LearnSettings
    gates: gates.GateSettings
    releases: ReleaseSettings
    watch: signals.WatchSettings
    capture: CaptureSettings
    guards: tuple[Guard, ...] = ()  # asked before a policy is, and before its answer leaves
    metrics: Metrics = field(default_factory=dict)  # what may be said under a name
    parked_days: float = 30.0  # how long feedback waits for what it is about

    def mint(self, kind: str) -> str:
        return mint(kind, self.clock.now(), self.random)


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
class Taken:
    """What became of what was found elsewhere, counted by kind of record."""

    kept: Mapping[str, int]
    duplicates: Mapping[str, int]
    problems: tuple[Problem, ...] = ()


# -- 0: an agent asks, a policy answers ----------------------------------------------------------------------


def on_duty(parts: Parts, tenant: TenantId) -> Mapping[AgentId, Duty]:
    """Which policy is live for each agent, and which release is under way."""
    return duty.on_duty(parts.store.find(Release, tenant, limit=None))


def captured(parts: Parts, record: Said) -> Said:
    """What of a turn, an episode or a feedback its tenant lets us keep: asked before anything is written down."""
    return capture.captured(record, parts.capture.of(record.tenant))


def keeps_bytes(parts: Parts, tenant: TenantId) -> bool:
    """Whether pictures and recordings of this tenant may be kept."""
    return capture.keeps_bytes(parts.capture.of(tenant))


def keep(parts: Parts, turns: Sequence[Turn], *, episodes: Sequence[Episode] = ()) -> Future[Any]:
    """Turns go on record, and with the first of each episode the episode; done when it is on disk."""
    begun = [captured(parts, episode) for episode in episodes]
    return parts.store.submit(Batch(add=(*begun, *(captured(parts, turn) for turn in turns))))


def end_episode(
    parts: Parts, tenant: TenantId, id: EpisodeId, *, state: EpisodeState, outcome: float | None
) -> Episode:
    """The task is over; its outcome is shared by every agent that worked on it."""
    episode = _get(parts, Episode, tenant, id)
    if episode.state is state and episode.outcome == outcome:
        return episode
    if episode.state is not EpisodeState.OPEN:
        raise Conflict(f"episode {id!r} is {episode.state} already")
    ended = replace(episode, state=state, outcome=outcome, ended_at=parts.clock.now())
    parts.store.commit(Batch(swap=((episode, ended),)))
    return ended


# -- 1: somebody says something about it ---------------------------------------------------------------------


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


def join(parts: Parts, tenant: TenantId, waiting: Sequence[Parked]) -> list[FeedbackId]:
    """Parked feedback is looked at again: what it waited for may be here.

    It becomes feedback in the commit that takes it out of the waiting; what never can, or has waited too
    long, becomes a dead letter. Returns those that now wait for something else: look at them once more.
    """
    now = parts.clock.now()
    turns, episodes = asked_for([one.feedback for one in waiting])
    known = parts.views.targets(tenant, turns, episodes)
    pending: list[tuple[Parked, Future[Outcome]]] = []
    again: list[FeedbackId] = []
    for one in waiting:
        absent = intake.missing(one.feedback, turns=known.turns, episodes=known.episodes)
        try:
            if not absent:
                pending.append((one, parts.store.submit(_joined(parts, one, known))))
            elif now - one.since > timedelta(days=parts.parked_days):
                raise InvalidInput(f"{absent[0]!r} did not come within {parts.parked_days:g} days")
            elif absent[0] != one.waits_for[0]:
                pending.append(
                    (one, parts.store.submit(Batch(swap=((one, replace(one, waits_for=absent)),))))
                )
                again.append(one.id)
        except InvalidInput as error:
            pending.append((one, parts.store.submit(_buried(parts, one, error))))
    for one, future in pending:
        try:
            future.result()
        except (Conflict, InvalidInput) as error:
            # Somebody else may have joined it, and then it is not here any more.
            if parts.store.get(Parked, tenant, one.id) == one:
                parts.store.commit(_buried(parts, one, error))
    return again


def _joined(parts: Parts, one: Parked, known: Targets) -> Batch:
    said = one.feedback
    whole = intake.complete(
        said, turns=known.turns, episodes=known.episodes, taxonomy=parts.taxonomy, now=one.since
    )
    return Batch(add=(whole,), sent=(intake.sent(said),), drop=(one,))


def _buried(parts: Parts, one: Parked, error: HeedfulError) -> Batch:
    payload = encode(one.feedback).decode()
    letter = _letter(parts, one.tenant, payload, str(error), origin="parked")
    return Batch(add=(letter,), drop=(one,))


def bury(parts: Parts, tenant: TenantId, payload: str, reason: str, *, origin: str) -> DeadLetter:
    """What came in and cannot become what it should is kept for a person to look at, once however often it comes."""
    letter = _letter(
        parts, tenant, payload, reason, origin=origin
    )  # named by all that came, whatever is kept
    new = capture.of_letter(letter, parts.capture.of(tenant))
    known = parts.store.get(DeadLetter, tenant, new.id)
    if known is None and parts.store.commit(Batch(add=(new,), each=True)).added[0]:
        return new
    return _again(parts, _get(parts, DeadLetter, tenant, new.id), new.reason)


def _letter(parts: Parts, tenant: TenantId, payload: str, reason: str, *, origin: str) -> DeadLetter:
    now, name = parts.clock.now(), hashlib.sha256(payload.encode()).hexdigest()[:32]
    return DeadLetter(
        id=DeadLetterId(f"{origin}:{name}"),
        tenant=tenant,
        payload=payload,
        reason=reason,
        origin=origin,
        first_seen=now,
        last_seen=now,
    )


def _again(parts: Parts, letter: DeadLetter, reason: str) -> DeadLetter:
    more = replace(letter, last_seen=parts.clock.now(), attempts=letter.attempts + 1, reason=reason)
    with suppress(Conflict):  # somebody counted at the same moment
        parts.store.commit(Batch(swap=((letter, more),)))
    return more


def replay(
    parts: Parts, tenant: TenantId, id: DeadLetterId, said: Sequence[Feedback], *, actor: str
) -> list[Heard]:
    """What a dead letter says, as its reader understood it, is heard once more; when all of it was taken the
    letter is gone."""
    letter = _get(parts, DeadLetter, tenant, id)
    results = hear(parts, tenant, said, actor=actor)
    wrong = next((one.error for one in results if one.error is not None), None)
    if wrong is not None or not results:
        _again(parts, letter, str(wrong or "it says nothing"))
        return results
    _purge(parts, letter, actor=actor, verb="dead_letter.replayed")
    return results


def replay_turns(
    parts: Parts,
    tenant: TenantId,
    id: DeadLetterId,
    turns: Sequence[Turn],
    episodes: Sequence[Episode],
    *,
    actor: str,
) -> None:
    """Answers that the store did not take are offered to it once more; when it takes them the letter is gone."""
    letter = _get(parts, DeadLetter, tenant, id)
    begun = parts.store.get_many(Episode, tenant, [one.id for one in episodes])
    try:
        keep(parts, turns, episodes=[one for one in episodes if one.id not in begun]).result()
    except HeedfulError as error:
        _again(parts, letter, str(error))
        raise
    _purge(parts, letter, actor=actor, verb="dead_letter.replayed")


def purge(parts: Parts, tenant: TenantId, id: DeadLetterId, *, actor: str) -> DeadLetter:
    """A dead letter is thrown away, and the audit log says by whom."""
    letter = _get(parts, DeadLetter, tenant, id)
    _purge(parts, letter, actor=actor, verb="dead_letter.purged")
    return letter


def _purge(parts: Parts, letter: DeadLetter, *, actor: str, verb: str) -> None:
    parts.store.commit(Batch(drop=(letter,), acts=(act(parts, letter.tenant, actor, verb, letter),)))


def take_in(parts: Parts, tenant: TenantId, found: Found, *, actor: str, about_ours: bool = True) -> Taken:
    """What happened elsewhere goes on record, once. What is here already is left as it is, unless the rest of its
    trace says more of it; an answer that our own gateway gave is here already, under the id that its caller got.
    `about_ours` lets feedback be about that.
    """
    ours = parts.store.get_many(Turn, tenant, sorted(elsewhere.responses(found)))
    fresh = elsewhere.without(found, ours)
    new = Counter({"episodes": 0, "turns": 0, "feedback": 0})
    for turns in _chunks(fresh.turns):
        new.update(_take_turns(parts, tenant, turns, fresh.episodes, actor))
    for clearer in _chunks(fresh.mended):
        _mend(parts, tenant, clearer, actor)
    known = parts.store.get_many(Turn, tenant, sorted({one.turn for one in fresh.feedback if one.turn}))
    episodes = sorted({one.episode for one in fresh.feedback if one.episode})
    said, problems = elsewhere.placed(
        fresh, known, parts.store.get_many(Episode, tenant, episodes), about_ours=about_ours
    )
    heard = [one for some in _chunks(said) for one in hear(parts, tenant, some, actor=actor)]
    for one in heard:
        if isinstance(one.error, Busy | Unavailable):
            raise one.error  # nothing is lost by sending all of it again
        if one.error is not None:
            problems.append(Problem(where=found.places.get(one.id, one.id), reason=str(one.error)))
        new["feedback"] += one.kept
    told = {
        "episodes": len({one.episode for one in found.turns}),
        "turns": len(found.turns),
        "feedback": sum(one.error is None for one in heard),
    }
    return Taken(
        kept=dict(new),
        duplicates={kind: max(0, count - new[kind]) for kind, count in told.items()},
        problems=(*found.problems, *problems),
    )


def _take_turns(
    parts: Parts, tenant: TenantId, turns: Sequence[Turn], episodes: Sequence[Episode], actor: str
) -> Counter[str]:
    """Those that are new, with their episodes and the policies that they name."""
    homes = {one.id: one for one in episodes}
    for _ in range(TRIES):
        new = _unknown(parts, tenant, {one.id: one for one in turns})
        if not new:
            return Counter()
        begun = _unknown(
            parts, tenant, {one.episode: homes[one.episode] for one in new if one.episode in homes}
        )
        policies = _unknown(parts, tenant, {one.policy: elsewhere.policy_of(one) for one in new})
        acts = tuple(act(parts, tenant, actor, "policy.imported", one) for one in policies)
        try:
            told: tuple[Any, ...] = (
                *(captured(parts, one) for one in begun),
                *(captured(parts, one) for one in new),
            )
            parts.store.commit(Batch(add=(*policies, *told), acts=acts))
        except Conflict:
            continue  # somebody brings the same at this moment
        return Counter({"episodes": len(begun), "turns": len(new)})
    raise Busy("others bring the same episodes at this moment: send them again")


def _mend(parts: Parts, tenant: TenantId, clearer: Sequence[tuple[Turn, Turn]], actor: str) -> None:
    """Of turns that came before their agent did it is now known whose they are."""
    policies = _unknown(parts, tenant, {new.policy: elsewhere.policy_of(new) for _, new in clearer})
    acts = tuple(act(parts, tenant, actor, "policy.imported", one) for one in policies)
    with suppress(Conflict):  # whoever was faster knew as much, or the rest of the trace says it again
        parts.store.commit(Batch(add=tuple(policies), swap=tuple(clearer), acts=acts))


def _unknown(parts: Parts, tenant: TenantId, records: Mapping[Any, T]) -> list[T]:
    if not records:
        return []
    there = parts.store.get_many(type(next(iter(records.values()))), tenant, sorted(records))
    return [one for id, one in records.items() if id not in there]


# -- 2: people are asked, and their answers are added up -----------------------------------------------------


async def candidates(
    parts: Parts, tenant: TenantId, policy: PolicyId, prompts: Sequence[Sequence[Message]], *, once: str
) -> list[list[Turn]]:
    """Several answers to each prompt, made on purpose to be judged. Nobody waited for them."""
    known = _get(parts, Policy, tenant, policy)
    asking = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, prompt: Sequence[Message]) -> list[Turn]:
        sampling = replace(known.sampling, seed=zlib.crc32(f"{once}/{number}".encode()))
        async with asking:
            answers = await complete(
                parts.inference, known, prompt, sampling=sampling, n=parts.labeling.candidates
            )
        episode = EpisodeId(f"{once}/{number}")
        return [
            Turn(
                id=TurnId(f"{episode}/{index}"),
                tenant=tenant,
                episode=episode,
                agent=known.agent,
                at=parts.clock.now(),
                request=tuple(prompt),
                answer=answer.text,
                policy=policy,
                index=index,
                sibling_of=TurnId(f"{episode}/0") if index else None,
                finish=answer.finish,
                tokens=answer.tokens,
                sampling=sampling,
                config=parts.config,
                purpose=Purpose.CANDIDATE,
            )
            for index, answer in enumerate(answers)
        ]

    return list(await asyncio.gather(*(one(number, prompt) for number, prompt in enumerate(prompts))))


def ask(parts: Parts, queue: Queue, answers: Sequence[Sequence[Turn]], *, once: str) -> int:
    """Put pairs of candidate answers before people. Returns how many items there are to judge."""
    now, asked = parts.clock.now(), 0
    if parts.store.get(Queue, queue.tenant, queue.id) is None:
        parts.store.commit(Batch(add=(queue,), once=f"{once}/queue"))
    for start in range(0, len(answers), CHUNK):
        records: list[Any] = []
        for given in answers[start : start + CHUNK]:
            turns = [captured(parts, turn) for turn in given]
            two = pairs.pair(turns, text=lambda turn: turn.answer, random=parts.random)
            if two is None:
                continue
            asked += 1
            first = turns[0]
            records += [
                Episode(id=first.episode, tenant=first.tenant, started_at=now, purpose=Purpose.CANDIDATE),
                *turns,
                Item(
                    id=ItemId(f"{first.episode}/item"),
                    tenant=queue.tenant,
                    queue=queue.id,
                    turns=(two[0].id, two[1].id),
                    prompt=first.request,
                    answers=(two[0].answer, two[1].answer),
                    created_at=now,
                    chosen_because="different opening",
                ),
            ]
        parts.store.commit(Batch(add=tuple(records), once=f"{once}/items/{start}"))
    return asked


def lease(
    parts: Parts, tenant: TenantId, queue: QueueId, rater: PersonId, *, limit: int
) -> list[tuple[Assignment, Item]]:
    """Work for one rater, for a while."""
    known = _get(parts, Queue, tenant, queue)
    return desk.lease(
        parts.store, parts.views, known, rater, now=parts.clock.now(), limit=limit, random=parts.random
    )


def set_gold(parts: Parts, tenant: TenantId, id: ItemId, gold: Gold, *, actor: str) -> Item:
    """From now on this item tests raters instead of asking them."""
    item = _get(parts, Item, tenant, id)
    if gold.chosen is not None and gold.chosen not in item.turns:
        raise InvalidInput(f"chosen {gold.chosen!r} is not one of {list(item.turns)!r}", field="chosen")
    known = replace(item, gold=gold)
    parts.store.commit(Batch(swap=((item, known),), acts=(act(parts, tenant, actor, "item.gold", known),)))
    return known


def agree(parts: Parts, tenant: TenantId, queue: QueueId) -> int:
    """Every open item with enough answers gets its verdict. Returns how many are new."""
    known = _get(parts, Queue, tenant, queue)
    trust = raters.reliabilities(
        (
            raters.Tested(rater=one.rater, right=one.gold_right, asked=one.gold_judged)
            for one in parts.views.raters(tenant, queue)
        ),
        prior=parts.labeling.prior,
        weight=parts.labeling.prior_weight,
    )
    said: dict[ItemId, list[Feedback]] = {}
    for one in current(parts.store.find(Feedback, tenant, where={"queue": queue}, limit=None)):
        if one.judgement is not None and one.judgement.item is not None:
            said.setdefault(one.judgement.item, []).append(one)
    count = consensus.of_choices if known.asks == "choice" else consensus.of_checks
    new = 0
    for items in _chunks(
        parts.store.find(Item, tenant, where={"queue": queue, "state": ItemState.OPEN}, limit=None)
    ):
        verdicts, closed = [], []
        for item in items:
            answers = said.get(item.id, [])
            total = None
            if item.gold is None:
                total = count(answers, reliability=trust, prior=parts.labeling.prior, quorum=known.quorum)
            if total is None:
                continue
            closed.append((item, replace(item, state=ItemState.DONE)))
            verdicts.append(
                Verdict(
                    id=VerdictId(f"{item.id}/verdict"),
                    tenant=tenant,
                    item=item.id,
                    queue=queue,
                    objective=known.objective,
                    at=parts.clock.now(),
                    feedback=tuple(one.id for one in answers),
                    confidence=total.confidence,
                    method=consensus.METHOD,
                    chosen=total.chosen,
                    category=total.category,
                )
            )
        parts.store.commit(Batch(add=tuple(verdicts), swap=tuple(closed)))
        new += len(verdicts)
    return new


# -- 3: verdicts become a dataset ----------------------------------------------------------------------------


def freeze_judged(parts: Parts, tenant: TenantId, agent: AgentId) -> Dataset:
    """What people think of one agent's answers, so far: verdicts, corrections and checks."""
    feedback = current(parts.store.find(Feedback, tenant, where={"form": JUDGING}, limit=None))
    verdicts = parts.store.find(Verdict, tenant, limit=None)
    wanted = {id for one in feedback for id in one.turns} | {one.chosen for one in verdicts if one.chosen}
    found = parts.store.get_many(Turn, tenant, sorted(wanted))
    turns = {TurnId(id): turn for id, turn in found.items() if turn.agent == agent and _has_text(turn)}
    theirs = [one for one in verdicts if one.chosen in turns]
    lost = {id: turn for id, turn in _not_chosen(feedback, theirs).items() if turn in turns}
    rows: list[Row] = [
        *build.from_choice_verdicts(theirs, turns, lost),
        *build.from_corrections(filter(_has_text, feedback), turns),
        *build.from_checks(feedback, turns),
    ]
    return _freeze(parts, tenant, f"{agent}-judged", rows)


def freeze_shown(
    parts: Parts, tenant: TenantId, name: str, *, only: Mapping[str, Any] | None = None
) -> Dataset:
    """What people showed, so far: demonstrations. `only` narrows them by indexed fields, such as who they are by."""
    where = {**(only or {}), "form": "demonstration"}
    shown = filter(_has_text, current(parts.store.find(Feedback, tenant, where=where, limit=None)))
    return _freeze(parts, tenant, name, build.from_demonstrations(shown))


def _has_text(said: Turn | Feedback) -> bool:
    """Nothing is learned from what was kept without its words, or has lost them since."""
    return said.capture is not Capture.METADATA


def _freeze(parts: Parts, tenant: TenantId, name: str, rows: Sequence[Row]) -> Dataset:
    """Rows that never change again. The same evidence gives the same dataset."""
    frozen = freezing.frozen(rows, holdout=parts.datasets.holdout)
    id = DatasetId(f"{name}@{frozen.digest.split(':')[1][:12]}")
    known = parts.store.get(Dataset, tenant, id)
    if known is not None:
        return known
    sources = sorted({source for row in rows for source in row.feedback})
    dataset = Dataset(
        id=id,
        tenant=tenant,
        name=name,
        digest=frozen.digest,
        files={name: Digest(parts.blobs.put_bytes(content)) for name, content in frozen.files.items()},
        rows=frozen.rows,
        made_from=Digest(parts.blobs.put_bytes(json.dumps(sources).encode())),
        frozen_at=parts.clock.now(),
        notes={"duplicates": str(frozen.dropped)},
    )
    made = Ref(kind="dataset", id=id)
    links = [Link(made=made, source=Ref(kind="feedback", id=source)) for source in sources]
    weighed = {row.verdict for row in rows if isinstance(row, Preference) and row.verdict is not None}
    links += [Link(made=made, source=Ref(kind="verdict", id=verdict)) for verdict in sorted(weighed)]
    parts.store.commit(
        Batch(
            add=(dataset,), links=tuple(links), acts=(act(parts, tenant, "loop", "dataset.frozen", dataset),)
        )
    )
    return dataset


def _not_chosen(feedback: Iterable[Feedback], verdicts: Iterable[Verdict]) -> dict[str, TurnId]:
    """Per verdict on a pair, the turn that lost."""
    shown = {one.id: one.said.shown for one in feedback if isinstance(one.said, Choice)}
    lost = {}
    for verdict in verdicts:
        seen = next((shown[id] for id in verdict.feedback if id in shown), ())
        rest = [turn for turn in seen if turn != verdict.chosen]
        if verdict.chosen is not None and len(rest) == 1:
            lost[str(verdict.id)] = rest[0]
    return lost


# -- 4: the dataset becomes a judge --------------------------------------------------------------------------


def fit(
    parts: Parts,
    tenant: TenantId,
    dataset: DatasetId,
    backbone: PolicyId,
    *,
    once: str,
    progress: Progress | None = None,
) -> RewardModel:
    """A reward model with its report. One below its bounds is kept, marked refused, and teaches nobody."""
    data = _get(parts, Dataset, tenant, dataset)
    base = _get(parts, Policy, tenant, backbone)
    known_pairs = sum(rows for name, rows in data.rows.items() if name.startswith("preferences."))
    if known_pairs < parts.datasets.min_preferences or "preferences.train" not in data.files:
        raise Conflict(
            f"dataset {dataset!r} has {known_pairs} preferences: nothing is learned from fewer than "
            f"{parts.datasets.min_preferences} (datasets.min_preferences); let people judge more"
        )
    run = _run(
        parts,
        "heedful.rewards.fit:run",
        lambda at: {
            **parts.learn.reward,
            **{field: at[name] for name, field in FIT_FROM.items() if name in at},
            "model": at["model"],
            "seed": parts.learn.seed,
        },
        tenant=tenant,
        once=once,
        files={name: digest for name, digest in data.files.items() if not name.startswith("demonstrations")},
        trees={"model": _weights(base)},
        progress=progress,
    )
    known = _made_by(parts, RewardModel, tenant, run.id)
    if known is not None:
        return known
    report = {name.removeprefix("report."): value for name, value in run.figures.items()}
    passed = all(finding.passed for finding in gates.of_reward(report, parts.gates))
    model = replace(
        versions.reward_model(
            run.outputs["reward"],
            tenant=tenant,
            version=versions.next_version(parts.store.find(RewardModel, tenant, limit=None)),
            at=parts.clock.now(),
            dataset=dataset,
            backbone=backbone,
            run=run.id,
            report=report,
            objectives=("quality", "safety") if "labels.train" in data.files else ("quality",),
        ),
        standing=Standing.VALIDATED if passed else Standing.REFUSED,
    )
    parts.store.commit(Batch(add=(model,), acts=(act(parts, tenant, "loop", "reward.fitted", model),)))
    return model


def why_refused(parts: Parts, judge: RewardModel) -> str:
    """Each bound that its report missed, with the value. Where the bounds have moved since, only that it was."""
    return gates.missed(gates.of_reward(judge.report, parts.gates)) or "it was refused when it was fitted"


# -- 5: the judge changes the policy -------------------------------------------------------------------------


def imitate(
    parts: Parts,
    tenant: TenantId,
    agent: AgentId,
    dataset: DatasetId,
    *,
    parent: PolicyId | None,
    once: str,
    overrides: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Policy:
    """A policy that answers as the demonstrations do, from its parent's weights or from nothing."""
    data = _get(parts, Dataset, tenant, dataset)
    if "demonstrations.train" not in data.files:
        raise InvalidInput(f"dataset {dataset!r} has no demonstrations to learn from", field="dataset")
    trees = {} if parent is None else {"model": _weights(_get(parts, Policy, tenant, parent))}
    run = _run(
        parts,
        "heedful.training.sft:run",
        lambda at: {
            **parts.learn.sft,
            **(overrides or {}),
            "demonstrations": at["demonstrations.train"],
            **({"model": at["model"]} if trees else {}),
            "seed": parts.learn.seed,
        },
        tenant=tenant,
        once=once,
        files={"demonstrations.train": data.files["demonstrations.train"]},
        trees=trees,
        progress=progress,
    )
    return register(parts, tenant, agent, run, parent=parent, reward=None, datasets=(dataset,))


def improve(
    parts: Parts,
    tenant: TenantId,
    policy: PolicyId,
    reward: RewardModelId,
    prompts: Sequence[Sequence[Message]],
    *,
    once: str,
    progress: Progress | None = None,
) -> Policy:
    """The policy practises on prompts that people sent, and the reward model says how well it did."""
    start = _get(parts, Policy, tenant, policy)
    judge = _get(parts, RewardModel, tenant, reward)
    if judge.standing is Standing.REFUSED:
        raise Conflict(f"reward model {reward!r} may not teach: {why_refused(parts, judge)}")
    train, held_out = _practice(parts, prompts)
    run = _run(
        parts,
        "heedful.training.grpo:run",
        lambda at: {
            **parts.learn.grpo,
            "model": at["model"],
            "reward": "heedful.rewards.loading:load",
            "reward_model": at["reward"],
            "prompts": at["prompts"],
            "seed": parts.learn.seed,
        },
        tenant=tenant,
        once=once,
        files={"prompts": train},
        trees={"model": _weights(start), "reward": judge.digest},
        progress=progress,
    )
    tuned = register(parts, tenant, start.agent, run, parent=policy, reward=reward, datasets=(judge.dataset,))
    return validate(parts, tenant, tuned.id, prompts=held_out, once=f"{once}/validate")


# -- 6: weights get a name, and are looked at before anybody meets them --------------------------------------


def register(
    parts: Parts,
    tenant: TenantId,
    agent: AgentId,
    run: Run,
    *,
    parent: PolicyId | None,
    reward: RewardModelId | None,
    datasets: tuple[DatasetId, ...],
) -> Policy:
    """What the run brought forth becomes the agent's next version."""
    known = _made_by(parts, Policy, tenant, run.id)
    if known is not None:
        return known
    sampling = Sampling() if parent is None else _get(parts, Policy, tenant, parent).sampling
    policy = versions.policy(
        Weights(digest=run.outputs["model"]),
        tenant=tenant,
        agent=agent,
        version=versions.next_version(parts.store.find(Policy, tenant, where={"agent": agent}, limit=None)),
        at=parts.clock.now(),
        sampling=sampling,
        parent=parent,
        run=run.id,
        reward=reward,
        datasets=datasets,
        figures=run.figures,
    )
    parts.store.commit(Batch(add=(policy,), acts=(act(parts, tenant, "loop", "policy.registered", policy),)))
    return policy


def adopt(
    parts: Parts,
    tenant: TenantId,
    agent: AgentId,
    body: Weights | Adapter | External,
    *,
    sampling: Sampling,
    actor: str,
) -> Policy:
    """A policy that was not made here: a hosted model with its prompt, or weights that somebody brings."""
    policy = versions.policy(
        body,
        tenant=tenant,
        agent=agent,
        version=versions.next_version(parts.store.find(Policy, tenant, where={"agent": agent}, limit=None)),
        at=parts.clock.now(),
        sampling=sampling,
    )
    parts.store.commit(Batch(add=(policy,), acts=(act(parts, tenant, actor, "policy.adopted", policy),)))
    return policy


def validate(parts: Parts, tenant: TenantId, policy: PolicyId, *, prompts: Digest, once: str) -> Policy:
    """The policy beside its parent on held-out prompts; the findings decide whether it may be released."""
    tested = _get(parts, Policy, tenant, policy)
    if tested.parent is None or tested.reward is None or tested.standing is not Standing.CANDIDATE:
        return tested
    parent = _get(parts, Policy, tenant, tested.parent)
    judge = _get(parts, RewardModel, tenant, tested.reward)
    run = _run(
        parts,
        "heedful.evaluation.offline:run",
        lambda at: {
            "policy": at["policy"],
            "parent": at["parent"],
            "reward": "heedful.rewards.loading:load",
            "reward_model": at["reward"],
            "prompts": at["prompts"],
            "seed": parts.learn.seed,
        },
        tenant=tenant,
        once=once,
        files={"prompts": prompts},
        trees={"policy": _weights(tested), "parent": _weights(parent), "reward": judge.digest},
    )
    findings = gates.of_policy(run.figures, parts.gates)
    passed = all(finding.passed for finding in findings)
    found = replace(
        tested,
        figures={**tested.figures, **run.figures},
        standing=Standing.VALIDATED if passed else Standing.REFUSED,
        notes={**tested.notes, "findings": "; ".join(map(str, findings))},
    )
    parts.store.commit(
        Batch(swap=((tested, found),), acts=(act(parts, tenant, "loop", "policy.validated", found),))
    )
    return found


# -- 7: the fleet gets it bit by bit -------------------------------------------------------------------------


def release(
    parts: Parts,
    tenant: TenantId,
    policy: PolicyId,
    *,
    actor: str,
    once: str,
    steps: tuple[float, ...] | None = None,
    unit: Unit = Unit.EPISODE,
    override: str | None = None,
) -> Release:
    """Begin: an agent's first policy goes to everyone, any other starts with the first step's share."""
    id = ReleaseId(f"release:{once}")
    begun = parts.store.get(Release, tenant, id)
    if begun is not None:
        return begun
    new = _get(parts, Policy, tenant, policy)
    if new.standing is Standing.REFUSED and override is None:
        raise Conflict(
            f"policy {policy!r} was refused ({new.notes.get('findings')}): release it with a reason, or not"
        )
    if isinstance(new.body, External) and new.body.upstream == elsewhere.IMPORTED:
        raise Conflict(f"policy {policy!r} answered elsewhere: it has no server here that could be released")
    now, before = parts.clock.now(), parts.store.find(Release, tenant, where={"agent": new.agent}, limit=None)
    known = duty.on_duty(before).get(new.agent)
    if known is not None and known.release is not None:
        raise Conflict(f"release {known.release.id!r} of agent {new.agent!r} is under way: one at a time")
    if known is not None and known.live == policy:
        raise Conflict(f"policy {policy!r} is live already")
    begun = Release(
        id=id,
        tenant=tenant,
        target=Target(agent=new.agent),
        policy=policy,
        against=known.live if known else None,
        steps=(steps or parts.releases.steps) if known else (100.0,),
        unit=unit,
        salt=f"{parts.random.getrandbits(64):016x}",
        started_at=now,
        since=now,
        stage=Stage.CANARY if known else Stage.FULL,
        ended_at=None if known else now,
        reason=override,
        by=actor,
    )
    outcome = parts.store.commit(
        Batch(
            add=(begun,),
            acts=(act(parts, tenant, actor, "release.begun", begun),),
            once=f"release {len(before)} of {new.agent}",
        )
    )
    kept = parts.store.get(Release, tenant, id) if outcome.repeated else begun
    if kept is None:
        raise Conflict(f"another release of agent {new.agent!r} began at this moment: one at a time")
    return kept


def decide(parts: Parts, tenant: TenantId, id: ReleaseId) -> Release:
    """Look at what the release has shown so far, and move it on, leave it, or take it back."""
    known = _get(parts, Release, tenant, id)
    if known.stage is not Stage.CANARY:
        return known
    decision = gate.decide(known, parts.views.exposures(tenant, id), parts.releases)
    if decision.verb is gate.Verb.HOLD:
        return known
    return _move(parts, known, decision, actor="gate")


def roll_back(parts: Parts, tenant: TenantId, id: ReleaseId, *, reason: str, actor: str) -> Release:
    """Take it back now; whoever asks next is answered by the policy before."""
    known = _get(parts, Release, tenant, id)
    if known.stage is Stage.ROLLED_BACK:
        return known
    return _move(
        parts, known, gate.Decision(verb=gate.Verb.ROLL_BACK, reason=reason, figures={}), actor=actor
    )


def _move(parts: Parts, known: Release, decision: gate.Decision, *, actor: str) -> Release:
    now = parts.clock.now()
    taken = Step(
        percent=known.percent,
        turns=int(decision.figures.get("step_turns", 0)),
        at=now,
        decision=decision.verb,
        figures=decision.figures,
    )
    stage = gate.NEXT[decision.verb](known)
    changed = replace(
        moved(known, stage),
        step=known.step + 1 if decision.verb is gate.Verb.ADVANCE and stage is Stage.CANARY else known.step,
        since=now,
        taken=(*known.taken, taken),
        ended_at=now if stage in {Stage.FULL, Stage.ROLLED_BACK} else None,
        reason=decision.reason,
    )
    parts.store.commit(
        Batch(swap=((known, changed),), acts=(act(parts, known.tenant, actor, "release.moved", changed),))
    )
    return changed


# -- 8: is it still good? ------------------------------------------------------------------------------------


def watch(parts: Parts, tenant: TenantId, agent: AgentId) -> list[Signal]:
    """The signals of an agent's policies. One outside its band is an alert, which takes the release back."""
    known = on_duty(parts, tenant).get(agent)
    if known is None:
        return []
    now = parts.clock.now()
    if known.release is None:
        return []
    tallies = signals.tallies(known.release, parts.views.exposures(tenant, known.release.id))
    found = signals.signals(tallies, live=known.live, at=now, settings=parts.watch)
    for signal in found:
        if signal.healthy or signal.labels["policy"] != known.release.policy:
            continue
        alert = Alert(
            id=AlertId(f"alert:{known.release.id}:{signal.name}"),
            tenant=tenant,
            signal=signal,
            at=now,
            pages=True,
            action=f"rolled back {known.release.id}",
        )
        if parts.store.get(Alert, tenant, alert.id) is None:
            parts.store.commit(
                Batch(add=(alert,), acts=(act(parts, tenant, "watch", "alert.raised", alert),))
            )
        # Also when the alert is known: who raised it may have died before this line.
        roll_back(parts, tenant, known.release.id, reason=f"{signal.name} left its band", actor="watch")
    return found


# -- afterwards: nothing is kept for longer than its tenant wants ---------------------------------------------


def purge_old(parts: Parts, tenant: TenantId, *, actor: str, dry_run: bool = False) -> Purged:
    """What is older than the tenant's retention goes, in commits of many; each is an act that holds counts only.

    What somebody changes at this very moment stays until the next time. `dry_run` counts and takes nothing.
    """
    before = retention.cutoff(parts.capture, tenant, parts.clock.now())
    purged = Purged(before=before)
    for batch in () if before is None else purging.due(parts.store, parts.views, tenant, before):
        counted = Purged.of(batch.drop, [one for one, _ in batch.swap])
        done = Act(
            tenant=tenant,
            at=parts.clock.now(),
            actor=actor,
            verb="records.purged",
            subject=Ref(kind="tenant", id=tenant),
            detail={"gone": counted.gone, "bare": counted.bare},
        )
        if not dry_run:
            try:
                parts.store.commit(replace(batch, acts=(done,)))
            except Conflict:
                continue
        purged = purged.and_also(counted)
    return purged


# -- shared by the stops -------------------------------------------------------------------------------------


def _get(parts: Parts, kind: type[T], tenant: TenantId, id: str) -> T:
    found = parts.store.get(kind, tenant, id)
    if found is None:
        name = kind_of(kind)
        raise NotFound(f"{name.replace('_', ' ')} {id!r} is not known here", field=name)
    return found


def act(parts: Parts, tenant: TenantId, actor: str, verb: str, record: Any) -> Act:
    kind = kind_of(type(record))
    detail = {
        name: str(value)
        for name in ("stage", "standing", "policy", "by", "reason")
        if (value := getattr(record, name, None)) is not None
    }
    return Act(
        tenant=tenant,
        at=parts.clock.now(),
        actor=actor,
        verb=verb,
        subject=Ref(kind=kind, id=record.id),
        detail=detail,
    )


def _run(
    parts: Parts,
    task: str,
    spec: runs.Spec,
    *,
    tenant: TenantId,
    once: str,
    files: Mapping[str, Digest],
    trees: Mapping[str, Digest],
    progress: Progress | None = None,
) -> Run:
    return runs.execute(
        task,
        spec,
        id=_run_id(tenant, once),
        tenant=tenant,
        files=files,
        trees=trees,
        store=parts.store,
        blobs=parts.blobs,
        engine=parts.engine,
        tracking=parts.tracking,
        clock=parts.clock,
        progress=progress,
    )


def _run_id(tenant: TenantId, once: str) -> RunId:
    """A run's work directory goes by its name alone, and `once` may be a caller's: so the tenant is in it.

    Only the tenant is parted off by a slash; what the operator's own runs are called can never look like it.
    A dot stands for a slash, and one that was a dot already is marked as such: `a/b` and `a.b` stay two names.
    """
    name = once.replace("@", "@@").replace(".", "@.").replace("/", ".")
    return RunId(name if tenant == OPERATOR else f"{tenant}/{name}")


def _made_by(parts: Parts, kind: type[T], tenant: TenantId, run: RunId) -> T | None:
    found = parts.store.find(kind, tenant, where={"run": run}, limit=1)
    return found[0] if found else None


def _weights(policy: Policy) -> Digest:
    if not isinstance(policy.body, Weights):
        raise InvalidInput(
            f"policy {policy.id!r} is {policy.body.kind}: only weights can be trained here", field="policy"
        )
    return policy.body.digest


def _practice(parts: Parts, prompts: Sequence[Sequence[Message]]) -> tuple[Digest, Digest]:
    """Prompts to practise on and prompts to be tested on, as JSON lines in the blobs; none is in both."""
    sides: dict[str, list[str]] = {"train": [], "holdout": []}
    for prompt in prompts:
        line = json.dumps({"prompt": [{"role": message.role, "content": message.text} for message in prompt]})
        sides[freezing.split_of(prompt, holdout=parts.datasets.holdout)].append(line)
    if not all(sides.values()):
        counts = {side: len(lines) for side, lines in sides.items()}
        raise Conflict(f"{len(prompts)} prompts make {counts}: both sides need some; let the fleet work more")
    train, held_out = (
        Digest(parts.blobs.put_bytes("".join(f"{line}\n" for line in sides[side]).encode())) for side in sides
    )
    return train, held_out


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
