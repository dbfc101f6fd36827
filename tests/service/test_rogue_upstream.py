"""A server that is slow, dying or lying costs a client one proper error, in time, and us nothing that stays.

Everything is real: a server that can do anything to the bytes, the gateway behind uvicorn, clients on sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import gzip
import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rogue
from heedful.domain.episode import Turn
from heedful.inference.openai_http import OpenAIInference, UpstreamSettings
from heedful.settings import ServerSettings, Settings
from rogue import DONE, EVENTS, Behaviour, Call, Rogue, chunk, event, framed, kind, reply, whole

from .house import (
    HI,
    LATE,
    STREAM_SECONDS,
    TENANT,
    TIMEOUT,
    House,
    Json,
    connected,
    eventually,
    head,
    open_house,
    sent,
    until,
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = Settings(server=ServerSettings(body_seconds=0.5, unread_seconds=1.0))
    with open_house(tmp_path_factory.mktemp("house"), settings) as made:
        yield made


@pytest.fixture(scope="module")
def server() -> Iterator[Rogue]:
    with rogue.in_a_thread(kind) as made:
        yield made


# -- behaviours ---------------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
BODY = orjson.dumps(reply())


async def forever(call: Call) -> None:
    await asyncio.sleep(60)


def says(*pieces: bytes, then: Behaviour | None = None) -> Behaviour:
    """Those bytes, whatever was asked; then the connection is closed, or what `then` does."""

    async def behave(call: Call) -> None:
        for piece in pieces:
            await call.send(piece)
            await asyncio.sleep(0.01)  # what came before it is read before it comes
        if then is not None:
            await then(call)

    return behave


async def reset(call: Call) -> None:
    call.reset()


def drips(data: bytes, seconds: float = 0.1) -> Behaviour:
    async def behave(call: Call) -> None:
        for place in range(len(data)):
            await call.send(data[place : place + 1])
            await asyncio.sleep(seconds)

    return behave


def endless(piece: bytes) -> Behaviour:
    async def behave(call: Call) -> None:
        while True:
            await call.send(piece)

    return behave


HELLO = event(chunk("Hello"))
BOMB = gzip.compress(b" " * (64 << 20))
CODED = b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(BOMB)

# Before any of the answer came.
SILENT: dict[str, Behaviour] = {
    "never answers": forever,
    "hangs up": says(),
    "resets": reset,
    "hangs up in the status": says(b"HTTP/1."),
    "hangs up in the headers": says(HEAD),
    "stops in the headers": says(HEAD, then=forever),
    "drips its headers": drips(HEAD * 9),
    "answers headers and then nothing": says(HEAD + b"content-length: 99\r\n\r\n", then=forever),
    "begins a stream and says nothing": says(EVENTS, then=forever),
    "hangs up instead of a body": says(HEAD + b"content-length: 99\r\n\r\n"),
    "hangs up in a body": says(HEAD + b"content-length: 999\r\n\r\n" + BODY[:20]),
    "resets in a body": says(HEAD + b"content-length: 999\r\n\r\n" + BODY[:20], then=reset),
    "drips its body": says(HEAD + b"content-length: %d\r\n\r\n" % len(BODY), then=drips(BODY)),
    "hangs up in a frame": says(EVENTS + b"fff\r\ndata: {"),
    "hangs up in an event": says(EVENTS + framed(b"data: {")),
    "says a frame of wrong size": says(EVENTS + b"zz\r\nhello\r\n", then=forever),
    "says a frame of negative size": says(EVENTS + b"-5\r\nhello\r\n", then=forever),
    "says a frame of a size without end": says(EVENTS + b"f" * 30 + b"\r\nhello\r\n", then=forever),
    "speaks another protocol": says(b"SSH-2.0-OpenSSH_9.6\r\n", then=forever),
    "sends noise": says(bytes(range(256)) * 20, then=forever),
    "says too short a length": says(HEAD + b"content-length: 5\r\n\r\n" + BODY),
    "says a length that is none": says(HEAD + b"content-length: -1\r\n\r\n" + BODY),
    "says two lengths": says(HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n" + BODY),
    "sends no UTF-8": says(whole(b'{"choices": "\xff\xfe"}')),
    "sends no UTF-8 in a stream": says(EVENTS + event(b'{"choices": "\xff\xfe"}')),
    "sends a page": says(whole(b"<html>Welcome</html>")),
    "sends nothing": says(whole(b"")),
    "says 204": says(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "says 100 without end": says(b"HTTP/1.1 100 Continue\r\n\r\n" * 50, then=forever),
    "switches protocols": says(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", then=forever),
    "sends ten thousand headers": says(HEAD + b"".join(b"x-%d: y\r\n" % n for n in range(10_000)) + b"\r\n"),
    "sends headers without end": says(HEAD, then=endless(b"x-a: y\r\n" * 1000)),
    "sends one header without end": says(HEAD + b"x-a: ", then=endless(b"y" * 8192)),
    "sends a body without end": says(HEAD + b"transfer-encoding: chunked\r\n\r\n", then=endless(framed(b"x" * 8192))),
    "sends an event without end": says(EVENTS + framed(b"data: "), then=endless(framed(b"x" * 8192))),
    "sends comments without end": says(EVENTS, then=endless(framed(b": hello\n\n" * 500))),
    "sends a bomb": says(HEAD + CODED + BOMB),
    "sends a broken encoding": says(HEAD + b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\nabcd"),
    "says an encoding that nobody knows": says(HEAD + b"content-encoding: xyz\r\ncontent-length: 4\r\n\r\nabcd"),
    "nests too deep": says(whole(b'{"a":' * 400 + b"1" + b"}" * 400)),
    "says 500": says(whole(b"<html>", "500 Oops")),
    "says 503 for ever": says(whole(b"{}", "503 Busy", "retry-after: 99999999999999")),
    "says 999": says(whole(b"{}", "999 What")),
}  # fmt: skip


def failed_well(answer: httpx.Response, statuses: set[int]) -> None:
    """An error as OpenAI's clients expect it."""
    assert answer.status_code in statuses, answer.text
    error = answer.json()["error"]
    assert error["message"]
    assert error["type"] in {"server_error", "rate_limit_error", "invalid_request_error"}
    assert "reason that is ours" not in error["message"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("how", SILENT)
def test_nothing_of_an_answer_is_an_error_in_time(
    house: House, server: Rogue, how: str, stream: bool
) -> None:
    server.behave = SILENT[how]
    before, begun = peak(), time.monotonic()
    with house.asking(server, largest_answer=1 << 20):
        answer = house.ask(stream=stream, heedful={"episode": "nothing"})
        took = time.monotonic() - begun
        failed_well(answer, {503})
        assert took < (STREAM_SECONDS if stream else TIMEOUT) + LATE
    assert house.turns("nothing") == []
    assert peak() - before < 64 << 20


def peak() -> int:
    """Bytes of memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


# After a part of the answer came.
BROKEN: dict[str, Behaviour] = {
    "hangs up": says(EVENTS + HELLO),
    "resets": says(EVENTS + HELLO, then=reset),
    "stops": says(EVENTS + HELLO, then=forever),
    "drips": says(EVENTS + HELLO, then=drips(framed(b"data: " + b"x" * 99))),
    "ends without an end": says(EVENTS + HELLO + framed(b"")),
    "hangs up in an event": says(EVENTS + HELLO + framed(b"data: {")),
    "hangs up in a frame": says(EVENTS + HELLO, b"ff\r\ndata: {"),
    "says a frame of wrong size": says(EVENTS + HELLO, b"zz\r\n", then=forever),
    "sends no JSON": says(EVENTS + HELLO + event(b"{"), then=forever),
    "sends no UTF-8": says(EVENTS + HELLO + event(b'{"choices": "\xff"}'), then=forever),
    "sends no chunk": says(EVENTS + HELLO + event(["choices"]), then=forever),
    "sends an odd chunk": says(EVENTS + HELLO + event({"choices": [5]}), then=forever),
    "sends an error": says(EVENTS + HELLO + event({"error": {"message": "out of memory"}}), then=forever),
    "sends another answer": says(EVENTS + HELLO + event({"choices": [{"index": 7, "delta": {}}]}), then=forever),
    "sends without end": says(EVENTS + HELLO, then=endless(event({"choices": [], "x": "y" * 500}))),
    "sends an event of 10 MB": says(EVENTS + HELLO + event({"choices": [], "x": "y" * 10_000_000}), then=forever),
    "sends an event without end": says(EVENTS + HELLO + framed(b"data: "), then=endless(framed(b"x" * 8192))),
    "nests too deep": says(EVENTS + HELLO + event(b'{"a":' * 400 + b"1" + b"}" * 400), then=forever),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_half_a_stream_ends_with_an_error_and_is_kept_as_half_a_turn(
    house: House, server: Rogue, how: str
) -> None:
    server.behave = BROKEN[how]
    episode, before, begun = f"half-{list(BROKEN).index(how)}", peak(), time.monotonic()
    with house.asking(server, largest_answer=1 << 20):
        answer = house.ask(stream=True, heedful={"episode": episode})
        assert time.monotonic() - begun < STREAM_SECONDS + LATE
    *chunks, last = events_of(answer)
    assert answer.status_code == 200
    assert last["error"]["type"] == "server_error"
    assert (
        "".join(one["choices"][0]["delta"].get("content", "") for one in chunks if one["choices"]) == "Hello"
    )
    (turn,) = house.turns(episode)
    assert (turn.answer, turn.finish, turn.id) == ("Hello", "error", answer.headers["x-heedful-turn"])
    assert peak() - before < 64 << 20


@pytest.mark.parametrize("how", BROKEN)
def test_a_response_that_breaks_off_has_failed(house: House, server: Rogue, how: str) -> None:
    server.behave = BROKEN[how]
    with house.asking(server, largest_answer=1 << 20):
        body = {"model": "agent", "input": "Hi", "stream": True}
        answer = house.http.post(f"{house.url}/v1/responses", json=body)
    last = events_of(answer)[-1]
    assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", "server_error")


def events_of(answer: httpx.Response) -> list[Json]:
    """The data of every event, which a client can read to the end."""
    said = [part.partition("data: ")[2] for part in answer.text.split("\n\n") if part]
    return [orjson.loads(one) for one in said if one != "[DONE]"]


async def one_dot_nought(call: Call) -> None:
    head = b"HTTP/1.0 200 OK\r\n\r\n"
    said = b"".join(b"data: " + orjson.dumps(one) + b"\n\n" for one in (chunk("Hello"), chunk(finish="stop")))
    await call.send(head + (said + b"data: [DONE]\n\n" if call.stream else BODY))


async def early_hints(call: Call) -> None:
    await call.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
    await kind(call)


async def no_last_word(call: Call) -> None:
    said = EVENTS + HELLO + event(chunk(finish="stop")) + framed(b"")
    await call.send(said if call.stream else whole(BODY))


async def coded(call: Call) -> None:
    squeezed = gzip.compress(BODY)
    await call.send(
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(squeezed) + squeezed
    )


async def byte_by_byte(call: Call) -> None:
    said = EVENTS + HELLO + event(chunk(finish="stop")) + DONE if call.stream else whole(BODY)
    for place in range(len(said)):
        await call.send(said[place : place + 1])


ODD: dict[str, Behaviour] = {
    "HTTP/1.0": one_dot_nought,
    "early hints": early_hints,
    "no last word": no_last_word,
    "byte by byte": byte_by_byte,
    "hangs up after each": kind,
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("how", ODD)
def test_a_server_with_odd_manners_is_understood(house: House, server: Rogue, how: str, stream: bool) -> None:
    server.behave = ODD[how]
    with house.asking(server, timeout=5.0, stream_seconds=5.0):
        for _ in range(3):
            answer = house.ask(stream=stream)
            assert answer.status_code == 200, answer.text
            assert "Hel" in answer.text


def test_a_squeezed_answer_is_read(house: House, server: Rogue) -> None:
    server.behave = coded
    with house.asking(server):
        assert house.ask().json()["choices"][0]["message"]["content"] == "Hello"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nobody_is_sent_elsewhere(house: House, server: Rogue, status: int, stream: bool) -> None:
    with rogue.in_a_thread(kind) as elsewhere:
        server.behave = says(whole(b"", f"{status} Moved", f"location: {elsewhere.url}/chat/completions"))
        with house.asking(server):
            failed_well(house.ask(stream=stream), {503})
        assert elsewhere.calls == []


@pytest.mark.parametrize(
    "said", ["5", "-3", "inf", "nan", "1e400", "99999999999", "Wed, 21 Oct 2026 07:28:00 GMT", "soon", ""]
)
def test_a_silly_pause_is_passed_on_as_a_sensible_one(house: House, server: Rogue, said: str) -> None:
    server.behave = says(whole(b'{"error": {"message": "slow down"}}', "429 Slow", f"retry-after: {said}"))
    with house.asking(server):
        answer = house.ask()
        failed_well(answer, {429})
        assert 1 <= int(answer.headers["retry-after"]) <= 3600


@pytest.mark.parametrize(
    "said", [b"", b"[]", b'{"error": 5}', b'{"error": {"message": {"a": 1}, "param": ["x"], "code": {"b": 2}}}',
             b'{"error": {"message": "' + b"x" * 5_000_000 + b'"}}']
)  # fmt: skip
def test_a_refusal_is_passed_on_however_it_looks(house: House, server: Rogue, said: bytes) -> None:
    server.behave = says(whole(said, "400 No"))
    with house.asking(server):
        answer = house.ask()
        failed_well(answer, {400})
        assert len(answer.content) < 4096


def test_a_chunk_of_ten_megabytes_goes_through_and_leaves_nothing_behind(house: House, server: Rogue) -> None:
    said = EVENTS + event(chunk("y" * 10_000_000)) + event(chunk(finish="stop")) + DONE
    server.behave = says(said)
    sizes = []
    with house.asking(server, timeout=10.0, stream_seconds=10.0):
        for _ in range(14):
            answer = house.ask(stream=True)
            assert len(events_of(answer)[0]["choices"][0]["delta"]["content"]) == 10_000_000
            house.app.state.service.recorder.settle()
            del answer
            sizes.append(resident())
    # First the database's page cache fills, and the allocator gives back when it likes.
    assert min(sizes[10:]) - min(sizes[6:10]) < 50 << 20


def resident() -> int:
    """Bytes of memory that are in use, without what the allocator has only not given back yet."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_connections_that_are_reset_under_load_are_errors_or_answers(house: House, server: Rogue) -> None:
    count = 0

    async def every_third(call: Call) -> None:
        nonlocal count
        count += 1
        if count % 3 == 0:
            call.reset()
        else:
            await kind(call)

    server.behave = every_third

    async def crowd() -> list[int]:
        async with httpx.AsyncClient(timeout=20.0, trust_env=False) as http:
            body = {"model": "agent", "messages": HI}
            some = [http.post(f"{house.url}/v1/chat/completions", json=body) for _ in range(100)]
            return [one.status_code for one in await asyncio.gather(*some)]

    before = descriptors()
    with house.asking(server, timeout=5.0, attempts=4):
        assert set(asyncio.run(crowd())) <= {200, 503}
    eventually(lambda: descriptors() <= before + 2, "sockets are left")


def descriptors() -> int:
    """Sockets that this process has open; the database opens files as it needs them."""
    found = 0
    for one in os.listdir("/proc/self/fd"):  # noqa: PTH208  a path for each of them would be one more
        with contextlib.suppress(OSError):
            found += os.readlink(f"/proc/self/fd/{one}").startswith("socket:")  # noqa: PTH115
    return found


# -- any JSON -----------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
TOKEN = {"token": "Hi", "logprob": -0.5, "bytes": [72], "top_logprobs": [{"token": "Hi", "logprob": -0.5}]}
CALLING = {"id": "c", "index": 0, "type": "function", "function": {"name": "f", "arguments": "{}"}}
WORDS = {
    "role": "assistant",
    "content": "Hi",
    "refusal": None,
    "reasoning_content": "hm",
    "tool_calls": [CALLING],
}
USED = {
    "prompt_tokens": 1,
    "completion_tokens": 1,
    "total_tokens": 2,
    "prompt_tokens_details": {"cached_tokens": 0},
}


def filled(under: str) -> dict[str, Json]:
    choice = {
        "index": 0,
        under: WORDS,
        "finish_reason": "stop",
        "logprobs": {"content": [TOKEN]},
        "token_ids": [1],
    }
    said = {
        "id": "x",
        "object": "o",
        "created": 1,
        "model": "m",
        "service_tier": "default",
        "choices": [choice],
    }
    copy: dict[str, Json] = orjson.loads(orjson.dumps({**said, "usage": USED}))
    return copy


def places(value: Json, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, inner in pairs for found in places(inner, (*path, key)))]


