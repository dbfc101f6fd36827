"""OpenAI's own client against the gateway: it works unchanged, and what it did is on record."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from heedful.domain.content import ImagePart, ToolCall
from heedful.domain.episode import Episode
from hosted import LOGPROB, OSLO, VECTOR
from house import TENANT, House

HI: list[Any] = [{"role": "user", "content": "Hi there"}]
PICTURE = base64.b64encode(b"a picture").decode()
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
LOOKED: Any = {"type": "function", **WEATHER["function"]}  # as the Responses API has it


class City(BaseModel):
    name: str
    people: int


@pytest.fixture
def client(house: House) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{house.address}/v1", api_key="none needed here", max_retries=0) as made:
        yield made


# -- chat completions ----------------------------------------------------------------------------------------


def test_an_answer_is_on_record_with_all_that_it_took(house: House, client: OpenAI) -> None:
    agent = house.agent("resolver", "echo")
    completion = client.chat.completions.create(model=agent, messages=HI, temperature=0.5)
    turn = house.turn(completion.id)
    assert completion.choices[0].message.content == turn.answer == "Hi there"
    assert completion.model == agent
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (2, 2)
    assert (turn.usage.prompt_tokens, turn.usage.answer_tokens) == (2, 2)
    assert (turn.policy, turn.agent, turn.finish) == ("resolver@1", "resolver", "stop")
    assert [(message.role, message.text) for message in turn.request] == [("user", "Hi there")]
    assert turn.sampling.temperature == 0.5
    assert turn.latency is not None
    assert 0 < turn.latency < 60
    assert turn.allocation is not None
    assert (turn.allocation.policy, turn.allocation.probability) == ("resolver@1", 1.0)
    assert house.get(f"/v1/turns/{completion.id}")["answer"] == "Hi there"


@pytest.mark.anyio
async def test_the_async_client_answers_streams_and_calls_tools_too(house: House) -> None:
    resolver, smith = house.agent("resolver", "echo"), house.agent("smith", "toolsmith")
    async with AsyncOpenAI(base_url=f"{house.address}/v1", api_key="x", max_retries=0) as client:
        whole = await client.chat.completions.create(model=resolver, messages=HI)
        assert whole.choices[0].message.content == "Hi there"
        stream = await client.chat.completions.create(model=resolver, messages=HI, stream=True)
        said = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(said) == "Hi there"
        async with client.chat.completions.stream(model=smith, messages=HI, tools=[WEATHER]) as helped:
            final = await helped.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert [call.function.parsed_arguments for call in calls] == [{"city": "Oslo"}, {"city": "Rome"}]
    assert [call.name for call in house.turn(final.id).tool_calls] == ["weather", "weather"]


def test_a_tool_is_called_and_its_results_are_answered(house: House, client: OpenAI) -> None:
    agent = house.agent("smith", "toolsmith")
    first = client.chat.completions.create(model=agent, messages=HI, tools=[WEATHER])
    calls: list[Any] = first.choices[0].message.tool_calls or []
    assert first.choices[0].finish_reason == "tool_calls"
    results = [{"role": "tool", "tool_call_id": call.id, "content": f"{n}°"} for n, call in enumerate(calls)]
    messages: list[Any] = [*HI, first.choices[0].message, *results]
    second = client.chat.completions.create(model=agent, messages=messages, tools=[WEATHER])
    assert second.choices[0].message.content == "I saw 0° and 1°."
    asking, answering = house.turn(first.id), house.turn(second.id)
    assert asking.tool_calls == tuple(
        ToolCall(id=call.id, name="weather", arguments=call.function.arguments) for call in calls
    )
    assert (asking.answer, asking.finish) == ("I look.", "tool_calls")
    assert [message.role for message in answering.request] == ["user", "assistant", "tool", "tool"]
    assert answering.request[1].tool_calls == asking.tool_calls
    assert answering.request[2].tool_call_id == calls[0].id


def test_each_of_several_answers_is_a_turn(house: House, client: OpenAI) -> None:
    agent = house.agent("resolver", "echo")
    whole = client.chat.completions.create(model=agent, messages=HI, n=3)
    turns = [house.turn(str((choice.model_extra or {})["turn"])) for choice in whole.choices]
    assert [turn.answer for turn in turns] == ["Hi there", "Hi there (1)", "Hi there (2)"]
    with client.chat.completions.stream(model=agent, messages=HI, n=3) as stream:
        final = stream.get_final_completion()
    assert [choice.message.content for choice in final.choices] == [turn.answer for turn in turns]
    assert [one.answer for one in house.turns()[-3:]] == [turn.answer for turn in turns]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_log_probabilities_are_recorded_whether_or_not_they_were_asked_for(
    house: House, client: OpenAI, stream: bool
) -> None:
    agent = house.agent("resolver", "echo")
    shown: list[Any] = []
    wishes: list[dict[str, Any]] = [{}, {"logprobs": True, "top_logprobs": 2}]
    for asked in wishes:
        if stream:
            with client.chat.completions.stream(model=agent, messages=HI, **asked) as helped:
                completion: Any = helped.get_final_completion()
        else:
            completion = client.chat.completions.create(model=agent, messages=HI, **asked)
        shown.append(completion.choices[0].logprobs)
        tokens = house.turn(completion.id).tokens
        assert tokens is not None
        assert tokens.logprobs == (LOGPROB, LOGPROB)
    unasked, asked_for = shown
    assert unasked is None
    assert [(one.token, len(one.top_logprobs)) for one in asked_for.content] == [("Hi", 2), (" there", 2)]


def test_a_model_that_refuses_log_probabilities_is_asked_without(house: House, client: OpenAI) -> None:
    agent = house.agent("resolver", "sly")
    for _ in range(2):
        completion = client.chat.completions.create(model=agent, messages=HI)
        assert house.turn(completion.id).tokens is None
    assert [body.get("logprobs") for body in house.hosted.bodies] == [True, None, None]
    with pytest.raises(openai.BadRequestError) as caught:  # but whoever asks for them hears that
        client.chat.completions.create(model=agent, messages=HI, logprobs=True)
    assert caught.value.param == "logprobs"


def test_an_answer_in_a_shape_is_parsed(house: House, client: OpenAI) -> None:
    agent = house.agent("resolver", "oslo")
    parsed = client.chat.completions.parse(model=agent, messages=HI, response_format=City)
    assert parsed.choices[0].message.parsed == City(name="Oslo", people=700_000)
    with client.chat.completions.stream(model=agent, messages=HI, response_format=City) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == City(name="Oslo", people=700_000)
    assert house.hosted.bodies[0]["response_format"]["json_schema"]["name"] == "City"
    turn = house.turn(parsed.id)
    assert turn.answer == OSLO
    assert turn.sampling.extra is not None
    assert turn.sampling.extra["response_format"]["type"] == "json_schema"


def test_what_nobody_here_knows_reaches_the_model(house: House, client: OpenAI) -> None:
    agent = house.agent("resolver", "echo")
    client.chat.completions.create(
        model=agent,
        messages=HI,
        reasoning_effort="low",
        extra_body={"top_k": 7, "heedful": {"episode": "e"}, "guided": {"regex": "a+"}},
    )
    (body,) = house.hosted.bodies
    assert (body["top_k"], body["guided"], body["reasoning_effort"]) == (7, {"regex": "a+"}, "low")
    assert "heedful" not in body
    assert body["model"] == "echo"


def test_pictures_reach_the_model_and_are_kept(house: House, client: OpenAI) -> None:
    agent = house.agent("resolver", "echo")
    content: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}", "detail": "low"}},
    ]
    completion = client.chat.completions.create(model=agent, messages=[{"role": "user", "content": content}])
    assert house.hosted.bodies[0]["messages"][0]["content"] == content
    kept = house.turn(completion.id).request[0].content
    assert isinstance(kept, tuple)
    assert isinstance(kept[1], ImagePart)
    assert kept[1].digest is not None
    assert house.parts.blobs.get_bytes(kept[1].digest) == b"a picture"


@pytest.mark.parametrize(
    ("model", "finish", "answer"), [("short", "length", "Once upon a"), ("refuser", "stop", "I may not.")]
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_how_an_answer_ended_is_shown_and_kept(
    house: House, client: OpenAI, model: str, finish: str, answer: str, stream: bool
) -> None:
    agent = house.agent("resolver", model)
    if stream:
        with client.chat.completions.stream(model=agent, messages=HI) as helped:
            try:
                completion: Any = helped.get_final_completion()
            except openai.LengthFinishReasonError as error:
                completion = error.completion
    else:
        completion = client.chat.completions.create(model=agent, messages=HI)
    (choice,) = completion.choices
    assert choice.finish_reason == finish
    assert (choice.message.content or choice.message.refusal) == answer
    turn = house.turn(completion.id)
    assert (turn.answer, turn.finish) == (answer, finish)


# -- streams -------------------------------------------------------------------------------------------------


def test_a_stream_in_odd_pieces_is_the_answer_that_is_kept(house: House, client: OpenAI) -> None:
    agent = house.agent("resolver", "echo")
    messages: list[Any] = [{"role": "user", "content": "Grüße aus Łódź 🙂 " * 20}]
    chunks = list(
        client.chat.completions.create(
            model=agent, messages=messages, stream=True, stream_options={"include_usage": True}
        )
    )
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == messages[0]["content"]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.model for chunk in chunks} == {agent}
    assert chunks[-1].usage is not None
    assert chunks[-1].choices == []
    turn = house.turn(chunks[0].id)
    assert turn.answer == said
    assert turn.usage.answer_tokens == chunks[-1].usage.completion_tokens


def test_the_streaming_helper_gathers_calls_from_crumbs(house: House, client: OpenAI) -> None:
    agent = house.agent("smith", "toolsmith")
    with client.chat.completions.stream(model=agent, messages=HI, tools=[WEATHER]) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [event.parsed_arguments for event in done] == [{"city": "Oslo"}, {"city": "Rome"}]
    turn = house.turn(final.id)
    assert [json.loads(call.arguments)["city"] for call in turn.tool_calls] == ["Oslo", "Rome"]
    assert [call.id for call in turn.tool_calls] == [
        call.id for call in final.choices[0].message.tool_calls or ()
    ]
    assert (turn.answer, turn.finish) == ("I look.", "tool_calls")


def test_a_stream_that_nobody_reads_to_its_end_is_kept_as_far_as_it_went(
    house: House, client: OpenAI
) -> None:
    agent = house.agent("resolver", "echo")
    messages: list[Any] = [{"role": "user", "content": "word " * 20_000}]
    stream = client.chat.completions.create(model=agent, messages=messages, stream=True)
    for _ in zip(range(10), stream, strict=False):
        pass
    stream.close()
    for _ in range(500):
        if turns := house.turns():
            break
    (turn,) = turns
    assert turn.finish == "cancelled"
    assert turn.answer
    assert messages[0]["content"].startswith(turn.answer)
    assert len(turn.answer) < len(messages[0]["content"])


# -- responses -----------------------------------------------------------------------------------------------


def test_a_response_is_a_turn(house: House, client: OpenAI) -> None:
    agent = house.agent("resolver", "echo")
    response = client.responses.create(model=agent, input="Hi there", instructions="Kindly")
    assert (response.output_text, response.status) == ("Kindly: Hi there", "completed")
    assert response.usage is not None
    assert response.usage.output_tokens == 3
    turn = house.turn(response.id)
    assert (turn.answer, turn.policy) == ("Kindly: Hi there", "resolver@1")
    assert [message.role for message in turn.request] == ["system", "user"]
    assert turn.tokens is not None
    assert turn.tokens.logprobs == (LOGPROB,) * 3


def test_responses_are_streamed_parsed_and_show_log_probabilities(house: House, client: OpenAI) -> None:
    resolver, oslo = house.agent("resolver", "echo"), house.agent("oslo", "oslo")
    with client.responses.stream(model=resolver, input="Hi there") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text == house.turn(final.id).answer == "Hi there"
    parsed = client.responses.parse(model=oslo, input="A city?", text_format=City)
    assert parsed.output_parsed == City(name="Oslo", people=700_000)
    shown = client.responses.create(
        model=resolver, input="Hi there", include=["message.output_text.logprobs"], top_logprobs=1
    )
    message: Any = shown.output[0]
    assert [one.logprob for one in message.content[0].logprobs] == [LOGPROB, LOGPROB]


@pytest.mark.parametrize("restarted", [False, True], ids=["remembered", "from the record"])
def test_a_conversation_goes_on_from_its_last_response(house: House, client: OpenAI, restarted: bool) -> None:
    agent = house.agent("smith", "toolsmith")
    first = client.responses.create(
        model=agent, input="Weather?", instructions="Look closely.", tools=[LOOKED]
    )
    calls: list[Any] = [item for item in first.output if item.type == "function_call"]
    outputs: list[Any] = [
        {"type": "function_call_output", "call_id": one.call_id, "output": f"{n}°"}
        for n, one in enumerate(calls)
    ]
    if restarted:
        house.restart()
    client = OpenAI(base_url=f"{house.address}/v1", api_key="x", max_retries=0)
    second = client.responses.create(
        model=agent, input=outputs, previous_response_id=first.id, tools=[LOOKED], instructions="Be brief."
    )
    assert second.output_text == "I saw 0° and 1°."
    if restarted:
        house.restart()
    client = OpenAI(base_url=f"{house.address}/v1", api_key="x", max_retries=0)
    third = client.responses.create(model=agent, input="Thanks.", previous_response_id=second.id)
    roles = [message["role"] for message in house.hosted.bodies[-1]["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "user"]
    turns = [house.turn(one.id) for one in (first, second, third)]
    assert [len(turn.request) for turn in turns] == [2, 5, 6]
    assert len({turn.episode for turn in turns}) == 1  # nobody named it: it goes on
    assert [turn.parent for turn in turns] == [None, first.id, second.id]


def test_a_response_that_is_not_known_is_named(house: House, client: OpenAI) -> None:
    agent = house.agent("resolver", "echo")
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(model=agent, input="Hi", previous_response_id="resp_nobody")
    assert caught.value.param == "previous_response_id"


# -- embeddings, models --------------------------------------------------------------------------------------


def test_embeddings_come_from_the_policys_server(house: House, client: OpenAI) -> None:
    agent = house.agent("embedder", "echo")
    got = client.embeddings.create(model=agent, input=["one", "two"], encoding_format="float")
    assert [one.embedding for one in got.data] == [VECTOR, VECTOR]
    assert got.model == agent
    assert house.hosted.asked[-1].body["model"] == "echo"


def test_agents_are_models(house: House, client: OpenAI) -> None:
    agent = house.agent("resolver", "echo")
    assert [model.id for model in client.models.list()] == [agent]
    assert client.models.retrieve(agent).id == agent


# -- errors --------------------------------------------------------------------------------------------------


def test_what_the_model_declines_is_a_bad_request_with_its_field(house: House, client: OpenAI) -> None:
    agent = house.agent("resolver", "strict")
    for ask in (
        lambda: client.chat.completions.create(model=agent, messages=HI, temperature=1.5),
        lambda: client.chat.completions.create(model=agent, messages=HI, temperature=1.5, stream=True),
        lambda: client.responses.create(model=agent, input="Hi", temperature=1.5),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            ask()
        assert (caught.value.param, caught.value.code) == ("temperature", "unsupported_value")
        assert "temperature is not supported" in caught.value.message
        assert caught.value.request_id
    assert house.turns() == []


def test_a_model_that_wants_a_pause_is_a_rate_limit(house: House, client: OpenAI) -> None:
    agent = house.agent("resolver", "echo")
    house.hosted.trouble(
        3, status=429, headers={"retry-after": "7"}, error={"message": "slow down", "code": "rate_limit"}
    )
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model=agent, messages=HI)
    assert caught.value.response.headers["retry-after"] == "7"
    assert "slow down" in caught.value.message


def test_a_model_that_fails_is_a_server_error(house: House, client: OpenAI) -> None:
    agent = house.agent("resolver", "echo")
    house.hosted.trouble(3, status=500, error={"message": "out of memory"})
    with pytest.raises(openai.InternalServerError, match="out of memory"):
        client.chat.completions.create(model=agent, messages=HI)
    assert house.turns() == []


def test_unknown_agents_wrong_fields_and_missing_keys_are_the_clients_own_errors(
    house: House, client: OpenAI
) -> None:
    agent = house.agent("resolver", "echo")
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nobody", messages=HI)
    assert missing.value.param == "model"
    with pytest.raises(openai.UnprocessableEntityError) as wrong:
        client.chat.completions.create(model=agent, messages=[{"role": "user", "content": 3}])  # type: ignore[list-item,misc]
    assert wrong.value.param == "messages.0.content"

    admin = house.post("/v1/keys", {"scope": "admin"})["text"]
    house.post("/v1/keys", {"scope": "agent"}, authorization=f"Bearer {admin}")
    viewer = house.post("/v1/keys", {"scope": "viewer"}, authorization=f"Bearer {admin}")["text"]
    with pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model=agent, messages=HI)
    with pytest.raises(openai.PermissionDeniedError):
        client.with_options(api_key=viewer).chat.completions.create(model=agent, messages=HI)
    answered = client.with_options(api_key=admin).chat.completions.create(model=agent, messages=HI)
    assert answered.choices[0].message.content == "Hi there"


# -- clients that ask again ----------------------------------------------------------------------------------


def patient(house: House, timeout: float = 60.0) -> OpenAI:
    """A client as most people have it: it asks again by itself."""
    return OpenAI(base_url=f"{house.address}/v1", api_key="x", max_retries=2, timeout=timeout)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_asking_again_after_a_failure_makes_one_turn(house: House, stream: bool) -> None:
    agent = house.agent("resolver", "echo")
    house.hosted.trouble(3, status=500, error={"message": "not now"})  # as often as we try ourselves
    if stream:
        chunks = list(patient(house).chat.completions.create(model=agent, messages=HI, stream=True))
        id = chunks[0].id
    else:
        id = patient(house).chat.completions.create(model=agent, messages=HI).id
    (turn,) = house.turns()
    assert (turn.id, turn.answer) == (id, "Hi there")


@pytest.mark.parametrize("late", [0.6, 2.8], ids=["by one attempt", "by two attempts"])
def test_an_answer_that_comes_too_late_is_given_to_the_attempt_after_it(house: House, late: float) -> None:
    agent = house.agent("resolver", "echo")
    house.hosted.trouble(seconds=late)
    completion = patient(house, timeout=0.5 if late < 1 else 1.0).chat.completions.create(
        model=agent, messages=HI
    )
    (turn,) = house.turns()
    assert completion.id == turn.id
    assert len(house.hosted.bodies) == 1


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_stream_that_begins_too_late_makes_one_turn(house: House, api: str) -> None:
    agent = house.agent("resolver", "echo")
    house.hosted.trouble(seconds=1.0)
    client = patient(house, timeout=0.5)
    if api == "chat":
        chunks = list(client.chat.completions.create(model=agent, messages=HI, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hi there"
        id = chunks[0].id
    else:
        events = list(client.responses.create(model=agent, input="Hi there", stream=True))
        last: Any = events[-1]
        id = last.response.id
    time.sleep(1.0)  # until the first attempt would have been answered
    (turn,) = house.turns()
    assert (turn.id, turn.answer, turn.finish) == (id, "Hi there", "stop")


def test_two_requests_that_look_alike_are_two_turns(house: House) -> None:
    agent, client = house.agent("resolver", "echo"), patient(house)
    ids = {client.chat.completions.create(model=agent, messages=HI).id for _ in range(2)}
    assert {turn.id for turn in house.turns()} == ids
    assert len(ids) == 2


# -- where a turn belongs ------------------------------------------------------------------------------------


def test_the_answers_headers_name_its_turn(house: House, client: OpenAI) -> None:
    agent = house.agent("resolver", "echo")
    raw = client.chat.completions.with_raw_response.create(model=agent, messages=HI)
    completion = raw.parse()
    turn = house.turn(raw.headers["x-heedful-turn"])
    assert turn.id == completion.id
    assert raw.headers["x-heedful-policy"] == turn.policy
    assert raw.headers["x-heedful-episode"] == turn.episode
    assert raw.headers["x-request-id"] == completion._request_id
    with client.chat.completions.with_streaming_response.create(
        model=agent, messages=HI, stream=True
    ) as streamed:
        id = streamed.headers["x-heedful-turn"]
        streamed.read()
    assert house.turn(id).answer == "Hi there"
    response = client.responses.with_raw_response.create(model=agent, input="Hi")
    assert response.headers["x-heedful-turn"] == response.parse().id


def test_headers_say_where_a_turn_belongs(house: House, client: OpenAI) -> None:
    agent = house.agent("resolver", "echo")
    inside = client.with_options(
        default_headers={"x-heedful-episode": "ticket-7", "x-heedful-user": "customer-1"}
    )
    first = inside.chat.completions.create(
        model=agent, messages=HI, extra_headers={"x-heedful-to": "resolver"}
    )
    second = inside.responses.create(
        model=agent, input="Hi", extra_headers={"x-heedful-parent": first.id, "x-heedful-to": "user"}
    )
    turns = [house.turn(first.id), house.turn(second.id)]
    assert [(turn.episode, turn.addressee, turn.parent) for turn in turns] == [
        ("ticket-7", "resolver", None),
        ("ticket-7", "user", first.id),
    ]
    episode = house.parts.store.get(Episode, TENANT, "ticket-7")
    assert episode is not None
    assert episode.user == "customer-1"


def test_the_address_alone_says_it_too(house: House) -> None:
    agent = house.agent("resolver", "echo")
    with OpenAI(base_url=f"{house.address}/e/ticket-8/a/{agent}/v1", api_key="x") as inside:
        chat = inside.chat.completions.create(model="gpt-whatever", messages=HI)
        response = inside.responses.create(model="gpt-whatever", input="Hi")
        vectors = inside.embeddings.create(model="text-embedding-whatever", input="Hi")
    assert (chat.model, response.model) == ("gpt-whatever", "gpt-whatever")
    assert vectors.data[0].embedding == VECTOR
    assert {(house.turn(id).episode, house.turn(id).agent) for id in (chat.id, response.id)} == {
        ("ticket-8", "resolver")
    }


def test_a_conversation_in_one_episode_is_a_chain_of_turns(house: House, client: OpenAI) -> None:
    agent = house.agent("resolver", "echo")
    messages, ids = list(HI), []
    for said in ("And now?", "And then?"):
        answer = client.chat.completions.create(
            model=agent, messages=messages, extra_headers={"x-heedful-episode": "ticket-9"}
        )
        ids.append(answer.id)
        messages += [answer.choices[0].message, {"role": "user", "content": said}]
    last = client.chat.completions.create(
        model=agent, messages=messages, extra_headers={"x-heedful-episode": "ticket-9"}
    )
    assert [house.turn(id).parent for id in (*ids, last.id)] == [None, *ids]
    assert house.conversation("ticket-9") == [("resolver", "user")] * 3
