"""What has been kept long enough: what goes, what loses its words, what stays."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from factories import NOW, TENANT, make_allocation, make_choice, make_feedback, make_item, make_turn
from heedful.domain.capture import Capture
from heedful.domain.ids import PolicyId, ReleaseId, TenantId, TurnId
from heedful.domain.labeling import Gold, ItemState
from heedful.feedback import retention
from heedful.feedback.capture import captured
from heedful.feedback.retention import Fate, Purged, Running
from heedful.feedback.settings import CaptureSettings

DAY = timedelta(days=1)
NOTHING = Running(releases=frozenset(), policies=frozenset())
CANARY = Running(releases={ReleaseId("release_1")}, policies={PolicyId("policy_1"), PolicyId("policy_2")})


def test_a_tenants_days_say_from_when_on_it_is_due() -> None:
    settings = CaptureSettings(retention_days=30, tenants_retention={"globex": None})
    assert retention.cutoff(settings, TENANT, NOW) == NOW - 30 * DAY
    assert retention.cutoff(settings, TenantId("globex"), NOW) is None
    assert retention.cutoff(CaptureSettings(), TENANT, NOW) is None


def test_turns_go_when_they_are_older_than_that_and_not_a_moment_before() -> None:
    assert retention.of_turn(make_turn(at=NOW - DAY), before=NOW, running=NOTHING) is Fate.GO
    assert retention.of_turn(make_turn(at=NOW), before=NOW, running=NOTHING) is Fate.STAY


def test_a_turn_that_a_release_is_judged_by_loses_only_its_words_once() -> None:
    turn = make_turn(at=NOW - DAY, allocation=make_allocation(release="release_1"))
    assert retention.of_turn(turn, before=NOW, running=CANARY) is Fate.LOSE_WORDS
    assert retention.of_turn(captured(turn, Capture.METADATA), before=NOW, running=CANARY) is Fate.STAY
    assert retention.of_turn(turn, before=NOW, running=NOTHING) is Fate.GO


def test_feedback_that_something_was_made_from_loses_only_its_words() -> None:
    said = make_choice(at=NOW - DAY)
    assert retention.of_feedback(said, before=NOW, running=NOTHING, used=True) is Fate.LOSE_WORDS
    assert retention.of_feedback(said, before=NOW, running=NOTHING, used=False) is Fate.GO
    stamped = make_feedback(at=NOW - DAY, policy="policy_2")
    assert retention.of_feedback(stamped, before=NOW, running=CANARY, used=False) is Fate.LOSE_WORDS
    assert retention.of_feedback(replace(said, at=NOW), before=NOW, running=NOTHING, used=False) is Fate.STAY


def test_an_item_without_words_asks_nobody_any_more_and_what_was_answered_stands() -> None:
    item = make_item(gold=Gold(chosen=TurnId("turn_1"), why="because"))
    bare = retention.without_words(item)
    assert (bare.prompt, bare.answers, bare.state) == ((), ("", ""), ItemState.WITHDRAWN)
    assert bare.gold == Gold(chosen=TurnId("turn_1"))
    assert retention.without_words(make_item(state=ItemState.DONE)).state is ItemState.DONE
    assert retention.without_words(bare) == bare


def test_counts_add_up() -> None:
    both = Purged.of([make_turn(), make_turn()], []).and_also(Purged.of([make_turn()], [make_choice()]))
    assert (both.gone, both.bare) == ({"turn": 3}, {"feedback": 1})
