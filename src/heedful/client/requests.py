"""What both clients can be asked, listed once: each has these methods, and returns or awaits what they give."""

from __future__ import annotations

import atexit
import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from heedful.client.calls import FEEDBACK_PATH, Json, Said, ask
from heedful.client.courier import EXIT_SECONDS, Courier
from heedful.client.patience import Patience, passing, tried, tried_by_piece
from heedful.client.plan import Call, Does, Plan
from heedful.client.spool import Spool, Spooled
from heedful.errors import Busy, Unavailable
from heedful.wire import Kept

T = TypeVar("T")
P = ParamSpec("P")

ONCE = Patience(attempts=1)  # with a spool nobody waits


def asks(describe: Callable[P, Call[T]]) -> Does[P, T]:
    """A method that sends what `describe` describes."""

    def plan(client: Requests, /, *arguments: P.args, **named: P.kwargs) -> Plan[T]:
        return tried(describe(*arguments, **named), client.patience)

    functools.update_wrapper(plan, describe)  # its words, and its arguments for whoever asks
    return Does(plan)


class Requests:
    """Methods raise what the server raised, or `Unavailable`."""

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        feedback_key: str | None,
        timeout: float,
        patience: Patience | None,
        spool: str | Path | Spool | None,
    ) -> None:
        self.patience = patience or Patience()
        self._feedback_headers = key_header(feedback_key)
        self._spool = Spool(spool) if isinstance(spool, str | Path) else spool
        self._courier: Courier | None = None
        if self._spool is not None:
            self._courier = Courier(
                self._spool,
                url=url,
                headers={FEEDBACK_PATH: key_header(feedback_key or key), "": key_header(key)},
                timeout=timeout,
            )
            atexit.register(self._courier.close)

    complete = asks(ask.complete)
    begin_episode = asks(ask.begin_episode)
    end_episode = asks(ask.end_episode)
    get_episode = asks(ask.one("episodes"))
    turn = asks(ask.one("turns"))
    make_queue = asks(ask.make_queue)
    queue = asks(ask.one("queues"))
    lease = asks(ask.lease)
    items = asks(ask.items)
    set_gold = asks(ask.set_gold)
    policy = asks(ask.one("policies"))
    policies = asks(ask.all("policies"))
    release_policy = asks(ask.release_policy)
    release = asks(ask.one("releases"))
    releases = asks(ask.all("releases"))
    roll_back = asks(ask.roll_back)
    start_cycle = asks(ask.start_cycle)
    cycle = asks(ask.one("cycles"))
    cycles = asks(ask.all("cycles"))
    why = asks(ask.why)
    status = asks(ask.status)
    issue_key = asks(ask.issue_key)
    keys = asks(ask.keys)
    revoke_key = asks(ask.revoke_key)

    @Does
    def adopt(
        self,
        agent: str,
        body: Mapping[str, Any],
        *,
        sampling: Mapping[str, Any] | None = None,
        once: str | None = None,
    ) -> Plan[Json]:
        """Take a policy in; with `once`, release it too, and only once."""
        policy = yield from tried(ask.adopt(agent, body, sampling=sampling), self.patience)
        if once is not None:
            yield from tried(ask.release_policy(policy["id"], once=once), self.patience)
        return policy

    # -- what may wait here until the server is back -----------------------------------------------------

    def say(self, said: Sequence[Said]) -> Plan[list[Kept]]:
        """Feedback, each piece with its own result."""
        call = ask.feedback(said)
        if self._feedback_headers:
            call = replace(call, headers=self._feedback_headers)
        if self._spool is None:
            return (yield from tried_by_piece(call, self.patience))
        results: list[Kept] = [Spooled(id=one["id"], status="kept") for one in call.body]
        if not self._spool.waiting:  # else behind what waits already
            with contextlib.suppress(Busy, Unavailable):
                answered = yield from tried(call, ONCE)
                again = passing(answered)
                results = [results[at] if at in again else one for at, one in enumerate(answered)]
        self._put(
            [
                (call.path, one)
                for one, result in zip(call.body, results, strict=True)
                if isinstance(result, Spooled)
            ]
        )
        return results

    def tell(self, call: Call[Json]) -> Plan[None]:
        """A request whose answer nobody needs."""
        if self._spool is None:
            yield from tried(call, self.patience)
            return
        if not self._spool.waiting:
            with contextlib.suppress(Busy, Unavailable):
                yield from tried(call, ONCE)
                return
        self._put([(call.path, call.body)])

    def _put(self, requests: Sequence[tuple[str, Any]]) -> None:
        if requests and self._spool is not None and self._courier is not None:
            self._spool.put(requests)
            self._courier.wake()

    @property
    def waiting(self) -> int:
        """Bytes in the spool."""
        return 0 if self._spool is None else self._spool.waiting

    def _flush(self, seconds: float) -> bool:
        return self._courier is None or self._courier.flush(seconds)

    def _close(self) -> None:
        if self._courier is not None:
            atexit.unregister(self._courier.close)
            self._courier.close(EXIT_SECONDS)


def key_header(key: str | None) -> dict[str, str]:
    return {} if key is None else {"authorization": f"Bearer {key}"}
