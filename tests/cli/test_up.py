"""A real server in a process of its own, and the command line beside it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli._filled import edit
from cli.conftest import Heedful
from heedful import running
from heedful.cli import KEY

SOON = 60.0  # seconds; the cores are shared


@contextmanager
def serving(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """`heedful up --port 0 --json`, ready to answer."""
    command = [sys.executable, "-m", "heedful.cli", "--dir", str(directory), "up", "--port", "0", "--json"]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=_without_key())
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        server = running.find(directory / "heedful-data")
        assert server == running.Running(pid=process.pid, url=said["url"])
        deadline = time.monotonic() + SOON
        while not running.answers(server):
            assert time.monotonic() < deadline, (directory / "log").read_text()
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def refused(directory: Path, *arguments: str) -> str:
    """What `heedful up` says when it does not start. In its own process: it takes over the logs."""
    done = subprocess.run(
        [sys.executable, "-m", "heedful.cli", "--dir", str(directory), "up", *arguments],
        capture_output=True,
        text=True,
        timeout=SOON,
        check=False,
        env=_without_key(),
    )
    assert done.returncode == 1
    assert "\nTraceback" not in f"\n{done.stderr}"  # a line of the log may hold one, a person sees none
    return done.stderr


def _without_key() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != KEY}


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_server_is_found_used_and_stopped(heedful: Heedful, directory: Path, stop: signal.Signals) -> None:
    with serving(directory) as process:
        status = heedful("status", "--json", "--dir", directory).json
        assert (status["server"]["running"], status["server"]["ready"]) == (True, True)
        assert status["server"]["pid"] == process.pid
        assert [agent["live"] for agent in status["agents"]] == ["resolver:v1"]
        assert "server runs at" in heedful("status", "--dir", directory).out
        doctored = heedful("doctor", "--dir", directory)
        assert doctored.code == 0
        assert "answering at" in doctored.out
        # Looking needs neither the server nor its lock.
        assert heedful("show", "episode", "ticket-1", "--dir", directory).code == 0

        assert f"process {process.pid}" in refused(directory, "--port", "0")

        process.send_signal(stop)
        assert process.wait(SOON) == 0
    assert not (directory / "heedful-data" / running.NOTE).exists()
    assert heedful("status", "--json", "--dir", directory).json["server"] == {"running": False}
    verified = heedful("audit", "verify", "--json", "--dir", directory).json
    assert verified["anchored"] == verified["read"] > 0  # the server signed how it left the log


def test_a_server_with_a_damaged_log_works_and_signs_nothing(heedful: Heedful, directory: Path) -> None:
    edit(directory, 'DELETE FROM audit_entry WHERE "index" = 1')
    with serving(directory) as process:
        process.terminate()
        assert process.wait(SOON) == 0
    assert "the audit log was not signed" in (directory / "log").read_text()
    assert not (directory / "heedful-data" / "checkpoints.jsonl").exists()


def test_keys_go_through_the_server_that_runs(heedful: Heedful, tmp_path: Path) -> None:
    with serving(tmp_path):
        first = heedful("keys", "issue", "--scope", "admin", "--json", "--dir", tmp_path)
        assert first.code == 0
        # From now on everybody needs a key, the command line too.
        refused = heedful("keys", "issue", "--scope", "viewer", "--dir", tmp_path)
        assert refused.code == 1
        assert KEY in refused.err
        admin = ("--key", first.json["text"], "--dir", tmp_path)
        viewer = heedful("keys", "issue", "--scope", "viewer", "--json", *admin)
        assert viewer.code == 0
        id = viewer.json["key"]["id"]
        rotated = heedful("keys", "rotate", id, "--overlap-seconds", "5", "--json", *admin)
        assert rotated.json["key"]["scope"] == "viewer"
        assert heedful("keys", "revoke", id, *admin).code == 0
        assert heedful("keys", "revoke", "hk_nobody", *admin).code == 1
        assert len(heedful("keys", "list", "--json", "--dir", tmp_path).json) == 3


def test_a_killed_server_is_not_taken_for_a_running_one(heedful: Heedful, tmp_path: Path) -> None:
    with serving(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / "heedful-data" / running.NOTE).exists()
        assert heedful("status", "--json", "--dir", tmp_path).json["server"] == {"running": False}
        checks = {one["name"]: one for one in heedful("doctor", "--json", "--dir", tmp_path).json}
        assert "nobody holds the database" in checks["owner"]["said"]


def test_an_open_address_without_keys_is_refused(tmp_path: Path) -> None:
    assert "heedful keys issue" in refused(tmp_path, "--host", "0.0.0.0", "--port", "0")
    assert not (tmp_path / "heedful-data" / running.NOTE).exists()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert f"server.port {port}" in refused(tmp_path, "--port", port)


def test_a_second_server_of_one_name_is_refused_on_postgresql(
    tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEEDFUL_DATABASE", postgres_database.replace("+psycopg", ""))
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    with serving(first):
        assert "its own server.name" in refused(second, "--port", "0")
