"""A Responses request, read once: refused with the field's name, or known to be answerable.

Refused is what would be promised and not done: tools that only OpenAI runs, answers in the background, prompts
that are kept elsewhere, several answers at once. Taken and let be is what changes nothing that can be seen
from outside. What nobody here knows goes on to the upstream as it came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heedful.dialect import fields, responses_items
from heedful.dialect.fields import Check, Json, refused
from heedful.dialect.responses_items import Item

LOGPROBS = "message.output_text.logprobs"
INCLUDABLE = (
    LOGPROBS,
    # Of these a chat has nothing to give: taken, because clients send them unasked.
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
)
TIERS = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
MODES = ("auto", "none", "required")
MOST_METADATA, LONGEST_KEY, LONGEST_VALUE = 16, 64, 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that can be answered. None means that the field was not sent, or null."""

    model: str
    items: tuple[Item, ...]  # as sent; plain text is one user message
    instructions: str | None = None  # for this request only: never part of the history
    previous_response_id: str | None = None
    conversation: str | None = None  # its id
    tools: tuple[Item, ...] = ()
    tool_choice: Json = "auto"
    parallel_tool_calls: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None  # of hosted tools: kept and repeated only
    text: Mapping[str, Json]  # always with a `format`
    reasoning: Mapping[str, Json] | None = None
    include: frozenset[str] = frozenset()
    top_logprobs: int | None = None
    metadata: Mapping[str, str]
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    service_tier: str | None = None
    truncation: str = "disabled"  # repeated only: how much fits is the upstream's to know
    store: bool = True
    stream: bool = False
    extra: Mapping[str, Json]  # fields that nobody here knows

    @property
    def logprobs(self) -> bool:
        """Whether the answer is to show them."""
        return LOGPROBS in self.include


def read(body: Json, *, hosted: bool = False) -> Asked:
    """The request in `body`, or `InvalidInput` with the field. `hosted`: the upstream runs tools of its own."""
    fields.mapping(body, "body")
    given = {name: value for name, value in body.items() if value is not None}
    for name, why in REFUSED.items():
        if name in given:
            raise refused(name, why)
    if given.get("background", False) is not False:
        raise refused("background", "is not offered: leave it out, and stream if the answer takes long")
    fields.optional(given, "", CHECKS)
    conversation = _conversation(given)
    tools = tuple(_tools(given.get("tools", []), hosted))
    return Asked(
        model=fields.word(given.get("model"), "model"),
        items=tuple(_items(given)),
        conversation=conversation,
        tools=tools,
        tool_choice=_tool_choice(given.get("tool_choice", "auto"), tools, hosted),
        text={"format": {"type": "text"}, **_without_none(given.get("text", {}))},
        include=frozenset(given.get("include", ())),
        metadata=given.get("metadata", {}),
        extra={name: value for name, value in body.items() if name not in OURS},
        **{name: given[name] for name in KEPT if name in given},
    )


def references(asked: Asked) -> tuple[str, ...]:
    """The ids of items that the request names without sending them."""
    return tuple(item["id"] for item in asked.items if responses_items.kind_of(item) == "item_reference")


# -- what may stand where ------------------------------------------------------------------------------------


def _conversation(given: Mapping[str, Json]) -> str | None:
    sent = given.get("conversation")
    if sent is None:
        return None
    if "previous_response_id" in given:
        raise refused("conversation", "and previous_response_id both say what came before: send one of them")
    if isinstance(sent, dict):
        return str(fields.word(sent.get("id"), "conversation.id"))
    return fields.word(sent, "conversation")


def _items(given: Mapping[str, Json]) -> list[Item]:
    sent = given.get("input", [])
    if isinstance(sent, str):
        return [{"type": "message", "role": "user", "content": sent}]
    if not isinstance(sent, list):
        raise refused("input", f"is {fields.shown(sent)}: send text, or a list of items")
    if not sent and "previous_response_id" not in given and "conversation" not in given:
        raise refused("input", "is missing: send text, or a list of items")
    return [responses_items.check(item, f"input.{place}") for place, item in enumerate(sent)]


def _tools(sent: Json, hosted: bool) -> list[Item]:
    fields.sequence(sent, "tools")
    for place, tool in enumerate(sent):
        field = f"tools.{place}"
        fields.mapping(tool, field)
        kind = fields.word(tool.get("type"), f"{field}.type")
        if kind != "function":
            if not hosted:
                raise refused(
                    f"{field}.type",
                    f"is {fields.shown(kind)}, a tool that the server itself would run: this one passes on "
                    "tools of type function only",
                )
            continue
        if "name" not in tool and isinstance(tool.get("function"), dict):
            raise refused(f"{field}.name", "is missing: put what `function` holds beside `type`")
        fields.word(tool.get("name"), f"{field}.name")
        fields.optional(tool, field, FUNCTION)
    return [_tool(tool) for tool in sent]


def _tool(tool: Item) -> Item:
    """A function with all that its own client expects to find; others as they are."""
    if tool["type"] != "function":
        return tool
    return {"description": None, "parameters": None, "strict": None, **tool}


