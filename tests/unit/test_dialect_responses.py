"""The Responses dialect: what is read, what goes to a chat, what comes back whole and as events.

Whatever is produced is read strictly by the models of the official client, and nothing in it may be unknown
to them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from heedful.dialect.responses import Asked, Events, after, read, references, response_of, to_chat, whole
from heedful.dialect.responses_request import OURS
from heedful.errors import InvalidInput

Json = Any
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
UNLISTED = {"store", "bytes"}  # sent by OpenAI itself, though its own models do not list them
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
INCLUDED = ["message.output_text.logprobs"]


def make_asked(**given: Json) -> Asked:
    return read({"model": "resolver", "input": "Where is my parcel?", **given})


def make_call(
    id: str = "call_1", name: str = "weather", arguments: str = '{"city":"Oslo"}'
) -> dict[str, Json]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def make_reply(finish: str = "stop", *, logprobs: Json = None, usage: Json = None, **message: Json) -> Json:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": None, **message},
        "finish_reason": finish,
    }
    reply: dict[str, Json] = {"id": "x", "object": "chat.completion", "model": "upstream's", "usage": usage}
    return {**reply, "choices": [{**choice, "logprobs": logprobs}]}


def make_token(token: str, **given: Json) -> dict[str, Json]:
    return {"token": token, "bytes": list(token.encode()), "logprob": -0.5, "top_logprobs": [], **given}


def chunk(finish: str | None = None, *, logprobs: Json = None, **delta: Json) -> dict[str, Json]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}]}


def called(
    index: int, arguments: str = "", *, id: str | None = None, name: str | None = None
) -> dict[str, Json]:
    """A chunk about one call."""
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return chunk(tool_calls=[{"index": index, "function": function, **({"id": id} if id else {})}])


def answered(asked: Asked, reply: Json) -> dict[str, Json]:
    answer = whole(asked, reply, id="resp_1", created_at=1.5)
    checked(answer)
    return answer


def streamed(asked: Asked, chunks: Sequence[Json]) -> tuple[list[dict[str, Json]], Events]:
    """All events of the stream, each of them checked."""
    stream = Events(asked, id="resp_1", created_at=1.5)
    told = [*stream.begin(), *itertools.chain.from_iterable(map(stream.take, chunks)), *stream.end()]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    for event in told:
        read_back = EVENT.validate_json(orjson.dumps(event), strict=True)
        assert read_back.type == event["type"]
        _all_known(read_back)
    return told, stream


def checked(answer: Json) -> None:
    read_back = Response.model_validate_json(orjson.dumps(answer), strict=True)
    assert set(Response.model_fields) <= set(answer), "a field that the client may look for is missing"
    _all_known(read_back)


def _all_known(value: object) -> None:
    if isinstance(value, BaseModel):
        assert set(value.model_extra or {}) <= UNLISTED, value
        for name in type(value).model_fields:
            _all_known(getattr(value, name))
    elif isinstance(value, list):
        for one in value:
            _all_known(one)


def gathered(told: Sequence[Mapping[str, Json]]) -> list[dict[str, Json]]:
    """The output as someone puts it together who believes nothing but added, delta and done."""
    output: list[dict[str, Json]] = []
    open_items: set[int] = set()
    for event in told:
        place: Json = event.get("output_index")
        match event["type"].removeprefix("response."):
            case "output_item.added":
                assert place == len(output), "indexes of items rise by one"
                assert not open_items, "an item is closed before the next one opens"
                open_items.add(place)
                output.append(json.loads(json.dumps(event["item"])))
            case "content_part.added":
                assert event["content_index"] == len(output[place]["content"])
                output[place]["content"].append(dict(event["part"]))
            case "function_call_arguments.delta":
                output[place]["arguments"] += event["delta"]
            case "output_text.delta" | "reasoning_text.delta":
                part = output[place]["content"][event["content_index"]]
                part["text"] += event["delta"]
                if "logprobs" in part:
                    part["logprobs"] = [*part["logprobs"], *event["logprobs"]]
            case "refusal.delta":
                output[place]["content"][event["content_index"]]["refusal"] += event["delta"]
            case "output_text.done" | "reasoning_text.done":
                assert event["text"] == output[place]["content"][event["content_index"]]["text"]
            case "refusal.done":
                assert event["refusal"] == output[place]["content"][event["content_index"]]["refusal"]
            case "function_call_arguments.done":
                assert event["arguments"] == output[place]["arguments"]
            case "content_part.done":
                assert event["part"] == output[place]["content"][event["content_index"]]
            case "output_item.done":
                output[place]["status"] = event["item"]["status"]
                assert event["item"] == output[place]
                open_items.remove(place)
        if "item_id" in event:
            assert event["item_id"] == output[place]["id"]
    assert not open_items
    return output


# -- what goes to the chat -----------------------------------------------------------------------------------


def test_text_and_instructions_become_a_chat() -> None:
    chat = to_chat(make_asked(instructions="Be brief."))
    assert chat == {
        "model": "resolver",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Where is my parcel?"},
        ],
    }


def test_settings_are_translated_and_what_nobody_knows_goes_on() -> None:
    asked = make_asked(
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=100,
        reasoning={"effort": "low", "summary": "auto"},
        text={"format": {"type": "json_object"}, "verbosity": "low"},
        include=[*INCLUDED, "reasoning.encrypted_content"],
        top_logprobs=3,
        metadata={"ticket": "7"},
        user="ada",
        safety_identifier="s",
        prompt_cache_key="k",
        service_tier="flex",
        seed=5,
        heedful={"episode": "e"},
        store=False,
        stream=True,
        stream_options={"include_obfuscation": False},
        truncation="auto",
        background=False,
        max_tool_calls=3,
        context_management=[{"type": "compaction"}],
        previous_response_id=None,
    )
    chat = to_chat(asked)
    del chat["messages"]
    assert chat == {
        "model": "resolver",
        "temperature": 0.5,
        "top_p": 0.9,
        "max_completion_tokens": 100,
        "reasoning_effort": "low",
        "response_format": {"type": "json_object"},
        "verbosity": "low",
        "logprobs": True,
        "top_logprobs": 3,
        "metadata": {"ticket": "7"},
        "user": "ada",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "service_tier": "flex",
        "seed": 5,
        "heedful": {"episode": "e"},
    }
    assert (asked.stream, asked.store) == (True, False)


def test_logprobs_are_asked_for_only_when_they_are_to_be_shown() -> None:
    assert "top_logprobs" not in to_chat(make_asked(top_logprobs=3))


def test_tools_take_the_nested_form_of_a_chat() -> None:
    chat = to_chat(
        make_asked(
            tools=[{**WEATHER, "strict": True, "description": None, "defer_loading": True}],
            tool_choice={"type": "function", "name": "weather"},
            parallel_tool_calls=False,
        )
    )
    parameters = WEATHER["parameters"]
    assert chat["tools"] == [
        {"type": "function", "function": {"name": "weather", "parameters": parameters, "strict": True}}
    ]
    assert chat["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert chat["parallel_tool_calls"] is False


def test_an_empty_list_of_tools_is_not_passed_on() -> None:
    chat = to_chat(make_asked(tools=[], tool_choice="none", parallel_tool_calls=True))
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & chat.keys()


def test_allowed_tools_are_a_shorter_list_that_every_upstream_knows() -> None:
    chat = to_chat(
        make_asked(
            tools=[WEATHER, {**WEATHER, "name": "news"}],
            tool_choice={
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "news"}],
            },
        )
    )
    assert [tool["function"]["name"] for tool in chat["tools"]] == ["news"]
    assert chat["tool_choice"] == "required"


def test_a_schema_takes_the_nested_form_of_a_chat() -> None:
    form = {"type": "json_schema", "name": "city", "schema": {"type": "object"}, "strict": True}
    chat = to_chat(make_asked(text={"format": form}))
    assert chat["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "city", "schema": {"type": "object"}, "strict": True},
    }


def test_hosted_tools_pass_through_where_the_upstream_runs_them() -> None:
    tools = [{"type": "web_search_preview"}, WEATHER]
    with pytest.raises(InvalidInput, match="'web_search_preview'"):
        make_asked(tools=tools)
    asked = read(
        {"model": "m", "input": "x", "tools": tools, "tool_choice": {"type": "web_search_preview"}},
        hosted=True,
    )
    chat = to_chat(asked)
    assert (chat["tools"][0], chat["tool_choice"]) == (
        {"type": "web_search_preview"},
        {"type": "web_search_preview"},
    )
    answered(asked, make_reply(content="Found."))


def test_every_kind_of_content_finds_its_place() -> None:
    asked = make_asked(
        input=[
            {"role": "developer", "content": [{"type": "input_text", "text": "Look."}]},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is this?"},
                    {"type": "input_image", "image_url": "data:image/png;base64,eA==", "detail": "original"},
                    {"type": "input_image", "image_url": "https://a/b.png"},
                    {"type": "input_file", "file_data": "data:text/plain;base64,eA==", "filename": "a.txt"},
                    {"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}},
                ],
            },
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "content": [
                    {"type": "output_text", "text": "A cat. ", "annotations": []},
                    {"type": "refusal", "refusal": "More I will not say."},
                ],
            },
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": []},
        ]
    )
    assert to_chat(asked)["messages"] == [
        {"role": "developer", "content": "Look."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA==", "detail": "high"}},
                {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
                {"type": "file", "file": {"file_data": "data:text/plain;base64,eA==", "filename": "a.txt"}},
                {"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}},
            ],
        },
        {"role": "assistant", "content": "A cat. More I will not say."},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": ""},
    ]


def item_call(id: str) -> dict[str, Json]:
    return {"type": "function_call", "call_id": id, "name": "weather", "arguments": "{}", "id": f"fc_{id}"}


def item_output(id: str, output: Json = "12 degrees") -> dict[str, Json]:
    return {"type": "function_call_output", "call_id": id, "output": output}


def test_one_turn_of_the_assistant_is_one_message_and_outputs_stand_behind_their_calls() -> None:
    asked = make_asked(
        input=[
            {"role": "user", "content": "Weather?"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
            {"role": "assistant", "content": "I look."},
            item_call("a"),
            {"type": "reasoning", "id": "rs_2", "summary": []},
            item_call("b"),
            {"role": "assistant", "content": " One moment."},
            item_output("b"),
            {"role": "user", "content": "Quick!"},
            item_output("a", [{"type": "input_text", "text": "3"}, {"type": "input_text", "text": "4"}]),
            item_call("c"),
            item_output("c", ""),
        ]
    )
    assert to_chat(asked)["messages"] == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "I look. One moment.",
            "tool_calls": [make_call("a", arguments="{}"), make_call("b", arguments="{}")],
        },
        {"role": "tool", "tool_call_id": "b", "content": "12 degrees"},
        {
            "role": "tool",
            "tool_call_id": "a",
            "content": [{"type": "text", "text": "3"}, {"type": "text", "text": "4"}],
        },
        {"role": "user", "content": "Quick!"},
        {"role": "assistant", "content": None, "tool_calls": [make_call("c", arguments="{}")]},
        {"role": "tool", "tool_call_id": "c", "content": ""},
    ]
    assert [item["type"] for item in asked.items if "summary" in item] == ["reasoning", "reasoning"], "kept"


def test_what_the_user_says_between_two_turns_keeps_them_apart() -> None:
    first, second = {"role": "assistant", "content": "Yes?"}, item_call("a")
    asked = make_asked(input=[first, {"role": "user", "content": "Weather?"}, second, item_output("a")])
    roles = [message["role"] for message in to_chat(asked)["messages"]]
    assert roles == ["assistant", "user", "assistant", "tool"]


def test_the_history_goes_on_without_the_instructions_of_before() -> None:
    first = make_asked(instructions="Be brief.", tools=[WEATHER])
    said = {
        "role": "assistant",
        "content": None,
        "tool_calls": [make_call()],
        "refusal": None,
        "reasoning": "hm",
    }
    history = after(first, [], said, id="resp_1")
    assert history == [
        {"role": "user", "content": "Where is my parcel?"},
        {"role": "assistant", "content": None, "tool_calls": [make_call()]},
    ]
    second = make_asked(input=[item_output("call_1")], previous_response_id="resp_1", instructions="Be kind.")
    tool = {"role": "tool", "tool_call_id": "call_1", "content": "12 degrees"}
    assert to_chat(second, history)["messages"] == [
        {"role": "system", "content": "Be kind."},
        *history,
        tool,
    ]
    kept = after(second, history, {"content": "12.", "refusal": None}, id="resp_2")
    assert kept == [*history, tool, {"role": "assistant", "content": "12."}]


def test_a_call_id_may_come_back_in_a_later_turn() -> None:
    """Some servers number their calls from nought in every answer."""
    first = make_asked(input=[{"role": "user", "content": "?"}, item_call("0"), item_output("0")])
    history = after(first, [], {"tool_calls": [make_call("0")]}, id="resp_1")
    second = make_asked(input=[item_output("0", "again")], previous_response_id="resp_1")
    assert [message["role"] for message in to_chat(second, history)["messages"]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
    ]


def test_a_reference_stands_for_the_item_that_an_earlier_response_gave() -> None:
    output = answered(make_asked(), make_reply("tool_calls", content="I look.", tool_calls=[make_call()]))[
        "output"
    ]
    known = {item["id"]: item for item in output}
    asked = make_asked(
        input=[{"role": "user", "content": "?"}, *({"id": id} for id in known), item_output("call_1")]
    )
    assert references(asked) == tuple(known)
    assert {response_of(id) for id in known} == {"resp_1"}
    assert response_of("item_of_someone_else") is None
    assert to_chat(asked, known=known)["messages"][1] == {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [make_call()],
    }
    with pytest.raises(InvalidInput, match="not kept here") as caught:
        to_chat(asked)
    assert caught.value.field == "input.1.id"


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([item_output("x")], "input.0.call_id"),
        ([item_call("x"), item_output("x"), item_output("x")], "input.2.call_id"),
        ([item_call("x"), item_call("x")], "input.1.call_id"),
        ([item_call("x"), {"role": "user", "content": "?"}], "input"),
    ],
    ids=["no call", "twice answered", "twice called", "unanswered"],
)
def test_calls_and_outputs_come_in_pairs(items: Json, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        to_chat(make_asked(input=items))
    assert caught.value.field == field


# -- the whole answer ----------------------------------------------------------------------------------------


def test_text_is_one_message_and_everything_asked_is_repeated() -> None:
    asked = make_asked(
        instructions="Be brief.",
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
        previous_response_id="resp_0",
        temperature=1,
        top_p=0.5,
        max_output_tokens=9,
        max_tool_calls=2,
        text={"format": {"type": "json_schema", "name": "a", "schema": {}}, "verbosity": "high"},
        reasoning={"effort": "high"},
        metadata={"a": "b"},
        user="ada",
        truncation="auto",
        store=False,
        top_logprobs=2,
    )
    usage = {
        "prompt_tokens": 5,
        "completion_tokens": 7,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    answer = answered(asked, make_reply(content="Hello.", usage=usage))
    assert answer["output"] == [
        {
            "id": "msg_1_0",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello.", "annotations": [], "logprobs": []}],
        }
    ]
    assert answer["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 12,
    }
    assert (answer["id"], answer["created_at"], answer["model"]) == ("resp_1", 1.5, "resolver")
    assert (answer["instructions"], answer["previous_response_id"]) == ("Be brief.", "resp_0")
    assert answer["tools"] == [{**WEATHER, "description": None, "strict": None}]
    assert answer["text"]["format"]["name"] == "a"
    assert answer["reasoning"] == {"effort": "high", "summary": None}


def test_thought_text_refusal_and_calls_come_in_this_order() -> None:
    reply = make_reply(
        "tool_calls",
        reasoning_content="hm",
        content="Well.",
        refusal="No.",
        tool_calls=[make_call(), make_call("b")],
    )
    output = answered(make_asked(), reply)["output"]
    assert [item["id"] for item in output] == ["rs_1_0", "msg_1_0", "fc_1_0", "fc_1_1"]
    assert [part["type"] for part in output[1]["content"]] == ["output_text", "refusal"]
    assert [item.get("call_id") for item in output[2:]] == ["call_1", "b"]


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_what_was_cut_off_is_incomplete_in_its_last_item(finish: str, reason: str) -> None:
    answer = answered(
        make_asked(), make_reply(finish, content="Well.", tool_calls=[make_call(arguments='{"a')])
    )
    assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert [item["status"] for item in answer["output"]] == ["completed", "incomplete"]
    assert answered(make_asked(), make_reply(finish))["output"] == []


def test_nothing_said_is_an_empty_message() -> None:
    (message,) = answered(make_asked(), make_reply())["output"]
    assert message["content"][0]["text"] == ""


def test_logprobs_are_there_when_included() -> None:
    tokens = [make_token("Hi", top_logprobs=[{"token": "Hi", "logprob": -0.5}]), make_token("!", bytes=None)]
    reply = make_reply(content="Hi!", logprobs={"content": tokens})
    (message,) = answered(make_asked(include=INCLUDED), reply)["output"]
    shown = message["content"][0]["logprobs"]
    assert [token["token"] for token in shown] == ["Hi", "!"]
    assert shown[0]["top_logprobs"] == [{"token": "Hi", "bytes": [], "logprob": -0.5}]
    assert answered(make_asked(), reply)["output"][0]["content"][0]["logprobs"] == []


def test_a_call_without_an_id_gets_the_same_one_everywhere() -> None:
    message = {"tool_calls": [{"function": {"name": "weather", "arguments": "{}"}}]}
    (call,) = answered(make_asked(), make_reply("tool_calls", **message))["output"]
    kept = after(make_asked(), [], message, id="resp_1")[-1]["tool_calls"][0]["id"]
    told, stream = streamed(make_asked(), [called(0, "{}", name="weather"), chunk("tool_calls")])
    assert call["call_id"] == kept == gathered(told)[0]["call_id"] == "call_1_0"
    assert stream.reply["choices"][0]["message"]["tool_calls"][0]["id"] == kept


# -- as events -----------------------------------------------------------------------------------------------


def test_a_stream_of_text_and_a_call_has_the_events_in_order() -> None:
    told, stream = streamed(
        make_asked(),
        [
            chunk(role="assistant", content=""),
            chunk(content="I "),
            chunk(content="look."),
            called(0, id="call_1", name="weather"),
            called(0, '{"city":'),
            called(0, '"Oslo"}'),
            chunk("tool_calls"),
            {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
            {},
        ],
    )
    assert [event["type"].removeprefix("response.") for event in told] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert told[-1]["response"]["usage"]["total_tokens"] == 3
    assert stream.response == told[-1]["response"]


def test_events_leave_as_soon_as_their_chunk_is_there() -> None:
    stream = Events(make_asked(), id="resp_1", created_at=1.5)
    stream.begin()
    assert [event.get("delta") for event in stream.take(chunk(content="I "))] == [None, None, "I "]
    assert [event["type"] for event in stream.take(called(0, "{", id="a", name="f"))] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
    ]


def test_a_second_call_is_told_live_once_the_first_is_whole() -> None:
    stream = Events(make_asked(), id="resp_1", created_at=1.5)
    stream.take(called(0, '{"a":1}', id="a", name="f"))
    assert [
        event["type"].removeprefix("response.") for event in stream.take(called(1, "{", id="b", name="g"))
    ] == [
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
    ]


def test_calls_without_ids_get_one_each() -> None:
    told, _ = streamed(
        make_asked(), [called(0, "{}", name="f"), called(1, "{}", name="f"), chunk("tool_calls")]
    )
    assert [item["call_id"] for item in gathered(told)] == ["call_1_0", "call_1_1"]


def test_text_around_a_call_is_two_messages() -> None:
    told, stream = streamed(
        make_asked(),
        [chunk(content="a"), called(0, "{}", id="call_1", name="weather"), chunk("stop", content="b")],
    )
    output = gathered(told)
    assert told[-1]["response"]["output"] == output
    assert [item["id"] for item in output] == ["msg_1_0", "fc_1_0", "msg_1_1"]
    assert stream.reply["choices"][0]["message"]["content"] == "ab"


def test_calls_that_come_mixed_are_told_one_after_the_other() -> None:
    told, _ = streamed(
        make_asked(),
        [
            called(0, '{"a"', id="a", name="f"),
            called(1, '{"b"', id="b", name="g"),
            called(0, ":1}"),
            called(1, ":2}"),
            chunk("tool_calls"),
        ],
    )
    assert [item["arguments"] for item in gathered(told)] == ['{"a":1}', '{"b":2}']


@pytest.mark.parametrize("index", [0, None], ids=["all numbered 0", "no numbers"])
def test_a_new_id_is_a_new_call(index: int | None) -> None:
    calls = [{**make_call(id), "index": index} for id in ("a", "b")]
    told, _ = streamed(make_asked(), [*(chunk(tool_calls=[call]) for call in calls), chunk("tool_calls")])
    assert [item["call_id"] for item in gathered(told)] == ["a", "b"]


def test_logprobs_of_half_a_character_wait_for_its_text() -> None:
    told, _ = streamed(
        make_asked(include=INCLUDED),
        [
            chunk(content="", logprobs={"content": [make_token("1")]}),
            chunk(content="é", logprobs={"content": [make_token("2")]}),
            chunk("stop", logprobs={"content": [make_token("3")]}),
        ],
    )
    (delta,) = [event for event in told if event["type"].endswith("text.delta")]
    assert [token["token"] for token in delta["logprobs"]] == ["1", "2"]
    (done,) = [event for event in told if event["type"].endswith("text.done")]
    assert [token["token"] for token in done["logprobs"]] == ["1", "2", "3"]


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_a_stream_that_is_cut_off_ends_incomplete(finish: str) -> None:
    told, _ = streamed(make_asked(), [chunk(content="Well"), chunk(finish)])
    assert told[-1]["type"] == "response.incomplete"
    assert told[-1]["response"]["output"] == gathered(told)
    told, _ = streamed(make_asked(), [chunk(finish)])
    assert told[-1]["response"]["output"] == []


def test_a_failure_keeps_what_was_told_and_ends_the_stream() -> None:
    stream = Events(make_asked(), id="resp_1", created_at=1.5)
    stream.begin()
    stream.take(chunk(content="I "))
    (event,) = stream.fail("the upstream is gone", "rate_limit_exceeded")
    EVENT.validate_json(orjson.dumps(event), strict=True)
    checked(event["response"])
    assert event["type"] == "response.failed"
    assert event["response"]["status"] == "failed"
    assert event["response"]["error"] == {"code": "rate_limit_exceeded", "message": "the upstream is gone"}
    assert [item["status"] for item in event["response"]["output"]] == ["incomplete"]
    assert event["response"]["output"][0]["content"][0]["text"] == "I "
    assert (stream.take(chunk(content="x")), stream.end(), stream.fail("again")) == ([], [], [])


def test_a_failure_before_the_beginning_is_an_error() -> None:
    (event,) = Events(make_asked(), id="resp_1", created_at=1.5).fail("no", "whatever")
    EVENT.validate_json(orjson.dumps(event), strict=True)
    assert (event["type"], event["code"], event["message"]) == ("error", "server_error", "no")


def test_a_stream_without_an_end_has_failed() -> None:
    told, _ = streamed(make_asked(), [chunk(content="Well")])
    assert told[-1]["type"] == "response.failed"
    assert "broke off" in told[-1]["response"]["error"]["message"]


# -- any reply, in any pieces --------------------------------------------------------------------------------

ARGUMENTS = st.one_of(
    st.dictionaries(st.text(max_size=4), st.text(max_size=9) | st.integers(), max_size=3).map(json.dumps),
    st.text(alphabet='{"a:1 ', max_size=9),  # broken, as models do break it
)
FINISHES = st.sampled_from(["stop", "tool_calls", "length", "content_filter"])


@st.composite
def replies(draw: st.DrawFn) -> Json:
    said = {
        name: draw(st.none() | st.text(max_size=20)) for name in ("reasoning_content", "content", "refusal")
    }
    calls = [
        make_call(f"call_{place}", arguments=arguments)
        for place, arguments in enumerate(draw(st.lists(ARGUMENTS, max_size=3)))
    ]
    logprobs = None
    if said["content"]:
        logprobs = {"content": [make_token(letter) for letter in said["content"]]}
    usage = draw(st.none() | st.just({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}))
    return make_reply(
        draw(FINISHES), logprobs=logprobs, usage=usage, **said, **({"tool_calls": calls} if calls else {})
    )


def fragments(draw: st.DrawFn, text: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[start:stop] for start, stop in itertools.pairwise([0, *cuts, len(text)])]


def call_chunks(draw: st.DrawFn, calls: Sequence[Json]) -> Iterator[Json]:
    """Each call begins with its id and name, in order; what follows may be mixed."""
    waiting: list[tuple[int, list[str]]] = []
    for place, call in enumerate(calls):
        first, *rest = fragments(draw, call["function"]["arguments"])
        yield called(place, first, id=call["id"], name=call["function"]["name"])
        waiting.append((place, rest))
        while any(rest for _, rest in waiting) and draw(st.booleans()):
            place, rest = draw(st.sampled_from([one for one in waiting if one[1]]))
            yield called(place, rest.pop(0))
    while some := [one for one in waiting if one[1]]:
        place, rest = draw(st.sampled_from(some))
        yield called(place, rest.pop(0))


@st.composite
def splits(draw: st.DrawFn) -> tuple[Json, list[Json]]:
    """A reply, and the chunks in which it may have come."""
    reply = draw(replies())
    (choice,) = reply["choices"]
    message = choice["message"]
    chunks = [chunk(role="assistant", content=draw(st.sampled_from([None, ""])))]
    for name in ("reasoning_content", "content", "refusal"):
        for fragment in fragments(draw, message[name] or ""):
            tokens = {"content": [make_token(letter) for letter in fragment]} if name == "content" else None
            chunks.append(chunk(logprobs=tokens, **{name: fragment}))
            if draw(st.booleans()):
                chunks.append(draw(st.sampled_from([{}, {"choices": []}, chunk(), chunk(content=None)])))
    chunks += call_chunks(draw, message.get("tool_calls") or ())
    if draw(st.booleans()) and chunks[-1].get("choices"):
        chunks[-1]["choices"][0]["finish_reason"] = choice["finish_reason"]
    else:
        chunks.append(chunk(choice["finish_reason"]))
    chunks.append({"choices": [], "usage": reply["usage"]})
    return reply, chunks


@given(splits(), st.booleans())
def test_any_split_of_a_reply_comes_to_the_same_response(split: tuple[Json, list[Json]], shown: bool) -> None:
    reply, chunks = split
    asked = make_asked(include=INCLUDED if shown else [])
    told, stream = streamed(asked, chunks)
    expected = answered(asked, reply)
    assert gathered(told) == expected["output"]
    assert told[-1]["response"] == expected
    assert answered(asked, stream.reply) == expected
    message = stream.reply["choices"][0]["message"]
    assert after(asked, [], message, id="resp_1") == after(
        asked, [], reply["choices"][0]["message"], id="resp_1"
    )


@given(st.data())
def test_chunks_in_any_order_lose_nothing(data: st.DataObject) -> None:
    """Text, refusals and whole calls in any order, as no sensible upstream sends them."""
    names = data.draw(st.lists(st.sampled_from(["content", "refusal", "reasoning", "call"]), max_size=8))
    chunks = []
    for place, name in enumerate(names):
        words = data.draw(st.text(min_size=1, max_size=3))
        chunks.append(
            called(place, "{}", id=f"c{place}", name="f") if name == "call" else chunk(**{name: words})
        )
    told, stream = streamed(make_asked(), [*chunks, chunk(data.draw(FINISHES))])
    response = told[-1]["response"]
    checked(response)
    assert gathered(told) == response["output"]
    again = answered(make_asked(), stream.reply)
    assert {**again, "output": None} == {**response, "output": None}
    assert _sums(again["output"]) == _sums(response["output"])


def _sums(output: Sequence[Json]) -> tuple[str, str, str, list[str]]:
    """What is said of each kind, wherever it stands."""
    parts = [part for item in output if "content" in item for part in item["content"]]
    said = {
        kind: "".join(part.get("text") or part.get("refusal") or "" for part in parts if part["type"] == kind)
        for kind in ("reasoning_text", "output_text", "refusal")
    }
    return (
        said["reasoning_text"],
        said["output_text"],
        said["refusal"],
        [item["call_id"] for item in output if item["type"] == "function_call"],
    )


# -- bad input -----------------------------------------------------------------------------------------------


def user(part: Json) -> Json:
    return [{"role": "user", "content": [part]}]


def schema(**given: Json) -> Json:
    return {"format": {"type": "json_schema", "name": "a", "schema": {}, **given}}


BAD: list[tuple[dict[str, Json], str]] = [
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"model": 5}, "model"),
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": 5}, "input"),
    ({"input": {"role": "user"}}, "input"),
    ({"input": ["Hi"]}, "input.0"),
    ({"input": [{}]}, "input.0.type"),
    ({"input": [{"type": "web_search_call", "id": "x"}]}, "input.0.type"),
    ({"input": [{"type": ["message"]}]}, "input.0.type"),
    ({"input": [{"type": "message"}]}, "input.0.role"),
    ({"input": [{"role": "tool", "content": "x"}]}, "input.0.role"),
    ({"input": [{"role": "king", "content": "x"}]}, "input.0.role"),
    ({"input": [{"role": ["user"], "content": "x"}]}, "input.0.role"),
    ({"input": [{"role": "user"}]}, "input.0.content"),
    ({"input": [{"role": "user", "content": {"type": "input_text"}}]}, "input.0.content"),
    ({"input": user("x")}, "input.0.content.0"),
    ({"input": user({"type": "text", "text": "x"})}, "input.0.content.0.type"),
    ({"input": user({"type": "output_text", "text": "x"})}, "input.0.content.0.type"),
    ({"input": user({"text": "x"})}, "input.0.content.0.type"),
    ({"input": user({"type": "input_text"})}, "input.0.content.0.text"),
    ({"input": user({"type": "input_text", "text": 5})}, "input.0.content.0.text"),
    ({"input": user({"type": "input_image"})}, "input.0.content.0.image_url"),
    ({"input": user({"type": "input_image", "image_url": {"url": "x"}})}, "input.0.content.0.image_url"),
    ({"input": user({"type": "input_image", "file_id": "f"})}, "input.0.content.0.file_id"),
    (
        {"input": user({"type": "input_image", "image_url": "x", "detail": "huge"})},
        "input.0.content.0.detail",
    ),
    ({"input": user({"type": "input_file"})}, "input.0.content.0.file_data"),
    ({"input": user({"type": "input_file", "file_url": "https://a"})}, "input.0.content.0.file_url"),
    ({"input": user({"type": "input_file", "file_data": 5})}, "input.0.content.0.file_data"),
    ({"input": user({"type": "input_audio"})}, "input.0.content.0.input_audio"),
    (
        {"input": user({"type": "input_audio", "input_audio": {"data": "x"}})},
        "input.0.content.0.input_audio.format",
    ),
    (
        {"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": "x"}]}]},
        "input.0.content.0.type",
    ),
    ({"input": [{"role": "assistant", "content": [{"type": "refusal"}]}]}, "input.0.content.0.refusal"),
    ({"input": [{**item_call("x"), "call_id": ""}]}, "input.0.call_id"),
    ({"input": [{**item_call("x"), "name": None}]}, "input.0.name"),
    ({"input": [{**item_call("x"), "arguments": {}}]}, "input.0.arguments"),
    ({"input": [{"type": "function_call_output", "output": "x"}]}, "input.0.call_id"),
    ({"input": [item_output("x", {"a": 1})]}, "input.0.output"),
    ({"input": [item_output("x", [{"type": "output_text", "text": ""}])]}, "input.0.output.0.type"),
    ({"input": [{"type": "item_reference"}]}, "input.0.id"),
    ({"input": [{"type": "reasoning", "summary": "x"}]}, "input.0.summary"),
    ({"instructions": ["x"]}, "instructions"),
    ({"previous_response_id": 5}, "previous_response_id"),
    ({"conversation": 5}, "conversation"),
    ({"conversation": {}}, "conversation.id"),
    ({"conversation": "c", "previous_response_id": "r"}, "conversation"),
    ({"tools": {}}, "tools"),
    ({"tools": ["weather"]}, "tools.0"),
    ({"tools": [{}]}, "tools.0.type"),
    ({"tools": [WEATHER, {"type": "file_search"}]}, "tools.1.type"),
    ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools.0.name"),
    ({"tools": [{"type": "function"}]}, "tools.0.name"),
    ({"tools": [{**WEATHER, "parameters": "x"}]}, "tools.0.parameters"),
    ({"tools": [{**WEATHER, "strict": "yes"}]}, "tools.0.strict"),
    ({"tools": [{**WEATHER, "description": 5}]}, "tools.0.description"),
    ({"tool_choice": "any"}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": 5}, "tool_choice"),
    ({"tool_choice": {}}, "tool_choice.type"),
    ({"tool_choice": {"type": "web_search"}}, "tool_choice.type"),
    ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name"),
    ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {}}}, "tool_choice.name"),
    ({"tools": [WEATHER], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.mode"),
    (
        {"tools": [WEATHER], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}},
        "tool_choice.tools",
    ),
    (
        {
            "tools": [WEATHER],
            "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [WEATHER, {}]},
        },
        "tool_choice.tools.1.type",
    ),
    ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ({"temperature": 3}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"temperature": "0"}, "temperature"),
    ({"top_p": -1}, "top_p"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_output_tokens": 1.5}, "max_output_tokens"),
    ({"max_tool_calls": True}, "max_tool_calls"),
    ({"text": "json"}, "text"),
    ({"text": {"verbosity": "much"}}, "text.verbosity"),
    ({"text": {"format": "json"}}, "text.format"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    ({"text": schema(name="")}, "text.format.name"),
    ({"text": schema(schema=None)}, "text.format.schema"),
    ({"text": schema(strict=1)}, "text.format.strict"),
    ({"reasoning": "high"}, "reasoning"),
    ({"reasoning": {"effort": "heroic"}}, "reasoning.effort"),
    ({"reasoning": {"summary": 5}}, "reasoning.summary"),
    ({"include": "x"}, "include"),
    ({"include": ["x"]}, "include.0"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"metadata": []}, "metadata"),
    ({"metadata": {"a": 5}}, "metadata.a"),
    ({"metadata": {"a": "x" * 513}}, "metadata.a"),
    ({"metadata": {"a" * 65: "x"}}, "metadata." + "a" * 64),
    ({"metadata": {str(place): "" for place in range(17)}}, "metadata"),
    ({"user": 5}, "user"),
    ({"safety_identifier": {}}, "safety_identifier"),
    ({"prompt_cache_key": 5}, "prompt_cache_key"),
    ({"prompt_cache_retention": "1h"}, "prompt_cache_retention"),
    ({"service_tier": "best"}, "service_tier"),
    ({"store": "yes"}, "store"),
    ({"stream": 1}, "stream"),
    ({"stream_options": {"include_obfuscation": "no"}}, "stream_options.include_obfuscation"),
    ({"truncation": "some"}, "truncation"),
    ({"background": True}, "background"),
    ({"background": 0}, "background"),
    ({"prompt": {"id": "p"}}, "prompt"),
    ({"n": 2}, "n"),
    ({"messages": []}, "messages"),
    ({"response_format": {}}, "response_format"),
    ({"max_tokens": 5}, "max_tokens"),
]


@pytest.mark.parametrize(("given", "field"), BAD, ids=lambda value: str(value)[:60])
def test_what_cannot_be_is_refused_with_its_field(given: dict[str, Json], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        make_asked(**given)
    assert caught.value.field == field
    assert str(caught.value).startswith(field)


@pytest.mark.parametrize("body", [None, [], "x", 5])
def test_a_body_that_is_no_object_is_refused(body: Json) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(body)
    assert caught.value.field == "body"


def test_a_request_may_say_nothing_new_after_an_earlier_response() -> None:
    asked = read({"model": "m", "previous_response_id": "resp_1"})
    assert to_chat(asked, [{"role": "user", "content": "Hi"}])["messages"] == [
        {"role": "user", "content": "Hi"}
    ]
    with pytest.raises(InvalidInput, match="nothing came before"):
        to_chat(asked)


JSON = st.recursive(  # as our parser gives it
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = [*sorted(OURS), "input", "input", "tools", "tool_choice", "text"]
TYPES = [
    "message",
    "function_call",
    "function_call_output",
    "reasoning",
    "item_reference",
    "function",
    "input_text",
]
KEYS = ["type", "role", "content", "name", "id", "call_id", "output", "arguments", "text", "format", "schema"]
WILD = st.recursive(
    JSON | st.sampled_from([*TYPES, "user", "assistant", "json_schema", "auto"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(NAMES), WILD, max_size=4))
def test_whatever_comes_is_either_refused_or_can_be_answered(given: dict[str, Json]) -> None:
    try:
        asked = read({"model": "resolver", "input": "Hi", **given})
        chat = to_chat(asked)
    except InvalidInput as error:
        field = error.field
        assert field, "the field is named"
        return
    assert chat["messages"]
    answer = whole(asked, make_reply(content="Yes."), id="resp_1", created_at=1.5)
    Response.model_validate_json(orjson.dumps(answer))
