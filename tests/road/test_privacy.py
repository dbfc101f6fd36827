"""What a tenant does not want kept is on no disk, and what has been kept long enough goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from factories import (
    NOW,
    TENANT,
    make_allocation,
    make_choice,
    make_episode,
    make_feedback,
    make_item,
    make_judgement,
    make_message,
    make_queue,
    make_release,
    make_turn,
    make_verdict,
)
from heedful import road
from heedful.domain.capture import Capture
from heedful.domain.clock import SetClock
from heedful.domain.content import Message, Role, ToolCall
from heedful.domain.episode import Episode, EpisodeState, Turn, World
from heedful.domain.feedback import Correction, DeadLetter, Demonstration, Feedback, Flag, Parked
from heedful.domain.ids import AgentId, DeadLetterId, FeedbackId, PolicyId, TenantId
from heedful.domain.labeling import Gold, Item, ItemState
from heedful.feedback.settings import CaptureSettings
from heedful.road import Parts
from heedful.store.protocol import Batch, Ref
from parts import make_parts

EMAIL, CARD = "ann@example.com", "4111 1111 1111 1111"
SAID = f"I am {EMAIL}, my card is {CARD}, and the parcel is blue"
PERSONAL = (b"ann@example", b"4111 1111", b"4111111111111111")
AGENT = AgentId("resolver")
OLD, NEW = NOW - timedelta(days=31), NOW - timedelta(days=1)

Make = Callable[..., Parts]


@pytest.fixture
def parts_with(tmp_path: Path) -> Iterator[Make]:
    made: list[Parts] = []

    def make(**capture: Any) -> Parts:
        settings = CaptureSettings.model_validate(capture)
        made.append(make_parts(tmp_path, capture=settings, clock=SetClock(NOW)))
        return made[-1]

    yield make
    for parts in made:
        parts.store.close()


def on_disk(folder: Path) -> bytes:
    """Everything under the folder, the write-ahead log too."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert any(path.name.endswith("-wal") for path in files)
    return b"".join(path.read_bytes() for path in files)


def much_is_said(parts: Parts) -> None:
    """An episode with a turn, and feedback in every form that is a text: also some for a turn that is not here."""
    call = ToolCall(id="call_1", name="charge", arguments=json.dumps({"card": CARD, "to": EMAIL}))
    turn = make_turn(
        id="turn_1",
        request=(make_message(SAID), Message(role=Role.ASSISTANT, tool_calls=(call,))),
        answer=f"I wrote to {EMAIL}.",
        tool_calls=(call,),
        metadata={"customer": EMAIL},
    )
    episode = make_episode(id="episode_1", world=World(environment={"card": CARD}), metadata={"who": EMAIL})
    road.keep(parts, [turn], episodes=[episode]).result()
    road.end_episode(parts, TENANT, episode.id, state=EpisodeState.DONE, outcome=1.0)
    said = [
        make_feedback(Correction(text=SAID), id="corrected", turn="turn_1"),
        make_feedback(Flag(reason=SAID), id="flagged", turn="turn_1", metadata={"page": EMAIL}),
        make_feedback(Demonstration(prompt=(make_message(SAID),), answer=SAID), id="shown", turn="turn_1"),
        make_feedback(Flag(reason=SAID), id="parked", turn="turn_2"),
    ]
    heard = road.hear(parts, TENANT, said, actor="test")
    assert [(one.error, one.parked) for one in heard] == [(None, False)] * 3 + [(None, True)]
    road.bury(parts, TENANT, json.dumps({"said": SAID}), f"by is {EMAIL!r}", origin="otlp")


# --- before anything is stored -----------------------------------------------------------------------------


def test_without_a_wish_everything_is_kept_as_it_was(parts_with: Make, tmp_path: Path) -> None:
    much_is_said(parts_with())
    assert all(one in on_disk(tmp_path) for one in PERSONAL[:2])


