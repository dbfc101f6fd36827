"""Answers from a function of this process: for agents that follow rules, and for tests.

Only functions named in the settings can be reached: a policy that comes over the API picks one by name, it
can never bring code.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from heedful.dialect import chat
from heedful.dialect.chat import Wire
from heedful.domain.content import Answer, Message
from heedful.domain.models import External, Policy
from heedful.errors import InvalidInput, Misconfigured

Script = Callable[[Sequence[Message]], str | Answer]


class ScriptedInference:
    """`scripts` maps a name to the dotted path of a function from messages to text, or to a whole `Answer`."""

    def __init__(self, scripts: Mapping[str, str]) -> None:
        self._scripts = {name: _load(name, path) for name, path in scripts.items()}

    async def chat(self, policy: Policy, asked: Wire) -> Wire:
        script, messages = self._script(policy), chat.messages_of(asked["messages"])
        said = [script(messages) for _ in range(asked.get("n") or 1)]
        return chat.reply_of(
            [Answer(text=one, finish="stop") if isinstance(one, str) else one for one in said]
        )

    async def stream(self, policy: Policy, asked: Wire) -> AsyncGenerator[Wire, None]:
        for chunk in chat.chunks_of(await self.chat(policy, asked)):
            yield chunk

    async def forward(self, policy: Policy, path: str, asked: Wire) -> Wire:
        raise InvalidInput(f"policy {policy.id!r} is a script: it knows no {path}", field="model")

    async def prepare(self, policy: Policy) -> None:
        self._script(policy)

    async def close(self) -> None:
        return None

    def _script(self, policy: Policy) -> Script:
        body = policy.body
        if not isinstance(body, External) or body.model not in self._scripts:
            known = ", ".join(sorted(self._scripts)) or "none"
            raise Misconfigured(
                f"policy {policy.id!r} asks for a script that the settings do not name: they have {known}"
            )
        return self._scripts[body.model]


def _load(name: str, path: str) -> Script:
    try:
        module, function = path.split(":")
        script: Script = getattr(importlib.import_module(module), function)
    except (ValueError, ImportError, AttributeError) as error:
        raise Misconfigured(f"inference.scripts.{name} is {path!r}, which does not load: {error}") from error
    return script
