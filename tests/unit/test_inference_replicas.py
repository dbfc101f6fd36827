"""Which of several servers is asked, and what becomes of a request when one of them dies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import rogue
from factories import make_message, make_policy
from heedful.domain.content import Sampling
from heedful.domain.models import External
from heedful.errors import Declined, Unavailable
from heedful.inference.openai_http import OpenAIInference, UpstreamSettings
from heedful.inference.protocol import complete
from heedful.inference.replicas import LEFT_ALONE, OPENS_AFTER, Replica, Replicas
from rogue import Call, kind, whole

HOSTED = make_policy(body=External(upstream="hosted", model="m1"))


def make_replicas(*asked: int) -> Replicas:
    return Replicas("hosted", [Replica(f"http://{place}", asked=busy) for place, busy in enumerate(asked)])


def broken(replicas: Replicas, *places: int, now: float = 0.0) -> None:
    for place in places:
        for _ in range(OPENS_AFTER):
            replicas.all[place].asked += 1
            replicas.failed(replicas.all[place], now)


@pytest.mark.parametrize(
    ("asked", "open", "besides", "now", "chosen"),
    [
        ((3, 1, 2), (), (), 0.0, 1),  # the one with the least to do
        ((3, 1, 2), (1,), (), 0.0, 2),  # of those that work
        ((3, 1, 2), (), (1,), 0.0, 2),  # that did not fail this very request
        ((3, 1, 2), (2,), (1,), 0.0, 0),
        ((0, 0), (0,), (), LEFT_ALONE - 0.1, 1),
        ((0, 1), (0,), (), LEFT_ALONE, 0),  # tried again when its time has come
        ((1, 1), (), (0, 1), 0.0, 0),  # all failed it: once more, whoever
        ((1,), (), (0,), 0.0, 0),
    ],
)
def test_who_is_asked(
    asked: Sequence[int], open: Sequence[int], besides: Sequence[int], now: float, chosen: int
) -> None:
    replicas = make_replicas(*asked)
    broken(replicas, *open)
    tried = [replicas.all[place] for place in besides]
    assert replicas.choose(now, besides=tried) in (
        replicas.all if len(tried) == len(asked) else [replicas.all[chosen]]
    )


def test_those_with_as_little_to_do_take_turns() -> None:
    replicas = make_replicas(0, 0, 0)
    seen = set()
    for _ in range(3):
        chosen = replicas.choose(0.0)
        replicas.worked(chosen)
        seen.add(chosen.url)
    assert len(seen) == 3


def test_one_request_at_a_time_finds_out_whether_a_broken_one_works_again() -> None:
    replicas = make_replicas(0)
    broken(replicas, 0)
    with pytest.raises(Unavailable, match=r"left alone for 5\.0 s more: look at http://0"):
        replicas.choose(0.0)
    trying = replicas.choose(LEFT_ALONE)
    with pytest.raises(Unavailable):
        replicas.choose(LEFT_ALONE)
    replicas.failed(trying, LEFT_ALONE)
    with pytest.raises(Unavailable):
        replicas.choose(LEFT_ALONE + 1)
    replicas.worked(replicas.choose(2 * LEFT_ALONE))
    replicas.choose(2 * LEFT_ALONE)
    replicas.choose(2 * LEFT_ALONE)


def test_who_tries_and_loses_patience_lets_another_try() -> None:
    replicas = make_replicas(0)
    broken(replicas, 0)
    replicas.let_go(replicas.choose(LEFT_ALONE))
    replicas.choose(LEFT_ALONE)


def test_failures_count_in_a_row() -> None:
    replicas = make_replicas(0)
    for _ in range(3 * OPENS_AFTER):
        for _ in range(OPENS_AFTER - 1):
            replicas.failed(replicas.choose(0.0), 0.0)
        replicas.worked(replicas.choose(0.0))


class Anything(RuleBasedStateMachine):
    """Requests come and go in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.replicas = make_replicas(0, 0, 0)
        self.under_way: list[Replica] = []
        self.now = 0.0

    @rule(seconds=st.floats(0, LEFT_ALONE))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(besides=st.sets(st.integers(0, 2)))
    def ask(self, besides: set[int]) -> None:
        usable = [one for one in self.replicas.all if one.may_be_asked(self.now)]
        tried = [self.replicas.all[place] for place in besides]
        try:
            chosen = self.replicas.choose(self.now, besides=tried)
        except Unavailable:
            assert not usable
            return
        assert chosen in usable
        assert chosen not in tried or all(one in tried for one in usable)
        self.under_way.append(chosen)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 99), how=st.sampled_from(["worked", "failed", "let_go"]))
    def end(self, which: int, how: str) -> None:
        replica = self.under_way.pop(which % len(self.under_way))
        match how:
            case "worked":
                self.replicas.worked(replica)
            case "failed":
                self.replicas.failed(replica, self.now)
            case _:
                self.replicas.let_go(replica)

    @invariant()
    def counted(self) -> None:
        for one in self.replicas.all:
            assert one.asked == self.under_way.count(one)
            assert one.works or one.closed_until <= self.now + LEFT_ALONE

    @invariant()
    def nobody_is_left_alone_for_ever(self) -> None:
        later = self.now + LEFT_ALONE
        assert all(one.may_be_asked(later) or one in self.under_way for one in self.replicas.all)


