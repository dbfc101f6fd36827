"""A small server that speaks OpenAI's language, for tests: what it answers follows from the model's name.

It streams as unkindly as real servers do: a role alone, empty deltas, choices that take turns, arguments in
crumbs, events cut anywhere, comments between them. What it was asked is kept.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Json = Any
Script = Callable[[Json], Json]  # a chat's request -> the message of its answer

LOGPROB = -0.25  # of every token that it ever says
VECTOR = [0.25, 0.5, 0.75]
OSLO = '{"name": "Oslo", "people": 700000}'
CRUMB = 3  # characters of a tool's arguments in one chunk


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that came."""

    path: str
    headers: Mapping[str, str]
    body: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What becomes of one request before it is answered."""

    seconds: float = 0.0  # it is late
    status: int = 200  # anything else: it is not answered at all
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Json = None


@dataclass(slots=True)
class Hosted:
    """The server, and what it remembers."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    troubles: deque[Trouble] = field(default_factory=deque)  # one for each of the next requests

    @property
    def bodies(self) -> list[Json]:
        """Of the chats."""
        return [one.body for one in self.asked if one.path == "/v1/chat/completions"]

    def trouble(self, times: int = 1, **what: Any) -> None:
        self.troubles.extend([Trouble(**what)] * times)

    # -- addresses ---------------------------------------------------------------------------------------

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(Asked(request.path, dict(request.headers), body))
        refused = await self._troubled() or _refused(body)
        if refused is not None:
            return refused
        if not body.get("stream"):
            return web.json_response(_whole(body))
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for piece in _cut(b"".join(_events(_whole(body), body))):
            await response.write(piece)
            await asyncio.sleep(0)
        return response

    async def embeddings(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(Asked(request.path, dict(request.headers), body))
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [{"object": "embedding", "index": place, "embedding": VECTOR} for place in range(len(inputs))]
        usage = {"prompt_tokens": 2, "total_tokens": 2}
        return web.json_response({"object": "list", "data": data, "model": body["model"], "usage": usage})

    async def _troubled(self) -> web.Response | None:
        if not self.troubles:
            return None
        trouble = self.troubles.popleft()
        await asyncio.sleep(trouble.seconds)
        if trouble.status == 200:
            return None
        return web.json_response({"error": trouble.error}, status=trouble.status, headers=trouble.headers)


@contextmanager
def hosting() -> Iterator[Hosted]:
    """The server on a free port of this machine, in a thread of its own."""
    hosted, loop = Hosted(), asyncio.new_event_loop()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", hosted.chat)
    app.router.add_post("/v1/embeddings", hosted.embeddings)
    runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def begin() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        hosted.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(begin(), loop).result()
    try:
        yield hosted
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


# -- what each model says ------------------------------------------------------------------------------------


def says(text: str | None, **more: Json) -> Json:
    return {"role": "assistant", "content": text, "refusal": None, **more}


def echo(body: Json) -> Json:
    """With what its system prompt says in front, so that two prompts make two policies."""
    told = [text_of(one) for one in body["messages"] if one["role"] in ("system", "developer")]
    return says(f"{told[0]}: {text_of(body['messages'][-1])}" if told else text_of(body["messages"][-1]))


def toolsmith(body: Json) -> Json:
    """Calls its first tool twice, and says what came back."""
    seen = [text_of(one) for one in body["messages"] if one["role"] == "tool"]
    if seen:
        return says(f"I saw {' and '.join(seen)}.")
    name = body["tools"][0]["function"]["name"]
    return says("I look.", tool_calls=[call(name, city="Oslo"), call(name, city="Rome")])


def clerk(body: Json) -> Json:
    """Hands over where it can, else asks its first tool once, else answers."""
    messages, tools = body["messages"], [tool["function"] for tool in body.get("tools", ())]
    names = {call["id"]: call["function"]["name"] for one in messages for call in one.get("tool_calls") or ()}
    over = [tool["name"] for tool in tools if tool["name"].startswith("transfer_to_")]
    if over:
        return says(None, tool_calls=[call(over[0])])
    if tools and names.get(messages[-1].get("tool_call_id")) != tools[0]["name"]:
        arguments = dict.fromkeys(tools[0]["parameters"]["properties"], "R-7")
        return says(None, tool_calls=[call(tools[0]["name"], **arguments)])
    return says(f"It is settled: {text_of(messages[-1])}")


def call(name: str, **arguments: str) -> Json:
    """Every call has an id of its own, as with OpenAI."""
    call.made += 1  # type: ignore[attr-defined]
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call_{call.made:06}", "type": "function", "function": function}  # type: ignore[attr-defined]


call.made = 0  # type: ignore[attr-defined]

SCRIPTS: Mapping[str, Script] = {
    "echo": echo,
    "gpt-4o-mini": echo,
    "toolsmith": toolsmith,
    "clerk": clerk,
    "oslo": lambda body: says(OSLO),
    "refuser": lambda body: says(None, refusal="I may not."),
    "short": lambda body: says("Once upon a"),
    "thinker": lambda body: says("Yes.", reasoning_content="Hm, hm."),
    "sly": echo,  # takes no logprobs
    "strict": echo,  # takes no temperature above 1
}
FINISHES = {"short": "length"}


def text_of(message: Json) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", f"[{part['type']}]") for part in content)


def tokens_of(text: str) -> list[str]:
    """Words with the blank before them, as models have them."""
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)]


