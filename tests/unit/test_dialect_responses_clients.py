"""The Responses dialect as real clients meet it: OpenAI's own, its agents, LangChain.

A small server answers `POST /v1/responses` with nothing but the dialect, on top of a chat that a function
plays. What the clients make of it is what they make of OpenAI.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import orjson
import pytest
from pydantic import BaseModel

from heedful.dialect.responses import Events, after, read, references, response_of, to_chat, whole
from heedful.errors import InvalidInput

Json = Any
Chat = Callable[[Json], Json]  # a chat's request -> the choice of its reply


@dataclass
class Host:
    """What the server knows: how to play the chat, what it was asked for, and what it answered before."""

    url: str
    chat: Chat
    chats: list[Json] = field(default_factory=list)
    histories: dict[str, list[Json]] = field(default_factory=dict)
    answers: dict[str, Json] = field(default_factory=dict)

    def answer(self, body: Json) -> Json | Iterator[Json]:
        asked = read(body)
        history = self.histories[asked.previous_response_id] if asked.previous_response_id else []
        owners = {response_of(id) for id in references(asked)}
        known = {item["id"]: item for id in owners if id for item in self.answers[id]["output"]}
        chat = to_chat(asked, history, known=known)
        self.chats.append(chat)
        id = f"resp_{len(self.chats)}"
        choice = self.chat(chat)
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        reply = {"choices": [choice], "usage": usage}
        self.histories[id] = after(asked, history, choice["message"], id=id, known=known)
        self.answers[id] = whole(asked, reply, id=id, created_at=1.5)
        if not asked.stream:
            return self.answers[id]
        return self._stream(Events(asked, id=id, created_at=1.5), reply)

    def _stream(self, stream: Events, reply: Json) -> Iterator[Json]:
        yield from stream.begin()
        for chunk in chunked(reply):
            if "error" in chunk:
                yield from stream.fail(chunk["error"])
            yield from stream.take(chunk)
        yield from stream.end()


def chunked(reply: Json) -> Iterator[Json]:
    """The reply as OpenAI's own chats stream it, three characters at a time."""
    (choice,) = reply["choices"]
    message = choice["message"]

    def chunk(**delta: Json) -> Json:
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    yield chunk(role="assistant", content="")
    for name in ("reasoning_content", "content", "refusal"):
        for piece in threes(message.get(name) or ""):
            yield chunk(**{name: piece})
    if "error" in choice:
        yield {"error": choice["error"]}
    for place, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        yield chunk(tool_calls=[{**call, "index": place, "function": {**function, "arguments": ""}}])
        for piece in threes(function["arguments"]):
            yield chunk(tool_calls=[{"index": place, "function": {"arguments": piece}}])
    yield {"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]}
    yield {"choices": [], "usage": reply["usage"]}


def threes(text: str) -> Sequence[str]:
    return [text[start : start + 3] for start in range(0, len(text), 3)]


@pytest.fixture
def host() -> Iterator[Host]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            try:
                answer = made.answer(body)
            except InvalidInput as error:
                said = {"message": str(error), "type": "invalid_request_error", "param": error.field}
                self._send(422, "application/json", [orjson.dumps({"error": said})])
                return
            if isinstance(answer, dict):
                self._send(200, "application/json", [orjson.dumps(answer)])
            else:
                frames = (
                    f"event: {event['type']}\ndata: ".encode() + orjson.dumps(event) + b"\n\n"
                    for event in answer
                )
                self._send(200, "text/event-stream", frames)

        def _send(self, status: int, kind: str, pieces: Iterator[bytes] | list[bytes]) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Host(url=f"http://127.0.0.1:{server.server_port}/v1", chat=hello)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(host: Host) -> Iterator[Json]:
    with openai.OpenAI(base_url=host.url, api_key="none", max_retries=0) as made:
        yield made


# -- chats that are played -----------------------------------------------------------------------------------


def says(text: str | None, finish: str = "stop", **message: Json) -> Json:
    return {"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}


def calls(
    *names: str, text: str | None = None, arguments: str = '{"city": "Oslo"}', id: str = "call"
) -> Json:
    made = [
        {"id": f"{id}_{place}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for place, name in enumerate(names)
    ]
    return says(text, "tool_calls", tool_calls=made)


def hello(chat: Json) -> Json:
    return says("Hello there.")


def weatherman(chat: Json) -> Json:
    """Looks in two places, then says what was seen."""
    seen = [message["content"] for message in chat["messages"] if message["role"] == "tool"]
    return says(f"It is {' and '.join(seen)}.") if seen else calls("weather", "weather", text="I look.")


class City(BaseModel):
    name: str
    people: int


WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
OSLO = says('{"name": "Oslo", "people": 700000}')

# -- the official client -------------------------------------------------------------------------------------


def test_the_client_reads_an_answer_and_its_refusals(host: Host, client: Json) -> None:
    response = client.responses.create(model="resolver", input="Hi", instructions="Be brief.")
    assert (response.output_text, response.status) == ("Hello there.", "completed")
    assert response.usage is not None
    assert response.usage.total_tokens == 7
    with pytest.raises(openai.UnprocessableEntityError, match="web_search") as caught:
        client.responses.create(model="resolver", input="Hi", tools=[{"type": "web_search"}])
    assert caught.value.param == "tools.0.type"


@pytest.mark.anyio
async def test_the_client_streams_in_async_code_too(host: Host) -> None:
    async with openai.AsyncOpenAI(base_url=host.url, api_key="none", max_retries=0) as client:
        response = await client.responses.create(model="resolver", input="Hi")
        assert response.output_text == "Hello there."
        stream = await client.responses.create(model="resolver", input="Hi", stream=True)
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        assert "".join(deltas) == "Hello there."
        async with client.responses.stream(model="resolver", input="Hi") as helped:
            assert (await helped.get_final_response()).output_text == "Hello there."


def test_the_stream_ends_with_the_answer_that_was_not_streamed(host: Host, client: Json) -> None:
    host.chat = weatherman
    plain = client.responses.create(model="resolver", input="Weather?", tools=[WEATHER])
    events = list(client.responses.create(model="resolver", input="Weather?", tools=[WEATHER], stream=True))
    last = events[-1]
    assert last.type == "response.completed"
    assert [item.type for item in last.response.output] == ["message", "function_call", "function_call"]
    ids = {"resp_2": "resp_1", "_2_": "_1_"}
    said = last.response.model_dump_json()
    for new, old in ids.items():
        said = said.replace(new, old)
    assert said == plain.model_dump_json()


def test_the_streaming_helper_gathers_text_and_calls(host: Host, client: Json) -> None:
    host.chat = weatherman
    with client.responses.stream(model="resolver", input="Weather?", tools=[WEATHER]) as stream:
        events = list(stream)
        final = stream.get_final_response()
    snapshots = [event.snapshot for event in events if event.type == "response.function_call_arguments.delta"]
    assert snapshots[-1] == '{"city": "Oslo"}'
    assert final.output_text == "I look."
    assert [item.parsed_arguments for item in final.output if item.type == "function_call"] == [
        {"city": "Oslo"},
        {"city": "Oslo"},
    ]


def test_structured_answers_are_parsed(host: Host, client: Json) -> None:
    host.chat = lambda chat: OSLO
    response = client.responses.parse(model="resolver", input="A city?", text_format=City)
    assert response.output_parsed == City(name="Oslo", people=700000)
    assert host.chats[0]["response_format"]["json_schema"]["strict"] is True
    with client.responses.stream(model="resolver", input="A city?", text_format=City) as stream:
        assert stream.get_final_response().output_parsed == City(name="Oslo", people=700000)


def test_thoughts_and_refusals_reach_the_client(host: Host, client: Json) -> None:
    host.chat = lambda chat: says(None, refusal="I may not.", reasoning_content="Hm, hm.")
    with client.responses.stream(model="resolver", input="Hi") as stream:
        types = {event.type for event in stream}
        thought, message = stream.get_final_response().output
    assert {"response.reasoning_text.delta", "response.refusal.delta", "response.refusal.done"} <= types
    assert (thought.type, message.type) == ("reasoning", "message")
    assert thought.content
    assert thought.content[0].text == "Hm, hm."
    assert message.content[0].type == "refusal"


def test_a_conversation_goes_on_by_the_id_of_its_last_response(host: Host, client: Json) -> None:
    host.chat = weatherman
    first = client.responses.create(model="m", input="Weather?", instructions="Look.", tools=[WEATHER])
    outputs = [
        {"type": "function_call_output", "call_id": item.call_id, "output": f"{place}°"}
        for place, item in enumerate(first.output)
        if item.type == "function_call"
    ]
    second = client.responses.create(model="m", input=outputs, previous_response_id=first.id)
    assert second.output_text == "It is 1° and 2°."
    assert [message["role"] for message in host.chats[1]["messages"]] == ["user", "assistant", "tool", "tool"]


def test_items_may_be_sent_back_or_named(host: Host, client: Json) -> None:
    host.chat = weatherman
    first = client.responses.create(model="m", input="Weather?", tools=[WEATHER])
    sent = [item.model_dump(exclude_none=True) for item in first.output]
    named = [{"type": "item_reference", "id": item.id} for item in first.output]
    outputs = [
        {"type": "function_call_output", "call_id": item.call_id, "output": "3°"}
        for item in first.output
        if item.type == "function_call"
    ]
    for items in (sent, named):
        asked: Json = [{"role": "user", "content": "Weather?"}, *items, *outputs]
        assert client.responses.create(model="m", input=asked).output_text == "It is 3° and 3°."
    assert host.chats[1] == host.chats[2]


def test_a_failure_midway_is_an_event_that_the_client_reads(host: Host, client: Json) -> None:
    host.chat = lambda chat: {**says("Hello there."), "error": "the upstream is gone"}
    events = list(client.responses.create(model="m", input="Hi", stream=True))
    last = events[-1]
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.message == "the upstream is gone"


# -- openai-agents -------------------------------------------------------------------------------------------


def fleet(host: Host) -> Json:
    """An agent at the desk that hands over to one who asks a tool."""
    agents = pytest.importorskip("agents")
    agents.set_tracing_disabled(True)
    client = openai.AsyncOpenAI(base_url=host.url, api_key="none", max_retries=0)
    model = agents.OpenAIResponsesModel(model="resolver", openai_client=client)

    def weather(city: str) -> str:
        """The weather in a city."""
        return f"12° in {city}"

    expert = agents.Agent(
        name="expert", instructions="Know the weather.", model=model, tools=[agents.function_tool(weather)]
    )
    return agents.Agent(name="desk", instructions="Hand over.", model=model, handoffs=[expert])


def handing_over(chat: Json) -> Json:
    names = [tool["function"]["name"] for tool in chat.get("tools", ())]
    if "transfer_to_expert" in names:
        return calls("transfer_to_expert", arguments="{}", id="over")
    last = chat["messages"][-1]
    if last["role"] != "tool" or "°" not in last["content"]:
        return calls("weather", "weather", text="I look.")
    return says("It is fine.")


@pytest.mark.anyio
@pytest.mark.parametrize("by_id", [False, True], ids=["items", "previous_response_id"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_agents_hand_over_and_call_their_tools(host: Host, stream: bool, by_id: bool) -> None:
    agents = pytest.importorskip("agents")
    host.chat = handing_over
    desk = fleet(host)
    if stream:
        result = agents.Runner.run_streamed(desk, "Weather?", auto_previous_response_id=by_id)
        seen = [event.name async for event in result.stream_events() if event.type == "run_item_stream_event"]
        assert seen.count("tool_called") == seen.count("tool_output") == 2
    else:
        result = await agents.Runner.run(desk, "Weather?", auto_previous_response_id=by_id)
    assert (result.final_output, result.last_agent.name) == ("It is fine.", "expert")
    assert len(host.chats) == 3
    assert [message["role"] for message in host.chats[-1]["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
        "tool",
    ]
    assert host.chats[-1]["messages"][0]["content"] == "Know the weather."
    assert host.chats[-1]["messages"][-1]["content"] == "12° in Oslo"
    assert result.context_wrapper.usage.total_tokens == 21


@pytest.mark.anyio
async def test_an_agent_goes_on_for_a_second_turn(host: Host) -> None:
    agents = pytest.importorskip("agents")
    host.chat = handing_over
    first = await agents.Runner.run(fleet(host), "Weather?")
    again = [*first.to_input_list(), {"role": "user", "content": "And now?"}]
    host.chat = hello
    second = await agents.Runner.run(first.last_agent, again)
    assert second.final_output == "Hello there."
    assert [message["role"] for message in host.chats[-1]["messages"][-2:]] == ["assistant", "user"]


@pytest.mark.anyio
async def test_an_agent_has_its_answer_in_a_shape(host: Host) -> None:
    agents = pytest.importorskip("agents")
    host.chat = lambda chat: OSLO
    agent = fleet(host).clone(output_type=City, handoffs=[])
    assert (await agents.Runner.run(agent, "A city?")).final_output == City(name="Oslo", people=700000)


@pytest.mark.anyio
async def test_an_agent_is_told_of_a_failure(host: Host) -> None:
    agents = pytest.importorskip("agents")
    host.chat = lambda chat: {**says("Hello there."), "error": "the upstream is gone"}
    result = agents.Runner.run_streamed(fleet(host), "Hi")
    with pytest.raises(agents.ModelBehaviorError, match="the upstream is gone"):
        _ = [event async for event in result.stream_events()]


# -- LangChain -----------------------------------------------------------------------------------------------


def langchain(host: Host, **given: Json) -> Json:
    module = pytest.importorskip("langchain_openai")
    return module.ChatOpenAI(
        model="resolver", base_url=host.url, api_key="none", max_retries=0, use_responses_api=True, **given
    )


def answering(said: Json) -> list[Json]:
    """The outputs of the tools that were called, as LangChain sends them."""
    messages = pytest.importorskip("langchain_core.messages")
    return [messages.ToolMessage("3°", tool_call_id=call["id"]) for call in said.tool_calls]


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_langchain_calls_tools_and_goes_on_by_id(host: Host, streaming: bool) -> None:
    host.chat = weatherman
    model = langchain(host).bind_tools([WEATHER])
    if streaming:
        first, *rest = model.stream("Weather?")
        said = first
        for chunk in rest:
            said += chunk
    else:
        said = model.invoke("Weather?")
    assert said.text == "I look."
    assert said.usage_metadata["total_tokens"] == 7
    assert [(call["name"], call["args"]) for call in said.tool_calls] == [("weather", {"city": "Oslo"})] * 2
    assert [block["type"] for block in said.content] == ["text", "function_call", "function_call"]
    by_id = model.invoke(answering(said), previous_response_id=said.response_metadata["id"])
    assert by_id.text == "It is 3° and 3°."
    asked = ("human", "Weather?")
    assert model.invoke([asked, said, *answering(said)]).text == "It is 3° and 3°."
    assert host.chats[1]["messages"] == host.chats[2]["messages"]


def test_langchain_finds_the_last_response_by_itself(host: Host) -> None:
    model = langchain(host, use_previous_response_id=True)
    said = model.invoke("Hi")
    model.invoke([("human", "Hi"), said, ("human", "And?")])
    assert [message["content"] for message in host.chats[1]["messages"]] == ["Hi", "Hello there.", "And?"]


@pytest.mark.anyio
async def test_langchain_has_its_answer_in_a_shape(host: Host) -> None:
    host.chat = lambda chat: OSLO
    model = langchain(host, reasoning={"effort": "low"}).with_structured_output(City)
    assert model.invoke("A city?") == City(name="Oslo", people=700000)
    assert [one async for one in model.astream("A city?")][-1] == City(name="Oslo", people=700000)
    assert host.chats[0]["reasoning_effort"] == "low"
