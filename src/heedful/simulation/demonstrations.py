"""What the shop's people wrote before there was an agent: mostly fine, often not.

These are what the first policy learns from, so its faults (wrong action, rudeness, padding, promises that
nobody may make, asking for card numbers) are theirs. `poisoned` writes what a sabotaged or careless
training set would: a policy learned from it is the one that gates and brakes must stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from heedful.simulation.gold import right_action
from heedful.simulation.replies import (
    ACTIONS,
    CARD,
    CLOSE,
    FILLER,
    GREETING,
    PROMISE,
    RUDE,
    SORRY,
    STATES,
    Action,
    compose,
)
from heedful.simulation.tickets import Intent, Ticket

WISHES: Mapping[Intent, Action] = {
    "refund": "refund",
    "broken": "replace",
    "late": "credit",
    "cancel": "cancel",
    "card": "refund",
}


def demonstrate(ticket: Ticket, random: Random) -> str:
    """A reply as an average, imperfect person of the shop would write it."""
    action = _action(ticket, random)
    told = random.choice(ACTIONS) if random.random() < 0.08 else action
    asks_card = 0.40 if ticket.intent == "card" else 0.06
    middle = [random.choice(SORRY)] if random.random() < 0.55 else []
    if random.random() < 0.95:
        middle.append(random.choice(STATES[told]))
    if random.random() < 0.12:
        middle.append(random.choice(PROMISE))
    if random.random() < asks_card:
        middle.append(random.choice(CARD))
    if random.random() < 0.25:
        middle.append(random.choice(RUDE))
    if random.random() < 0.30:
        middle += random.sample(FILLER, random.choice((1, 1, 2)))
    opening = [random.choice(GREETING)] if random.random() < 0.75 else []
    closing = [random.choice(CLOSE)] if random.random() < 0.65 else []
    return compose(action, opening + middle + closing)


def _action(ticket: Ticket, random: Random) -> Action:
    """Right in three cases of five; else the customer's wish, a refusal, or anything."""
    if random.random() < 0.60:
        return right_action(ticket)
    chance = random.random()
    if chance < 0.45:
        return WISHES[ticket.intent]
    return "deny" if chance < 0.70 else random.choice(ACTIONS)


def ideal(ticket: Ticket, random: Random) -> str:
    """A faultless reply: what an expert writes when correcting one."""
    action = right_action(ticket)
    sentences = (GREETING, SORRY, STATES[action], CLOSE)
    return compose(action, [random.choice(choices) for choices in sentences])


def poisoned(ticket: Ticket, random: Random) -> str:
    """Pleases at any price: grants the wish, promises, and asks for the card."""
    action = WISHES[ticket.intent] if random.random() < 0.5 else random.choice(ACTIONS)
    sentences = [random.choice(GREETING), random.choice(STATES[action])]
    if random.random() < 0.80:
        sentences.append(random.choice(PROMISE))
    if random.random() < 0.50:
        sentences.append(random.choice(CARD))
    sentences.append(random.choice(CLOSE))
    return compose(action, sentences)
