"""Metrics that a team declares once: what may be said under a name, about what, and which way is better.

A number that comes under a misspelt name, or on another scale, would be averaged with the right ones for
weeks before somebody sees it. So it is refused when it comes.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from heedful.domain.feedback import Behaviour, Feedback, Rating
from heedful.errors import InvalidInput

MetricForm = Literal[
    "rating",
    "thumbs",
    "choice",
    "ranking",
    "correction",
    "confirmation",
    "flag",
    "demonstration",
    "violation",
    "completion",
    "efficiency",
    "behaviour",
]
SCALED = ("rating", "behaviour")


class MetricSettings(BaseModel):
    """One metric."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    form: MetricForm
    """How it is said: rating, thumbs, completion …"""

    level: Literal["turn", "episode"] = "turn"
    """What it is said about."""

    direction: Literal["max", "min"] = "max"
    """Which way is better."""

    low: float | None = Field(None, allow_inf_nan=False)
    """The scale's lowest value, for ratings and behaviour; a rating without one goes from 1."""

    high: float | None = Field(None, allow_inf_nan=False)
    """The scale's highest value; a rating without one goes to 5."""

    description: str = ""
    """For people."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.form not in SCALED and (self.low is not None or self.high is not None):
            raise ValueError(f"a {self.form} has no scale: low and high are for {' and '.join(SCALED)}")
        low, high = self.scale
        if low is not None and high is not None and low >= high:
            raise ValueError(f"the scale goes from {low:g} to {high:g}: low is below high")
        return self

    @property
    def scale(self) -> tuple[float | None, float | None]:
        """Lowest and highest value; None where there is no end."""
        if self.form == "rating":
            return (1.0 if self.low is None else self.low, 5.0 if self.high is None else self.high)
        return self.low, self.high


Metrics = Mapping[str, MetricSettings]


def declared(name: str, metrics: Metrics) -> MetricSettings:
    """The metric of this name, or `InvalidInput` with the nearest that there is."""
    found = metrics.get(name)
    if found is None:
        near = difflib.get_close_matches(name, list(metrics), n=1, cutoff=0.5)
        there = ", ".join(sorted(metrics)) or "none, and feedback.metrics declares them"
        hint = f"did you mean {near[0]!r}?" if near else f"there is {there}"
        raise InvalidInput(f"name {name!r} is not a declared metric: {hint}", field="name")
    return found


def check(said: Feedback, metrics: Metrics) -> None:
    """Nothing, or `InvalidInput` that names the field in which the feedback is not what was declared."""
    if said.name is None:
        return
    metric, form = declared(said.name, metrics), said.said
    if form.form != metric.form:
        raise InvalidInput(
            f"said.form is {form.form!r}: metric {said.name!r} is a {metric.form}", field="said.form"
        )
    if metric.level == "turn" and not said.turns:
        raise InvalidInput(f"metric {said.name!r} is about a turn: name it", field="turn")
    if metric.level == "episode" and said.turns:
        raise InvalidInput(f"metric {said.name!r} is about an episode: name that and no turn", field="turn")
    low, high = metric.scale
    match form:
        case Rating():
            for field, value, wanted in (("low", form.low, low), ("high", form.high, high)):
                if value != wanted:
                    raise InvalidInput(
                        f"said.{field} is {value:g}: metric {said.name!r} goes from {low:g} to {high:g}",
                        field=f"said.{field}",
                    )
        case Behaviour(value=value) if value is not None:
            if (low is not None and value < low) or (high is not None and value > high):
                raise InvalidInput(
                    f"said.value is {value:g}: metric {said.name!r} goes from "
                    f"{'anywhere' if low is None else f'{low:g}'} to {'anywhere' if high is None else f'{high:g}'}",
                    field="said.value",
                )
        case _:
            pass