# -- whole answers and their chunks --------------------------------------------------------------------------


def _refused(body: Json) -> web.Response | None:
    wrong = {
        "sly": ("logprobs", bool(body.get("logprobs"))),
        "strict": ("temperature", (body.get("temperature") or 0) > 1),
    }
    param, is_wrong = wrong.get(body["model"], ("model", body["model"] not in SCRIPTS))
    if not is_wrong:
        return None
    said = {
        "message": f"{param} is not supported with this model.",
        "type": "invalid_request_error",
        "param": param,
        "code": "unsupported_value",
    }
    return web.json_response({"error": said}, status=400)


def _whole(body: Json) -> Json:
    choices = [_choice(body, index) for index in range(body.get("n") or 1)]
    asked = sum(len(tokens_of(text_of(message))) for message in body["messages"])
    said = sum(len(tokens_of(text_of(choice["message"]))) for choice in choices)
    return {
        "id": "chatcmpl-theirs",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": f"{body['model']}-2026-01-01",
        "service_tier": "default",
        "choices": choices,
        "usage": {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said},
    }


def _choice(body: Json, index: int) -> Json:
    message = SCRIPTS[body["model"]](body)
    if index:
        message["content"] = f"{message['content']} ({index})"
    finish = FINISHES.get(body["model"], "tool_calls" if message.get("tool_calls") else "stop")
    logprobs = None
    if body.get("logprobs"):
        most = body.get("top_logprobs") or 0
        logprobs = {
            "content": [_logprob(token, most) for token in tokens_of(text_of(message))],
            "refusal": None,
        }
    return {"index": index, "message": message, "finish_reason": finish, "logprobs": logprobs}


def _logprob(token: str, most: int) -> Json:
    entry = {"token": token, "logprob": LOGPROB, "bytes": list(token.encode())}
    return {**entry, "top_logprobs": [entry] * most}


def _events(whole: Json, body: Json) -> Iterator[bytes]:
    frame = {name: whole[name] for name in ("id", "created", "model", "service_tier")}
    frame["object"] = "chat.completion.chunk"
    yield b": keep-alive\n\n"
    yield _event({**frame, "choices": [], "prompt_filter_results": []})  # as Azure begins
    speeches = [list(_deltas(choice)) for choice in whole["choices"]]
    for step in range(max(map(len, speeches))):
        for choice, speech in zip(whole["choices"], speeches, strict=True):
            if step < len(speech):
                yield _event({**frame, "choices": [{"index": choice["index"], **speech[step]}]})
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _event({**frame, "choices": [], "usage": whole["usage"]})
    yield b"data: [DONE]\r\n\r\n"


def _deltas(choice: Json) -> Iterator[Json]:
    """One choice in pieces: delta, and what stands beside it."""
    message, entries = choice["message"], (choice["logprobs"] or {}).get("content") or []
    yield {"delta": {"role": "assistant"}, "finish_reason": None}
    yield {"delta": {}, "finish_reason": None}
    for name in ("reasoning_content", "refusal"):
        for token in tokens_of(message[name]) if message.get(name) else ():
            yield {"delta": {name: token}, "finish_reason": None}
    for place, token in enumerate(tokens_of(message["content"]) if message["content"] else ()):
        logprobs = {"content": [entries[place]], "refusal": None} if entries else None
        yield {"delta": {"content": token}, "finish_reason": None, "logprobs": logprobs}
        yield {"delta": {"content": ""}, "finish_reason": None, "logprobs": None}
    for place, one in enumerate(message.get("tool_calls", ())):
        function = one["function"]
        head = {**one, "index": place, "function": {"name": function["name"], "arguments": ""}}
        yield {"delta": {"tool_calls": [head]}, "finish_reason": None}
        for start in range(0, len(function["arguments"]), CRUMB):
            crumb = {"index": place, "function": {"arguments": function["arguments"][start : start + CRUMB]}}
            yield {"delta": {"tool_calls": [crumb]}, "finish_reason": None}
    yield {"delta": {}, "finish_reason": choice["finish_reason"], "logprobs": None}


def _event(data: Json) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\r\n\r\n"


def _cut(whole: bytes, size: int = 301) -> Sequence[bytes]:
    """Where nobody expects it: in the middle of a line, of a letter, of a line's end."""
    return [whole[start : start + size] for start in range(0, len(whole), size)]
