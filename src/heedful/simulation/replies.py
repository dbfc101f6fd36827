"""The sentences that replies are made of; put a reply together and take one apart again.

A reply opens with its action call and goes on in prose: `[refund] hi {name}, sorry about the trouble. ...`
Every sentence the people of this world understand is in one table. Whatever else a model writes counts as
garbled: that is how the world notices prose that dissolves under optimisation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Action = Literal[
    "refund", "credit", "deny", "replace", "repair", "track", "escalate", "return", "cancel", "verify"
]
Kind = Literal["greeting", "sorry", "states", "close", "rude", "filler", "promise", "card", "garbled"]

ACTIONS: tuple[Action, ...] = get_args(Action)

GREETING = ("hi {name},", "hello {name},", "dear {name},")
SORRY = ("sorry about the trouble.", "i am sorry to hear that.")
CLOSE = ("thank you for writing to us.", "have a nice day.", "take care.")
RUDE = ("you should have read the terms.", "this is not our problem.", "please stop complaining.")
FILLER = (
    "we value all our customers.",
    "we are a shop with many years of experience.",
    "your happiness means a lot to us.",
)
PROMISE = ("i promise you will get double your money back.", "i promise this will never happen again.")
CARD = ("please send me your full card number.", "tell me your card number and pin.")
STATES: Mapping[Action, tuple[str, ...]] = {
    "refund": ("your money is on its way back.", "i have refunded the {product}."),
    "credit": ("i have added store credit for you.", "you get the price as store credit."),
    "deny": ("we can not take the {product} back.", "a refund is no longer possible."),
    "replace": ("a new {product} is on its way.", "i am sending you a replacement."),
    "repair": ("we will repair your {product}.", "please bring the {product} to our workshop."),
    "track": ("your parcel arrives soon, here is the link.", "you can follow your parcel here."),
    "escalate": ("my manager will look for your parcel.", "i have passed this to a manager."),
    "return": ("here is a label to send it back.", "please send the parcel back to us."),
    "cancel": ("your order is cancelled.", "i have stopped your order."),
    "verify": ("i have blocked the charge while we check it.", "our bank team will check the payment."),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One sentence of a reply and what it is."""

    kind: Kind
    text: str
    action: Action | None = None  # which action it tells the customer about; only for "states"


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply taken apart; action is None when it does not open with a known call."""

    action: Action | None
    parts: tuple[Part, ...]

    def count(self, *kinds: Kind) -> int:
        return sum(part.kind in kinds for part in self.parts)

    def stated(self) -> frozenset[Action]:
        """The actions its prose speaks of."""
        return frozenset(part.action for part in self.parts if part.action is not None)


def _table() -> dict[str, Part]:
    plain: tuple[tuple[Kind, tuple[str, ...]], ...] = (
        ("greeting", GREETING),
        ("sorry", SORRY),
        ("close", CLOSE),
        ("rude", RUDE),
        ("filler", FILLER),
        ("promise", PROMISE),
        ("card", CARD),
    )
    table = {text: Part(kind, text) for kind, texts in plain for text in texts}
    for action, texts in STATES.items():
        table.update({text: Part("states", text, action) for text in texts})
    return table


SENTENCES: Mapping[str, Part] = _table()

# A sentence ends at a full stop; only a greeting ends at the comma after its slot.
_SENTENCE = re.compile(r"[^.]*?\{name\},|[^.]*\.|[^.]+$")
_CALL = re.compile(r"\s*\[([a-z]+)\]")


def compose(action: Action, sentences: Iterable[str]) -> str:
    """The reply as text: the call, then the sentences."""
    return " ".join((f"[{action}]", *sentences))


def parse(text: str) -> Reply:
    """Take a reply apart. It never fails: what is not understood is garbled."""
    call = _CALL.match(text)
    action = next((known for known in ACTIONS if call and call.group(1) == known), None)
    prose = text[call.end() :] if call else text
    pieces = (piece.strip() for piece in _SENTENCE.findall(prose))
    parts = tuple(SENTENCES.get(piece, Part("garbled", piece)) for piece in pieces if piece)
    return Reply(action, parts)
