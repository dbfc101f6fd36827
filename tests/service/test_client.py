"""The client: patient with a server that is away, safe to repeat itself, clear about what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from heedful.client import AsyncClient, Call, Client, Patience, ask
from heedful.client.patience import tried
from heedful.client.plan import Wait
from heedful.domain.feedback import Feedback
from heedful.domain.ids import TenantId
from heedful.errors import Busy, Conflict, InvalidInput, NotFound, TooFast, Unavailable
from heedful.road import Parts
from heedful.wire import FEEDBACK

HI = [{"role": "user", "content": "Hi"}]
Answer = Callable[[httpx.Request], httpx.Response]


def played(call: Call[Any], *answers: httpx.Response | httpx.TransportError) -> tuple[Any, list[float]]:
    """What comes of a call when these are its answers, and how long would have been waited between them."""
    waits: list[float] = []
    plan, script = tried(call, Patience(attempts=4, random=Random(0))), iter(answers)
    came: httpx.Response | httpx.TransportError | None = None
    while True:
        try:
            step = plan.send(came)
        except StopIteration as end:
            return end.value, waits
        if isinstance(step, Wait):
            waits.append(step.seconds)
        came = None if isinstance(step, Wait) else next(script)


def answering(*answers: Answer | Exception) -> tuple[Client, list[httpx.Request]]:
    """A client of a server that gives these answers one after the other."""
    script: Iterator[Answer | Exception] = iter(answers)
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        one = next(script)
        if isinstance(one, Exception):
            raise one
        return one(request)

    patience = Patience(attempts=4, first=0.001, random=Random(0))
    return Client("http://server", transport=httpx.MockTransport(handle), patience=patience), seen


def says(status: int, body: Any = None, **headers: str) -> Answer:
    return lambda request: httpx.Response(status, json=body, headers=headers)


def error(code: str, message: str = "no", param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "x", "param": param, "code": code}}


def kept(request: httpx.Request) -> httpx.Response:
    import json

    results = [{"id": one["id"], "status": "kept"} for one in json.loads(request.content)]
    return httpx.Response(207, json={"results": results})


def test_a_repetition_has_the_same_id() -> None:
    client, seen = answering(httpx.ReadError("gone"), says(503, error("busy")), kept)
    result = client.feedback({"turn": "t", "said": {"form": "thumbs", "up": True}})
    assert result.status == "kept"
    assert len({request.content for request in seen}) == 1
    assert len(seen) == 3


def test_the_client_waits_as_long_as_it_is_told() -> None:
    later = httpx.Response(429, json=error("too_fast"), headers={"retry-after": "7"})
    came, waits = played(ask.status(), later, httpx.Response(200, json={"ok": 1}))
    assert came == {"ok": 1}
    assert 7 <= waits[0] < 7.2


def test_waits_grow_and_are_jittered() -> None:
    patience = Patience(random=Random(0))
    assert [0.1 * 2**n <= patience.jittered(n + 1) <= 0.2 * 2**n for n in range(6)] == [True] * 6
    assert patience.jittered(50) <= 20


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, error("not_found", param="turn"), NotFound),
        (409, error("conflict"), Conflict),
        (422, error("invalid_input", param="said.up"), InvalidInput),
        (429, error("too_fast"), TooFast),
        (503, error("busy"), Busy),
        (503, error("unavailable"), Unavailable),
        (502, "a proxy's page", Unavailable),
    ],
)
def test_an_error_is_the_exception_that_it_was(status: int, body: Any, kind: type[Exception]) -> None:
    client, _ = answering(*[says(status, body)] * 4)
    with pytest.raises(kind) as caught:
        client.status()
    assert type(caught.value) is kind
    if isinstance(body, dict):
        assert getattr(caught.value, "field", None) == body["error"]["param"]


def test_a_server_that_stays_away_is_unavailable() -> None:
    client, seen = answering(*[httpx.ConnectError("refused")] * 4)
    with pytest.raises(Unavailable, match="does not answer"):
        client.status()
    assert len(seen) == 4


def test_what_may_be_done_once_is_sent_once() -> None:
    client, seen = answering(httpx.ReadTimeout("?"))
    with pytest.raises(Unavailable):
        client.issue_key("viewer")
    assert len(seen) == 1


def test_pieces_that_met_a_full_queue_are_sent_again() -> None:
    def half(request: httpx.Request) -> httpx.Response:
        refused = {"id": "b", "status": "error", "error": error("busy")["error"]}
        return httpx.Response(207, json={"results": [{"id": "a", "status": "kept"}, refused]})

    client, seen = answering(half, kept)
    said = {"turn": "t", "said": {"form": "thumbs", "up": True}}
    results = client.feedback([said | {"id": "a"}, said | {"id": "b"}])
    assert [(one.id, one.status) for one in results] == [("a", "kept"), ("b", "kept")]
    assert len(seen) == 2


def test_the_whole_way_against_a_real_server(served: str, resolver: str, parts: Parts) -> None:
    with Client(served) as client:
        answer = client.complete(resolver, HI, episode="ticket", user="ada", context={"product": "desk"}, n=2)
        assert answer.text == "You said: Hi"
        assert len(answer.turns) == 2
        said = FEEDBACK.validate_python({"turn": answer.turn, "said": {"form": "thumbs", "up": True}})
        client.feedback(said.model_dump(mode="json", exclude_none=True))
        client.end_episode("ticket", outcome=1.0)
        assert client.get_episode("ticket")["episode"]["product"] == "desk"
        assert client.turn(answer.turn)["answer"] == answer.text
        assert client.status()["agents"][0]["live"] == "resolver@1"
        early = client.feedback({"turn": "nowhere", "said": {"form": "thumbs", "up": True}})
        assert early.status == "parked"
        with pytest.raises(NotFound) as caught:
            client.turn("nowhere")
        assert caught.value.field == "turn"
    assert len(parts.store.find(Feedback, TenantId("default"))) == 1


@pytest.mark.anyio
async def test_the_async_client_does_the_same(served: str, http: TestClient) -> None:
    async with AsyncClient(served) as client:
        body = {"kind": "external", "upstream": "scripts", "model": "echo"}
        policy = await client.adopt("resolver", body, once="first")
        assert await client.adopt("resolver", body, once="first") == policy
        answer = await client.complete("resolver", HI)
        results = await client.feedback([{"turn": answer.turn, "said": {"form": "thumbs", "up": True}}] * 3)
        assert {one.status for one in results} == {"kept"}
        assert (await client.policies("resolver"))[0]["id"] == policy["id"]
        assert await client.items("none", limit=1) == []


def test_both_clients_can_do_the_same() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")} - {"close", "aclose"}

    assert public(Client) == public(AsyncClient)
