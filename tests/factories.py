"""Records that are valid by default: a test names only the field that it is about.

`make_turn(answer="no")` is a whole turn with that answer. Ids count up within the process, times stand still.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from heedful.domain.access import Key, Scope, Tenant
from heedful.domain.content import Message, Role
from heedful.domain.episode import Allocation, Episode, Turn
from heedful.domain.feedback import (
    Choice,
    Completion,
    DeadLetter,
    Feedback,
    Form,
    Judgement,
    Parked,
    Source,
    Thumbs,
    Violation,
)
from heedful.domain.ids import Digest, TenantId
from heedful.domain.labeling import Assignment, Item, Queue, Verdict
from heedful.domain.models import Cycle, Policy, RewardModel, Run, Weights
from heedful.domain.preference import Dataset, Objective
from heedful.domain.release import Release, Target
from heedful.domain.watch import Alert, Incident, Signal
from heedful.store.protocol import Act, Ref

TENANT = TenantId("acme")
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DIGEST = Digest("sha256:" + "0" * 64)

_numbers = count(1)


def new_id(kind: str) -> str:
    return f"{kind}_{next(_numbers):06d}"


def make(kind: type[Any], defaults: dict[str, Any], given: dict[str, Any]) -> Any:
    return kind(**{"id": new_id(kind.__name__.lower()), "tenant": TENANT} | defaults | given)


def make_tenant(**given: Any) -> Tenant:
    id = given.pop("id", TENANT)
    return Tenant(**{"id": id, "tenant": id, "name": "Acme", "created_at": NOW} | given)


def make_key(**given: Any) -> Key:
    made: Key = make(Key, {"scope": Scope.PRODUCT, "digest": "0" * 64, "created_at": NOW}, given)
    return made


def make_message(text: str = "Where is my parcel?", **given: Any) -> Message:
    return Message(**{"role": Role.USER, "content": text} | given)


def make_episode(**given: Any) -> Episode:
    made: Episode = make(Episode, {"started_at": NOW}, given)
    return made


def make_allocation(**given: Any) -> Allocation:
    defaults: dict[str, Any] = {"policy": "policy_1", "probability": 0.5, "unit": "user_1", "bucket": 0.25}
    return Allocation(**defaults | given)


def make_turn(**given: Any) -> Turn:
    defaults = {
        "episode": "episode_1",
        "agent": "resolver",
        "at": NOW,
        "request": (make_message(),),
        "answer": "It comes tomorrow.",
        "policy": "policy_1",
    }
    made: Turn = make(Turn, defaults, given)
    return made


def make_feedback(said: Form | None = None, **given: Any) -> Feedback:
    """A thumb up on `turn_1`, unless told what was said about what."""
    said = Thumbs(up=True) if said is None else said
    defaults: dict[str, Any] = {"said": said, "source": Source.DIRECT, "at": NOW, "by": "user_1"}
    if "episode" not in given and not isinstance(said, Choice):
        defaults["turn"] = "turn_1"
    made: Feedback = make(Feedback, defaults, given)
    return made


def make_choice(
    chosen: str | None = "first", shown: tuple[str, ...] = ("turn_1", "turn_2"), **given: Any
) -> Feedback:
    """An expert preferred one of two turns: the first that was shown, unless told otherwise."""
    said = Choice(shown=shown, chosen=shown[0] if chosen == "first" else chosen)  # type: ignore[arg-type]
    return make_feedback(said, **{"source": Source.EXPERT, "by": "rater_1"} | given)


def make_violation(category: str | None = "privacy.card_number", **given: Any) -> Feedback:
    return make_feedback(Violation(category=category), **{"source": Source.SAFETY} | given)


def make_completion(completed: bool = True, **given: Any) -> Feedback:
    return make_feedback(Completion(completed=completed), **{"source": Source.COMPLETION} | given)


def make_parked(feedback: Feedback | None = None, **given: Any) -> Parked:
    feedback = make_feedback() if feedback is None else feedback
    defaults = {"id": feedback.id, "feedback": feedback, "waits_for": feedback.turns, "since": NOW}
    made: Parked = make(Parked, defaults, given)
    return made


def make_dead_letter(**given: Any) -> DeadLetter:
    defaults = {"payload": "{}", "reason": "no", "origin": "import", "first_seen": NOW, "last_seen": NOW}
    made: DeadLetter = make(DeadLetter, defaults, given)
    return made


def make_judgement(**given: Any) -> Judgement:
    return Judgement(**{"queue": "queue_1", "item": "item_1"} | given)


def make_queue(**given: Any) -> Queue:
    defaults = {"name": "Which is better?", "asks": "choice", "instructions": "Pick one.", "created_at": NOW}
    made: Queue = make(Queue, defaults, given)
    return made


def make_item(**given: Any) -> Item:
    defaults = {
        "queue": "queue_1",
        "turns": ("turn_1", "turn_2"),
        "prompt": (make_message(),),
        "answers": ("It comes tomorrow.", "I do not know."),
        "created_at": NOW,
    }
    made: Item = make(Item, defaults, given)
    return made


def make_assignment(**given: Any) -> Assignment:
    defaults = {
        "queue": "queue_1",
        "item": "item_1",
        "rater": "rater_1",
        "leased_at": NOW,
        "until": NOW + timedelta(minutes=10),
    }
    made: Assignment = make(Assignment, defaults, given)
    return made


def make_verdict(**given: Any) -> Verdict:
    defaults = {
        "item": "item_1",
        "queue": "queue_1",
        "objective": Objective.QUALITY,
        "at": NOW,
        "feedback": ("feedback_1",),
        "confidence": 0.9,
        "method": "majority",
        "chosen": "turn_1",
    }
    made: Verdict = make(Verdict, defaults, given)
    return made


def make_dataset(**given: Any) -> Dataset:
    defaults = {
        "name": "support",
        "digest": DIGEST,
        "files": {"preferences.train": DIGEST},
        "rows": {"preferences.train": 1},
        "made_from": DIGEST,
        "frozen_at": NOW,
    }
    made: Dataset = make(Dataset, defaults, given)
    return made


def make_reward_model(**given: Any) -> RewardModel:
    defaults = {
        "version": 1,
        "digest": DIGEST,
        "objectives": ("quality", "safety"),
        "members": 1,
        "created_at": NOW,
        "dataset": "dataset_1",
    }
    made: RewardModel = make(RewardModel, defaults, given)
    return made


def make_policy(**given: Any) -> Policy:
    defaults = {"agent": "resolver", "version": 1, "body": Weights(digest=DIGEST), "created_at": NOW}
    made: Policy = make(Policy, defaults, given)
    return made


def make_run(**given: Any) -> Run:
    made: Run = make(Run, {"task": "heedful.training.improve", "spec": {}, "started_at": NOW}, given)
    return made


def make_cycle(**given: Any) -> Cycle:
    made: Cycle = make(Cycle, {"agent": "resolver", "started_at": NOW}, given)
    return made


def make_release(**given: Any) -> Release:
    defaults = {
        "target": Target(agent="resolver"),  # type: ignore[arg-type]
        "policy": "policy_2",
        "against": "policy_1",
        "steps": (5.0, 20.0, 50.0, 100.0),
        "salt": "salt",
        "started_at": NOW,
    }
    made: Release = make(Release, defaults, given)
    return made


def make_alert(**given: Any) -> Alert:
    defaults = {"signal": Signal(name="latency", value=2.0, at=NOW, high=1.0), "at": NOW, "pages": False}
    made: Alert = make(Alert, defaults, given)
    return made


def make_incident(**given: Any) -> Incident:
    made: Incident = make(Incident, {"title": "Slow answers", "opened_at": NOW}, given)
    return made


def make_act(**given: Any) -> Act:
    defaults: dict[str, Any] = {
        "tenant": TENANT,
        "at": NOW,
        "actor": "key_1",
        "verb": "feedback.judged",
        "subject": Ref(kind="feedback", id="feedback_1"),
        "detail": {},
    }
    return Act(**defaults | given)


# One maker per kind of record, for tests that go through all of them.
MAKERS: Mapping[type[Any], Callable[..., Any]] = {
    Tenant: make_tenant,
    Key: make_key,
    Episode: make_episode,
    Turn: make_turn,
    Feedback: make_feedback,
    Queue: make_queue,
    Item: make_item,
    Assignment: make_assignment,
    Verdict: make_verdict,
    Dataset: make_dataset,
    RewardModel: make_reward_model,
    Policy: make_policy,
    Run: make_run,
    Cycle: make_cycle,
    Release: make_release,
    Alert: make_alert,
    Incident: make_incident,
    Parked: make_parked,
    DeadLetter: make_dead_letter,
}
