"""Chat completions as OpenAI has them: requests, whole replies, and streams of chunks.

A request or a reply goes through the gateway as it came, field by field, with the few changes that are ours;
only what is recorded is turned into our values. What we do not know is therefore never lost on the way.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from heedful.dialect import shape
from heedful.domain.content import (
    Answer,
    AudioPart,
    ImagePart,
    Message,
    Part,
    Role,
    Sampling,
    TextPart,
    Tokens,
    ToolCall,
)
from heedful.domain.ids import Digest
from heedful.domain.models import External, Policy
from heedful.errors import InvalidInput, Unavailable

Wire = dict[str, Any]  # JSON, as OpenAI has it
Keep = Callable[[bytes], Digest]  # where the bytes of pictures and recordings go

# What of a request says how to answer, by our name for it. The first one that is there counts.
SAMPLING: Mapping[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "max_tokens": ("max_completion_tokens", "max_tokens"),
    "seed": ("seed",),
    "stop": ("stop",),
}
OURS = frozenset({"heedful"})  # never leaves the house
NOT_EXTRA = (
    frozenset(name for names in SAMPLING.values() for name in names)
    | OURS
    | {"model", "messages", "n", "stream", "stream_options", "user", "metadata", "store"}
)


# -- requests ------------------------------------------------------------------------------------------------


def request(messages: Sequence[Message], sampling: Sampling, n: int = 1) -> Wire:
    """What to ask, from our values."""
    return {"messages": [message_wire(message) for message in messages], "n": n, **_usual(sampling)}


def for_policy(asked: Wire, policy: Policy) -> Wire:
    """The request as the policy answers it: its own way wherever the request does not say another.

    A hosted model's prompt goes in front of the agent's messages, and its name takes the agent's place.
    """
    whole = merged(asked, policy.sampling)
    if isinstance(policy.body, External):
        whole["model"] = policy.body.model
        if policy.body.prompt:
            own = [message_wire(message) for message in policy.body.prompt]
            whole["messages"] = [*own, *whole["messages"]]
    return whole


def merged(asked: Wire, sampling: Sampling) -> Wire:
    """The request, sampled as usual wherever it does not say how. Null says as little as nothing."""
    whole = {name: value for name, value in asked.items() if name not in OURS}
    for name, value in _usual(sampling).items():
        names = ("max_completion_tokens", "max_tokens") if name == "max_tokens" else (name,)
        if all(whole.get(one) is None for one in names):
            whole[name] = value
    return whole


def _usual(sampling: Sampling) -> Wire:
    named = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
    }
    return {**(sampling.extra or {}), **{name: value for name, value in named.items() if value is not None}}


def sampling_of(asked: Wire) -> Sampling:
    """How an answer was asked for, as it is recorded; what we do not know is kept under `extra`."""
    found: dict[str, Any] = {
        ours: next((asked[name] for name in names if asked.get(name) is not None), None)
        for ours, names in SAMPLING.items()
    }
    stop = found.pop("stop")
    extra = {name: value for name, value in asked.items() if name not in NOT_EXTRA and value is not None}
    return Sampling(
        **found,
        stop=() if stop is None else (stop,) if isinstance(stop, str) else tuple(stop),
        extra=extra or None,
    )


def message_wire(message: Message) -> Wire:
    wire: Wire = {"role": str(message.role), "content": _content_wire(message)}
    if message.name:
        wire["name"] = message.name
    if message.tool_call_id:
        wire["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        wire["tool_calls"] = [tool_call_wire(call) for call in message.tool_calls]
    return wire


def _content_wire(message: Message) -> Any:
    """Pictures by address go along as they are; a message without any is plain text."""
    content = message.content
    if not isinstance(content, tuple):
        return content if content or not message.tool_calls else None
    linked = [part for part in content if isinstance(part, ImagePart) and part.url]
    if not linked:
        return message.text
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image_url", "image_url": {"url": part.url}}
        for part in content
        if isinstance(part, TextPart) or part in linked
    ]


def tool_call_wire(call: ToolCall) -> Wire:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def messages_of(wire: Sequence[Wire], *, keep: Keep | None = None) -> tuple[Message, ...]:
    """Messages as they are recorded. The wire was checked by `wire.ChatRequest` or comes from ourselves.

    Without `keep` the bytes of pictures and recordings are left out, and a word says that they were there.
    """
    return tuple(_message(one, f"messages.{place}", keep) for place, one in enumerate(wire))


def _message(one: Wire, where: str, keep: Keep | None) -> Message:
    content = one.get("content")
    return Message(
        role=Role(one["role"]),
        content=tuple(_part(part, f"{where}.content.{n}", keep) for n, part in enumerate(content))
        if isinstance(content, list | tuple)
        else content,
        name=one.get("name"),
        tool_calls=tuple(map(_tool_call, one.get("tool_calls") or ())),
        tool_call_id=one.get("tool_call_id"),
    )


def _tool_call(call: Wire) -> ToolCall:
    """Functions, and tools whose input is a plain text."""
    inner = call.get("function") or call.get("custom") or {}
    said = inner.get("arguments", inner.get("input"))
    return ToolCall(
        id=_kept(call.get("id") or ""), name=_kept(inner.get("name") or ""), arguments=_kept(said or "")
    )


def _part(part: Wire, where: str, keep: Keep | None) -> Part:
    kind = part.get("type")
    match kind:
        case "text":
            return TextPart(text=part["text"])
        case "refusal":
            return TextPart(text=part["refusal"])
        case "image_url" if part["image_url"]["url"].startswith("data:"):
            head, _, data = part["image_url"]["url"].partition(",")
            digest = _bytes(data, f"{where}.image_url.url", keep)
            media_type = head.removeprefix("data:").partition(";")[0] or None
            return _left_out(kind) if digest is None else ImagePart(digest=digest, media_type=media_type)
        case "image_url":
            return ImagePart(url=part["image_url"]["url"])
        case "input_audio":
            audio = part["input_audio"]
            digest = _bytes(audio["data"], f"{where}.input_audio.data", keep)
            media_type = f"audio/{audio['format']}"
            return _left_out(kind) if digest is None else AudioPart(digest=digest, media_type=media_type)
        case _:
            return _left_out(str(kind))


def _left_out(kind: str) -> TextPart:
    return TextPart(text=f"[{kind}]")


def _bytes(data: str, where: str, keep: Keep | None) -> Digest | None:
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{where} is not base64: {error}", field=where) from error
    return None if keep is None else keep(raw)


def has_bytes(wire: Sequence[Wire]) -> bool:
    """Whether pictures or recordings came along."""
    return any(
        part.get("type") == "input_audio"
        or (part.get("type") == "image_url" and part["image_url"]["url"].startswith("data:"))
        for message in wire
        if isinstance(message.get("content"), list | tuple)
        for part in message["content"]
    )


# -- replies -------------------------------------------------------------------------------------------------


def checked(reply: Any, *, n: int) -> Wire:
    """The reply, if it is a chat completion with `n` answers; `Unavailable` says what is wrong with it."""
    try:
        choices = shape.choices(reply, "message")
        shape.usage(reply.get("usage"))
    except shape.Misshapen as error:
        raise Unavailable(f"it sent no chat completion ({error} is wrong): {str(reply)[:300]}") from error
    if len(choices) != n:
        raise Unavailable(f"it sent {len(choices)} answers, {n} were asked for: does it know `n`?")
    whole: Wire = reply
    return whole


def answers_of(reply: Wire) -> list[Answer]:
    """Each answer of a checked reply, as it is recorded."""
    usage = reply.get("usage") or {}
    choices = reply["choices"]
    # Who does not count says nought.
    alone = (usage.get("completion_tokens") or None) if len(choices) == 1 else None
    return [_answer(choice, usage.get("prompt_tokens") or None, alone) for choice in choices]


def words_of(content: Any) -> str:
    """Text, or the text of the parts that some servers send in its place."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    return content or ""


