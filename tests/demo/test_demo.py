"""The whole loop, small: it ends, whoever is killed on the way, and nothing happens twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from heedful.domain.ids import TenantId
from heedful.domain.models import Cycle, CycleStage, Policy, RewardModel, Run
from heedful.domain.preference import Dataset
from heedful.domain.release import Release
from heedful.settings import load
from heedful.wiring import read

pytest.importorskip("torch", reason="the demo trains: it needs the extra `train`")

LIMIT = 600.0  # seconds
KEYS = {
    *("seconds", "seed", "feedback_events", "preferences", "reward_accuracy"),
    *("gold_win_rate", "gold_win_rate_low", "gold_win_rate_high"),
    *("right_action_before", "right_action_after", "right_action_gain_low"),
    *("violation_rate_before", "violation_rate_after", "tickets"),
    *("good_release", "good_release_steps", "bad_release", "bad_release_max_percent"),
    *("lineage_ok", "machine_gemm_seconds"),
}


def start(directory: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "heedful.cli", "--dir", str(directory), "demo", "--quick", "--seed", "3"]
    with (directory.parent / "demo.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "--json", str(directory.parent / "figures.json")], stdout=log, stderr=log
        )


def until(directory: Path, kind: str, demo: subprocess.Popen[bytes]) -> None:
    """Wait for a trace of this step in the runs' directory."""
    deadline = time.monotonic() + LIMIT
    while not (directory / "heedful-data" / "runs" / kind).exists():
        assert demo.poll() is None, (directory.parent / "demo.log").read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def server(directory: Path) -> int:
    return int(json.loads((directory / "heedful-data" / "server.json").read_text())["pid"])


@pytest.mark.slow
@pytest.mark.timeout(LIMIT * 1.5)
def test_the_loop_goes_on_after_kill_9_of_the_server_and_of_the_demo(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    demo = start(directory)
    until(directory, "demo-imitate.imitate", demo)
    time.sleep(1)
    os.kill(server(directory), signal.SIGKILL)  # in the middle of a training run
    until(directory, "demo-improve.fit", demo)
    demo.kill()  # and now the one who tells the story
    demo.wait()
    demo = start(directory)
    until(directory, "demo-improve.improve", demo)
    os.kill(server(directory), signal.SIGKILL)
    demo.wait(timeout=LIMIT)

    figures: dict[str, Any] = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures) >= KEYS
    assert figures["lineage_ok"]
    assert figures["server_restarts"] >= 1
    assert (directory / "report.html").read_text().count("<svg") >= 1

    tenant = TenantId("default")
    store, views = read(load(directory, environment={}))
    try:
        cycles = {one.id: one.stage for one in store.find(Cycle, tenant)}
        assert cycles == dict.fromkeys(("demo-imitate", "demo-improve", "demo-poison"), CycleStage.DONE)
        made = Counter(
            type(one).__name__
            for kind in (Dataset, RewardModel, Policy, Release)
            for one in store.find(kind, tenant)
        )
        assert made == {"Dataset": 3, "RewardModel": 1, "Policy": 4, "Release": 4}
        runs = Counter(run.task for run in store.find(Run, tenant))
        assert runs["heedful.training.sft:run"] == 2
        assert runs["heedful.rewards.fit:run"] == runs["heedful.training.grpo:run"] == 1
        assert views.tallies(tenant)["feedback"] == figures["feedback_events"]
    finally:
        store.close()
