"""What somebody thought of an answer, as scores and labels, turned into feedback.

Other systems keep a judgement as a name with a score, a label or an explanation, and say nowhere how good that
is: a score of 1 is the best correctness and the worst hallucination. We take what can be known. A score between 0
and 1 is on that scale, a label is good or bad when everybody would say so, and whoever has another scale says
it in the metadata (`min`, `max`, `higher_is_better`). The rest is refused: a rating on a guessed scale teaches
the wrong thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from heedful.domain.feedback import Completion, Correction, Feedback, Flag, Form, Rating, Source, Thumbs
from heedful.domain.ids import EpisodeId, FeedbackId, PersonId, TenantId, TurnId
from heedful.errors import InvalidInput
from heedful.feedback.formats import plain
from heedful.feedback.formats.found import LONGEST_VALUE, foreign, named

HUMAN = "HUMAN"
LONGEST_NAME = 200  # of what was judged
SHORTEST_METADATA = 64  # characters of a name in the metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What an opinion is about: the narrowest of these that is given."""

    response: str | None = None  # an answer, as the model's server named it
    trace: str | None = None
    span: str | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """One judgement as others write it."""

    name: str
    target: Target
    mark: str  # tells it from others of the same name on the same target
    at: datetime
    score: float | None = None
    label: str | None = None
    explanation: str | None = None
    kind: str | None = None  # HUMAN, LLM, CODE or their own word
    by: str | None = None
    form: str | None = None  # where the other system has a form of its own for it: "correction", "boolean"
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def human(self) -> bool:
        return (self.kind or "").upper() == HUMAN


THUMBS = frozenset(
    {"thumbs", "thumb", "user_feedback", "feedback", "vote", "like", "helpful", "user_thumbs", "reaction"}
)
COMPLETED = frozenset(
    {"completion", "completed", "task_completion", "task_completed", "task_success", "success", "resolved"}
    | {"resolution", "goal_completion", "goal_achieved"}
)
FLAGS = frozenset({"flag", "flagged", "report", "reported", "comment", "note", "escalation"})
GOOD = frozenset(
    {"thumbs_up", "thumb_up", "up", "👍", "+1", "like", "liked", "positive", "good", "great", "helpful"}
    | {"correct", "pass", "passed", "true", "yes", "success", "resolved", "completed", "relevant", "factual"}
    | {"grounded", "faithful", "accepted", "accept", "non_toxic", "safe"}
)
BAD = frozenset(
    {"thumbs_down", "thumb_down", "down", "👎", "-1", "dislike", "disliked", "negative", "bad", "poor"}
    | {"unhelpful", "not_helpful", "incorrect", "fail", "failed", "false", "no", "failure", "unresolved"}
    | {"not_completed", "irrelevant", "unrelated", "hallucinated", "ungrounded", "unfaithful", "rejected"}
    | {"reject", "toxic", "unsafe"}
)
# Of these more is worse.
WORSE = frozenset(
    {"hallucination", "hallucinations", "toxicity", "bias", "harm", "harmfulness", "frustration", "error"}
    | {"user_frustration", "error_rate", "refusal", "profanity", "negativity", "irrelevance", "verbosity"}
)
# What a form usually is; who said it stands in `by`.
SOURCES: Mapping[type, Source] = {Completion: Source.COMPLETION}


def feedback(
    opinion: Opinion, *, tenant: TenantId, source: str, turn: TurnId | None, episode: EpisodeId | None
) -> Feedback:
    """Our feedback. Sent again, the same opinion has the same id, and so is kept once."""
    form = form_of(opinion)
    about = str(turn or episode)
    low = {name: value for name, value in opinion.metadata.items() if isinstance(value, str | int | float)}
    metadata = {
        "name": opinion.name,
        **({"annotator_kind": opinion.kind} if opinion.kind else {}),
        **({"label": opinion.label} if opinion.label else {}),
        **({} if opinion.score is None else {"score": f"{opinion.score:g}"}),
        **({"explanation": opinion.explanation} if opinion.explanation else {}),
        **{name[:SHORTEST_METADATA]: plain.as_text(value) for name, value in list(low.items())[:40] if name},
    }
    return Feedback(
        id=FeedbackId(foreign(source, "said", about, _key(opinion.name), opinion.mark)),
        tenant=tenant,
        said=form,
        source=SOURCES.get(type(form), Source.DIRECT),
        at=opinion.at,
        by=_by(opinion),
        turn=turn,
        episode=episode,
        metadata={name: value[:LONGEST_VALUE] for name, value in metadata.items() if value},
    )


