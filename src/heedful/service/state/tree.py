"""The audit log's tree as it stands, without reading the whole log each time."""

from __future__ import annotations

from threading import Lock

from heedful.audit.merkle import Frontier
from heedful.store.protocol import Store


class Tree:
    """Remembers how far it has read; entries never change, so that only new ones are added."""

    def __init__(self) -> None:
        self._read = Frontier()
        self._reading = Lock()

    def now(self, store: Store) -> Frontier:
        with self._reading:
            for _, _, leaf in store.audit_entries(start=self._read.size):
                self._read = self._read.append(leaf)
            return self._read
