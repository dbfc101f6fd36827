"""The items of a Responses request, checked one by one, and as the messages of a chat.

A chat has fewer kinds of things and more rules. One turn of the assistant is one message there, its calls
beside its text, and the outputs of its calls come right behind it; items are looser, so messages are grouped
by the call that they answer. Reasoning stays behind: it was the earlier model's, and no chat takes it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from heedful.dialect import fields
from heedful.dialect.fields import Check, Json, refused

Item = dict[str, Any]
Message = dict[str, Any]  # of a chat

# -- checking ------------------------------------------------------------------------------------------------


def check(item: Json, field: str) -> Item:
    """The item, or `InvalidInput` with the path of what is wrong in it."""
    fields.mapping(item, field)
    kind = kind_of(item)
    fields.one_of(*KINDS)(kind, f"{field}.type")
    KINDS[kind](item, field)
    return dict(item)


def kind_of(item: Mapping[str, Json]) -> Json:
    """An easy message and a bare reference come without a type."""
    if item.get("type") is not None:
        return item["type"]
    if "role" in item:
        return "message"
    return "item_reference" if "id" in item else None


def _message(item: Item, field: str) -> None:
    role = item.get("role")
    if role == "tool":
        raise refused(f"{field}.role", "is 'tool': send an item of type function_call_output")
    fields.one_of(*PARTS_OF)(role, f"{field}.role")
    content = item.get("content")
    if not isinstance(content, str):
        _parts(content, f"{field}.content", PARTS_OF[item["role"]])


def _call(item: Item, field: str) -> None:
    fields.word(item.get("call_id"), f"{field}.call_id")
    fields.word(item.get("name"), f"{field}.name")
    fields.text(item.get("arguments"), f"{field}.arguments")


def _output(item: Item, field: str) -> None:
    fields.word(item.get("call_id"), f"{field}.call_id")
    output = item.get("output")
    if not isinstance(output, str):
        _parts(output, f"{field}.output", OF_TOOLS)


def _reasoning(item: Item, field: str) -> None:
    fields.sequence(item.get("summary", []), f"{field}.summary")


def _reference(item: Item, field: str) -> None:
    fields.word(item.get("id"), f"{field}.id")


KINDS: Mapping[str, Callable[[Item, str], None]] = {
    "message": _message,
    "function_call": _call,
    "function_call_output": _output,
    "reasoning": _reasoning,
    "item_reference": _reference,
}


def _parts(parts: Json, field: str, kinds: Sequence[str]) -> None:
    if not isinstance(parts, list):
        raise refused(field, f"is {fields.shown(parts)}: send text, or a list of parts")
    for place, part in enumerate(parts):
        here = f"{field}.{place}"
        fields.mapping(part, here)
        fields.one_of(*kinds)(part.get("type"), f"{here}.type")
        PARTS[part["type"]](part, here)


def _has(name: str, what: Check) -> Callable[[Item, str], None]:
    def check(part: Item, field: str) -> None:
        what(part.get(name), f"{field}.{name}")

    return check


def _image(part: Item, field: str) -> None:
    if part.get("file_id") is not None:
        raise refused(f"{field}.file_id", "names a file that is kept elsewhere: send image_url")
    fields.word(part.get("image_url"), f"{field}.image_url")
    fields.optional(part, field, {"detail": fields.one_of(*DETAILS)})


def _file(part: Item, field: str) -> None:
    if part.get("file_url") is not None:
        raise refused(f"{field}.file_url", "is an address, which no chat takes: send file_data")
    if part.get("file_id") is None and part.get("file_data") is None:
        raise refused(f"{field}.file_data", "is missing: send it, or file_id")
    fields.optional(part, field, dict.fromkeys(OF_FILES, fields.word))


def _audio(part: Item, field: str) -> None:
    audio = fields.mapping(part.get("input_audio"), f"{field}.input_audio")
    for name in ("data", "format"):
        fields.word(audio.get(name), f"{field}.input_audio.{name}")


PARTS: Mapping[str, Callable[[Item, str], None]] = {
    "input_text": _has("text", fields.text),
    "output_text": _has("text", fields.text),
    "refusal": _has("refusal", fields.text),
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}
SENT = ("input_text", "input_image", "input_file", "input_audio")
PARTS_OF: Mapping[str, Sequence[str]] = {
    "user": SENT,
    "system": SENT,
    "developer": SENT,
    "assistant": ("output_text", "refusal", "input_text"),
}
OF_TOOLS = ("input_text", "input_image", "input_file")
OF_FILES = ("file_data", "file_id", "filename")
# What a chat calls them; it knows no size above high.
DETAILS: Mapping[str, str] = {"auto": "auto", "low": "low", "high": "high", "original": "high"}


# -- as messages ---------------------------------------------------------------------------------------------


def messages(
    items: Iterable[Item], history: Iterable[Message], known: Mapping[str, Item]
) -> tuple[list[Message], str | None]:
    """All messages of history and items in a chat's order, and the id of a call that still has no output.

    `known` are the items that references may name, by id.
    """
    chat = _Chat()
    for message in history:
        chat.add_message(message)
    for place, item in enumerate(items):
        field = f"input.{place}"
        if kind_of(item) == "item_reference":
            if item["id"] not in known:
                raise refused(
                    f"{field}.id",
                    f"is {fields.shown(item['id'])}, an item that is not kept here: send the item itself",
                )
            item = known[item["id"]]
        chat.add_item(item, field)
    return [message for group in chat.groups for message in group], next(iter(chat.waiting), None)


class _Chat:
    """Messages in groups: an assistant's calls with their outputs, anything else alone."""

    def __init__(self) -> None:
        self.groups: list[list[Message]] = []
        self.waiting: dict[str, list[Message]] = {}  # a call's id -> the group that its output belongs to
        self._speaking: Message | None = None  # the assistant's message that its next items may join

    def add_message(self, message: Message) -> None:
        """One of the history: it was built here, and is taken as it is."""
        group = self.waiting.pop(message.get("tool_call_id") or "", None)
        if group is not None:
            group.append(message)
            return
        self._begin(message)
        for call in message.get("tool_calls") or ():
            self.waiting[call["id"]] = self.groups[-1]

    def add_item(self, item: Item, field: str) -> None:
        match kind_of(item):
            case "message" if item["role"] == "assistant":
                self._say(words(item["content"]))
            case "message":
                self._begin({"role": item["role"], "content": content(item["content"])})
                self._speaking = None
            case "function_call":
                self._call(item, field)
            case "function_call_output":
                self._answer(item, field)

    def _say(self, said: str) -> None:
        """Text after a call belongs to the same message; text after text is another one."""
        if self._speaking is not None and "tool_calls" in self._speaking:
            self._speaking["content"] = (self._speaking["content"] or "") + said
        else:
            self._speaking = self._begin({"role": "assistant", "content": said})

    def _call(self, item: Item, field: str) -> None:
        if item["call_id"] in self.waiting:
            raise refused(
                f"{field}.call_id", f"is {fields.shown(item['call_id'])} again: send each call once"
            )
        if self._speaking is None:
            self._speaking = self._begin({"role": "assistant", "content": None})
        function = {"name": item["name"], "arguments": item["arguments"]}
        call = {"id": item["call_id"], "type": "function", "function": function}
        self._speaking.setdefault("tool_calls", []).append(call)
        self.waiting[item["call_id"]] = self.groups[-1]

    def _answer(self, item: Item, field: str) -> None:
        group = self.waiting.pop(item["call_id"], None)
        if group is None:
            raise refused(
                f"{field}.call_id",
                f"is {fields.shown(item['call_id'])}, and no function call waits for that output: send the "
                "call before it, or the previous_response_id that has it",
            )
        group.append({"role": "tool", "tool_call_id": item["call_id"], "content": content(item["output"])})
        self._speaking = None

    def _begin(self, message: Message) -> Message:
        self.groups.append([message])
        return message


def words(said: Json) -> str:
    """What an assistant said. A refusal is what it said, too: no upstream loses it that way."""
    if isinstance(said, str):
        return said
    return "".join(part["refusal"] if part["type"] == "refusal" else part["text"] for part in said)


def content(sent: Json) -> Json:
    """Text where it is only text, because every upstream takes that; else a chat's parts."""
    if isinstance(sent, str):
        return sent
    parts = [_part(part) for part in sent]
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _part(part: Item) -> dict[str, Json]:
    match part["type"]:
        case "input_image":
            image = {"url": part["image_url"]}
            if part.get("detail") is not None:
                image["detail"] = DETAILS[part["detail"]]
            return {"type": "image_url", "image_url": image}
        case "input_file":
            file = {name: part[name] for name in OF_FILES if part.get(name) is not None}
            return {"type": "file", "file": file}
        case "input_audio":
            return {"type": "input_audio", "input_audio": part["input_audio"]}
        case _:
            return {"type": "text", "text": part["text"]}