def _kept(text: str) -> str:
    """As a database can keep it: PostgreSQL takes no NUL, which a model may well say."""
    return text.replace("\0", "\ufffd")


def _answer(choice: Wire, prompt_tokens: int | None, answer_tokens: int | None) -> Answer:
    message = choice["message"]
    tokens = tokens_of(choice)
    return Answer(
        text=_kept(words_of(message.get("content")) or message.get("refusal") or ""),
        finish=_kept(choice.get("finish_reason") or "stop"),
        tool_calls=tuple(map(_tool_call, message.get("tool_calls") or ())),
        tokens=tokens,
        prompt_tokens=prompt_tokens,
        answer_tokens=len(tokens.logprobs) if tokens is not None and answer_tokens is None else answer_tokens,
    )


def tokens_of(choice: Wire) -> Tokens | None:
    """Tokens as the engine sampled them: ids as vLLM gives them, log-probabilities as all do."""
    content = (choice.get("logprobs") or {}).get("content")
    if not content:
        return None
    ids = choice.get("token_ids") or [entry.get("token_id") for entry in content]
    whole = isinstance(ids, list) and len(ids) == len(content) and all(type(id) is int for id in ids)
    return Tokens(
        ids=tuple(ids) if whole else (), logprobs=tuple(float(entry["logprob"]) for entry in content)
    )


