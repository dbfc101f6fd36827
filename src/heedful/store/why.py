"""Why is this here, and what came of it? Lineage both ways, from people to weights and back.

A dataset may come from a million judgements, so that what is many is counted, and only a few examples are
named. The walk stops where another story begins: a turn names the policy that wrote it, but does not tell how
that policy came to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, distinct, func, select

from heedful.domain.feedback import Feedback
from heedful.domain.ids import TenantId
from heedful.domain.models import Cycle
from heedful.errors import InvalidInput, NotFound
from heedful.store.codec import kind_of
from heedful.store.lineage import COLUMNS, SOURCES
from heedful.store.protocol import Ref
from heedful.store.sql import SqlStore
from heedful.store.tables import KINDS, TABLES, link

FEW = 3  # examples of what is many
EVIDENCE = frozenset(
    {"episode", "turn", "item", "feedback", "verdict"}
)  # one of many is not a story of its own
DEEP = 12  # steps: longer ancestries are cut, and say so

# Where the walk goes on from a record of this kind; other kinds are named and left.
BACK: Mapping[str, tuple[str, ...]] = {
    "alert": ("episode",),
    "release": ("policy",),
    "policy": ("run", "reward_model", "dataset", "policy"),
    "reward_model": ("run", "dataset"),
    "dataset": ("verdict", "feedback", "dataset"),
    "verdict": ("item", "feedback"),
    "item": ("turn",),
    "feedback": ("turn",),
    "assignment": ("item",),
}
FORWARD: Mapping[str, tuple[str, ...]] = {
    "episode": ("turn", "feedback"),
    "turn": ("feedback", "item"),
    "queue": ("item",),
    "item": ("verdict", "feedback"),
    "feedback": ("verdict", "dataset"),
    "verdict": ("dataset",),
    "dataset": ("reward_model", "policy", "dataset"),
    "run": ("reward_model", "policy"),
    "reward_model": ("policy",),
    "policy": ("release",),
}
CYCLE = ("dataset", "reward", "policy", "release")  # what a cycle made, by its fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One record on the way."""

    ref: Ref
    record: Any  # None when lineage names it and the store does not have it
    groups: tuple[Group, ...] = ()
    again: bool = False  # it stands elsewhere on the page already
    cut: bool = False  # there is more behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Records of one kind beside one another."""

    kind: str
    count: int
    people: int | None  # who stand behind feedback; None for other kinds
    nodes: tuple[Node, ...]  # all of them when they are few, else examples


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    ref: Ref
    record: Any
    back: tuple[Group, ...]  # what it was made from
    forward: tuple[Group, ...]  # what was made from it

    def plain(self) -> dict[str, Any]:
        """As JSON has it: ids and counts, no text."""
        return {
            "kind": self.ref.kind,
            "id": self.ref.id,
            "back": [_plain_group(group) for group in self.back],
            "forward": [_plain_group(group) for group in self.forward],
        }


def _plain_group(group: Group) -> dict[str, Any]:
    people = {} if group.people is None else {"people": group.people}
    examples = [_plain_node(node) for node in group.nodes]
    return {"kind": group.kind, "count": group.count, **people, "examples": examples}


def _plain_node(node: Node) -> dict[str, Any]:
    said: dict[str, Any] = {"kind": node.ref.kind, "id": node.ref.id}
    if node.again or node.cut:
        said["again" if node.again else "cut"] = True
    if node.groups:
        said["groups"] = [_plain_group(group) for group in node.groups]
    return said


def why(store: SqlStore, tenant: TenantId, ref: Ref) -> Why:
    record: Any = store.get(KINDS[ref.kind], tenant, ref.id)
    if record is None:
        raise NotFound(f"{ref.kind.replace('_', ' ')} {ref.id!r} is not known here", field=ref.kind)
    with store.reading() as connection:
        back = _Walk(store, connection, tenant, BACK, _sources).groups(ref, 0)
        forward = _Walk(store, connection, tenant, FORWARD, _made).groups(ref, 0)
    return Why(ref=ref, record=record, back=back, forward=forward)


def find(store: SqlStore, tenant: TenantId, id: str) -> Ref:
    """The one record with this id, whatever its kind."""
    kinds = [name for name, kind in KINDS.items() if store.get(kind, tenant, id) is not None]
    if not kinds:
        raise NotFound(f"{id!r} is not the id of anything here")
    if len(kinds) > 1:
        raise InvalidInput(f"{id!r} is the id of a {' and of a '.join(kinds)}: say which", field="kind")
    return Ref(kind=kinds[0], id=id)


@dataclass(frozen=True, slots=True)
class _Few:
    """A kind's count and its first ids."""

    count: int
    ids: tuple[str, ...]
    people: int | None = None


