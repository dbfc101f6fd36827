"""Take from a record what its tenant does not want kept, before anybody writes it down.

`redacted` puts a mark in the place of everything personal that the guards find, numbered within the record, so
that a conversation stays readable. `metadata` keeps numbers, times, ids and the names of things, and no text.
What was taken once is gone: a record is never loosened, so that doing it twice changes nothing, and the same
record sent again is the same again.

Ids are never touched, because records find one another by them: people are given pseudonyms before they come here.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, TypeVar

from heedful.domain.capture import Capture
from heedful.domain.content import AudioPart, ImagePart, Message, TextPart, ToolCall
from heedful.domain.episode import Episode, Purpose, Turn, World
from heedful.domain.feedback import Correction, DeadLetter, Demonstration, Feedback, Flag, Form
from heedful.guards.pii import Redactor, marked

R = TypeVar("R", Turn, Episode, Feedback)
Change = Callable[[str], str]

WITHHELD = "[WITHHELD]"  # where a form of feedback cannot be without a text
STRICTER = list(Capture)  # from left to right
DEEPEST = 64  # levels of a JSON value; what lies deeper is dropped, because nobody can look through it
ORIGIN = ("trace", "span", "scopes", "under", "agent", "model", "gen_ai.response.id")
LONG = 10**7  # numbers from here on may be a card's or a telephone's

# Ids, labels of ours and numbers: everything else that is a text was said by somebody.
KEPT = frozenset(
    {
        *("id", "tenant", "episode", "agent", "at", "policy", "index", "sibling_of", "addressee", "parent"),
        *(
            "agent_instance",
            "key",
            "finish",
            "tokens",
            "allocation",
            "config",
            "latency",
            "usage",
            "rewards",
            "purpose",
        ),
        *(
            "product",
            "user",
            "segment",
            "language",
            "task_type",
            "started_at",
            "ended_at",
            "outcome",
            "capture",
        ),
        *("turn", "by", "source", "confidence", "received_at", "form", "type", "role", "tool_call_id"),
        *(
            "digest",
            "media_type",
            "heard",
            "coordination",
            "safety",
            "guard",
            "category",
            "score",
            "taxonomy",
        ),
        *("shown", "chosen", "places", "queue", "item", "assignment", "cohort", "positions", "guideline"),
        *("task_version", "suggestion_by", "opened_at", "sent_at", "state", "progress"),
    }
)


# -- records -------------------------------------------------------------------------------------------------


def captured(record: R, capture: Capture) -> R:
    """The record as it may be kept, whichever of the three it is."""
    taken: R = OF[type(record)](record, capture)
    return taken


def of_turn(turn: Turn, capture: Capture) -> Turn:
    """Token ids go with the text: they would give it back."""
    if _enough(turn.capture, capture):
        return turn
    return _redacted_turn(turn) if capture is Capture.REDACTED else _bare_turn(turn)


def of_episode(episode: Episode, capture: Capture) -> Episode:
    if _enough(episode.capture, capture):
        return episode
    return _redacted(episode) if capture is Capture.REDACTED else _bare_episode(episode)


def of_feedback(feedback: Feedback, capture: Capture) -> Feedback:
    """What is nothing but text, such as a correction, keeps that it was said, about what, by whom and when."""
    if _enough(feedback.capture, capture):
        return feedback
    return _redacted(feedback) if capture is Capture.REDACTED else _bare_feedback(feedback)


def of_letter(letter: DeadLetter, capture: Capture) -> DeadLetter:
    """One of a tenant that keeps no text can be counted, and not replayed."""
    if capture is Capture.FULL:
        return letter
    redact = Redactor()
    payload = _text(letter.payload, redact) if capture is Capture.REDACTED else WITHHELD
    return replace(letter, payload=payload, reason=redact(letter.reason))


def _enough(done: Capture, wanted: Capture) -> bool:
    return STRICTER.index(done) >= STRICTER.index(wanted)


OF: Mapping[type, Callable[[Any, Capture], Any]] = {
    Turn: of_turn,
    Episode: of_episode,
    Feedback: of_feedback,
}


def keeps_bytes(capture: Capture) -> bool:
    """Whether pictures and recordings may be kept: we cannot look into them."""
    return capture is Capture.FULL


def has_text(turn: Turn) -> bool:
    """Whether the answer can be given again as it was given the first time."""
    said = (turn.answer, *(call.arguments for call in turn.tool_calls))
    return turn.capture is Capture.FULL or (turn.capture is Capture.REDACTED and not any(map(marked, said)))


def same_request(turn: Turn, messages: Sequence[Message]) -> bool:
    """Whether these messages would stand in the turn as its request, as far as that can be told."""
    if turn.capture is Capture.METADATA:
        return turn.metadata.get(REQUEST) == _lengths(messages)
    redact = Redactor()
    asked = messages if turn.capture is Capture.FULL else [_walked(one, redact) for one in messages]
    return [one.text for one in turn.request] == [one.text for one in asked]


# -- redacted ------------------------------------------------------------------------------------------------


def _redacted_turn(turn: Turn) -> Turn:
    taken: Turn = _walked(turn, Redactor())
    same = (taken.answer, taken.tool_calls) == (turn.answer, turn.tool_calls)
    return replace(taken, tokens=turn.tokens if same else None, capture=Capture.REDACTED)


def _redacted(record: R) -> R:
    taken: R = _walked(record, Redactor())
    return replace(taken, capture=Capture.REDACTED)


def _walked(value: Any, change: Change, depth: int = 0) -> Any:
    """The value with every text in it changed, whatever fields it has: one that nobody thought of is changed too."""
    if depth > DEEPEST:
        return None
    match value:
        case Enum():
            return value
        case str():
            return _text(value, change)
        case ImagePart(url=url) if url is None or url.startswith("data:"):
            return TextPart(text="[image]")
        case AudioPart(transcript=transcript):
            return TextPart(text=f"[audio] {_text(transcript, change)}" if transcript else "[audio]")
        case Mapping():
            return {change(str(key)): _counted(inner, change, depth) for key, inner in value.items()}
        case tuple() | list():
            return type(value)(_counted(inner, change, depth) for inner in value)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value) if field.name not in KEPT]
            return replace(
                value, **{name: _walked(getattr(value, name), change, depth + 1) for name in names}
            )
        case _:
            return value


def _counted(value: Any, change: Change, depth: int) -> Any:
    """A value inside others, where a whole number may be anybody's card."""
    if isinstance(value, int) and abs(value) >= LONG:
        said = str(value)
        return value if change(said) == said else change(said)
    return _walked(value, change, depth + 1)


