"""What an answer costs, and the budget of a key that stops it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from heedful.dialect import chat
from heedful.domain.access import Limits, Scope
from heedful.domain.content import Answer
from heedful.domain.ids import TenantId
from heedful.domain.models import Policy
from heedful.inference.openai_http import Price, UpstreamSettings
from heedful.inference.scripted import ScriptedInference
from heedful.inference.upstreams import Upstreams
from heedful.road import Parts
from heedful.service.api import build
from heedful.service.door import keyring
from heedful.settings import InferenceSettings, Settings
from parts import SCRIPTS, make_parts

from .conftest import QuietLoop, local, released

TENANT = TenantId("default")
PRICED = Settings(
    inference=InferenceSettings(
        upstreams={
            "scripts": UpstreamSettings(
                url="http://127.0.0.1:1/v1", prices={"echo": Price(prompt=10.0, answer=40.0)}
            )
        }
    )
)


class Counting(ScriptedInference):
    """Scripts that count tokens: 1000 in, 500 out for each answer."""

    async def chat(self, policy: Policy, asked: chat.Wire) -> chat.Wire:
        n = asked.get("n") or 1
        reply = chat.reply_of([Answer(text="Yes.", finish="stop") for _ in range(n)])
        usage = {"prompt_tokens": 1000, "completion_tokens": 500 * n, "total_tokens": 1000 + 500 * n}
        return {**reply, "usage": usage}


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    scripts = Counting(SCRIPTS)
    made = make_parts(tmp_path, inference=Upstreams(scripts, {"scripts": scripts}))
    yield made
    made.store.close()


def house(parts: Parts) -> TestClient:
    return local(build(parts, QuietLoop(parts), PRICED))


def ask(http: TestClient, key: str | None = None, **more: Any) -> Any:
    body = {"model": "resolver", "messages": [{"role": "user", "content": "Is it?"}], **more}
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return http.post("/v1/chat/completions", json=body, headers=headers)


def test_an_answer_costs_what_the_price_table_says(parts: Parts) -> None:
    with house(parts) as http:
        released(http, "resolver", "echo")
        id = ask(http).json()["id"]
        assert http.get(f"/v1/turns/{id}").json()["usage"]["spend"] == pytest.approx(0.01 + 0.02)
        two = ask(http, n=2).json()["choices"]
        each = [http.get(f"/v1/turns/{one['turn']}").json()["usage"]["spend"] for one in two]
        assert each == pytest.approx([(0.01 + 0.04) / 2] * 2)


def test_a_key_that_has_spent_its_budget_gets_no_more_answers(parts: Parts) -> None:
    with house(parts) as http:
        released(http, "resolver", "echo")
        spender = keyring.issue(
            parts, TENANT, Scope.AGENT, actor="test", limits=Limits(spend_per_month=0.05)
        ).text
        other = keyring.issue(parts, TENANT, Scope.AGENT, actor="test").text
        http.app.state.service.door.forget()  # type: ignore[attr-defined]
        assert [ask(http, spender).status_code for _ in range(3)] == [200, 200, 402]
        refused = ask(http, spender).json()["error"]
        assert (refused["code"], "spend_per_month" in refused["message"]) == ("over_budget", True)
        assert ask(http, other).status_code == 200
    with house(parts) as again:  # the store remembers
        assert ask(again, spender).status_code == 402
        assert ask(again, other).status_code == 200


def test_a_rotated_key_keeps_its_limits_and_a_silly_limit_is_refused(parts: Parts) -> None:
    with house(parts) as http:
        limits = {"requests_per_second": 5, "spend_per_month": 20}
        made = http.post("/v1/keys", json={"scope": "admin", "limits": limits}).json()
        assert made["key"]["limits"] == limits
        admin = {"authorization": f"Bearer {made['text']}"}
        after = http.post(f"/v1/keys/{made['key']['id']}/rotate", json={}, headers=admin).json()
        assert after["key"]["limits"] == limits
        wrong = http.post(
            "/v1/keys", json={"scope": "agent", "limits": {"spend_per_month": 0}}, headers=admin
        )
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (422, "limits.spend_per_month")
