"""Turns that are on record, woven in again when more of their trace comes.

A turn remembers its place: who acts, within which agents, and under which span that had not come. What was said
in it never changes, and nobody who was known is forgotten.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from heedful.domain.content import Answer
from heedful.domain.episode import Purpose, Turn
from heedful.domain.ids import TurnId
from heedful.feedback.formats import plain
from heedful.feedback.formats.found import LONGEST_VALUE, MODEL, USER, Names
from heedful.feedback.formats.spans import Call, Seen, Span

PLACE = ("agent", "scopes", "under")  # in a turn's metadata: who acts, within whom, under what


def goes_on(turn: Turn, traces: Container[str], names: Names) -> bool:
    """Whether it is a turn that we made of a span of one of these traces."""
    trace, span = turn.metadata.get("trace"), turn.metadata.get("span")
    if trace is None or span is None or trace not in traces or turn.purpose is not Purpose.IMPORTED:
        return False
    return (turn.sibling_of or turn.id) == names.turn(trace, span)


def together(turns: Iterable[Turn]) -> Iterator[list[Turn]]:
    """Each first answer with its siblings."""
    groups: dict[TurnId, list[Turn]] = {}
    for one in sorted(turns, key=lambda turn: turn.index):
        groups.setdefault(one.sibling_of or one.id, []).append(one)
    return (group for group in groups.values() if group[0].sibling_of is None)


def seen(turns: Sequence[Turn]) -> Seen:
    """A turn on record, with its siblings, as the span that they were."""
    turn, told = turns[0], turns[0].metadata
    return Seen(
        span=Span(
            trace=told["trace"],
            id=told["span"],
            name="",
            where=f"turn {turn.id}",
            parent=told.get("under"),
            began=turn.at - timedelta(seconds=turn.latency or 0.0),
            ended=turn.at,
        ),
        call=Call(
            model=told.get(MODEL, "unknown"),
            request=turn.request,
            answers=tuple(
                Answer(text=one.answer, finish=one.finish, tool_calls=one.tool_calls) for one in turns
            ),
        ),
        agent=told.get("agent"),
        scopes=_scopes(told.get("scopes")),
    )


def _scopes(told: str | None) -> tuple[tuple[str, str], ...]:
    found = plain.parsed(told)
    pairs = found if isinstance(found, list) else []
    return tuple(
        (one[0], one[1]) for one in pairs if isinstance(one, list) and list(map(type, one)) == [str, str]
    )


def written(scopes: Sequence[tuple[str, str]]) -> str:
    """As many as the metadata takes, the nearest first."""
    kept = list(scopes)
    while len(text := plain.as_text(kept)) > LONGEST_VALUE:
        kept.pop()
    return text


def mended(old: Turn, new: Turn, kept: Mapping[TurnId, Turn], all: Sequence[Turn]) -> Turn:
    """The turn on record, where more is known of it now; nobody who was known is forgotten."""
    guessed = {kept[one.id].agent for one in all if one.id in kept and kept[one.id].agent != one.agent}
    known = old.addressee not in (None, USER) and old.addressee not in guessed
    metadata = {name: one for name, one in old.metadata.items() if name not in PLACE}
    told = "agent" in new.metadata
    return replace(
        old,
        agent=new.agent if told else old.agent,
        policy=new.policy if told else old.policy,
        parent=new.parent or old.parent,
        addressee=old.addressee if known else new.addressee,
        metadata=metadata | {name: new.metadata[name] for name in PLACE if name in new.metadata},
    )
