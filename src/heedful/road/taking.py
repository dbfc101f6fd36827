"""What happened elsewhere, beside stop 1: yesterday's logs and other people's traces go on record like our own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from heedful.domain.episode import Episode, Turn
from heedful.domain.ids import TenantId
from heedful.errors import Busy, Conflict, Unavailable
from heedful.feedback.formats import found as elsewhere
from heedful.feedback.formats.found import Found, Problem
from heedful.road.answering import captured
from heedful.road.hearing import hear
from heedful.road.parts import Parts
from heedful.road.records import act, chunks
from heedful.store.protocol import Batch

T = TypeVar("T")
TRIES = 5  # to bring what others bring too


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of what was found elsewhere, counted by kind of record."""

    kept: Mapping[str, int]
    duplicates: Mapping[str, int]
    problems: tuple[Problem, ...] = ()


def take_in(parts: Parts, tenant: TenantId, found: Found, *, actor: str, about_ours: bool = True) -> Taken:
    """What happened elsewhere goes on record, once. What is here already is left as it is, unless the rest of its
    trace says more of it; an answer that our own gateway gave is here already, under the id that its caller got.
    `about_ours` lets feedback be about that.
    """
    ours = parts.store.get_many(Turn, tenant, sorted(elsewhere.responses(found)))
    fresh = elsewhere.without(found, ours)
    new = Counter({"episodes": 0, "turns": 0, "feedback": 0})
    for turns in chunks(fresh.turns):
        new.update(_take_turns(parts, tenant, turns, fresh.episodes, actor))
    for clearer in chunks(fresh.mended):
        _mend(parts, tenant, clearer, actor)
    known = parts.store.get_many(Turn, tenant, sorted({one.turn for one in fresh.feedback if one.turn}))
    episodes = sorted({one.episode for one in fresh.feedback if one.episode})
    said, problems = elsewhere.placed(
        fresh, known, parts.store.get_many(Episode, tenant, episodes), about_ours=about_ours
    )
    heard = [one for some in chunks(said) for one in hear(parts, tenant, some, actor=actor)]
    for one in heard:
        if isinstance(one.error, Busy | Unavailable):
            raise one.error  # nothing is lost by sending all of it again
        if one.error is not None:
            problems.append(Problem(where=found.places.get(one.id, one.id), reason=str(one.error)))
        new["feedback"] += one.kept
    told = {
        "episodes": len({one.episode for one in found.turns}),
        "turns": len(found.turns),
        "feedback": sum(one.error is None for one in heard),
    }
    return Taken(
        kept=dict(new),
        duplicates={kind: max(0, count - new[kind]) for kind, count in told.items()},
        problems=(*found.problems, *problems),
    )


def _take_turns(
    parts: Parts, tenant: TenantId, turns: Sequence[Turn], episodes: Sequence[Episode], actor: str
) -> Counter[str]:
    """Those that are new, with their episodes and the policies that they name."""
    homes = {one.id: one for one in episodes}
    for _ in range(TRIES):
        new = _unknown(parts, tenant, {one.id: one for one in turns})
        if not new:
            return Counter()
        begun = _unknown(
            parts, tenant, {one.episode: homes[one.episode] for one in new if one.episode in homes}
        )
        policies = _unknown(parts, tenant, {one.policy: elsewhere.policy_of(one) for one in new})
        acts = tuple(act(parts, tenant, actor, "policy.imported", one) for one in policies)
        try:
            told: tuple[Any, ...] = (
                *(captured(parts, one) for one in begun),
                *(captured(parts, one) for one in new),
            )
            parts.store.commit(Batch(add=(*policies, *told), acts=acts))
        except Conflict:
            continue  # somebody brings the same at this moment
        return Counter({"episodes": len(begun), "turns": len(new)})
    raise Busy("others bring the same episodes at this moment: send them again")


def _mend(parts: Parts, tenant: TenantId, clearer: Sequence[tuple[Turn, Turn]], actor: str) -> None:
    """Of turns that came before their agent did it is now known whose they are."""
    policies = _unknown(parts, tenant, {new.policy: elsewhere.policy_of(new) for _, new in clearer})
    acts = tuple(act(parts, tenant, actor, "policy.imported", one) for one in policies)
    with suppress(Conflict):  # whoever was faster knew as much, or the rest of the trace says it again
        parts.store.commit(Batch(add=tuple(policies), swap=tuple(clearer), acts=acts))


def _unknown(parts: Parts, tenant: TenantId, records: Mapping[Any, T]) -> list[T]:
    if not records:
        return []
    there = parts.store.get_many(type(next(iter(records.values()))), tenant, sorted(records))
    return [one for id, one in records.items() if id not in there]
