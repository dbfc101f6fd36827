"""The road's parts for tests: a real store and blobs, an engine and a policy that only pretend."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from factories import NOW, TENANT, make_choice, make_completion, make_episode, make_judgement, make_turn
from heedful import road
from heedful.blobs.directory import DirectoryBlobs
from heedful.dialect import chat
from heedful.dialect.chat import Wire
from heedful.domain.clock import Clock, SetClock
from heedful.domain.content import Answer, Message, Role, Sampling
from heedful.domain.feedback import Feedback
from heedful.domain.ids import AgentId, Digest, EpisodeId, PersonId, QueueId, RunId
from heedful.domain.models import Policy, Weights
from heedful.domain.taxonomy import Taxonomy
from heedful.engine.child import RESULT, write_atomically
from heedful.engine.protocol import Engine, Progress
from heedful.errors import TrainingFailed
from heedful.evaluation.gates import GateSettings
from heedful.feedback.settings import CaptureSettings
from heedful.labeling.settings import LabelingSettings
from heedful.monitoring.signals import WatchSettings
from heedful.preferences.freeze import DatasetSettings
from heedful.release.allocate import allocate
from heedful.release.settings import ReleaseSettings
from heedful.rewards.bounds import Bounds, verdict
from heedful.road import Parts
from heedful.store.journal import Journal
from heedful.store.sql import open_store
from heedful.store.views import Views
from heedful.tracking.files import FilesTracking
from heedful.training.settings import LearnSettings

AGENT = AgentId("resolver")
OPENINGS = ("[refund]", "[cancel]", "[track]")
TAXONOMY = Taxonomy.parse(
    {"version": 1, "categories": {"privacy.card_number": {"title": "Card number", "severity": "high"}}}
)


class PretendingEngine:
    """Leaves what each task would leave, `figures` as its findings, and a line in `begun` for each beginning."""

    def __init__(self, root: Path, *, seconds: float = 0.0, **figures: float) -> None:
        self._root = root
        self._seconds = seconds
        known = {"pairs": 100.0, "accuracy": 0.8, "log_loss": 0.6}
        known |= {"win_rate": 0.7, "violations": 0.02, "violations_parent": 0.1}
        self._figures = known | figures

    def work(self, run: RunId) -> Path:
        return self._root / run

    def run(
        self, task: str, spec: Mapping[str, Any], *, run: RunId, progress: Progress | None = None
    ) -> dict[str, Any]:
        work = self.work(run)
        if (work / RESULT).exists():
            done: dict[str, Any] = json.loads((work / RESULT).read_text())
            return done
        with (work / "begun").open("a") as file:
            file.write(f"{task}\n")
        time.sleep(self._seconds)
        result = self._pretend(task, work)
        write_atomically(work / RESULT, json.dumps(result))
        return result

    def close(self) -> None:
        return None

    def _pretend(self, task: str, work: Path) -> dict[str, Any]:
        match task:
            case "heedful.rewards.fit:run":
                quality = {name: self._figures[name] for name in ("pairs", "accuracy", "log_loss")}
                report = {"quality": quality} | verdict(quality, Bounds())
                return {"reward": _weights(work / "reward", work.name), "report": report}
            case "heedful.training.grpo:run" | "heedful.training.ppo:run" | "heedful.training.sft:run":
                return {"model": _weights(work / "model", work.name), "kl": 1.5}
            case "heedful.evaluation.offline:run":
                return {name: self._figures[name] for name in ("win_rate", "violations", "violations_parent")}
            case _:
                raise TrainingFailed(f"nobody can pretend {task}")


def _weights(directory: Path, what: str) -> str:
    directory.mkdir(exist_ok=True)
    (directory / "weights").write_text(what)
    return str(directory)


class Phrases:
    """Answers that depend on the question and the seed, and on nothing else."""

    async def chat(self, policy: Policy, asked: Wire) -> Wire:
        random = Random(f"{asked['messages'][-1]['content']} {asked.get('seed')}")
        return chat.reply_of(
            [
                Answer(
                    text=f"{random.choice(OPENINGS)} Your case is {random.randrange(1000)}.", finish="stop"
                )
                for _ in range(asked.get("n") or 1)
            ]
        )

    async def stream(self, policy: Policy, asked: Wire) -> AsyncGenerator[Wire, None]:
        for chunk in chat.chunks_of(await self.chat(policy, asked)):
            yield chunk

    async def forward(self, policy: Policy, path: str, asked: Wire) -> Wire:
        return {"object": "list", "data": []}

    async def prepare(self, policy: Policy) -> None:
        return None

    async def close(self) -> None:
        return None


def make_parts(
    folder: Path, *, engine: Engine | None = None, clock: Clock | None = None, judgements: int = 30
) -> Parts:
    """Over whatever the folder holds already: a second process goes on with it."""
    store = open_store(f"sqlite:///{folder / 'heedful.db'}")
    return Parts(
        store=store,
        journal=Journal(folder / "journal"),
        views=Views(store),
        blobs=DirectoryBlobs(folder / "blobs"),
        engine=engine or PretendingEngine(folder / "runs"),
        tracking=FilesTracking(folder / "tracking"),
        inference=Phrases(),
        taxonomy=TAXONOMY,
        clock=clock or SetClock(NOW),
        random=Random(0),
        config="sha256:test",
        labeling=LabelingSettings(gold_share=0.0),
        datasets=DatasetSettings(holdout=0.3, min_preferences=5),
        learn=LearnSettings(judgements=judgements, prompts=100, wait_seconds=60),
        gates=GateSettings(),
        releases=ReleaseSettings(
            steps=(50, 100), episodes=30, step_episodes=10, margin=0.3, look_seconds=0.05
        ),
        watch=WatchSettings(),
        capture=CaptureSettings(),
    )


def first_policy(parts: Parts) -> Policy:
    """The weights that somebody brought, live for everyone."""
    folder = parts.engine.work(RunId("brought"))
    folder.mkdir(parents=True)
    (folder / "weights").write_text("w0")
    digest = Digest(parts.blobs.put_tree(folder))
    policy = road.adopt(parts, TENANT, AGENT, Weights(digest=digest), sampling=Sampling(), actor="ann")
    road.release(parts, TENANT, policy.id, actor="ann", once="first")
    return policy


def work_tickets(parts: Parts, count: int, *, start: int = 0) -> None:
    """Live turns as the gateway would keep them, and how each task ended: mostly well."""
    standing = road.on_duty(parts, TENANT)[AGENT]
    for number in range(start, start + count):
        id = EpisodeId(f"ticket-{number}")
        turn = make_turn(
            id=f"{id}/turn",
            episode=id,
            agent=AGENT,
            at=parts.clock.now(),
            request=(Message(role=Role.USER, content=f"Where is parcel {number}?"),),
            answer="[track] It comes tomorrow.",
            allocation=(found := allocate(standing.live, standing.release, id)),
            policy=found.policy,
        )
        road.keep(parts, [turn], episodes=[make_episode(id=id, started_at=parts.clock.now())]).result()
        said = make_completion(number % 5 > 0, turn=turn.id, id=f"{id}/completed", at=parts.clock.now())
        (heard,) = road.hear(parts, TENANT, [said], actor="fleet")
        assert heard.kept


def judge_all(parts: Parts, queue: QueueId, rater: str = "rater_1") -> list[Feedback]:
    """One rater leases whatever there is and prefers the longer answer."""
    given: list[Feedback] = []
    while leased := road.lease(parts, TENANT, queue, PersonId(rater), limit=50):
        said = [
            make_choice(
                id=f"{assignment.id}/said",
                shown=item.turns,
                chosen=max(
                    zip(item.turns, item.answers, strict=True), key=lambda pair: (len(pair[1]), pair[0])
                )[0],
                by=rater,
                at=parts.clock.now(),
                judgement=make_judgement(queue=queue, item=item.id, assignment=assignment.id),
            )
            for assignment, item in leased
        ]
        heard = road.hear(parts, TENANT, said, actor=rater)
        assert all(one.kept for one in heard), heard
        given += said
    return given
