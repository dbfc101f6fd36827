"""Answers from a function of this process: for agents that follow rules, and for tests.

Only functions named in the settings can be reached: a policy that comes over the API picks one by name, it
can never bring code.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence

from heedful.domain.content import Message, Sampling
from heedful.domain.models import External, Policy
from heedful.errors import Misconfigured
from heedful.inference.protocol import Answer

Script = Callable[[Sequence[Message]], str]


class ScriptedInference:
    """`scripts` maps a name to the dotted path of a function from messages to text."""

    def __init__(self, scripts: Mapping[str, str]) -> None:
        self._scripts = {name: _load(name, path) for name, path in scripts.items()}

    async def complete(
        self, policy: Policy, messages: Sequence[Message], *, sampling: Sampling, n: int = 1
    ) -> list[Answer]:
        script = self._script(policy)
        return [Answer(text=script(messages), finish="stop") for _ in range(n)]

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
