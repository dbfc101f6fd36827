"""Ids that are known to be there, so that nobody looks them up again; the oldest are forgotten."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from heedful.domain.ids import TenantId

Id = TypeVar("Id", bound=str)
MOST = 100_000


class Remembered(Generic[Id]):
    def __init__(self) -> None:
        self._known: OrderedDict[tuple[TenantId, Id], None] = OrderedDict()

    def __contains__(self, id: tuple[TenantId, Id]) -> bool:
        return id in self._known

    def add(self, tenant: TenantId, id: Id) -> None:
        self._known[tenant, id] = None
        if len(self._known) > MOST:
            self._known.popitem(last=False)
