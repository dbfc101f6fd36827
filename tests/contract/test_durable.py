"""Durable: every promise of heedful/durable/protocol.py, for DBOS on both databases.

DBOS is one per process, so what happens, happens in `tests/flows.py`, and is looked at from here.
"""

from __future__ import annotations

import json
import multiprocessing
import secrets
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy

import flows

# A fresh process with everything imported: what is killed often should not take long to be born.
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(["flows"])
KILLS = 3
PATIENCE = 60.0
DATABASES = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))


@pytest.fixture(scope="module", params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database of its own for this module."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('durable') / 'durable.db'}"
    return new_postgres(request)


@pytest.fixture(params=DATABASES)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'durable.db'}" if request.param == "sqlite" else new_postgres(request)


def new_postgres(request: pytest.FixtureRequest) -> str:
    url = request.getfixturevalue("postgres_url")
    admin = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.pool.NullPool)
    name = f"durable_{secrets.token_hex(6)}"
    with admin.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    return sqlalchemy.make_url(url).set(database=name).render_as_string(hide_password=False)


def begin(scenario: str, database: str, folder: Path, executor: str = "heedful") -> Any:
    process = FRESH.Process(target=flows.main, args=(scenario, database, str(folder), executor))
    process.start()
    return process


def run(scenario: str, database: str, folder: Path) -> int | None:
    process = begin(scenario, database, folder)
    process.join(PATIENCE)
    code: int | None = process.exitcode
    return code


def notes(folder: Path) -> list[str]:
    file = folder / "notes"
    return file.read_text().splitlines() if file.exists() else []


def test_a_workflow_that_is_killed_again_and_again_ends_and_does_each_step_once(
    empty: str, tmp_path: Path
) -> None:
    """A step may be begun again while it had not ended; once the next one has begun, never."""
    random, kills = Random(empty[:6]), 0
    while True:
        process = begin("kill_me", empty, tmp_path)
        wanted = len(notes(tmp_path)) + random.randint(1, 3)
        give_up = time.monotonic() + PATIENCE
        while process.is_alive() and (kills == KILLS or len(notes(tmp_path)) < wanted):
            assert time.monotonic() < give_up, (tmp_path / "log").read_text()[-2000:]
            time.sleep(0.002)
        if not process.is_alive():
            break
        time.sleep(random.uniform(0, 0.06))  # anywhere within a step, its end, its record and the next one
        process.kill()
        process.join()
        kills += 1
    assert process.exitcode == 0, (tmp_path / "log").read_text()[-2000:]
    assert kills == KILLS
    *begun, result = notes(tmp_path)
    names = [f"w.{number:02}" for number in range(flows.STEPS)]
    assert result == f"result {flows.STEPS}"
    assert sorted(path.name for path in (tmp_path / "effects").iterdir()) == names
    in_order = [line.removeprefix("begin ") for line in begun]
    assert in_order == sorted(in_order)  # nobody went back to a step that had ended
    assert sorted(set(in_order)) == names


def test_an_upgrade_does_not_orphan_what_is_under_way(empty: str, tmp_path: Path) -> None:
    assert run("before_upgrade", empty, tmp_path) == -9
    assert run("after_upgrade", empty, tmp_path) == 0
    assert notes(tmp_path)[-1] == "result then heard after 1"  # 1: the step that had ended was not done again


def test_a_step_that_is_left_with_system_exit_has_not_happened(empty: str, tmp_path: Path) -> None:
    assert run("leave", empty, tmp_path) == 0
    assert run("leave", empty, tmp_path) == 0
    assert notes(tmp_path) == ["begin step", "state running", "begin step", "result done by the next"]


@pytest.mark.postgres
def test_a_second_process_of_the_same_name_is_refused_until_the_first_is_dead(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    database = new_postgres(request)
    working = []

    def said(name: str, executor: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        working.append(begin("stay", database, folder, executor))
        give_up = time.monotonic() + PATIENCE
        while not notes(folder):
            assert time.monotonic() < give_up, (folder / "log").read_text()[-2000:]
            time.sleep(0.02)
        return notes(folder)[0]

    try:
        assert said("first", "one") == "works"
        assert said("second", "one").startswith("refused: a server of the name 'one' works")
        assert said("other", "two") == "works"
        working[0].kill()
        working[0].join()
        give_up = (
            time.monotonic() + PATIENCE
        )  # the database notices the end of a connection, not of a process
        for attempt in range(1000):
            if (answer := said(f"third {attempt}", "one")) == "works":
                break
            assert time.monotonic() < give_up, answer
    finally:
        for process in working:
            process.kill()
            process.join()


# --- one process per database tells the rest ---------------------------------------------------------


@pytest.fixture(scope="module")
def told(database: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("story")
    assert run("story", database, folder) == 0, (folder / "log").read_text()[-2000:]
    said: dict[str, Any] = json.loads((folder / "story.json").read_text())
    return said | {"notes": notes(folder)}


def test_starting_an_id_again_changes_nothing(told: dict[str, Any]) -> None:
    assert told["known"]["twice"] == ["done", 3, None]
    assert told["again"] == "3"
    assert told["notes"] == ["begin twice.00", "begin twice.01", "begin twice.02"]
    assert told["counts"] == ["twice"]


def test_messages_arrive_in_order_though_nobody_waited_yet(told: dict[str, Any]) -> None:
    assert told["known"]["late"] == ["done", [{"n": 1}, {"n": 2}, None], None]
    assert told["unknown"] == "no workflow 'nobody' is known here"
    assert told["nobody"] is True


def test_a_moments_trouble_is_tried_again_and_what_lasts_is_told_as_it_was(told: dict[str, Any]) -> None:
    assert told["known"]["moment"] == ["done", 2, None]
    assert told["known"]["lasting"] == ["failed", None, "the disk is away"]
    assert told["tries"]["lasting"] == 2


def test_what_would_fail_again_is_not_tried_again(told: dict[str, Any]) -> None:
    assert told["known"]["final"] == ["failed", None, "the prompt is empty"]
    assert told["tries"]["final"] == 1


def test_what_is_cancelled_takes_no_further_step(told: dict[str, Any]) -> None:
    assert told["known"]["cancelled"] == ["cancelled", None, None]
    assert "after a cancel" not in told["tries"]
    assert told["all"] == ["cancelled", "final", "lasting", "late", "moment", "twice"]
