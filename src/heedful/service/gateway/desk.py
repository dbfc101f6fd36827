"""The gateway's addresses: each reads aloud what is done with a request.

The model's name is the agent's. The completion's id is the turn's id: whoever has the answer can say something
about it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from heedful import road
from heedful.access.permissions import Action
from heedful.dialect import chat, responses
from heedful.dialect.chat import Wire
from heedful.domain.episode import Turn
from heedful.domain.guard import Ruling
from heedful.domain.ids import AgentId, Digest, EpisodeId, TenantId, TurnId, check_id
from heedful.domain.models import External
from heedful.errors import Conflict, InvalidInput, NotFound, Unavailable
from heedful.inference.openai_http import Price
from heedful.road import Parts
from heedful.service.door import body
from heedful.service.door.front import JSON, Arrival, HotRoute, Reply
from heedful.service.gateway import streams, turns
from heedful.service.gateway.allotting import Allotted, allotted, no_such, view_of
from heedful.service.gateway.asking import Asked, understood
from heedful.service.gateway.guarding import Guarding, refusal
from heedful.service.gateway.noticing import Noticing
from heedful.service.gateway.placing import Placing
from heedful.service.gateway.repeats import Attempt, Repeats
from heedful.service.gateway.spending import Spending
from heedful.service.gateway.turns import First
from heedful.service.gateway.voices import INSTRUCTED, AsChat, AsResponse, Memory, Said, Voice, said_of
from heedful.service.service import Service
from heedful.service.state.fleet import View
from heedful.settings import GatewaySettings
from heedful.wire import ChatRequest, EmbeddingsRequest

log = logging.getLogger("heedful.gateway")

EVENTS = ("content-type", "text/event-stream; charset=utf-8")
CHAT = AsChat()
INSIDE = "/e/{episode}/a/{agent}"  # for clients that can set neither headers nor bodies


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer on record."""

    first: First
    reply: Wire
    recorded: bool = True

    @classmethod
    def of(cls, first: Turn, reply: Wire, *, recorded: bool = True) -> Answered:
        return cls(First.of(first), reply, recorded)


