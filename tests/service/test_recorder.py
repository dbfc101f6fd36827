"""Turns between the answer and the store: whatever is away, full or killed, none is lost unsaid."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

import rogue
from _services import Server
from crash_ingest import Victim
from factories import make_episode, make_turn
from heedful.domain.access import Scope
from heedful.domain.episode import Episode, Turn
from heedful.domain.ids import EpisodeId, TurnId
from heedful.errors import Unavailable
from heedful.service.door import keyring
from heedful.service.intake.recorder import Recorder
from heedful.service.state.metrics import Metrics
from heedful.settings import GatewaySettings, Settings
from heedful.store.journal import Journal
from heedful.store.sql import open_store
from parts import make_parts
from rogue import Rogue, kind

from .house import HI, TENANT, House, eventually, open_house

SMALL = 1 << 20  # bytes of the journal
LARGE = "x" * 200_000


@contextmanager
def full_soon(directory: Path, when_full: str) -> Iterator[tuple[House, Rogue]]:
    """A gateway whose journal holds five large requests."""
    gateway = GatewaySettings.model_validate({"when_full": when_full, "journal_bytes": SMALL})
    journal = Journal(directory / "small", most_bytes=SMALL)
    with (
        open_house(directory, Settings(gateway=gateway), journal=journal) as house,
        rogue.in_a_thread(kind) as server,
        house.asking(server, timeout=5.0),
    ):
        yield house, server


HOLD = """
import sys
import pysqlite3 as sqlite3
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Nobody else writes to the SQLite file: another process has its lock."""
    command = [sys.executable, "-c", HOLD, str(directory / "heedful.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            holder.kill()


def said(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers["x-heedful-turn"]


def stored(house: House, episode: str) -> list[str]:
    """Ids in the order of the store."""
    house.app.state.service.recorder.settle()
    return [turn.id for turn in house.parts.store.find(Turn, TENANT, where={"episode": episode})]


def test_answers_go_on_while_a_sqlite_file_takes_no_writes(tmp_path: Path) -> None:
    with open_house(tmp_path) as house, rogue.in_a_thread(kind) as server, house.asking(server, timeout=5.0):
        with held(tmp_path):
            turns = [said(house.ask(heedful={"episode": "held"})) for _ in range(50)]
            assert house.parts.store.find(Turn, TENANT, where={"episode": "held"}) == []
        assert stored(house, "held") == turns
        eventually(lambda: house.parts.journal.size == 0, "the journal keeps what is stored")


def test_answers_go_on_while_postgresql_is_dead(tmp_path: Path, postgres_to_kill: Server) -> None:
    with (
        open_house(tmp_path, url=postgres_to_kill.url) as house,
        rogue.in_a_thread(kind) as server,
        house.asking(server, timeout=5.0),
    ):
        key = keyring.issue(house.parts, TENANT, Scope.ADMIN, actor="test").text
        house.http.headers["authorization"] = f"Bearer {key}"
        house.app.state.service.door.forget()
        turns = [said(house.ask(heedful={"episode": "dead"})) for _ in range(5)]
        postgres_to_kill.kill()
        for _ in range(20):
            turns.append(said(house.ask(heedful={"episode": "dead"})))
            time.sleep(0.05)  # longer than keys and views are believed without the store
        postgres_to_kill.start()
        eventually(lambda: house.parts.journal.size == 0, "the turns did not come to the store", 20)
        assert stored(house, "dead") == turns
        assert house.parts.store.get(Episode, TENANT, "dead") is not None


def test_a_full_journal_refuses_before_anybody_is_asked(tmp_path: Path) -> None:
    with full_soon(tmp_path, "refuse") as (house, server):
        asked = len(server.calls)
        with held(tmp_path):
            answers = [house.ask(heedful={"episode": "full"}, x=LARGE) for _ in range(12)]
            good = [one for one in answers if one.status_code == 200]
            bad = answers[len(good) :]
            assert 3 <= len(good) <= 7
            assert {one.status_code for one in bad} == {503}
            assert int(bad[0].headers["retry-after"]) >= 1
            assert bad[-1].json()["error"]["code"] == "busy"
            # One is asked for whose turn is too large for what is left; after it nobody is.
            assert len(server.calls) == asked + len(good) + 1
            streamed = house.ask(stream=True, x=LARGE)
            assert streamed.status_code == 503
        assert stored(house, "full") == [said(one) for one in good]
        eventually(lambda: house.ask(x=LARGE).status_code == 200, "there is no room")


def test_a_full_journal_serves_and_counts_the_gap(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with full_soon(tmp_path, "serve") as (house, _):
        with held(tmp_path), caplog.at_level(logging.ERROR, logger="heedful.gateway"):
            answers = [house.ask(heedful={"episode": "gap"}, x=LARGE) for _ in range(12)]
            kept = [said(one) for one in answers if "x-heedful-recorded" not in one.headers]
            gap = [said(one) for one in answers if one.headers.get("x-heedful-recorded") == "no"]
            assert len(kept) + len(gap) == 12
            assert len(gap) >= 5
            streamed = house.ask(stream=True, x=LARGE)
            assert streamed.text.endswith("data: [DONE]\n\n")
        metric = f"heedful_turns_unrecorded_total {float(len(gap) + 1)}"
        assert metric in house.http.get(f"{house.url}/metrics").text
        assert sum("answered and not recorded" in one.message for one in caplog.records) == len(gap) + 1
        assert stored(house, "gap") == kept


def test_a_turn_can_be_read_right_after_its_answer(tmp_path: Path) -> None:
    with open_house(tmp_path) as house, rogue.in_a_thread(kind) as server, house.asking(server, timeout=5.0):
        for _ in range(50):
            turn = said(house.ask())
            assert house.http.get(f"{house.url}/v1/turns/{turn}").json()["id"] == turn


def test_an_answer_may_wait_for_the_store(tmp_path: Path) -> None:
    settings = Settings(gateway=GatewaySettings(record="store"))
    with (
        open_house(tmp_path, settings) as house,
        rogue.in_a_thread(kind) as server,
        house.asking(server, timeout=5.0),
    ):
        for _ in range(20):
            assert house.parts.store.get(Turn, TENANT, said(house.ask())) is not None
        assert "[DONE]" in house.ask(stream=True).text


# -- the thread that stores -----------------------------------------------------------------------------------


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    parts = make_parts(tmp_path)
    made = Recorder(parts, GatewaySettings(), Metrics())
    made.start()
    yield made
    made.stop()
    parts.store.close()
    parts.journal.close()


def turn(id: str, **more: Any) -> Turn:
    return make_turn(id=TurnId(id), tenant=TENANT, episode=EpisodeId("e"), **more)


def kept(recorder: Recorder) -> list[str]:
    recorder.settle()
    return [one.id for one in recorder._parts.store.find(Turn, TENANT, limit=None)]


def test_order_is_kept_under_load(recorder: Recorder) -> None:
    episode = make_episode(id=EpisodeId("e"), tenant=TENANT)
    for number in range(5000):
        recorder.keep([turn(f"t{number:05}")], episode if not number else None, named=False)
    assert kept(recorder) == [f"t{number:05}" for number in range(5000)]


def test_who_waits_and_leaves_does_not_stop_the_others(recorder: Recorder) -> None:
    for number in range(20):
        entry = recorder.keep([turn(f"t{number:02}")], None, named=False)
        assert entry is not None
        entry.stored.cancel()
        assert kept(recorder) == [f"t{place:02}" for place in range(number + 1)]


def test_a_turn_that_the_store_refuses_stops_no_other(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.keep([turn("a")], None, named=False)
    recorder.keep([turn("b"), replace(turn("a"), answer="another")], None, named=False)  # an id is taken once
    recorder.keep([turn("c")], None, named=False)
    assert kept(recorder) == ["a", "c"]
    assert [one for one in caplog.records if "could not be stored" in one.message]


def test_what_an_earlier_process_left_comes_first_and_once(tmp_path: Path) -> None:
    parts = make_parts(tmp_path)
    episode = make_episode(id=EpisodeId("e"), tenant=TENANT)
    died = Recorder(parts, GatewaySettings(), Metrics())
    died.stop()  # before it stored anything
    for number in range(600):
        died.keep([turn(f"t{number:04}")], episode if not number else None, named=True)
    parts.journal.close()
    parts = replace(parts, journal=Journal(tmp_path / "journal"))
    recorder = Recorder(parts, GatewaySettings(), Metrics())
    recorder.start()
    for number in range(600, 1200):
        recorder.keep([turn(f"t{number:04}")], episode, named=True)
    assert kept(recorder) == [f"t{number:04}" for number in range(1200)]
    recorder.stop()
    parts.journal.close()
    assert list((tmp_path / "journal").glob("*.log")) == []
    parts.store.close()


class Odd:
    """A store that fails in a way that nobody foresaw, for a while."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.odd = True

    def __getattr__(self, name: str) -> Any:
        if self.odd and name in ("submit", "get_many"):
            raise ZeroDivisionError(name)
        return getattr(self._store, name)