def _tool_choice(choice: Json, tools: Sequence[Item], hosted: bool) -> Json:
    functions = [tool["name"] for tool in tools if tool["type"] == "function"]
    if isinstance(choice, str):
        fields.one_of(*MODES)(choice, "tool_choice")
        if choice == "required" and not tools:
            raise refused("tool_choice", "is 'required', and there are no tools: send some")
        return choice
    fields.mapping(choice, "tool_choice")
    match choice.get("type"):
        case "function":
            if "name" not in choice and isinstance(choice.get("function"), dict):
                raise refused("tool_choice.name", "is missing: put what `function` holds beside `type`")
            _known(choice.get("name"), functions, "tool_choice.name")
        case "allowed_tools":
            fields.one_of("auto", "required")(choice.get("mode"), "tool_choice.mode")
            allowed = fields.sequence(choice.get("tools"), "tool_choice.tools")
            if not allowed:
                raise refused("tool_choice.tools", "is empty: name a tool, or choose 'none'")
            for place, tool in enumerate(allowed):
                field = f"tool_choice.tools.{place}"
                fields.mapping(tool, field)
                _known(tool.get("type"), [tool["type"] for tool in tools], f"{field}.type")
                if tool["type"] == "function":
                    _known(tool.get("name"), functions, f"{field}.name")
        case kind if not hosted:
            raise refused("tool_choice.type", f"is {fields.shown(kind)}: send function or allowed_tools")
    return choice


def _known(name: Json, there_are: Sequence[str], field: str) -> None:
    if name not in there_are:
        there = fields.listed(there_are) if there_are else "none"
        raise refused(field, f"is {fields.shown(name)}, which is not among the tools: there is {there}")


def _text(text: Json, field: str) -> Json:
    fields.mapping(text, field)
    fields.optional(text, field, {"verbosity": fields.one_of("low", "medium", "high")})
    form = text.get("format")
    if form is None:
        return text
    fields.mapping(form, f"{field}.format")
    fields.one_of("text", "json_object", "json_schema")(form.get("type"), f"{field}.format.type")
    if form["type"] == "json_schema":
        fields.word(form.get("name"), f"{field}.format.name")
        fields.mapping(form.get("schema"), f"{field}.format.schema")
        optional = {"strict": fields.flag, "description": fields.text}
        fields.optional(form, f"{field}.format", optional)
    return text


def _reasoning(reasoning: Json, field: str) -> Json:
    fields.mapping(reasoning, field)
    fields.optional(reasoning, field, REASONING)
    return reasoning


def _include(include: Json, field: str) -> Json:
    for place, one in enumerate(fields.sequence(include, field)):
        fields.one_of(*INCLUDABLE)(one, f"{field}.{place}")
    return include


def _metadata(metadata: Json, field: str) -> Json:
    fields.mapping(metadata, field)
    if len(metadata) > MOST_METADATA:
        raise refused(field, f"has {len(metadata)} entries: send at most {MOST_METADATA}")
    for name, value in metadata.items():
        here = f"{field}.{name[:LONGEST_KEY]}"
        if len(name) > LONGEST_KEY:
            raise refused(here, f"has a name of {len(name)} characters: send at most {LONGEST_KEY}")
        if len(fields.text(value, here)) > LONGEST_VALUE:
            raise refused(here, f"has {len(value)} characters: send at most {LONGEST_VALUE}")
    return metadata


def _stream_options(options: Json, field: str) -> Json:
    """Of obfuscation there is none to switch off."""
    fields.mapping(options, field)
    fields.optional(options, field, {"include_obfuscation": fields.flag})
    return options


def _without_none(given: Mapping[str, Json]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


CHECKS: Mapping[str, Check] = {
    "instructions": fields.text,
    "previous_response_id": fields.word,
    "parallel_tool_calls": fields.flag,
    "temperature": fields.number(0, 2),
    "top_p": fields.number(0, 1),
    "max_output_tokens": fields.whole(1),
    "max_tool_calls": fields.whole(1),
    "text": _text,
    "reasoning": _reasoning,
    "include": _include,
    "top_logprobs": fields.whole(0, 20),
    "metadata": _metadata,
    "user": fields.text,
    "safety_identifier": fields.text,
    "prompt_cache_key": fields.text,
    "prompt_cache_retention": fields.one_of("in_memory", "24h"),
    "service_tier": fields.one_of(*TIERS),
    "truncation": fields.one_of("auto", "disabled"),
    "store": fields.flag,
    "stream": fields.flag,
    "stream_options": _stream_options,
}
REASONING: Mapping[str, Check] = {
    "effort": fields.one_of("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    "summary": fields.one_of("auto", "concise", "detailed"),
    "generate_summary": fields.one_of("auto", "concise", "detailed"),
    "context": fields.one_of("auto", "current_turn", "all_turns"),
    "mode": fields.word,
}
FUNCTION: Mapping[str, Check] = {
    "description": fields.text,
    "parameters": fields.mapping,
    "strict": fields.flag,
}
KEPT = CHECKS.keys() - {"text", "include", "metadata", "stream_options"}  # as they are, under their own name
# Known by another name here, or not possible: passed on they would change the chat behind our back.
REFUSED: Mapping[str, str] = {
    "prompt": "names a prompt that is kept elsewhere: send instructions and input",
    "n": "is not part of this interface: a response is one answer",
    "messages": "belongs to chat completions: send input",
    "response_format": "belongs to chat completions: send text.format",
    "max_tokens": "belongs to chat completions: send max_output_tokens",
    "max_completion_tokens": "belongs to chat completions: send max_output_tokens",
    "reasoning_effort": "belongs to chat completions: send reasoning.effort",
    "logprobs": f"belongs to chat completions: send include with {LOGPROBS}",
    "functions": "belongs to chat completions: send tools",
    "function_call": "belongs to chat completions: send tool_choice",
}
# Compaction saves space only: without it a conversation that is too long is refused by the upstream.
OURS = frozenset(
    {
        *CHECKS,
        *REFUSED,
        "model",
        "input",
        "conversation",
        "tools",
        "tool_choice",
        "background",
        "context_management",
    }
)
