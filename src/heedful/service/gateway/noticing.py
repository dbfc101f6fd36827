"""What a user does next says something about the answer before: read off the answer's path, and kept as feedback.

A thread of its own reads the conversations that requests bring along (`feedback/implicit/`), one after the other.
When more come than it can read, the oldest are left out and counted: what they said is on record in the turns,
where anybody may read it later; an answer is never kept waiting for it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Condition, Thread

from heedful import road
from heedful.dialect.chat import Wire
from heedful.domain.episode import Turn
from heedful.domain.feedback import Behaviour, Feedback, Source
from heedful.domain.ids import FeedbackId, PersonId, TurnId
from heedful.errors import HeedfulError
from heedful.feedback.implicit import Line, latest
from heedful.road import Parts
from heedful.service.gateway.asking import Asked
from heedful.service.gateway.placing import Placing, words
from heedful.service.state.metrics import Metrics

log = logging.getLogger("heedful.gateway")

MOST = 1_000  # conversations that wait to be read
LONGEST = 40  # messages, from the end, that are read


@dataclass(frozen=True, slots=True)
class Overheard:
    """One request in which a user went on after an answer."""

    asked: Asked
    turn: Turn  # that the request led to
    messages: Sequence[Wire]
    about: tuple[TurnId | None, ...]  # by message: the turn that it was, where that is known


class Noticing:
    def __init__(self, parts: Parts, placing: Placing, metrics: Metrics) -> None:
        self._parts = parts
        self._placing = placing
        self._metrics = metrics
        self._waiting: deque[Overheard] = deque()
        self._changed = Condition()
        self._stopping = False
        self._thread: Thread | None = None

    def notice(self, asked: Asked, turn: Turn) -> None:
        """Called with every turn that is kept; most requests show nothing and cost nothing."""
        messages = asked.chat["messages"][-LONGEST:]
        if messages[-1]["role"] != "user" or not any(one["role"] == "assistant" for one in messages):
            return
        about = tuple(
            self._placing.turn_of(asked, one) if one["role"] == "assistant" else None for one in messages
        )
        with self._changed:
            if len(self._waiting) >= MOST:
                self._waiting.popleft()
                self._metrics.unnoticed()
            self._waiting.append(Overheard(asked, turn, messages, about))
            if self._thread is None and not self._stopping:
                self._thread = Thread(target=self._run, name="heedful-noticing", daemon=True)
                self._thread.start()
            self._changed.notify()

    def stop(self) -> None:
        """Read what waits, then end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if not self._waiting:
                    return
                one = self._waiting.popleft()
            try:
                said = feedback_of(one)
                for heard in road.hear(self._parts, one.asked.tenant, said, actor="signs") if said else ():
                    if heard.error is not None:
                        raise heard.error
            except HeedfulError as error:
                log.warning("a sign was not kept", extra={"turn": one.turn.id, "reason": str(error)})
            except Exception:
                log.exception("a conversation could not be read", extra={"turn": one.turn.id})


def feedback_of(one: Overheard) -> list[Feedback]:
    """The signs in it as feedback on the turns that they are about, or on the episode where that is not known."""
    lines = [Line(role=str(message["role"]), text=words(message)) for message in one.messages]
    user = one.asked.context.user
    found = []
    for sign in latest(lines):
        about = None if sign.about is None else one.about[sign.about]
        found.append(
            Feedback(
                # The same request shows the same: sent again, it is kept once.
                id=FeedbackId(f"sign:{sign.kind}:{one.turn.id}"[:128]),
                tenant=one.asked.tenant,
                said=Behaviour(kind=sign.kind, value=sign.value),
                source=Source.BEHAVIOUR,
                at=one.turn.at,
                by=None if user is None else PersonId(user),
                turn=about,
                episode=one.asked.episode,
                confidence=sign.confidence,
                metadata={"seen_in": one.turn.id},
            )
        )
    return found