def test_an_error_that_nobody_foresaw_is_survived(tmp_path: Path) -> None:
    parts = make_parts(tmp_path)
    odd = Odd(parts.store)
    recorder = Recorder(replace(parts, store=odd), GatewaySettings(), Metrics())
    recorder.start()
    recorder.keep([turn("a")], make_episode(id=EpisodeId("e"), tenant=TENANT), named=True)
    with pytest.raises(Unavailable, match="not in the store after"):
        recorder.settle(0.3)
    odd.odd = False
    assert kept(recorder) == ["a"]
    recorder.stop()
    parts.store.close()


# -- a real server, killed --------------------------------------------------------------------------------------

KILLS = 3


async def answered(victim: Victim, kill: int) -> list[str]:
    """Turns whose answers came before the server was killed, at once after the last of them."""
    got: list[str] = []
    enough = asyncio.Event()

    async def ask(http: httpx.AsyncClient) -> None:
        while True:
            body = {"model": "triage", "messages": HI, "heedful": {"episode": f"kill-{kill}"}}
            answer = await http.post(f"{victim.url}/v1/chat/completions", json=body)
            got.append(answer.json()["id"])
            if len(got) == 40 + 7 * kill:
                enough.set()

    async with httpx.AsyncClient(trust_env=False, timeout=20.0) as http:
        asking = [asyncio.create_task(ask(http)) for _ in range(4)]
        await enough.wait()
        await victim.kill()
        await asyncio.gather(*asking, return_exceptions=True)
    return got


