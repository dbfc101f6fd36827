"""What something was made from, back to people; and what was made from it, forward to weights."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from heedful.domain.feedback import Feedback
from heedful.domain.ids import TenantId
from heedful.store.protocol import Ref, Store

MOST = 5_000  # records on one side: more is nothing that anyone reads
# Of these there are thousands, and behind them only what the caller can ask for by itself.
ENDS_BACK = frozenset({"feedback", "verdict", "turn", "episode", "item"})
ENDS_ON = frozenset({"turn", "episode", "release", "item"})
WORK = frozenset({"turn", "feedback", "episode"})  # what a policy went on to do is not what was made from it


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One step away from what was asked about."""

    kind: str
    id: str
    depth: int
    via: Ref  # the neighbour through which it was found


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    ref: Ref
    back: Sequence[Hop]  # nearest first
    on: Sequence[Hop]
    people: dict[str, int]  # who said it: how many pieces of feedback from each
    whole: bool  # False: there is more than is shown


def why(store: Store, tenant: TenantId, ref: Ref, *, most: int = MOST) -> Why:
    back = _walk(ref, lambda one: store.parents(tenant, one), ends=ENDS_BACK, most=most)
    on = _walk(
        ref,
        lambda one: [
            made for made in store.children(tenant, one) if one.kind != "policy" or made.kind not in WORK
        ],
        ends=ENDS_ON,
        most=most,
    )
    said = [hop.id for hop in back if hop.kind == "feedback"] + ([ref.id] if ref.kind == "feedback" else [])
    feedback = store.get_many(Feedback, tenant, said).values()
    people = Counter(one.by or "nobody named" for one in feedback)
    return Why(
        ref=ref, back=back, on=on, people=dict(people.most_common()), whole=max(len(back), len(on)) < most
    )


def _walk(start: Ref, near: Callable[[Ref], list[Ref]], *, ends: frozenset[str], most: int) -> list[Hop]:
    """Breadth first, each record once; kinds in `ends` are shown and not walked through."""
    seen = {start}
    found: list[Hop] = []
    waiting = deque([(start, 0)])
    while waiting:
        at, depth = waiting.popleft()
        for one in near(at):
            if one in seen or len(found) == most:
                continue
            seen.add(one)
            found.append(Hop(kind=one.kind, id=one.id, depth=depth + 1, via=at))
            if one.kind not in ends:
                waiting.append((one, depth + 1))
    return found
