"""Commits in any order, against a dictionary that knows the promises."""

from __future__ import annotations

import atexit
import tempfile
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from factories import make_act, make_episode
from heedful.audit.merkle import frontier
from heedful.domain.episode import Episode
from heedful.domain.ids import EpisodeId, TenantId
from heedful.errors import Conflict
from heedful.store.protocol import Batch, Outcome
from heedful.store.sql import SqlStore, open_store
from heedful.store.views import Views

_tenants = count()


@cache
def shared_store() -> SqlStore:
    """One store for all examples, each with a tenant of its own: that is also a test of tenants."""
    folder = tempfile.TemporaryDirectory(prefix="heedful-model-")
    store = open_store(f"sqlite:///{Path(folder.name) / 'heedful.db'}")
    atexit.register(folder.cleanup)
    atexit.register(store.close)
    return store


ids = st.sampled_from(["a", "b", "c", "d"])
contents = st.sampled_from(["one", "two", "three"])
adds = st.lists(st.tuples(ids, contents), max_size=4)
swaps = st.lists(st.tuples(ids, contents, contents), max_size=2)
drops = st.lists(st.tuples(ids, contents), max_size=2)
names = st.none() | st.sampled_from(["fit", "release"])


class Commits(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.store = shared_store()
        self.tenant = TenantId(f"tenant{next(_tenants)}")
        self.now: dict[str, str] = {}  # id -> content
        self.first: dict[str, str] = {}  # id -> content when it was added
        self.effects: dict[str, tuple[bool, ...]] = {}
        self.acts = 0
        self.entries = Views(self.store).audit_size()

    def record(self, id: str, content: str) -> Episode:
        return make_episode(id=EpisodeId(id), tenant=self.tenant, segment=content)

    def model(self, adds: Any, swaps: Any, drops: Any, once: str | None) -> Outcome | type[Conflict]:
        """What must happen, in plain words."""
        if once is not None and once in self.effects:
            return Outcome(added=self.effects[once], repeated=True)
        now, first, added = dict(self.now), dict(self.first), []
        for id, old in drops:
            if now.get(id) != old:
                return Conflict
            del now[id], first[id]
        for id, content in adds:
            if id in now and content not in (now[id], first[id]):
                return Conflict
            added.append(id not in now)
            if id not in now:
                now[id] = first[id] = content
        for id, old, new in swaps:
            if now.get(id) != old:
                return Conflict
            now[id] = new
        self.now, self.first = now, first
        self.acts += bool(any(added) or swaps or drops or not adds)
        if once is not None:
            self.effects[once] = tuple(added)
        return Outcome(added=tuple(added))

    @rule(batches=st.lists(st.tuples(adds, swaps, drops, names), min_size=1, max_size=4))
    def commit(self, batches: list[tuple[Any, Any, Any, str | None]]) -> None:
        """Several at once, so that groups form."""
        futures = [self.store.submit(self.batch(*batch)) for batch in batches]
        for batch, future in zip(batches, futures, strict=True):
            expected = self.model(*batch)
            if isinstance(expected, Outcome):
                assert future.result() == expected
            else:
                assert isinstance(future.exception(), expected)

    def batch(self, adds: Any, swaps: Any, drops: Any, once: str | None) -> Batch:
        return Batch(
            add=tuple(self.record(id, content) for id, content in adds),
            swap=tuple((self.record(id, old), self.record(id, new)) for id, old, new in swaps),
            drop=tuple(self.record(id, old) for id, old in drops),
            acts=(make_act(tenant=self.tenant),),
            once=once,
        )

    @invariant()
    def the_store_is_what_the_model_says(self) -> None:
        if hasattr(self, "tenant"):
            found = self.store.find(Episode, self.tenant)
            assert {one.id: one.segment for one in found} == self.now
            for one in found:
                assert self.store.find(Episode, self.tenant, where={"user": "u"}) == []
                assert self.store.get(Episode, self.tenant, one.id) == replace(one)
            assert Views(self.store).tallies(self.tenant).get("episode", 0) == len(self.now)
            assert Views(self.store).audit_size() - self.entries == self.acts

    def teardown(self) -> None:
        if hasattr(self, "tenant"):
            leaves = [leaf for _, _, leaf in self.store.audit_entries()]
            assert frontier(leaves).size == Views(self.store).audit_size()


Commits.TestCase.settings = settings(max_examples=20, stateful_step_count=10, deadline=None)
TestCommits = Commits.TestCase
