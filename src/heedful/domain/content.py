"""What is said: messages made of parts, tools that are called, tokens as the engine saw them.

Image and audio parts are kept and shown; only text is trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from heedful.domain.ids import Digest
from heedful.errors import InvalidInput

Json = Any  # whatever json.loads can return


class Role(StrEnum):
    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    text: str
    type: Literal["text"] = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePart:
    """A picture, by address or by the digest of its bytes in the blobs."""

    url: str | None = None
    digest: Digest | None = None
    media_type: str | None = None
    type: Literal["image"] = "image"

    def __post_init__(self) -> None:
        if (self.url is None) == (self.digest is None):
            raise InvalidInput("an image has either a url or a digest", field="image")


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioPart:
    """A recording, by the digest of its bytes in the blobs."""

    digest: Digest
    media_type: str
    transcript: str | None = None
    type: Literal["audio"] = "audio"


Part = TextPart | ImagePart | AudioPart


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    id: str
    name: str
    arguments: str  # JSON text exactly as the model wrote it, which may be broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    role: Role
    content: str | tuple[Part, ...] | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """All text of the message, parts joined by a line break."""
        if self.content is None:
            return ""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The answer as the engine sampled it: never re-tokenised from text."""

    ids: tuple[int, ...]  # empty where a server gives only the log-probabilities
    logprobs: tuple[float, ...]  # natural log, at the temperature of the request

    def __post_init__(self) -> None:
        if self.ids and len(self.ids) != len(self.logprobs):
            raise InvalidInput(
                f"{len(self.ids)} token ids with {len(self.logprobs)} logprobs: one of each per token",
                field="tokens",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How an answer was asked for. None means that the engine's default was left alone."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    extra: Mapping[str, Json] | None = None  # fields that we pass on without knowing them


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    spend: float | None = None  # in the currency of the price table


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a policy said to one request."""

    text: str
    finish: str  # stop, length, tool_calls, content_filter
    tool_calls: tuple[ToolCall, ...] = ()
    tokens: Tokens | None = None  # where the engine gives them
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
