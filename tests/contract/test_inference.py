"""Inference: every promise of heedful/inference/protocol.py, for every adapter."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from factories import make_message, make_policy
from heedful.blobs.directory import DirectoryBlobs
from heedful.domain.content import Message, Role, Sampling, TextPart, ToolCall
from heedful.domain.ids import Digest
from heedful.domain.models import External, Policy, Weights
from heedful.errors import HeedfulError, InvalidInput, Misconfigured, Unavailable
from heedful.inference.local import LocalInference
from heedful.inference.openai_http import OpenAIInference, UpstreamSettings
from heedful.inference.protocol import Inference, complete
from heedful.inference.scripted import ScriptedInference
from heedful.inference.upstreams import Upstreams

pytestmark = pytest.mark.anyio

SCRIPTED = make_policy(body=External(upstream="scripts", model="echo"))
HOSTED = make_policy(body=External(upstream="hosted", model="m1"))
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def said(text: str = "Hello") -> tuple[Message, ...]:
    return (make_message(text),)


# --- answers from a script ---------------------------------------------------------------------------


async def test_a_script_gives_as_many_answers_as_are_asked_for() -> None:
    scripted = ScriptedInference({"echo": "tasks:echo"})
    await scripted.prepare(SCRIPTED)
    answers = await complete(scripted, SCRIPTED, said(), sampling=Sampling(), n=3)
    assert [answer.text for answer in answers] == ["You said: Hello"] * 3
    await scripted.close()


async def test_a_script_that_is_not_in_the_settings_cannot_be_reached() -> None:
    scripted = ScriptedInference({"echo": "tasks:echo"})
    other = make_policy(body=External(upstream="scripts", model="os:system"))
    for policy in (other, make_policy()):
        with pytest.raises(Misconfigured, match="they have echo"):
            await complete(scripted, policy, said(), sampling=Sampling())
    for path in ("tasks", "tasks:no_such", "no_such_module:f"):
        with pytest.raises(Misconfigured, match=r"inference\.scripts\.bad"):
            ScriptedInference({"bad": path})


async def test_each_policy_reaches_what_answers_for_it() -> None:
    scripted = ScriptedInference({"echo": "tasks:echo"})
    upstreams = Upstreams(scripted, {"scripts": scripted})
    assert (await complete(upstreams, SCRIPTED, said(), sampling=Sampling()))[0].text == "You said: Hello"
    with pytest.raises(Misconfigured, match="upstream 'hosted' is not in the settings: they have scripts"):
        await upstreams.prepare(HOSTED)
    with pytest.raises(
        Misconfigured, match="asks for a script"
    ):  # weights go to the local engine: here a script
        await complete(upstreams, make_policy(), said(), sampling=Sampling())


# --- answers from another server ---------------------------------------------------------------------


@contextlib.asynccontextmanager
async def upstream(handler: Handler, **settings: Any) -> AsyncIterator[OpenAIInference]:
    """A real server on loopback, and the adapter that asks it."""
    app = web.Application()
    app.router.add_post("/v1/chat/completions", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    adapter = OpenAIInference(UpstreamSettings(**{"url": f"http://127.0.0.1:{port}/v1/"} | settings))
    try:
        yield adapter
    finally:
        await adapter.close()
        await runner.cleanup()


def completion(asked: dict[str, Any], *, n: int | None = None) -> dict[str, Any]:
    text = f"{asked['messages'][-1]['content']}/{asked.get('seed')}"
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {
        "choices": [choice] * (asked["n"] if n is None else n),
        "usage": {"prompt_tokens": 5},
    }


async def test_an_upstream_gets_the_question_as_it_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str | None, dict[str, Any]]] = []

    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        seen.append((request.headers.get("authorization"), asked))
        return web.json_response(completion(asked))

    monkeypatch.setenv("UPSTREAM_KEY", "sk-1")
    messages = (
        make_message("Cancel it"),
        Message(role=Role.ASSISTANT, tool_calls=(ToolCall(id="c1", name="cancel", arguments="{"),)),
        Message(role=Role.TOOL, content=(TextPart(text="done"),), tool_call_id="c1"),
    )
    policy = make_policy(
        body=External(upstream="hosted", model="m1", prompt=(Message(role=Role.SYSTEM, content="Be kind."),))
    )
    sampling = Sampling(temperature=0.0, max_tokens=9, seed=4, stop=("\n",), extra={"top_k": 3})
    async with upstream(answer, key_from="UPSTREAM_KEY") as adapter:
        answers = await complete(adapter, policy, messages, sampling=sampling, n=2)
    assert [(one.text, one.finish, one.prompt_tokens) for one in answers] == [("done/4", "stop", 5)] * 2
    ((key, asked),) = seen
    assert key == "Bearer sk-1"
    assert [message["role"] for message in asked["messages"]] == ["system", "user", "assistant", "tool"]
    assert asked["messages"][2]["tool_calls"][0]["function"] == {"name": "cancel", "arguments": "{"}
    assert asked["messages"][3] == {"role": "tool", "content": "done", "tool_call_id": "c1"}
    kept = {
        name: asked[name] for name in ("model", "n", "temperature", "max_tokens", "seed", "stop", "top_k")
    }
    assert kept == {
        "model": "m1", "n": 2, "temperature": 0.0, "max_tokens": 9, "seed": 4, "stop": ["\n"], "top_k": 3
    }  # fmt: skip


async def test_requests_that_wait_together_each_get_their_own_answers() -> None:
    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        await asyncio.sleep(0.05 if asked["seed"] % 2 else 0.01)
        return web.json_response(completion(asked))

    async with upstream(answer) as adapter:
        answers = await asyncio.gather(
            *(complete(adapter, HOSTED, said(f"q{i}"), sampling=Sampling(seed=i)) for i in range(50))
        )
    assert [one.text for (one,) in answers] == [f"q{i}/{i}" for i in range(50)]


async def test_tokens_are_kept_where_the_upstream_names_every_one_of_them() -> None:
    async def answer(request: web.Request) -> web.Response:
        body = completion(await request.json())
        entries = [{"token": "a", "logprob": -0.5, "token_id": 7}, {"token": "b", "logprob": -1.5}]
        whole = {"content": entries[:1]}
        body["choices"] = [
            {**body["choices"][0], "logprobs": logprobs} for logprobs in (whole, {"content": entries}, None)
        ]
        return web.json_response(body)

    async with upstream(answer) as adapter:
        answers = await complete(adapter, HOSTED, said(), sampling=Sampling(), n=3)
    assert answers[0].tokens is not None
    assert (answers[0].tokens.ids, answers[0].tokens.logprobs) == ((7,), (-0.5,))
    assert answers[1].tokens is not None
    assert (answers[1].tokens.ids, answers[1].tokens.logprobs) == ((), (-0.5, -1.5))
    assert answers[2].tokens is None


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(5)
    return web.json_response({})


async def broken(request: web.Request) -> web.Response:
    return web.Response(status=500, text="<html>out of memory</html>", content_type="text/html")


async def page(request: web.Request) -> web.Response:
    return web.Response(text="<html>Welcome</html>", content_type="text/html")


async def other_json(request: web.Request) -> web.Response:
    return web.json_response(["choices"])


async def nothing(request: web.Request) -> web.Response:
    return web.Response()


async def too_few(request: web.Request) -> web.Response:
    return web.json_response(completion(await request.json(), n=1))


async def cut_before(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def cut_within(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-length": "1000", "content-type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    assert request.transport is not None
    request.transport.close()
    return response


FAILURES: dict[str, tuple[Handler, str]] = {
    "slow": (slow, "did not answer within"),
    "500": (broken, "says 500: <html>out of memory"),
    "not JSON": (page, "sent no JSON: <html>Welcome"),
    "other JSON": (other_json, "sent no chat completion"),
    "nothing": (nothing, "sent no JSON"),
    "too few": (too_few, "sent 1 answers, 2 were asked for"),
    "cut before": (cut_before, "does not answer"),
    "cut within": (cut_within, "broke off"),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_an_upstream_that_does_not_answer_is_unavailable_and_says_how(failure: str) -> None:
    handler, words = FAILURES[failure]
    async with upstream(handler, timeout=0.3) as adapter:
        with pytest.raises(Unavailable, match=words):
            await complete(adapter, HOSTED, said(), sampling=Sampling(), n=2)


async def test_an_upstream_that_is_not_there_is_unavailable() -> None:
    adapter = OpenAIInference(UpstreamSettings(url="http://127.0.0.1:1/v1"), name="hosted")
    with pytest.raises(Unavailable, match="'hosted' does not answer"):
        await complete(adapter, HOSTED, said(), sampling=Sampling())
    await adapter.close()


async def test_a_missing_key_and_a_policy_of_the_wrong_kind_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    adapter = OpenAIInference(UpstreamSettings(url="http://127.0.0.1:1/v1", key_from="NO_SUCH_KEY"))
    with pytest.raises(Misconfigured, match="NO_SUCH_KEY is empty"):
        await adapter.prepare(HOSTED)
    with pytest.raises(Misconfigured, match="is weights"):
        await complete(adapter, make_policy(), said(), sampling=Sampling())


# --- answers from weights, in a child process --------------------------------------------------------

WORDS = (
    "the parcel comes today",
    "we are sorry",
    "please wait a moment",
    "[refund] your money is on its way",
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[DirectoryBlobs, Digest]:
    pytest.importorskip("torch", reason="needs the extra `train`")
    from heedful.lm.load import save
    from heedful.lm.tiny import TinyShape, make_tiny

    root = tmp_path_factory.mktemp("weights")
    shape = TinyShape(width=16, layers=1, heads=2, positions=64, vocabulary=300)
    save(make_tiny(WORDS, shape=shape, seed=1), root / "tiny")
    blobs = DirectoryBlobs(root / "blobs")
    return blobs, Digest(blobs.put_tree(root / "tiny"))


@contextlib.asynccontextmanager
async def local(blobs: DirectoryBlobs, root: Path) -> AsyncIterator[LocalInference]:
    engine = LocalInference(blobs.materialise, root / "laid-out")
    try:
        yield engine
    finally:
        await engine.close()


def child_of(engine: LocalInference) -> int:
    """The process that computes; looked up from outside, because nobody else may ask."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    (ours,) = [int(pid) for pid in children if is_child(int(pid))]
    return ours


