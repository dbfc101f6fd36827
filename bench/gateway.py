"""The gateway with key check, allocation, recording and durability on: requests per second, and the time it adds.

A trivial upstream answers at once, and one process asks it: directly, through Heedful, and with `--peer` through
LiteLLM, in turns. Afterwards every answer is looked for in Heedful's store: what was fast and not recorded does
not count.

Per request Heedful checks a key (SHA-256, believed for half a second), counts a rate, reads and validates the body,
allots a policy from a salted hash, asks the upstream, gives the completion the turn's id, writes the turn to its
journal, and puts it into SQLite with a synced commit behind the answer. LiteLLM checks its master key, routes and
calls its cost and logging hooks; it stores nothing here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import func, select

from _load import Measured, load, request
from heedful.client import Client
from heedful.domain.episode import Turn
from heedful.domain.ids import TenantId
from heedful.store.sql import open_store
from heedful.store.tables import TABLES

RATIO, ADDED_P50_MS, ADDED_P99_MS, P99_64_MS = 10.0, 1.0, 8.0, 150.0  # what is promised
START_SECONDS = 120.0
BODY = json.dumps(
    {
        "model": "desk",
        "messages": [{"role": "user", "content": "Where is my order? " * 4}],
        "max_tokens": 16,
    }
).encode()
ANSWER = json.dumps(
    {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "fake",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Your order is on its way."},
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27},
    }
).encode()
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(ANSWER),
    ANSWER,
)


class Upstream(asyncio.Protocol):
    """As much HTTP as it takes to give every POST the same answer."""

    def connection_made(self, transport: Any) -> None:
        self._transport, self._got = transport, b""

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            head = self._got[:end].lower()
            place = head.find(b"content-length:")
            length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            if len(self._got) < end + 4 + length:
                return
            self._got = self._got[end + 4 + length :]
            self._transport.write(WHOLE)


def serve_upstream(port: int) -> None:
    import uvloop

    async def go() -> None:
        server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(go())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Returns when something does."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"what should answer at {url} ended")
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer after {START_SECONDS:g} s")


@contextlib.contextmanager
def upstream() -> Iterator[int]:
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=serve_upstream, args=(port,), daemon=True)
    process.start()
    try:
        answers(f"http://127.0.0.1:{port}/")
        yield port
    finally:
        process.terminate()
        process.join()


class Server:
    """Heedful as anybody runs it: `heedful up`, with a key."""

    def __init__(self, directory: Path, upstream_port: int) -> None:
        self._directory = directory
        self.port = free_port()
        settings = {
            "inference": {"upstreams": {"fake": {"url": f"http://127.0.0.1:{upstream_port}/v1"}}},
            "server": {"port": self.port, "requests_per_second": 1e6},
        }
        (directory / "heedful.yaml").write_text(yaml.safe_dump(settings))
        self._log = (directory / "server.log").open("wb")

    def __enter__(self) -> Server:
        command = [sys.executable, "-m", "heedful.cli", "--dir", str(self._directory), "up"]
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        answers(f"http://127.0.0.1:{self.port}/readyz", self.process)
        with Client(f"http://127.0.0.1:{self.port}") as client:
            client.adopt("desk", {"kind": "external", "upstream": "fake", "model": "fake"}, once="bench")
            self.key = client.issue_key("agent").text
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(60)
        self._log.close()

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def recorded(self) -> int:
        """Turns in the database, when the server has ended."""
        store = open_store(f"sqlite:///{self._directory / 'heedful-data' / 'heedful.db'}", read_only=True)
        try:
            with store.reading() as connection:
                table = TABLES[Turn]
                question = (
                    select(func.count()).select_from(table).where(table.c.tenant == TenantId("default"))
                )
                return int(connection.execute(question).scalar_one())
        finally:
            store.close()


@contextlib.contextmanager
def peer(program: str, upstream_port: int) -> Iterator[tuple[int, str]]:
    """LiteLLM's proxy in its fastest plain form: no database, no telemetry, no retries."""
    found = shutil.which(program)
    if found is None:
        raise SystemExit(
            f"{program!r} is not a program here: pip install 'litellm[proxy]' in an environment of its own "
            "and give --peer the path of its `litellm`"
        )
    key, port = "sk-local", free_port()
    settings = {
        "model_list": [
            {
                "model_name": "desk",
                "litellm_params": {
                    "model": "openai/fake",
                    "api_base": f"http://127.0.0.1:{upstream_port}/v1",
                    "api_key": "none",
                },
            }
        ],
        "general_settings": {"master_key": key},
        "litellm_settings": {"telemetry": False, "num_retries": 0},
    }
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(yaml.safe_dump(settings))
        process = subprocess.Popen(
            [found, "--config", str(config), "--port", str(port), "--host", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | quiet,
        )
        try:
            answers(f"http://127.0.0.1:{port}/health/liveliness", process)
            yield port, key
        finally:
            process.terminate()
            process.wait(30)


def median(runs: Sequence[Measured], name: str) -> float:
    return float(statistics.median(getattr(run, name) for run in runs))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", nargs="?", const="litellm", help="the program `litellm`, to compare with")
    parser.add_argument("--clients", default="1,16,64")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    seconds, rounds = (3.0, 2) if chosen.quick else (chosen.seconds, chosen.rounds)
    counts = [int(count) for count in chosen.clients.split(",")]
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="heedful-gateway-"))
        below = stack.enter_context(upstream())
        server = Server(Path(folder), below)
        with server:
            targets: dict[str, tuple[int, str | None]] = {
                "upstream": (below, None),
                "heedful": (server.port, server.key),
            }
            if chosen.peer:
                targets["peer"] = stack.enter_context(peer(chosen.peer, below))
            runs, cpu = measure(targets, server, counts, seconds, rounds)
        answered = sum(run.requests for many in runs["heedful"].values() for run in many)
        recorded = server.recorded()
    result = told(runs, counts) | {
        "cpu_us_per_request": round(cpu / max(1, answered) * 1e6),
        "n": answered,
        "recorded_all": recorded >= answered,
        "refused": sum(run.refused for many in runs["heedful"].values() for run in many),
    }
    result["ok"] = holds(result, counts)
    print(f"RESULT {json.dumps(result)}")
    return 0 if result["ok"] else 1


