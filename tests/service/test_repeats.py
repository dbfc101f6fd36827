"""A client's retry is one turn: whoever asks again gets what the first attempt got, and nobody else does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rogue
from heedful.domain.access import Limits, Scope
from heedful.domain.episode import Turn
from heedful.domain.ids import AgentId, EpisodeId
from heedful.service.door import keyring
from heedful.service.door.front import Reply
from heedful.service.gateway.asking import Asked
from heedful.service.gateway.repeats import Repeats
from heedful.wire import TurnContext
from rogue import Call, Rogue, kind, whole

from .house import HI, TENANT, House, connected, eventually, head, open_house

Json = Any


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest.fixture
def server(house: House) -> Iterator[Rogue]:
    with rogue.in_a_thread(kind) as made, house.asking(made, timeout=5.0, stream_seconds=5.0):
        yield made


def ask(house: House, attempt: int | None = 0, *, headers: Json = None, **more: Any) -> httpx.Response:
    """As OpenAI's clients do it; they count attempts from 0."""
    body = {"model": "agent", "messages": HI, **more}
    counted = {} if attempt is None else {"x-stainless-retry-count": str(attempt)}
    url = f"{house.url}/v1/chat/completions"
    return httpx.post(url, json=body, headers={**counted, **(headers or {})}, timeout=20.0, trust_env=False)


class Gate:
    """A server that answers when it is told to."""

    def __init__(self, server: Rogue) -> None:
        self._server = server
        self._open = asyncio.Event()
        self._calls = len(server.calls)
        server.behave = self._behave

    @property
    def asked(self) -> int:
        return len(self._server.calls) - self._calls

    async def _behave(self, call: Call) -> None:
        await self._open.wait()
        await kind(call)

    def open(self) -> None:
        assert self._server.loop is not None
        self._server.loop.call_soon_threadsafe(self._open.set)


