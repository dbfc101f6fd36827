"""A batch made ready for the writer: checked, encoded and measured, in the thread of whoever sends it.

What can be refused without a database is refused here, so that the one writing thread only does what has to
be done in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from heedful.audit.entries import canonical
from heedful.domain.ids import TenantId
from heedful.errors import HeedfulError, InvalidInput
from heedful.store import codec
from heedful.store.lineage import linked, ref_of
from heedful.store.protocol import Act, Batch, Link, Record, Ref
from heedful.store.tables import columns, micros, plain, table_of

Place = tuple[type, str, str]  # kind, tenant, id


class Row(NamedTuple):
    """A record as its table takes it."""

    place: Place
    sent: str  # digest of what the caller said
    body: str
    columns: dict[str, Any]
    sources: tuple[Ref, ...]  # what it was made from, as far as that needs links

    @property
    def kind(self) -> type:
        return self.place[0]


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
    each: bool = False
    places: tuple[int, ...] = ()  # with `each`: where each of `adds` stood
    refused: Mapping[int, HeedfulError] = field(default_factory=dict)  # with `each`: what was never a row
    probe: bool = False  # writes nothing that anyone reads: is the disk there?

    def alone(self) -> Iterator[Prepared]:
        """With `each`: every row as a batch of its own."""
        for place, row in zip(self.places, self.adds, strict=True):
            yield Prepared(tenant=self.tenant, adds=(row,), each=True, places=(place,))

    @property
    def rows(self) -> int:
        return 1 + len(self.adds) + len(self.swaps) + len(self.drops) + len(self.links) + len(self.entries)

    @property
    def bytes(self) -> int:
        bodies = (row.body for row in (*self.adds, *(new for _, new in self.swaps)))
        return sum(map(len, bodies)) + sum(len(entry.body) for entry in self.entries) + 200 * self.rows


def prepare(batch: Batch) -> Prepared:
    if batch.sent and len(batch.sent) != len(batch.add):
        raise InvalidInput(f"{len(batch.sent)} digests for {len(batch.add)} records", field="sent")
    if batch.each:
        return _each(batch)
    return Prepared(
        tenant=_tenant(batch),
        adds=tuple(_row(record, sent) for record, sent in _sendings(batch)),
        swaps=tuple(_swap(old, new) for old, new in batch.swap),
        drops=tuple(map(_drop, batch.drop)),
        links=tuple(map(_checked, batch.links)),
        entries=tuple(map(_entry, batch.acts)),
        once=None if batch.once is None else cast(str, plain("once", batch.once)),
    )


def _each(batch: Batch) -> Prepared:
    if batch.swap or batch.drop or batch.links or batch.acts or batch.once is not None:
        raise InvalidInput("a batch with `each` adds records and does nothing else", field="each")
    rows: dict[int, Row] = {}
    refused: dict[int, HeedfulError] = {}
    for place, (record, sent) in enumerate(_sendings(batch)):
        try:
            rows[place] = _row(record, sent)
        except InvalidInput as error:
            refused[place] = error
    return Prepared(
        tenant=_tenant(batch), adds=tuple(rows.values()), each=True, places=tuple(rows), refused=refused
    )


def _sendings(batch: Batch) -> Iterator[tuple[Record, str | None]]:
    return zip(batch.add, batch.sent or (None,) * len(batch.add), strict=True)


def _row(record: Record, sent: str | None = None) -> Row:
    kind = type(record)
    table_of(kind)
    body = codec.encode(record)
    beside = columns(record)
    return Row(
        (kind, cast(str, plain("tenant", record.tenant)), cast(str, plain("id", record.id))),
        codec.digest(record, body) if sent is None else sent,
        body.decode(),
        beside,
        linked(record, beside),
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
