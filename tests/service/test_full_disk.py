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
    "/v1/feedback": {"turn": "turn_1", "said": {"form": "correction", "text": TEXT}},
    "/v1/queues": {"name": "Which?", "asks": "choice", "instructions": TEXT},
}


@pytest.mark.parametrize("path", WRITES)
def test_a_full_disk_asks_callers_to_come_back(recorder: Recorder, http: TestClient, path: str) -> None:
    released(http, "resolver", "echo")
    asked(http, heedful={"turn": "turn_1", "episode": "episode_1"})
    assert http.get("/v1/turns/turn_1").status_code == 200
    recorder.room = 0
    answers = []
    for number in range(40):  # the log has a little room of its own
        answers.append(http.post(path, json=WRITES[path] | {"id": f"id{number}"}))
        if answers[-1].status_code != 201:
            break
    refused = answers.pop()
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    assert http.get("/v1/turns/turn_1").status_code == 200  # reading goes on
    for number in range(len(answers)):
        assert http.get(f"{path}/id{number}").status_code == 200
    assert http.get(f"{path}/id{len(answers)}").status_code == 404
    recorder.room = None
    assert http.get("/readyz").status_code == 200
    assert http.post(path, json=WRITES[path] | {"id": f"id{len(answers)}"}).status_code == 201


def test_answers_go_on_while_the_disk_is_full_and_are_stored_when_it_has_room(
    recorder: Recorder, http: TestClient
) -> None:
    released(http, "resolver", "echo")
    asked(http, heedful={"turn": "turn_0"})
    recorder.room = 0
    for number in range(1, 10):
        asked(http, text=TEXT, heedful={"turn": f"turn_{number}"})
    recorder.room = None
    for number in range(10):
        assert http.get(f"/v1/turns/turn_{number}").status_code == 200
