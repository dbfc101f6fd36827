"""Answers from any OpenAI-compatible server: vLLM, a hosted model, another Heedful."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import aiohttp
from pydantic import BaseModel, ConfigDict, Field

from heedful.domain.content import Message, Sampling, Tokens, ToolCall
from heedful.domain.models import External, Policy
from heedful.errors import Misconfigured, Unavailable
from heedful.inference.protocol import Answer


class UpstreamSettings(BaseModel):
    """A server that answers for external policies."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    url: str
    """Base address, with the version: `http://localhost:8000/v1`."""

    key_from: str | None = None
    """Name of the environment variable that holds the key. The key itself never enters a file."""

    timeout: float = Field(60.0, gt=0)
    """Seconds until an answer counts as lost."""


class OpenAIInference:
    def __init__(self, settings: UpstreamSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def complete(
        self, policy: Policy, messages: Sequence[Message], *, sampling: Sampling, n: int = 1
    ) -> list[Answer]:
        body = policy.body
        if not isinstance(body, External):
            raise Misconfigured(f"policy {policy.id!r} is {body.kind}: an upstream serves external policies")
        asked: dict[str, Any] = {
            "model": body.model,
            "messages": [_wire(message) for message in (*body.prompt, *messages)],
            "n": n,
            "logprobs": True,
            **_sampling(sampling),
        }
        try:
            async with self._open().post(
                f"{self._settings.url.rstrip('/')}/chat/completions", json=asked
            ) as response:
                if response.status >= 400:
                    words = await response.text(errors="replace")
                    raise Unavailable(f"upstream {body.upstream!r} says {response.status}: {words[:300]}")
                said = await response.json(content_type=None)
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise Unavailable(f"upstream {body.upstream!r} does not answer: {error!r}") from error
        try:
            answers = [_answer(choice, said.get("usage") or {}) for choice in said["choices"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise Unavailable(
                f"upstream {body.upstream!r} sent no chat completion: {str(said)[:300]}"
            ) from error
        if len(answers) != n:
            raise Unavailable(
                f"upstream {body.upstream!r} sent {len(answers)} answers, {n} were asked for: "
                "does it know `n`?"
            )
        return answers

    async def prepare(self, policy: Policy) -> None:
        self._open()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers = {}
            if self._settings.key_from is not None:
                key = os.environ.get(self._settings.key_from)
                if not key:
                    raise Misconfigured(
                        f"the environment variable {self._settings.key_from} is empty: "
                        "it holds the upstream's key"
                    )
                headers["authorization"] = f"Bearer {key}"
            self._session = aiohttp.ClientSession(
                headers=headers,
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout),
            )
        return self._session


def _wire(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": str(message.role), "content": message.text}
    if message.name:
        wire["name"] = message.name
    if message.tool_call_id:
        wire["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        wire["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return wire


def _sampling(sampling: Sampling) -> dict[str, Any]:
    named = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
    }
    return {**(sampling.extra or {}), **{name: value for name, value in named.items() if value is not None}}


def _answer(choice: dict[str, Any], usage: dict[str, Any]) -> Answer:
    message = choice["message"]
    content = ((choice.get("logprobs") or {}).get("content")) or []
    ids = [entry["token_id"] for entry in content if isinstance(entry.get("token_id"), int)]
    whole = bool(content) and len(ids) == len(content)
    return Answer(
        text=message.get("content") or "",
        finish=choice.get("finish_reason") or "stop",
        tool_calls=tuple(
            ToolCall(id=call["id"], name=call["function"]["name"], arguments=call["function"]["arguments"])
            for call in message.get("tool_calls") or ()
        ),
        tokens=Tokens(ids=tuple(ids), logprobs=tuple(entry["logprob"] for entry in content))
        if whole
        else None,
        prompt_tokens=usage.get("prompt_tokens"),
    )
