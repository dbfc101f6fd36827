"""Ask a policy for answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from heedful.domain.content import Message, Sampling, Tokens, ToolCall
from heedful.domain.models import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    text: str
    finish: str  # stop, length, tool_calls, content_filter
    tool_calls: tuple[ToolCall, ...] = ()
    tokens: Tokens | None = None  # where the engine gives them
    prompt_tokens: int | None = None


class Inference(Protocol):
    """Answers of one kind of policy.

    Every adapter keeps these promises (tests/contract/test_inference.py):
    - `complete` gives exactly `n` answers to the one request, or raises;
    - with a seed in `sampling`, the same request gives the same answers;
    - requests that are waiting together may be served together, and each gets its own answers;
    - a policy is made ready on its first request, or before it with `prepare`.

    Raises `Unavailable` when the other side does not answer in time.
    """

    async def complete(
        self, policy: Policy, messages: Sequence[Message], *, sampling: Sampling, n: int = 1
    ) -> list[Answer]: ...

    async def prepare(self, policy: Policy) -> None: ...

    async def close(self) -> None: ...
