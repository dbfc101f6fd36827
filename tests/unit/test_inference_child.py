"""The process that holds the weights: who asks joins the running batch, and fails alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")

from heedful.errors import InvalidInput
from heedful.inference.child import Desk, Engine, Waiting
from heedful.lm.load import save
from heedful.lm.tiny import TinyShape, make_tiny

pytestmark = pytest.mark.anyio
LONG = 100


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("weights") / "tiny"
    shape = TinyShape(width=16, layers=1, heads=2, positions=160, vocabulary=300)
    save(make_tiny(["the parcel comes today", "we are sorry"] * 2, shape=shape, seed=1), place)
    return str(place)


def ask(directory: str, **other: Any) -> Waiting:
    given: dict[str, Any] = {
        "messages": [{"role": "user", "content": "where is it"}],
        "n": 1,
        "temperature": 1.0,
        "max_tokens": 4,
        "seed": 3,
        "done": asyncio.get_running_loop().create_future(),
    }
    return Waiting(model=directory, **given | other)


async def test_a_short_request_does_not_wait_for_a_long_one(directory: str) -> None:
    engine = Engine(directory)
    long = ask(directory, max_tokens=LONG, seed=5, n=2)
    engine.take(long)
    for _ in range(3):
        assert engine.step() == []
    short = ask(directory, temperature=0.5, max_tokens=1)
    engine.take(short)
    ((first, answers),) = engine.step()
    assert first is short
    assert [len(one["ids"]) for one in answers] == [1]
    steps = 4
    while engine.busy:
        steps += 1
        for one, both in engine.step():
            assert one is long
            assert max(len(answer["ids"]) for answer in both) == steps > 20


async def test_who_gives_up_is_not_computed_for(directory: str) -> None:
    engine = Engine(directory)
    gone = ask(directory, max_tokens=LONG)
    engine.take(gone)
    engine.step()
    engine.drop(gone)
    assert not engine.busy
    assert engine.step() == []


async def test_each_request_gets_its_own_answers_or_its_own_refusal(directory: str) -> None:
    desk = Desk()
    seeds = range(20)
    crowd = [ask(directory, seed=seed, max_tokens=2 + seed % 5, n=1 + seed % 3) for seed in seeds]
    wrong = [
        ask(directory, top_p=0.5),
        ask(directory, messages=[{"role": "user", "content": "word " * 200}]),
        ask(directory + "/nothing-here"),
    ]
    said = await asyncio.gather(*map(desk.answers, [*crowd, *wrong]), return_exceptions=True)
    assert [isinstance(one, InvalidInput) for one in said] == [False] * 20 + [True] * 3
    alone = [await desk.answers(ask(directory, seed=s, max_tokens=2 + s % 5, n=1 + s % 3)) for s in seeds]
    for lonely, crowded in zip(alone, said, strict=False):
        assert not isinstance(crowded, BaseException)
        for one, other in zip(lonely, crowded, strict=True):
            assert one["ids"] == other["ids"]
            # Their last digits depend on the neighbours.
            assert one["logprobs"] == pytest.approx(other["logprobs"], abs=1e-4)
    stopped = await desk.answers(ask(directory, max_tokens=LONG, seed=9))
    text = stopped[0]["text"]
    cut = await desk.answers(ask(directory, max_tokens=LONG, seed=9, stop=[text[10:12]]))
    assert cut[0]["text"] == text[: text.index(text[10:12])]
    assert cut[0]["finish"] == "stop"
    desk.close()
