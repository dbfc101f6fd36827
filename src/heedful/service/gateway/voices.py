"""How an answer is written: as a chat completion, or as a response. What is done to get it is the same."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from heedful.dialect import chat, responses, sse
from heedful.dialect.chat import Wire
from heedful.domain.content import Role
from heedful.domain.episode import Turn
from heedful.domain.ids import TenantId, TurnId
from heedful.errors import HeedfulError
from heedful.service.door import errors
from heedful.service.gateway import turns
from heedful.service.gateway.asking import Asked, Place
from heedful.service.gateway.turns import First

Chunks = AsyncGenerator[Wire, None]
INSTRUCTED = "heedful_instructions"  # in a turn's metadata: its first message was said for this request only
REMEMBERED = 5_000  # responses whose conversation need not be read from the store


class Voice(Protocol):
    """One request's way of being answered."""

    @property
    def kind(self) -> str:
        """What its ids begin with."""
        ...

    def whole(self, asked: Asked, first: First, reply: Wire) -> Wire:
        """The answer in one piece."""
        ...

    def events(self, asked: Asked, id: str, created: float, chunks: Chunks) -> AsyncGenerator[bytes, None]:
        """The answer as it comes; a failure in the middle is an event that clients raise."""
        ...


class AsChat:
    """Chat completions: the chunks as they are."""

    kind = "turn"

    def whole(self, asked: Asked, first: First, reply: Wire) -> Wire:
        return turns.completion(asked, first, reply)

    async def events(
        self, asked: Asked, id: str, created: float, chunks: Chunks
    ) -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(chunks):
            try:
                async for chunk in chunks:
                    yield sse.event(chunk)
            except HeedfulError as error:
                yield sse.event({"error": errors.describe(error).model_dump()})
                return
        yield sse.DONE


@dataclass(frozen=True, slots=True)
class Said:
    """A conversation as far as one response."""

    place: Place
    history: Sequence[Wire]  # with that response
    response: Wire = field(default_factory=dict)  # empty when it comes from the record


@dataclass(slots=True)
class Memory:
    """Conversations by the response that they led to, for whoever goes on from it. The oldest are forgotten."""

    _known: OrderedDict[tuple[TenantId, str], Said] = field(default_factory=OrderedDict)

    def keep(self, tenant: TenantId, id: str, said: Said) -> None:
        self._known[tenant, id] = said
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def get(self, tenant: TenantId, id: str) -> Said | None:
        return self._known.get((tenant, id))

    def items(self, tenant: TenantId, ids: Sequence[str]) -> Mapping[str, Wire]:
        """Pieces of earlier responses, by their own ids."""
        sources = {source for id in ids if (source := responses.response_of(id)) is not None}
        found = (self._known.get((tenant, source)) for source in sources)
        return {
            item["id"]: item for one in found if one is not None for item in one.response.get("output", ())
        }


def said_of(turn: Turn) -> Said:
    """The conversation that a turn ended, from the record."""
    said = turn.request[1:] if INSTRUCTED in turn.metadata else turn.request
    spoken: Wire = {"role": str(Role.ASSISTANT), "content": turn.answer}
    if turn.tool_calls:
        spoken["tool_calls"] = [chat.tool_call_wire(call) for call in turn.tool_calls]
    return Said(Place(turn.id, turn.episode), [*(chat.message_wire(message) for message in said), spoken])


@dataclass(frozen=True, slots=True, kw_only=True)
class AsResponse:
    """The Responses API: items and typed events; what was said is remembered for the next request."""

    request: responses.Asked
    history: Sequence[Wire]
    known: Mapping[str, Wire]
    memory: Memory
    kind: str = "resp"

    def whole(self, asked: Asked, first: First, reply: Wire) -> Wire:
        created = first.at.timestamp() - first.latency
        whole = responses.whole(
            self.request, reply, id=first.id, created_at=created, completed_at=first.at.timestamp()
        )
        self._remember(asked, first.id, reply, whole)
        return whole

    async def events(
        self, asked: Asked, id: str, created: float, chunks: Chunks
    ) -> AsyncGenerator[bytes, None]:
        events = responses.Events(self.request, id=id, created_at=created)
        async with contextlib.aclosing(chunks):
            try:
                for event in events.begin():
                    yield sse.named(event)
                async for chunk in chunks:
                    for event in events.take(chunk):
                        yield sse.named(event)
                for event in events.end():
                    yield sse.named(event)
            except HeedfulError as error:
                for event in events.fail(str(error)):
                    yield sse.named(event)
                return
        if events.response is not None:
            self._remember(asked, id, events.reply, events.response)

    def _remember(self, asked: Asked, id: str, reply: Wire, response: Wire) -> None:
        message: dict[str, Any] = reply["choices"][0]["message"]
        history = responses.after(self.request, list(self.history), message, id=id, known=self.known)
        self.memory.keep(asked.tenant, id, Said(Place(TurnId(id), asked.episode), history, response))
