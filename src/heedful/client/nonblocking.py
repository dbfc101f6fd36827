"""The client of a program that does more than wait."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, overload

import httpx

from heedful.client import traced
from heedful.client.calls import Said
from heedful.client.episode import AsyncEpisode
from heedful.client.patience import Patience, only, tried
from heedful.client.plan import Call, Came, Nonblocking, Plan, Wait
from heedful.client.requests import Requests, key_header
from heedful.client.spool import Spool
from heedful.wire import FeedbackIn, Kept

T = TypeVar("T")


class AsyncClient(Requests, Nonblocking):
    """As `Client`, for a program that does more than wait."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        feedback_key: str | None = None,
        timeout: float = 60.0,
        patience: Patience | None = None,
        spool: str | Path | Spool | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(url, key, feedback_key=feedback_key, timeout=timeout, patience=patience, spool=spool)
        self._http = httpx.AsyncClient(
            base_url=url, headers=key_header(key), timeout=timeout, transport=transport, trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """What waits in the spool is sent if that is possible soon; else it stays there for the next."""
        await asyncio.to_thread(self._close)
        await self._http.aclose()

    async def flush(self, seconds: float = 30.0) -> bool:
        """Wait until nothing waits in the spool. False when that did not happen in time."""
        return await asyncio.to_thread(self._flush, seconds)

    async def run(self, plan: Plan[T]) -> T:
        came: Came = None
        while True:
            try:
                step = plan.send(came)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Wait):
                await asyncio.sleep(step.seconds)
                came = None
            else:
                came = await self._attempt(step)

    async def _attempt(self, call: Call[Any]) -> httpx.Response | httpx.TransportError:
        try:
            return await self._http.request(
                call.method, call.path, json=call.body, params=call.params, headers=call.headers
            )
        except httpx.TransportError as error:
            return error

    async def send(self, call: Call[T]) -> T:
        """Any request that `ask` describes."""
        return await self.run(tried(call, self.patience))

    @overload
    async def feedback(self, said: Said) -> Kept: ...
    @overload
    async def feedback(self, said: Sequence[Said]) -> list[Kept]: ...
    async def feedback(self, said: Said | Sequence[Said]) -> Kept | list[Kept]:
        """One piece, or up to 1000: then each has its own result, and none raises."""
        if isinstance(said, Mapping | FeedbackIn):
            return only(await self.run(self.say([said])))
        return await self.run(self.say(said))

    def episode(self, id: str | None = None, *, agent: str | None = None, **fields: Any) -> AsyncEpisode:
        """A task for an `async with` block. `fields` are those of `wire.EpisodeIn`: user, product …"""
        return AsyncEpisode(self, id=id, agent=agent, fields=fields)

    def traced(
        self,
        *,
        agent: str | None = None,
        user: traced.User = None,
        **fields: Any,
    ) -> traced.AsyncDecorator:
        """Every call of the function is an episode. `user` may be read off the function's own arguments."""
        return traced.nonblocking(self.episode, agent=agent, user=user, fields=fields)
