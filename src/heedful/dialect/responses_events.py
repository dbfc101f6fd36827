"""A chat's chunks as the events of a Responses stream, one item at a time.

A chat may speak of several calls at once, and go on with its text after them; clients of a Responses stream
expect an item to be closed before the next one opens. So what is heard is kept in pieces, in the order in
which they begin, and told piece by piece: the first one live, and the next as soon as the one before it is
over. Text is over when something else begins. A call is over when its arguments are a whole JSON object; until
then what comes beside it waits, at worst until the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from heedful.dialect import responses_reply as reply
from heedful.dialect.fields import Json
from heedful.dialect.responses_reply import ITEMS, Item, Kind, Piece
from heedful.dialect.responses_request import Asked

Event = dict[str, Any]

# Kind of a piece -> what its events are called, and what its text is called in the last of them.
SPOKEN: Mapping[Kind, tuple[str, str]] = {
    "reasoning": ("response.reasoning_text", "text"),
    "text": ("response.output_text", "text"),
    "refusal": ("response.refusal", "refusal"),
    "call": ("response.function_call_arguments", "arguments"),
}
# Codes that a client knows and that we may mean; any other is the server's own trouble.
FAILURES = ("server_error", "rate_limit_exceeded", "invalid_prompt")


@dataclass(slots=True, kw_only=True, eq=False)
class _Heard:
    """A piece that still grows."""

    kind: Kind
    text: list[str] = field(default_factory=list)
    logprobs: list[Item] = field(default_factory=list)
    name: str = ""
    call_id: str = ""
    began: bool = False  # whether its first event is out
    closed: bool = False  # whether its last event is out
    told: int = 0  # how many of `text` are out
    told_logprobs: int = 0

    @property
    def known(self) -> bool:
        """Whether it can be announced: a call's first event has its name and id."""
        return self.kind != "call" or bool(self.name and self.call_id)

    @property
    def over(self) -> bool:
        """Whether nothing that matters can follow, now that something else has begun."""
        if self.kind != "call":
            return True
        arguments = "".join(self.text)
        if not arguments.rstrip().endswith("}"):
            return False
        try:
            return isinstance(json.loads(arguments), dict)
        except ValueError:
            return False

    def piece(self, *, so_far: bool = False) -> Piece:
        """As it is now; `so_far` only what is out of it."""
        return Piece(
            kind=self.kind,
            text="".join(self.text[: self.told] if so_far else self.text),
            name=self.name,
            call_id=self.call_id,
            logprobs=self.logprobs[: self.told_logprobs] if so_far else list(self.logprobs),
        )


