"""Which parked feedback can be looked at again, because something has come since.

A joiner remembers how far it has read the turns and episodes of all tenants, so that its work goes with what
is new and not with what waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from heedful.domain.episode import Episode, Turn
from heedful.domain.feedback import Parked
from heedful.domain.ids import TenantId
from heedful.store.bulk import among
from heedful.store.codec import kind_of
from heedful.store.tables import TABLES, tally


class Marks(NamedTuple):
    """How far turns and episodes have been read, by their sequence numbers."""

    turn: int = 0
    episode: int = 0


def newest(connection: Connection) -> Marks:
    """Where everything that is here now has been read."""
    turn, episode = (
        connection.execute(select(func.max(TABLES[kind].c.seq))).scalar_one() for kind in (Turn, Episode)
    )
    return Marks(turn or 0, episode or 0)


def arrived(
    connection: Connection, after: Marks, upto: Marks, limit: int
) -> tuple[Marks, list[tuple[TenantId, str]]]:
    """What came behind the marks and not beyond the others, a page of each kind; and marks behind the page."""
    found: list[tuple[TenantId, str]] = []
    read: list[int] = []
    for kind, behind, last in ((Turn, after.turn, upto.turn), (Episode, after.episode, upto.episode)):
        table = TABLES[kind]
        rows = (
            connection.execute(
                select(table.c.seq, table.c.tenant, table.c.id)
                .where(table.c.seq > behind, table.c.seq <= last)
                .order_by(table.c.seq)
                .limit(limit)
            ).all()
            if last > behind
            else []
        )
        found += [(TenantId(row.tenant), row.id) for row in rows]
        read.append(rows[-1].seq if len(rows) == limit else last)
    return Marks(*read), found


def on(connection: Connection, tenant: TenantId, ids: Sequence[str]) -> list[str]:
    """Bodies of what waits for one of these."""
    table = TABLES[Parked]
    question = select(table.c.body).where(table.c.tenant == tenant, among(connection, table.c.waits, ids))
    return list(connection.execute(question).scalars())


def tenants(connection: Connection, kind: type) -> list[TenantId]:
    """Those that have records of this kind."""
    question = select(tally.c.tenant).where(tally.c.kind == kind_of(kind), tally.c.records > 0)
    return [TenantId(tenant) for tenant in connection.execute(question.order_by(tally.c.tenant)).scalars()]
