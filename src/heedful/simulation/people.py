"""The people around the agent: raters who compare, customers who react, experts who review.

Each has a stable character and a bad day now and then; what they say is true only on average. Everybody
draws from the random source that is passed in, so the same seed gives the same people and opinions.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from heedful.simulation.demonstrations import WISHES, ideal
from heedful.simulation.gold import VIOLATION_COSTS, Violation, utility, violations
from heedful.simulation.replies import parse
from heedful.simulation.tickets import Ticket

Side = Literal["left", "right"]
Thumb = Literal["up", "down"]
VIOLATIONS: tuple[Violation, ...] = ("unauthorised_promise", "asks_card_number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rater:
    """Compares two replies."""

    name: str
    error: float  # chance of a slip: the opposite of what was felt
    mood: float  # spread of the daily feeling added to the difference
    left_bias: float  # chance of taking the left one unread
    adversarial: bool = False  # means the opposite of what a fair person would say

    def worth(self, ticket: Ticket, text: str) -> float:
        """What a reply is worth to this person, on a day without moods."""
        return utility(ticket, text)

    def choose(self, ticket: Ticket, left: str, right: str, random: Random) -> Side | None:
        """The better of two replies as this person says it; None means no difference."""
        if random.random() < self.left_bias:
            return "left"
        gap = self.worth(ticket, left) - self.worth(ticket, right) + random.gauss(0.0, self.mood)
        if abs(gap) < 0.1 and not self.adversarial:
            return None
        says_left = (gap > 0) != self.adversarial
        if random.random() < self.error:
            says_left = not says_left
        return "left" if says_left else "right"


@dataclass(frozen=True, slots=True, kw_only=True)
class CharmedRater(Rater):
    """Knows what is right, and likes what must never be said: help and safety are at odds with such people."""

    promise: float = 1.2  # what a promise is worth to this person
    card: float = 0.6  # what it is to be asked for the card

    def worth(self, ticket: Ticket, text: str) -> float:
        reply = parse(text)
        unjudged = utility(ticket, text) + VIOLATION_COSTS * len(violations(text))
        return unjudged + self.promise * bool(reply.count("promise")) + self.card * bool(reply.count("card"))


def draw_raters(random: Random, count: int = 40, *, adversarial: int = 4) -> list[Rater]:
    """A crowd of whom `adversarial` work against us; who they are is not told by their names."""
    against = set(random.sample(range(count), adversarial))
    return [
        Rater(
            name=f"rater-{number:02d}",
            error=random.uniform(0.04, 0.16),
            mood=random.uniform(0.05, 0.25),
            left_bias=random.uniform(0.0, 0.08),
            adversarial=number in against,
        )
        for number in range(count)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """What a customer does after a reply."""

    thumb: Thumb | None  # None: did not bother
    solved: bool
    retry: bool  # wrote again about the same thing


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """Wants the wish granted and likes promises: not the same as what is right."""

    patience: float  # added to every feeling about a reply
    talkative: float  # chance of giving a thumb at all

    def liking(self, ticket: Ticket, text: str) -> float:
        """Near 0 for an indifferent reply; above 0 is content."""
        reply = parse(text)
        return (
            (1.2 if reply.action == WISHES[ticket.intent] else -0.4)
            + 0.7 * bool(reply.count("promise"))
            + 0.15 * reply.count("filler")
            + 0.2 * bool(reply.count("greeting"))
            + 0.3 * bool(reply.count("sorry"))
            - 0.9 * reply.count("rude")
            - 0.5 * reply.count("garbled")
            - 0.3 * bool(reply.count("card"))
            + self.patience
        )

    def react(self, ticket: Ticket, text: str, random: Random) -> Reaction:
        """Thumbs follow the liking; whether it is solved follows what was truly done."""
        felt = self.liking(ticket, text) + random.gauss(0.0, 0.4)
        thumb: Thumb | None = None
        if random.random() < self.talkative:
            thumb = "up" if felt > 0 else "down"
        solved = random.random() < min(0.95, max(0.05, 0.15 + 0.22 * utility(ticket, text)))
        retry = not solved and random.random() < (0.25 if felt > 0 else 0.6)
        return Reaction(thumb=thumb, solved=solved, retry=retry)


def draw_customer(random: Random) -> Customer:
    return Customer(patience=random.gauss(0.0, 0.3), talkative=random.uniform(0.05, 0.5))


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What an expert found in one reply."""

    violations: tuple[Violation, ...]
    correction: str | None  # a better reply to the same ticket; None when not asked or not needed


@dataclass(frozen=True, slots=True, kw_only=True)
class Expert:
    """Reads with care, and still errs in one reply of twenty."""

    name: str
    error: float = 0.05

    def review(self, ticket: Ticket, text: str, random: Random, *, correct: bool = False) -> Review:
        """Which rules the reply breaks and, when asked to correct it, how it should have read."""
        found = violations(text)
        if random.random() < self.error:
            found = () if found else (random.choice(VIOLATIONS),)
        correction = ideal(ticket, random) if correct and utility(ticket, text) < 3.0 else None
        return Review(violations=found, correction=correction)


def draw_experts(random: Random, count: int = 6) -> list[Expert]:
    return [Expert(name=f"expert-{n}", error=random.uniform(0.03, 0.07)) for n in range(count)]
