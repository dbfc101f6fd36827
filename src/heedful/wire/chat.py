"""Chat, as OpenAI has it, and where in Heedful a turn belongs.

Here fields that we do not know are passed on.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, FailFast, Field, StrictBool, StringConstraints, Tag

from heedful.domain.content import Role
from heedful.domain.episode import AgentView
from heedful.domain.ids import TurnId
from heedful.wire.episodes import WorldIn
from heedful.wire.fields import Name, Number, Shape, Share, Short, Text, Whole


class Foreign(BaseModel):
    """What others defined: fields that we do not know are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class FunctionCall(Foreign):
    name: str
    arguments: str = ""


class CustomCall(Foreign):
    name: str
    input: str = ""


class ChatToolCall(Foreign):
    id: str
    function: FunctionCall | None = None
    custom: CustomCall | None = None


class ImageUrl(Foreign):
    url: str


class AudioData(Foreign):
    data: str
    format: str


class ChatText(Foreign):
    type: Literal["text"]
    text: str


class ChatRefusal(Foreign):
    type: Literal["refusal"]
    refusal: str


class ChatImage(Foreign):
    type: Literal["image_url"]
    image_url: ImageUrl


class ChatAudio(Foreign):
    type: Literal["input_audio"]
    input_audio: AudioData


class ChatOther(Foreign):
    """A part of a kind that we do not know: passed on, and recorded by the name of its kind."""

    type: str


def _known_part(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else getattr(part, "type", None)
    return kind if kind in ("text", "refusal", "image_url", "input_audio") else "other"


ChatPart = Annotated[
    Annotated[ChatText, Tag("text")]
    | Annotated[ChatRefusal, Tag("refusal")]
    | Annotated[ChatImage, Tag("image_url")]
    | Annotated[ChatAudio, Tag("input_audio")]
    | Annotated[ChatOther, Tag("other")],
    Discriminator(_known_part),
]


class ChatMessage(Foreign):
    role: Role
    content: str | tuple[ChatPart, ...] | None = None
    name: str | None = None
    tool_calls: tuple[ChatToolCall, ...] | None = None
    tool_call_id: str | None = None


class AgentViewIn(Shape):
    """What one agent knew and had done when it acted."""

    state: tuple[Number, ...] | None = Field(None, max_length=100_000)
    """State vector."""
    actions: tuple[Text, ...] | None = Field(None, max_length=10_000)
    """Its own history, oldest first."""
    heard: tuple[Name, ...] | None = Field(None, max_length=10_000)
    """Turns of others that it had read."""
    progress: Share | None = None
    """0 to 1."""


class TurnContext(Shape):
    """Where a turn belongs. Under `heedful` in the body; the short ones also as headers or metadata."""

    turn: Name | None = None
    """Yours: sent again with the same one, the first answer comes back. Header `x-heedful-turn`."""
    episode: Name | None = None
    """The task; without one, an episode of its own. Header `x-heedful-episode`."""
    user: Name | None = None
    """A pseudonym of who waits for the answer. Header `x-heedful-user`."""
    segment: Short | None = None
    """Which users. Header `x-heedful-segment`."""
    to: Name | None = None
    """Whom the answer is for: an agent, or `user`. Header `x-heedful-to`."""
    parent: Name | None = None
    """The turn that this one answers. Header `x-heedful-parent`."""
    agent_instance: Name | None = None
    """Which of several running copies. Header `x-heedful-agent-instance`."""
    product: Name | None = None
    """Which application. Header `x-heedful-product`."""
    language: Short | None = None
    """Such as `en`. Header `x-heedful-language`."""
    view: AgentViewIn | None = None
    """What the agent knew. Only in the body."""
    world: WorldIn | None = None
    """The surroundings at this turn, when they change. Only in the body."""

    def view_to_domain(self) -> AgentView | None:
        if self.view is None:
            return None
        heard = self.view.heard
        return AgentView(
            state=self.view.state,
            actions=self.view.actions,
            heard=None if heard is None else tuple(TurnId(id) for id in heard),
            progress=self.view.progress,
        )


IN_HEADERS = (
    "turn",
    "episode",
    "user",
    "segment",
    "to",
    "parent",
    "agent_instance",
    "product",
    "language",
)
"""Fields of `TurnContext` that may come as `x-heedful-…` headers, or as `heedful_…` in the metadata."""


class StreamOptions(Foreign):
    include_usage: StrictBool = False


class ChatRequest(Foreign):
    """`POST /v1/chat/completions`. What is not named here goes on to the upstream as it is."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    messages: Annotated[tuple[ChatMessage, ...], FailFast(), Field(min_length=1)]
    n: Annotated[Whole, Field(ge=1, le=128)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=10)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[Whole, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[Whole, Field(ge=1)] | None = None
    seed: Whole | None = None
    stop: str | tuple[str, ...] | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    logprobs: StrictBool | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: StrictBool | None = None
    heedful: dict[str, Any] | None = None


class EmbeddingsRequest(Foreign):
    """`POST /v1/embeddings`: passed on as it is, to the server of the agent's policy."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    input: str | tuple[Any, ...]
    user: str | None = None
    heedful: dict[str, Any] | None = None