def reply_of(answers: Sequence[Answer]) -> Wire:
    """A whole reply, for engines of our own. What the gateway gives it (id, model, time) is missing."""
    asked = answers[0].prompt_tokens
    said = [len(one.tokens.ids) if one.tokens else one.answer_tokens for one in answers]
    known = [count for count in said if count is not None]
    total = sum(known) if len(known) == len(said) else None
    return {
        "object": "chat.completion",
        "choices": [_choice(index, answer) for index, answer in enumerate(answers)],
        "usage": {
            "prompt_tokens": asked or 0,
            "completion_tokens": total or 0,
            "total_tokens": (asked or 0) + (total or 0),
        },
    }


def _choice(index: int, answer: Answer) -> Wire:
    message: Wire = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.tool_calls:
        message["tool_calls"] = [tool_call_wire(call) for call in answer.tool_calls]
        message["content"] = answer.text or None
    choice: Wire = {"index": index, "message": message, "finish_reason": answer.finish, "logprobs": None}
    if answer.tokens is not None:
        choice["logprobs"] = {"content": _logprobs(answer.tokens), "refusal": None}
        choice["token_ids"] = list(answer.tokens.ids)
    return choice


def _logprobs(tokens: Tokens) -> list[Wire]:
    """By token id where the text is not known: a token's own bytes may be half a character."""
    ids = tokens.ids or (None,) * len(tokens.logprobs)
    return [
        {
            "token": "" if id is None else f"token_id:{id}",
            "logprob": logprob,
            "bytes": None,
            "top_logprobs": [],
        }
        for id, logprob in zip(ids, tokens.logprobs, strict=True)
    ]


# -- streams -------------------------------------------------------------------------------------------------


def chunks_of(reply: Wire) -> Iterator[Wire]:
    """A whole reply as the chunks of a stream, with the usage in a last one."""
    frame = {name: value for name, value in reply.items() if name not in ("choices", "usage")}
    frame["object"] = "chat.completion.chunk"

    def chunk(index: int, delta: Wire, finish: str | None = None, **more: Any) -> Wire:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, **more}
        return {**frame, "choices": [choice]}

    for choice in reply["choices"]:
        index, message = choice["index"], choice["message"]
        yield chunk(index, {"role": "assistant", "content": ""})
        said = {
            name: value for name, value in message.items() if name not in ("role", "tool_calls") and value
        }
        more = {"token_ids": choice["token_ids"]} if "token_ids" in choice else {}
        if said:
            yield chunk(index, said, logprobs=choice.get("logprobs"), **more)
        if message.get("tool_calls"):
            calls = [{"index": place, **call} for place, call in enumerate(message["tool_calls"])]
            yield chunk(index, {"tool_calls": calls})
        yield chunk(index, {}, choice.get("finish_reason"))
    yield {**frame, "choices": [], "usage": reply.get("usage")}


