"""Kill -9 in the middle of ingest: nothing acknowledged is lost, nothing is doubled.

A real server takes turns through its gateway and feedback through its API, some of it before its turn, from
clients that repeat themselves until they are answered. It is killed at random moments and started again.
Everything that the clients were told is kept stands in a ledger of their own, and is then looked for in the
database: once, joined to its turn, and tied to the policy that wrote it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from _services import postgres
from heedful.client import AsyncClient, Patience
from heedful.domain.episode import Episode, Turn
from heedful.domain.feedback import Feedback
from heedful.domain.ids import TenantId
from heedful.store.sql import open_store

TENANT = TenantId("default")
AGENT = "triage"
CLIENTS = 12
START_SECONDS = 120.0  # a shared core can be asleep for a while
LOAD_SECONDS = (0.2, 1.5)  # between a start and a kill
KILLS, KILLS_QUICK = 100, 12  # on each database
EARLY = 0.2  # share of turns on which somebody says something before they are here
JOIN_SECONDS = 60.0  # until what waited for its turn has joined it


@dataclass
class Ledger:
    """What the clients sent, and what they were told."""

    sent: set[str] = field(default_factory=set)  # ids of feedback, acknowledged or not
    feedback: dict[str, str] = field(default_factory=dict)  # acknowledged: id -> its nonce
    asked: set[str] = field(default_factory=set)  # ids of turns
    turns: dict[str, tuple[str, str]] = field(default_factory=dict)  # acknowledged: id -> request, answer

    @property
    def acknowledged(self) -> int:
        return len(self.feedback) + len(self.turns)


class Victim:
    """The server: `kill` is kill -9."""

    def __init__(self, directory: Path, database: str | None) -> None:
        self._directory = directory
        self._port = free_port()
        self._environment = os.environ | {
            "HEEDFUL_INFERENCE__SCRIPTS": json.dumps({AGENT: "heedful.simulation.triage:hand_over"}),
            "HEEDFUL_SERVER__REQUESTS_PER_SECOND": "100000",
            "HEEDFUL_SERVER__LOG_LEVEL": "WARNING",
            **({"HEEDFUL_DATABASE": database} if database else {}),
        }
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        command = ("-m", "heedful.cli", "--dir", str(self._directory), "up", "--port", str(self._port))
        with (self._directory / "server.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(START_SECONDS):
            while True:
                if self._process.returncode is not None:
                    raise RuntimeError(f"the server ended:\n{self._log()[-3000:]}")
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(f"{self.url}/readyz")).status_code == 200:
                        return
                await asyncio.sleep(0.05)

    async def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(how)
            await self._process.wait()

    def _log(self) -> str:
        return (self._directory / "server.log").read_text(errors="replace")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def work(
    client: AsyncClient, name: str, ledger: Ledger, stop: asyncio.Event, chance: random.Random
) -> None:
    """One agent and the people around it: a turn, feedback on it, and now and then the same once more."""
    for number in range(10**9):
        if stop.is_set():
            return
        turn, text = f"{name}:{number}", f"question {number} of {name}"
        if chance.random() < EARLY:
            early = [piece(turn, f"{turn}:early")]
            ledger.sent.add(early[0]["id"])
            await hear(client, early, ledger)
        ledger.asked.add(turn)
        answer = await client.complete(
            AGENT, [{"role": "user", "content": text}], turn=turn, episode=f"{name}:{number // 3}"
        )
        ledger.turns[turn] = (text, answer.text)
        said = [piece(turn, f"{turn}:{place}") for place in range(chance.randint(1, 4))]
        ledger.sent.update(one["id"] for one in said)
        await hear(client, said, ledger)
        if chance.random() < 0.2:
            await hear(client, said, ledger)


def piece(turn: str, id: str) -> dict[str, Any]:
    return {
        "id": id,
        "turn": turn,
        "at": "2026-06-01T12:00:00Z",
        "said": {"form": "thumbs", "up": True},
        "metadata": {"nonce": f"nonce {id}"},
    }


async def hear(client: AsyncClient, said: list[dict[str, Any]], ledger: Ledger) -> None:
    for sent, kept in zip(said, await client.feedback(said), strict=True):
        if kept.error is not None:
            raise RuntimeError(f"{sent['id']} was refused: {kept.error.message}")
        ledger.feedback[sent["id"]] = sent["metadata"]["nonce"]


async def torment(victim: Victim, kills: int, seed: int, ledger: Ledger) -> int:
    """Load from all sides, and a kill whenever the dice say so. Returns how many there were."""
    chance, stop = random.Random(seed), asyncio.Event()
    await victim.start()
    async with contextlib.AsyncExitStack() as stack:
        patience = Patience(attempts=600, first=0.05, longest=0.5, random=random.Random(seed))
        clients = [
            await stack.enter_async_context(AsyncClient(victim.url, timeout=30.0, patience=patience))
            for _ in range(CLIENTS)
        ]
        await clients[0].adopt(
            AGENT, {"kind": "external", "upstream": "scripts", "model": AGENT}, once="bench"
        )
        workers = [
            asyncio.create_task(work(client, f"client{number}", ledger, stop, random.Random(seed + number)))
            for number, client in enumerate(clients)
        ]
        done = 0
        for _ in range(kills):
            before = ledger.acknowledged
            await asyncio.sleep(chance.uniform(*LOAD_SECONDS))
            while ledger.acknowledged == before and not any(worker.done() for worker in workers):  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # in the middle of ingest, not before it
            await victim.kill()
            done += 1
            await victim.start()
        await asyncio.sleep(0.5)
        stop.set()
        await asyncio.gather(*workers)
        await victim.kill()  # the last words count too
        await victim.start()
        async with asyncio.timeout(JOIN_SECONDS):
            while await parked(victim):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    await victim.kill()
    return done


async def parked(victim: Victim) -> int:
    """Pieces of feedback that still wait for their turns."""
    async with httpx.AsyncClient(trust_env=False) as http:
        return int((await http.get(f"{victim.url}/v1/sources")).json()["parked"])


def compared(url: str, ledger: Ledger) -> dict[str, int]:
    """The ledger beside the database."""
    store = open_store(url, read_only=True)
    try:
        feedback = store.find(Feedback, TENANT, limit=None)
        turns = store.find(Turn, TENANT, limit=None)
        episodes = {episode.id for episode in store.find(Episode, TENANT, limit=None)}
    finally:
        store.close()
    heard = {one.id: one.metadata.get("nonce") for one in feedback}
    said = {turn.id: (turn.request[0].text, turn.answer) for turn in turns}
    lost = sum(heard.get(id) != nonce for id, nonce in ledger.feedback.items())  # type: ignore[call-overload]
    lost += sum(said.get(id) != words for id, words in ledger.turns.items())  # type: ignore[call-overload]
    lost += sum(turn.episode not in episodes for turn in turns)  # a turn without its episode is half a turn
    lost += sum(one.policy is None for one in feedback)  # it was never joined to what it is about
    doubled = len(feedback) - len(set(heard.values())) + len(turns) - len(said)
    doubled += sum(id not in ledger.sent for id in heard) + sum(id not in ledger.asked for id in said)
    return {"acknowledged": ledger.acknowledged, "lost": lost, "duplicated": doubled}


@contextmanager
def place(database: str) -> Iterator[tuple[Path, str | None, str]]:
    """A directory, the setting `database`, and the URL to look at afterwards."""
    with tempfile.TemporaryDirectory(prefix="heedful-crash-") as name:
        directory = Path(name)
        if database == "sqlite":
            yield directory, None, f"sqlite:///{directory / 'heedful-data' / 'heedful.db'}"
            return
        with postgres() as server:
            yield directory, server.url, server.url


def run(database: str, kills: int, seed: int) -> Mapping[str, Any]:
    ledger, started = Ledger(), time.monotonic()
    with place(database) as (directory, setting, url):
        done = asyncio.run(torment(Victim(directory, setting), kills, seed, ledger))
        found = compared(url, ledger)
    print(f"{database}: {found}, {done} kills, {time.monotonic() - started:.0f} s", flush=True)
    return {**found, "kills": done}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), help="only this one; both by default")
    parser.add_argument("--kills", type=int, help=f"on each database: {KILLS}, with --quick {KILLS_QUICK}")
    parser.add_argument("--quick", action="store_true", help="at most 5 minutes")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    kills = chosen.kills or (KILLS_QUICK if chosen.quick else KILLS)
    databases = [chosen.database] if chosen.database else ["sqlite", "postgres"]
    found = {database: run(database, kills, chosen.seed) for database in databases}
    total = {
        name: sum(one[name] for one in found.values()) for name in ("acknowledged", "lost", "duplicated")
    }
    whole = all(one["kills"] == kills for one in found.values())
    result = {
        **total,
        "kills": kills,  # on each database
        "n": total["acknowledged"],
        "databases": found,
        "ok": whole and total["acknowledged"] > 0 and not total["lost"] and not total["duplicated"],
    }
    print(f"RESULT {json.dumps(result)}")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
