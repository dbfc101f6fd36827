"""Every request that a server of Heedful takes, described once.

Whatever may be sent twice is: ids are made here, before the first attempt, so that a lost answer costs a
repetition and never a second record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Any, Protocol
from urllib.parse import quote

import httpx

from heedful.client.plan import Call
from heedful.domain.clock import WallClock
from heedful.domain.ids import mint
from heedful.wire import FeedbackIn, Kept, KeyIssued

Json = dict[str, Any]
Messages = str | Sequence[Mapping[str, Any]]  # a text is what the user says
Said = Mapping[str, Any] | FeedbackIn  # a `FeedbackIn`, or the same as JSON

FEEDBACK_PATH = "/v1/feedback"

_random = SystemRandom()
_clock = WallClock()


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


class ById(Protocol):
    def __call__(self, id: str) -> Call[Json]: ...


class OfAgent(Protocol):
    def __call__(self, agent: str | None = None) -> Call[list[Json]]: ...


def new_id(kind: str) -> str:
    """An id as the server makes them."""
    return mint(kind, _clock.now(), _random)


def piece(said: Said) -> Json:
    """Feedback as it is sent, every time: with the id and the moment that it has from now on."""
    fields = said.model_dump(mode="json") if isinstance(said, FeedbackIn) else said
    given = {name: value for name, value in fields.items() if value is not None}
    return {"id": new_id("feedback"), "at": _clock.now().isoformat(), **given}


def as_messages(messages: Messages) -> list[Json]:
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    return [dict(one) for one in messages]


class ask:
    """Every request."""

    @staticmethod
    def feedback(said: Sequence[Said]) -> Call[list[Kept]]:
        return Call(
            method="POST",
            path=FEEDBACK_PATH,
            body=[piece(one) for one in said],
            read=lambda response: [Kept.model_validate(one) for one in response.json()["results"]],
        )

    @staticmethod
    def complete(
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
    ) -> Call[Completion]:
        """Ask an agent. `context` takes the other fields of `wire.TurnContext`, `more` those of OpenAI."""
        where = _given(episode=episode, user=user, to=to, parent=parent, **(context or {}))
        where["turn"] = turn or new_id("turn")
        where.setdefault("episode", new_id("episode"))
        return Call(
            method="POST",
            path="/v1/chat/completions",
            body={"model": agent, "messages": as_messages(messages), "heedful": where, **more},
            read=_completion,
        )

    @staticmethod
    def begin_episode(**fields: Any) -> Call[Json]:
        """A task begins; `fields` are those of `wire.EpisodeIn`."""
        return Call(method="POST", path="/v1/episodes", body={"id": new_id("episode"), **fields}, read=_json)

    @staticmethod
    def end_episode(id: str, *, state: str = "done", outcome: float | None = None) -> Call[Json]:
        """The task is over: `done` or `abandoned`."""
        body = _given(state=state, outcome=outcome)
        return Call(method="POST", path=_at("/v1/episodes", id, "end"), body=body, read=_json)

    @staticmethod
    def lease(queue: str, *, rater: str | None = None, limit: int = 10) -> Call[list[Json]]:
        """Work: `{"assignment": …, "item": …}` for each. Answer with `feedback`, naming the assignment."""
        # Not again: a lease whose answer was lost is given out once more when its time is over.
        return Call(
            method="POST",
            path=_at("/v1/queues", queue, "lease"),
            body=_given(rater=rater, limit=limit),
            read=_list("assignments"),
            again=False,
        )

    @staticmethod
    def make_queue(**fields: Any) -> Call[Json]:
        """A queue of work for raters; `fields` are those of `wire.QueueIn`."""
        return Call(method="POST", path="/v1/queues", body={"id": new_id("queue"), **fields}, read=_json)

    @staticmethod
    def items(queue: str, *, state: str | None = None, limit: int = 100) -> Call[list[Json]]:
        """What is to be judged, or was."""
        params = _given(queue=queue, state=state, limit=limit)
        return Call(method="GET", path="/v1/items", params=params, read=_list("items"))

    @staticmethod
    def set_gold(item: str, **gold: Any) -> Call[Json]:
        """The item's known answer, to test raters with."""
        return Call(method="POST", path=_at("/v1/items", item, "gold"), body=gold, read=_json)

    @staticmethod
    def adopt(
        agent: str, body: Mapping[str, Any], *, sampling: Mapping[str, Any] | None = None
    ) -> Call[Json]:
        said = _given(agent=agent, body=dict(body), sampling=sampling)
        return Call(method="POST", path="/v1/policies", body=said, read=_json)

    @staticmethod
    def release_policy(
        policy: str,
        *,
        steps: Sequence[float] | None = None,
        unit: str | None = None,
        override: str | None = None,
        once: str | None = None,
    ) -> Call[Json]:
        """Begin to take the policy to the fleet; with `once` only the first time. `unit` is what stays on one
        side of it: instance, user, conversation or episode."""
        body = _given(policy=policy, steps=steps, unit=unit, override=override, once=once or new_id("client"))
        return Call(method="POST", path="/v1/releases", body=body, read=_json)

    @staticmethod
    def roll_back(release: str, *, reason: str) -> Call[Json]:
        """Whoever asks next is answered by the policy before."""
        return Call(
            method="POST",
            path=_at("/v1/releases", release, "rollback"),
            body={"reason": reason},
            read=_json,
        )

    @staticmethod
    def start_cycle(
        agent: str,
        *,
        kind: str = "improve",
        id: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Call[Json]:
        """One turn of the whole loop begins."""
        body = {"id": id or new_id("cycle"), "agent": agent, "kind": kind, "options": dict(options or {})}
        return Call(method="POST", path="/v1/cycles", body=body, read=_json)

    @staticmethod
    def get(kind: str, id: str) -> Call[Json]:
        """One record by its id."""
        return Call(method="GET", path=_at("/v1", kind, id), read=_json)

    @staticmethod
    def find(kind: str, *, agent: str | None = None) -> Call[list[Json]]:
        """Records of a kind."""
        return Call(method="GET", path=f"/v1/{kind}", params=_given(agent=agent), read=_list(kind))

    @staticmethod
    def why(kind: str, id: str) -> Call[Json]:
        """What a record was made from, and what was made from it."""
        return Call(method="GET", path=_at("/v1/why", kind, id), read=_json)

    @staticmethod
    def status() -> Call[Json]:
        """What runs, and what is live for each agent."""
        return Call(method="GET", path="/v1/status", read=_json)

    @staticmethod
    def keys() -> Call[list[Json]]:
        """The tenant's keys, without their secrets."""
        return ask.find("keys")

    @staticmethod
    def issue_key(scope: str, **fields: Any) -> Call[KeyIssued]:
        """A new key; `fields` are those of `wire.KeyIn`. Its text is shown this once."""
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
        """The key works no more."""
        return Call(method="DELETE", path=_at("/v1/keys", id), read=_json)

    @staticmethod
    def one(kind: str) -> ById:
        def by_id(id: str) -> Call[Json]:
            return ask.get(kind, id)

        return by_id

    @staticmethod
    def all(kind: str) -> OfAgent:
        def of_agent(agent: str | None = None) -> Call[list[Json]]:
            return ask.find(kind, agent=agent)

        return of_agent


def _json(response: httpx.Response) -> Json:
    said: Json = response.json()
    return said


def _list(name: str) -> Callable[[httpx.Response], list[Json]]:
    return lambda response: list(response.json()[name])


def _at(*parts: str) -> str:
    return "/".join(quote(part, safe="/:@") for part in parts)


def _given(**fields: Any) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


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
