"""Dead letters, beside stop 1: what came in and cannot become what it should waits for a person, who sends it on
once more, mended or not, or throws it away."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from heedful.domain.episode import Episode, Turn
from heedful.domain.feedback import DeadLetter, Feedback
from heedful.domain.ids import DeadLetterId, TenantId
from heedful.errors import Conflict, HeedfulError
from heedful.feedback import capture
from heedful.road.answering import keep
from heedful.road.hearing import Heard, hear
from heedful.road.parts import Parts
from heedful.road.records import act, get
from heedful.store.protocol import Batch


def bury(parts: Parts, tenant: TenantId, payload: str, reason: str, *, origin: str) -> DeadLetter:
    """What came in and cannot become what it should is kept for a person to look at, once however often it comes."""
    letter = write_letter(
        parts, tenant, payload, reason, origin=origin
    )  # named by all that came, whatever is kept
    new = capture.of_letter(letter, parts.capture.of(tenant))
    known = parts.store.get(DeadLetter, tenant, new.id)
    if known is None and parts.store.commit(Batch(add=(new,), each=True)).added[0]:
        return new
    return _again(parts, get(parts, DeadLetter, tenant, new.id), new.reason)


def write_letter(parts: Parts, tenant: TenantId, payload: str, reason: str, *, origin: str) -> DeadLetter:
    now, name = parts.clock.now(), hashlib.sha256(payload.encode()).hexdigest()[:32]
    return DeadLetter(
        id=DeadLetterId(f"{origin}:{name}"),
        tenant=tenant,
        payload=payload,
        reason=reason,
        origin=origin,
        first_seen=now,
        last_seen=now,
    )


def _again(parts: Parts, letter: DeadLetter, reason: str) -> DeadLetter:
    more = replace(letter, last_seen=parts.clock.now(), attempts=letter.attempts + 1, reason=reason)
    with suppress(Conflict):  # somebody counted at the same moment
        parts.store.commit(Batch(swap=((letter, more),)))
    return more


def replay(
    parts: Parts, tenant: TenantId, id: DeadLetterId, said: Sequence[Feedback], *, actor: str
) -> list[Heard]:
    """What a dead letter says, as its reader understood it, is heard once more; when all of it was taken the
    letter is gone."""
    letter = get(parts, DeadLetter, tenant, id)
    results = hear(parts, tenant, said, actor=actor)
    wrong = next((one.error for one in results if one.error is not None), None)
    if wrong is not None or not results:
        _again(parts, letter, str(wrong or "it says nothing"))
        return results
    _purge(parts, letter, actor=actor, verb="dead_letter.replayed")
    return results


def replay_turns(
    parts: Parts,
    tenant: TenantId,
    id: DeadLetterId,
    turns: Sequence[Turn],
    episodes: Sequence[Episode],
    *,
    actor: str,
) -> None:
    """Answers that the store did not take are offered to it once more; when it takes them the letter is gone."""
    letter = get(parts, DeadLetter, tenant, id)
    begun = parts.store.get_many(Episode, tenant, [one.id for one in episodes])
    try:
        keep(parts, turns, episodes=[one for one in episodes if one.id not in begun]).result()
    except HeedfulError as error:
        _again(parts, letter, str(error))
        raise
    _purge(parts, letter, actor=actor, verb="dead_letter.replayed")


def purge(parts: Parts, tenant: TenantId, id: DeadLetterId, *, actor: str) -> DeadLetter:
    """A dead letter is thrown away, and the audit log says by whom."""
    letter = get(parts, DeadLetter, tenant, id)
    _purge(parts, letter, actor=actor, verb="dead_letter.purged")
    return letter


def _purge(parts: Parts, letter: DeadLetter, *, actor: str, verb: str) -> None:
    parts.store.commit(Batch(drop=(letter,), acts=(act(parts, letter.tenant, actor, verb, letter),)))
