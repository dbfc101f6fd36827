"""What one transaction writes: batches judged one after the other, against the database and each other.

A batch that is refused leaves no trace in the group, and those behind it see those before it as if they were
committed already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, select, update

from heedful.audit.merkle import Frontier, leaf_hash
from heedful.errors import Conflict, Corrupt, HeedfulError
from heedful.store import codec
from heedful.store.batches import Entry, Place, Prepared, Row
from heedful.store.bulk import add_up, among, insert_all, known
from heedful.store.protocol import Outcome, Ref
from heedful.store.tables import TABLES, TWINS, audit_entry, audit_frontier, effect, link, tally

LinkRow = tuple[str, Ref, Ref]  # tenant, made, source


class Kept(NamedTuple):
    """What is at a place now: read from the database, or staged by a batch of this group."""

    sent: str
    body: str | None  # None: in the database, not read yet
    row: Row | None = None  # to be written; None: as it was
    new: bool = False  # to be inserted
    stored: bool = False  # the database has a row here
    gone: bool = False  # nothing is here any more


class Group:
    def __init__(self, connection: Connection, batches: Sequence[Prepared]) -> None:
        self._connection = connection
        self._kept: dict[Place, Kept] = dict(self._stored(batches))
        self._effects = dict(self._happened(batches))
        self._new_effects: dict[tuple[str, str], tuple[bool, ...]] = {}
        self._links: dict[LinkRow, None] = {}
        self._entries: list[Entry] = []
        self._probe = any(batch.probe for batch in batches)

    def take(self, batch: Prepared) -> Outcome:
        """Stage the batch, or raise `Conflict` and stage nothing of it."""
        if batch.once is not None:
            before = self._effects.get((batch.tenant, batch.once))
            if before is not None:
                return Outcome(added=before, repeated=True)
        staged: dict[Place, Kept] = {}
        if batch.each:
            outcome = self._each(batch, staged)
            self._stage(batch.tenant, staged)
            return outcome
        for old, place in batch.drops:
            self._drop(old, place, staged)
        dropped = dict(staged)
        added = tuple([self._add(row, staged) for row in batch.adds])
        for old, row in batch.swaps:
            self._swap(old, row, staged)
        for place in dropped:
            self._forget(place)
        self._stage(batch.tenant, staged)
        self._links.update(dict.fromkeys((batch.tenant, one.made, one.source) for one in batch.links))
        # A batch that only repeats what is there did nothing that an auditor could ask about.
        if staged or not batch.adds:
            self._entries.extend(batch.entries)
        if batch.once is not None:
            self._effects[batch.tenant, batch.once] = self._new_effects[batch.tenant, batch.once] = added
        return Outcome(added=added)

    def _each(self, batch: Prepared, staged: dict[Place, Kept]) -> Outcome:
        refused: dict[int, HeedfulError] = dict(batch.refused)
        added = [False] * (len(batch.adds) + len(refused))
        for place, row in zip(batch.places, batch.adds, strict=True):
            try:
                added[place] = self._add(row, staged)
            except (Conflict, Corrupt) as error:
                refused[place] = error
        return Outcome(added=tuple(added), refused=refused)

    def _stage(self, tenant: str, staged: dict[Place, Kept]) -> None:
        self._kept.update(staged)
        for kept in staged.values():
            if kept.row is not None and kept.row.sources:
                kind, _, id = kept.row.place
                made = Ref(kind=codec.kind_of(kind), id=id)
                self._links.update(dict.fromkeys((tenant, made, source) for source in kept.row.sources))

    def _add(self, row: Row, staged: dict[Place, Kept]) -> bool:
        place = row.place
        before = staged.get(place) or self._kept.get(place)
        kept = before
        if (kept is None or kept.gone) and place[0] in TWINS:
            twin = (TWINS[place[0]], place[1], place[2])
            kept = staged.get(twin) or self._kept.get(twin)
        if kept is None or kept.gone:
            stored = before is not None and before.stored
            staged[place] = Kept(row.sent, row.body, row, True, stored)
            return True
        if kept.sent == row.sent or (kept is before and self._same(row, kept)):
            return False
        raise Conflict(
            f"{codec.kind_of(place[0])} {place[2]!r} is there already with other content: use a new id, "
            "or send what was sent first"
        )

    def _same(self, row: Row, kept: Kept) -> bool:
        """It may have been changed by a swap since, or have been written by an older version of us."""
        kind = row.place[0]
        now = codec.digest(codec.decode(kind, self._body(row.place, kept)))
        return now in (row.sent, codec.digest(codec.decode(kind, row.body)))

    def _swap(self, old: str, row: Row, staged: dict[Place, Kept]) -> None:
        kept = self._as_read(old, row.place, staged)
        staged[row.place] = Kept(kept.sent, row.body, row, kept.new, kept.stored)

    def _drop(self, old: str, place: Place, staged: dict[Place, Kept]) -> None:
        kept = self._as_read(old, place, staged)
        staged[place] = Kept("", "", stored=kept.stored, gone=True)

    def _as_read(self, old: str, place: Place, staged: dict[Place, Kept]) -> Kept:
        """What is there, if it is what somebody read."""
        kept = staged.get(place) or self._kept.get(place)
        kind, _, id = place
        name = f"{codec.kind_of(kind)} {id!r}"
        if kept is None or kept.gone:
            raise Conflict(f"{name} is not there: add it before changing it")
        now = self._body(place, kept)
        if not codec.same(now, old) and not codec.same(codec.encode(codec.decode(kind, now)), old):
            raise Conflict(f"{name} is not what it was when you read it: read it again, then decide")
        return kept

    def _forget(self, place: Place) -> None:
        """Links that batches before this one staged for what is dropped now."""
        kind, tenant, id = place
        made = Ref(kind=codec.kind_of(kind), id=id)
        for one in [one for one in self._links if one[0] == tenant and one[1] == made]:
            del self._links[one]

    def _body(self, place: Place, kept: Kept) -> str:
        if kept.body is not None:
            return kept.body
        kind, tenant, id = place
        table = TABLES[kind]
        question = select(table.c.body).where(table.c.tenant == tenant, table.c.id == id)
        body: str = self._connection.execute(question).scalar_one()
        return body

    # --- what is there already -----------------------------------------------------------------------

    def _stored(self, batches: Iterable[Prepared]) -> Iterator[tuple[Place, Kept]]:
        wanted: dict[tuple[type, str], dict[str, None]] = {}
        for batch in batches:
            places = [row.place for row in batch.adds]
            places += [row.place for _, row in batch.swaps]
            places += [place for _, place in batch.drops]
            for kind, tenant, id in places:
                wanted.setdefault((kind, tenant), {})[id] = None
        for kind, tenant in [asked for asked in wanted if asked[0] in TWINS]:
            wanted.setdefault((TWINS[kind], tenant), {}).update(wanted[kind, tenant])
        asked = [(TABLES[kind], tenant, list(ids)) for (kind, tenant), ids in wanted.items()]
        for (kind, tenant), found in zip(wanted, known(self._connection, asked, "sent"), strict=True):
            yield from (((kind, tenant, id), Kept(sent, None, stored=True)) for id, sent in found)

    def _happened(self, batches: Iterable[Prepared]) -> Iterator[tuple[tuple[str, str], tuple[bool, ...]]]:
        for batch in batches:
            if batch.once is not None:
                added = self._connection.execute(
                    select(effect.c.added).where(effect.c.tenant == batch.tenant, effect.c.once == batch.once)
                ).scalar_one_or_none()
                if added is not None:
                    yield (batch.tenant, batch.once), tuple(one == "1" for one in added)

    # --- writing -------------------------------------------------------------------------------------

    def write(self) -> None:
        """Everything that was staged, into the open transaction."""
        fresh: dict[type, list[dict[str, Any]]] = {}
        changed: dict[type, list[dict[str, Any]]] = {}
        counts: Counter[tuple[str, str]] = Counter()
        gone: dict[tuple[type, str], list[str]] = {}
        for place, kept in self._kept.items():
            if kept.stored and (kept.gone or kept.new):
                kind, tenant, id = place
                gone.setdefault((kind, tenant), []).append(id)
                counts[tenant, codec.kind_of(kind)] -= 1
            if kept.row is None:
                continue
            row = kept.row
            kind, tenant, id = place
            values = {"tenant": tenant, "id": id, "sent": kept.sent, **row.columns, "body": row.body}
            if kept.new:
                fresh.setdefault(kind, []).append(values)
                counts[tenant, codec.kind_of(kind)] += 1
            else:
                changed.setdefault(kind, []).append(
                    {
                        f"new_{name}" if name in ("tenant", "id") else name: value
                        for name, value in values.items()
                    }
                )
        for (kind, tenant), ids in gone.items():
            self._remove(kind, tenant, ids)
        for kind, rows in fresh.items():
            insert_all(self._connection, TABLES[kind], rows)
        for kind, rows in changed.items():
            self._change(kind, rows)
        if counts:
            rows = [{"tenant": tenant, "kind": kind, "records": n} for (tenant, kind), n in counts.items()]
            add_up(self._connection, tally, tally.c.records, rows)
        self._write_links()
        self._write_effects()
        self._append()

    def _change(self, kind: type, rows: list[dict[str, Any]]) -> None:
        table = TABLES[kind]
        place = (table.c.tenant == bindparam("new_tenant"), table.c.id == bindparam("new_id"))
        self._connection.execute(update(table).where(*place), rows)

    def _remove(self, kind: type, tenant: str, ids: list[str]) -> None:
        """Records, and what their links say about them."""
        table = TABLES[kind]
        self._connection.execute(
            delete(table).where(table.c.tenant == tenant, among(self._connection, table.c.id, ids))
        )
        self._connection.execute(
            delete(link).where(
                link.c.tenant == tenant,
                link.c.made_kind == codec.kind_of(kind),
                among(self._connection, link.c.made_id, ids),
            )
        )

    def _write_links(self) -> None:
        if self._links:
            rows = [
                {
                    "tenant": tenant,
                    "made_kind": made.kind,
                    "made_id": made.id,
                    "source_kind": source.kind,
                    "source_id": source.id,
                }
                for tenant, made, source in self._links
            ]
            insert_all(self._connection, link, rows, or_leave=True)

    def _write_effects(self) -> None:
        if self._new_effects:
            rows = [
                {"tenant": tenant, "once": once, "added": "".join("1" if one else "0" for one in added)}
                for (tenant, once), added in self._new_effects.items()
            ]
            insert_all(self._connection, effect, rows)

    def _append(self) -> None:
        """Acts behind one another into the one audit tree."""
        if self._entries:
            stored = self._connection.execute(select(audit_frontier.c.frontier)).scalar_one()
            tree = Frontier.from_json(stored)
            rows = []
            for entry in self._entries:
                leaf = leaf_hash(entry.body)
                rows.append(
                    {
                        "index": tree.size,
                        "tenant": entry.tenant,
                        "at": entry.at,
                        "body": entry.body,
                        "leaf": leaf,
                    }
                )
                tree = tree.append(leaf)
            insert_all(self._connection, audit_entry, rows)
            self._connection.execute(update(audit_frontier).values(frontier=tree.to_json()))
        elif self._probe:
            self._connection.execute(update(audit_frontier).values(frontier=audit_frontier.c.frontier))