TestAnything = Anything.TestCase


# -- with real servers ----------------------------------------------------------------------------------------


async def ask(adapter: OpenAIInference) -> str:
    (answer,) = await complete(adapter, HOSTED, (make_message("Hi"),), sampling=Sampling())
    return answer.text


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_no_request_is_lost_when_one_of_two_dies_under_load(stream: bool) -> None:
    alive = True

    async def dying(call: Call) -> None:
        await asyncio.sleep(0.002)
        if alive:
            await kind(call)
        else:
            call.reset()

    async def one(adapter: OpenAIInference, number: int) -> str:
        nonlocal alive
        await asyncio.sleep(number * 0.001)
        alive = number < 100
        if not stream:
            return await ask(adapter)
        asked = {"messages": [{"role": "user", "content": "Hi"}]}
        chunks = [chunk async for chunk in adapter.stream(HOSTED, asked)]
        return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)

    async with rogue.listening(dying) as first, rogue.listening(kind) as second:
        settings = UpstreamSettings(url=first.url, replicas=(second.url,), timeout=5.0)
        adapter = OpenAIInference(settings, name="hosted")
        said = await asyncio.gather(*(one(adapter, number) for number in range(300)))
        assert said == ["Hello"] * 300
        assert len(first.calls) > 20
        before = len(first.calls)
        assert [await ask(adapter) for _ in range(20)] == ["Hello"] * 20
        assert len(first.calls) == before  # it is left alone
        assert [one.asked for one in adapter._replicas.all] == [0, 0]
        await adapter.close()


@pytest.mark.anyio
async def test_a_server_that_is_not_there_costs_no_request() -> None:
    async with rogue.listening(kind) as second:
        adapter = OpenAIInference(UpstreamSettings(url="http://127.0.0.1:1/v1", replicas=(second.url,)))
        assert [await ask(adapter) for _ in range(20)] == ["Hello"] * 20
        await adapter.close()


@pytest.mark.anyio
async def test_a_request_that_a_server_declines_is_not_tried_elsewhere() -> None:
    async def no(call: Call) -> None:
        await call.send(whole(b'{"error": {"message": "too long", "param": "messages"}}', "400 No"))

    async with rogue.listening(no) as first, rogue.listening(no) as second:
        adapter = OpenAIInference(UpstreamSettings(url=first.url, replicas=(second.url,)))
        for _ in range(2 * OPENS_AFTER):
            with pytest.raises(Declined, match="too long"):
                await ask(adapter)
        assert len(first.calls) + len(second.calls) == 2 * OPENS_AFTER
        assert [one.failures for one in adapter._replicas.all] == [0, 0]
        await adapter.close()


@given(st.lists(st.sampled_from(["worked", "failed"]), max_size=40))
def test_the_last_answer_says_whether_a_server_works(answers: list[str]) -> None:
    replicas, row = make_replicas(0), 0
    for now, answer in enumerate(answers):
        chosen = replicas.choose(now * LEFT_ALONE)
        row = 0 if answer == "worked" else row + 1
        replicas.worked(chosen) if answer == "worked" else replicas.failed(chosen, now * LEFT_ALONE)
        assert chosen.works == (row < OPENS_AFTER)


@pytest.mark.anyio
async def test_connections_that_a_server_closes_unsaid_do_not_make_it_look_broken() -> None:
    async with rogue.listening(kind) as server:
        adapter = OpenAIInference(UpstreamSettings(url=server.url, attempts=1))
        for _ in range(10):
            assert set(await asyncio.gather(*(ask(adapter) for _ in range(30)))) == {"Hello"}
        assert len(server.calls) == 300
        await adapter.close()
