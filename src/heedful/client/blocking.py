"""The client of a program that waits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, overload

import httpx

from heedful.client import traced
from heedful.client.calls import Said
from heedful.client.episode import Episode
from heedful.client.patience import Patience, only, tried
from heedful.client.plan import Blocking, Call, Came, Plan, Wait
from heedful.client.requests import Requests, key_header
from heedful.client.spool import Spool
from heedful.wire import FeedbackIn, Kept

T = TypeVar("T")


class Client(Requests, Blocking):
    """For a program that waits. Methods raise what the server raised, or `Unavailable`.

    `feedback_key` is used for feedback where `key` may not give it: an agent's key asks, a product's key says.
    `spool` is a folder in which feedback waits while the server is away; without one it is tried again and
    then raises.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        feedback_key: str | None = None,
        timeout: float = 60.0,
        patience: Patience | None = None,
        spool: str | Path | Spool | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(url, key, feedback_key=feedback_key, timeout=timeout, patience=patience, spool=spool)
        self._http = httpx.Client(
            base_url=url, headers=key_header(key), timeout=timeout, transport=transport, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """What waits in the spool is sent if that is possible soon; else it stays there for the next."""
        self._close()
        self._http.close()

    def flush(self, seconds: float = 30.0) -> bool:
        """Wait until nothing waits in the spool. False when that did not happen in time."""
        return self._flush(seconds)

    def run(self, plan: Plan[T]) -> T:
        came: Came = None
        while True:
            try:
                step = plan.send(came)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Wait):
                time.sleep(step.seconds)
                came = None
            else:
                came = self._attempt(step)

    def _attempt(self, call: Call[Any]) -> httpx.Response | httpx.TransportError:
        try:
            return self._http.request(
                call.method, call.path, json=call.body, params=call.params, headers=call.headers
            )
        except httpx.TransportError as error:
            return error

    def send(self, call: Call[T]) -> T:
        """Any request that `ask` describes."""
        return self.run(tried(call, self.patience))

    @overload
    def feedback(self, said: Said) -> Kept: ...
    @overload
    def feedback(self, said: Sequence[Said]) -> list[Kept]: ...
    def feedback(self, said: Said | Sequence[Said]) -> Kept | list[Kept]:
        """One piece, or up to 1000: then each has its own result, and none raises."""
        if isinstance(said, Mapping | FeedbackIn):
            return only(self.run(self.say([said])))
        return self.run(self.say(said))

    def episode(self, id: str | None = None, *, agent: str | None = None, **fields: Any) -> Episode:
        """A task for a `with` block. `fields` are those of `wire.EpisodeIn`: user, product, segment …"""
        return Episode(self, id=id, agent=agent, fields=fields)

    def traced(
        self,
        *,
        agent: str | None = None,
        user: traced.User = None,
        **fields: Any,
    ) -> traced.Decorator:
        """Every call of the function is an episode. `user` may be read off the function's own arguments."""
        return traced.blocking(self.episode, agent=agent, user=user, fields=fields)
