"""Keep records, hand them back, and never half-keep anything.

There is one way to write: a `Batch` is committed whole or not at all, and the call returns only when its
rows are on disk. There is one way to change a record: hand in the old and the new value; if somebody was
faster the old one is no longer there and the batch is refused. History that people will ask about is made of
records of its own (a release's steps, the audit log), so nothing else needs versions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from heedful.domain.access import Key, Tenant
from heedful.domain.episode import Episode, Turn
from heedful.domain.feedback import DeadLetter, Feedback, Parked
from heedful.domain.ids import TenantId
from heedful.domain.labeling import Assignment, Item, Queue, Verdict
from heedful.domain.models import Cycle, Policy, RewardModel, Run
from heedful.domain.preference import Dataset
from heedful.domain.release import Release
from heedful.domain.watch import Alert, Incident
from heedful.errors import HeedfulError

Record = (
    Tenant
    | Key
    | Episode
    | Turn
    | Feedback
    | Parked
    | DeadLetter
    | Queue
    | Item
    | Assignment
    | Verdict
    | Dataset
    | RewardModel
    | Policy
    | Run
    | Cycle
    | Release
    | Alert
    | Incident
)
R = TypeVar("R", bound=Any)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """One record, by kind and id: what lineage is made of."""

    kind: str  # "turn", "feedback", "dataset" …: the record's class in small letters with underscores
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """`made` would be different without `source`."""

    made: Ref
    source: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that an auditor will ask about: it enters the audit log with the batch that did it."""

    tenant: TenantId
    at: datetime
    actor: str  # a key id, a person, or the part of the system that acted
    verb: str  # "release.moved", "feedback.judged", "key.issued" …
    subject: Ref
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is committed together, or not at all.

    `add` takes new records. One that is there already with the same content is left as it is and counts as a
    duplicate; one with the same id and other content refuses the batch. With `each`, a batch of records to add
    and nothing else, every record is on its own: what is wrong with one is said in the outcome, and the others
    are kept. `sent` has what the callers sent, as digests in the order of `add`, where we completed it since:
    whether two records are the same is decided by what was sent. `swap` changes records, each given as
    (the value that was read, the value that shall be). `drop` takes records away, each given as it was read
    and before anything is added: with it go the links that say what it was made from, and its id is free again.
    `once` names an effect, such
    as "cycle-7/fit": the second batch with the same name changes nothing and gets the first one's outcome.
    """

    add: tuple[Record, ...] = ()
    swap: tuple[tuple[Record, Record], ...] = ()
    drop: tuple[Record, ...] = ()
    links: tuple[Link, ...] = ()  # beyond those that the records' own fields tell
    acts: tuple[Act, ...] = ()
    once: str | None = None
    each: bool = False
    sent: tuple[str, ...] = ()  # empty: the records are what was sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    added: tuple[bool, ...]  # per record of `add`: False where it was there already, or was refused
    repeated: bool = False  # the effect named by `once` had happened before
    refused: Mapping[int, HeedfulError] = field(default_factory=dict)  # with `each`: by place in `add`


class Store(Protocol):
    """Records of all tenants; every question names the tenant.

    Every adapter keeps these promises (tests/contract/test_store.py):
    - after `commit` returns, or a future of `submit` is done, the batch survives the death of the process
      and, as far as the database and its disk keep their word, the loss of power;
    - a batch is kept whole or not at all, and a refused one leaves its neighbours alone;
    - the same record added twice, even from two processes, is kept once; feedback and parked feedback share
      their ids, so that of one piece only one of them is there;
    - of two swaps of one record one wins, and the other raises `Conflict`; a drop counts as a swap, and what
      was dropped is nowhere to be found, and not counted, from its commit on;
    - an effect named by `once` happens once, whoever repeats it, and after any crash;
    - acts enter the audit tree in the order of their commits, without gaps;
    - `changes` gives records in the order of their commits and never skips one that commits late;
    - nothing of one tenant is seen by another.

    Raises `Conflict` (other content under the id, or somebody was faster), `Busy` (the queue is full: wait),
    `Unavailable` (the database does not answer), `InvalidInput` (a question about a field without an index).
    """

    def commit(self, batch: Batch) -> Outcome: ...

    def submit(self, batch: Batch) -> Future[Outcome]:
        """As `commit`, without waiting: for those who must not block a thread."""
        ...

    def get(self, kind: type[R], tenant: TenantId, id: str) -> R | None: ...

    def get_many(self, kind: type[R], tenant: TenantId, ids: Sequence[str]) -> dict[str, R]: ...

    def find(
        self,
        kind: type[R],
        tenant: TenantId,
        *,
        where: Mapping[str, Any] | None = None,
        newest_first: bool = False,
        limit: int | None = 1000,
        after: int | None = None,
    ) -> list[R]:
        """Records whose indexed columns equal `where` (a tuple or list as value means "one of"), oldest first
        unless asked otherwise; `after` is a sequence number as `changes` gives it."""
        ...

    def changes(
        self, kind: type[R], tenant: TenantId, *, after: int = 0, limit: int = 1000
    ) -> list[tuple[int, R]]:
        """Added records with their sequence numbers, in commit order, from just behind `after`."""
        ...

    def parents(self, tenant: TenantId, ref: Ref) -> list[Ref]: ...

    def children(self, tenant: TenantId, ref: Ref, *, limit: int = 1000) -> list[Ref]: ...

    def audit_entries(self, *, start: int = 0) -> Iterator[tuple[int, bytes, bytes]]:
        """(index, canonical bytes, leaf hash as recorded), in order, without loading them all."""
        ...

    def ping(self) -> None:
        """Return if reads and writes work; raise `Unavailable` otherwise."""
        ...

    def close(self) -> None:
        """Finish what is queued, then let go of the database."""
        ...
