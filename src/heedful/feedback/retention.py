"""What has been kept long enough: which records go, which lose their words, which stay a while.

Words go first. Whatever is still needed as a number stays without them: a turn while its release is running, and
feedback that something was made from, so that `heedful why` leads back to people and a verdict can be counted
again. A dataset keeps what it froze: taking somebody's words out of what was learned is another matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from heedful.domain.capture import Capture
from heedful.domain.episode import Turn
from heedful.domain.feedback import Feedback
from heedful.domain.ids import PolicyId, ReleaseId, TenantId
from heedful.domain.labeling import Item, ItemState
from heedful.feedback.settings import CaptureSettings
from heedful.store.codec import kind_of


class Fate(StrEnum):
    STAY = "stay"
    LOSE_WORDS = "lose_words"
    GO = "go"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What releases that have not ended are judged by."""

    releases: Container[ReleaseId]
    policies: Container[PolicyId]


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """How many records of each kind went, and how many stayed without their words."""

    before: datetime | None = None  # None: this tenant's records are kept for good
    gone: Mapping[str, int] = field(default_factory=dict)
    bare: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, gone: Iterable[object], bare: Iterable[object]) -> Purged:
        return cls(gone=_counted(gone), bare=_counted(bare))

    def and_also(self, other: Purged) -> Purged:
        gone, bare = Counter(self.gone) + Counter(other.gone), Counter(self.bare) + Counter(other.bare)
        return replace(self, gone=dict(gone), bare=dict(bare))


def _counted(records: Iterable[object]) -> Mapping[str, int]:
    return dict(Counter(kind_of(type(one)) for one in records))


def cutoff(settings: CaptureSettings, tenant: TenantId, now: datetime) -> datetime | None:
    """What is from before then is due; None when nothing ever is."""
    days = settings.days(tenant)
    return None if days is None else now - timedelta(days=days)


def of_turn(turn: Turn, *, before: datetime, running: Running) -> Fate:
    if turn.at >= before:
        return Fate.STAY
    if turn.allocation is not None and turn.allocation.release in running.releases:
        return _bare(turn.capture)
    return Fate.GO


def of_feedback(said: Feedback, *, before: datetime, running: Running, used: bool) -> Fate:
    """`used`: a verdict or a dataset was made from it."""
    if said.at >= before:
        return Fate.STAY
    return _bare(said.capture) if used or said.policy in running.policies else Fate.GO


def _bare(capture: Capture) -> Fate:
    return Fate.STAY if capture is Capture.METADATA else Fate.LOSE_WORDS


def without_words(item: Item) -> Item:
    """Nobody can be asked about it any more; what was answered stands."""
    return replace(
        item,
        prompt=(),
        answers=("",) * len(item.answers),
        gold=None if item.gold is None else replace(item.gold, why=None),
        state=ItemState.WITHDRAWN if item.state is ItemState.OPEN else item.state,
    )