class Events:
    """One stream, from `begin` over `take` for each chunk to `end`, or to `fail` at any time.

    Sequence numbers rise by one over all that is returned; after the last event nothing more comes. When it
    is over, `response` is the Response of the last event, and `reply` the chat completion that was heard.
    """

    def __init__(self, asked: Asked, *, id: str, created_at: float) -> None:
        self.response: Item | None = None  # what the last event said; None until then
        self._asked = asked
        self._frame: dict[str, Any] = {"id": id, "created_at": created_at}
        self._sequence = 0
        self._heard: list[_Heard] = []
        self._place = 0  # of the piece that is being told
        self._calls: dict[int | None, _Heard] = {}  # by the index that chunks know them by
        self._early: list[Item] = []  # logprobs of tokens that have made no text yet
        self._open: list[_Heard] = []  # the pieces of the item that is being told
        self._output: list[Item] = []  # items that are closed
        self._finish: str | None = None
        self._usage: Json = None
        self._tier: Json = None

    @property
    def reply(self) -> Item:
        """What was heard so far, as a chat completion that did not come in pieces."""
        by_kind: dict[str, str] = {}
        for heard in self._heard:
            if heard.kind != "call":
                by_kind[heard.kind] = by_kind.get(heard.kind, "") + "".join(heard.text)
        message: Item = {
            "role": "assistant",
            "content": by_kind.get("text"),
            "refusal": by_kind.get("refusal"),
        }
        if "reasoning" in by_kind:
            message["reasoning_content"] = by_kind["reasoning"]
        calls = [heard.piece() for heard in self._heard if heard.kind == "call"]
        if calls:
            message["tool_calls"] = [
                {
                    "id": call.call_id or reply.call_id(self._frame["id"], place),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.text},
                }
                for place, call in enumerate(calls)
            ]
        tokens = [token for heard in self._heard for token in heard.logprobs]
        return {
            "id": self._frame["id"],
            "object": "chat.completion",
            "created": int(self._frame["created_at"]),
            "model": self._asked.model,
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "finish_reason": self._finish,
                    "logprobs": {"content": tokens, "refusal": None} if self._asked.logprobs else None,
                }
            ],
            "usage": self._usage,
            "service_tier": self._tier,
        }

    # -- what the caller says ----------------------------------------------------------------------------------

    def begin(self) -> list[Event]:
        """Before the first chunk."""
        started = self._response(status="in_progress")
        return [
            self._event("response.created", response=started),
            self._event("response.in_progress", response=started),
        ]

    def take(self, chat_chunk: Mapping[str, Json]) -> list[Event]:
        """What this chunk lets be told, which may be nothing yet."""
        if self.response is not None:
            return []
        self._usage = chat_chunk.get("usage") or self._usage
        self._tier = chat_chunk.get("service_tier") or self._tier
        for choice in chat_chunk.get("choices") or ():
            if choice.get("index", 0) == 0:
                self._hear(choice)
        return list(self._tell())

    def end(self, *, completed_at: float | None = None) -> list[Event]:
        """The chat's stream is over; without a reason to stop it was cut off, and the response has failed."""
        if self.response is not None:
            return []
        if self._finish is None:
            return self.fail("the upstream's answer broke off before its end")
        return list(self._finished(completed_at))

    def fail(self, message: str, code: str = "server_error") -> list[Event]:
        """Something went wrong on the way; what was told until then is kept in the response."""
        if self.response is not None:
            return []
        code = code if code in FAILURES else "server_error"
        begun = self._sequence > 0
        output = list(self._output)
        if self._open:
            output.append(self._item("incomplete", so_far=True))
        self.response = self._response(
            status="failed", error={"code": code, "message": message}, output=output
        )
        if not begun:
            return [self._event("error", code=code, message=message, param=None)]
        return [self._event("response.failed", response=self.response)]

    # -- hearing -----------------------------------------------------------------------------------------------

    def _hear(self, choice: Mapping[str, Json]) -> None:
        delta = choice.get("delta") or {}
        self._finish = choice.get("finish_reason") or self._finish
        self._early += reply.logprobs(self._asked, choice)
        self._hear_words("reasoning", reply.thought(delta))
        self._hear_words("text", reply.said(delta))
        self._hear_words("refusal", delta.get("refusal") or "")
        for call in delta.get("tool_calls") or ():
            self._hear_call(call)

    def _hear_words(self, kind: Kind, words: str) -> None:
        if not words:
            return
        if not self._heard or self._heard[-1].kind != kind:
            self._heard.append(_Heard(kind=kind))
        self._heard[-1].text.append(words)
        if kind == "text":
            self._hear_early()

    def _hear_early(self) -> None:
        self._heard[-1].logprobs += self._early
        self._early = []

    def _hear_call(self, delta: Mapping[str, Json]) -> None:
        id, function = delta.get("id") or "", delta.get("function") or {}
        call = self._calls.get(delta.get("index"))
        # Some servers number every call 0, or not at all: an id that is new makes a call new.
        if call is None or (id and call.call_id and id != call.call_id):
            call = self._calls[delta.get("index")] = _Heard(kind="call")
            self._heard.append(call)
        call.call_id = call.call_id or id
        call.name = call.name or function.get("name") or ""
        # Nothing follows a JSON object but white space.
        if function.get("arguments") and not call.closed:
            call.text.append(function["arguments"])

    # -- telling -----------------------------------------------------------------------------------------------

    def _tell(self, *, everything: bool = False) -> Iterator[Event]:
        """What may be told now; everything when nothing more can come. The last piece stays open."""
        while self._place < len(self._heard):
            heard = self._heard[self._place]
            if not (heard.known or everything):
                return
            if not heard.began:
                yield from self._begin(heard)
            yield from self._go_on(heard)
            if self._place == len(self._heard) - 1 or not (heard.over or everything):
                return
            yield from self._close(heard)
            self._place += 1

    def _finished(self, completed_at: float | None) -> Iterator[Event]:
        incomplete = reply.INCOMPLETE.get(self._finish or "")
        status = "incomplete" if incomplete else "completed"
        if not incomplete and all(heard.kind == "reasoning" for heard in self._heard):
            self._heard.append(_Heard(kind="text"))  # a good end with nothing to say
        if self._heard and self._heard[-1].kind == "text":
            self._hear_early()
        yield from self._tell(everything=True)
        if self._heard:
            yield from self._close(self._heard[-1])
            yield self._item_done(status)
        self.response = self._response(completed_at=completed_at, incomplete=incomplete, output=self._output)
        yield self._event(f"response.{status}", response=self.response)

    def _begin(self, heard: _Heard) -> Iterator[Event]:
        """An item of its own; text and refusal are parts of one message."""
        if self._open and not ITEMS[self._open[0].kind] == ITEMS[heard.kind] == "message":
            yield self._item_done("completed")
        if heard.kind == "call" and not heard.call_id:
            calls = [one for one in self._heard if one.kind == "call"]
            heard.call_id = reply.call_id(self._frame["id"], calls.index(heard))
        self._open.append(heard)
        heard.began = True
        if len(self._open) == 1:
            item = self._item("in_progress", so_far=True)
            if heard.kind != "call":
                item["content"] = []
            yield self._event("response.output_item.added", output_index=len(self._output), item=item)
        if heard.kind != "call":
            empty = reply.part(Piece(kind=heard.kind, text=""))
            yield self._event("response.content_part.added", **self._here(), part=empty)

    def _go_on(self, heard: _Heard) -> Iterator[Event]:
        fresh = "".join(heard.text[heard.told :])
        if not fresh:
            return
        name, _ = SPOKEN[heard.kind]
        delta = self._event(f"{name}.delta", **self._here(), delta=fresh)
        if heard.kind == "text":
            delta["logprobs"] = heard.logprobs[heard.told_logprobs :]
        heard.told, heard.told_logprobs = len(heard.text), len(heard.logprobs)
        yield delta

    def _close(self, heard: _Heard) -> Iterator[Event]:
        heard.closed = True
        name, words = SPOKEN[heard.kind]
        piece = heard.piece()
        done = self._event(f"{name}.done", **self._here(), **{words: piece.text})
        if heard.kind == "text":
            done["logprobs"] = list(piece.logprobs)
        yield done
        if heard.kind != "call":
            yield self._event("response.content_part.done", **self._here(), part=reply.part(piece))

    def _item_done(self, status: str) -> Event:
        item = self._item(status)
        self._output.append(item)
        self._open = []
        return self._event("response.output_item.done", output_index=len(self._output) - 1, item=item)

    def _item(self, status: str, *, so_far: bool = False) -> Item:
        return reply.item([heard.piece(so_far=so_far) for heard in self._open], id=self._id(), status=status)

    def _here(self) -> dict[str, Json]:
        """Which part of which item an event is about."""
        here: dict[str, Json] = {"item_id": self._id(), "output_index": len(self._output)}
        if self._open[0].kind != "call":
            here["content_index"] = len(self._open) - 1
        return here

    def _id(self) -> str:
        kind = ITEMS[self._open[0].kind]
        return reply.item_id(self._frame["id"], kind, sum(item["type"] == kind for item in self._output))

    def _response(self, **what: Any) -> Item:
        counted = reply.usage(self._usage)
        return reply.response(self._asked, **self._frame, usage=counted, tier=self._tier, **what)

    def _event(self, type: str, **what: Json) -> Event:
        event = {"type": type, "sequence_number": self._sequence, **what}
        self._sequence += 1
        return event
