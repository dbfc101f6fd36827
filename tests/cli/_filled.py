"""A data directory with one story in it, from a customer's sentence to changed weights."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from heedful.domain.content import Message, Role
from heedful.domain.episode import Allocation, Episode, EpisodeState, Turn
from heedful.domain.feedback import Choice, Completion, Feedback, Form, Judgement, Source, Thumbs
from heedful.domain.ids import (
    AgentId,
    CycleId,
    DatasetId,
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
)
from heedful.domain.labeling import Item, Queue, Verdict
from heedful.domain.models import Cycle, CycleStage, Policy, RewardModel, Run, RunState, Weights
from heedful.domain.preference import Dataset, Objective
from heedful.domain.release import Release, Stage, Step, Target
from heedful.store.protocol import Act, Batch, Link, Ref
from heedful.store.sql import SqlStore, open_store

T = TenantId("default")
AT = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
BLOB = Digest("sha256:" + "0" * 64)
START, TUNED = PolicyId("resolver:v1"), PolicyId("resolver:v2")
JUDGED = 40  # pairs, each judged once


@contextmanager
def opened(data: Path) -> Iterator[SqlStore]:
    data.mkdir(parents=True, exist_ok=True)
    store = open_store(f"sqlite:///{data / 'heedful.db'}")
    try:
        yield store
    finally:
        store.close()


def edit(directory: Path, statement: str) -> None:
    """As somebody would who has the file, and not our permission."""
    with sqlite3.connect(directory / "heedful-data" / "heedful.db") as connection:
        connection.execute(statement)


def fill(data: Path) -> None:
    with opened(data) as store:
        tell(store)


def tell(store: SqlStore) -> None:
    """One handed-over ticket, forty judged pairs, and what was made of them."""
    store.commit(Batch(add=(policy(START, 1), first(), *ticket())))
    judged = [pair(number) for number in range(JUDGED)]
    store.commit(Batch(add=(queue(), *(record for records in judged for record in records))))
    made = Ref(kind="dataset", id="resolver-judged@1")
    links = [Link(made=made, source=Ref(kind="feedback", id=f"said-{n}")) for n in range(JUDGED)]
    links += [Link(made=made, source=Ref(kind="verdict", id=f"verdict-{n}")) for n in range(JUDGED)]
    acts = tuple(act("dataset.frozen", made.id, minute) for minute in range(5))
    store.commit(Batch(add=(dataset(), *weights(), release(), cycle()), links=tuple(links), acts=acts))


def ticket() -> tuple[Episode | Turn | Feedback, ...]:
    """The customer speaks to triage, triage to the resolver, the resolver to the customer."""
    episode = Episode(
        id=EpisodeId("ticket-1"),
        tenant=T,
        started_at=AT,
        user=PersonId("customer-7"),
        state=EpisodeState.DONE,
        outcome=1.0,
    )
    asked = Message(role=Role.USER, content="My parcel never came.\x1b[2J")
    first = turn("turn-1", "triage", "resolver", "A lost parcel: please refund.", (asked,), seconds=1)
    second = turn("turn-2", "resolver", "user", "We refund you today.", (asked,), parent="turn-1", seconds=2)
    return (
        episode,
        first,
        second,
        feedback("thumb-1", Thumbs(up=True), turn="turn-2", by="customer-7"),
        feedback("done-1", Completion(completed=True), episode="ticket-1", by="desk"),
    )


def turn(
    id: str,
    agent: str,
    addressee: str,
    answer: str,
    request: tuple[Message, ...],
    *,
    parent: str | None = None,
    seconds: float = 0,
    episode: str = "ticket-1",
) -> Turn:
    return Turn(
        id=TurnId(id),
        tenant=T,
        episode=EpisodeId(episode),
        agent=AgentId(agent),
        at=AT + timedelta(seconds=seconds),
        request=request,
        answer=answer,
        policy=START,
        addressee=addressee,
        parent=TurnId(parent) if parent else None,
        allocation=Allocation(policy=START, probability=1.0, unit=episode, bucket=0.5),
    )


def feedback(
    id: str,
    said: Form,
    *,
    turn: str | None = None,
    episode: str | None = None,
    by: str = "customer-7",
    judgement: Judgement | None = None,
) -> Feedback:
    return Feedback(
        id=FeedbackId(id),
        tenant=T,
        said=said,
        source=Source.EXPERT if judgement else Source.DIRECT,
        at=AT + timedelta(minutes=1),
        by=PersonId(by),
        turn=TurnId(turn) if turn else None,
        episode=EpisodeId(episode) if episode else None,
        judgement=judgement,
    )


def queue() -> Queue:
    return Queue(
        id=QueueId("pairs"), tenant=T, name="Which?", asks="choice", instructions="Choose.", created_at=AT
    )


def pair(number: int) -> tuple[Episode | Turn | Item | Feedback | Verdict, ...]:
    """Two answers to one request, and the choice of one of four raters."""
    episode = EpisodeId(f"pair-{number}")
    request = (Message(role=Role.USER, content=f"Question {number}?"),)
    left = turn(f"left-{number}", "resolver", "user", "Yes.", request, episode=episode)
    right = turn(f"right-{number}", "resolver", "user", "No.", request, episode=episode)
    item = Item(
        id=ItemId(f"item-{number}"),
        tenant=T,
        queue=QueueId("pairs"),
        turns=(left.id, right.id),
        prompt=request,
        answers=(left.answer, right.answer),
        created_at=AT,
    )
    said = feedback(
        f"said-{number}",
        Choice(shown=(left.id, right.id), chosen=left.id),
        by=f"rater-{number % 4}",
        judgement=Judgement(queue=QueueId("pairs"), item=item.id),
    )
    verdict = Verdict(
        id=VerdictId(f"verdict-{number}"),
        tenant=T,
        item=item.id,
        queue=QueueId("pairs"),
        objective=Objective.QUALITY,
        at=AT,
        feedback=(said.id,),
        confidence=0.75,
        method="test",
        chosen=left.id,
    )
    return Episode(id=episode, tenant=T, started_at=AT), left, right, item, said, verdict


def dataset() -> Dataset:
    return Dataset(
        id=DatasetId("resolver-judged@1"),
        tenant=T,
        name="resolver-judged",
        digest=BLOB,
        files={"preferences.train": BLOB, "preferences.holdout": BLOB},
        rows={"preferences.train": 34, "preferences.holdout": 6},
        made_from=BLOB,
        frozen_at=AT,
    )


def policy(id: PolicyId, version: int, **made: object) -> Policy:
    return Policy(
        id=id,
        tenant=T,
        agent=AgentId("resolver"),
        version=version,
        body=Weights(digest=BLOB),
        created_at=AT,
        **made,  # type: ignore[arg-type]
    )


def run(id: str) -> Run:
    return Run(id=RunId(id), tenant=T, task="test:run", spec={}, started_at=AT, state=RunState.DONE)


def weights() -> tuple[Run | RewardModel | Policy, ...]:
    reward = RewardModel(
        id=RewardModelId("reward:v1"),
        tenant=T,
        version=1,
        digest=BLOB,
        objectives=("quality",),
        members=1,
        created_at=AT,
        dataset=DatasetId("resolver-judged@1"),
        backbone=START,
        run=RunId("run-fit"),
        report={"accuracy": 0.8},
    )
    tuned = policy(
        TUNED,
        2,
        parent=START,
        run=RunId("run-improve"),
        reward=reward.id,
        datasets=(DatasetId("resolver-judged@1"),),
    )
    return run("run-fit"), run("run-improve"), reward, tuned


def first() -> Release:
    """The agent's first policy went to everyone at once."""
    return Release(
        id=ReleaseId("release-0"),
        tenant=T,
        target=Target(agent=AgentId("resolver")),
        policy=START,
        against=None,
        steps=(100,),
        salt="00",
        started_at=AT,
        ended_at=AT,
        stage=Stage.FULL,
    )


def release() -> Release:
    return Release(
        id=ReleaseId("release-1"),
        tenant=T,
        target=Target(agent=AgentId("resolver")),
        policy=TUNED,
        against=START,
        steps=(10, 50, 100),
        salt="00",
        started_at=AT,
        step=1,
        stage=Stage.CANARY,
        taken=(Step(percent=10, turns=120, at=AT, decision="advance", figures={"difference": 0.031}),),
    )


def cycle() -> Cycle:
    return Cycle(
        id=CycleId("cycle-1"),
        tenant=T,
        agent=AgentId("resolver"),
        started_at=AT,
        stage=CycleStage.RELEASING,
        start=START,
        dataset=DatasetId("resolver-judged@1"),
        policy=TUNED,
    )


def act(verb: str, id: str, minute: int) -> Act:
    return Act(
        tenant=T,
        at=AT + timedelta(minutes=minute),
        actor="loop",
        verb=verb,
        subject=Ref(kind="dataset", id=id),
        detail={},
    )
