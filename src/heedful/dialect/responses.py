"""OpenAI's Responses, on top of anything that speaks chat completions.

    asked = read(body)                         # or InvalidInput, with the field
    chat = to_chat(asked, history)             # the request to send
    answer = whole(asked, reply, id=..., created_at=...)
    kept = after(asked, history, reply_message, id=...)   # the history of the next request

For a stream, `Events` takes the chunks of the chat and gives the events that a Responses client waits for.
State is the caller's: what `after` returns, kept by the response's id, is all that `previous_response_id`
needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heedful.dialect import responses_items
from heedful.dialect.fields import Json, refused
from heedful.dialect.responses_events import Events
from heedful.dialect.responses_items import Item, Message
from heedful.dialect.responses_reply import call_id, response_of, said, whole
from heedful.dialect.responses_request import Asked, read, references

__all__ = ["Asked", "Events", "after", "read", "references", "response_of", "to_chat", "whole"]


def to_chat(
    asked: Asked, history: Sequence[Message] = (), *, known: Mapping[str, Item] | None = None
) -> dict[str, Any]:
    """The chat completion to ask for; streaming and `stream_options` are the caller's to add.

    `history` is what `after` gave for the previous response. `known` has the items behind `references(asked)`
    by their ids. Instructions speak in this request only, as OpenAI has it.
    """
    messages = _messages(asked, history, known or {})
    if asked.instructions is not None:
        messages = [{"role": "system", "content": asked.instructions}, *messages]
    if not messages:
        raise refused("input", "is empty, and nothing came before it: send text, or a list of items")
    named = {
        "model": asked.model,
        "messages": messages,
        **_tools(asked),
        **_text(asked.text),
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "max_completion_tokens": asked.max_output_tokens,
        "reasoning_effort": (asked.reasoning or {}).get("effort"),
        "logprobs": asked.logprobs or None,
        "top_logprobs": (asked.top_logprobs or None) if asked.logprobs else None,
        "metadata": dict(asked.metadata) or None,
        "user": asked.user,
        "safety_identifier": asked.safety_identifier,
        "prompt_cache_key": asked.prompt_cache_key,
        "prompt_cache_retention": asked.prompt_cache_retention,
        "service_tier": asked.service_tier,
    }
    return {**asked.extra, **{name: value for name, value in named.items() if value is not None}}


def after(
    asked: Asked,
    history: Sequence[Message],
    reply_message: Mapping[str, Json],
    *,
    id: str,
    known: Mapping[str, Item] | None = None,
) -> list[Message]:
    """The chat so far, without instructions: the history of a request that goes on from this response.

    `reply_message` is the message of the chat's reply, `id` the response's own, as in `whole`.
    """
    spoken: Message = {
        "role": "assistant",
        "content": said(reply_message) + (reply_message.get("refusal") or ""),
    }
    calls = [
        {
            "id": call.get("id") or call_id(id, place),
            "type": "function",
            "function": {
                "name": (call.get("function") or {}).get("name") or "",
                "arguments": (call.get("function") or {}).get("arguments") or "",
            },
        }
        for place, call in enumerate(reply_message.get("tool_calls") or ())
    ]
    if calls:
        spoken |= {"content": spoken["content"] or None, "tool_calls": calls}
    return [*_messages(asked, history, known or {}), spoken]


def _messages(asked: Asked, history: Sequence[Message], known: Mapping[str, Item]) -> list[Message]:
    messages, unanswered = responses_items.messages(asked.items, history, known)
    if unanswered is not None:
        raise refused(
            "input",
            f"has no output for function call {unanswered!r}: send an item of type function_call_output with "
            "its call_id",
        )
    return messages


def _tools(asked: Asked) -> dict[str, Json]:
    """Nothing at all without tools: many upstreams refuse an empty list, and a choice among none."""
    tools, choice = list(asked.tools), asked.tool_choice
    if not tools:
        return {}
    match choice:
        case {"type": "allowed_tools"}:
            # Few upstreams know the choice; all know a shorter list of tools.
            tools = [tool for tool in tools if any(_names(one, tool) for one in choice["tools"])]
            choice = choice["mode"]
        case {"type": "function"}:
            choice = {"type": "function", "function": {"name": choice["name"]}}
    return {
        "tools": [_tool(tool) for tool in tools],
        "tool_choice": None if choice == "auto" else choice,
        "parallel_tool_calls": asked.parallel_tool_calls,
    }


def _names(choice: Mapping[str, Json], tool: Item) -> bool:
    """Whether a tool is the chosen one: hosted tools have no name but their type."""
    return choice.get("type") == tool["type"] and choice.get("name") == tool.get("name")


def _tool(tool: Item) -> Item:
    if tool["type"] != "function":
        return tool
    return {"type": "function", "function": _of(tool, "name", "description", "parameters", "strict")}


def _text(text: Mapping[str, Json]) -> dict[str, Json]:
    form = text["format"]
    wanted: dict[str, Json] = {"verbosity": text.get("verbosity")}
    if form["type"] == "json_schema":
        schema = _of(form, "name", "description", "schema", "strict")
        wanted["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form["type"] != "text":
        wanted["response_format"] = {"type": form["type"]}
    return wanted


def _of(given: Mapping[str, Json], *names: str) -> dict[str, Json]:
    """Those that were sent, of the names that a chat knows too."""
    return {name: given[name] for name in names if given.get(name) is not None}
