"""The disk is full: callers are told to come back, and when they do, everything is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from _disk import Recorder
from heedful.road import Parts
from heedful.service.api import build
from parts import make_parts
from power_loss import store_on

from .conftest import QuietLoop, asked, local, released


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path)


@pytest.fixture
def parts(tmp_path: Path, recorder: Recorder) -> Iterator[Parts]:
    made = make_parts(tmp_path / "beside", store=store_on(recorder))
    yield made
    made.store.close()


@pytest.fixture
def http(parts: Parts) -> TestClient:
    return local(build(parts, QuietLoop(parts)))


TEXT = "x" * 20_000
WRITES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "resolver", "messages": [{"role": "user", "content": TEXT}]},
    "/v1/feedback": {"turn": "turn_1", "said": {"form": "correction", "text": TEXT}},
    "/v1/queues": {"name": "Which?", "asks": "choice", "instructions": TEXT},
}


def test_a_full_disk_asks_callers_to_come_back(recorder: Recorder, http: TestClient) -> None:
    released(http, "resolver", "echo")
    asked(http, heedful={"turn": "turn_1", "episode": "episode_1"})
    recorder.room = 0
    for path, body in WRITES.items():
        status = 0
        for number in range(40):  # the log has a little room of its own
            said = body | ({} if path == "/v1/chat/completions" else {"id": f"{path[4:]}{number}"})
            answer = http.post(path, json=said)
            status = answer.status_code
            assert status in (200, 201, 503), answer.text
            if status == 503:
                break
        assert status == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["code"] == "unavailable"
        assert http.get("/v1/turns/turn_1").status_code == 200  # reading goes on
        recorder.room = None
        assert http.post(path, json=said).status_code in (200, 201)
        assert http.get("/readyz").status_code == 200
        recorder.room = 0
