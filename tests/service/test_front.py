"""The door: limits, ids, methods and addresses, whatever comes."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

import rogue
from heedful.access.permissions import Action
from heedful.domain.access import Limits, Scope
from heedful.service.door import keyring
from heedful.service.door.front import Arrival, Front, HotRoute, Reply
from heedful.settings import ServerSettings, Settings
from rogue import Rogue, kind

from .house import HI, TENANT, House, connected, eventually, head, open_house, until

Json = Any
LIMIT = 64 << 10
SETTINGS = Settings(server=ServerSettings(body_limit=LIMIT, body_seconds=0.4))
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("house"), SETTINGS) as made:
        yield made


@pytest.fixture(scope="module")
def server(house: House) -> Iterator[Rogue]:
    with rogue.in_a_thread(kind) as made, house.asking(made, timeout=5.0):
        yield made


def error_of(answer: httpx.Response, status: int) -> Json:
    assert answer.status_code == status, answer.text
    return answer.json()["error"]


def raw(house: House, data: bytes) -> bytes:
    """What is said to these bytes, until the head of an answer is there."""
    with connected(house) as connection:
        connection.sendall(data)
        return until(connection, b"\r\n\r\n")


# -- bodies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CHAT, "/v1/episodes", "/v1/policies"])
@pytest.mark.parametrize("announced", [True, False])
def test_a_body_has_a_limit(house: House, path: str, announced: bool) -> None:
    body = b'{"model": "' + b"x" * LIMIT + b'"}'
    content: Any = body if announced else iter([body[:1000], body[1000:]])
    answer = house.http.post(house.url + path, content=content, headers={"content-type": "application/json"})
    assert error_of(answer, 413)["code"] == "too_large"


def test_a_body_in_one_large_frame_has_the_same_limit(tmp_path_factory: pytest.TempPathFactory) -> None:
    small = Settings(server=ServerSettings(body_limit=1024))
    with open_house(tmp_path_factory.mktemp("small"), small) as house:
        body = b'{"model": "' + b"x" * 2000 + b'"}'
        said = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        frames = b"transfer-encoding: chunked\r\n\r\n" + rogue.framed(body) + rogue.framed(b"")
        assert raw(house, said + frames).startswith(b"HTTP/1.1 413")


def test_a_body_at_the_limit_is_read(house: House, server: Rogue) -> None:
    body = orjson.dumps({"model": "agent", "messages": HI, "x": ""})
    body = body[:-2] + b"y" * (LIMIT - len(body)) + body[-2:]
    json = {"content-type": "application/json"}
    assert house.http.post(house.url + CHAT, content=body, headers=json).status_code == 200


@pytest.mark.parametrize("path", [CHAT, "/v1/episodes"])
@pytest.mark.parametrize("begun", [b"", b"{", b"{" * 500])
def test_a_body_that_does_not_come_is_not_waited_for(house: House, path: str, begun: bytes) -> None:
    since = time.monotonic()
    said = raw(house, head(path, 1000) + begun)
    assert said.startswith(b"HTTP/1.1 408")
    assert 0.3 < time.monotonic() - since < 2.0


def test_a_body_that_drips_is_not_waited_for(house: House) -> None:
    with connected(house) as connection:
        connection.sendall(head(CHAT, 1000))
        connection.settimeout(0.1)
        said = b""
        for _ in range(30):
            connection.sendall(b"{")
            try:
                said = connection.recv(65536)
                break
            except TimeoutError:
                pass
        assert said.startswith(b"HTTP/1.1 408")


def test_who_leaves_in_the_middle_of_a_body_leaves_no_task(house: House) -> None:
    tasks = house.tasks()
    for path in (CHAT, "/v1/episodes"):
        with connected(house) as connection:
            connection.sendall(head(path, 1000) + b"{")
    eventually(lambda: house.tasks() <= tasks, "a task is left")


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"5", b"{", b'{"model": 5}', b"\xff", b'{"model": "a\\u0000", "messages": []}'],
)
def test_a_body_that_cannot_be_is_refused(house: House, body: bytes) -> None:
    json = {"content-type": "application/json"}
    answer = house.http.post(house.url + CHAT, content=body, headers=json)
    assert answer.status_code in {400, 422}
    assert answer.json()["error"]["message"]


# -- ids ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CHAT, "/v1/status", "/healthz", "/nowhere", "/v1/nowhere"])
def test_a_request_keeps_the_id_that_it_brings(house: House, path: str) -> None:
    answer = house.http.get(house.url + path, headers={"x-request-id": "mine-7"})
    assert answer.headers["x-request-id"] == "mine-7"


@pytest.mark.parametrize("bad", ["", "a b", "x" * 200, "ä", '"},{"level":"ERROR', "-x"])
def test_an_id_that_is_none_is_replaced(house: House, bad: str) -> None:
    answer = house.http.get(f"{house.url}/healthz", headers={b"x-request-id": bad.encode("latin-1")})
    assert answer.headers["x-request-id"].startswith("req_")


# -- rates --------------------------------------------------------------------------------------------------


def test_a_key_may_not_send_faster_than_it_may(tmp_path_factory: pytest.TempPathFactory) -> None:
    with open_house(tmp_path_factory.mktemp("rates")) as house, rogue.in_a_thread(kind) as server:
        slow, free = (
            keyring.issue(house.parts, TENANT, Scope.AGENT, actor="test", limits=limits).text
            for limits in (Limits(requests_per_second=2.0), Limits())
        )
        house.app.state.service.door.forget()

        def ask(key: str) -> httpx.Response:
            body = {"model": "agent", "messages": HI}
            headers = {"authorization": f"Bearer {key}"}
            return house.http.post(house.url + CHAT, json=body, headers=headers)

        with house.asking(server, timeout=5.0):
            answers = [ask(slow) for _ in range(12)]
            refused = [one for one in answers if one.status_code == 429]
            assert len(answers) - len(refused) in range(
                4, 8
            )  # two seconds of its rate, and what came meanwhile
            assert error_of(refused[0], 429)["type"] == "rate_limit_error"
            assert int(refused[0].headers["retry-after"]) >= 1
            assert {ask(free).status_code for _ in range(12)} == {200}
            assert (
                len(server.calls) == len(answers) - len(refused) + 12
            )  # who is refused costs the server nothing


def test_wrong_keys_are_guessed_slowly(tmp_path_factory: pytest.TempPathFactory) -> None:
    with open_house(tmp_path_factory.mktemp("wrong")) as house:
        keyring.issue(house.parts, TENANT, Scope.ADMIN, actor="test")
        house.app.state.service.door.forget()
        wrong = {"authorization": "Bearer hk_nobody.nothing"}
        found = [house.http.get(f"{house.url}/v1/status", headers=wrong).status_code for _ in range(80)]
        assert set(found) == {401, 429}
        assert house.http.get(f"{house.url}/v1/status").status_code in {401, 429}


# -- web pages ----------------------------------------------------------------------------------------------


def test_a_widgets_page_may_ask_and_no_other(tmp_path_factory: pytest.TempPathFactory) -> None:
    ours, theirs = "https://shop.example", "https://elsewhere.example"
    with open_house(tmp_path_factory.mktemp("widget")) as house:
        key = keyring.issue(house.parts, TENANT, Scope.WIDGET, actor="test", origin=ours).text
        house.app.state.service.door.forget()
        url = f"{house.url}/v1/feedback"
        asking = {"origin": ours, "access-control-request-method": "POST"}
        before = house.http.options(url, headers=asking)
        assert (before.status_code, before.headers["access-control-allow-origin"]) == (204, ours)
        assert before.headers["vary"] == "Origin"

        def send(origin: str, path: str = "/v1/feedback") -> httpx.Response:
            headers = {"authorization": f"Bearer {key}", "origin": origin}
            return house.http.post(house.url + path, json={"turn": "t", "said": {}}, headers=headers)

        assert send(ours).headers["access-control-allow-origin"] == ours
        assert send(theirs).status_code in {401, 403}
        assert send(ours, CHAT).status_code == 403
        # Any other address tells no page anything before it has a key.
        assert house.http.options(house.url + CHAT, headers=asking).status_code == 401


# -- methods and addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [CHAT, "/v1/responses", "/v1/embeddings", "/e/ticket/a/agent/v1/chat/completions"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_other_methods_of_a_busy_address_are_refused(house: House, path: str, method: str) -> None:
    answer = house.http.request(method, house.url + path)
    assert answer.status_code in {404, 405}
    assert method == "HEAD" or answer.json()["error"]["code"]


def test_a_head_of_models_has_no_body(house: House) -> None:
    answer = house.http.head(f"{house.url}/v1/models")
    assert answer.content == b""
    assert answer.status_code < 500


def test_a_method_that_nobody_knows_makes_no_metric(house: House) -> None:
    for made_up in ("BREW", "PROPFIND", "MKCOL", "REPORT"):
        with connected(house) as connection:
            connection.sendall(f"{made_up} /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            assert b" 4" in until(connection, b"\r\n\r\n")
    said = house.http.get(f"{house.url}/metrics").text
    assert not any(made_up in said for made_up in ("BREW", "PROPFIND", "MKCOL", "REPORT"))
    assert 'method="other"' in said


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/chat%2fcompletions", {200}),  # the same address, as every server before us reads it
        ("/e/a%20b/a/agent/v1/chat/completions", {422}),
        ("/e/ticket/a/nobody/v1/chat/completions", {404}),
        ("/e/%2e%2e/a/agent/v1/chat/completions", {422}),
        ("/e/a%2fb/a/agent/v1/chat/completions", {404}),
        ("/e/%ff/a/agent/v1/chat/completions", {422}),
        ("/e/%00/a/agent/v1/chat/completions", {422}),
        ("/e//a/agent/v1/chat/completions", {404}),
        ("//v1/chat/completions", {404}),
        ("/v1/chat/completions/", {404}),
        ("/V1/chat/completions", {404}),
        ("/v1/../v1/chat/completions", {404}),
        ("/v1/chat/completions?x=1", {200}),
        ("/v1/chat/completions;x=1", {404}),
    ],
)
def test_addresses_are_what_they_say(house: House, server: Rogue, path: str, status: set[int]) -> None:
    body = orjson.dumps({"model": "agent", "messages": HI})
    said = raw(house, head(path, len(body)) + body)
    assert int(said.split(b" ")[1]) in status, said


def test_two_requests_at_once_on_one_connection_are_two_answers(house: House, server: Rogue) -> None:
    body = orjson.dumps({"model": "agent", "messages": HI})
    one = head(CHAT, len(body)) + body
    with connected(house) as connection:
        connection.sendall(one + one)
        got = b""
        while got.count(b"chat.completion") < 2:
            piece = connection.recv(65536)
            assert piece, got
            got += piece
        assert got.count(b"HTTP/1.1 200") == 2


def test_noise_is_refused_and_leaves_nothing(house: House) -> None:
    tasks = house.tasks()
    for noise in (
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        bytes(range(256)) * 50,
    ):
        with connected(house) as connection:
            connection.sendall(noise)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    eventually(lambda: house.tasks() <= tasks, "a task is left")
    assert house.http.get(f"{house.url}/healthz").status_code == 200


# -- our own faults -----------------------------------------------------------------------------------------


async def raises(arrival: Arrival) -> Reply:
    raise ZeroDivisionError("a secret of the house")


async def half(arrival: Arrival) -> Reply:
    async def pieces() -> Any:
        yield b"data: 1\n\n"
        raise ZeroDivisionError("a secret of the house")

    return Reply(200, pieces(), (("content-type", "text/event-stream"),))


def test_a_handler_that_raises_is_our_fault_and_says_no_more(house: House) -> None:
    front: Front = house.app.front  # type: ignore[attr-defined]
    door = house.app.state.service
    house.app.front = Front(  # type: ignore[attr-defined]
        house.app.behind,  # type: ignore[attr-defined]
        door=door.door,
        metrics=door.metrics,
        mint=house.parts.mint,
        hot=[
            HotRoute(method="POST", path="/v1/raises", action=Action.ANSWER, handler=raises),
            HotRoute(method="POST", path="/v1/half", action=Action.ANSWER, handler=half),
        ],
        body_limit=LIMIT,
        body_seconds=1.0,
        unread_seconds=1.0,
        requests_per_second=1000.0,
    )
    try:
        answer = house.http.post(f"{house.url}/v1/raises", json={})
        error = error_of(answer, 500)
        assert (error["code"], error["type"]) == ("internal", "server_error")
        assert "secret" not in answer.text
        with pytest.raises(httpx.RemoteProtocolError):  # it sees that something is missing
            house.http.post(f"{house.url}/v1/half", json={})
        assert 'status="500"' in house.http.get(f"{house.url}/metrics").text
    finally:
        house.app.front = front  # type: ignore[attr-defined]
