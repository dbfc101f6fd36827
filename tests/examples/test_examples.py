"""Every example runs as it stands, against a real server in front of a hosted model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from hosted import Hosted, hosting

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
HOSTED_PAGE = ROOT / "docs" / "hosted.md"
SOON = 60.0  # seconds; the cores are shared


@dataclass(frozen=True, slots=True)
class Server:
    """`heedful up` in a process of its own, with the settings that the page tells people to write."""

    url: str
    hosted: Hosted
    directory: Path

    def run(self, example: str) -> list[str]:
        """What the example prints."""
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / example)],
            env={**environment(), "HEEDFUL_URL": self.url},
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=3 * SOON,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    def agent(self, name: str, model: str) -> None:
        body = {"kind": "external", "upstream": "hosted", "model": model}
        policy = self.post("/v1/policies", {"agent": name, "body": body})["id"]
        self.post("/v1/releases", {"policy": policy, "once": f"first-{name}"})

    def post(self, path: str, body: Any) -> Any:
        answer = httpx.post(f"{self.url}{path}", json=body, trust_env=False)
        assert answer.is_success, answer.text
        return answer.json()

    def heedful(self, *arguments: str) -> str:
        """A command beside the server."""
        done = subprocess.run(
            [sys.executable, "-m", "heedful.cli", "--dir", str(self.directory), *arguments],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=SOON,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEEDFUL_")}
    return {**kept, "PYTHONPATH": str(ROOT / "src"), "OPENAI_API_KEY": "sk-hosted", "NO_PROXY": "127.0.0.1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("examples")
    with hosting() as hosted:
        (written,) = re.findall(r"```yaml\n(.*?)```", HOSTED_PAGE.read_text(), re.DOTALL)
        (directory / "heedful.yaml").write_text(written.replace("https://api.openai.com/v1", hosted.url))
        command = [
            sys.executable,
            "-m",
            "heedful.cli",
            "--dir",
            str(directory),
            "up",
            "--port",
            "0",
            "--json",
        ]
        with (directory / "log").open("w") as log:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment()
            )
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            deadline = time.monotonic() + SOON
            while not answers(url):
                assert time.monotonic() < deadline, (directory / "log").read_text()
                time.sleep(0.1)
            yield Server(url, hosted, directory)
        finally:
            process.terminate()
            process.wait(SOON)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def ten_minutes(server: Server) -> list[str]:
    """What `hosted_model.py` prints; it leaves the agent `support` behind."""
    return server.run("hosted_model.py")


def test_two_prompts_of_a_hosted_model_are_compared(server: Server, ten_minutes: list[str]) -> None:
    begun, ended, step, live, last = ten_minutes
    assert begun == "support@1 answers, support@2 is tried on half of the tickets"
    assert re.fullmatch(r"after \d+ tickets the release is full", ended)
    assert step == "  at 50 %: advance"
    assert live == "support: support@2 answers"
    assert float(last.split()[-1]) > 0
    status = json.loads(server.heedful("status", "--json"))
    (agent,) = [one for one in status["agents"] if one["agent"] == "support"]
    assert agent["live"] == "support@2"
    assert "full at 100 %" in server.heedful("show", "release")
    assert "support@2" in server.heedful("why", "policy", "support@2")


@pytest.mark.usefixtures("ten_minutes")
def test_the_official_client(server: Server) -> None:
    whole, streamed, responded, *graph = server.run("openai_client.py")
    assert whole.endswith("Where is my parcel?")
    assert streamed.endswith("And when does it come?")
    assert responded.endswith("And when?")
    assert graph == ["support -> user", "support -> user"]


def test_langchain(server: Server) -> None:
    server.agent("lookup", "clerk")
    said, first, second = server.run("langchain_agent.py")
    assert said == "It is settled: R-7 is in Lyon"
    assert first.endswith("goes on from None")
    assert second.endswith(f"goes on from {first.split()[0]}")


def test_openai_agents_hand_over(server: Server) -> None:
    server.agent("triage", "clerk")
    server.agent("billing", "clerk")
    said, *graph = server.run("openai_agents_handoff.py")
    assert said == "It is settled: R-7 is over 12 €"
    assert graph == ["triage -> billing", "billing -> None", "billing -> user"]


@pytest.mark.usefixtures("ten_minutes")
def test_plain_http(server: Server) -> None:
    said, names, kept = server.run("plain_http.py")
    assert said.endswith("Where is my parcel?")
    assert kept == "kept"
    turn, policy, episode = names.split()
    found = httpx.get(f"{server.url}/v1/episodes/{episode}", trust_env=False).json()
    assert [(one["id"], one["policy"]) for one in found["turns"]] == [(turn, policy)]
    assert (found["episode"]["state"], found["episode"]["outcome"]) == ("done", 1.0)
    assert [one["said"]["up"] for one in found["feedback"]] == [True]


def test_opentelemetry(server: Server) -> None:
    first, second, show = server.run("opentelemetry_spans.py")
    assert (first, second) == ("taken ['chat triage']", "taken ['chat billing']")
    found = httpx.get(f"{server.url}/v1/episodes/{show.split()[-1]}", trust_env=False).json()
    assert [(one["agent"], one["answer"]) for one in found["turns"]] == [
        ("triage", "Billing knows."),
        ("billing", "It has two months on it."),
    ]
    assert len(found["feedback"]) == 2
