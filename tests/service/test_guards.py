"""Guards at the gateway: asked before and after, kept with the turn; a held answer reaches who waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from heedful.domain.content import Message
from heedful.domain.guard import Decision, Ruling
from heedful.guards.protocol import Ruled
from heedful.road import Parts
from heedful.service.api import build
from heedful.settings import GatewaySettings, Settings
from parts import make_parts

from .conftest import QuietLoop, asked, local, released


class Words:
    """Rules by what a text begins with: `refuse …`, `rewrite …`, `hold …`; `out:` in front rules answers."""

    async def before(self, messages: Sequence[Message]) -> Ruled | None:
        return _ruled(messages[-1].text)

    async def after(self, messages: Sequence[Message], answer: str) -> Ruled | None:
        return _ruled(answer.removeprefix("You said: out: ")) if "out:" in answer else None


def _ruled(text: str) -> Ruled | None:
    first = text.partition(" ")[0]
    if first not in {"refuse", "rewrite", "hold"}:
        return None
    text = f"[{text}]"
    return Ruled(ruling=Ruling(guard="words", decision=Decision(first), category="test"), text=text)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = make_parts(tmp_path, guards=(Words(),))
    yield made
    made.store.close()


@pytest.fixture
def http(parts: Parts) -> Iterator[TestClient]:
    settings = Settings(gateway=GatewaySettings(hold_seconds=1.0))
    with local(build(parts, QuietLoop(parts), settings)) as client:
        released(client, "resolver", "echo")
        yield client


def said(completion: Any) -> tuple[str, str]:
    choice = completion["choices"][0]
    return choice["message"]["content"], choice["finish_reason"]


def turn_of(http: TestClient, id: str) -> Any:
    return http.get(f"/v1/turns/{id}").json()


def test_what_no_guard_minds_goes_through(http: TestClient) -> None:
    completion = asked(http, text="hello")
    assert said(completion) == ("You said: hello", "stop")
    assert turn_of(http, completion["id"])["rulings"] == []


def test_a_refused_request_asks_nobody_and_is_on_record(http: TestClient) -> None:
    completion = asked(http, text="refuse me")
    assert said(completion) == ("I can't help with that.", "content_filter")
    turn = turn_of(http, completion["id"])
    assert (turn["request"][0]["content"], turn["finish"]) == ("refuse me", "content_filter")
    assert [(one["guard"], one["decision"]) for one in turn["rulings"]] == [("words", "refuse")]


def test_a_rewritten_request_is_what_the_policy_sees(http: TestClient) -> None:
    assert said(asked(http, text="rewrite this")) == ("You said: [rewrite this]", "stop")


def test_an_answer_is_ruled_before_it_leaves(http: TestClient) -> None:
    assert said(asked(http, text="out: refuse that")) == ("I can't help with that.", "content_filter")
    assert said(asked(http, text="out: rewrite that")) == ("[rewrite that]", "stop")


def test_a_stream_is_ruled_too(http: TestClient) -> None:
    body = {
        "model": "resolver",
        "stream": True,
        "messages": [{"role": "user", "content": "out: refuse that"}],
    }
    text = http.post("/v1/chat/completions", json=body).text
    assert "refuse that" not in text
    assert "content_filter" in text
    assert text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("decision", "heard"),
    [
        ({"decision": "allow"}, ("You said: out: hold it", "stop")),
        ({"decision": "rewrite", "text": "softer"}, ("softer", "stop")),
        ({"decision": "refuse", "reason": "rude"}, ("I can't help with that.", "content_filter")),
    ],
)
def test_a_held_answer_reaches_who_waits_for_it(
    http: TestClient, decision: dict[str, str], heard: tuple[str, str]
) -> None:
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(asked(http, text="out: hold it")))
    waiting.start()
    held = None
    while held is None:
        held = next(iter(http.get("/v1/held").json()["held"]), None)
        time.sleep(0.01)
    assert (held["answer"], held["agent"]) == ("You said: out: hold it", "resolver")
    assert http.post(f"/v1/held/{held['id']}", json=decision).status_code == 200
    waiting.join()
    assert said(got[0]) == heard
    rulings = turn_of(http, got[0]["id"])["rulings"]
    assert [one["decision"] for one in rulings] == ["hold", decision["decision"]]
    assert http.get("/v1/held").json() == {"held": []}
    assert http.post(f"/v1/held/{held['id']}", json=decision).status_code == 404


def test_what_nobody_decides_about_is_refused(http: TestClient) -> None:
    began = time.monotonic()
    completion = asked(http, text="hold this")
    assert 0.9 < time.monotonic() - began < 10
    assert said(completion) == ("I can't help with that.", "content_filter")
    reasons = [one["reason"] for one in turn_of(http, completion["id"])["rulings"]]
    assert reasons[-1] == "nobody decided in time"


def test_a_decision_says_other_words_only_when_it_rewrites(http: TestClient) -> None:
    for body in ({"decision": "rewrite"}, {"decision": "allow", "text": "x"}, {"decision": "hold"}):
        assert http.post("/v1/held/x", json=body).status_code == 422
