"""Feedback comes in: once, each piece on its own, and from those who may."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from heedful.domain.access import Scope
from heedful.domain.feedback import Feedback
from heedful.domain.ids import TenantId
from heedful.road import Parts

from .conftest import KeyFor, asked, local

TENANT = TenantId("default")
UP = {"form": "thumbs", "up": True}


@pytest.fixture
def turn(http: TestClient, resolver: str) -> str:
    return str(asked(http)["id"])


def kept(parts: Parts) -> list[Feedback]:
    return parts.store.find(Feedback, TENANT)


def test_feedback_is_kept_with_the_policy_that_earned_it(http: TestClient, turn: str, parts: Parts) -> None:
    answer = http.post("/v1/feedback", json={"turn": turn, "said": UP})
    assert answer.status_code == 201
    assert answer.json()["status"] == "kept"
    (one,) = kept(parts)
    assert (one.id, one.policy, one.source) == (answer.json()["id"], "resolver@1", "direct")
    assert http.get(f"/v1/feedback/{one.id}").json()["said"] == UP


@pytest.mark.parametrize("time", [{}, {"at": "2026-06-01T12:00:00Z"}], ids=["undated", "dated"])
def test_feedback_sent_twice_is_kept_once(
    http: TestClient, turn: str, parts: Parts, time: dict[str, str]
) -> None:
    piece = {"id": "mine", "turn": turn, "said": UP} | time
    assert http.post("/v1/feedback", json=piece).status_code == 201
    again = http.post("/v1/feedback", json=piece)
    assert (again.status_code, again.json()["status"]) == (200, "duplicate")
    other = http.post("/v1/feedback", json=piece | {"said": {"form": "thumbs", "up": False}})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")
    assert len(kept(parts)) == 1


def test_a_bad_piece_never_rejects_its_neighbours(http: TestClient, turn: str, parts: Parts) -> None:
    pieces: list[Any] = [
        {"id": "a", "turn": turn, "said": UP},
        {"id": "b", "turn": "nowhere", "said": UP},
        {"id": "c", "turn": turn, "said": {"form": "rating", "value": 99}},
        {"id": "d", "turn": turn},
        "no object",
        {"id": "a", "turn": turn, "said": UP},
        {"id": "e", "turn": turn, "said": {"form": "violation", "category": "no.such"}},
        {"id": "f", "turn": turn, "said": {"form": "violation", "category": None}},
    ]
    answer = http.post("/v1/feedback", json=pieces)
    results = answer.json()["results"]
    assert answer.status_code == 207
    assert [one["id"] for one in results] == ["a", "b", "c", "d", None, "a", "e", "f"]
    assert [one["status"] for one in results] == [
        *("kept", "parked", "error", "error", "error", "duplicate", "error", "kept")
    ]
    assert [(one["error"] or {}).get("param") for one in results] == [
        *(None, None, "said.value", "said", None, None, "said.category", None)
    ]
    assert {one.id for one in kept(parts)} == {"a", "f"}


def test_a_thousand_pieces_are_taken_at_once_and_no_more(http: TestClient, turn: str, parts: Parts) -> None:
    pieces = [{"id": f"f{n}", "turn": turn, "said": UP} for n in range(1001)]
    refused = http.post("/v1/feedback", json=pieces)
    assert (refused.status_code, refused.json()["error"]["param"]) == (413, "body")
    taken = http.post("/v1/feedback", json=pieces[:1000])
    assert {one["status"] for one in taken.json()["results"]} == {"kept"}
    assert http.post("/v1/feedback", json=[]).status_code == 422
    assert len(parts.store.find(Feedback, TENANT, limit=None)) == 1000


# -- who may say what ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "piece", "status"),
    [
        (Scope.PRODUCT, {}, 201),
        (Scope.PRODUCT, {"source": "expert"}, 403),
        (Scope.PRODUCT, {"judgement": {"queue": "q"}}, 403),
        (Scope.RATER, {}, 403),
        (Scope.REVIEWER, {"source": "expert"}, 201),
        (Scope.REVIEWER, {}, 403),
        (Scope.AGENT, {}, 403),
        (Scope.ENGINEER, {}, 403),
        (Scope.VIEWER, {}, 403),
    ],
)
def test_a_scope_gives_what_it_can_know(
    app: FastAPI, turn: str, key_for: KeyFor, parts: Parts, scope: Scope, piece: dict[str, Any], status: int
) -> None:
    client = local(app, key_for(scope))
    answer = client.post("/v1/feedback", json={"turn": turn, "said": UP} | piece)
    assert answer.status_code == status, answer.text
    assert len(kept(parts)) == (status == 201)


def test_a_widget_writes_from_its_page_and_reads_nothing(app: FastAPI, turn: str, key_for: KeyFor) -> None:
    page = local(app, key_for(Scope.WIDGET), origin="https://shop.example")
    said = page.post("/v1/feedback", json={"turn": turn, "said": UP})
    assert said.status_code == 201
    assert said.headers["access-control-allow-origin"] == "https://shop.example"
    assert page.get(f"/v1/feedback/{said.json()['id']}").status_code == 403
    elsewhere = local(app, key_for(Scope.WIDGET), origin="https://evil.example")
    assert elsewhere.post("/v1/feedback", json={"turn": turn, "said": UP}).status_code == 403


def test_a_browser_may_ask_first(app: FastAPI, key_for: KeyFor) -> None:
    key_for(Scope.WIDGET)
    asked = local(app).options("/v1/feedback", headers={"origin": "https://shop.example"})
    assert asked.status_code == 204
    assert "authorization" in asked.headers["access-control-allow-headers"]
    assert local(app).options("/v1/keys", headers={"origin": "https://shop.example"}).status_code == 401