@contextmanager
def meanwhile() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def said(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers["x-heedful-turn"]


def kept(house: House, episode: str) -> list[Turn]:
    return house.turns(episode)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_attempts_that_follow_one_under_way_share_its_answer(
    house: House, server: Rogue, stream: bool
) -> None:
    episode, gate = f"under-way-{stream}", Gate(server)
    more = {"stream": stream, "heedful": {"episode": episode}}
    with meanwhile() as pool:
        # As when each attempt before lost patience: its connection is closed, then the next one comes.
        first = left(house, more)
        eventually(lambda: gate.asked == 1, "the server was not asked")
        first()
        later: list[Future[httpx.Response]] = []
        under_way = house.tasks()
        for attempt in (1, 2):
            later.append(pool.submit(ask, house, attempt, **more))
            eventually(lambda: house.tasks() >= under_way + len(later), "the retry did not come")
        gate.open()
        answers = [one.result() for one in later]
    assert gate.asked == 1
    (turn,) = kept(house, episode)
    assert [said(one) for one in answers] == [turn.id] * 2
    assert (turn.answer, turn.finish) == ("Hello", "stop")
    assert all("Hel" in one.text for one in answers)
    assert answers[0].content == answers[1].content


def left(house: House, more: Json) -> Callable[[], None]:
    """A first attempt; call it to hang up."""
    # Byte for byte what `ask` sends, or it would be another request.
    body = httpx.Request("POST", house.url, json={"model": "agent", "messages": HI, **more}).content
    connection = connected(house)
    connection.sendall(head("/v1/chat/completions", len(body)) + body)
    return connection.close


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_attempt_after_the_answer_gets_the_same_bytes(house: House, server: Rogue, stream: bool) -> None:
    episode = f"after-{stream}"
    more = {"stream": stream, "heedful": {"episode": episode}}
    first = ask(house, 1, **more)  # its own first attempt never came here
    again = ask(house, 2, **more)
    assert said(first) == said(again)
    assert first.content == again.content
    assert first.headers["content-type"] == again.headers["content-type"]
    assert len(server.calls) == 1
    assert len(kept(house, episode)) == 1


def test_a_stream_that_was_lost_before_its_first_word_is_given_at_once(house: House, server: Rogue) -> None:
    gate, more = Gate(server), {"stream": True, "heedful": {"episode": "lost"}}
    hang_up = left(house, more)
    eventually(lambda: gate.asked == 1, "the server was not asked")
    hang_up()
    gate.open()
    eventually(lambda: len(kept(house, "lost")) == 1, "the first attempt was not kept")
    again = ask(house, 1, **more)
    assert said(again) == kept(house, "lost")[0].id
    assert again.text.endswith("data: [DONE]\n\n")
    assert gate.asked == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_attempt_after_a_failure_is_asked_anew(house: House, server: Rogue, stream: bool) -> None:
    async def fail(call: Call) -> None:
        await call.send(whole(b"", "500 Oops"))

    episode, server.behave = f"failed-{stream}", fail
    more = {"stream": stream, "heedful": {"episode": episode}}
    assert ask(house, 0, **more).status_code == 503
    server.behave = kind
    turn = said(ask(house, 1, **more))
    assert [one.id for one in kept(house, episode)] == [turn]


def test_two_requests_that_look_alike_are_two_turns(house: House, server: Rogue) -> None:
    more = {"heedful": {"episode": "alike"}}
    turns = {said(ask(house, attempt, **more)) for attempt in (None, None, 0, 0)}
    assert len(turns) == len(kept(house, "alike")) == 4
    # Each of two clients that ask again gets one of the answers, and not both the same.
    assert len({said(ask(house, 1, **more)), said(ask(house, 1, **more))}) == 2
    assert len(kept(house, "alike")) == 4


@pytest.mark.parametrize(
    "other",
    [
        {"messages": [{"role": "user", "content": "Else"}]},
        {"temperature": 0.5},
        {"headers": {"x-heedful-episode": "elsewhere"}},
        {"headers": {"x-heedful-agent-instance": "agent-2"}},
        {"stream": True},
    ],
)
def test_another_request_is_not_a_repetition(house: House, server: Rogue, other: Json) -> None:
    first = said(ask(house, 0))
    assert said(ask(house, 1, **other)) != first


def test_another_key_is_not_a_repetition(tmp_path_factory: pytest.TempPathFactory) -> None:
    with open_house(tmp_path_factory.mktemp("keys")) as house, rogue.in_a_thread(kind) as server:
        keys = [keyring.issue(house.parts, TENANT, Scope.AGENT, actor="test").text for _ in range(2)]
        house.app.state.service.door.forget()
        mine, theirs = ({"authorization": f"Bearer {key}"} for key in keys)
        with house.asking(server, timeout=5.0):
            first = said(ask(house, 0, headers=mine))
            assert said(ask(house, 1, headers=theirs)) != first
            assert said(ask(house, 1, headers=mine)) == first


def test_a_request_that_names_its_turn_is_asked_once_however_often_it_comes(
    house: House, server: Rogue
) -> None:
    gate, more = Gate(server), {"heedful": {"turn": "named", "episode": "named"}}
    with meanwhile() as pool:
        some = [pool.submit(ask, house, None, **more) for _ in range(5)]
        eventually(lambda: gate.asked == 1, "the server was not asked")
        gate.open()
        answers = [one.result() for one in some]
    assert {said(one) for one in answers} == {"named"}
    assert gate.asked == 1
    assert said(ask(house, None, **more)) == "named"
    assert len(kept(house, "named")) == 1
    other = ask(house, None, messages=[{"role": "user", "content": "Else"}], heedful={"turn": "named"})
    assert other.status_code == 409


def test_openais_own_client_that_loses_patience_makes_one_turn(house: House, server: Rogue) -> None:
    async def slow(call: Call) -> None:
        await asyncio.sleep(0.8)
        await kind(call)

    server.behave = slow
    client = openai.OpenAI(
        base_url=f"{house.url}/e/patience/a/agent/v1", api_key="x", timeout=0.5, max_retries=2
    )
    for stream in (False, True):
        asked = len(server.calls)
        answer = client.chat.completions.create(model="x", messages=HI, stream=stream)
        if stream:
            assert "".join(chunk.choices[0].delta.content or "" for chunk in answer) == "Hello"  # type: ignore[union-attr]
        assert len(server.calls) == asked + 1
    assert [turn.finish for turn in kept(house, "patience")] == ["stop"] * 2


# -- what is remembered ---------------------------------------------------------------------------------------


def make_asked(text: str, attempt: int = 0) -> Asked:
    return Asked(
        tenant=TENANT,
        key=None,
        limits=Limits(),
        agent=AgentId("agent"),
        model="agent",
        chat={},
        n=1,
        stream=False,
        with_usage=False,
        context=TurnContext(),
        episode=EpisodeId("e"),
        named=False,
        fingerprint=text.encode(),
        attempt=attempt,
        metadata={},
    )


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 400)), max_size=60))
@settings(max_examples=60)
def test_memory_is_bounded_whatever_is_asked(requests: list[tuple[int, int, int]]) -> None:
    repeats = Repeats(most=10, most_bytes=1000)

    async def all_of_them() -> None:
        for which, attempt, size in requests:

            async def answer(size: int = size) -> Reply:
                if size % 7 == 0:
                    raise RuntimeError
                return Reply(200, b"x" * size)

            with contextlib.suppress(RuntimeError):
                await repeats.once(make_asked(f"question {which}", attempt), answer)
            assert repeats.bytes <= 1000
            assert len(repeats) <= 10

    asyncio.run(all_of_them())


def test_the_same_body_a_thousand_times_is_forgotten_too() -> None:
    repeats, asked = Repeats(most=100), make_asked("health check")

    async def answer() -> Reply:
        return Reply(200, b"x" * 100)

    async def often() -> None:
        for _ in range(1000):
            await repeats.once(asked, answer)

    asyncio.run(often())
    assert len(repeats) == 100
    assert repeats.bytes == 10_000


def test_what_is_old_is_forgotten() -> None:
    repeats = Repeats(seconds=0.0)

    async def twice() -> list[bytes]:
        async def answer(text: bytes) -> Reply:
            return Reply(200, text)

        first = await repeats.once(make_asked("x"), lambda: answer(b"first"))
        await asyncio.sleep(0.01)
        await repeats.once(make_asked("y"), lambda: answer(b"other"))
        again = await repeats.once(make_asked("x", 1), lambda: answer(b"again"))
        return [one.body for one in (first, again) if isinstance(one.body, bytes)]

    assert asyncio.run(twice()) == [b"first", b"again"]
