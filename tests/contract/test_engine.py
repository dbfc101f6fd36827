"""Engine: every promise of heedful/engine/protocol.py, for every adapter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import tasks
from heedful.domain.ids import RunId
from heedful.engine.local import LocalEngine
from heedful.engine.protocol import Engine
from heedful.errors import TrainingFailed

ADAPTERS: dict[str, Callable[[Path], Engine]] = {"local": LocalEngine}
RUN = RunId("cycle.fit")
PATIENCE = 20.0  # seconds: a shared core can be asleep for a while


@pytest.fixture(autouse=True)
def children_find_the_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(tasks.__file__).parent))


@pytest.fixture(params=ADAPTERS)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    made = ADAPTERS[request.param](tmp_path)
    yield made
    made.close()


def until(true: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.02)


def pids(work: Path) -> list[int]:
    begun = work / "begun"
    return [int(line) for line in begun.read_text().split()] if begun.exists() else []


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # dead, and only waits for whoever inherited it to notice


def in_background(
    engine: Engine, task: str, run: RunId = RUN
) -> tuple[threading.Thread, list[BaseException]]:
    ended: list[BaseException] = []

    def ask() -> None:
        try:
            engine.run(task, {}, run=run)
        except (TrainingFailed, SystemExit) as error:
            ended.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, ended


def test_a_result_comes_back_and_its_files_lie_in_the_work_directory(engine: Engine) -> None:
    file = engine.work(RUN) / "sum.txt"
    assert engine.run("tasks:add", {"a": 1, "b": 2}, run=RUN) == {"sum": 3, "file": str(file)}
    assert file.read_text() == "3"


def test_a_run_that_is_done_is_not_done_again(engine: Engine, tmp_path: Path) -> None:
    first = engine.run("tasks:add", {"a": 1, "b": 2}, run=RUN)
    assert engine.run("tasks:add", {"a": 5, "b": 5}, run=RUN) == first
    assert (
        LocalEngine(tmp_path).run("tasks:add", {"a": 5, "b": 5}, run=RUN) == first
    )  # nor by another process
    assert len(pids(engine.work(RUN))) == 1
    assert engine.run("tasks:add", {"a": 5, "b": 5}, run=RunId("cycle.other"))["sum"] == 10


def test_no_run_works_in_the_directory_of_another_or_outside(engine: Engine) -> None:
    names = ["acme", "acme/c.fit", "acme.c.fit", "acme:c.fit", "a/../../b", "a/../b"]
    places = {engine.work(RunId(name)) for name in names}
    assert len(places) == len(names)
    assert {place.resolve().parent for place in places} == {engine.work(RUN).resolve().parent}


def test_the_same_run_asked_for_twice_at_once_is_done_once(engine: Engine) -> None:
    results = []
    askers = [
        threading.Thread(
            target=lambda: results.append(engine.run("tasks:add", {"a": 1, "b": 2}, run=RUN)["sum"])
        )
        for _ in range(3)
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert results == [3, 3, 3]
    assert len(pids(engine.work(RUN))) == 1


def test_a_child_that_is_killed_is_started_again_and_its_torn_words_are_no_progress(engine: Engine) -> None:
    seen: list[tuple[int, Mapping[str, float]]] = []
    result = engine.run(
        "tasks:be_killed", {"times": 2}, run=RUN, progress=lambda step, values: seen.append((step, values))
    )
    assert result == {"begun": 3}
    assert seen == [(1, {"begun": 1}), (2, {"begun": 2}), (3, {"begun": 3})]


def test_a_child_that_is_always_killed_is_given_up(engine: Engine) -> None:
    with pytest.raises(TrainingFailed, match="ended with code -9"):
        engine.run("tasks:be_killed", {"times": 99}, run=RUN)


def test_the_tasks_own_last_words_are_told(engine: Engine) -> None:
    with pytest.raises(TrainingFailed, match=r"tasks:refuse .* ValueError: the third row has no prompt$"):
        engine.run("tasks:refuse", {}, run=RUN)
    assert len(pids(engine.work(RUN))) == 1  # what fails by itself would fail again
    with pytest.raises(TrainingFailed, match=r"ended with code 4 .*: cannot go on$"):
        engine.run("tasks:vanish", {}, run=RunId("cycle.vanish"))
    with pytest.raises(TrainingFailed, match="JSON serializable"):
        engine.run("tasks:clumsy", {}, run=RunId("cycle.clumsy"))
    with pytest.raises(TrainingFailed, match="no_such_task"):
        engine.run("tasks:no_such_task", {}, run=RunId("cycle.none"))


def test_a_run_that_failed_may_be_asked_for_again(engine: Engine) -> None:
    with pytest.raises(TrainingFailed):
        engine.run("tasks:refuse", {}, run=RUN)
    assert engine.run("tasks:add", {"a": 1, "b": 2}, run=RUN)["sum"] == 3


def test_progress_comes_while_the_task_works_and_whole(engine: Engine) -> None:
    seen: list[tuple[int, float]] = []
    engine.run(
        "tasks:count",
        {"steps": 30, "seconds": 0.02},
        run=RUN,
        progress=lambda step, values: seen.append((step, time.monotonic())),
    )
    assert [step for step, _ in seen] == list(range(30))
    assert len({round(at, 2) for _, at in seen}) > 2  # not all at the end


def test_a_task_sees_nothing_of_its_callers_memory(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "LEFT_BY_THE_CALLER", "a secret", raising=False)
    result = engine.run("tasks:look_around", {}, run=RUN)
    assert result["seen"] is None
    assert result["pid"] != os.getpid()


def test_close_ends_what_runs_without_an_outcome_and_leaves_no_orphan(engine: Engine, tmp_path: Path) -> None:
    thread, ended = in_background(engine, "tasks:last")
    waiting, ended_waiting = in_background(engine, "tasks:last", RunId("cycle.waits"))
    until(lambda: bool(pids(engine.work(RUN)) or pids(engine.work(RunId("cycle.waits")))))
    engine.close()
    for one in (thread, waiting):
        one.join(PATIENCE)
    assert [type(error) for error in (*ended, *ended_waiting)] == [SystemExit, SystemExit]
    begun = pids(engine.work(RUN)) + pids(engine.work(RunId("cycle.waits")))
    assert len(begun) == 1  # who waited for a place never began
    assert not any(map(alive, begun))
    assert LocalEngine(tmp_path).run("tasks:add", {"a": 1, "b": 2}, run=RUN)["sum"] == 3  # it starts again


CALLER = """
import sys
from pathlib import Path
from heedful.engine.local import LocalEngine
LocalEngine(Path(sys.argv[1])).run("tasks:last", {}, run="cycle.fit")
"""


def test_when_the_caller_is_killed_the_task_ends_too(tmp_path: Path) -> None:
    caller = subprocess.Popen([sys.executable, "-c", CALLER, str(tmp_path)])
    work = LocalEngine(tmp_path).work(RUN)
    try:
        until(lambda: bool(pids(work)))
        assert alive(pids(work)[0])
    finally:
        caller.send_signal(signal.SIGKILL)
        caller.wait()
    until(lambda: not alive(pids(work)[0]))
    assert LocalEngine(tmp_path).run("tasks:add", {"a": 1, "b": 2}, run=RUN)["sum"] == 3
