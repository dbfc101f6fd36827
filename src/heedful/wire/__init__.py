"""What goes over HTTP, in both directions: shared by the service and the client.

On our own routes a field that we do not know is refused: a misspelt `confidense` that is silently dropped
would train on the wrong number. The chat routes are OpenAI's, and there unknown fields are passed on.

`fields` has what a field may hold; then, in the order of the road: `chat`, `episodes`, `messages`, `said` (the
forms of feedback), `feedback`, `labeling`, `releases`; `retention`, `keys`, and in `answers` what comes back
whatever was asked.
"""

from heedful.wire.answers import ErrorBody, ErrorOut, ListOf
from heedful.wire.chat import IN_HEADERS, ChatRequest, EmbeddingsRequest, TurnContext
from heedful.wire.episodes import EpisodeEnd, EpisodeIn, EpisodeStatus, conversation
from heedful.wire.feedback import (
    FEEDBACK,
    MOST_FEEDBACK,
    FeedbackIn,
    FeedbackOut,
    JudgementIn,
    Kept,
    KeptMany,
    ReplayIn,
)
from heedful.wire.fields import At, Metadata, Name, Number, Shape, Share, Short, Whole
from heedful.wire.keys import KeyIn, KeyIssued, KeyOut, RotateIn
from heedful.wire.labeling import DecisionIn, GoldIn, LeaseIn, QueueIn, Work
from heedful.wire.listing import shapes
from heedful.wire.releases import CycleIn, PolicyIn, ReleaseIn, RollBackIn, SamplingIn
from heedful.wire.retention import PurgedOut, PurgeIn
from heedful.wire.said import FORMS

__all__ = [
    "FEEDBACK",
    "FORMS",
    "IN_HEADERS",
    "MOST_FEEDBACK",
    "At",
    "ChatRequest",
    "CycleIn",
    "DecisionIn",
    "EmbeddingsRequest",
    "EpisodeEnd",
    "EpisodeIn",
    "EpisodeStatus",
    "ErrorBody",
    "ErrorOut",
    "FeedbackIn",
    "FeedbackOut",
    "GoldIn",
    "JudgementIn",
    "Kept",
    "KeptMany",
    "KeyIn",
    "KeyIssued",
    "KeyOut",
    "LeaseIn",
    "ListOf",
    "Metadata",
    "Name",
    "Number",
    "PolicyIn",
    "PurgeIn",
    "PurgedOut",
    "QueueIn",
    "ReleaseIn",
    "ReplayIn",
    "RollBackIn",
    "RotateIn",
    "SamplingIn",
    "Shape",
    "Share",
    "Short",
    "TurnContext",
    "Whole",
    "Work",
    "conversation",
    "shapes",
]
