"""An episode from a program's side: asked, said, ended; and functions whose every call is one."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from fastapi import FastAPI

from heedful import AsyncClient, Client
from heedful.client import current, headers
from heedful.domain.access import OPERATOR, Scope
from heedful.domain.episode import Episode, EpisodeState, Turn
from heedful.domain.feedback import (
    Completion,
    Confirmation,
    Correction,
    Feedback,
    Flag,
    Rating,
    Thumbs,
)
from heedful.errors import Conflict, InvalidInput, NotAllowed
from heedful.road import Parts

from .conftest import KeyFor


def said(parts: Parts) -> list[Feedback]:
    return sorted(parts.store.find(Feedback, OPERATOR), key=lambda one: one.id)


def episodes(parts: Parts) -> list[Episode]:
    return list(parts.store.find(Episode, OPERATOR))


def test_what_is_said_goes_to_the_last_answer(served: str, resolver: str, parts: Parts) -> None:
    with Client(served) as client, client.episode(user="u-1", agent=resolver) as episode:
        first = episode.ask("Where is my parcel?")
        episode.rate(5)
        second = episode.ask([{"role": "user", "content": "Really?"}])
        episode.thumbs(up=False)
        episode.correct("On its way.", kind="fact")
        episode.confirm(strength=0.5, turn=first.turn)
        episode.flag("looks odd", by="monitor")
    assert first.text == "You said: Where is my parcel?"
    assert [(type(one.said), one.turn, one.by) for one in said(parts)] == [
        (Rating, first.turn, "u-1"),
        (Thumbs, second.turn, "u-1"),
        (Correction, second.turn, "u-1"),
        (Confirmation, first.turn, "u-1"),
        (Flag, second.turn, "monitor"),
    ]


def test_without_an_answer_it_goes_to_the_episode(served: str, parts: Parts) -> None:
    with Client(served) as client, client.episode(task_type="refund", product="desk") as episode:
        episode.rate(2, low=0, high=10)
        episode.done(outcome=0.5, quality=0.25)
    (ended,) = episodes(parts)
    assert (ended.state, ended.outcome, ended.product) == (EpisodeState.DONE, 0.5, "desk")
    assert {(one.episode, one.turn, one.product) for one in said(parts)} == {(episode.id, None, "desk")}
    assert said(parts)[1].said == Completion(completed=True, quality=0.25, task_type="refund")


def test_several_agents_work_on_one(served: str, resolver: str, parts: Parts) -> None:
    with Client(served) as client, client.episode(user="u-1") as episode:
        handed = episode.ask("Sort this", agent=resolver, to="writer")
        answer = episode.ask("Write this", agent=resolver, to="user", parent=handed.turn)
        with pytest.raises(InvalidInput, match="no agent of its own"):
            episode.ask("Whom?")
    turn = parts.store.get(Turn, OPERATOR, answer.turn)
    assert turn is not None
    assert (turn.episode, turn.parent, turn.addressee) == (episode.id, handed.turn, "user")


def test_an_exception_abandons_it_and_passes_on(served: str, parts: Parts) -> None:
    def broken(client: Client) -> None:
        with client.episode(user="u-1"):
            raise ZeroDivisionError

    with Client(served) as client, pytest.raises(ZeroDivisionError):
        broken(client)
    assert [one.state for one in episodes(parts)] == [EpisodeState.ABANDONED]


def test_an_end_that_was_said_is_the_end(served: str, parts: Parts) -> None:
    with Client(served) as client, client.episode() as episode:
        episode.abandon()
    assert [one.state for one in episodes(parts)] == [EpisodeState.ABANDONED]


def test_a_key_that_asks_and_a_key_that_says(
    served: str, resolver: str, key_for: KeyFor, parts: Parts
) -> None:
    agents, products = key_for(Scope.AGENT), key_for(Scope.PRODUCT)
    with Client(served, agents) as client, client.episode(agent=resolver) as episode:
        episode.ask("Hi")
        with pytest.raises(NotAllowed):
            episode.thumbs(up=True)
    with Client(served, agents, feedback_key=products) as client, client.episode(agent=resolver) as episode:
        episode.ask("Hi")
        episode.thumbs(up=True)
    assert len(said(parts)) == 1


def test_a_traced_function_is_an_episode_for_any_openai_client(
    served: str, resolver: str, parts: Parts
) -> None:
    model = openai.OpenAI(base_url=f"{served}/v1", api_key="none")

    with Client(served) as client:

        @client.traced(agent=resolver, user=lambda customer, text: customer, segment="gold")
        def answer(customer: str, text: str) -> str:
            asked: Any = [{"role": "user", "content": text}]
            for _ in range(2):
                done = model.chat.completions.create(model=resolver, messages=asked, extra_headers=headers())
            current().answered(done.id)
            return str(done.choices[0].message.content)

        assert answer("ada", "Hi") == "You said: Hi"
        assert answer("bob", text="Ho") == "You said: Ho"
    kept = episodes(parts)
    assert sorted((one.user, one.segment, one.state) for one in kept) == [
        ("ada", "gold", EpisodeState.DONE),
        ("bob", "gold", EpisodeState.DONE),
    ]
    turns = parts.store.find(Turn, OPERATOR)
    assert sorted(turn.episode for turn in turns) == sorted([one.id for one in kept] * 2)
    assert headers() == {}
    with pytest.raises(Conflict, match="in no episode"):
        current()


def test_only_functions_with_an_end_are_traced(served: str) -> None:
    client = Client(served)

    async def waits() -> None: ...

    def gives() -> Any:
        yield

    with pytest.raises(InvalidInput, match=r"use AsyncClient\.traced"):
        client.traced()(waits)
    with pytest.raises(InvalidInput, match="generator"):
        client.traced()(gives)
    client.close()


@pytest.mark.anyio
async def test_the_async_client_does_the_same(served: str, app: FastAPI, resolver: str, parts: Parts) -> None:
    async with AsyncClient(served) as client:
        async with client.episode(user="u-1", agent=resolver) as episode:
            answer = await episode.ask("Hi")
            await episode.thumbs(up=True)
            await episode.done(outcome=1.0)

        @client.traced(user="u-2")
        async def work() -> str:
            return current().id

        traced = await work()
        with pytest.raises(InvalidInput, match=r"use Client\.traced"):
            client.traced()(lambda: 1)  # type: ignore[arg-type, return-value]
    assert [(one.turn, one.said) for one in said(parts)] == [(answer.turn, Thumbs(up=True))]
    assert {(one.id, one.user, one.outcome) for one in episodes(parts)} == {
        (episode.id, "u-1", 1.0),
        (traced, "u-2", None),
    }