def changed(whole: Json, place: tuple[Any, ...], value: Json) -> Json:
    if not place:
        return value
    at = whole
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    return whole


@given(where=st.integers(0, 10**6), value=VALUES)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_in_any_place_is_an_answer_or_a_proper_error(
    house: House, server: Rogue, where: int, value: Json
) -> None:
    async def odd(call: Call) -> None:
        under = "delta" if call.stream else "message"
        every = places(filled(under))
        said = changed(filled(under), every[where % len(every)], value)
        ok = event(chunk("Hello")) + event(said) + event(chunk(finish="stop")) + DONE
        await call.send(EVENTS + ok if call.stream else whole(orjson.dumps(said)))

    server.behave = odd
    adapter = OpenAIInference(UpstreamSettings(url=server.url, timeout=5.0), name="rogue")
    house.switch.adapter = adapter
    try:
        for body in (
            {"messages": HI, "logprobs": True},
            {"input": "Hi", "include": ["message.output_text.logprobs"]},
        ):
            path = "/v1/chat/completions" if "messages" in body else "/v1/responses"
            said = house.http.post(house.url + path, json={"model": "agent", **body})
            assert said.status_code in {200, 503}, said.text
            streamed = house.http.post(house.url + path, json={"model": "agent", "stream": True, **body})
            assert streamed.status_code == 200
            assert events_of(streamed)  # and its end came: a stream that is cut is an error of httpx
        house.app.state.service.recorder.settle()
    finally:
        house.run(adapter.close)


