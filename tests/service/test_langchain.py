"""LangChain against the gateway: chats, tools, shapes and embeddings, unchanged, and the turn behind each answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import LLMResult
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from hosted import LOGPROB, VECTOR
from house import House

CHAT: Any = ChatOpenAI  # their types know their fields by other names
VECTORS: Any = OpenAIEmbeddings
APIS = {"chat": False, "responses": True}


class City(BaseModel):
    """A city."""

    name: str
    people: int


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"12° in {city}"


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> bool:
    """Whether LangChain asks for responses."""
    return APIS[request.param]


def model(house: House, agent: str, api: bool, **more: Any) -> ChatOpenAI:
    made: ChatOpenAI = CHAT(
        model=agent, base_url=f"{house.address}/v1", api_key="none", use_responses_api=api, **more
    )
    return made


def turn_id(said: Any) -> str:
    """Where LangChain keeps the turn's id: feedback is given on it."""
    return str(said.response_metadata["id"])


def test_an_answer_tells_its_turn(house: House, api: bool) -> None:
    agent = house.agent("resolver", "echo")
    said = model(house, agent, api).invoke("Hi there")
    turn = house.turn(turn_id(said))
    assert said.text == turn.answer == "Hi there"
    assert turn.tokens is not None
    assert turn.tokens.logprobs == (LOGPROB, LOGPROB)
    assert said.usage_metadata is not None
    assert said.usage_metadata["output_tokens"] == turn.usage.answer_tokens == 2
    said_about = {"turn": turn.id, "said": {"form": "thumbs", "up": True}}
    assert house.post("/v1/feedback", said_about)["status"] == "kept"


def test_a_stream_adds_up_to_its_turn(house: House, api: bool) -> None:
    agent = house.agent("resolver", "echo")
    asked = model(house, agent, api, stream_usage=True, include_response_headers=True)
    first, *rest = asked.stream("Hi there, you")
    whole = first
    for chunk in rest:
        whole += chunk
    assert whole.text == "Hi there, you"
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 3
    (turn,) = house.turns()
    assert turn.answer == whole.text
    assert whole.response_metadata["headers"]["x-heedful-turn"] == turn.id


@pytest.mark.anyio
async def test_async_code_is_answered_too(house: House, api: bool) -> None:
    agent = house.agent("resolver", "echo")
    asked = model(house, agent, api)
    said = await asked.ainvoke("Hi there")
    pieces = [chunk.text async for chunk in asked.astream("Hi there")]
    assert said.text == "".join(pieces) == "Hi there"
    assert [turn.answer for turn in house.turns()] == ["Hi there", "Hi there"]


def test_tools_are_called_and_their_results_go_on_the_same_episode(house: House, api: bool) -> None:
    agent = house.agent("smith", "toolsmith")
    asked = model(house, agent, api).bind_tools([weather])
    first = asked.invoke([HumanMessage("Weather?")])
    assert isinstance(first, AIMessage)
    results = [weather.invoke(call) for call in first.tool_calls]
    assert all(isinstance(one, ToolMessage) for one in results)
    second = asked.invoke([HumanMessage("Weather?"), first, *results])
    assert second.text == "I saw 12° in Oslo and 12° in Rome."
    asking, answering = house.turn(turn_id(first)), house.turn(turn_id(second))
    assert [call.name for call in asking.tool_calls] == ["weather", "weather"]
    assert (answering.episode, answering.parent) == (asking.episode, asking.id)
    assert answering.addressee == "user"


def test_an_answer_in_a_shape_is_read_and_its_turn_is_known(house: House, api: bool) -> None:
    agent = house.agent("resolver", "oslo")
    asked = model(house, agent, api)
    assert asked.with_structured_output(City).invoke("A city?") == City(name="Oslo", people=700_000)
    raw: Any = asked.with_structured_output(City, include_raw=True).invoke("A city?")
    assert raw["parsed"] == City(name="Oslo", people=700_000)
    assert house.turn(turn_id(raw["raw"])).answer == raw["raw"].text


def test_a_callback_hears_the_turn(house: House, api: bool) -> None:
    heard: list[str] = []

    class Hearing(BaseCallbackHandler):
        def on_llm_end(self, response: LLMResult, **more: Any) -> None:
            generation: Any = response.generations[0][0]
            heard.append(turn_id(generation.message))

    agent = house.agent("resolver", "echo")
    model(house, agent, api, callbacks=[Hearing()]).invoke("Hi")
    assert heard == [turn.id for turn in house.turns()]


def test_headers_are_there_for_whoever_wants_them(house: House, api: bool) -> None:
    agent = house.agent("resolver", "echo")
    said = model(house, agent, api, include_response_headers=True).invoke("Hi")
    headers: Mapping[str, str] = said.response_metadata["headers"]
    turn = house.turn(headers["x-heedful-turn"])
    assert headers["x-heedful-policy"] == turn.policy == "resolver@1"


def test_an_episode_is_named_once_for_all_requests(house: House, api: bool) -> None:
    agent = house.agent("resolver", "echo")
    inside = model(
        house, agent, api, default_headers={"x-heedful-episode": "ticket-7", "x-heedful-user": "customer-1"}
    )
    first = inside.invoke([HumanMessage("Hi")])
    inside.invoke([HumanMessage("Hi"), first, HumanMessage("And now?")])
    one, two = house.turns()
    assert (one.episode, two.episode, two.parent) == ("ticket-7", "ticket-7", one.id)
    assert house.conversation("ticket-7") == [("resolver", "user"), ("resolver", "user")]


def test_a_conversation_goes_on_by_response_id(house: House) -> None:
    agent = house.agent("resolver", "echo")
    asked = model(house, agent, True, use_previous_response_id=True)
    first = asked.invoke([HumanMessage("Hi")])
    asked.invoke([HumanMessage("Hi"), first, HumanMessage("And now?")])
    one, two = house.turns()
    assert (two.episode, two.parent) == (one.episode, one.id)
    assert [message.text for message in two.request] == ["Hi", "Hi", "And now?"]


def test_embeddings_come_from_the_agents_model(house: House) -> None:
    agent = house.agent("embedder", "echo")
    embeddings = VECTORS(
        model=agent,
        base_url=f"{house.address}/v1",
        api_key="none",
        check_embedding_ctx_length=False,  # otherwise it counts tokens as OpenAI's models do, and sends numbers
    )
    assert embeddings.embed_query("one") == VECTOR
    assert embeddings.embed_documents(["one", "two"]) == [VECTOR, VECTOR]
