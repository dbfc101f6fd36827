"""What was asked, by whom, and where it belongs: read from the body, headers, metadata and address."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from heedful.dialect.chat import Wire
from heedful.domain.access import Limits
from heedful.domain.episode import Episode
from heedful.domain.ids import AgentId, EpisodeId, KeyId, PersonId, ProductId, TenantId, TurnId, check_id
from heedful.errors import InvalidInput
from heedful.road import Parts
from heedful.service.door import body
from heedful.service.door.front import Arrival
from heedful.wire import IN_HEADERS, TurnContext

HEADERS = tuple((name, f"x-heedful-{name.replace('_', '-')}") for name in IN_HEADERS)
RETRY = "x-stainless-retry-count"  # OpenAI's clients say with it that they ask again


EMPTY: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Place:
    """A turn that a request may go on from."""

    turn: TurnId
    episode: EpisodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request for an answer, understood. `chat` is what a policy is asked, in OpenAI's words."""

    tenant: TenantId
    key: KeyId | None
    limits: Limits
    agent: AgentId
    model: str  # as the client called the agent
    chat: Wire
    n: int
    stream: bool
    with_usage: bool  # at the end of a stream
    context: TurnContext
    episode: EpisodeId
    named: bool  # the episode may be there already
    fingerprint: bytes  # of everything that came
    attempt: int  # the client's own count of its attempts, from 0
    metadata: Mapping[str, str]
    parent: TurnId | None = None  # the turn that it goes on from
    to: str | None = None  # whom an answer is for that calls no tools

    def begun(self, parts: Parts) -> Episode:
        """The episode, if this is its first turn."""
        context = self.context
        return Episode(
            id=self.episode,
            tenant=self.tenant,
            started_at=parts.clock.now(),
            product=None if context.product is None else ProductId(context.product),
            user=None if context.user is None else PersonId(context.user),
            segment=context.segment,
            language=context.language,
        )


def understood(
    arrival: Arrival,
    parts: Parts,
    sent: Mapping[str, Any],
    *,
    model: str,
    chat: Wire,
    n: int = 1,
    stream: bool = False,
    with_usage: bool = False,
    noted: Mapping[str, str] = EMPTY,
    going_on: Place | None = None,
) -> Asked:
    """The request with its place in the world. `sent` is the whole body, for its metadata; `noted` is ours;
    `going_on` is what it names as coming before it."""
    context = context_of(arrival, sent)
    named, parent = context.episode, context.parent
    if going_on is not None and named in (None, going_on.episode):
        named, parent = going_on.episode, parent or going_on.turn
    agent = arrival.params.get("agent", model)
    return Asked(
        tenant=arrival.caller.tenant,
        key=arrival.caller.key,
        limits=arrival.caller.limits,
        agent=AgentId(check_id(agent, "model")),
        model=model,
        chat=chat,
        n=n,
        stream=stream,
        with_usage=with_usage,
        context=context,
        episode=EpisodeId(named or parts.mint("episode")),
        named=named is not None,
        fingerprint=_fingerprint(arrival),
        attempt=_attempt(arrival.headers.get(RETRY, "")),
        metadata={**_metadata(sent.get("metadata") or {}), **noted},
        parent=None if parent is None else TurnId(parent),
        to=context.to,
    )


def context_of(arrival: Arrival, sent: Mapping[str, Any]) -> TurnContext:
    """Headers before the body's `heedful`, that before the metadata; an address names its episode itself."""
    ours, metadata = sent.get("heedful") or {}, sent.get("metadata") or {}
    given: dict[str, Any] = {}
    where: dict[str, str] = {}
    for name, header in HEADERS:
        for place, value in (
            (header, arrival.headers.get(header)),
            (f"heedful.{name}", ours.get(name)),
            (f"metadata.heedful_{name}", metadata.get(f"heedful_{name}")),
        ):
            if value is not None:
                given[name], where[name] = value, place
                break
    if "user" not in given and sent.get("user"):
        given["user"], where["user"] = sent["user"], "user"
    if "episode" in arrival.params:
        given["episode"], where["episode"] = arrival.params["episode"], "episode"
    rest = {name: value for name, value in ours.items() if name not in given}
    if not rest and not given:
        return NOWHERE
    try:
        checked: TurnContext = body.checked(TurnContext, {**rest, **given})
    except InvalidInput as error:
        first, _, inner = (error.field or "").partition(".")
        field = where.get(first, f"heedful.{first}") + (f".{inner}" if inner else "")
        raise InvalidInput(f"{field}: {str(error).partition(': ')[2]}", field=field) from None
    return checked


NOWHERE = TurnContext()


def _attempt(said: str) -> int:
    return int(said) if said.isdecimal() and len(said) < 10 else 0


def _fingerprint(arrival: Arrival) -> bytes:
    """Equal for a request and its repetition by the client: same key, address, place and body."""
    seen = hashlib.sha256(arrival.body)
    placed: Sequence[str] = [arrival.headers.get(header, "") for _, header in HEADERS]
    seen.update("\0".join((arrival.caller.key or "", arrival.path, *placed)).encode())
    return seen.digest()


def _metadata(given: Mapping[str, Any]) -> Mapping[str, str]:
    """The caller's own, as text."""
    return {
        name: value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in given.items()
        if not name.startswith("heedful_")
    }