class Gathered:
    """Chunks that went by, put together to the reply that they were.

    Pieces are joined when somebody wants to know: adding each to what is there would cost the square of their
    number.
    """

    def __init__(self, *, n: int = 1) -> None:
        self._n = n
        self._frame: Wire = {}
        self._choices: dict[int, _Saying] = {}
        self.usage: Wire | None = None

    def take(self, chunk: Wire) -> None:
        """One more chunk; `Unavailable` when it is none, and then nothing of it is kept."""
        try:
            choices = shape.choices(chunk, "delta") if chunk.get("choices") is not None else []
            usage = shape.usage(chunk.get("usage"))
            for place, choice in enumerate(choices):
                self._may_go_on(choice, f"choices.{place}")
        except shape.Misshapen as error:
            raise Unavailable(
                f"it sent no chunk of a chat completion ({error} is wrong): {str(chunk)[:300]}"
            ) from error
        for name, value in chunk.items():
            if name not in ("choices", "usage", "object") and name not in self._frame:
                self._frame[name] = value
        self.usage = usage or self.usage
        for choice in choices:
            self._choices.setdefault(choice.get("index") or 0, _Saying()).take(choice)

    def _may_go_on(self, choice: Wire, where: str) -> None:
        index = choice.get("index")
        if not shape.count(index) or (index or 0) >= self._n:
            raise shape.Misshapen(f"{where}.index")

    @property
    def answers(self) -> int:
        """How many were begun."""
        return len(self._choices)

    def reply(self) -> Wire:
        """What was said so far."""
        choices = [self._choices[index].choice(index) for index in sorted(self._choices)]
        usage = {} if self.usage is None else {"usage": self.usage}
        return {**self._frame, "object": "chat.completion", "choices": choices, **usage}


@dataclass(slots=True)
class _Saying:
    """One answer that still grows."""

    words: dict[str, list[str]] = field(default_factory=dict)  # by the field of the message
    calls: list[_Calling] = field(default_factory=list)
    numbered: dict[int | None, _Calling] = field(default_factory=dict)  # as the chunks number them
    logprobs: list[Wire] = field(default_factory=list)
    token_ids: list[Any] = field(default_factory=list)
    finish: str | None = None

    def take(self, choice: Wire) -> None:
        self.finish = choice.get("finish_reason") or self.finish
        self.logprobs += (choice.get("logprobs") or {}).get("content") or ()
        if isinstance(choice.get("token_ids"), list):
            self.token_ids += choice["token_ids"]
        for name, value in (choice.get("delta") or {}).items():
            if name == "tool_calls":
                for piece in value or ():
                    self._call(piece)
            elif name == "content" and value is not None:
                self.words.setdefault(name, []).append(words_of(value))
            elif name != "role" and isinstance(value, str):
                self.words.setdefault(name, []).append(value)

    def _call(self, piece: Wire) -> None:
        id, place, inner = piece.get("id") or "", piece.get("index"), piece.get("function") or {}
        call = self.numbered.get(place)
        # Some servers number every call 0, or not at all: an id that is new makes a call new.
        if call is None or (id and call.id and id != call.id):
            call = self.numbered[place] = _Calling()
            self.calls.append(call)
        call.id = id or call.id
        call.name.append(inner.get("name") or "")
        call.arguments.append(inner.get("arguments") or "")

    def choice(self, index: int) -> Wire:
        message: Wire = {"role": "assistant", "content": None}
        message |= {name: "".join(pieces) for name, pieces in self.words.items()}
        if self.calls:
            message["tool_calls"] = [call.wire() for call in self.calls]
        choice: Wire = {"index": index, "message": message, "finish_reason": self.finish}
        if self.logprobs:
            choice["logprobs"] = {"content": self.logprobs, "refusal": None}
        if self.token_ids:
            choice["token_ids"] = self.token_ids
        return choice


@dataclass(slots=True)
class _Calling:
    """One call of a tool that still grows."""

    id: str = ""
    name: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)

    def wire(self) -> Wire:
        inner = {"name": "".join(self.name), "arguments": "".join(self.arguments)}
        return {"id": self.id, "type": "function", "function": inner}