def test_redacted_nothing_personal_reaches_the_disk_and_the_rest_does(
    parts_with: Make, tmp_path: Path
) -> None:
    parts = parts_with(tenants={"acme": "redacted"})
    much_is_said(parts)
    disk = on_disk(tmp_path)
    assert [one for one in PERSONAL if one in disk] == []
    assert b"the parcel is blue" in disk
    parts.store.close()
    assert [one for one in PERSONAL if one in (tmp_path / "heedful.db").read_bytes()] == []


def test_as_metadata_no_word_reaches_the_disk(parts_with: Make, tmp_path: Path) -> None:
    parts = parts_with(default="metadata")
    much_is_said(parts)
    disk = on_disk(tmp_path)
    assert [one for one in (*PERSONAL, b"parcel", b"I wrote") if one in disk] == []
    turn = parts.store.get(Turn, TENANT, "turn_1")
    assert turn is not None
    assert (turn.capture, turn.answer, turn.policy) == (Capture.METADATA, "", "policy_1")


def test_a_tenants_wish_is_its_own(parts_with: Make) -> None:
    parts = parts_with(tenants={"globex": "metadata"})
    road.keep(parts, [make_turn(id="ours"), make_turn(id="theirs", tenant="globex")][:1]).result()
    road.keep(parts, [make_turn(id="theirs", tenant="globex")]).result()
    ours, theirs = parts.store.get(Turn, TENANT, "ours"), parts.store.get(Turn, TenantId("globex"), "theirs")
    assert ours is not None
    assert theirs is not None
    assert (ours.capture, theirs.capture) == (Capture.FULL, Capture.METADATA)


@pytest.mark.parametrize("level", ["redacted", "metadata"])
def test_what_is_sent_again_is_a_duplicate(parts_with: Make, level: str) -> None:
    parts = parts_with(default=level)
    turn = make_turn(id="turn_1", answer=f"I wrote to {EMAIL}.")
    said = make_feedback(Correction(text=SAID), id="corrected", turn="turn_1")
    assert road.keep(parts, [turn]).result().added == (True,)
    assert road.keep(parts, [turn]).result().added == (False,)
    first, second = (road.hear(parts, TENANT, [said], actor="test")[0] for _ in range(2))
    assert (first.kept, second.kept, second.error) == (True, False, None)


def test_parked_feedback_joins_its_turn_as_it_was_captured(parts_with: Make) -> None:
    parts = parts_with(default="redacted")
    much_is_said(parts)
    road.keep(parts, [make_turn(id="turn_2")]).result()
    (waiting,) = parts.store.find(Parked, TENANT)
    road.join(parts, TENANT, [waiting])
    joined = parts.store.get(Feedback, TENANT, "parked")
    assert joined is not None
    assert joined.said == Flag(reason="I am [EMAIL_1], my card is [CARD_1], and the parcel is blue")


def test_nothing_is_learned_from_what_has_no_words(parts_with: Make) -> None:
    parts = parts_with(default="metadata")
    much_is_said(parts)
    assert sum(road.freeze_shown(parts, TENANT, "shown").rows.values()) == 0
    assert sum(road.freeze_judged(parts, TENANT, AGENT).rows.values()) == 0


def test_answers_that_are_made_to_be_judged_are_captured_too(parts_with: Make, tmp_path: Path) -> None:
    parts = parts_with(default="redacted")
    made = [
        make_turn(id=f"e/{n}", episode="e", index=n, answer=answer)
        for n, answer in enumerate((f"Ask {EMAIL}", "Wait."))
    ]
    assert road.ask(parts, make_queue(), [made], once="cycle") == 1
    (item,) = parts.store.find(Item, TENANT)
    assert set(item.answers) == {"Ask [EMAIL_1]", "Wait."}
    assert b"ann@example" not in on_disk(tmp_path)


# --- afterwards --------------------------------------------------------------------------------------------


