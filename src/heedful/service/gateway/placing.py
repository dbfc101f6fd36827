"""Where a turn belongs when its caller does not say: read from what the request repeats of earlier answers.

Whoever goes on from an answer sends it back: its tool calls with their results, or its words. So the last thing
that an assistant says in a request tells which turn it goes on from, and a handoff between agents shows by
itself: one agent calls, another one brings the call's result.

Only what this process answered is known, and the oldest of it is forgotten. What is not clear stays open: a
graph with a gap is better than a wrong one, and callers can always say it themselves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from heedful.dialect.chat import Wire
from heedful.domain.episode import Turn
from heedful.domain.ids import AgentId, EpisodeId, TenantId, TurnId
from heedful.service.gateway.asking import Asked, Place

MOST = 20_000  # answers that are known again, and episodes with calls that wait
HANDING_OVER = "transfer_to_"  # how agents' kits name such a call: whoever makes it does not wait
USER = "user"

Key = TypeVar("Key")
Value = TypeVar("Value")
Mark = tuple[str, str | int]  # how an answer is known again: by the id of a call, or by its words


class Placing:
    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._in_episode: OrderedDict[tuple[TenantId, EpisodeId, Mark], Place] = OrderedDict()
        # For requests that name no episode: by a call alone, or by the whole conversation up to the answer.
        # None: two turns had it, so it says nothing.
        self._anywhere: OrderedDict[tuple[TenantId, Mark], Place | None] = OrderedDict()
        self._waiting: OrderedDict[tuple[TenantId, EpisodeId], dict[str, AgentId]] = OrderedDict()

    def placed(self, asked: Asked) -> Asked:
        """The request with its episode, its parent and whom an answer is for, where it does not say them."""
        last, results = _last_said(asked.chat["messages"])
        before = None if last is None else self._before(asked, last)
        if before is not None and not asked.named:
            asked = replace(asked, episode=before.episode, named=True)
        to = asked.context.to
        if to is None and asked.context.parent is None and not self._others_wait(asked, results):
            to = USER
        if asked.parent is None and before is not None:
            asked = replace(asked, parent=before.turn)
        return replace(asked, to=to)

    def turn_of(self, asked: Asked, said: Wire) -> TurnId | None:
        """The turn of the request's episode that said this, if it is known."""
        place = self._in_its_episode(asked, said)
        return None if place is None else place.turn

    def note(self, asked: Asked, turns: Sequence[Turn]) -> None:
        """Answers to the request, that are on record now."""
        begun = _whole(asked, asked.chat["messages"])
        for turn in turns:
            place = Place(turn.id, turn.episode)
            for mark in _marks(turn.answer, (call.id for call in turn.tool_calls)):
                _put(self._in_episode, (turn.tenant, turn.episode, mark), place, self._most)
            going_on = (*begun, _spoken(turn.answer, [call.id for call in turn.tool_calls]))
            self._known_anywhere(turn.tenant, ("all", hash(going_on)), place)
            for call in turn.tool_calls:
                self._known_anywhere(turn.tenant, ("call", call.id), place)
                if call.id and not call.name.startswith(HANDING_OVER):
                    waiting = self._waiting.setdefault((turn.tenant, turn.episode), {})
                    waiting[call.id] = turn.agent
            while len(self._waiting) > self._most:
                self._waiting.popitem(last=False)

    def _known_anywhere(self, tenant: TenantId, mark: Mark, place: Place) -> None:
        known = (tenant, mark)
        _put(self._anywhere, known, None if known in self._anywhere else place, self._most)

    def _before(self, asked: Asked, last: Wire) -> Place | None:
        """The turn whose answer this was."""
        found = self._in_its_episode(asked, last)
        if found is not None or asked.named:
            return found
        places = {self._anywhere.get((asked.tenant, ("call", id))) for id in _call_ids(last)}
        if not places:
            messages = asked.chat["messages"]
            until = max(n for n, message in enumerate(messages) if message["role"] == "assistant") + 1
            mark = ("all", hash(_whole(asked, messages[:until])))
            places = {self._anywhere.get((asked.tenant, mark))}
        return places.pop() if len(places) == 1 else None

    def _in_its_episode(self, asked: Asked, said: Wire) -> Place | None:
        for mark in _marks(words(said), _call_ids(said)):
            found = self._in_episode.get((asked.tenant, asked.episode, mark))
            if found is not None:
                return found
        return None

    def _others_wait(self, asked: Asked, results: Iterable[str]) -> bool:
        """Whether another agent of the episode called something and has not heard of it: it may be this answer."""
        place = (asked.tenant, asked.episode)
        waiting = self._waiting.get(place)
        if waiting is None:
            return False
        for id in results:
            waiting.pop(id, None)
        if not waiting:
            del self._waiting[place]
        return any(agent != asked.agent for agent in waiting.values())


def _last_said(messages: Sequence[Wire]) -> tuple[Wire | None, list[str]]:
    """The assistant's last message, and the calls whose results came after it."""
    results: list[str] = []
    for message in reversed(messages):
        if message["role"] == "assistant":
            return message, results
        if message["role"] == "tool" and message.get("tool_call_id"):
            results.append(str(message["tool_call_id"]))
    return None, results


def _call_ids(message: Wire) -> list[str]:
    return [str(call["id"]) for call in message.get("tool_calls") or () if call.get("id")]


def _whole(asked: Asked, messages: Sequence[Wire]) -> tuple[object, ...]:
    """A conversation, and whose it is, as far as two of them are told apart by it."""
    said = [
        _spoken(words(one), _call_ids(one)) if one["role"] == "assistant" else (one["role"], words(one))
        for one in messages
    ]
    return (asked.agent, asked.key, asked.context.user, *said)


def _spoken(said: str, calls: Sequence[str]) -> tuple[object, ...]:
    return ("assistant", said, *calls)


def words(message: Wire) -> str:
    """All text of a message."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)


def _marks(words: str, calls: Iterable[str]) -> Iterator[Mark]:
    """By its calls where there are any: many answers say “I look.”, and none of them calls the same call."""
    called = [("call", id) for id in calls if id]
    if called:
        yield from called
    elif words:
        yield ("said", hash(words))


def _put(known: OrderedDict[Key, Value], key: Key, place: Value, most: int) -> None:
    known[key] = place
    known.move_to_end(key)
    if len(known) > most:
        known.popitem(last=False)