def is_child(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return b"heedful.inference.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


async def texts(engine: Inference, policy: Policy, prompt: str, seed: int | None, n: int = 1) -> list[str]:
    sampling = Sampling(seed=seed, max_tokens=8)
    return [one.text for one in await complete(engine, policy, said(prompt), sampling=sampling, n=n)]


@pytest.mark.slow
async def test_weights_answer_for_themselves_whatever_happens_to_the_child(
    weights: tuple[DirectoryBlobs, Digest], tmp_path: Path
) -> None:
    """One test, because each child takes seconds to import torch."""
    blobs, digest = weights
    policy = make_policy(body=Weights(digest=digest))
    async with local(blobs, tmp_path) as engine:
        await alone_as_in_a_crowd(engine, policy)
        await tokens_and_bounds(engine, policy)
        await refused_in_words(engine, not_a_model(blobs, tmp_path / "not-a-model"))
        await after_a_kill(engine, policy)
        last = child_of(engine)
    assert not is_child(last)


async def alone_as_in_a_crowd(engine: LocalInference, policy: Policy) -> None:
    # Many at once, before anything is laid out or started: everything is made ready once.
    crowd = await asyncio.gather(*(texts(engine, policy, f"question {i % 7}", i, n=2) for i in range(60)))
    assert all(len(answers) == 2 for answers in crowd)
    alone = [await texts(engine, policy, f"question {i % 7}", i, n=2) for i in range(0, 60, 13)]
    assert alone == crowd[::13]
    assert len({answer for answers in crowd for answer in answers}) > 20
    unseeded = [await texts(engine, policy, "question", None) for _ in range(4)]
    assert len({text for (text,) in unseeded}) > 1
    assert await texts(engine, policy, "question", -5) == await texts(engine, policy, "question", -5)


async def tokens_and_bounds(engine: LocalInference, policy: Policy) -> None:
    (whole,) = await complete(engine, policy, said(), sampling=Sampling(seed=1, max_tokens=4))
    assert whole.tokens is not None
    assert 1 <= len(whole.tokens.ids) <= 4
    assert whole.finish == ("length" if len(whole.tokens.ids) == 4 else "stop")
    with pytest.raises(HeedfulError, match="exceed the model's 64"):
        await complete(engine, policy, said("word " * 100), sampling=Sampling(max_tokens=8))
    with pytest.raises(Misconfigured, match="the local engine serves weights"):
        await engine.prepare(HOSTED)
    mixed = await asyncio.gather(
        *(texts(engine, policy, text, 1) for text in ("short", "word " * 100, "short")),
        return_exceptions=True,
    )
    assert [type(one) for one in mixed] == [list, InvalidInput, list]  # its neighbours are none the worse


def not_a_model(blobs: DirectoryBlobs, directory: Path) -> Policy:
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"model_type": "none"}))
    return make_policy(body=Weights(digest=Digest(blobs.put_tree(directory))))


async def refused_in_words(engine: LocalInference, policy: Policy) -> None:
    for ask in (engine.prepare(policy), texts(engine, policy, "question", 1)):
        with pytest.raises(HeedfulError, match="cannot load a causal language model"):
            await ask


async def after_a_kill(engine: LocalInference, policy: Policy) -> None:
    first, before = child_of(engine), await texts(engine, policy, "question", 3)
    waiting = asyncio.gather(*(texts(engine, policy, f"question {i}", i) for i in range(1500)))
    await asyncio.sleep(0.01)
    os.kill(first, signal.SIGKILL)  # in the middle of the crowd: what it took along is asked again
    assert [len(answers) for answers in await waiting] == [1] * 1500
    assert await texts(engine, policy, "question", 3) == before
    assert child_of(engine) != first
