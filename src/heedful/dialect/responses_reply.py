"""A chat's reply as a Response, with every field that the official client reads.

A reply is first put into pieces: thought, text, refusal, calls, in the order in which they are shown. Pieces
become items, and neighbouring pieces of one message its parts. Ids of items follow from the response's own,
so that a reply shown twice is the same, and an item's id tells which response it is from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from heedful.dialect.fields import Json
from heedful.dialect.responses_request import TIERS, Asked

Kind = Literal["reasoning", "text", "refusal", "call"]
Item = dict[str, Any]

RESPONSE = "resp_"
# A chat's reason to stop -> ours to be incomplete; every other reason is a good end.
INCOMPLETE: Mapping[str, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}
ITEMS: Mapping[Kind, str] = {
    "reasoning": "reasoning",
    "text": "message",
    "refusal": "message",
    "call": "function_call",
}
PREFIXES: Mapping[str, str] = {"reasoning": "rs", "message": "msg", "function_call": "fc"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of one kind; for a call the text is its arguments."""

    kind: Kind
    text: str
    name: str = ""  # of the function
    call_id: str = ""
    logprobs: Sequence[Item] = ()


def whole(
    asked: Asked,
    chat_reply: Mapping[str, Json],
    *,
    id: str,
    created_at: float,
    completed_at: float | None = None,
) -> Item:
    """The Response that says what this chat completion says."""
    choice = chat_reply["choices"][0]
    finish = choice.get("finish_reason")
    return response(
        asked,
        id=id,
        created_at=created_at,
        completed_at=completed_at,
        incomplete=INCOMPLETE.get(finish),
        output=items(
            pieces(asked, choice, id=id), id=id, last="incomplete" if finish in INCOMPLETE else "completed"
        ),
        usage=usage(chat_reply.get("usage")),
        tier=chat_reply.get("service_tier"),
    )


# -- pieces --------------------------------------------------------------------------------------------------


def pieces(asked: Asked, choice: Mapping[str, Json], *, id: str) -> list[Piece]:
    message = choice.get("message") or {}
    found = [
        Piece(kind="reasoning", text=thought(message)),
        Piece(kind="text", text=said(message), logprobs=logprobs(asked, choice)),
        Piece(kind="refusal", text=message.get("refusal") or ""),
    ]
    found = [piece for piece in found if piece.text]
    for place, call in enumerate(message.get("tool_calls") or ()):
        function = call.get("function") or {}
        found.append(
            Piece(
                kind="call",
                text=function.get("arguments") or "",
                name=function.get("name") or "",
                call_id=call.get("id") or call_id(id, place),
            )
        )
    if choice.get("finish_reason") not in INCOMPLETE and all(piece.kind == "reasoning" for piece in found):
        found.append(
            Piece(kind="text", text="", logprobs=logprobs(asked, choice))
        )  # a good end with nothing to say
    return found


def thought(message: Mapping[str, Json]) -> str:
    """Thinking aloud, under either of the names that servers have for it."""
    return _text(message.get("reasoning_content")) or _text(message.get("reasoning"))


def said(message: Mapping[str, Json]) -> str:
    return _text(message.get("content"))


def _text(content: Json) -> str:
    """Some servers send a list of parts where text is due."""
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def logprobs(asked: Asked, choice: Mapping[str, Json]) -> list[Item]:
    """One entry per token, if the request asked for them."""
    if not asked.logprobs:
        return []
    return [
        {**_logprob(token), "top_logprobs": [_logprob(top) for top in token.get("top_logprobs") or ()]}
        for token in (choice.get("logprobs") or {}).get("content") or ()
    ]


def _logprob(token: Mapping[str, Json]) -> Item:
    return {"token": token["token"], "bytes": token.get("bytes") or [], "logprob": token["logprob"]}


# -- ids -----------------------------------------------------------------------------------------------------


def item_id(id: str, kind: str, place: int) -> str:
    """Of the item of this kind that is the `place`-th of its kind in response `id`."""
    return f"{PREFIXES[kind]}_{id.removeprefix(RESPONSE)}_{place}"


def response_of(item_id: str) -> str | None:
    """The id of the response that an item is from; None for an item that none of ours is like."""
    kind, _, rest = item_id.partition("_")
    stem, _, place = rest.rpartition("_")
    return RESPONSE + stem if kind in PREFIXES.values() and stem and place.isdigit() else None


def call_id(id: str, place: int) -> str:
    """For a call that its server gave no id."""
    return f"call_{id.removeprefix(RESPONSE)}_{place}"


