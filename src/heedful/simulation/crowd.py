"""Raters at a queue: each takes some work, compares, answers, and takes more until nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from heedful.client import AsyncClient
from heedful.simulation.fleet import send
from heedful.simulation.gold import utility
from heedful.simulation.people import Rater
from heedful.simulation.tickets import ticket_of

AT_ONCE = 6  # raters who are at their desks together
HANDFUL = 20  # assignments that a rater takes at a time


async def judge(
    client: AsyncClient, queue: str, raters: Sequence[Rater], random: Random, *, enough: Callable[[], bool]
) -> int:
    """Work on the queue until `enough` says so. Returns how many judgements were given."""
    desks = asyncio.Semaphore(AT_ONCE)
    given = 0

    async def sit_down(rater: Rater) -> int:
        async with desks:
            leased = await client.lease(queue, rater=rater.name, limit=HANDFUL)
            said = [_judgement(one, queue, rater, random) for one in leased]
            if said:
                await send(client, said)
            return len(said)

    while not enough():
        order = list(raters)
        random.shuffle(order)
        done = sum(await asyncio.gather(*(sit_down(rater) for rater in order)))
        given += done
        if not done:
            await asyncio.sleep(0.3)
    return given


async def set_gold(client: AsyncClient, queue: str, *, count: int, least: float = 1.0) -> int:
    """The team's lead answers some clear items herself, so that raters can be tested on them."""
    found = 0
    for item in await client.items(queue, limit=4 * count):
        ticket = ticket_of(item["prompt"][-1]["content"])
        if ticket is None or found == count:
            continue
        worth = [utility(ticket, answer) for answer in item["answers"]]
        if abs(worth[0] - worth[1]) >= least:
            await client.set_gold(item["id"], chosen=item["turns"][0 if worth[0] > worth[1] else 1])
            found += 1
    return found


def _judgement(leased: dict[str, Any], queue: str, rater: Rater, random: Random) -> dict[str, Any]:
    item, assignment = leased["item"], leased["assignment"]
    ticket = ticket_of(item["prompt"][-1]["content"])
    left, right = item["answers"]
    side = rater.choose(ticket, left, right, random) if ticket else None
    turns = item["turns"]
    return {
        "id": f"{assignment['id']}:{rater.name}",
        "source": "expert",
        "by": rater.name,
        "said": {
            "form": "choice",
            "shown": turns,
            "chosen": None if side is None else turns[0 if side == "left" else 1],
        },
        "judgement": {
            "queue": queue,
            "item": item["id"],
            "assignment": assignment["id"],
            "positions": turns,
            "active_seconds": round(random.uniform(4, 30), 1),
        },
    }
