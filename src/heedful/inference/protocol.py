"""Ask a policy for answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from heedful.dialect import chat
from heedful.dialect.chat import Wire
from heedful.domain.content import Answer, Message, Sampling
from heedful.domain.models import Policy


class Inference(Protocol):
    """Answers of one kind of policy, in the words of OpenAI's chat completions (`dialect/chat.py`).

    Every adapter keeps these promises (tests/contract/test_inference.py):
    - `chat` gives a completion with exactly as many choices as the request's `n`, or raises;
    - `stream` gives the same in chunks as they come, and has ended or raised before its time is over;
      closing it early lets go of everything that it held;
    - with a seed in the request, the same request gives the same answers;
    - requests that are waiting together may be served together, and each gets its own answers;
    - fields of the request that an adapter does not know go on to whoever may know them;
    - a policy is made ready on its first request, or before it with `prepare`.

    Raises `Unavailable` when the other side does not answer in time or sends rubbish, `Busy` when it asks to
    wait, `Declined` when it does not take this request.
    """

    async def chat(self, policy: Policy, asked: Wire) -> Wire: ...

    def stream(self, policy: Policy, asked: Wire) -> AsyncGenerator[Wire, None]: ...

    async def forward(self, policy: Policy, path: str, asked: Wire) -> Wire:
        """Any other request that the policy's server may know, such as `embeddings`: the answer as it came."""
        ...

    async def prepare(self, policy: Policy) -> None: ...

    async def close(self) -> None: ...


async def complete(
    inference: Inference, policy: Policy, messages: Sequence[Message], *, sampling: Sampling, n: int = 1
) -> list[Answer]:
    """`n` answers in our values, for those inside the house who ask."""
    asked = chat.request(messages, sampling, n)
    return chat.answers_of(await inference.chat(policy, asked))