def _text(text: str, change: Change) -> str:
    """JSON is changed value by value, so that it stays JSON, and no escape hides anything in it."""
    if text[:64].lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(text)
            taken = _walked(value, change)
            if taken != value:
                text = json.dumps(taken, ensure_ascii=False)
        except (ValueError, RecursionError):
            pass  # it only began like JSON
    return change(text)


# -- metadata only -------------------------------------------------------------------------------------------

REQUEST, ANSWER, SAID = "request_characters", "answer_characters", "characters"


def _bare_turn(turn: Turn) -> Turn:
    return replace(
        turn,
        request=tuple(map(_bare_message, turn.request)),
        answer="",
        tool_calls=_bare_calls(turn.tool_calls),
        tokens=None,
        sampling=replace(turn.sampling, stop=(), extra=None),
        rulings=tuple(replace(ruling, reason=None) for ruling in turn.rulings),
        view=None if turn.view is None else replace(turn.view, actions=None),
        world=_bare_world(turn.world),
        metadata={REQUEST: _lengths(turn.request), ANSWER: str(len(turn.answer)), **_origin(turn)},
        capture=Capture.METADATA,
    )


def _origin(turn: Turn) -> dict[str, str]:
    """Which call of which model it was elsewhere: ids and names of things, by which its trace is put together."""
    if turn.purpose is not Purpose.IMPORTED:
        return {}
    return {name: turn.metadata[name] for name in ORIGIN if name in turn.metadata}


def _bare_episode(episode: Episode) -> Episode:
    return replace(episode, world=_bare_world(episode.world), metadata={}, capture=Capture.METADATA)


def _bare_feedback(feedback: Feedback) -> Feedback:
    said, length = _bare_form(feedback.said)
    judgement = feedback.judgement
    return replace(
        feedback,
        said=said,
        judgement=None if judgement is None else replace(judgement, suggestion=None, reason=None),
        metadata={} if length is None else {SAID: length},
        capture=Capture.METADATA,
    )


def _bare_form(said: Form) -> tuple[Form, str | None]:
    """What was said without its words, and how many characters they had."""
    match said:
        case Correction(text=text):
            return replace(said, text=WITHHELD), str(len(text))
        case Flag(reason=reason):
            return replace(said, reason=""), str(len(reason))
        case Demonstration(prompt=prompt, answer=answer):
            bare = replace(said, prompt=tuple(map(_bare_message, prompt)), answer=WITHHELD)
            return bare, f"{_lengths(prompt)} {len(answer)}"
        case _:
            return said, None


def _bare_message(message: Message) -> Message:
    return replace(message, content=None, name=None, tool_calls=_bare_calls(message.tool_calls))


def _bare_calls(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    """Which tools were called, and not with what."""
    return tuple(replace(call, arguments="") for call in calls)


def _bare_world(world: World | None) -> World | None:
    return None if world is None else replace(world, environment=None)


def _lengths(messages: Sequence[Message]) -> str:
    """Of each message, in characters."""
    return " ".join(str(len(message.text)) for message in messages)