def days_of_work(parts: Parts) -> None:
    """The same on an old day and a new one: an episode, two turns, a choice that counted, a thumb that did not."""
    records: list[Any] = [make_queue(id="queue_1")]
    for name, at in (("old", OLD), ("new", NEW)):
        turns = (f"{name}/1", f"{name}/2")
        records += [
            make_episode(id=name, started_at=at),
            *(make_turn(id=id, episode=name, at=at, answer=f"the {name} answer {id}") for id in turns),
            make_choice(
                id=f"{name}-choice", shown=turns, at=at, judgement=make_judgement(reason=f"{name} reason")
            ),
            make_feedback(id=f"{name}-thumb", turn=turns[0], at=at, metadata={"page": f"{name} page"}),
            make_item(
                id=f"{name}-item",
                turns=turns,
                created_at=at,
                gold=Gold(why=f"{name} why"),
                prompt=(make_message(f"the {name} prompt"),),
                answers=("a", "b"),
            ),
            make_verdict(
                id=f"{name}-verdict",
                item=f"{name}-item",
                feedback=(f"{name}-choice",),
                chosen=turns[0],
                at=at,
            ),
        ]
    parts.store.commit(Batch(add=tuple(records)))


def kept(parts: Parts, kind: type[Any]) -> set[str]:
    return {one.id for one in parts.store.find(kind, TENANT, limit=None)}


def test_what_is_older_than_the_retention_goes_and_the_rest_stays(parts_with: Make) -> None:
    parts = parts_with(retention_days=30)
    days_of_work(parts)
    purged = road.purge_old(parts, TENANT, actor="ann")
    assert purged.gone == {"feedback": 1, "turn": 2, "episode": 1}
    assert purged.bare == {"feedback": 1, "item": 1}
    assert kept(parts, Turn) == {"new/1", "new/2"}
    assert kept(parts, Episode) == {"new"}
    assert kept(parts, Feedback) == {"old-choice", "new-choice", "new-thumb"}
    assert road.purge_old(parts, TENANT, actor="ann").gone == {}


def test_no_word_of_it_is_left_in_the_file(parts_with: Make, tmp_path: Path) -> None:
    parts = parts_with(retention_days=30)
    days_of_work(parts)
    road.purge_old(parts, TENANT, actor="ann")
    parts.store.close()  # the write-ahead log is gone with that
    disk = (tmp_path / "heedful.db").read_bytes()
    words = (b"the old answer", b"old reason", b"old page", b"old why", b"the old prompt")
    assert [one for one in words if one in disk] == []
    assert b"the new answer" in disk


def test_why_still_leads_to_the_people_behind_a_verdict(parts_with: Make) -> None:
    parts = parts_with(retention_days=30)
    days_of_work(parts)
    road.purge_old(parts, TENANT, actor="ann")
    choice = parts.store.get(Feedback, TENANT, "old-choice")
    assert choice is not None
    assert (choice.by, choice.capture) == ("rater_1", Capture.METADATA)
    assert choice.judgement == make_judgement()
    found = parts.views.why(TENANT, Ref(kind="verdict", id="old-verdict")).plain()
    assert {group["kind"]: group["count"] for group in found["back"]}["feedback"] == 1
    item = parts.store.get(Item, TENANT, "old-item")
    assert item is not None
    assert (item.state, item.answers) == (ItemState.WITHDRAWN, ("", ""))


def test_a_dataset_is_made_of_what_is_left(parts_with: Make) -> None:
    parts = parts_with(retention_days=30)
    days_of_work(parts)
    road.purge_old(parts, TENANT, actor="ann")
    dataset = road.freeze_judged(parts, TENANT, AGENT)
    assert sum(dataset.rows.values()) == 1  # of the new day: the old verdict has nothing to show any more
    sources = parts.store.parents(TENANT, Ref(kind="dataset", id=dataset.id))
    assert Ref(kind="feedback", id="new-choice") in sources
    assert Ref(kind="feedback", id="old-choice") not in sources


