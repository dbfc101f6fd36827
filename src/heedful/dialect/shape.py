"""What a policy's server may send: the fields that somebody reads, and what they can hold.

A server that lies is found out here, before anything of it is recorded or passed on. What nobody reads is not
looked at, so that fields that we do not know go through. How likely each token was is our own wish: where it
comes in a way that we do not know, it is left out, and the answer counts none the less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Wire = dict[str, Any]
Check = Callable[[Any], bool]

MOST_TOKENS = 2**53  # beyond it JSON's numbers are not exact
DEEPEST = 200  # objects and lists within one another, of what we pass on


class Misshapen(ValueError):
    """Something in it cannot be: the message says where."""


def text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def said(value: Any) -> bool:
    """Text; some servers send a list of parts where text is due."""
    return text(value) or (
        isinstance(value, list) and all(isinstance(part, dict) and text(part.get("text")) for part in value)
    )


def count(value: Any) -> bool:
    # A bool is an int to Python.
    return value is None or (type(value) is int and 0 <= value < MOST_TOKENS)


def _holds(value: Any, fields: Mapping[str, Check]) -> bool:
    return value is None or (
        isinstance(value, dict) and all(check(value.get(name)) for name, check in fields.items())
    )


def _function(value: Any) -> bool:
    return _holds(value, FUNCTION)


def _pieces(value: Any) -> bool:
    """Calls of tools, or what a chunk has of them."""
    return value is None or (
        isinstance(value, list) and all(call is not None and _holds(call, CALL) for call in value)
    )


def _calls(value: Any) -> bool:
    """Calls of tools with nothing missing that a client needs to make them."""
    return _pieces(value) and all(_whole(call) for call in value or ())


def _whole(call: Wire) -> bool:
    inner = call.get("function") or {}
    needed = (call.get("id"), inner.get("name"), inner.get("arguments"))
    return (call.get("type") or "function") != "function" or all(isinstance(one, str) for one in needed)


FUNCTION: Mapping[str, Check] = {"name": text, "arguments": text, "input": text}
CALL: Mapping[str, Check] = {
    "index": count,
    "id": text,
    "type": text,
    "function": _function,
    "custom": _function,
}
DELTA: Mapping[str, Check] = {"content": said, "refusal": text, "tool_calls": _pieces}
MESSAGE: Mapping[str, Check] = {**DELTA, "tool_calls": _calls}
DETAILS: tuple[str, ...] = ("prompt_tokens_details", "completion_tokens_details")
DETAIL: Mapping[str, Check] = {"cached_tokens": count, "cache_write_tokens": count, "reasoning_tokens": count}
USAGE: Mapping[str, Check] = {
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), count),
    **dict.fromkeys(DETAILS, lambda value: _holds(value, DETAIL)),
}


def choices(frame: Any, under: str) -> list[Wire]:
    """The choices of a reply or a chunk, whose words lie under `message` or `delta`; `Misshapen` if they are none."""
    found = frame.get("choices") if isinstance(frame, dict) else None
    if not isinstance(found, list):
        raise Misshapen("choices")
    for place, choice in enumerate(found):
        where = f"choices.{place}"
        if not isinstance(choice, dict):
            raise Misshapen(where)
        words = choice.get(under)
        # A chunk may have nothing to say; an answer has a message.
        if not (isinstance(words, dict) or (words is None and under == "delta")):
            raise Misshapen(f"{where}.{under}")
        _each(words or {}, MESSAGE if under == "message" else DELTA, f"{where}.{under}")
        if not text(choice.get("finish_reason")):
            raise Misshapen(f"{where}.finish_reason")
        if choice.get("logprobs") is not None and not _logprobs(choice["logprobs"]):
            choice["logprobs"] = None
    return found


def usage(given: Any) -> Wire:
    """The count of tokens, empty when there is none."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise Misshapen("usage")
    _each(given, USAGE, "usage")
    return given


def _each(value: Wire, fields: Mapping[str, Check], where: str) -> None:
    for name, check in fields.items():
        if not check(value.get(name)):
            raise Misshapen(f"{where}.{name}")


def _logprobs(given: Any) -> bool:
    if not isinstance(given, dict):
        return False
    content = given.get("content")
    return content is None or (isinstance(content, list) and all(map(_token, content)))


def _token(entry: Any) -> bool:
    return _likely(entry) and (
        entry.get("top_logprobs") is None
        or (isinstance(entry["top_logprobs"], list) and all(map(_likely, entry["top_logprobs"])))
    )


def _likely(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("token"), str)
        and type(entry.get("logprob")) in (int, float)
        and isinstance(entry.get("bytes"), list | None)
    )


def flat(value: Any) -> bool:
    """Whether it can be written again: nothing in it lies more than `DEEPEST` levels deep."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return True
    return False
