"""Bad input gets a clear error with the field's name, and nothing is stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from heedful.domain.access import Scope
from heedful.domain.ids import TenantId
from heedful.road import Parts
from heedful.service.api import ROUTES, build
from heedful.service.door import keyring
from parts import make_parts

from .conftest import ACME, QuietLoop, asked, local, released

JSON = {"content-type": "application/json"}
ADDRESSES = {
    route.path.replace("{id:path}", "x").replace("{id}", "x") for route in ROUTES if route.method == "POST"
}
POSTS = [*sorted(ADDRESSES), "/v1/chat/completions"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """One house for all tests of this page: what is refused leaves nothing behind."""
    made = make_parts(tmp_path_factory.mktemp("house"))
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def app(parts: Parts) -> FastAPI:
    app = build(parts, QuietLoop(parts))
    http = local(app)
    released(http, "resolver", "echo")
    asked(http, heedful={"turn": "turn_1", "episode": "episode_1"})
    app.state.service.recorder.settle()
    return app


@pytest.fixture
def counted(parts: Parts, app: FastAPI) -> Iterator[TestClient]:
    """Afterwards there is nothing in the store that was not there before."""

    def records() -> dict[str, int]:
        app.state.service.recorder.settle()
        return parts.views.tallies(TenantId("default"))

    before = records()
    yield local(app)
    assert records() == before


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"said":"\\u0000"}', "said"),
        (b'{"a\\u0000":1}', "a key"),
        (b'{"said":"\xff"}', "said"),
        (b'{"said":{"x":"\\udfff"}}', "said.x"),
        (b'{"said":NaN}', "said"),
        (b'{"said":', "body"),
        (b"[" * 5000, "body"),
    ],
    ids=["nul", "nul key", "utf8", "surrogate", "nan", "cut", "deep"],
)
def test_what_does_not_read_is_refused_everywhere(
    counted: TestClient, path: str, body: bytes, field: str
) -> None:
    answer = counted.post(path, content=body, headers=JSON)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == field
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", POSTS)
def test_wrong_types_are_refused_everywhere(counted: TestClient, path: str) -> None:
    for body in ("text", 5, {"no_such_field": 1}, [5]):
        answer = counted.post(path, json=body)
        if path == "/v1/feedback" and body == [5]:
            assert answer.json()["results"][0]["status"] == "error"
            continue
        assert answer.status_code == 422, answer.text
        assert answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/feedback", "/v1/queues", "/v1/chat/completions"])
def test_a_body_of_fifty_megabytes_is_refused(counted: TestClient, path: str) -> None:
    answer = counted.post(path, content=b"x" * 50_000_000, headers=JSON)
    assert answer.status_code == 413
    assert answer.json()["error"]["param"] == "body"


def test_a_body_that_does_not_say_its_size_is_refused_on_its_way(counted: TestClient) -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"said":"'
        for _ in range(200):
            yield b"x" * 100_000

    answer = counted.post("/v1/feedback", content=endless(), headers=JSON)
    assert answer.status_code == 413


def test_fifty_megabytes_are_refused_through_a_real_port(served: str) -> None:
    import httpx

    answer = httpx.post(f"{served}/v1/feedback", content=b"x" * 50_000_000, headers=JSON, trust_env=False)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"


def test_a_web_page_cannot_send_text_as_if_it_were_json(counted: TestClient) -> None:
    body = b'{"turn":"turn_1","said":{"form":"thumbs","up":true}}'
    answer = counted.post("/v1/feedback", content=body, headers={"content-type": "text/plain"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "content-type")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"host": "evil.example"}, 403),
        ({"origin": "http://localhost:3000"}, 422),
    ],
)
def test_without_keys_web_pages_and_other_names_are_refused(
    counted: TestClient, headers: dict[str, str], status: int
) -> None:
    assert counted.post("/v1/feedback", json={}, headers=headers).status_code == status


def test_without_keys_other_machines_are_refused(app: FastAPI) -> None:
    far = TestClient(app, base_url="http://127.0.0.1", client=("10.0.0.7", 1))
    assert far.get("/v1/status").status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("GET", "/v1/feedback/nobody", None, "feedback"),
        ("GET", "/v1/turns/nobody", None, "turn"),
        ("GET", "/v1/episodes/nobody", None, "episode"),
        ("POST", "/v1/episodes/nobody/end", {}, "episode"),
        ("GET", "/v1/queues/nobody", None, "queue"),
        ("POST", "/v1/queues/nobody/lease", {"rater": "rita"}, "queue"),
        ("POST", "/v1/items/nobody/gold", {}, "item"),
        ("GET", "/v1/policies/nobody", None, "policy"),
        ("POST", "/v1/releases", {"policy": "nobody"}, "policy"),
        ("GET", "/v1/releases/nobody", None, "release"),
        ("POST", "/v1/releases/nobody/rollback", {"reason": "x"}, "release"),
        ("GET", "/v1/cycles/nobody", None, "cycle"),
        ("GET", "/v1/datasets/nobody", None, "dataset"),
        ("GET", "/v1/rewards/nobody", None, "reward_model"),
        ("GET", "/v1/runs/nobody", None, "run"),
        ("GET", "/v1/why/turn/nobody", None, "turn"),
        ("POST", "/v1/keys/nobody/rotate", {}, "key"),
        ("DELETE", "/v1/keys/nobody", None, "key"),
        ("POST", "/v1/deadletters/nobody/replay", {}, "dead_letter"),
        (
            "POST",
            "/v1/policies",
            {"agent": "a", "body": {"kind": "weights", "digest": "sha256:" + "0" * 64}},
            "body.digest",
        ),
    ],
)
def test_an_unknown_id_is_named(counted: TestClient, method: str, path: str, body: Any, field: str) -> None:
    answer = counted.request(method, path, json=body)
    assert answer.status_code == 404, answer.text
    assert answer.json()["error"]["param"] == field


@pytest.mark.parametrize("id", ["%00", "a%00b", "%ff", "a%20b", "x" * 300, "%0a"])
def test_an_id_that_cannot_be_one_is_refused(counted: TestClient, id: str) -> None:
    answer = counted.get(f"/v1/turns/{id}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "turn")
    answer = counted.get(f"/v1/items?queue={id}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "queue")


@pytest.mark.parametrize(
    ("query", "field"),
    [("queue=q&limit=0", "limit"), ("queue=q&limit=x", "limit"), ("queue=q&state=x", "state"), ("", "queue")],
)
def test_a_wrong_query_is_named(counted: TestClient, query: str, field: str) -> None:
    answer = counted.get(f"/v1/items?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, field)


def test_what_does_not_exist_says_so_in_the_same_shape(counted: TestClient) -> None:
    assert counted.get("/v1/nothing").json()["error"]["code"] == "not_found"
    wrong = counted.put("/v1/feedback")
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (405, "invalid_request_error")


def test_ids_of_another_tenant_are_as_unknown_as_any(parts: Parts) -> None:
    text = keyring.issue(
        parts, ACME, Scope.ADMIN, actor="test"
    ).text  # the last test: from here on keys are needed
    stranger = local(build(parts, QuietLoop(parts)), text)
    before = parts.views.tallies(ACME)
    for method, path, body in (
        ("GET", "/v1/turns/turn_1", None),
        ("GET", "/v1/episodes/episode_1", None),
        ("POST", "/v1/episodes/episode_1/end", {}),
        ("GET", "/v1/policies/resolver@1", None),
        ("POST", "/v1/releases", {"policy": "resolver@1"}),
        ("GET", "/v1/why/turn/turn_1", None),
        (
            "POST",
            "/v1/chat/completions",
            {"model": "resolver", "messages": [{"role": "user", "content": "x"}]},
        ),
    ):
        answer = stranger.request(method, path, json=body)
        assert answer.status_code == 404, (path, answer.text)
    assert stranger.get("/v1/policies").json() == {"policies": []}
    assert stranger.get("/v1/models").json()["data"] == []
    assert stranger.post("/v1/keys", json={"scope": "admin", "tenant": "default"}).status_code == 403
    assert parts.views.tallies(ACME) == before
    thumb = {
        "form": "thumbs",
        "up": True,
    }  # it waits for a turn of its own tenant, and says nothing of another's
    assert stranger.post("/v1/feedback", json={"turn": "turn_1", "said": thumb}).status_code == 202
