"""Agents of `openai-agents` at work, with a scripted model, and what of it arrives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from agents import (
    Agent,
    Model,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
    set_trace_processors,
    trace,
)
from openai import AsyncOpenAI
from starlette.testclient import TestClient

from heedful.domain.episode import Turn
from heedful.domain.ids import TenantId
from heedful.integrations.openai_agents import HeedfulProcessor
from heedful.road import Parts

T = TenantId("default")


@pytest.fixture
def processor(served: str) -> Iterator[HeedfulProcessor]:
    """The only one that hears of traces."""
    made = HeedfulProcessor(served)
    set_trace_processors([made])
    yield made
    set_trace_processors([])
    made.shutdown()


def chat(*answers: dict[str, Any]) -> Model:
    """A chat model that gives these answers one after the other."""
    script = iter(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        message = {"role": "assistant", "content": None, **next(script)}
        finish = "tool_calls" if message.get("tool_calls") else "stop"
        return httpx.Response(
            200,
            json={
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": json.loads(request.content)["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": finish}],
                "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
            },
        )

    return OpenAIChatCompletionsModel("tiny", _client(handle))


def responses(*outputs: list[dict[str, Any]]) -> Model:
    """The same through the responses API."""
    script = iter(enumerate(outputs))

    def handle(request: httpx.Request) -> httpx.Response:
        number, output = next(script)
        return httpx.Response(
            200,
            json={
                "id": f"resp_{number}",
                "object": "response",
                "created_at": 1,
                "model": "tiny-2",
                "instructions": json.loads(request.content).get("instructions"),
                "output": output,
                "parallel_tool_calls": True,
                "tool_choice": "auto",
                "tools": [],
                "usage": {
                    "input_tokens": 7,
                    "output_tokens": 3,
                    "total_tokens": 10,
                    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                    "output_tokens_details": {"reasoning_tokens": 0},
                },
            },
        )

    return OpenAIResponsesModel("tiny", _client(handle))


def _client(handle: Callable[[httpx.Request], httpx.Response]) -> AsyncOpenAI:
    http: Any = httpx.AsyncClient(transport=httpx.MockTransport(handle))  # the library may name another httpx
    return AsyncOpenAI(api_key="none", base_url="http://model/v1", http_client=http)


def call(name: str, arguments: str = "{}") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"id": f"call_{name}", "type": "function", "function": function}]}


@function_tool
def track(order: int) -> str:
    """Where a parcel is."""
    return f"parcel {order} is in Lyon"


def test_a_handoff_between_two_agents_arrives(
    processor: HeedfulProcessor, http: TestClient, parts: Parts
) -> None:
    model = chat(call("transfer_to_resolver"), call("track", '{"order": 7}'), {"content": "It is in Lyon."})
    resolver = Agent(name="resolver", instructions="Resolve.", model=model, tools=[track])
    triage = Agent(name="triage", instructions="Route.", model=model, handoffs=[resolver])
    config = RunConfig(group_id="ticket_9", trace_metadata={"user_id": "user_7"}, workflow_name="support")
    answered = asyncio.run(Runner.run(triage, "Where is parcel 7?", run_config=config))
    assert answered.final_output == "It is in Lyon."
    processor.force_flush()

    page = http.get("/v1/episodes/otlp:session:ticket_9").json()
    spoke = [(one["by"], one["to"]) for one in page["conversation"]]
    assert spoke == [("triage", "resolver"), ("resolver", "resolver"), ("resolver", "user")]
    routed, looked_up, answer = page["turns"]
    assert [looked_up["parent"], answer["parent"]] == [routed["id"], looked_up["id"]]
    assert answer["answer"] == "It is in Lyon."
    assert [one["role"] for one in answer["request"]][:2] == ["system", "user"]
    assert answer["request"][-1]["content"] == "parcel 7 is in Lyon"
    assert answer["request"][-1]["tool_call_id"] == "call_track"
    assert looked_up["tool_calls"] == [{"id": "call_track", "name": "track", "arguments": '{"order": 7}'}]
    assert routed["usage"]["prompt_tokens"] == 7
    assert routed["policy"] == "triage@imported:tiny"
    assert (page["episode"]["user"], page["episode"]["task_type"]) == ("user_7", "support")


def test_the_responses_api_arrives_too(processor: HeedfulProcessor, parts: Parts) -> None:
    words = {"type": "output_text", "text": "It is in Lyon.", "annotations": []}
    said = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [words]}
    asked = {
        "type": "function_call",
        "id": "f",
        "call_id": "call_1",
        "name": "track",
        "arguments": '{"order":7}',
    }
    agent = Agent(name="Parcel Finder", instructions="Find.", model=responses([asked], [said]), tools=[track])
    asyncio.run(Runner.run(agent, "Where is parcel 7?"))
    processor.force_flush()
    looked_up, answer = sorted(parts.store.find(Turn, T), key=lambda turn: turn.at)
    assert looked_up.tool_calls[0].name == "track"
    assert (answer.answer, answer.agent) == ("It is in Lyon.", "Parcel-Finder")
    assert answer.metadata["gen_ai.response.id"] == "resp_1"
    assert [(one.role, one.text) for one in answer.request][:2] == [
        ("system", "Find."),
        ("user", "Where is parcel 7?"),
    ]
    assert answer.request[-1].text == "parcel 7 is in Lyon"


def test_what_our_own_gateway_answered_is_not_sent(
    served: str, processor: HeedfulProcessor, http: TestClient, parts: Parts, resolver: str
) -> None:
    client = AsyncOpenAI(api_key="none", base_url=f"{served}/v1")
    agent = Agent(name="resolver", model=OpenAIChatCompletionsModel(resolver, client))
    answered = asyncio.run(Runner.run(agent, "Hi"))
    assert answered.final_output == "You said: Hi"
    processor.force_flush()
    http.app.state.service.recorder.settle()  # type: ignore[attr-defined]
    (turn,) = parts.store.find(Turn, T)
    assert turn.purpose == "live"


# -- patience, and when it ends ------------------------------------------------------------------------------


def traced(processor: HeedfulProcessor, times: int = 1) -> None:
    set_trace_processors([processor])
    for _ in range(times):
        with trace("work"):
            pass
        agent = Agent(name="a", model=chat({"content": "Yes."}))
        asyncio.run(Runner.run(agent, "Well?"))
    set_trace_processors([])


def answering(*statuses: int | Exception) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    seen: list[httpx.Request] = []
    script = iter(statuses)

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        one = next(script, 200)
        if isinstance(one, Exception):
            raise one
        return httpx.Response(one, headers={"retry-after": "0"} if one == 503 else {}, json={})

    return httpx.MockTransport(handle), seen


def test_a_busy_server_gets_the_same_again() -> None:
    transport, seen = answering(503, httpx.ConnectError("away"), 200)
    processor = HeedfulProcessor("http://server", "hk_1.secret", transport=transport)
    traced(processor)
    processor.force_flush()
    assert len(seen) == 3
    assert len({request.content for request in seen}) == 1
    assert seen[0].headers["authorization"] == "Bearer hk_1.secret"
    assert processor.dropped == 0
    processor.shutdown()


def test_what_is_refused_is_dropped_and_said(caplog: pytest.LogCaptureFixture) -> None:
    transport, seen = answering(401)
    processor = HeedfulProcessor("http://server", transport=transport)
    traced(processor)
    processor.force_flush()
    assert len(seen) == 1
    assert processor.dropped > 0
    assert "a trace was not sent" in caplog.text
    processor.shutdown()


def test_what_is_too_large_is_sent_in_halves() -> None:
    transport, seen = answering(413)
    processor = HeedfulProcessor("http://server", transport=transport)
    traced(processor)
    processor.force_flush()
    assert len(seen) == 3
    assert processor.dropped == 0
    processor.shutdown()


def test_a_full_queue_leaves_out_and_never_waits(caplog: pytest.LogCaptureFixture) -> None:
    processor = HeedfulProcessor("http://127.0.0.1:9", waiting=1)
    traced(processor)
    assert processor.dropped > 0
    assert "left out" in caplog.text
    processor.shutdown(0.1)


def test_shutdown_does_not_wait_for_a_server_that_is_away() -> None:
    processor = HeedfulProcessor("http://127.0.0.1:9")
    traced(processor)
    processor.shutdown(0.2)
    processor.shutdown()


def test_nothing_that_goes_wrong_reaches_the_agent(caplog: pytest.LogCaptureFixture) -> None:
    processor = HeedfulProcessor("http://server")
    processor.on_span_start(None)  # type: ignore[arg-type]
    processor.on_span_end(object())  # type: ignore[arg-type]
    processor.on_trace_start(None)  # type: ignore[arg-type]
    processor.on_trace_end(None)  # type: ignore[arg-type]
    assert caplog.text.count("a trace was not understood") == 4
    processor.shutdown()
