"""How long a person waits for a page: every named question of `heedful.store.views`, over a million turns.

    python bench/views.py --database sqlite|postgres [--url URL] [--turns 1000000] [--quick]

The database is filled through the store itself, so that its rows are those that live traffic would have left.
PostgreSQL without --url is a private cluster, started and thrown away.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import text

from _services import postgres
from heedful.domain.content import Message, Role
from heedful.domain.episode import Allocation, Episode, Purpose, Turn
from heedful.domain.feedback import Choice, Completion, Feedback, Judgement, Source, Thumbs, Violation
from heedful.domain.ids import (
    AgentId,
    AssignmentId,
    Digest,
    EpisodeId,
    FeedbackId,
    ItemId,
    KeyId,
    PersonId,
    PolicyId,
    QueueId,
    ReleaseId,
    TenantId,
    TurnId,
)
from heedful.domain.labeling import Assignment, AssignmentState, Gold, Item, ItemState, Queue
from heedful.domain.models import Policy, Weights
from heedful.domain.release import Release, Stage, Target
from heedful.store.protocol import Act, Batch, Outcome, Record, Ref
from heedful.store.sql import SqlStore, open_store
from heedful.store.views import Views

LIMIT_MS = 100.0
TURNS_PER_EPISODE = 4
EPISODES_PER_RELEASE = 1_000  # what a release sees before it is decided
TURNS_PER_ITEM = 20
AGENTS, POLICIES, QUEUES, RATERS, TENANTS = 4, 24, 10, 40, 2
START = datetime(2026, 6, 1, tzinfo=UTC)
DAYS = 30
BATCH = 50  # episodes in one commit
TENANT = TenantId("tenant0")
ANSWER = "Your parcel left the depot this morning and reaches you tomorrow before noon. " * 4
PROMPT = (
    Message(role=Role.SYSTEM, content="You answer customers of a parcel service, politely and briefly. " * 3),
    Message(role=Role.USER, content="Where is my parcel? I have been waiting for three days now. " * 2),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--url", help="an empty database to fill")
    parser.add_argument("--turns", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="100,000 turns")
    given = parser.parse_args()
    turns = min(given.turns, 100_000) if given.quick else given.turns
    with database(given.database, given.url) as url:
        store = open_store(url, name="bench/views.py", queue_rows=100_000)
        started = time.perf_counter()
        records = fill(store, turns)
        seconds = time.perf_counter() - started
        print(f"{records:,} records in {seconds:.0f} s: {records / seconds:,.0f} a second")
        if store.dialect == "postgresql":
            with store._database.writing() as connection:
                connection.execute(text("ANALYZE"))  # which autovacuum does a minute later
        # As a server does once it has started: 400,000 objects of imported libraries, searched again and again
        # for garbage that is not there, cost 30 ms each time.
        gc.collect()
        gc.freeze()
        figures = measure(Views(store), turns, repeats=40 if given.quick else 100)
        store.close()
    worst = max(figures.values())
    result = {
        "database": given.database,
        "turns": turns,
        "records": records,
        "n": 40 if given.quick else 100,
        **{f"{name}_p95_ms": round(value, 2) for name, value in figures.items()},
        "worst_p95_ms": round(worst, 2),
        "ok": worst < LIMIT_MS,
    }
    print(f"RESULT {json.dumps(result)}")


@contextmanager
def database(kind: str, url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
    elif kind == "postgres":
        with postgres() as server:
            yield server.url
    else:
        with tempfile.TemporaryDirectory(prefix="heedful-views-") as folder:
            yield f"sqlite:///{Path(folder) / 'heedful.db'}"


# --- filling ---------------------------------------------------------------------------------------------


def fill(store: SqlStore, turns: int) -> int:
    """Traffic of a month: episodes with feedback, releases one after the other, queues that are worked."""
    episodes = turns // TURNS_PER_EPISODE
    random, written = Random(0), 0
    waiting: list[Future[Outcome]] = []
    for batch in batches(episodes, random):
        waiting.append(store.submit(batch))
        written += len(batch.add)
        if len(waiting) > 40:
            waiting.pop(0).result()
    for future in waiting:
        future.result()
    return written


def batches(episodes: int, random: Random) -> Iterator[Batch]:
    for number in range(TENANTS):
        yield Batch(add=tuple(fixtures(TenantId(f"tenant{number}"), episodes)))
    for start in range(0, episodes, BATCH):
        # One tenant in ten commits is another one.
        tenant = TenantId("tenant1" if random.random() < 0.1 else "tenant0")
        add: list[Record] = []
        for number in range(start, min(start + BATCH, episodes)):
            add += episode(tenant, number, moment(number / episodes), random)
        act = Act(
            tenant=tenant,
            at=moment(start / episodes),
            actor="bench",
            verb="bench.filled",
            subject=Ref(kind="episode", id=f"e{start}"),
            detail={},
        )
        yield Batch(add=tuple(add), acts=(act,))


def moment(share: float) -> datetime:
    return START + timedelta(days=DAYS * share)


def fixtures(tenant: TenantId, episodes: int) -> Iterator[Record]:
    for number in range(POLICIES):
        yield Policy(
            id=PolicyId(f"p{number}"),
            tenant=tenant,
            agent=AgentId(f"agent{number % AGENTS}"),
            version=number // AGENTS + 1,
            body=Weights(digest=Digest("sha256:" + "0" * 64)),
            created_at=START,
        )
    for number in range(QUEUES):
        yield Queue(
            id=QueueId(f"q{number}"),
            tenant=tenant,
            name=f"Queue {number}",
            asks="choice",
            instructions="Which answer is better?",
            created_at=START,
            overlap=2,
        )
    last = episodes // EPISODES_PER_RELEASE
    for number in range(last + 1):
        yield Release(
            id=ReleaseId(f"r{number}"),
            tenant=tenant,
            target=Target(agent=AgentId("agent0")),
            policy=PolicyId(f"p{number % POLICIES}"),
            against=None,
            steps=(5.0, 100.0),
            salt=f"{number}",
            started_at=START,
            stage=Stage.CANARY if number == last else Stage.FULL,
        )


def episode(tenant: TenantId, number: int, at: datetime, random: Random) -> Iterator[Record]:
    id = EpisodeId(f"e{number}")
    yield Episode(id=id, tenant=tenant, started_at=at, product=None, user=PersonId(f"u{number % 5000}"))
    turns = [turn(tenant, id, number, place, at, random) for place in range(TURNS_PER_EPISODE)]
    yield from turns
    for one in turns:
        if random.random() < 0.4:
            yield feedback(one, Thumbs(up=random.random() < 0.7), Source.DIRECT, number)
        if random.random() < 0.1:
            broken = "privacy.card_number" if random.random() < 0.05 else None
            yield feedback(one, Violation(category=broken), Source.SAFETY, number)
    if random.random() < 0.5:
        said = Completion(completed=random.random() < 0.8, quality=random.random())
        yield feedback(turns[-1], said, Source.COMPLETION, number)
    if number % (TURNS_PER_ITEM // TURNS_PER_EPISODE) == 0:
        yield from asked(turns, number, at, random)


def turn(tenant: TenantId, episode: EpisodeId, number: int, place: int, at: datetime, random: Random) -> Turn:
    policy = PolicyId(f"p{AGENTS * random.randrange(POLICIES // AGENTS) + place % AGENTS}")  # its agent's own
    return Turn(
        id=TurnId(f"t{number}.{place}"),
        tenant=tenant,
        episode=episode,
        agent=AgentId(f"agent{place % AGENTS}"),
        at=at + timedelta(seconds=place),
        request=PROMPT,
        answer=ANSWER,
        policy=policy,
        purpose=Purpose.LIVE,
        latency=random.random(),
        allocation=Allocation(
            policy=policy,
            probability=0.5,
            unit=episode,
            bucket=random.random(),
            release=ReleaseId(f"r{number // EPISODES_PER_RELEASE}"),
            arm="canary" if number % 2 else "control",
        ),
    )


def feedback(
    about: Turn,
    said: Any,
    source: Source,
    number: int,
    *,
    judgement: Judgement | None = None,
    by: str = "user",
) -> Feedback:
    return Feedback(
        id=FeedbackId(f"f.{about.id}.{said.form}.{by}"),
        tenant=about.tenant,
        said=said,
        source=source,
        at=about.at + timedelta(minutes=number % 60),
        by=PersonId(by),
        turn=about.id,
        episode=about.episode,
        policy=about.policy,
        judgement=judgement,
    )


def asked(turns: list[Turn], number: int, at: datetime, random: Random) -> Iterator[Record]:
    """An item of two turns, most of them judged by one rater of two."""
    first, second, *_ = turns
    queue, done = QueueId(f"q{random.randrange(QUEUES)}"), random.random() < 0.8
    gold = Gold(chosen=first.id) if random.random() < 0.05 else None
    item = Item(
        id=ItemId(f"i{number}"),
        tenant=first.tenant,
        queue=queue,
        turns=(first.id, second.id),
        prompt=PROMPT,
        answers=(first.answer, second.answer),
        created_at=at,
        gold=gold,
        state=ItemState.DONE if done else ItemState.OPEN,
    )
    yield item
    rater = f"rater{random.randrange(RATERS)}"
    held = AssignmentState.DONE if done or random.random() < 0.5 else AssignmentState.LEASED
    yield Assignment(
        id=AssignmentId(f"{item.id}:0"),
        tenant=first.tenant,
        queue=queue,
        item=item.id,
        rater=PersonId(rater),
        leased_at=at,
        until=at + timedelta(minutes=10),
        state=held,
    )
    if held is AssignmentState.DONE:
        choice = Choice(shown=item.turns, chosen=random.choice(item.turns))
        judgement = Judgement(queue=queue, item=item.id, gold=gold is not None)
        yield feedback(first, choice, Source.EXPERT, number, judgement=judgement, by=rater)


# --- asking ----------------------------------------------------------------------------------------------


def measure(views: Views, turns: int, *, repeats: int) -> dict[str, float]:
    """p95 in milliseconds, each time about something else."""
    episodes = turns // TURNS_PER_EPISODE
    figures = {}
    for name, ask in questions(views, episodes).items():
        random = Random(name)
        took = []
        for _ in range(repeats):
            started = time.perf_counter()
            ask(random)
            took.append((time.perf_counter() - started) * 1000)
        took.sort()
        figures[name] = took[int(0.95 * len(took))]
        print(f"{name:24} p50 {took[len(took) // 2]:8.2f} ms   p95 {figures[name]:8.2f} ms")
    return figures


def questions(views: Views, episodes: int) -> dict[str, Callable[[Random], object]]:
    end = moment(1)

    def some_turns(random: Random) -> list[TurnId]:
        return [TurnId(f"t{random.randrange(episodes)}.{n % TURNS_PER_EPISODE}") for n in range(50)]

    def agent(random: Random) -> AgentId:
        return AgentId(f"agent{random.randrange(AGENTS)}")

    def queue(random: Random) -> QueueId:
        return QueueId(f"q{random.randrange(QUEUES)}")

    def release(random: Random) -> ReleaseId:
        return ReleaseId(f"r{random.randrange(episodes // EPISODES_PER_RELEASE or 1)}")

    def before(random: Random) -> int:
        return random.randrange(1, episodes * TURNS_PER_EPISODE)

    return {
        "tallies": lambda _: views.tallies(TENANT),
        "feedback_by_source_day": lambda _: views.feedback_by_source(TENANT, end - timedelta(days=1)),
        "audit_size": lambda _: views.audit_size(),
        "episode": lambda random: views.episode(TENANT, EpisodeId(f"e{random.randrange(episodes)}")),
        "turns": lambda random: views.turns(TENANT, before=before(random)),
        "turns_of_agent": lambda random: views.turns(TENANT, agent=agent(random), before=before(random)),
        "turns_of_policy": lambda random: views.turns(
            TENANT, policy=PolicyId(f"p{random.randrange(POLICIES)}"), before=before(random)
        ),
        "turns_of_episode": lambda random: views.turns(
            TENANT, episode=EpisodeId(f"e{random.randrange(episodes)}")
        ),
        "feedback_on": lambda random: views.feedback_on(TENANT, some_turns(random)),
        "feedback_recent": lambda random: views.feedback_recent(TENANT),
        "exposures": lambda random: views.exposures(TENANT, release(random)),
        "releases_running": lambda _: views.releases_running(TENANT),
        "policy_versions": lambda random: views.policy_versions(TENANT, agent(random)),
        "queue_state": lambda random: views.queue_state(TENANT, queue(random), now=end),
        "open_items": lambda random: views.open_items(
            TENANT, queue(random), PersonId(f"rater{random.randrange(RATERS)}"), end
        ),
        "raters": lambda random: views.raters(TENANT, queue(random)),
        "key": lambda _: views.key(KeyId("hk_none")),
    }


if __name__ == "__main__":
    main()
