"""Messages as others write them: OpenAI's chat and responses, OpenTelemetry's parts, Anthropic's blocks, LangChain's.

What is not text or a picture's address is named and left out: a log seldom holds the bytes, and only text is
trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from heedful.domain.content import Answer, ImagePart, Message, Part, Role, TextPart, ToolCall
from heedful.errors import InvalidInput
from heedful.feedback.formats import plain

Json = Mapping[str, Any]

ROLES: Mapping[str, Role] = {str(role): role for role in Role} | {
    name: role
    for role, names in {
        Role.SYSTEM: ("systemmessage",),
        Role.USER: ("human", "humanmessage"),
        Role.ASSISTANT: ("ai", "aimessage", "aimessagechunk", "model", "bot"),
        Role.TOOL: ("function", "toolmessage", "functionmessage"),
    }.items()
    for name in names
}
FINISHES: Mapping[str, str] = {
    name: finish
    for finish, names in {
        "stop": ("stop", "end_turn", "stop_sequence", "completed", "eos"),
        "length": ("length", "max_tokens", "max_output_tokens", "incomplete"),
        "tool_calls": ("tool_calls", "tool_call", "tool-calls", "tool_use", "function_call"),
        "content_filter": ("content_filter", "content-filter", "safety", "refusal", "recitation"),
        "error": ("error", "failed", "cancelled"),
    }.items()
    for name in names
}
TEXTS = frozenset({"text", "input_text", "output_text", "refusal", "summary_text"})
THOUGHTS = frozenset({"reasoning", "thinking", "redacted_thinking"})  # said to nobody
CALLS = frozenset({"tool_call", "tool_use", "function_call", "tool-call"})
RESULTS = frozenset({"tool_call_response", "tool_result", "function_call_output", "tool-result"})
PICTURES = frozenset({"image_url", "image", "input_image", "uri"})


def finish_of(reason: Any, *, calls: bool = False, failed: bool = False) -> str:
    """Why an answer ended, in our words."""
    if failed:
        return "error"
    known = FINISHES.get(reason.strip().lower()) if isinstance(reason, str) else None
    return known or ("tool_calls" if calls else "stop")


def messages_of(value: Any, *, role: Role = Role.USER) -> tuple[Message, ...]:
    """All messages in it. Plain text is one message, of this role."""
    return tuple(_messages(plain.parsed(value), role))


def answer_of(value: Any, *, finish: Any = None, failed: bool = False) -> Answer:
    """All that an assistant said at once, as one answer."""
    said = messages_of(value, role=Role.ASSISTANT)
    calls = tuple(call for message in said for call in message.tool_calls)
    text = "\n".join(message.text for message in said if message.text and message.role is Role.ASSISTANT)
    return Answer(text=text, tool_calls=calls, finish=finish_of(finish, calls=bool(calls), failed=failed))


def answers_of(value: Any, *, finishes: Sequence[Any] = (), failed: bool = False) -> tuple[Answer, ...]:
    """One answer for each message: several are choices to pick from."""
    value = plain.parsed(value)
    found = []
    for place, one in enumerate(value if isinstance(value, list) else [value]):
        one = plain.parsed(one)
        own = plain.first(one, "finish_reason", "finishReason") if isinstance(one, dict) else None
        finish = own or (finishes[place] if place < len(finishes) else None)
        found.append(answer_of(one, finish=finish, failed=failed))
    return tuple(found)


def _messages(value: Any, role: Role) -> Iterator[Message]:
    if value is None or value == "":
        return
    if isinstance(value, str):
        yield Message(role=role, content=plain.clean(value))
        return
    if isinstance(value, list):
        if len(value) == 1 and isinstance(value[0], list):  # a batch of one conversation
            value = value[0]
        for one in value:
            yield from _one(one, role)
        return
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        for one in value["messages"]:
            yield from _one(one, role)
        return
    yield from _one(value, role)


def _one(raw: Any, role: Role) -> Iterator[Message]:
    raw = plain.parsed(raw)
    if isinstance(raw, str):
        yield Message(role=role, content=plain.clean(raw))
        return
    if not isinstance(raw, dict):
        raise InvalidInput(f"a message is {plain.as_text(raw)[:60]!r}: an object is expected")
    kind = plain.text(raw.get("type"))
    if kind in CALLS | RESULTS | TEXTS | THOUGHTS | PICTURES:  # an item or a part on its own
        raw = {
            "role": Role.TOOL if kind in RESULTS else Role.ASSISTANT if kind in CALLS else role,
            "content": [raw],
        }
    elif "role" not in raw and isinstance(raw.get("kwargs"), dict):  # LangChain, serialised
        path = raw.get("id")
        raw = {"role": path[-1] if isinstance(path, list) and path else "ai", **raw["kwargs"]}
    pieces = _Pieces()
    pieces.take(plain.first(raw, "parts", "content", "contents"))
    calls = plain.parsed(raw.get("tool_calls"))
    for call in calls if isinstance(calls, list) else ():
        pieces.call(call)
    if isinstance(raw.get("function_call"), dict):
        pieces.call(raw["function_call"])
    if not pieces.parts and isinstance(raw.get("refusal"), str):
        pieces.take(raw["refusal"])
    yield from _said(raw, _role(raw, role), pieces)


def _said(raw: Json, role: Role, pieces: _Pieces) -> Iterator[Message]:
    """One message, and one more for each result of a tool that stood in it."""
    for id, result in pieces.results:
        yield Message(role=Role.TOOL, content=result, tool_call_id=id)
    if pieces.results and not pieces.parts and not pieces.calls:
        return
    own = plain.name(plain.first(raw, "tool_call_id", "toolCallId")) if role is Role.TOOL else None
    yield Message(
        role=role,
        content=_content(pieces.parts),
        name=plain.text(raw.get("name")),
        tool_calls=tuple(pieces.calls),
        tool_call_id=own,
    )


def _role(raw: Json, usual: Role) -> Role:
    said = plain.first(raw, "role", "type")
    if said is None or said == "message":
        return usual
    found = ROLES.get(str(said).strip().lower())
    if found is None:
        raise InvalidInput(
            f"a message has the role {str(said)[:60]!r}: known are {', '.join(map(str, Role))}"
        )
    return found


def _content(parts: Sequence[Part]) -> str | tuple[Part, ...] | None:
    if not parts:
        return None
    return parts[0].text if len(parts) == 1 and isinstance(parts[0], TextPart) else tuple(parts)


@dataclass(slots=True)
class _Pieces:
    """What stands in one message, sorted."""

    parts: list[Part] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    results: list[tuple[str | None, str]] = field(default_factory=list)

    def take(self, content: Any) -> None:
        if content is None:
            return
        if isinstance(content, str):
            self._text(content)
            return
        if isinstance(content, dict) and "type" not in content:  # an answer that is an object
            self._text(plain.as_text(content))
            return
        items: Iterable[Any] = content if isinstance(content, list) else [content]
        for one in items:
            self._part(one)

    def call(self, raw: Any) -> None:
        if not isinstance(raw, dict):
            raise InvalidInput(f"a tool call is {plain.as_text(raw)[:60]!r}: an object is expected")
        inner = next((raw[name] for name in ("function", "custom") if isinstance(raw.get(name), dict)), raw)
        said = plain.first(inner, "arguments", "input", "args")
        self.calls.append(
            ToolCall(
                id=plain.name(plain.first(raw, "id", "call_id", "tool_call_id")) or "",
                name=plain.name(inner.get("name")) or "",
                arguments=plain.as_text(said),
            )
        )

    def _text(self, text: str) -> None:
        if text:
            self.parts.append(TextPart(text=plain.clean(text)))

    def _part(self, raw: Any) -> None:
        if isinstance(raw, str):
            self._text(raw)
            return
        if not isinstance(raw, dict):
            self._text(plain.as_text(raw))
            return
        kind = plain.text(raw.get("type"))
        if kind in THOUGHTS:
            return
        if kind in CALLS:
            self.call(raw if kind != "function_call" else {"id": raw.get("call_id"), **raw, "type": None})
        elif kind in RESULTS:
            id = plain.name(plain.first(raw, "id", "tool_use_id", "call_id", "tool_call_id"))
            result = plain.first(raw, "response", "result", "output", "content")
            self.results.append((id, plain.as_text(result)))
        elif kind in PICTURES and (url := _address(raw)) is not None:
            self.parts.append(ImagePart(url=url, media_type=plain.text(raw.get("mime_type"))))
        else:
            said = plain.first(raw, "text", "content", "refusal")
            if kind in TEXTS or kind is None:
                self._text(plain.as_text(said))
            else:
                self._text(f"[{kind[:60]}]")


def _address(raw: Json) -> str | None:
    """Of a picture on the web; bytes that came along are not kept."""
    found = plain.first(raw, "image_url", "url", "uri", "image")
    if isinstance(found, dict):
        found = found.get("url")
    modality = raw.get("modality", "image")
    return (
        found
        if isinstance(found, str) and found.startswith(("http://", "https://")) and modality == "image"
        else None
    )