class Gateway:
    def __init__(
        self,
        service: Service,
        settings: GatewaySettings,
        prices: Mapping[str, Mapping[str, Price]],
        *,
        signs: bool = True,
    ) -> None:
        self._service = service
        self._parts: Parts = service.parts
        self._settings = settings
        self._prices = prices  # by upstream, by model
        self._recorder = service.recorder
        self._repeats = Repeats()
        self._memory = Memory()
        self._spending = Spending(service.parts)
        self._placing = Placing()
        self._signs = signs
        self.noticing = Noticing(service.parts, self._placing, service.metrics)
        self._guarding = Guarding(service.parts, service.holds, settings.hold_seconds)

    def routes(self) -> list[HotRoute]:
        addresses = (
            ("POST", "/v1/chat/completions", self.chat),
            ("POST", "/v1/responses", self.respond),
            ("POST", "/v1/embeddings", self.embeddings),
            ("GET", "/v1/models", self.models),
            ("GET", "/v1/models/{id:path}", self.model),
        )
        return [
            HotRoute(method=method, path=place + path, action=Action.ANSWER, handler=handler, name=path)
            for place in ("", INSIDE)
            for method, path, handler in addresses
        ]

    # -- addresses ---------------------------------------------------------------------------------------

    async def chat(self, arrival: Arrival) -> Reply:
        """`POST /v1/chat/completions`."""
        sent = await body.load(arrival.body, arrival.headers.get("content-type", ""))
        read: ChatRequest = body.checked(ChatRequest, sent)
        options = read.stream_options
        asked = understood(
            arrival,
            self._parts,
            sent,
            model=read.model,
            chat=sent,
            n=read.n or 1,
            stream=bool(read.stream),
            with_usage=options is not None and options.include_usage,
        )
        return await self._reply(asked, arrival, CHAT)

    async def respond(self, arrival: Arrival) -> Reply:
        """`POST /v1/responses`: translated to a chat completion and back (`dialect/responses.py`)."""
        sent = await body.load(arrival.body, arrival.headers.get("content-type", ""))
        read = responses.read(sent)
        if read.conversation is not None:
            raise InvalidInput(
                "conversation: conversations are not kept here; go on with previous_response_id",
                field="conversation",
            )
        tenant = arrival.caller.tenant
        before = await self._said(tenant, read.previous_response_id)
        history = [] if before is None else before.history
        known = self._memory.items(tenant, responses.references(read))
        voice = AsResponse(request=read, history=history, known=known, memory=self._memory)
        asked = understood(
            arrival,
            self._parts,
            sent,
            model=read.model,
            chat=responses.to_chat(read, history, known=known),
            stream=read.stream,
            with_usage=True,
            noted={INSTRUCTED: "1"} if read.instructions is not None else {},
            going_on=None if before is None else before.place,
        )
        return await self._reply(asked, arrival, voice)

    async def embeddings(self, arrival: Arrival) -> Reply:
        """`POST /v1/embeddings`: passed on to the server of the agent's policy. Nothing of it is kept."""
        sent = await body.load(arrival.body, arrival.headers.get("content-type", ""))
        read: EmbeddingsRequest = body.checked(EmbeddingsRequest, sent)
        asked = understood(arrival, self._parts, sent, model=read.model, chat={})
        found = await self._allotted(asked)
        plain = {name: value for name, value in sent.items() if name not in chat.OURS}
        reply = await self._parts.inference.forward(found.policy, "embeddings", plain)
        return Reply(200, orjson.dumps({**reply, "model": read.model}), (JSON, *_policy(found)))

    async def models(self, arrival: Arrival) -> Reply:
        """`GET /v1/models`: agents that have a policy."""
        view = await view_of(self._service.fleet, arrival.caller.tenant)
        data = [_model(view, agent) for agent in sorted(view.duties)]
        return Reply(200, orjson.dumps({"object": "list", "data": data}))

    async def model(self, arrival: Arrival) -> Reply:
        """`GET /v1/models/{id}`."""
        view = await view_of(self._service.fleet, arrival.caller.tenant)
        agent = AgentId(check_id(arrival.params["id"], "model"))
        if agent not in view.duties:
            raise no_such(agent, view)
        return Reply(200, orjson.dumps(_model(view, agent)))

    # -- an answer ---------------------------------------------------------------------------------------

    async def _reply(self, asked: Asked, arrival: Arrival, voice: Voice) -> Reply:
        asked = self._placing.placed(asked)
        # What guards must see whole, or was answered before, is streamed when it is there.
        if asked.stream and not (asked.attempt or asked.context.turn or self._guarding.on):
            attempt = self._repeats.begin(asked)
            try:
                return await self._streamed(asked, arrival, voice, attempt)
            except BaseException:
                self._repeats.lost(attempt)
                raise

        async def answer() -> Reply:
            return await self._whole(asked, await self._answered(asked, voice.kind), voice)

        return await self._repeats.once(asked, answer)

    async def _answered(self, asked: Asked, kind: str) -> Answered:
        before = await self._before(asked)
        if before is not None:
            return before
        await self._ready(asked)
        began, found = time.perf_counter(), await self._allotted(asked)
        rulings: tuple[Ruling, ...] = ()
        allowed: Asked | None = asked
        if self._guarding.on:
            allowed, rulings = await self._guarding.before(asked)
        if allowed is None:
            reply = refusal(asked.n)
        else:
            found, reply = await self._asked(found, allowed.chat)
            if self._guarding.on:
                reply, more = await self._guarding.after(allowed, reply)
                rulings += more
        latency, id = time.perf_counter() - began, self._new_id(asked, kind)
        made = await self._turns(allowed or asked, found, reply, id, latency, rulings)
        return Answered.of(made[0], reply, recorded=await self._kept(asked, made))

    async def _asked(self, found: Allotted, request: Wire) -> tuple[Allotted, Wire]:
        """The policy's reply, or its fallback's when its server is away."""
        try:
            return found, await self._parts.inference.chat(found.policy, request)
        except Unavailable as error:
            instead = _or_fallback(found, error)
            return instead, await self._parts.inference.chat(instead.policy, request)

    async def _whole(self, asked: Asked, answered: Answered, voice: Voice) -> Reply:
        first = answered.first
        headers = (*_named(first.id, first.policy, first.episode), *_unrecorded(answered.recorded))
        if asked.stream:  # it was streamed before: this time it comes at once
            events = voice.events(asked, first.id, first.at.timestamp(), _again(asked, answered))
            return Reply(200, b"".join([event async for event in events]), (EVENTS, *headers))
        return Reply(200, orjson.dumps(voice.whole(asked, first, answered.reply)), (JSON, *headers))

    async def _streamed(self, asked: Asked, arrival: Arrival, voice: Voice, attempt: Attempt) -> Reply:
        await self._ready(asked)
        began, drawn, id = time.perf_counter(), await self._allotted(asked), self._new_id(asked, voice.kind)
        found, head, rest = await self._opened(drawn, asked.chat)
        good = False

        async def kept(reply: Wire, ended: str | None) -> None:
            nonlocal good
            made = await self._turns(asked, found, reply, id, time.perf_counter() - began)
            await self._kept(asked, [replace(turn, finish=ended) if ended else turn for turn in made])
            good = ended is None

        created = self._parts.clock.now().timestamp()
        chunks = streams.relayed(asked, id, self._parts.config, created, head, rest, kept)
        headers = (EVENTS, *_named(id, found.policy.id, asked.episode))

        def over(said: list[bytes]) -> None:
            """Nobody asks again for a stream that began to come: only who left before that."""
            if said and good:
                self._repeats.answered(attempt, Reply(200, b"".join(said), headers))
            else:
                self._repeats.lost(attempt)

        pieces = streams.until_gone(voice.events(asked, id, created, chunks), arrival.gone, over)
        return Reply(200, pieces, headers)

    async def _opened(self, found: Allotted, request: Wire) -> tuple[Allotted, Wire, streams.Chunks]:
        """The policy's stream with its first chunk, or its fallback's when its server is away."""
        try:
            return found, *await streams.opened(self._parts.inference.stream(found.policy, request))
        except Unavailable as error:
            instead = _or_fallback(found, error)
            return instead, *await streams.opened(self._parts.inference.stream(instead.policy, request))

    # -- the steps ---------------------------------------------------------------------------------------

    async def _ready(self, asked: Asked) -> None:
        """What can be refused before anybody is asked."""
        self._recorder.room()
        await self._spending.check(asked)
        parent = asked.context.parent
        if parent is not None:
            await self._must_exist(asked.tenant, TurnId(parent))

    async def _must_exist(self, tenant: TenantId, parent: TurnId) -> None:
        if (tenant, parent) in self._service.seen or self._recorder.fresh(tenant, [parent]):
            return
        if await asyncio.to_thread(self._parts.store.get, Turn, tenant, parent) is None:
            raise NotFound(f"parent names turn {parent!r}, which is not known here", field="heedful.parent")
        self._service.seen.add(tenant, parent)

    async def _allotted(self, asked: Asked) -> Allotted:
        view = await view_of(self._service.fleet, asked.tenant)
        return allotted(asked, view, self._settings.fallbacks)

    def _new_id(self, asked: Asked, kind: str) -> TurnId:
        return TurnId(asked.context.turn or self._parts.mint(kind))

    async def _said(self, tenant: TenantId, previous: str | None) -> Said | None:
        """What was said before, when the request goes on from an earlier response."""
        if previous is None:
            return None
        known = self._memory.get(tenant, previous)
        if known is not None:
            return known
        await asyncio.to_thread(self._recorder.settle)
        turn = await asyncio.to_thread(self._parts.store.get, Turn, tenant, previous)
        if turn is None:
            raise NotFound(
                f"previous_response_id names response {previous!r}, which is not known here",
                field="previous_response_id",
            )
        return said_of(turns.with_text(turn))

    async def _turns(
        self,
        asked: Asked,
        found: Allotted,
        reply: Wire,
        first: TurnId,
        latency: float,
        rulings: tuple[Ruling, ...] = (),
    ) -> list[Turn]:
        def make() -> list[Turn]:
            return turns.turns_of(
                self._parts,
                asked,
                found,
                reply,
                first=first,
                latency=latency,
                price=self._price(found),
                rulings=rulings,
                keep=self._bytes if road.keeps_bytes(self._parts, asked.tenant) else None,
            )

        with_bytes = chat.has_bytes(asked.chat["messages"])  # they go to the disk first
        return await asyncio.to_thread(make) if with_bytes else make()

    def _bytes(self, raw: bytes) -> Digest:
        return Digest(self._parts.blobs.put_bytes(raw))

    def _price(self, found: Allotted) -> Price | None:
        where = found.policy.body
        return self._prices.get(where.upstream, {}).get(where.model) if isinstance(where, External) else None

    async def _kept(self, asked: Asked, made: list[Turn]) -> bool:
        """On record, as surely as the settings ask for; False when it could not be."""
        begun = (asked.tenant, asked.episode) in self._service.begun
        episode = None if begun else asked.begun(self._parts)
        entry = self._recorder.keep(made, episode, named=asked.named)
        if entry is None:
            return False
        self._service.ingest.seen.answered(made)
        self._spending.add(asked, sum(turn.usage.spend or 0.0 for turn in made))
        self._service.begun.add(asked.tenant, asked.episode)
        self._service.seen.add(asked.tenant, made[0].id)
        if self._signs:  # before the new answer is known: it may repeat the words of the one that it follows
            self.noticing.notice(asked, made[0])
        self._placing.note(asked, made)
        arm = made[0].allocation.arm if made[0].allocation else "live"
        self._service.metrics.turns(asked.tenant, made[0].policy, arm, len(made))
        if self._settings.record == "store":
            await asyncio.wrap_future(entry.stored)
        return True

    async def _before(self, asked: Asked) -> Answered | None:
        """The answer that was given before, when the caller's own turn id is here already."""
        id = asked.context.turn
        if id is None:
            return None
        store, tenant = self._parts.store, asked.tenant
        if self._recorder.fresh(tenant, [id]):
            await asyncio.to_thread(self._recorder.settle)
        known = await asyncio.to_thread(store.get, Turn, tenant, id)
        if known is None:
            return None
        if not turns.same_request(known, asked):
            raise Conflict(f"turn {id!r} answered another request: use a new id", field="heedful.turn")
        others = await asyncio.to_thread(store.find, Turn, tenant, where={"sibling_of": id})
        every = tuple(map(turns.with_text, (known, *sorted(others, key=lambda turn: turn.index))))
        return Answered.of(known, turns.reply_of_turns(every))


