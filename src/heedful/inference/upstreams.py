"""Send each policy to what can answer for it: weights to the local engine, others to their upstream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

from heedful.dialect.chat import Wire
from heedful.domain.models import External, Policy
from heedful.errors import Misconfigured
from heedful.inference.protocol import Inference


class Upstreams:
    """Itself an `Inference`: the rest of the house sees only this."""

    def __init__(self, local: Inference, named: Mapping[str, Inference]) -> None:
        self._local = local
        self._named = named

    async def chat(self, policy: Policy, asked: Wire) -> Wire:
        return await self._of(policy).chat(policy, asked)

    def stream(self, policy: Policy, asked: Wire) -> AsyncGenerator[Wire, None]:
        return self._of(policy).stream(policy, asked)

    async def forward(self, policy: Policy, path: str, asked: Wire) -> Wire:
        return await self._of(policy).forward(policy, path, asked)

    async def prepare(self, policy: Policy) -> None:
        await self._of(policy).prepare(policy)

    async def close(self) -> None:
        for inference in (self._local, *self._named.values()):
            await inference.close()

    def _of(self, policy: Policy) -> Inference:
        if not isinstance(policy.body, External):
            return self._local
        found = self._named.get(policy.body.upstream)
        if found is None:
            known = ", ".join(sorted(self._named)) or "none"
            raise Misconfigured(
                f"upstream {policy.body.upstream!r} is not in the settings: they have {known}"
            )
        return found
