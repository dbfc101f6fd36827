"""Feedback that came before what it is about, beside stop 1: it waits, and is joined when that comes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta

from heedful.domain.feedback import Parked
from heedful.domain.ids import FeedbackId, TenantId
from heedful.errors import Conflict, HeedfulError, InvalidInput
from heedful.feedback import intake
from heedful.road.hearing import asked_for
from heedful.road.letters import write_letter
from heedful.road.parts import Parts
from heedful.store.codec import encode
from heedful.store.protocol import Batch, Outcome
from heedful.store.targets import Targets


def join(parts: Parts, tenant: TenantId, waiting: Sequence[Parked]) -> list[FeedbackId]:
    """Parked feedback is looked at again: what it waited for may be here.

    It becomes feedback in the commit that takes it out of the waiting; what never can, or has waited too
    long, becomes a dead letter. Returns those that now wait for something else: look at them once more.
    """
    now = parts.clock.now()
    turns, episodes = asked_for([one.feedback for one in waiting])
    known = parts.views.targets(tenant, turns, episodes)
    pending: list[tuple[Parked, Future[Outcome]]] = []
    again: list[FeedbackId] = []
    for one in waiting:
        absent = intake.missing(one.feedback, turns=known.turns, episodes=known.episodes)
        try:
            if not absent:
                pending.append((one, parts.store.submit(_joined(parts, one, known))))
            elif now - one.since > timedelta(days=parts.parked_days):
                raise InvalidInput(f"{absent[0]!r} did not come within {parts.parked_days:g} days")
            elif absent[0] != one.waits_for[0]:
                pending.append(
                    (one, parts.store.submit(Batch(swap=((one, replace(one, waits_for=absent)),))))
                )
                again.append(one.id)
        except InvalidInput as error:
            pending.append((one, parts.store.submit(_buried(parts, one, error))))
    for one, future in pending:
        try:
            future.result()
        except (Conflict, InvalidInput) as error:
            # Somebody else may have joined it, and then it is not here any more.
            if parts.store.get(Parked, tenant, one.id) == one:
                parts.store.commit(_buried(parts, one, error))
    return again


def _joined(parts: Parts, one: Parked, known: Targets) -> Batch:
    said = one.feedback
    whole = intake.complete(
        said, turns=known.turns, episodes=known.episodes, taxonomy=parts.taxonomy, now=one.since
    )
    return Batch(add=(whole,), sent=(intake.sent(said),), drop=(one,))


def _buried(parts: Parts, one: Parked, error: HeedfulError) -> Batch:
    payload = encode(one.feedback).decode()
    letter = write_letter(parts, one.tenant, payload, str(error), origin="parked")
    return Batch(add=(letter,), drop=(one,))