def form_of(opinion: Opinion) -> Form:
    """What was said, in one of our forms; `InvalidInput` when nobody could know how good that is."""
    key = _key(opinion.name)
    if opinion.form == "correction":
        return Correction(text=opinion.label or opinion.explanation or "")
    good = _good(opinion, key)
    if key in COMPLETED and good is not None:
        share = opinion.score if opinion.score is not None and 0 <= opinion.score <= 1 else None
        return Completion(completed=good, quality=share)
    if key in THUMBS and good is not None:
        return Thumbs(up=good)
    if key in FLAGS or (opinion.human and opinion.score is None and opinion.label is None):
        reason = opinion.explanation or opinion.label
        if reason:
            return Flag(reason=reason)
    if opinion.score is not None:
        return _rating(opinion, opinion.score, key)
    if good is not None:
        return Rating(value=float(good), low=0.0, high=1.0, aspect=opinion.name[:LONGEST_NAME])
    said = repr(opinion.label) if opinion.label else "no score and no label"
    raise InvalidInput(
        f"{opinion.name!r} has {said}: nothing says how good that is, send a score between 0 and 1"
    )


def _good(opinion: Opinion, key: str) -> bool | None:
    """Whether it was praise, where that is plain."""
    label = _key(opinion.label or "")
    if label in GOOD or label in BAD:
        return label in GOOD
    if opinion.score is None or not (key in THUMBS or key in COMPLETED or opinion.form == "boolean"):
        return None
    low, high = _scale(opinion) or (min(0.0, -abs(opinion.score)), abs(opinion.score))
    good = opinion.score > 0 if low < 0 else opinion.score >= (low + high) / 2 and opinion.score > low
    return good != (key in WORSE)


def _rating(opinion: Opinion, score: float, key: str) -> Rating:
    scale = _scale(opinion) or ((0.0, 1.0) if 0 <= score <= 1 else None)
    if scale is None or not scale[0] <= score <= scale[1]:
        where = "it is not between 0 and 1" if scale is None else f"its scale is {scale[0]:g} to {scale[1]:g}"
        raise InvalidInput(
            f"{opinion.name!r} has a score of {score:g}, and {where}: say `min` and `max` in its metadata"
        )
    better = opinion.metadata.get("higher_is_better")
    upside_down = better in (False, "false", "False", 0) if better is not None else key in WORSE
    return Rating(
        value=scale[0] + scale[1] - score if upside_down else score,
        low=scale[0],
        high=scale[1],
        aspect=opinion.name[:LONGEST_NAME],
    )


def _scale(opinion: Opinion) -> tuple[float, float] | None:
    low = plain.number(plain.first(opinion.metadata, "min", "minValue", "min_value", "low"))
    high = plain.number(plain.first(opinion.metadata, "max", "maxValue", "max_value", "high"))
    return None if low is None or high is None or not low < high else (low, high)


def _by(opinion: Opinion) -> PersonId | None:
    """The person, or the program's name."""
    said = plain.first(opinion.metadata, "user_id", "userId", "evaluator", "evaluator_name", "model")
    program = opinion.name if opinion.kind and not opinion.human else None
    who = opinion.by or plain.name(said) or program
    return None if who is None else PersonId(named(who, "person"))


def _key(name: str) -> str:
    """ "User Feedback" and "user-feedback" are one name."""
    text = name.strip().lower()
    return text if text in ("-1", "+1") else "_".join(text.replace("-", " ").replace("_", " ").split())
