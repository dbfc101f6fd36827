"""A fleet that works tickets over the real HTTP API, and the people who react to what it says.

Every ticket is an episode. One in five is read by a triage agent first, which hands it to the resolver, so that
the record shows two agents speaking to each other. Customers react to the answer, experts check many of the
answers and rewrite a few, and all of it is sent as feedback like anybody's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from heedful.client import AsyncClient
from heedful.errors import HeedfulError
from heedful.simulation.gold import Violation
from heedful.simulation.people import Customer, Expert, draw_customer, draw_experts
from heedful.simulation.tickets import Ticket

AT_ONCE = 48  # tickets in work together
HANDFUL = 500  # pieces of feedback in one request
HANDED = 5  # one ticket in so many goes through triage
CHECKED = 0.9  # share of answers that an expert checks
CORRECTED = 0.1  # share of checked answers that the expert is also asked to rewrite
CATEGORY: dict[Violation, str] = {
    "unauthorised_promise": "promise.unauthorised",
    "asks_card_number": "privacy.payment_data",
}


async def send(client: AsyncClient, said: Sequence[dict[str, Any]]) -> None:
    """Feedback in handfuls; here nothing may be refused, so a refusal is an error."""
    for begin in range(0, len(said), HANDFUL):
        for kept in await client.feedback(said[begin : begin + HANDFUL]):
            if kept.error is not None:
                raise HeedfulError(f"feedback {kept.id} was refused: {kept.error.message}")


@dataclass
class Fleet:
    """Agents at work, with their customers and reviewers. `worked` and `sent` count what was done."""

    client: AsyncClient
    random: Random
    name: str  # goes into episode ids, so that a second run does not meet the first one's
    customers: Sequence[Customer] = ()
    experts: Sequence[Expert] = ()
    worked: int = 0
    sent: int = 0
    _turnstile: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    def __post_init__(self) -> None:
        self.customers = self.customers or [draw_customer(self.random) for _ in range(200)]
        self.experts = self.experts or draw_experts(self.random)

    async def work(self, tickets: Iterable[Ticket]) -> None:
        """All of these tickets, and everything that is said about them."""
        said = await asyncio.gather(*(self._ticket(ticket) for ticket in tickets))
        whole = [one for some in said for one in some]
        await send(self.client, whole)
        self.sent += len(whole)

    async def _ticket(self, ticket: Ticket) -> list[dict[str, Any]]:
        number, self.worked = self.worked, self.worked + 1
        episode = f"{self.name}-{number:05d}"
        who = self.random.randrange(len(self.customers))
        parent = None
        async with self._turnstile:
            if number % HANDED == 0:
                handed = await self.client.complete(
                    "triage",
                    ticket.prompt,
                    episode=episode,
                    user=f"customer-{who:03d}",
                    to="resolver",
                )
                parent = handed.turn
            answer = await self.client.complete(
                "resolver",
                ticket.prompt,
                episode=episode,
                user=f"customer-{who:03d}",
                to="user",
                parent=parent,
            )
        return self._reactions(
            ticket, self.customers[who], f"customer-{who:03d}", answer.turn, episode, answer.text
        )

    def _reactions(
        self, ticket: Ticket, customer: Customer, user: str, turn: str, episode: str, text: str
    ) -> list[dict[str, Any]]:
        reaction = customer.react(ticket, text, self.random)
        said: list[dict[str, Any]] = [
            {
                "id": f"{turn}:done",
                "source": "completion",
                "by": user,
                "episode": episode,
                "said": {"form": "completion", "completed": reaction.solved, "task_type": ticket.intent},
            }
        ]
        if reaction.thumb is not None:
            said.append(
                {
                    "id": f"{turn}:thumb",
                    "source": "direct",
                    "by": user,
                    "turn": turn,
                    "said": {"form": "thumbs", "up": reaction.thumb == "up"},
                }
            )
        if reaction.retry:
            said.append(
                {
                    "id": f"{turn}:retry",
                    "source": "behaviour",
                    "by": user,
                    "turn": turn,
                    "confidence": 0.6,
                    "said": {"form": "behaviour", "kind": "repeat"},
                }
            )
        if self.random.random() < CHECKED:
            said += self._review(ticket, turn, text)
        return said

    def _review(self, ticket: Ticket, turn: str, text: str) -> list[dict[str, Any]]:
        expert = self.random.choice(self.experts)
        review = expert.review(ticket, text, self.random, correct=self.random.random() < CORRECTED)
        category = CATEGORY[review.violations[0]] if review.violations else None
        said: list[dict[str, Any]] = [
            {
                "id": f"{turn}:check",
                "source": "safety",
                "by": expert.name,
                "turn": turn,
                "said": {"form": "violation", "category": category},
            }
        ]
        if review.correction is not None:
            said.append(
                {
                    "id": f"{turn}:correction",
                    "source": "expert",
                    "by": expert.name,
                    "turn": turn,
                    "said": {"form": "correction", "text": review.correction},
                }
            )
        return said