# -- items ---------------------------------------------------------------------------------------------------


def items(pieces: Sequence[Piece], *, id: str, last: str) -> list[Item]:
    """The output; `last` is the status of its last item, which is where an answer breaks off."""
    groups: list[list[Piece]] = []
    for piece in pieces:
        if groups and ITEMS[piece.kind] == ITEMS[groups[-1][0].kind] == "message":
            groups[-1].append(piece)
        else:
            groups.append([piece])
    seen = dict.fromkeys(PREFIXES, 0)
    output = []
    for place, group in enumerate(groups):
        kind = ITEMS[group[0].kind]
        status = last if place == len(groups) - 1 else "completed"
        output.append(item(group, id=item_id(id, kind, seen[kind]), status=status))
        seen[kind] += 1
    return output


def item(group: Sequence[Piece], *, id: str, status: str) -> Item:
    kind = ITEMS[group[0].kind]
    frame: Item = {"id": id, "type": kind, "status": status}
    match kind:
        case "function_call":
            (call,) = group
            return {**frame, "call_id": call.call_id, "name": call.name, "arguments": call.text}
        case "reasoning":
            return {**frame, "summary": [], "content": [part(piece) for piece in group]}
        case _:
            return {**frame, "role": "assistant", "content": [part(piece) for piece in group]}


def part(piece: Piece) -> Item:
    match piece.kind:
        case "refusal":
            return {"type": "refusal", "refusal": piece.text}
        case "reasoning":
            return {"type": "reasoning_text", "text": piece.text}
        case _:
            return {
                "type": "output_text",
                "text": piece.text,
                "annotations": [],
                "logprobs": list(piece.logprobs),
            }


# -- the response --------------------------------------------------------------------------------------------


def response(
    asked: Asked,
    *,
    id: str,
    created_at: float,
    status: str | None = None,
    completed_at: float | None = None,
    incomplete: str | None = None,
    error: Item | None = None,
    output: Sequence[Item] = (),
    usage: Item | None = None,
    tier: Json = None,
) -> Item:
    status = status or ("incomplete" if incomplete else "completed")
    return {
        "id": id,
        "object": "response",
        "created_at": created_at,
        "completed_at": completed_at if status == "completed" else None,
        "status": status,
        "error": error,
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "model": asked.model,
        "output": list(output),
        "usage": usage,
        "service_tier": tier if tier in TIERS else asked.service_tier or "default",
        **_repeated(asked),
        **NEVER,
    }


def _repeated(asked: Asked) -> Item:
    """What the answer says of its own request."""
    return {
        "instructions": asked.instructions,
        "previous_response_id": asked.previous_response_id,
        "conversation": None if asked.conversation is None else {"id": asked.conversation},
        "tools": list(asked.tools),
        "tool_choice": asked.tool_choice,
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "max_output_tokens": asked.max_output_tokens,
        "max_tool_calls": asked.max_tool_calls,
        "text": dict(asked.text),
        "reasoning": {"effort": None, "summary": None, **(asked.reasoning or {})},
        "top_logprobs": asked.top_logprobs or 0,
        "metadata": dict(asked.metadata),
        "user": asked.user,
        "safety_identifier": asked.safety_identifier,
        "prompt_cache_key": asked.prompt_cache_key,
        "prompt_cache_retention": asked.prompt_cache_retention,
        "truncation": asked.truncation,
        "store": asked.store,
    }


# Fields of what is not offered here, so that every field that a client may look for is there.
NEVER: Mapping[str, Json] = {
    "background": False,
    "prompt": None,
    "access_programs": None,
    "image": None,
    "input_transformations": None,
    "moderation": None,
    "prompt_cache_diagnostics": None,
    "prompt_cache_options": None,
    "tool_usage": None,
}


def usage(given: Mapping[str, Json] | None) -> Item | None:
    """A chat's count of tokens; None where the upstream did not count."""
    if not given:
        return None
    asked, answered = given.get("prompt_tokens") or 0, given.get("completion_tokens") or 0
    before = given.get("prompt_tokens_details") or {}
    after = given.get("completion_tokens_details") or {}
    return {
        "input_tokens": asked,
        "input_tokens_details": {
            "cached_tokens": before.get("cached_tokens") or 0,
            "cache_write_tokens": before.get("cache_write_tokens") or 0,
        },
        "output_tokens": answered,
        "output_tokens_details": {"reasoning_tokens": after.get("reasoning_tokens") or 0},
        "total_tokens": given.get("total_tokens") or asked + answered,
    }