def test_turns_that_a_release_is_judged_by_stay_as_numbers_until_it_has_ended(parts_with: Make) -> None:
    parts = parts_with(retention_days=30)
    release = make_release(id="release_1", policy="policy_2", against="policy_1", stage="canary")
    turn = make_turn(
        id="t", episode="e", at=OLD, allocation=make_allocation(release="release_1", policy="policy_1")
    )
    parts.store.commit(Batch(add=(release, make_episode(id="e", started_at=OLD), turn)))
    exposed = parts.views.exposures(TENANT, release.id)
    first = road.purge_old(parts, TENANT, actor="ann")
    assert (first.gone, first.bare) == ({}, {"turn": 1})
    assert parts.views.exposures(TENANT, release.id) == exposed != []
    road.roll_back(parts, TENANT, release.id, reason="enough", actor="ann")
    assert road.purge_old(parts, TENANT, actor="ann").gone == {"turn": 1, "episode": 1}


def test_an_episode_goes_with_its_last_turn(parts_with: Make) -> None:
    parts = parts_with(retention_days=30)
    long, empty = make_episode(id="long", started_at=OLD), make_episode(id="empty", started_at=OLD)
    parts.store.commit(
        Batch(add=(long, empty, make_turn(episode="long", at=OLD), make_turn(episode="long", at=NEW)))
    )
    assert road.purge_old(parts, TENANT, actor="ann", dry_run=True).gone == {"turn": 1, "episode": 1}
    assert road.purge_old(parts, TENANT, actor="ann").gone == {"turn": 1, "episode": 1}
    assert kept(parts, Episode) == {"long"}


def test_what_waits_and_what_is_dead_is_not_kept_longer_either(parts_with: Make) -> None:
    parts = parts_with(retention_days=30)
    said = make_feedback(Flag(reason=SAID), id=FeedbackId("parked"))
    parked = Parked(id=said.id, tenant=TENANT, feedback=said, waits_for=("turn_1",), since=OLD)  # type: ignore[arg-type]
    letter = DeadLetter(
        id=DeadLetterId("otlp:1"),
        tenant=TENANT,
        payload="{}",
        origin="otlp",
        reason="no",
        first_seen=OLD,
        last_seen=NEW,
    )
    parts.store.commit(Batch(add=(parked, letter)))
    assert road.purge_old(parts, TENANT, actor="ann").gone == {"parked": 1, "dead_letter": 1}


def test_a_purge_is_an_act_that_tells_counts_and_nothing_else(parts_with: Make) -> None:
    parts = parts_with(retention_days=30)
    days_of_work(parts)
    road.purge_old(parts, TENANT, actor="ann")
    acts = [json.loads(body) for _, body, _ in parts.store.audit_entries()]
    assert {(act["verb"], act["actor"]) for act in acts} == {("records.purged", "ann")}
    counted = [act["detail"] for act in acts]
    assert {"gone": {"turn": 2}, "bare": {}} in counted
    assert not [act for act in acts if "old" in json.dumps(act)]


def test_looking_first_takes_nothing(parts_with: Make) -> None:
    parts = parts_with(retention_days=30)
    days_of_work(parts)
    before = parts.views.tallies(TENANT)
    looked = road.purge_old(parts, TENANT, actor="ann", dry_run=True)
    assert parts.views.tallies(TENANT) == before
    assert parts.views.audit_size() == 0
    assert road.purge_old(parts, TENANT, actor="ann") == looked


def test_without_days_nothing_is_ever_due(parts_with: Make) -> None:
    parts = parts_with(retention_days=30, tenants_retention={"acme": None})
    days_of_work(parts)
    purged = road.purge_old(parts, TENANT, actor="ann")
    assert (purged.before, purged.gone, purged.bare) == (None, {}, {})


def test_many_go_in_several_commits(parts_with: Make) -> None:
    parts = parts_with(retention_days=30)
    parts.store.commit(Batch(add=tuple(make_turn(at=OLD, policy=PolicyId("p")) for _ in range(450))))
    assert road.purge_old(parts, TENANT, actor="ann").gone == {"turn": 450}
    assert parts.views.audit_size() == 3
    assert parts.views.tallies(TENANT).get("turn", 0) == 0
