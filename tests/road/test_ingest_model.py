"""Feedback in any order, against a dictionary that knows the promises.

Turns come early, late or never; feedback is sent before them, repeated, changed, sent in batches with bad
neighbours, said again under its metric's name; the joiner looks or does not; the process ends in the middle and
opens its database again. What was acknowledged is there once, parked or joined, whatever happened.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from factories import NOW, make_choice, make_episode, make_feedback, make_turn
from heedful import road
from heedful.domain.clock import SetClock
from heedful.domain.feedback import DeadLetter, Feedback, Parked, Thumbs, current
from heedful.domain.ids import EpisodeId, FeedbackId, TenantId, TurnId
from heedful.errors import Conflict, InvalidInput
from heedful.feedback.metrics import MetricSettings
from heedful.road import Heard, Parts
from heedful.service.intake.joiner import Joiner
from heedful.store.protocol import Batch
from parts import make_parts

TENANT = TenantId("acme")
TURNS = ["a", "b", "c"]
EPISODE_OF = {"a": "e1", "b": "e1", "c": "e2"}

ids = st.sampled_from([f"f{n}" for n in range(6)])
turns = st.sampled_from(TURNS)
ups = st.booleans()
episodes = st.sampled_from([None, None, "e1", "e2"])
thumbs = st.tuples(st.just("thumbs"), ids, turns, ups, episodes)
pairs = st.tuples(
    st.just("choice"), ids, st.permutations(TURNS).map(lambda all: tuple(all[:2])), ups, st.none()
)
bad = st.tuples(st.just("bad"), ids, turns, ups, st.none())
sendings = st.lists(thumbs | pairs | bad, min_size=1, max_size=4)
names = st.sampled_from([None, "helpful"])


def feedback(name: str | None, kind: str, id: str, target: Any, up: bool, episode: str | None) -> Feedback:
    """One of few pieces, so that ids meet again with the same and with other words."""
    given: dict[str, Any] = {"id": FeedbackId(id), "at": NOW, "by": "ada"}
    if kind == "choice":
        return make_choice(target[up], target, **given)
    if kind == "bad":
        given["at"] = NOW + timedelta(days=3)
    if episode is not None:
        given["episode"] = EpisodeId(episode)
    return make_feedback(Thumbs(up=up), turn=TurnId(target), name=name, **given)


class Ingest(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="heedful-ingest-model-"))
        self.clock = SetClock(NOW)
        self.taken: dict[str, Feedback] = {}  # acknowledged: id -> as it was sent
        self.here: set[str] = set()  # turns
        self.dead: set[str] = set()  # acknowledged, and never to be joined
        self.parts = self.opened()
        self.joiner = Joiner(self.parts)

    def opened(self) -> Parts:
        metrics = {"helpful": MetricSettings(form="thumbs")}
        return make_parts(self.folder, clock=self.clock, metrics=metrics)

    # -- what must be said ------------------------------------------------------------------------------

    def expected(self, said: Feedback) -> str:
        """In plain words; "taken" is kept or parked, whichever the turns allow."""
        if said.at > NOW or (self.all_here(said) and self.contradicts(said)):
            return "invalid"
        if said.id in self.taken and said.id not in self.dead:
            before = self.taken[said.id]
            if before == said:
                return "duplicate"
            alike = replace(before, episode=None) == replace(said, episode=None)
            # Who adds the episode that the turn is of says nothing new, once that is known here.
            return "either" if alike and not self.contradicts(said) else "conflict"
        return "taken"

    def all_here(self, said: Feedback) -> bool:
        known = {EPISODE_OF[turn] for turn in self.here}
        return self.here.issuperset(said.turns) and (said.episode is None or said.episode in known)

    def contradicts(self, said: Feedback) -> bool:
        return said.episode is not None and said.episode not in {EPISODE_OF[turn] for turn in said.turns}

    def check(self, said: Feedback, heard: Heard) -> None:
        expected = self.expected(said)
        if expected == "invalid":
            assert isinstance(heard.error, InvalidInput), heard
        elif expected == "conflict":
            assert isinstance(heard.error, Conflict), heard
        elif expected == "duplicate":
            assert (heard.error, heard.kept) == (None, False), heard
        elif expected == "either":
            assert not heard.kept, heard
            assert heard.error is None or isinstance(heard.error, Conflict), heard
        else:
            assert (heard.error, heard.kept) == (None, True), heard
            assert heard.parked == (not self.all_here(said)), heard
            self.take(said)

    def take(self, said: Feedback) -> None:
        self.taken[said.id] = said
        self.dead.discard(said.id)

    # -- what happens -----------------------------------------------------------------------------------

    @rule(sent=sendings, name=names)
    def say(self, sent: list[tuple[Any, ...]], name: str | None) -> None:
        said = [feedback(name, *one) for one in sent]
        for one, heard in zip(said, road.hear(self.parts, TENANT, said, actor="model"), strict=True):
            self.check(one, heard)

    @rule(id=ids)
    def say_again(self, id: str) -> None:
        if id in self.taken:
            said = self.taken[id]
            (heard,) = road.hear(self.parts, TENANT, [said], actor="model")
            self.check(said, heard)

    @rule(turn=turns)
    def a_turn_comes(self, turn: str) -> None:
        episode = make_episode(id=EPISODE_OF[turn], tenant=TENANT)
        record = make_turn(id=turn, tenant=TENANT, episode=episode.id, policy=f"policy_of_{turn}")
        self.parts.store.commit(Batch(add=(episode, record)))
        self.here.add(turn)

    @rule()
    def the_joiner_looks(self) -> None:
        self.joiner.look()
        for id, said in self.taken.items():
            if self.all_here(said) and self.contradicts(said):
                self.dead.add(id)
        waiting = {one.id for one in self.parts.store.find(Parked, TENANT)}
        assert waiting == {id for id, said in self.taken.items() if not self.all_here(said)} - self.dead

    @rule()
    def it_ends_and_begins_again(self) -> None:
        self.parts.store.close()
        self.parts = self.opened()
        self.joiner = Joiner(self.parts)

    @rule(sent=sendings)
    def it_ends_in_the_middle(self, sent: list[tuple[Any, ...]]) -> None:
        """Nobody hears the answers; what the store had in hand is finished."""
        said = [feedback(None, *one) for one in sent]
        turns, episodes = road.asked_for(said)
        known = self.parts.views.targets(TENANT, turns, episodes)
        road.begin_to_hear(self.parts, TENANT, said, known.turns, known.episodes, actor="model")
        for one in said:
            if self.expected(one) == "taken":
                self.take(one)
        self.it_ends_and_begins_again()

    # -- what always holds ------------------------------------------------------------------------------

    @invariant()
    def what_was_taken_is_there_once_as_it_was_sent(self) -> None:
        if not hasattr(self, "parts"):
            return
        kept = {one.id: one for one in self.parts.store.find(Feedback, TENANT)}
        parked = {one.id: one for one in self.parts.store.find(Parked, TENANT)}
        assert kept.keys().isdisjoint(parked)
        alive = self.taken.keys() - self.dead
        assert kept.keys() | parked.keys() == alive
        for id in alive:
            said = self.taken[id]
            if id in parked:
                assert parked[id].feedback == said  # type: ignore[index]
                continue
            whole = kept[id]  # type: ignore[index]
            assert replace(whole, episode=said.episode, policy=None, received_at=None) == said
            policies = {f"policy_of_{turn}" for turn in said.turns}
            assert whole.policy == (policies.pop() if len(policies) == 1 else None)
        assert len(self.parts.store.find(DeadLetter, TENANT)) >= len(self.dead)
        tallies = self.parts.views.tallies(TENANT)
        assert tallies.get("feedback", 0) == len(kept)
        assert tallies.get("parked", 0) == len(parked)

    @invariant()
    def of_each_name_on_each_turn_one_counts(self) -> None:
        if hasattr(self, "parts"):
            kept = self.parts.store.find(Feedback, TENANT)
            slots = [one.slot for one in current(kept) if one.slot is not None]
            assert len(slots) == len(set(slots)) == len({one.slot for one in kept if one.slot is not None})

    def teardown(self) -> None:
        if hasattr(self, "parts"):
            for turn in TURNS:
                self.a_turn_comes(turn)
            self.joiner.look()
            self.joiner.look()
            assert self.parts.store.find(Parked, TENANT) == []
            self.parts.store.close()
            shutil.rmtree(self.folder)


# Not explained: tracing every line of a house that is built anew for each example takes minutes.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
Ingest.TestCase.settings = settings(
    max_examples=40, stateful_step_count=15, deadline=None, derandomize=True, phases=PHASES
)
TestIngest = Ingest.TestCase
