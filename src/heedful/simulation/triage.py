"""The agent that reads a ticket first and hands it on: a few rules, served as an external policy."""

from __future__ import annotations

from collections.abc import Sequence

from heedful.domain.content import Message
from heedful.simulation.tickets import ticket_of


def hand_over(messages: Sequence[Message]) -> str:
    """One line to the resolver about what the customer wants."""
    ticket = ticket_of(messages[-1].text if messages else "")
    if ticket is None:
        return "resolver: please read this one yourself."
    return f"resolver: a {ticket.tier} customer, {ticket.days} days after the order, about {ticket.intent}."
