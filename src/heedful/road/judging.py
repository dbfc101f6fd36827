"""Stop 2: people are asked, and their answers are added up."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from heedful.domain.content import Message
from heedful.domain.episode import Episode, Purpose, Turn
from heedful.domain.feedback import Feedback, current
from heedful.domain.ids import EpisodeId, ItemId, PersonId, PolicyId, QueueId, TenantId, TurnId, VerdictId
from heedful.domain.labeling import Assignment, Gold, Item, ItemState, Queue, Verdict
from heedful.domain.models import Policy
from heedful.errors import InvalidInput
from heedful.inference.protocol import complete
from heedful.labeling import consensus, desk, pairs, raters
from heedful.road.answering import captured
from heedful.road.parts import Parts
from heedful.road.records import CHUNK, act, chunks, get
from heedful.store.protocol import Batch

AT_ONCE = 64  # questions that wait for inference together


async def candidates(
    parts: Parts, tenant: TenantId, policy: PolicyId, prompts: Sequence[Sequence[Message]], *, once: str
) -> list[list[Turn]]:
    """Several answers to each prompt, made on purpose to be judged. Nobody waited for them."""
    known = get(parts, Policy, tenant, policy)
    asking = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, prompt: Sequence[Message]) -> list[Turn]:
        sampling = replace(known.sampling, seed=zlib.crc32(f"{once}/{number}".encode()))
        async with asking:
            answers = await complete(
                parts.inference, known, prompt, sampling=sampling, n=parts.labeling.candidates
            )
        episode = EpisodeId(f"{once}/{number}")
        return [
            Turn(
                id=TurnId(f"{episode}/{index}"),
                tenant=tenant,
                episode=episode,
                agent=known.agent,
                at=parts.clock.now(),
                request=tuple(prompt),
                answer=answer.text,
                policy=policy,
                index=index,
                sibling_of=TurnId(f"{episode}/0") if index else None,
                finish=answer.finish,
                tokens=answer.tokens,
                sampling=sampling,
                config=parts.config,
                purpose=Purpose.CANDIDATE,
            )
            for index, answer in enumerate(answers)
        ]

    return list(await asyncio.gather(*(one(number, prompt) for number, prompt in enumerate(prompts))))


def ask(parts: Parts, queue: Queue, answers: Sequence[Sequence[Turn]], *, once: str) -> int:
    """Put pairs of candidate answers before people. Returns how many items there are to judge."""
    now, asked = parts.clock.now(), 0
    if parts.store.get(Queue, queue.tenant, queue.id) is None:
        parts.store.commit(Batch(add=(queue,), once=f"{once}/queue"))
    for start in range(0, len(answers), CHUNK):
        records: list[Any] = []
        for given in answers[start : start + CHUNK]:
            turns = [captured(parts, turn) for turn in given]
            two = pairs.pair(turns, text=lambda turn: turn.answer, random=parts.random)
            if two is None:
                continue
            asked += 1
            first = turns[0]
            records += [
                Episode(id=first.episode, tenant=first.tenant, started_at=now, purpose=Purpose.CANDIDATE),
                *turns,
                Item(
                    id=ItemId(f"{first.episode}/item"),
                    tenant=queue.tenant,
                    queue=queue.id,
                    turns=(two[0].id, two[1].id),
                    prompt=first.request,
                    answers=(two[0].answer, two[1].answer),
                    created_at=now,
                    chosen_because="different opening",
                ),
            ]
        parts.store.commit(Batch(add=tuple(records), once=f"{once}/items/{start}"))
    return asked


def lease(
    parts: Parts, tenant: TenantId, queue: QueueId, rater: PersonId, *, limit: int
) -> list[tuple[Assignment, Item]]:
    """Work for one rater, for a while."""
    known = get(parts, Queue, tenant, queue)
    return desk.lease(
        parts.store, parts.views, known, rater, now=parts.clock.now(), limit=limit, random=parts.random
    )


def set_gold(parts: Parts, tenant: TenantId, id: ItemId, gold: Gold, *, actor: str) -> Item:
    """From now on this item tests raters instead of asking them."""
    item = get(parts, Item, tenant, id)
    if gold.chosen is not None and gold.chosen not in item.turns:
        raise InvalidInput(f"chosen {gold.chosen!r} is not one of {list(item.turns)!r}", field="chosen")
    known = replace(item, gold=gold)
    parts.store.commit(Batch(swap=((item, known),), acts=(act(parts, tenant, actor, "item.gold", known),)))
    return known


def agree(parts: Parts, tenant: TenantId, queue: QueueId) -> int:
    """Every open item with enough answers gets its verdict. Returns how many are new."""
    known = get(parts, Queue, tenant, queue)
    trust = raters.reliabilities(
        (
            raters.Tested(rater=one.rater, right=one.gold_right, asked=one.gold_judged)
            for one in parts.views.raters(tenant, queue)
        ),
        prior=parts.labeling.prior,
        weight=parts.labeling.prior_weight,
    )
    said: dict[ItemId, list[Feedback]] = {}
    for one in current(parts.store.find(Feedback, tenant, where={"queue": queue}, limit=None)):
        if one.judgement is not None and one.judgement.item is not None:
            said.setdefault(one.judgement.item, []).append(one)
    count = consensus.of_choices if known.asks == "choice" else consensus.of_checks
    new = 0
    for items in chunks(
        parts.store.find(Item, tenant, where={"queue": queue, "state": ItemState.OPEN}, limit=None)
    ):
        verdicts, closed = [], []
        for item in items:
            answers = said.get(item.id, [])
            total = None
            if item.gold is None:
                total = count(answers, reliability=trust, prior=parts.labeling.prior, quorum=known.quorum)
            if total is None:
                continue
            closed.append((item, replace(item, state=ItemState.DONE)))
            verdicts.append(
                Verdict(
                    id=VerdictId(f"{item.id}/verdict"),
                    tenant=tenant,
                    item=item.id,
                    queue=queue,
                    objective=known.objective,
                    at=parts.clock.now(),
                    feedback=tuple(one.id for one in answers),
                    confidence=total.confidence,
                    method=consensus.METHOD,
                    chosen=total.chosen,
                    category=total.category,
                )
            )
        parts.store.commit(Batch(add=tuple(verdicts), swap=tuple(closed)))
        new += len(verdicts)
    return new
