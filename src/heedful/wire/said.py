"""What can be said, in twelve forms; which one it is stands in `form`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool

from heedful.domain import feedback as forms
from heedful.domain.feedback import Source
from heedful.domain.taxonomy import Severity
from heedful.wire.fields import Name, Number, Shape, Share, Short, Text, Whole
from heedful.wire.messages import MessageIn


class RatingIn(Shape):
    """A number on a scale."""

    form: Literal["rating"] = "rating"
    """This form."""
    value: Number
    """On the scale."""
    low: Number = 1.0
    """The scale's worst."""
    high: Number = 5.0
    """The scale's best."""
    aspect: Short | None = None
    """What was rated; None means overall."""


class ThumbsIn(Shape):
    """Up or down."""

    form: Literal["thumbs"] = "thumbs"
    """This form."""
    up: StrictBool
    """True is good."""


class ChoiceIn(Shape):
    """Answers were seen side by side, and one of them, or none, was preferred."""

    form: Literal["choice"] = "choice"
    """This form."""
    shown: tuple[Name, ...] = Field(max_length=64)
    """Turns, left to right, as the screen had them."""
    chosen: Name | None
    """The preferred turn; null means no difference."""
    strength: Share | None = None
    """0 barely, 1 by far."""
    both_bad: StrictBool = False
    """Only with no choice."""


class RankingIn(Shape):
    """Turns in order, best first."""

    form: Literal["ranking"] = "ranking"
    """This form."""
    places: tuple[tuple[Name, ...], ...] = Field(max_length=64)
    """Best first; turns in one place are equally good."""


class CorrectionIn(Shape):
    """What the answer should have been."""

    form: Literal["correction"] = "correction"
    """This form."""
    text: Text
    """The better answer."""
    kind: Short | None = None
    """fact, tone, action, format, safety …"""


class ConfirmationIn(Shape):
    """The answer was used as it was."""

    form: Literal["confirmation"] = "confirmation"
    """This form."""
    strength: Share = 1.0
    """0 grudgingly, 1 gladly."""


class FlagIn(Shape):
    """A person should look at this."""

    form: Literal["flag"] = "flag"
    """This form."""
    reason: Text
    """In the words of whoever flags."""


class DemonstrationIn(Shape):
    """How a person would have done it, from nothing."""

    form: Literal["demonstration"] = "demonstration"
    """This form."""
    prompt: tuple[MessageIn, ...] = Field(max_length=1000)
    """What was asked."""
    answer: Text
    """What should be answered."""


class ViolationIn(Shape):
    """An answer was checked against the safety taxonomy."""

    form: Literal["violation"] = "violation"
    """This form."""
    category: Short | None
    """The broken category; null means that the answer is clean."""
    severity: Severity | None = None
    """1 low to 4 critical; None means the category's own."""
    taxonomy: Short | None = None
    """Version it was judged under; None means the one in force."""


class CompletionIn(Shape):
    """The task's own result."""

    form: Literal["completion"] = "completion"
    """This form."""
    completed: StrictBool
    """Whether the task was done."""
    quality: Share | None = None
    """Evaluated from the result."""
    task_type: Short | None = None
    """Which kind of task it was."""


class EfficiencyIn(Shape):
    """What it took."""

    form: Literal["efficiency"] = "efficiency"
    """This form."""
    seconds: Annotated[Number, Field(ge=0)] | None = None
    """From the task's beginning to its end."""
    tokens: Annotated[Whole, Field(ge=0)] | None = None
    """All tokens, in and out."""
    spend: Annotated[Number, Field(ge=0)] | None = None
    """In the currency of the price table."""
    steps: Annotated[Whole, Field(ge=0)] | None = None
    """Turns or tool calls."""


class BehaviourIn(Shape):
    """What the user did next."""

    form: Literal["behaviour"] = "behaviour"
    """This form."""
    kind: Short
    """rephrase, repeat, abandon, regenerate, thanks, edit, escalate …"""
    value: Number | None = None
    """Such as the edit distance, 0 to 1."""


FormIn = Annotated[
    RatingIn
    | ThumbsIn
    | ChoiceIn
    | RankingIn
    | CorrectionIn
    | ConfirmationIn
    | FlagIn
    | DemonstrationIn
    | ViolationIn
    | CompletionIn
    | EfficiencyIn
    | BehaviourIn,
    Field(discriminator="form"),
]


FORMS: Mapping[str, tuple[type[Any], Source]] = {
    "rating": (forms.Rating, Source.DIRECT),
    "thumbs": (forms.Thumbs, Source.DIRECT),
    "choice": (forms.Choice, Source.DIRECT),
    "ranking": (forms.Ranking, Source.DIRECT),
    "correction": (forms.Correction, Source.DIRECT),
    "confirmation": (forms.Confirmation, Source.DIRECT),
    "flag": (forms.Flag, Source.DIRECT),
    "demonstration": (forms.Demonstration, Source.EXPERT),
    "violation": (forms.Violation, Source.SAFETY),
    "completion": (forms.Completion, Source.COMPLETION),
    "efficiency": (forms.Efficiency, Source.EFFICIENCY),
    "behaviour": (forms.Behaviour, Source.BEHAVIOUR),
}
"""The domain's form, and the kind of evidence it is unless the sender says otherwise."""