@pytest.mark.slow
def test_every_answer_survives_kill_9_once(tmp_path: Path) -> None:
    async def torment() -> list[str]:
        victim, got = Victim(tmp_path, None), []
        for kill in range(KILLS):
            await victim.start()
            if not kill:
                async with httpx.AsyncClient(trust_env=False, timeout=20.0) as http:
                    policy = {
                        "agent": "triage",
                        "body": {"kind": "external", "upstream": "scripts", "model": "triage"},
                    }
                    made = (await http.post(f"{victim.url}/v1/policies", json=policy)).json()["id"]
                    assert (
                        await http.post(f"{victim.url}/v1/releases", json={"policy": made})
                    ).status_code == 201
            got += await answered(victim, kill)
        await victim.start()
        async with httpx.AsyncClient(trust_env=False, timeout=20.0) as http:
            assert (await http.get(f"{victim.url}/v1/turns/{got[-1]}")).status_code == 200
        await victim.kill()
        return got

    got = asyncio.run(torment())
    store = open_store(f"sqlite:///{tmp_path / 'heedful-data' / 'heedful.db'}", read_only=True)
    try:
        there = [one.id for one in store.find(Turn, TENANT, limit=None)]
        assert len(there) == len(set(there))
        assert set(got) <= set(there)
        assert store.get(Episode, TENANT, f"kill-{KILLS - 1}") is not None
    finally:
        store.close()