def _or_fallback(found: Allotted, error: Unavailable) -> Allotted:
    """Who answers instead, or the error itself when nobody does."""
    instead = found.fallen_back()
    if instead is None:
        raise error
    log.warning("a fallback answers", extra={"policy": found.policy.id, "reason": str(error)})
    return instead


async def _again(asked: Asked, answered: Answered) -> AsyncGenerator[Wire, None]:
    """The chunks of what was answered before."""
    first = answered.first
    *said, usage = chat.chunks_of(turns.completion(asked, first, answered.reply))
    for chunk in said:
        for choice in chunk["choices"]:
            choice["turn"] = turns.turn_id(first.id, choice["index"])
        yield chunk
    if asked.with_usage:
        yield usage


def _named(turn: str, policy: str, episode: EpisodeId) -> tuple[tuple[str, str], ...]:
    return (("x-heedful-turn", turn), ("x-heedful-policy", policy), ("x-heedful-episode", episode))


def _policy(found: Allotted) -> tuple[tuple[str, str], ...]:
    return (("x-heedful-policy", found.policy.id),)


def _unrecorded(recorded: bool) -> tuple[tuple[str, str], ...]:
    return () if recorded else (("x-heedful-recorded", "no"),)


def _model(view: View, agent: AgentId) -> dict[str, Any]:
    policy = view.policies.get(view.duties[agent].live)
    return {
        "id": agent,
        "object": "model",
        "created": int(policy.created_at.timestamp()) if policy else 0,
        "owned_by": "heedful",
    }
