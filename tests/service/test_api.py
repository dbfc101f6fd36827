"""Episodes, queues, keys, releases, lineage, health: the API's other pages, used as people use them."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from heedful import road
from heedful.domain.access import Scope
from heedful.domain.content import Message, Role
from heedful.domain.episode import Purpose, Turn
from heedful.domain.ids import AgentId, EpisodeId, PersonId, PolicyId, TenantId, TurnId
from heedful.domain.labeling import Queue
from heedful.errors import Busy, TooFast, Unavailable
from heedful.logs import JsonLines
from heedful.road import Parts
from heedful.service.api import build
from heedful.service.door.limits import Buckets
from heedful.settings import ServerSettings, Settings

from .conftest import KeyFor, QuietLoop, asked, local, released

TENANT = TenantId("default")


# -- episodes -----------------------------------------------------------------------------------------------


def test_an_episode_shows_who_spoke_to_whom(http: TestClient, resolver: str) -> None:
    released(http, "triage", "shout")
    first = asked(http, "triage", heedful={"episode": "ticket", "to": "resolver"})
    asked(http, heedful={"episode": "ticket", "to": "user", "parent": first["id"]})
    http.post("/v1/feedback", json={"episode": "ticket", "said": {"form": "completion", "completed": True}})
    shown = http.get("/v1/episodes/ticket").json()
    assert [(one["by"], one["to"]) for one in shown["conversation"]] == [
        ("triage", "resolver"),
        ("resolver", "user"),
    ]
    assert len(shown["turns"]) == 2
    assert [one["said"]["form"] for one in shown["feedback"]] == ["completion"]


def test_an_episode_is_begun_and_ended_once(http: TestClient) -> None:
    begun = http.post("/v1/episodes", json={"id": "e", "product": "desk"})
    assert begun.status_code == 201
    assert http.post("/v1/episodes", json={"id": "e", "product": "desk"}).status_code == 200
    assert http.post("/v1/episodes", json={"id": "e", "product": "shop"}).status_code == 409
    ended = http.post("/v1/episodes/e/end", json={"outcome": 1}).json()
    assert (ended["state"], ended["outcome"]) == ("done", 1.0)
    assert http.post("/v1/episodes/e/end", json={"outcome": 1}).status_code == 200
    assert http.post("/v1/episodes/e/end", json={"state": "abandoned"}).status_code == 409


def test_a_product_follows_an_episode_without_reading_it(
    app: FastAPI, http: TestClient, resolver: str, key_for: KeyFor
) -> None:
    asked(http, text="my card is 4242", heedful={"episode": "ticket"})
    shown = local(app, key_for(Scope.PRODUCT)).get("/v1/episodes/ticket")
    assert shown.json()["turns"] == 1
    assert "4242" not in shown.text
    assert "4242" in local(app, key_for(Scope.AGENT)).get("/v1/episodes/ticket").text


# -- labeling -----------------------------------------------------------------------------------------------


@pytest.fixture
def queue(http: TestClient, parts: Parts) -> str:
    """Three pairs to compare, one of them with a known answer."""
    made = http.post(
        "/v1/queues", json={"id": "pairs", "name": "Which?", "asks": "choice", "instructions": "Choose."}
    )
    assert made.status_code == 201, made.text
    policy, now = PolicyId("p@1"), datetime(2026, 6, 1, tzinfo=UTC)
    answers = [
        [
            Turn(
                id=TurnId(f"t{number}/{index}"),
                tenant=TENANT,
                episode=EpisodeId(f"e{number}"),
                agent=AgentId("resolver"),
                at=now,
                request=(Message(role=Role.USER, content=f"Question {number}"),),
                answer=f"Answer {index}",
                policy=policy,
                index=index,
                purpose=Purpose.CANDIDATE,
            )
            for index in (0, 1)
        ]
        for number in range(3)
    ]
    kept = parts.store.get(Queue, TENANT, "pairs")
    assert kept is not None
    road.ask(parts, kept, answers, once="test")
    return "pairs"


def choice(leased: dict[str, Any], id: str) -> dict[str, Any]:
    turns = leased["item"]["turns"]
    return {
        "id": id,
        "said": {"form": "choice", "shown": turns, "chosen": turns[0]},
        "judgement": {"assignment": leased["assignment"]["id"]},
    }


def test_a_rater_leases_and_judges_for_themselves(
    app: FastAPI, queue: str, key_for: KeyFor, parts: Parts, http: TestClient
) -> None:
    rita = local(app, key_for(Scope.RATER, person=PersonId("rita")))
    work = rita.post(f"/v1/queues/{queue}/lease", json={"limit": 2}).json()
    leased = work["assignments"]
    assert (work["asks"], work["instructions"]) == ("choice", "Choose.")
    assert {one["assignment"]["rater"] for one in leased} == {"rita"}
    answer = rita.post("/v1/feedback", json=[choice(one, f"f{n}") for n, one in enumerate(leased)])
    assert [one["status"] for one in answer.json()["results"]] == ["kept", "kept"], answer.text
    again = rita.post("/v1/feedback", json=choice(leased[0], "f0"))
    assert again.json()["status"] == "duplicate"
    kept = rita.post("/v1/feedback", json=choice(leased[0], "another"))
    assert kept.status_code == 409
    admin = local(app, key_for(Scope.ADMIN))
    state = admin.get(f"/v1/queues/{queue}").json()["state"]
    assert (state["answered"], state["leased"]) == (2, 0)
    assert admin.get("/v1/feedback/f0").json()["by"] == "rita"
    assert admin.get("/v1/feedback/f0").json()["source"] == "expert"
    assert admin.get("/v1/feedback/f0").json()["judgement"]["queue"] == queue


def test_a_rater_speaks_for_nobody_else(app: FastAPI, queue: str, key_for: KeyFor) -> None:
    rita, tom = (local(app, key_for(Scope.RATER, person=PersonId(name))) for name in ("rita", "tom"))
    assert rita.post(f"/v1/queues/{queue}/lease", json={"rater": "tom"}).status_code == 403
    leased = rita.post(f"/v1/queues/{queue}/lease", json={"limit": 2}).json()["assignments"]
    assert tom.post("/v1/feedback", json=choice(leased[0], "f")).status_code == 409
    assert rita.post("/v1/feedback", json=choice(leased[0], "f") | {"by": "tom"}).status_code == 403
    elsewhere = choice(leased[0], "f")
    elsewhere["judgement"]["item"] = leased[1]["item"]["id"]
    refused = rita.post("/v1/feedback", json=elsewhere)
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "judgement.item")


def test_an_engineer_names_a_rater(app: FastAPI, queue: str, key_for: KeyFor) -> None:
    engineer = local(app, key_for(Scope.ENGINEER))
    assert engineer.post(f"/v1/queues/{queue}/lease", json={}).json()["error"]["param"] == "rater"
    leased = engineer.post(f"/v1/queues/{queue}/lease", json={"rater": "tom"}).json()["assignments"]
    assert {one["assignment"]["rater"] for one in leased} == {"tom"}


def test_a_rater_cannot_tell_a_gold_item(app: FastAPI, http: TestClient, queue: str, key_for: KeyFor) -> None:
    item = http.get("/v1/items", params={"queue": queue}).json()["items"][0]
    gold = http.post(f"/v1/items/{item['id']}/gold", json={"chosen": item["turns"][0], "why": "clear"})
    assert gold.json()["gold"]["chosen"] == item["turns"][0]
    assert (
        http.post(f"/v1/items/{item['id']}/gold", json={"chosen": "else"}).json()["error"]["param"]
        == "chosen"
    )
    rita = local(app, key_for(Scope.RATER))
    leased = rita.post(f"/v1/queues/{queue}/lease", json={"limit": 10})
    assert "gold" not in leased.text
    assert "chosen_because" not in leased.text
    assert rita.get("/v1/items", params={"queue": queue}).status_code == 403


def test_items_of_a_queue_that_is_not_there_yet_are_none(http: TestClient) -> None:
    assert http.get("/v1/items", params={"queue": "later"}).json() == {"items": []}


# -- policies, releases, cycles -----------------------------------------------------------------------------


def test_the_same_policy_is_adopted_once(http: TestClient) -> None:
    body = {"agent": "resolver", "body": {"kind": "external", "upstream": "scripts", "model": "echo"}}
    first, again = (http.post("/v1/policies", json=body) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    other = http.post("/v1/policies", json=body | {"sampling": {"temperature": 0.5}})
    assert other.json()["id"] == "resolver@2"
    listed = http.get("/v1/policies", params={"agent": "resolver"}).json()["policies"]
    assert [one["version"] for one in listed] == [2, 1]


def test_a_release_is_begun_once_and_watched(http: TestClient, resolver: str, loop: QuietLoop) -> None:
    body = {"kind": "external", "upstream": "scripts", "model": "shout"}
    policy = http.post("/v1/policies", json={"agent": resolver, "body": body}).json()["id"]
    first, again = (
        http.post("/v1/releases", json={"policy": policy, "once": "mine"}).json() for _ in range(2)
    )
    assert first == again
    assert first["stage"] == "canary"
    assert first["id"] in loop.watched
    wrong = http.post("/v1/releases", json={"policy": policy, "steps": [50, 20]})
    assert wrong.status_code in {409, 422}
    back = http.post(f"/v1/releases/{first['id']}/rollback", json={"reason": "no"}).json()
    assert (back["stage"], back["reason"]) == ("rolled_back", "no")
    assert [one["stage"] for one in http.get("/v1/releases").json()["releases"]] == ["rolled_back", "full"]


def test_only_an_admin_overrides_a_gate(
    app: FastAPI, http: TestClient, resolver: str, key_for: KeyFor
) -> None:
    engineer = local(app, key_for(Scope.ENGINEER))
    refused = engineer.post("/v1/releases", json={"policy": "resolver@1", "override": "I want it"})
    assert refused.status_code == 403


def test_a_cycle_is_started_by_the_loop(http: TestClient) -> None:
    begun = http.post("/v1/cycles", json={"agent": "resolver", "kind": "imitate", "id": "mine"})
    assert (begun.status_code, begun.json()["id"]) == (202, "mine")
    assert http.get("/v1/cycles/mine").json()["stage"] == "collecting"
    assert len(http.get("/v1/cycles").json()["cycles"]) == 1
    assert http.post("/v1/cycles", json={"agent": "r", "kind": "magic"}).json()["error"]["param"] == "kind"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"sft": {"model": "/etc"}}, "options.sft.model"),
        ({"sft": {"trust_remote_code": True}}, "options.sft.trust_remote_code"),
        ({"sft": {"steps": 0}}, "options.sft.steps"),
        ({"grpo": {}}, "options.grpo"),
    ],
)
def test_a_request_does_not_say_what_training_loads(
    http: TestClient, options: dict[str, Any], param: str
) -> None:
    body = {"agent": "resolver", "kind": "imitate", "options": options}
    refused = http.post("/v1/cycles", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, param)


# -- looking ------------------------------------------------------------------------------------------------


def test_why_walks_both_ways(http: TestClient, resolver: str) -> None:
    turn = asked(http)["id"]
    said = http.post("/v1/feedback", json={"turn": turn, "by": "ada", "said": {"form": "thumbs", "up": True}})
    id = said.json()["id"]
    back = http.get(f"/v1/why/feedback/{id}").json()
    assert ("turn", turn) in {(one["kind"], one["id"]) for group in back["back"] for one in group["examples"]}
    on = http.get(f"/v1/why/turn/{turn}").json()
    assert ("feedback", id) in {
        (one["kind"], one["id"]) for group in on["forward"] for one in group["examples"]
    }
    assert http.get("/v1/why/key/x").json()["error"]["param"] == "kind"


def test_the_status_says_what_is_live(http: TestClient, resolver: str) -> None:
    released(http, resolver, "shout")
    status = http.get("/v1/status").json()
    assert status["agents"] == [
        {
            "agent": "resolver",
            "live": "resolver@1",
            "testing": "resolver@2",
            "release": status["releases"][0]["id"],
            "percent": 5.0,
        }
    ]
    assert status["records"]["policy"] == 2


def test_the_audit_root_moves_with_every_act(http: TestClient, resolver: str) -> None:
    before = http.get("/v1/audit/root").json()
    released(http, "triage", "echo")
    after = http.get("/v1/audit/root").json()
    assert after["size"] == before["size"] + 2
    assert after["root"] != before["root"]


# -- keys ---------------------------------------------------------------------------------------------------


def test_the_first_key_closes_the_door_behind_it(app: FastAPI, http: TestClient) -> None:
    issued = http.post("/v1/keys", json={"scope": "admin", "name": "ada"}).json()
    assert http.get("/v1/status").status_code == 401
    ada = local(app, issued["text"])
    assert ada.get("/v1/status").status_code == 200
    assert [one["name"] for one in ada.get("/v1/keys").json()["keys"]] == ["ada"]
    assert "digest" not in ada.get("/v1/keys").text


def test_a_key_is_rotated_and_revoked_over_http(app: FastAPI, http: TestClient) -> None:
    ada = local(app, http.post("/v1/keys", json={"scope": "admin"}).json()["text"])
    old = ada.post("/v1/keys", json={"scope": "viewer"}).json()
    new = ada.post(f"/v1/keys/{old['key']['id']}/rotate").json()
    for text in (old["text"], new["text"]):
        assert local(app, text).get("/v1/status").status_code == 200
    assert ada.delete(f"/v1/keys/{old['key']['id']}").json()["revoked_at"]
    assert local(app, old["text"]).get("/v1/status").status_code == 401
    assert local(app, new["text"]).get("/v1/status").status_code == 200


def test_the_operator_brings_in_other_tenants(app: FastAPI, http: TestClient) -> None:
    text = http.post("/v1/keys", json={"scope": "admin", "tenant": "acme"}).json()["text"]
    assert local(app, text).get("/v1/status").json()["tenant"] == "acme"


# -- at the door --------------------------------------------------------------------------------------------


def test_a_request_keeps_its_id(http: TestClient) -> None:
    assert http.get("/v1/status", headers={"x-request-id": "mine-7"}).headers["x-request-id"] == "mine-7"
    assert http.get("/v1/nothing", headers={"x-request-id": "a b"}).headers["x-request-id"].startswith("req_")


def test_a_request_is_one_line_in_the_log(
    app: FastAPI, http: TestClient, caplog: pytest.LogCaptureFixture, key_for: KeyFor
) -> None:
    caplog.handler.setFormatter(JsonLines())
    key = key_for(Scope.VIEWER)
    lines: list[dict[str, Any]] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(json.loads(JsonLines().format(record)))  # type: ignore[method-assign]
    logger = logging.getLogger("heedful.access")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        local(app, key).get("/v1/status", headers={"x-request-id": "mine-7"})
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    (line,) = lines
    assert (line["request"], line["status"], line["path"]) == ("mine-7", 200, "/v1/status")
    assert (line["tenant"], line["key"]) == ("default", key.split(".")[0])
    assert key.split(".")[1] not in str(line)


def test_a_key_that_sends_too_fast_has_to_wait(parts: Parts, loop: QuietLoop) -> None:
    from heedful.service.door import keyring

    slow = build(parts, loop, Settings(server=ServerSettings(requests_per_second=1)))
    client = local(slow, keyring.issue(parts, TENANT, Scope.VIEWER, actor="test").text)
    answers = [client.get("/v1/queues") for _ in range(15)]
    assert answers[0].status_code == 200
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert answers[-1].json()["error"]["type"] == "rate_limit_error"


def test_a_bucket_fills_steadily() -> None:
    buckets = Buckets(10.0, burst_seconds=0.2)
    buckets.take("a", now=0.0)
    buckets.take("a", now=0.0)
    with pytest.raises(TooFast) as caught:
        buckets.take("a", now=0.0)
    assert caught.value.retry_after == pytest.approx(0.1)
    buckets.take("b", now=0.0)
    buckets.take("a", now=0.1)


def test_a_full_queue_says_when_to_come_back(
    http: TestClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise Busy("1000 rows wait", retry_after=2.2)

    monkeypatch.setattr(type(parts.store), "commit", full)
    answer = http.post("/v1/episodes", json={})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    assert answer.json()["error"]["code"] == "busy"


def test_what_is_our_own_fault_is_not_explained_to_strangers(
    http: TestClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(type(parts.store), "commit", broken)
    answer = http.post("/v1/episodes", json={})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"]


def test_readiness_follows_the_database(
    http: TestClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert http.get("/readyz").status_code == 200

    def gone(*_: Any) -> None:
        raise Unavailable("the database does not answer")

    monkeypatch.setattr(type(parts.store), "ping", gone)
    assert http.get("/readyz").status_code == 503
    assert http.get("/healthz").status_code == 200


def test_the_metrics_count_what_happened(http: TestClient, resolver: str) -> None:
    turn = asked(http, n=2)["id"]
    http.post("/v1/feedback", json={"turn": turn, "said": {"form": "thumbs", "up": True}})
    text = http.get("/metrics").text
    assert 'heedful_turns_total{arm="live",policy="resolver@1",tenant="default"} 2.0' in text
    assert 'heedful_feedback_total{form="thumbs",status="kept"} 1.0' in text
    assert 'heedful_requests_total{method="POST",route="/v1/feedback",status="201"} 1.0' in text
    assert "heedful_ingest_waiting 0.0" in text
