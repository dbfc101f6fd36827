"""Feedback before its turn, names that were declared, dead letters, and limits that are said before loss."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from heedful import road
from heedful.domain.clock import SetClock, WallClock
from heedful.domain.feedback import DeadLetter, Feedback, Parked
from heedful.domain.ids import TenantId
from heedful.feedback.metrics import MetricSettings
from heedful.road import Parts
from heedful.service.api import build
from heedful.service.intake.joiner import Joiner
from heedful.settings import ServerSettings, Settings
from heedful.store.protocol import Batch
from heedful.store.sql import open_store
from heedful.store.sqlite import driver
from parts import make_parts

from .conftest import QuietLoop, asked, local, released

TENANT = TenantId("default")
UP = {"form": "thumbs", "up": True}
DOWN = {"form": "thumbs", "up": False}


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = make_parts(
        tmp_path,
        clock=SetClock(WallClock().now()),
        metrics={
            "helpful": MetricSettings(form="thumbs"),
            "nps": MetricSettings(form="rating", low=0, high=10),
        },
    )
    yield made
    made.store.close()


@pytest.fixture
def joiner(parts: Parts) -> Joiner:
    return Joiner(parts)


def answered(http: TestClient, turn: str, episode: str = "episode_1") -> None:
    """And in the store, where the joiner looks."""
    asked(http, heedful={"turn": turn, "episode": episode})
    assert http.get(f"/v1/turns/{turn}").status_code == 200


def kept(parts: Parts) -> list[Feedback]:
    return parts.store.find(Feedback, TENANT)


# -- parked and joined ------------------------------------------------------------------------------------


def test_feedback_before_its_turn_is_parked_and_joins_it(
    http: TestClient, resolver: str, parts: Parts, joiner: Joiner
) -> None:
    piece = {"id": "early", "turn": "turn_1", "said": UP, "by": "ada"}
    first = http.post("/v1/feedback", json=piece)
    assert (first.status_code, first.json()["status"]) == (202, "parked")
    again = http.post("/v1/feedback", json=piece)
    assert (again.status_code, again.json()["status"]) == (200, "duplicate")
    seen = http.get("/v1/feedback/early").json()
    assert (seen["waits_for"], seen["policy"]) == (["turn_1"], None)
    joiner.look()
    assert kept(parts) == []

    answered(http, "turn_1")
    between = http.post("/v1/feedback", json=piece)
    assert (between.status_code, between.json()["status"]) == (200, "duplicate")
    joiner.look()
    (one,) = kept(parts)
    assert (one.id, one.policy, one.episode) == ("early", "resolver@1", "episode_1")
    assert parts.store.find(Parked, TENANT) == []
    after = http.post("/v1/feedback", json=piece)
    assert (after.status_code, after.json()["status"]) == (200, "duplicate")
    assert http.get("/v1/feedback/early").json()["waits_for"] == []
    assert len(kept(parts)) == 1


def test_the_same_id_with_other_words_is_a_conflict_at_any_time(
    http: TestClient, resolver: str, parts: Parts, joiner: Joiner
) -> None:
    piece = {"id": "early", "turn": "turn_1", "said": UP, "at": "2026-01-01T00:00:00Z"}
    assert http.post("/v1/feedback", json=piece).status_code == 202
    steps: list[Callable[[], object]] = [dict, lambda: answered(http, "turn_1"), joiner.look]
    for then in steps:
        then()
        assert http.post("/v1/feedback", json=piece | {"said": DOWN}).status_code == 409
    (one,) = kept(parts)
    assert one.said.up is True  # type: ignore[union-attr]


def test_feedback_that_is_parked_while_its_turn_comes_is_not_forgotten(
    http: TestClient, resolver: str, parts: Parts, joiner: Joiner
) -> None:
    """The turn is read before the feedback has been parked: only the feedback is new to the next look."""
    answered(http, "turn_1")
    joiner.look()
    now = parts.clock.now()
    said = http.post("/v1/feedback", json={"id": "other", "turn": "turn_9", "said": UP})
    assert said.status_code == 202
    parked = parts.store.find(Parked, TENANT)[0]
    late = replace(parked, id="late", feedback=replace(parked.feedback, id="late", turn="turn_1"), since=now)  # type: ignore[arg-type]
    parts.store.commit(Batch(add=(replace(late, waits_for=("turn_1",)),)))  # type: ignore[arg-type]
    joiner.look()
    assert [one.id for one in kept(parts)] == ["late"]


def test_a_choice_waits_for_the_last_of_its_turns(
    http: TestClient, resolver: str, parts: Parts, joiner: Joiner
) -> None:
    choice = {"form": "choice", "shown": ["a", "b", "c"], "chosen": "b"}
    assert http.post("/v1/feedback", json={"said": choice}).status_code == 202
    for turn in ("a", "c", "b"):
        joiner.look()
        assert kept(parts) == []
        answered(http, turn)
    joiner.look()
    (one,) = kept(parts)
    assert one.policy == "resolver@1"


def test_feedback_waits_for_an_episode_too(
    http: TestClient, resolver: str, parts: Parts, joiner: Joiner
) -> None:
    done = {"form": "completion", "completed": True}
    assert http.post("/v1/feedback", json={"episode": "episode_1", "said": done}).status_code == 202
    joiner.look()
    answered(http, "turn_1")
    joiner.look()
    assert [one.episode for one in kept(parts)] == ["episode_1"]


def test_a_judgement_does_not_wait(http: TestClient, parts: Parts) -> None:
    refused = http.post("/v1/feedback", json={"turn": "none", "said": UP, "judgement": {"queue": "q"}})
    assert (refused.status_code, refused.json()["error"]["param"]) == (404, "turn")
    assert parts.store.find(Parked, TENANT) == []


def test_a_server_joins_by_itself(parts: Parts) -> None:
    app = build(parts, QuietLoop(parts))
    with local(app) as http:
        http.post("/v1/feedback", json={"id": "early", "turn": "turn_1", "said": UP})
        released(http, "resolver", "echo")
        answered(http, "turn_1")
        for _ in range(100):
            if http.get("/v1/feedback/early").json()["policy"]:
                break
            time.sleep(0.05)
        assert http.get("/v1/feedback/early").json()["policy"] == "resolver@1"


# -- dead letters -----------------------------------------------------------------------------------------


def test_what_contradicts_its_turn_becomes_a_dead_letter_that_can_be_mended(
    http: TestClient, resolver: str, parts: Parts, joiner: Joiner
) -> None:
    answered(http, "turn_0", "other_episode")
    piece = {"id": "odd", "turn": "turn_1", "episode": "other_episode", "said": UP}
    assert http.post("/v1/feedback", json=piece).status_code == 202
    answered(http, "turn_1", "episode_1")
    joiner.look()
    assert (kept(parts), parts.store.find(Parked, TENANT)) == ([], [])
    (letter,) = http.get("/v1/deadletters").json()["results"]
    assert letter["origin"] == "parked"
    assert "episode is 'other_episode'" in letter["reason"]
    assert json.loads(http.get(f"/v1/deadletters/{letter['id']}").json()["payload"])["id"] == "odd"

    (again,) = http.post(f"/v1/deadletters/{letter['id']}/replay").json()["results"]
    assert (again["status"], again["error"]["param"]) == ("error", "episode")
    assert http.get(f"/v1/deadletters/{letter['id']}").json()["attempts"] == 2
    mended = json.dumps(piece | {"episode": "episode_1"})
    (taken,) = http.post(f"/v1/deadletters/{letter['id']}/replay", json={"payload": mended}).json()["results"]
    assert taken["status"] == "kept"
    assert [one.id for one in kept(parts)] == ["odd"]
    assert http.get("/v1/deadletters").json()["results"] == []


def test_what_waited_too_long_becomes_a_dead_letter(http: TestClient, resolver: str, parts: Parts) -> None:
    http.post("/v1/feedback", json={"id": "old", "turn": "never", "said": UP})
    parts.clock.forward(timedelta(days=29).total_seconds())  # type: ignore[attr-defined]
    Joiner(parts).look()
    assert len(parts.store.find(Parked, TENANT)) == 1
    parts.clock.forward(timedelta(days=2).total_seconds())  # type: ignore[attr-defined]
    Joiner(parts).look()
    assert parts.store.find(Parked, TENANT) == []
    (letter,) = parts.store.find(DeadLetter, TENANT)
    assert letter.reason == "'never' did not come within 30 days"
    answered(http, "never")
    assert http.post(f"/v1/deadletters/{letter.id}/replay").json()["results"][0]["status"] == "kept"
    (one,) = kept(parts)
    assert one.policy == "resolver@1"


def test_a_purge_is_in_the_audit_log(http: TestClient, parts: Parts) -> None:
    letter = road.bury(parts, TENANT, "{", "it does not read", origin="otlp")
    assert road.bury(parts, TENANT, "{", "still not", origin="otlp").attempts == 2
    (found,) = http.post(f"/v1/deadletters/{letter.id}/replay").json()["results"]
    assert found["error"]["param"] == "payload"
    assert http.delete(f"/v1/deadletters/{letter.id}").json()["reason"] == "still not"
    assert http.get(f"/v1/deadletters/{letter.id}").status_code == 404
    assert b"dead_letter.purged" in [body for _, body, _ in parts.store.audit_entries()][-1]


# -- names ------------------------------------------------------------------------------------------------


def test_what_is_said_again_under_a_name_supersedes_and_stays_on_record(
    http: TestClient, resolver: str, parts: Parts
) -> None:
    answered(http, "turn_1")
    for id, said in (("first", UP), ("second", DOWN)):
        piece = {"id": id, "turn": "turn_1", "by": "ada", "name": "helpful", "said": said}
        assert http.post("/v1/feedback", json=piece).status_code == 201
        parts.clock.forward(1)  # type: ignore[attr-defined]
    assert http.get("/v1/feedback/first").json()["superseded_by"] == "second"
    assert http.get("/v1/feedback/second").json()["superseded_by"] is None
    assert len(kept(parts)) == 2


def test_a_metric_lends_its_scale_and_refuses_what_was_not_declared(
    http: TestClient, resolver: str, parts: Parts
) -> None:
    answered(http, "turn_1")
    rated: dict[str, Any] = {"turn": "turn_1", "name": "nps", "said": {"form": "rating", "value": 9}}
    assert http.post("/v1/feedback", json=rated).status_code == 201
    assert kept(parts)[0].said.high == 10  # type: ignore[union-attr]
    for change, field in (
        ({"name": "npss"}, "name"),
        ({"said": {"form": "rating", "value": 3, "high": 5}}, "said.high"),
        ({"said": UP}, "said.form"),
    ):
        refused = http.post("/v1/feedback", json=rated | change)
        assert (refused.status_code, refused.json()["error"]["param"]) == (422, field), refused.text


# -- limits -----------------------------------------------------------------------------------------------


def test_below_the_disk_floor_nothing_is_taken_in_and_everybody_is_told(parts: Parts, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, server=ServerSettings(disk_floor_mb=10**9))
    app = build(parts, QuietLoop(parts), settings)
    http = local(app)
    for answer in (http.post("/v1/feedback", json={"turn": "t", "said": UP}), http.get("/readyz")):
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert "disk_floor_mb" in answer.json()["error"]["message"]
    assert parts.store.find(Parked, TENANT) == []


@pytest.mark.parametrize("many", [False, True])
def test_a_full_queue_refuses_the_whole_request_and_loses_nothing_of_the_others(
    tmp_path: Path, many: bool
) -> None:
    """Somebody else holds the database, so that one commit hangs, one waits, and for a third there is no room."""
    store = open_store(f"sqlite:///{tmp_path / 'heedful.db'}", queue_rows=1)
    parts = make_parts(tmp_path, store=store)
    http = local(build(parts, QuietLoop(parts)))
    other = driver().connect(tmp_path / "heedful.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def said(id: str) -> Any:
        piece = {"id": id, "turn": "later", "said": UP}
        return http.post("/v1/feedback", json=[piece, piece | {"id": f"{id}2"}] if many else piece)

    with ThreadPoolExecutor(2) as pool:
        waiting = []
        for id in ("hangs", "waits"):
            waiting.append(pool.submit(said, id))
            time.sleep(0.3)
        refused = said("noroom")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1"), refused.text
        other.execute("ROLLBACK")
        assert [one.result().status_code for one in waiting] == [207 if many else 202] * 2
    assert len(store.find(Parked, TENANT)) == (4 if many else 2)
    other.close()
    store.close()


# -- the page of sources ----------------------------------------------------------------------------------


def test_sources_say_what_came_and_what_became_of_it(http: TestClient, resolver: str, app: FastAPI) -> None:
    answered(http, "turn_1")
    http.post("/v1/feedback", json={"id": "a", "turn": "turn_1", "said": UP})
    http.post(
        "/v1/feedback", json=[{"id": "a", "turn": "turn_1", "said": UP}, {"turn": "later", "said": UP}, 5]
    )
    page = http.get("/v1/sources").json()
    thumbs = next(line for line in page["sources"] if line["form"] == "thumbs")
    assert (thumbs["source"], thumbs["kept"], thumbs["duplicate"], thumbs["parked"]) == ("direct", 1, 1, 1)
    assert next(line for line in page["sources"] if line["form"] == "unread")["error"] == 1
    assert (page["parked"], page["dead_letters"], page["last_day"]) == (1, 0, {"direct": 1})
    assert page["silence"]["silent"] is False
    (parked,) = http.get("/v1/parked").json()["results"]
    assert parked["waits_for"] == ["later"]
    text = http.get("/metrics").text
    assert 'heedful_feedback_silent{tenant="default"} 0.0' in text
    assert 'heedful_feedback_last_seconds{tenant="default"}' in text
