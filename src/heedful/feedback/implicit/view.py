"""One message of the user's with everything that a rule may look at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from heedful.feedback.implicit.similarity import likeness, substance
from heedful.feedback.implicit.text import Said, Sentence
from heedful.feedback.implicit.words import says, trimmed

SAME_ANSWER = 0.5  # overlap of two answers, from which the agent only says it again

_NOW_DO = re.compile(
    r"(?:okay |great |good |, )*now (?!i|it|that|this|works?|everything|all|my)\w+ (?!is|are)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """Something the user said before, and the answer it got."""

    said: Said
    answer: Said
    about: int  # index of the agent's message in reply
    at: datetime | None


@dataclass(frozen=True, kw_only=True)  # no slots: what several rules ask for is worked out once
class View:
    """A user's message with what it follows."""

    new: Said
    agent: Said | None  # the last answer before it
    agent_before: Said | None  # the answer before that
    earlier: Sequence[Earlier]  # oldest first
    waited: timedelta | None = None  # from the answer to this message
    at: datetime | None = None

    @cached_property
    def parts(self) -> list[str]:
        """The sentences as they are."""
        return [sentence.words for sentence in self.new.sentences]

    @cached_property
    def cores(self) -> list[str]:
        """The sentences without fillers."""
        return [trimmed(part) for part in self.parts]

    @cached_property
    def pieces(self) -> list[str]:
        """What stands between stops and commas, without fillers."""
        found = [trimmed(piece) for part in self.parts for piece in part.split(" , ")]
        return [piece for piece in found if piece]

    @cached_property
    def clauses(self) -> list[str]:
        return list(dict.fromkeys([*self.cores, *self.pieces]))

    @cached_property
    def own(self) -> list[str]:
        """What users say in their own name."""
        return [part for part in self.clauses if not says("hearsay", [part])]

    @cached_property
    def was_asked(self) -> bool:
        """The agent ended with a question of its own, not with a proposal or an offer of more help."""
        return any(not says("offer", [part]) and not says("closing", [part]) for part in self._questions)

    @cached_property
    def was_offered(self) -> bool:
        """The agent ended with a question that waits for an answer: its own, or a proposal."""
        return any(not says("closing", [part]) for part in self._questions)

    @cached_property
    def _questions(self) -> list[str]:
        """What the agent asked at its end; a request may follow it."""
        if self.agent is None or not self.agent.sentences:
            return []
        *before, last = self.agent.sentences
        tail = [before[-1], last] if before and says("wanted", [last.words]) else [last]
        return [sentence.words for sentence in tail if sentence.asked]

    @cached_property
    def refused(self) -> bool:
        return self.agent is not None and says("refusal", [self.agent.whole])

    @cached_property
    def stuck(self) -> bool:
        """Something has gone wrong before this message: a refusal, a complaint, the same answer twice."""
        if self.agent is None:
            return False
        complained = len(self.earlier) > 1 and says("trouble", [self.earlier[-1].said.whole])
        return (
            self.refused
            or complained
            or says("evasion", [self.agent.whole])
            or (
                self.agent_before is not None
                and likeness(self.agent_before.whole, self.agent.whole).overlap >= SAME_ANSWER
            )
        )

    @cached_property
    def requests(self) -> bool:
        """Something is asked, or asked for."""
        return any(requests(sentence) for sentence in self.new.sentences)

    @cached_property
    def refilled(self) -> bool:
        """A form sent again with something else in it: the opening is the same, what follows is not."""
        return any(_same_form(one.said, self.new) for one in self.earlier)

    @cached_property
    def answer_words(self) -> list[str]:
        return [] if self.agent is None else substance(self.agent.quoting)

    @cached_property
    def asked_words(self) -> list[str]:
        """What the user has spoken of so far."""
        return [word for one in self.earlier for word in substance(one.said.quoting)]


def _same_form(before: Said, now: Said) -> bool:
    for one, other in ((before.sentences, now.sentences), (before.full, now.full)):
        opened = len(one) > 1 < len(other) and one[0] == other[0] and len(one[0].words.split()) >= 4
        if opened and one[1:] != other[1:]:
            return True
    return False


def requests(sentence: Sentence) -> bool:
    if sentence.asked or says("request", [trimmed(sentence.words)]):
        return True
    return bool(_NOW_DO.match(sentence.words))
