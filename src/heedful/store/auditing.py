"""The audit log as it is stored, held against its signed checkpoints.

The checkpoints and their key are files in the data directory. What the database itself remembers of the tree
(its frontier) is not signed, but a cut tail disagrees with it, so that one more careless edit is seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from heedful.audit import ledger
from heedful.audit.checkpoints import Checkpoint, check, sign
from heedful.audit.merkle import EMPTY_ROOT, Frontier, leaf_hash
from heedful.audit.verification import Entry, Finding, Outcome
from heedful.audit.verification import verify as verify_entries
from heedful.domain.clock import Clock
from heedful.domain.ids import TenantId
from heedful.errors import Corrupt, NotFound
from heedful.store.sql import SqlStore, stored_bytes
from heedful.store.tables import audit_entry, audit_frontier

KEY = "audit.key"
CHECKPOINTS = "checkpoints.jsonl"


def verify(store: SqlStore, data: Path, *, extra: Checkpoint | None = None) -> Finding:
    """Read the whole log and name the first entry that is not as it was."""
    checkpoints = [*ledger.read(data / CHECKPOINTS), *((extra,) if extra else ())]
    remembered = frontier(store)
    seen = _Root(remembered.size)
    finding = verify_entries(seen.passing(store.audit_entries()), checkpoints, keys=keys(data))
    if not finding.intact:
        return finding
    if seen.size < remembered.size:
        said = f"the log ends after {seen.size} entries, and the database remembers {remembered.size}"
        return replace(
            finding, outcome=Outcome.TRUNCATED, first=seen.size, last=remembered.size - 1, said=said
        )
    if seen.root != remembered.root():
        first, last = finding.anchored, max(remembered.size - 1, finding.anchored)
        said = f"among entries {first} to {last} something was rewritten together with its hash"
        return replace(finding, outcome=Outcome.REWRITTEN, first=first, last=last, said=said)
    return finding


def checkpoint(store: SqlStore, data: Path, clock: Clock) -> Checkpoint:
    """Sign how the log stands, after reading all of it: a damaged log is not vouched for."""
    key = ledger.make_key(data / KEY)
    new = sign(frontier(store), at=clock.now(), key_id=ledger.key_id(key), key=key)
    finding = verify(store, data, extra=new)
    if not finding.intact:
        raise Corrupt(f"the audit log is {finding.outcome}: {finding.said}; nothing was signed")
    ledger.append(data / CHECKPOINTS, new)
    return new


def sign_growth(store: SqlStore, data: Path, clock: Clock) -> Checkpoint | None:
    """`checkpoint`, unless the newest one says all there is to say."""
    signed, size = ledger.read(data / CHECKPOINTS), frontier(store).size
    return checkpoint(store, data, clock) if size > (signed[-1].size if signed else 0) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What a look at the end of the log tells, without reading it."""

    entries: int
    signed: int | None  # entries under the last checkpoint; None when there is no checkpoint
    trouble: str | None


def glance(store: SqlStore, data: Path) -> Glance:
    """The last entry, the size and the last checkpoint: enough for `doctor`, not for an auditor."""
    # In this order: a server that appends meanwhile only makes what is read later longer.
    signed, size = ledger.read(data / CHECKPOINTS), frontier(store).size
    with store.reading() as connection:
        last = connection.execute(
            select(audit_entry.c.index, audit_entry.c.body, audit_entry.c.leaf)
            .order_by(audit_entry.c.index.desc())
            .limit(1)
        ).first()
        counted = connection.execute(select(func.count()).select_from(audit_entry)).scalar_one()
    count = 0 if last is None else last[0] + 1
    trouble = None
    if last is not None and leaf_hash(stored_bytes(last[1])) != stored_bytes(last[2]):
        trouble = f"entry {last[0]} is not what was hashed when it was appended"
    elif counted < count:
        trouble = f"{count - counted} of {count} entries are missing"
    elif size > count:
        trouble = f"the log ends after {count} entries, and the database remembers {size}"
    elif signed and signed[-1].size > count:
        trouble = f"the log ends after {count} entries, and {signed[-1].size} were signed for"
    elif signed and not check(signed[-1], keys(data)):
        trouble = f"the checkpoint over {signed[-1].size} entries was not signed by our key"
    return Glance(entries=count, signed=signed[-1].size if signed else None, trouble=trouble)


def newest(store: SqlStore, tenant: TenantId, limit: int) -> list[dict[str, Any]]:
    """The newest acts of a tenant, the newest first, each with its index in the log."""
    question = (
        select(audit_entry.c.index, audit_entry.c.body)
        .where(audit_entry.c.tenant == tenant)
        .order_by(audit_entry.c.index.desc())
        .limit(limit)
    )
    with store.reading() as connection:
        rows = connection.execute(question).all()
    try:
        return [{"index": index, **json.loads(stored_bytes(body))} for index, body in rows]
    except ValueError as error:
        raise Corrupt(f"the audit log does not read: {error}; run heedful audit verify") from error


def frontier(store: SqlStore) -> Frontier:
    with store.reading() as connection:
        return Frontier.from_json(connection.execute(select(audit_frontier.c.frontier)).scalar_one())


def keys(data: Path) -> dict[str, bytes]:
    try:
        key = ledger.read_key(data / KEY)
    except NotFound:
        return {}
    return {ledger.key_id(key): key}


class _Root:
    """Follows entries that somebody else reads, and keeps the root of the first `wanted` of them."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._tree = Frontier()
        self.size = 0
        self.root = EMPTY_ROOT

    def passing(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        for entry in entries:
            yield entry
            self.size += 1
            if self.size <= self._wanted:
                self._tree = self._tree.append(entry[2])
                self.root = self._tree.root() if self.size == self._wanted else EMPTY_ROOT
