"""A batch made ready for the writer: checked, encoded and measured, in the thread of whoever sends it.

What can be refused without a database is refused here, so that the one writing thread only does what has to
be done in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from heedful.audit.entries import canonical
from heedful.domain.ids import TenantId
from heedful.errors import InvalidInput
from heedful.store import codec
from heedful.store.lineage import linked, ref_of
from heedful.store.protocol import Act, Batch, Link, Record, Ref
from heedful.store.tables import columns, micros, plain, table_of

Place = tuple[type, str, str]  # kind, tenant, id


@dataclass(frozen=True, slots=True)
class Row:
    """A record as its table takes it."""

    kind: type
    tenant: str
    id: str
    sent: str  # digest of what the caller said
    body: str
    columns: dict[str, Any]
    sources: tuple[Ref, ...]  # what it was made from, as far as that needs links

    @property
    def place(self) -> Place:
        return self.kind, self.tenant, self.id


@dataclass(frozen=True, slots=True)
class Entry:
    """One act, as it enters the audit tree."""

    tenant: str
    at: int  # microseconds since 1970
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    tenant: str
    adds: tuple[Row, ...] = ()
    swaps: tuple[tuple[str, Row], ...] = ()  # the body that must be there, what replaces it
    drops: tuple[tuple[str, Place], ...] = ()  # the body that must be there, and where
    links: tuple[Link, ...] = ()
    entries: tuple[Entry, ...] = ()
    once: str | None = None
    probe: bool = False  # writes nothing that anyone reads: is the disk there?

    @property
    def rows(self) -> int:
        return 1 + len(self.adds) + len(self.swaps) + len(self.drops) + len(self.links) + len(self.entries)

    @property
    def bytes(self) -> int:
        bodies = (row.body for row in (*self.adds, *(new for _, new in self.swaps)))
        return sum(map(len, bodies)) + sum(len(entry.body) for entry in self.entries) + 200 * self.rows


def prepare(batch: Batch) -> Prepared:
    return Prepared(
        tenant=_tenant(batch),
        adds=tuple(_row(record) for record in batch.add),
        swaps=tuple(_swap(old, new) for old, new in batch.swap),
        drops=tuple(map(_drop, batch.drop)),
        links=tuple(map(_checked, batch.links)),
        entries=tuple(map(_entry, batch.acts)),
        once=None if batch.once is None else cast(str, plain("once", batch.once)),
    )


def _row(record: Record) -> Row:
    kind = type(record)
    table_of(kind)
    body = codec.encode(record)
    beside = columns(record)
    return Row(
        kind=kind,
        tenant=cast(str, plain("tenant", record.tenant)),
        id=cast(str, plain("id", record.id)),
        sent=codec.digest(record, body),
        body=body.decode(),
        columns=beside,
        sources=linked(record, beside),
    )


def _swap(old: Record, new: Record) -> tuple[str, Row]:
    if (type(old), old.tenant, old.id) != (type(new), new.tenant, new.id):
        raise InvalidInput(
            f"a swap changes one record: {old.tenant}'s {ref_of(old)} is not {new.tenant}'s {ref_of(new)}",
            field="swap",
        )
    return codec.encode(old).decode(), _row(new)


def _drop(record: Record) -> tuple[str, Place]:
    table_of(type(record))
    tenant, id = (cast(str, plain(name, getattr(record, name))) for name in ("tenant", "id"))
    return codec.encode(record).decode(), (type(record), tenant, id)


def _checked(link: Link) -> Link:
    for text in (link.made.kind, link.made.id, link.source.kind, link.source.id):
        plain("links", text)
    return link


def _entry(act: Act) -> Entry:
    said = codec.adapter(Act).dump_python(act, mode="json")
    return Entry(tenant=cast(str, plain("tenant", act.tenant)), at=micros(act.at), body=canonical(said))


def _tenant(batch: Batch) -> TenantId:
    """Whose batch this is: effects and links are the tenant's, so that a batch is about one."""
    tenants = set(_tenants(batch))
    if len(tenants) > 1:
        named = ", ".join(sorted(map(repr, tenants)))
        raise InvalidInput(
            f"a batch is of one tenant, this one of {named}: send one batch for each", field="tenant"
        )
    if not tenants and (batch.once is not None or batch.links):
        raise InvalidInput(
            "a batch of links or an effect alone does not say whose it is: add a record or an act",
            field="tenant",
        )
    return next(iter(tenants), TenantId(""))


def _tenants(batch: Batch) -> Iterator[TenantId]:
    yield from (record.tenant for record in batch.add)
    yield from (new.tenant for _, new in batch.swap)
    yield from (record.tenant for record in batch.drop)
    yield from (act.tenant for act in batch.acts)
