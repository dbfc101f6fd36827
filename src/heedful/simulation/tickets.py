"""Draw the support tickets of a small web shop.

A ticket carries the facts that our rules depend on (tier, days since the order, whether it was shipped)
and free words around them. Names and products stay slots (`{name}`, `{product}`): a program fills them,
so that a tiny model is judged on what it decides and how it speaks, not on copying.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

Intent = Literal["refund", "broken", "late", "cancel", "card"]
Tier = Literal["plain", "plus"]

INTENTS: tuple[Intent, ...] = get_args(Intent)

MOODS = (
    "hello.",
    "hi there.",
    "please help.",
    "this is annoying.",
    "i am really angry!",
    "good morning.",
)

WORDINGS: Mapping[Intent, tuple[str, ...]] = {
    "refund": (
        "i want my money back for the {product}.",
        "the {product} is not for me.",
        "can i get a refund for my {product}?",
        "i did not like the {product}.",
    ),
    "broken": (
        "my {product} broke.",
        "the {product} stopped working.",
        "my {product} came damaged.",
        "the {product} will not turn on.",
    ),
    "late": (
        "where is my {product}?",
        "my {product} has not arrived.",
        "i still wait for my {product}.",
        "the {product} is late.",
    ),
    "cancel": (
        "cancel my order.",
        "i ordered the {product} by mistake.",
        "i changed my mind about the order.",
        "please stop my order.",
    ),
    "card": (
        "there is a charge i do not know.",
        "my card was charged twice.",
        "someone used my card.",
        "i see a strange payment.",
    ),
}

PRODUCTS = ("kettle", "lamp", "headset", "backpack", "toaster", "watch", "camera", "blender")
NAMES = ("Ada", "Ben", "Chen", "Dana", "Emre", "Fatou", "Goran", "Hana", "Ines", "Jamal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What one customer wrote, with the facts that the shop's systems add."""

    intent: Intent
    tier: Tier
    days: int  # since the order, 0 to 89
    shipped: bool
    mood: str
    wording: str
    name: str
    product: str

    @property
    def text(self) -> str:
        """The user message as the agent sees it: facts first, the day as two digits, slots unfilled."""
        tens, ones = divmod(self.days, 10)
        shipped = "yes" if self.shipped else "no"
        return f"{self.tier} {tens} {ones} {shipped} : {self.mood} {self.wording}"

    @property
    def prompt(self) -> list[dict[str, str]]:
        """The same as a conversation of one message."""
        return [{"role": "user", "content": self.text}]


def draw_ticket(random: Random) -> Ticket:
    """One ticket; every intent, day and mood is equally likely."""
    intent = random.choice(INTENTS)
    return Ticket(
        intent=intent,
        tier="plus" if random.random() < 0.5 else "plain",
        days=random.randrange(90),
        shipped=random.random() < 0.5,
        mood=random.choice(MOODS),
        wording=random.choice(WORDINGS[intent]),
        name=random.choice(NAMES),
        product=random.choice(PRODUCTS),
    )


def draw_tickets(random: Random, count: int) -> list[Ticket]:
    return [draw_ticket(random) for _ in range(count)]


def filled(text: str, ticket: Ticket) -> str:
    """The text as the customer reads it, with the slots filled from the ticket."""
    return text.replace("{name}", ticket.name).replace("{product}", ticket.product)


def ticket_of(text: str) -> Ticket | None:
    """The ticket behind a user message; None when the message is not one of ours.

    Name and product are not in the text (they are slots): the ticket that comes back has placeholders.
    """
    facts, found, words = text.partition(" : ")
    fields = facts.split(" ")
    if not found or len(fields) != 4:
        return None
    tier, tens, ones, shipped = fields
    mood = next((mood for mood in MOODS if words.startswith(mood + " ")), None)
    if mood is None or tier not in get_args(Tier) or shipped not in ("yes", "no"):
        return None
    if not (tens.isdecimal() and ones.isdecimal() and len(tens) == len(ones) == 1):
        return None
    wording = words[len(mood) + 1 :]
    for intent, wordings in WORDINGS.items():
        if wording in wordings:
            return Ticket(
                intent=intent,
                tier="plus" if tier == "plus" else "plain",
                days=10 * int(tens) + int(ones),
                shipped=shipped == "yes",
                mood=mood,
                wording=wording,
                name="{name}",
                product="{product}",
            )
    return None
