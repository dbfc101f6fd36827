"""What every stop does with records: get one that must be there, write down that something was done to it, and
go through many in portions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from heedful.domain.ids import TenantId
from heedful.errors import NotFound
from heedful.road.parts import Parts
from heedful.store.codec import kind_of
from heedful.store.protocol import Act, Ref

T = TypeVar("T")
CHUNK = 200  # records per commit where there are many


def get(parts: Parts, kind: type[T], tenant: TenantId, id: str) -> T:
    """The record, or `NotFound`."""
    found = parts.store.get(kind, tenant, id)
    if found is None:
        name = kind_of(kind)
        raise NotFound(f"{name.replace('_', ' ')} {id!r} is not known here", field=name)
    return found


def act(parts: Parts, tenant: TenantId, actor: str, verb: str, record: Any) -> Act:
    """What was done to a record and by whom, for the audit log."""
    kind = kind_of(type(record))
    detail = {
        name: str(value)
        for name in ("stage", "standing", "policy", "by", "reason")
        if (value := getattr(record, name, None)) is not None
    }
    return Act(
        tenant=tenant,
        at=parts.clock.now(),
        actor=actor,
        verb=verb,
        subject=Ref(kind=kind, id=record.id),
        detail=detail,
    )


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
