"""What a fleet and a product import to talk to a Heedful server.

`Client` and `AsyncClient` send the same requests, described once in `ask`. Whatever may be sent twice is: ids
are made here, before the first attempt, so that a lost answer costs a repetition and never a second record.

    with Client("http://127.0.0.1:8080") as heedful:
        answer = heedful.complete("resolver", [{"role": "user", "content": "Where is my parcel?"}])
        heedful.feedback({"turn": answer.turn, "said": {"form": "thumbs", "up": True}})
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random, SystemRandom
from typing import Any, Generic, Self, TypeVar, overload
from urllib.parse import quote

import httpx

from heedful import errors
from heedful.domain.clock import WallClock
from heedful.domain.ids import mint
from heedful.errors import Busy, HeedfulError, InvalidInput, Unavailable
from heedful.wire import ErrorOut, Kept, KeyIssued

T = TypeVar("T")
Json = dict[str, Any]
Messages = Sequence[Mapping[str, Any]]
Said = Mapping[str, Any]  # a `wire.FeedbackIn` as JSON

ATTEMPTS = 8
FIRST_WAIT, LONGEST_WAIT = 0.2, 20.0  # seconds between attempts
PASSING = frozenset({429, 502, 503, 504})
BY_STATUS: Mapping[int, type[HeedfulError]] = {
    400: InvalidInput,
    401: errors.NotKnown,
    403: errors.NotAllowed,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    422: InvalidInput,
    429: errors.TooFast,
}
KINDS: Mapping[str, type[HeedfulError]] = {
    re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, HeedfulError)
}
"""By the code in an error's body: the class that the server raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An agent's answer, and where it is on record."""

    text: str
    turn: str  # what feedback is about
    policy: str  # which policy answered
    episode: str
    finish: str
    turns: tuple[str, ...]  # all of them, when several answers were asked for
    raw: Json = field(repr=False)  # as OpenAI's clients get it


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    body: Any = None
    params: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None
    again: bool = True  # may be sent a second time when nobody knows what became of the first


# -- what can be asked -------------------------------------------------------------------------------------


_random = SystemRandom()
_clock = WallClock()


def new_id(kind: str) -> str:
    """An id as the server makes them."""
    return mint(kind, _clock.now(), _random)


def _json(response: httpx.Response) -> Json:
    said: Json = response.json()
    return said


def _list(name: str) -> Callable[[httpx.Response], list[Json]]:
    return lambda response: list(response.json()[name])


def _at(*parts: str) -> str:
    return "/".join(quote(part, safe="/:@") for part in parts)


def _given(**fields: Any) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


class ask:
    """Every request, described once."""

    @staticmethod
    def feedback(said: Sequence[Said]) -> Call[list[Kept]]:
        now = _clock.now().isoformat()
        whole = [{"id": new_id("feedback"), "at": now, **one} for one in said]
        return Call(
            method="POST",
            path="/v1/feedback",
            body=whole,
            read=lambda response: [Kept.model_validate(one) for one in response.json()["results"]],
        )

    @staticmethod
    def complete(
        agent: str,
        messages: Messages,
        *,
        episode: str | None,
        user: str | None,
        to: str | None,
        parent: str | None,
        turn: str | None,
        context: Mapping[str, Any] | None,
        more: Mapping[str, Any],
    ) -> Call[Completion]:
        where = _given(episode=episode, user=user, to=to, parent=parent, **(context or {}))
        where["turn"] = turn or new_id("turn")
        where.setdefault("episode", new_id("episode"))
        return Call(
            method="POST",
            path="/v1/chat/completions",
            body={"model": agent, "messages": [dict(one) for one in messages], "heedful": where, **more},
            read=_completion,
        )

    @staticmethod
    def begin_episode(fields: Mapping[str, Any]) -> Call[Json]:
        return Call(method="POST", path="/v1/episodes", body={"id": new_id("episode"), **fields}, read=_json)

    @staticmethod
    def end_episode(id: str, *, state: str, outcome: float | None) -> Call[Json]:
        body = _given(state=state, outcome=outcome)
        return Call(method="POST", path=_at("/v1/episodes", id, "end"), body=body, read=_json)

    @staticmethod
    def lease(queue: str, *, rater: str | None, limit: int) -> Call[list[Json]]:
        # Not again: a lease whose answer was lost is given out once more when its time is over.
        return Call(
            method="POST",
            path=_at("/v1/queues", queue, "lease"),
            body=_given(rater=rater, limit=limit),
            read=_list("assignments"),
            again=False,
        )

    @staticmethod
    def make_queue(fields: Mapping[str, Any]) -> Call[Json]:
        return Call(method="POST", path="/v1/queues", body={"id": new_id("queue"), **fields}, read=_json)

    @staticmethod
    def items(queue: str, *, state: str | None, limit: int) -> Call[list[Json]]:
        params = _given(queue=queue, state=state, limit=limit)
        return Call(method="GET", path="/v1/items", params=params, read=_list("items"))

    @staticmethod
    def set_gold(item: str, gold: Mapping[str, Any]) -> Call[Json]:
        return Call(method="POST", path=_at("/v1/items", item, "gold"), body=dict(gold), read=_json)

    @staticmethod
    def adopt(agent: str, body: Mapping[str, Any], *, sampling: Mapping[str, Any] | None) -> Call[Json]:
        said = _given(agent=agent, body=dict(body), sampling=sampling)
        return Call(method="POST", path="/v1/policies", body=said, read=_json)

    @staticmethod
    def begin_release(
        policy: str, *, steps: Sequence[float] | None, override: str | None, once: str | None
    ) -> Call[Json]:
        body = _given(policy=policy, steps=steps, override=override, once=once or new_id("client"))
        return Call(method="POST", path="/v1/releases", body=body, read=_json)

    @staticmethod
    def roll_back(release: str, *, reason: str) -> Call[Json]:
        return Call(
            method="POST",
            path=_at("/v1/releases", release, "rollback"),
            body={"reason": reason},
            read=_json,
        )

    @staticmethod
    def start_cycle(
        agent: str, *, kind: str, id: str | None, options: Mapping[str, Any] | None
    ) -> Call[Json]:
        body = {"id": id or new_id("cycle"), "agent": agent, "kind": kind, "options": dict(options or {})}
        return Call(method="POST", path="/v1/cycles", body=body, read=_json)

    @staticmethod
    def get(kind: str, id: str) -> Call[Json]:
        return Call(method="GET", path=_at("/v1", kind, id), read=_json)

    @staticmethod
    def find(kind: str, *, agent: str | None = None) -> Call[list[Json]]:
        return Call(method="GET", path=f"/v1/{kind}", params=_given(agent=agent), read=_list(kind))

    @staticmethod
    def why(kind: str, id: str) -> Call[Json]:
        return Call(method="GET", path=_at("/v1/why", kind, id), read=_json)

    @staticmethod
    def status() -> Call[Json]:
        return Call(method="GET", path="/v1/status", read=_json)

    @staticmethod
    def issue_key(scope: str, fields: Mapping[str, Any]) -> Call[KeyIssued]:
        # Not again: a key whose text was lost is of no use, and two are one too many.
        return Call(
            method="POST",
            path="/v1/keys",
            body={"scope": scope, **fields},
            read=lambda response: KeyIssued.model_validate(response.json()),
            again=False,
        )

    @staticmethod
    def revoke_key(id: str) -> Call[Json]:
        return Call(method="DELETE", path=_at("/v1/keys", id), read=_json)


def _completion(response: httpx.Response) -> Completion:
    raw = response.json()
    first = raw["choices"][0]
    return Completion(
        text=first["message"]["content"] or "",
        turn=raw["id"],
        policy=response.headers["x-heedful-policy"],
        episode=response.headers["x-heedful-episode"],
        finish=first["finish_reason"],
        turns=tuple(choice["turn"] for choice in raw["choices"]),
        raw=raw,
    )


# -- errors and patience -----------------------------------------------------------------------------------


def _failure(response: httpx.Response) -> HeedfulError:
    """What the server says, as the exception that it was there."""
    try:
        said = ErrorOut.model_validate(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        said = ErrorOut(message=f"the server says {response.status_code} and not why", type="", code="")
    kind = KINDS.get(said.code) or BY_STATUS.get(response.status_code, Unavailable)
    return _error(kind, said, _asked_to_wait(response) or 1.0)


def _error(kind: type[HeedfulError], said: ErrorOut, retry_after: float = 1.0) -> HeedfulError:
    if issubclass(kind, Busy):
        return kind(said.message, retry_after=retry_after)
    return kind(said.message, field=said.param)


def _asked_to_wait(response: httpx.Response) -> float | None:
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None


@dataclass
class Patience:
    """How often and after how long something is tried again."""

    attempts: int = ATTEMPTS
    first: float = FIRST_WAIT  # seconds after the first attempt, then twice as many each time
    longest: float = LONGEST_WAIT
    random: Random = field(default_factory=SystemRandom)

    def after_answer(self, call: Call[Any], response: httpx.Response, attempt: int) -> float | None:
        """Seconds to wait before the next attempt; None when this answer is final."""
        if response.status_code not in PASSING or attempt >= self.attempts:
            return None
        if not call.again and response.status_code in {502, 504}:
            return None  # nobody knows whether it was done
        asked = _asked_to_wait(response)
        return self.jittered(attempt) if asked is None else asked + self.random.uniform(0, 0.5 * self.first)

    def after_silence(self, call: Call[Any], error: httpx.TransportError, attempt: int) -> float | None:
        never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        if attempt >= self.attempts or not (call.again or never_sent):
            return None
        return self.jittered(attempt)

    def jittered(self, attempt: int) -> float:
        return self.random.uniform(0.5, 1.0) * min(self.longest, self.first * 2.0 ** min(attempt - 1, 30))


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"authorization": f"Bearer {key}"}


def _unanswered(url: httpx.URL, error: httpx.TransportError) -> Unavailable:
    return Unavailable(f"the server at {url} does not answer: {error!r}")


def _one(kept: Sequence[Kept]) -> Kept:
    """The only result, or its error as an exception."""
    (result,) = kept
    if result.error is None:
        return result
    raise _error(KINDS.get(result.error.code, InvalidInput), result.error)


def _passing(kept: Sequence[Kept]) -> list[int]:
    """Places of those that were refused only because the server was busy."""
    codes = ("busy", "unavailable")
    return [place for place, one in enumerate(kept) if one.error is not None and one.error.code in codes]


def _some(call: Call[list[Kept]], places: Sequence[int]) -> Call[list[Kept]]:
    return Call(
        method=call.method,
        path=call.path,
        body=[call.body[place] for place in places],
        read=call.read,
    )


# -- the two clients ---------------------------------------------------------------------------------------


class Client:
    """For a program that waits. Methods raise what the server raised, or `Unavailable`."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        patience: Patience | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._http = httpx.Client(
            base_url=url, headers=_headers(key), timeout=timeout, transport=transport, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """Any request that `ask` describes."""
        attempt = 0
        while True:
            attempt += 1
            try:
                response = self._http.request(
                    call.method, call.path, json=call.body, params=call.params, headers=call.headers
                )
            except httpx.TransportError as error:
                wait = self._patience.after_silence(call, error, attempt)
                if wait is None:
                    raise _unanswered(self._http.base_url, error) from error
            else:
                if response.is_success:
                    return call.read(response)
                wait = self._patience.after_answer(call, response, attempt)
                if wait is None:
                    raise _failure(response)
            time.sleep(wait)

    @overload
    def feedback(self, said: Said) -> Kept: ...
    @overload
    def feedback(self, said: Sequence[Said]) -> list[Kept]: ...
    def feedback(self, said: Said | Sequence[Said]) -> Kept | list[Kept]:
        """One piece, or up to 1000: then each has its own result, and none raises."""
        if isinstance(said, Mapping):
            return _one(self._feedback([said]))
        return self._feedback(said)

    def _feedback(self, said: Sequence[Said]) -> list[Kept]:
        call = ask.feedback(said)
        kept = self.send(call)
        for attempt in range(1, self._patience.attempts):
            places = _passing(kept)
            if not places:
                break
            time.sleep(self._patience.jittered(attempt))
            repeated: list[Kept] = self.send(_some(call, places))
            for place, one in zip(places, repeated, strict=True):
                kept[place] = one
        return kept

    def complete(
        self,
        agent: str,
        messages: Messages,
        *,
        episode: str | None = None,
        user: str | None = None,
        to: str | None = None,
        parent: str | None = None,
        turn: str | None = None,
        context: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Completion:
        """Ask an agent. `context` takes the other fields of `wire.TurnContext`, `more` those of OpenAI."""
        return self.send(
            ask.complete(
                agent,
                messages,
                episode=episode,
                user=user,
                to=to,
                parent=parent,
                turn=turn,
                context=context,
                more=more,
            )
        )

    def begin_episode(self, **fields: Any) -> Json:
        return self.send(ask.begin_episode(fields))

    def end_episode(self, id: str, *, state: str = "done", outcome: float | None = None) -> Json:
        return self.send(ask.end_episode(id, state=state, outcome=outcome))

    def episode(self, id: str) -> Json:
        return self.send(ask.get("episodes", id))

    def turn(self, id: str) -> Json:
        return self.send(ask.get("turns", id))

    def make_queue(self, **fields: Any) -> Json:
        return self.send(ask.make_queue(fields))

    def queue(self, id: str) -> Json:
        return self.send(ask.get("queues", id))

    def lease(self, queue: str, *, rater: str | None = None, limit: int = 10) -> list[Json]:
        """Work: `{"assignment": …, "item": …}` for each. Answer with `feedback`, naming the assignment."""
        return self.send(ask.lease(queue, rater=rater, limit=limit))

    def items(self, queue: str, *, state: str | None = None, limit: int = 100) -> list[Json]:
        return self.send(ask.items(queue, state=state, limit=limit))

    def set_gold(self, item: str, **gold: Any) -> Json:
        return self.send(ask.set_gold(item, gold))

    def adopt(
        self,
        agent: str,
        body: Mapping[str, Any],
        *,
        sampling: Mapping[str, Any] | None = None,
        once: str | None = None,
    ) -> Json:
        """Take a policy in; with `once`, release it too, and only once."""
        policy = self.send(ask.adopt(agent, body, sampling=sampling))
        if once is not None:
            self.release_policy(policy["id"], once=once)
        return policy

    def policy(self, id: str) -> Json:
        return self.send(ask.get("policies", id))

    def policies(self, agent: str | None = None) -> list[Json]:
        return self.send(ask.find("policies", agent=agent))

    def release_policy(
        self,
        policy: str,
        *,
        steps: Sequence[float] | None = None,
        override: str | None = None,
        once: str | None = None,
    ) -> Json:
        return self.send(ask.begin_release(policy, steps=steps, override=override, once=once))

    def release(self, id: str) -> Json:
        return self.send(ask.get("releases", id))

    def releases(self, agent: str | None = None) -> list[Json]:
        return self.send(ask.find("releases", agent=agent))

    def roll_back(self, release: str, *, reason: str) -> Json:
        return self.send(ask.roll_back(release, reason=reason))

    def start_cycle(
        self,
        agent: str,
        *,
        kind: str = "improve",
        id: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Json:
        return self.send(ask.start_cycle(agent, kind=kind, id=id, options=options))

    def cycle(self, id: str) -> Json:
        return self.send(ask.get("cycles", id))

    def cycles(self, agent: str | None = None) -> list[Json]:
        return self.send(ask.find("cycles", agent=agent))

    def why(self, kind: str, id: str) -> Json:
        return self.send(ask.why(kind, id))

    def status(self) -> Json:
        return self.send(ask.status())

    def issue_key(self, scope: str, **fields: Any) -> KeyIssued:
        return self.send(ask.issue_key(scope, fields))

    def keys(self) -> list[Json]:
        return self.send(ask.find("keys"))

    def revoke_key(self, id: str) -> Json:
        return self.send(ask.revoke_key(id))


class AsyncClient:
    """For a program that does more than wait. Methods raise what the server raised, or `Unavailable`."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        patience: Patience | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._http = httpx.AsyncClient(
            base_url=url, headers=_headers(key), timeout=timeout, transport=transport, trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Any request that `ask` describes."""
        attempt = 0
        while True:
            attempt += 1
            try:
                response = await self._http.request(
                    call.method, call.path, json=call.body, params=call.params, headers=call.headers
                )
            except httpx.TransportError as error:
                wait = self._patience.after_silence(call, error, attempt)
                if wait is None:
                    raise _unanswered(self._http.base_url, error) from error
            else:
                if response.is_success:
                    return call.read(response)
                wait = self._patience.after_answer(call, response, attempt)
                if wait is None:
                    raise _failure(response)
            await asyncio.sleep(wait)

    @overload
    async def feedback(self, said: Said) -> Kept: ...
    @overload
    async def feedback(self, said: Sequence[Said]) -> list[Kept]: ...
    async def feedback(self, said: Said | Sequence[Said]) -> Kept | list[Kept]:
        """One piece, or up to 1000: then each has its own result, and none raises."""
        if isinstance(said, Mapping):
            return _one(await self._feedback([said]))
        return await self._feedback(said)

    async def _feedback(self, said: Sequence[Said]) -> list[Kept]:
        call = ask.feedback(said)
        kept = await self.send(call)
        for attempt in range(1, self._patience.attempts):
            places = _passing(kept)
            if not places:
                break
            await asyncio.sleep(self._patience.jittered(attempt))
            repeated: list[Kept] = await self.send(_some(call, places))
            for place, one in zip(places, repeated, strict=True):
                kept[place] = one
        return kept

    async def complete(
        self,
        agent: str,
        messages: Messages,
        *,
        episode: str | None = None,
        user: str | None = None,
        to: str | None = None,
        parent: str | None = None,
        turn: str | None = None,
        context: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Completion:
        """Ask an agent. `context` takes the other fields of `wire.TurnContext`, `more` those of OpenAI."""
        return await self.send(
            ask.complete(
                agent,
                messages,
                episode=episode,
                user=user,
                to=to,
                parent=parent,
                turn=turn,
                context=context,
                more=more,
            )
        )

    async def begin_episode(self, **fields: Any) -> Json:
        return await self.send(ask.begin_episode(fields))

    async def end_episode(self, id: str, *, state: str = "done", outcome: float | None = None) -> Json:
        return await self.send(ask.end_episode(id, state=state, outcome=outcome))

    async def episode(self, id: str) -> Json:
        return await self.send(ask.get("episodes", id))

    async def turn(self, id: str) -> Json:
        return await self.send(ask.get("turns", id))

    async def make_queue(self, **fields: Any) -> Json:
        return await self.send(ask.make_queue(fields))

    async def queue(self, id: str) -> Json:
        return await self.send(ask.get("queues", id))

    async def lease(self, queue: str, *, rater: str | None = None, limit: int = 10) -> list[Json]:
        """Work: `{"assignment": …, "item": …}` for each. Answer with `feedback`, naming the assignment."""
        return await self.send(ask.lease(queue, rater=rater, limit=limit))

    async def items(self, queue: str, *, state: str | None = None, limit: int = 100) -> list[Json]:
        return await self.send(ask.items(queue, state=state, limit=limit))

    async def set_gold(self, item: str, **gold: Any) -> Json:
        return await self.send(ask.set_gold(item, gold))

    async def adopt(
        self,
        agent: str,
        body: Mapping[str, Any],
        *,
        sampling: Mapping[str, Any] | None = None,
        once: str | None = None,
    ) -> Json:
        """Take a policy in; with `once`, release it too, and only once."""
        policy = await self.send(ask.adopt(agent, body, sampling=sampling))
        if once is not None:
            await self.release_policy(policy["id"], once=once)
        return policy

    async def policy(self, id: str) -> Json:
        return await self.send(ask.get("policies", id))

    async def policies(self, agent: str | None = None) -> list[Json]:
        return await self.send(ask.find("policies", agent=agent))

    async def release_policy(
        self,
        policy: str,
        *,
        steps: Sequence[float] | None = None,
        override: str | None = None,
        once: str | None = None,
    ) -> Json:
        return await self.send(ask.begin_release(policy, steps=steps, override=override, once=once))

    async def release(self, id: str) -> Json:
        return await self.send(ask.get("releases", id))

    async def releases(self, agent: str | None = None) -> list[Json]:
        return await self.send(ask.find("releases", agent=agent))

    async def roll_back(self, release: str, *, reason: str) -> Json:
        return await self.send(ask.roll_back(release, reason=reason))

    async def start_cycle(
        self,
        agent: str,
        *,
        kind: str = "improve",
        id: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Json:
        return await self.send(ask.start_cycle(agent, kind=kind, id=id, options=options))

    async def cycle(self, id: str) -> Json:
        return await self.send(ask.get("cycles", id))

    async def cycles(self, agent: str | None = None) -> list[Json]:
        return await self.send(ask.find("cycles", agent=agent))

    async def why(self, kind: str, id: str) -> Json:
        return await self.send(ask.why(kind, id))

    async def status(self) -> Json:
        return await self.send(ask.status())

    async def issue_key(self, scope: str, **fields: Any) -> KeyIssued:
        return await self.send(ask.issue_key(scope, fields))

    async def keys(self) -> list[Json]:
        return await self.send(ask.find("keys"))

    async def revoke_key(self, id: str) -> Json:
        return await self.send(ask.revoke_key(id))