def test_what_was_recorded_of_all_that_reads_back(house: House) -> None:
    house.app.state.service.recorder.settle()
    assert all(isinstance(turn.answer, str) for turn in house.parts.store.find(Turn, TENANT, limit=None))


# -- clients that misbehave -----------------------------------------------------------------------------------


def test_a_client_that_leaves_in_mid_stream_ends_the_servers_work(house: House, server: Rogue) -> None:
    server.behave = says(EVENTS + HELLO, then=forever)
    with house.asking(server, timeout=30.0, stream_seconds=60.0):
        connection = sent(house, stream=True, heedful={"episode": "left"})
        assert b"Hello" in until(connection, b"Hello")
        connection.close()
        eventually(lambda: not server.open, "the server is still asked", 2.0)
    (turn,) = house.turns("left")
    assert (turn.answer, turn.finish) == ("Hello", "cancelled")


def test_who_leaves_many_streams_does_not_make_the_server_look_broken(house: House, server: Rogue) -> None:
    async def hums(call: Call) -> None:
        await call.send(EVENTS + HELLO)
        for _ in range(50):
            await asyncio.sleep(0.1)
            await call.send(framed(b": hm\n\n"))

    server.behave = hums
    with house.asking(server, timeout=0.5, stream_seconds=60.0) as adapter:
        for _ in range(2):
            some = [sent(house, stream=True) for _ in range(4)]
            for connection in some:
                until(connection, b"Hello")
            time.sleep(0.6)  # longer than the server may take for a piece
            for connection in some:
                connection.close()
        eventually(lambda: not server.open, "the server is still asked")
        assert [one.failures for one in adapter._replicas.all] == [0]


