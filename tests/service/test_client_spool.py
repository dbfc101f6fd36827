"""What is said while the server is away: nothing is lost, nothing is doubled, and it arrives in order."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from heedful.client import AsyncClient, Client, Spool, Spooled
from heedful.domain.access import OPERATOR, Scope
from heedful.domain.episode import Episode, EpisodeState
from heedful.domain.feedback import Feedback
from heedful.errors import InvalidInput, Unavailable
from heedful.road import Parts
from serving import free_port, serving

from .conftest import KeyFor

CHILD = """
import os, sys
from heedful.client import Client
client = Client(sys.argv[1], spool=sys.argv[2])
for number in range(int(sys.argv[3])):
    client.feedback({"id": f"{os.getpid()}-{number}", "episode": "e", "said": {"form": "flag", "reason": str(number)}})
print("said", flush=True)
sys.stdin.read()
"""


def flag(id: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "episode": "e", "said": {"form": "flag", "reason": id}, **more}


def heard(parts: Parts) -> list[str]:
    """Ids, in the order in which they were kept."""
    found = parts.store.find(Feedback, OPERATOR, limit=None)
    return [one.id for one in sorted(found, key=lambda one: (one.received_at or one.at, one.at))]


def files(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def port(app: FastAPI) -> int:
    """Of a server that knows the episode and is away."""
    port = free_port()
    with serving(app, port) as url, Client(url) as client:
        client.begin_episode(id="e")
    return port


def test_what_is_said_without_a_server_arrives_in_order_when_it_is_back(
    app: FastAPI, port: int, folder: Path, parts: Parts
) -> None:
    with Client(f"http://127.0.0.1:{port}", spool=folder) as client:
        with serving(app, port):
            assert type(client.feedback(flag("0"))) is not Spooled
        began = time.monotonic()
        for number in range(1, 30):
            assert isinstance(client.feedback(flag(str(number))), Spooled)
        assert time.monotonic() - began < 5  # nobody is held up
        assert client.waiting > 0
        assert not client.flush(0.1)
        with serving(app, port):
            assert client.flush(20)
            assert client.feedback(flag("30")).status == "kept"
    assert heard(parts) == [str(number) for number in range(31)]
    assert files(folder) == []


def test_a_server_that_comes_and_goes_costs_nothing(
    app: FastAPI, port: int, folder: Path, parts: Parts
) -> None:
    with Client(f"http://127.0.0.1:{port}", spool=folder) as client:
        for round in range(3):
            with serving(app, port):
                client.feedback([flag(f"{round}a{number}") for number in range(20)])
                time.sleep(0.1)
            client.feedback([flag(f"{round}b{number}") for number in range(20)])
        with serving(app, port):
            assert client.flush(20)
    assert sorted(heard(parts)) == sorted(
        f"{round}{half}{number}" for round in range(3) for half in "ab" for number in range(20)
    )


def test_a_whole_episode_waits(app: FastAPI, port: int, folder: Path, parts: Parts) -> None:
    with Client(f"http://127.0.0.1:{port}", spool=folder) as client:
        with client.episode("mine", task_type="refund") as episode:
            episode.rate(4)
            episode.done(quality=0.5)
        with serving(app, port):
            assert client.flush(20)
    kept = parts.store.get(Episode, OPERATOR, "mine")
    assert kept is not None
    assert (kept.task_type, kept.state) == ("refund", EpisodeState.DONE)
    assert len(heard(parts)) == 2


def test_what_a_killed_process_said_is_sent_by_the_next(
    app: FastAPI, port: int, folder: Path, parts: Parts
) -> None:
    command = [sys.executable, "-c", CHILD, f"http://127.0.0.1:{port}", str(folder), "25"]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "said\n"
    first, second = children
    first.send_signal(signal.SIGKILL)
    first.wait()
    with serving(app, port) as url:
        # The second still lives, and sends its own itself.
        with Client(url, spool=folder) as client:
            assert client.flush(20)
        wanted = {f"{child.pid}-{number}" for child in children for number in range(25)}
        give_up = time.monotonic() + 20
        while set(heard(parts)) != wanted and time.monotonic() < give_up:
            time.sleep(0.1)
        assert sorted(heard(parts)) == sorted(wanted)
        second.communicate()
    assert second.returncode == 0
    assert files(folder) == []


def test_a_torn_last_line_is_put_aside_and_the_rest_arrives(
    app: FastAPI, port: int, folder: Path, parts: Parts
) -> None:
    folder.mkdir()
    line = json.dumps({"path": "/v1/feedback", "body": flag("whole")})
    (folder / "old.jsonl").write_text(f"{line}\nnot JSON\n{line.replace('whole', 'second')}\n{line[:40]}")
    with serving(app, port) as url, Client(url, spool=folder) as client:
        assert client.flush(20)
    assert sorted(heard(parts)) == ["second", "whole"]
    refused = [json.loads(line) for line in (folder / "old.refused").read_text().splitlines()]
    assert [one["line"] for one in refused] == ["not JSON", line[:40]]


def test_feedback_that_cannot_be_is_put_aside_with_the_reason(
    app: FastAPI, port: int, folder: Path, parts: Parts
) -> None:
    bad = {"id": "bad", "episode": "e", "said": {"form": "rating", "value": 9}}
    with Client(f"http://127.0.0.1:{port}", spool=folder) as client:
        odd = {"id": "c", "episode": "e", "said": {"form": "violation", "category": "no.such"}}
        client.feedback([flag("a"), bad, flag("b"), odd])
        with serving(app, port):
            assert client.flush(20)
    assert sorted(heard(parts)) == ["a", "b"]
    (path,) = folder.glob("*.refused")
    refused = [json.loads(line) for line in path.read_text().splitlines()]
    assert [json.loads(one["line"])["body"]["id"] for one in refused] == ["bad", "c"]
    assert "goes from 1 to 5" in refused[0]["reason"]
    assert "no.such" in refused[1]["reason"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_refusal_is_an_exception_while_the_server_is_there(app: FastAPI, port: int, folder: Path) -> None:
    with serving(app, port) as url, Client(url, spool=folder) as client:
        with pytest.raises(InvalidInput):
            client.feedback({"id": "a", "episode": "e", "said": {"form": "rating", "value": 9}})
        assert client.waiting == 0


def test_a_key_that_is_wrong_loses_nothing(
    app: FastAPI, port: int, folder: Path, parts: Parts, key_for: KeyFor
) -> None:
    right = key_for(Scope.PRODUCT)
    with Client(f"http://127.0.0.1:{port}", "hk_wrong.key", spool=folder) as client:
        client.feedback([flag("a")])
        with serving(app, port):
            assert not client.flush(0.5)
    with serving(app, port) as url, Client(url, right, spool=folder) as client:
        assert client.flush(20)
    assert heard(parts) == ["a"]


def test_the_spool_is_nobody_elses_and_has_a_bound(port: int, folder: Path) -> None:
    with Client(f"http://127.0.0.1:{port}", spool=Spool(folder, most_bytes=1000)) as client:
        client.feedback(flag("a"))
        (path,) = folder.glob("*.jsonl")
        assert path.stat().st_mode & 0o777 == 0o600
        assert folder.stat().st_mode & 0o777 == 0o700
        before = client.waiting
        with pytest.raises(Unavailable, match="is full"):
            client.feedback([flag("b"), flag("c" * 900)])
        assert client.waiting == before


def test_a_spool_that_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be used"):
        Client("http://127.0.0.1:1", spool=tmp_path / "file")


def test_a_program_that_ends_without_a_server_ends_soon(port: int, folder: Path) -> None:
    began = time.monotonic()
    command = [sys.executable, "-c", CHILD, f"http://127.0.0.1:{port}", str(folder), "3"]
    child = subprocess.run(command, input="", capture_output=True, text=True, check=True, timeout=60)
    assert "Traceback" not in child.stderr
    assert time.monotonic() - began < 15
    (path,) = folder.glob("*.jsonl")
    assert len(path.read_text().splitlines()) == 3


def test_a_forked_child_has_a_file_of_its_own(app: FastAPI, port: int, folder: Path, parts: Parts) -> None:
    script = CHILD.replace(
        "print(",
        "import os as o\nif o.fork() == 0:\n    client.feedback({'id': 'child', 'episode': 'e', "
        "'said': {'form': 'flag', 'reason': 'x'}})\n    o._exit(0)\no.wait()\nprint(",
    )
    command = [sys.executable, "-W", "ignore", "-c", script, f"http://127.0.0.1:{port}", str(folder), "3"]
    subprocess.run(command, input="", capture_output=True, text=True, check=True, timeout=60)
    assert len(list(folder.glob("*.jsonl"))) == 2
    with serving(app, port) as url, Client(url, spool=folder) as client:
        assert client.flush(20)
    assert len(heard(parts)) == 4
    assert "child" in heard(parts)
    assert files(folder) == []


@pytest.mark.anyio
async def test_the_async_client_spools_too(app: FastAPI, port: int, folder: Path, parts: Parts) -> None:
    async with AsyncClient(f"http://127.0.0.1:{port}", spool=folder) as client:
        results = await client.feedback([flag("a"), flag("b")])
        assert [type(one) for one in results] == [Spooled, Spooled]
        with serving(app, port):
            assert await client.flush(20)
    assert sorted(heard(parts)) == ["a", "b"]
