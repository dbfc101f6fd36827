"""What is read and what is found: the lines of a conversation, and the signs in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from heedful.errors import InvalidInput

KINDS = ("rephrase", "repeat", "correction", "regenerate", "abandon", "thanks", "escalate")
MEASURES = ("edit", "reply_time")  # these carry a value

USER, AGENT = "user", "assistant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One message. Roles other than user and assistant may be there, and say nothing."""

    role: str
    text: str
    at: datetime | None = None

    def __post_init__(self) -> None:
        if self.at is not None and self.at.utcoffset() is None:
            raise InvalidInput(f"at is {self.at.isoformat()}, without a time zone: add one", field="at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """What a user did, and how surely it says something about the agent's answer."""

    kind: str  # one of KINDS or MEASURES
    line: int  # index of the message that shows it
    about: int | None  # index of the agent's message that it is about; None when there is none yet
    confidence: float  # 0 to 1
    value: float | None = None  # edit: how much was changed, 0 to 1; reply_time: seconds

    def __post_init__(self) -> None:
        if self.kind not in KINDS + MEASURES:
            raise InvalidInput(
                f"kind is {self.kind!r}: it is one of {', '.join(KINDS + MEASURES)}", field="kind"
            )
        if not 0 <= self.confidence <= 1:
            raise InvalidInput(f"confidence is {self.confidence}: it goes from 0 to 1", field="confidence")