def measure(
    targets: Mapping[str, tuple[int, str | None]],
    server: Server,
    counts: Sequence[int],
    seconds: float,
    rounds: int,
) -> tuple[dict[str, dict[int, list[Measured]]], float]:
    """Every target in turn, again and again, so that a machine that drifts drifts for all of them."""
    runs: dict[str, dict[int, list[Measured]]] = {name: {count: [] for count in counts} for name in targets}
    cpu = 0.0
    for _ in range(rounds):
        for count in counts:
            for name, (port, key) in targets.items():
                before = server.cpu_seconds()
                whole = request("/v1/chat/completions", BODY, key=key)
                run = load(port, [whole], clients=count, seconds=seconds)
                runs[name][count].append(run)
                if name == "heedful":
                    cpu += server.cpu_seconds() - before
                print(
                    f"{name} {count}: {run.per_second:.0f}/s p50 {run.p50_ms:.2f} p99 {run.p99_ms:.2f} ms",
                    flush=True,
                )
    return runs, cpu


def told(runs: Mapping[str, Mapping[int, Sequence[Measured]]], counts: Sequence[int]) -> dict[str, Any]:
    def by_clients(value: Any) -> dict[str, float]:
        return {str(count): round(value(count), 2) for count in counts}

    ours, below = runs["heedful"], runs["upstream"]
    result: dict[str, Any] = {
        "requests_per_s": by_clients(lambda count: median(ours[count], "per_second")),
        "upstream_per_s": by_clients(lambda count: median(below[count], "per_second")),
        "added_p50_ms": by_clients(lambda c: median(ours[c], "p50_ms") - median(below[c], "p50_ms")),
        "added_p99_ms": by_clients(lambda c: median(ours[c], "p99_ms") - median(below[c], "p99_ms")),
        "p99_ms": by_clients(lambda count: median(ours[count], "p99_ms")),
    }
    if "peer" in runs:
        theirs = runs["peer"]
        result["peer_requests_per_s"] = by_clients(lambda count: median(theirs[count], "per_second"))
        result["ratio"] = by_clients(
            lambda count: median(ours[count], "per_second") / median(theirs[count], "per_second")
        )
    return result


def holds(result: Mapping[str, Any], counts: Sequence[int]) -> bool:
    held = [result["recorded_all"], result["refused"] == 0]
    if 1 in counts:
        held += [result["added_p50_ms"]["1"] <= ADDED_P50_MS, result["added_p99_ms"]["1"] <= ADDED_P99_MS]
    if 64 in counts:
        held.append(result["p99_ms"]["64"] <= P99_64_MS)
        if "ratio" in result:
            held.append(result["ratio"]["64"] >= RATIO)
    return all(held)


if __name__ == "__main__":
    sys.exit(main())