def test_a_client_that_leaves_before_the_answer_leaves_a_turn(house: House, server: Rogue) -> None:
    """It may ask again: what the server says is kept for that."""

    async def slow(call: Call) -> None:
        await asyncio.sleep(0.3)
        await kind(call)

    server.behave = slow
    for stream in (False, True):
        episode = f"early-{stream}"
        with house.asking(server, timeout=5.0, stream_seconds=5.0):
            calls = len(server.calls)
            connection = sent(house, stream=stream, heedful={"episode": episode})
            eventually(lambda: len(server.calls) > calls, "the server was not asked")  # noqa: B023
            connection.close()
        (turn,) = house.turns(episode)
        assert (turn.answer, turn.finish) == ("Hello", "stop")


def test_a_client_that_does_not_read_fills_no_memory_and_is_left(house: House, server: Rogue) -> None:
    got = 0

    async def much(call: Call) -> None:
        nonlocal got
        piece = event(chunk("x" * 50_000))
        await call.send(EVENTS)
        for _ in range(2000):  # 100 MB
            await call.send(piece)
            got += len(piece)

    server.behave = much
    with house.asking(server, timeout=30.0, stream_seconds=60.0, largest_answer=1 << 30):
        before = resident()
        connection = sent(house, stream=True, heedful={"episode": "unread"})
        eventually(lambda: got > 0, "the server was not asked")
        eventually(lambda: not server.open, "the server is still asked", 5.0)
        assert got < 20 << 20  # what sockets on the way hold
        assert resident() - before < 40 << 20
        connection.close()
    (turn,) = house.turns("unread")
    assert turn.finish == "cancelled"


def test_a_slow_body_is_refused_in_time(house: House) -> None:
    tasks = house.tasks()
    for said in (b"", b'{"model"'):
        connection, begun = connected(house), time.monotonic()
        connection.sendall(head("/v1/chat/completions", 1000) + said)
        answer = until(connection, b"too_slow")
        assert answer.startswith(b"HTTP/1.1 408")
        assert time.monotonic() - begun < 2.0
        connection.close()
    eventually(lambda: house.tasks() <= tasks, "a task is left")


def test_a_client_that_closes_its_half_leaves_nothing_behind(house: House, server: Rogue) -> None:
    server.behave = kind
    before = descriptors()
    with house.asking(server, timeout=5.0):
        for stream in (False, True):
            connection = sent(house, stream=stream)
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                while connection.recv(65536):
                    pass
            connection.close()
    eventually(lambda: descriptors() <= before + 2, "sockets are left")