@dataclass(slots=True)
class _Walk:
    store: SqlStore
    connection: Connection
    tenant: TenantId
    onward: Mapping[str, tuple[str, ...]]
    ask: Any  # _sources or _made
    seen: set[Ref] = field(default_factory=set)

    def groups(self, ref: Ref, depth: int) -> tuple[Group, ...]:
        self.seen.add(ref)
        found: dict[str, _Few] = self.ask(self.store, self.connection, self.tenant, ref)
        # In the order of the table above; what is not in it comes last and is only named.
        order = [*self.onward.get(ref.kind, ()), *sorted(found)]
        return tuple(
            self._group(ref, kind, found[kind], depth) for kind in dict.fromkeys(order) if kind in found
        )

    def _group(self, ref: Ref, kind: str, few: _Few, depth: int) -> Group:
        records: dict[str, Any] = (
            self.store.get_many(KINDS[kind], self.tenant, few.ids) if kind in KINDS else {}
        )
        on = kind in self.onward.get(ref.kind, ()) and (few.count <= FEW or kind not in EVIDENCE)
        nodes = tuple(self._node(Ref(kind=kind, id=id), records.get(id), depth + 1, on) for id in few.ids)
        return Group(kind=kind, count=few.count, people=few.people, nodes=nodes)

    def _node(self, ref: Ref, record: Any, depth: int, on: bool) -> Node:
        if ref in self.seen:
            return Node(ref=ref, record=record, again=True)
        if not on or record is None:
            return Node(ref=ref, record=record)
        if depth >= DEEP:
            return Node(ref=ref, record=record, cut=True)
        return Node(ref=ref, record=record, groups=self.groups(ref, depth))


def _sources(store: SqlStore, connection: Connection, tenant: TenantId, ref: Ref) -> dict[str, _Few]:
    """What the record was made from: what its own fields name, and what was linked beyond them."""
    record = store.get(KINDS[ref.kind], tenant, ref.id)
    named: dict[str, dict[str, None]] = {}
    for kind, ids in SOURCES.get(type(record), ()):
        named.setdefault(kind, {}).update((id, None) for id in ids(record) if id is not None)
    found = {kind: _Few(len(own), tuple(own)[:FEW]) for kind, own in named.items() if own}
    here = (link.c.tenant == tenant, link.c.made_kind == ref.kind, link.c.made_id == ref.id)
    for kind, few in _linked(connection, here, link.c.source_kind, link.c.source_id, besides=named).items():
        own = named.get(kind, {})
        found[kind] = _Few(len(own) + few.count, (*own, *few.ids)[:FEW])
    if "feedback" in found:
        linked = select(link.c.source_id).where(*here, link.c.source_kind == "feedback")
        found["feedback"] = _with_people(connection, tenant, found["feedback"], linked)
    return found


def _made(store: SqlStore, connection: Connection, tenant: TenantId, ref: Ref) -> dict[str, _Few]:
    """What was made from the record."""
    if ref.kind == kind_of(Cycle):
        return _by_cycle(store, tenant, ref)
    here = (link.c.tenant == tenant, link.c.source_kind == ref.kind, link.c.source_id == ref.id)
    found = _linked(connection, here, link.c.made_kind, link.c.made_id)
    for made, column, source in COLUMNS:
        if source != ref.kind:
            continue
        table, kind = TABLES[made], kind_of(made)
        asked = (table.c.tenant == tenant, table.c[column] == ref.id)
        count = connection.execute(select(func.count()).select_from(table).where(*asked)).scalar_one()
        if count:
            ids = connection.execute(
                select(table.c.id).where(*asked).order_by(table.c.seq).limit(FEW)
            ).scalars()
            before = found.get(kind, _Few(0, ()))
            found[kind] = _Few(before.count + count, tuple(dict.fromkeys((*ids, *before.ids)))[:FEW])
    return found


def _by_cycle(store: SqlStore, tenant: TenantId, ref: Ref) -> dict[str, _Few]:
    cycle = store.get(Cycle, tenant, ref.id)
    made = {name: getattr(cycle, name) for name in CYCLE}
    return {
        {"reward": "reward_model"}.get(name, name): _Few(1, (id,))
        for name, id in made.items()
        if id is not None
    }


def _linked(
    connection: Connection,
    here: tuple[ColumnElement[bool], ...],
    kind: ColumnElement[str],
    id: ColumnElement[str],
    *,
    besides: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, _Few]:
    """Links counted by the kind at their other end, without the ids that are known already."""
    found = {}
    for name in connection.execute(select(kind).where(*here).distinct()).scalars().all():
        asked = [*here, kind == name]
        if known := list((besides or {}).get(name, ())):
            asked.append(id.not_in(known))
        count = connection.execute(select(func.count()).where(*asked)).scalar_one()
        if count:
            ids = connection.execute(select(id).where(*asked).order_by(id).limit(FEW)).scalars()
            found[name] = _Few(count, tuple(ids))
    return found


def _with_people(connection: Connection, tenant: TenantId, few: _Few, linked: Any) -> _Few:
    feedback = TABLES[Feedback]
    people = connection.execute(
        select(func.count(distinct(feedback.c.by))).where(
            feedback.c.tenant == tenant, feedback.c.id.in_(linked)
        )
    ).scalar_one()
    return _Few(few.count, few.ids, people)
