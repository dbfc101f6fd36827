"""openai-agents against the gateway: agents that hand over and call tools, unchanged, and the graph that it makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agents
import pytest
from agents import Agent, ModelSettings, RunConfig, Runner
from openai import AsyncOpenAI

from heedful import cli
from house import House

pytestmark = pytest.mark.anyio
TRIAGE, BILLING = "triage", "billing"
MODELS = {"responses": agents.OpenAIResponsesModel, "chat": agents.OpenAIChatCompletionsModel}
GRAPH = [(TRIAGE, BILLING), (BILLING, None), (BILLING, "user")]


@agents.function_tool
def invoice(number: str) -> str:
    """What an invoice says."""
    return f"{number} is over 12 €"


@pytest.fixture(autouse=True)
def _untraced() -> Iterator[None]:
    """Their traces go to OpenAI otherwise."""
    agents.set_tracing_disabled(True)
    yield
    agents.set_tracing_disabled(False)


@pytest.fixture(params=sorted(MODELS))
async def api(request: pytest.FixtureRequest, house: House) -> Any:
    """Makes an agent's model from its name: the Responses API, or chat completions."""
    house.agent(TRIAGE, "clerk")
    house.agent(BILLING, "clerk")
    client = AsyncOpenAI(base_url=f"{house.address}/v1", api_key="none needed here")
    yield lambda name: MODELS[request.param](model=name, openai_client=client)
    await client.close()


def fleet(api: Any) -> Agent[None]:
    """Triage, which hands over to billing, which has a tool."""
    billing: Agent[None] = Agent(
        name="Billing desk", instructions="Look invoices up.", model=api(BILLING), tools=[invoice]
    )
    return Agent(name="Triage", instructions="Hand over.", model=api(TRIAGE), handoffs=[billing])


def inside(episode: str) -> RunConfig:
    """All that it takes for every agent of a run to work on one task."""
    return RunConfig(model_settings=ModelSettings(extra_headers={"x-heedful-episode": episode}))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_handoff_shows_in_the_episodes_graph(
    house: House, api: Any, stream: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run: Any
    if stream:
        run = Runner.run_streamed(fleet(api), "Why is R-7 so high?", run_config=inside("ticket-1"))
        names = [event.name async for event in run.stream_events() if event.type == "run_item_stream_event"]
        assert {"handoff_requested", "tool_called", "tool_output", "message_output_created"} <= set(names)
    else:
        run = await Runner.run(fleet(api), "Why is R-7 so high?", run_config=inside("ticket-1"))
    assert run.final_output == "It is settled: R-7 is over 12 €"
    assert run.last_agent.name == "Billing desk"

    assert house.conversation("ticket-1") == GRAPH
    triage, tool, answer = house.turns()
    assert [turn.parent for turn in (triage, tool, answer)] == [None, triage.id, tool.id]
    assert [call.name for call in triage.tool_calls] == ["transfer_to_billing_desk"]
    assert {turn.policy for turn in (tool, answer)} == {"billing@1"}
    assert answer.request[0].text == "Look invoices up."
    assert answer.addressee == "user"

    with pytest.raises(SystemExit):
        cli.main(["show", "episode", "ticket-1", "--dir", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    order = [
        next(place for place, line in enumerate(lines) if words in line)
        for words in ("user → triage", "triage → billing", "calls invoice", "billing → user")
    ]
    assert order == sorted(order)


async def test_a_second_turn_of_the_user_goes_on_where_the_first_ended(house: House, api: Any) -> None:
    first = await Runner.run(fleet(api), "Why is R-7 so high?", run_config=inside("ticket-1"))
    again: Any = [*first.to_input_list(), {"role": "user", "content": "And R-8?"}]
    second = await Runner.run(first.last_agent, again, run_config=inside("ticket-1"))
    assert second.final_output == "It is settled: R-7 is over 12 €"
    assert house.conversation("ticket-1") == [*GRAPH, *GRAPH[1:]]
    turns = house.turns()
    assert [turn.parent for turn in turns] == [None, *(turn.id for turn in turns[:-1])]


async def test_a_run_that_names_no_episode_is_one_all_the_same(house: House, api: Any) -> None:
    await Runner.run(fleet(api), "Why is R-7 so high?")
    await Runner.run(fleet(api), "Why is R-7 so high?")
    turns = house.turns()
    episodes = list(dict.fromkeys(turn.episode for turn in turns))
    assert len(episodes) == 2
    assert [house.conversation(episode) for episode in episodes] == [GRAPH, GRAPH]


async def test_a_run_goes_on_by_response_id(house: House) -> None:
    house.agent(TRIAGE, "clerk")
    house.agent(BILLING, "clerk")
    async with AsyncOpenAI(base_url=f"{house.address}/v1", api_key="x") as client:
        first = await Runner.run(
            fleet(lambda name: agents.OpenAIResponsesModel(model=name, openai_client=client)),
            "Why is R-7 so high?",
            auto_previous_response_id=True,
        )
        await Runner.run(first.last_agent, "And R-8?", previous_response_id=first.last_response_id)
    (episode,) = {turn.episode for turn in house.turns()}
    assert house.conversation(episode) == [*GRAPH, *GRAPH[1:]]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_run_tells_which_turn_to_give_feedback_on(house: House, api: Any, stream: bool) -> None:
    run: Any
    if stream:
        run = Runner.run_streamed(fleet(api), "Why is R-7 so high?")
        async for _ in run.stream_events():
            pass
    else:
        run = await Runner.run(fleet(api), "Why is R-7 so high?")
    beside = getattr(run.new_items[-1].raw_item, "provider_data", None)  # of a chat completion
    turn = beside["response_id"] if beside else run.last_response_id
    assert turn == house.turns()[-1].id
    kept = house.post("/v1/feedback", {"turn": turn, "said": {"form": "thumbs", "up": True}})
    assert kept["status"] == "kept"


async def test_what_the_caller_says_itself_stands(house: House, api: Any) -> None:
    said = {"x-heedful-episode": "ticket-1", "x-heedful-to": "auditor"}
    await Runner.run(
        fleet(api), "Why?", run_config=RunConfig(model_settings=ModelSettings(extra_headers=said))
    )
    assert [turn.addressee for turn in house.turns()] == ["auditor"] * 3


async def test_an_agent_that_is_called_as_a_tool_is_not_said_to_answer_the_user(
    house: House, api: Any
) -> None:
    helper: Agent[None] = Agent(name="Billing desk", instructions="Settle it.", model=api(BILLING))
    asking = helper.as_tool("ask_billing", "Ask billing.")
    chief: Agent[None] = Agent(name="Triage", instructions="Ask.", model=api(TRIAGE), tools=[asking])
    await Runner.run(chief, "Why?", run_config=inside("ticket-1"))
    assert house.conversation("ticket-1") == [(TRIAGE, None), (BILLING, None), (TRIAGE, "user")]
