"""kill -9 in the middle of the loop: it goes on where it was, and nothing happens twice."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

import loop_process
from factories import TENANT
from heedful.domain.feedback import Feedback
from heedful.domain.labeling import Item, ItemState, Verdict
from heedful.domain.models import Cycle, CycleStage, Policy, RewardModel, Run
from heedful.domain.preference import Dataset
from heedful.domain.release import Release, Stage
from heedful.road import Parts
from roadside import first_policy, work_tickets

FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(["loop_process"])
KILLS = 4
PATIENCE = 90.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_a_cycle_that_is_killed_again_and_again_ends_with_one_of_everything(
    tmp_path: Path, seed: int
) -> None:
    parts = loop_process.parts_in(tmp_path)
    first_policy(parts)
    work_tickets(parts, 40)
    parts.store.close()

    log = tmp_path / "log"
    random, kills, give_up = Random(seed), 0, time.monotonic() + PATIENCE
    while True:
        process = FRESH.Process(target=loop_process.main, args=(str(tmp_path),))
        process.start()
        wanted = len(notes(tmp_path)) + random.randint(2, 5)
        while process.is_alive() and (kills == KILLS or len(notes(tmp_path)) < wanted):
            assert time.monotonic() < give_up, (notes(tmp_path)[-1:], log.read_text()[-2000:])
            time.sleep(0.005)
        if not process.is_alive():
            break
        time.sleep(random.uniform(0, 0.3))
        process.kill()
        process.join()
        kills += 1
    assert process.exitcode == 0, log.read_text()[-3000:]
    assert notes(tmp_path)[-1] == "ended done release full"
    assert kills >= 3

    parts = loop_process.parts_in(tmp_path)
    one_of_everything(parts)
    parts.store.close()


def notes(folder: Path) -> list[str]:
    file = folder / "notes"
    return file.read_text().splitlines() if file.exists() else []


def one_of_everything(parts: Parts) -> None:
    (cycle,) = parts.store.find(Cycle, TENANT)
    (dataset,) = parts.store.find(Dataset, TENANT)
    (reward,) = parts.store.find(RewardModel, TENANT)
    start, tuned = parts.store.find(Policy, TENANT)
    first, second = parts.store.find(Release, TENANT)
    assert (cycle.stage, cycle.start) == (CycleStage.DONE, start.id)
    assert (cycle.dataset, cycle.reward, cycle.policy, cycle.release) == (
        dataset.id, reward.id, tuned.id, second.id
    )  # fmt: skip
    assert [(one.policy, one.stage) for one in (first, second)] == [
        (start.id, Stage.FULL),
        (tuned.id, Stage.FULL),
    ]
    runs = parts.store.find(Run, TENANT)
    assert sorted((run.id, str(run.state)) for run in runs) == [
        ("acme/cycle_1.fit", "done"),
        ("acme/cycle_1.improve", "done"),
        ("acme/cycle_1.improve.validate", "done"),
    ]

    items = parts.store.find(Item, TENANT)
    judged = Counter(
        one.judgement.item
        for one in parts.store.find(Feedback, TENANT, where={"queue": loop_process.QUEUE}, limit=None)
        if one.judgement
    )
    done = [item.id for item in items if item.state is ItemState.DONE]
    assert len(done) >= 20
    assert [judged[id] for id in done] == [1] * len(done)
    assert sorted(verdict.item for verdict in parts.store.find(Verdict, TENANT)) == sorted(done)

    verbs = Counter(json.loads(body)["verb"] for _, body, _ in parts.store.audit_entries())
    del verbs["feedback.judged"]
    assert verbs == {
        "policy.adopted": 1,
        "release.begun": 2,
        "cycle.started": 1,
        "dataset.frozen": 1,
        "reward.fitted": 1,
        "policy.registered": 1,
        "policy.validated": 1,
        "release.moved": 1,
    }
