"""A step is looked at before it is taken: one that is not safe is left out, with a reason, as if it had never been.

Looked at are the gradient (is it a number, and as long as gradients usually are), the step that the optimiser would
take from it (how far the answers would have moved within this iteration, and which way violations would go), and the
batch itself (is any credit beyond what credits can be, is the reward what it was an iteration ago). A step that is
left out changes no weight, no moment of the optimiser and no schedule. Several in a row end the run on the last
weights that were good.

How far answers move is foretold from the squared displacement weighed by the optimiser's own second moments, which
stand for the curvature (Kingma and Ba 2015, section 2), times a factor that is learned from what was seen after
earlier steps. Which way violations go is the displacement along their own gradient (Achiam et al. 2017,
"Constrained policy optimization", equation 10, to first order). What was foretold is told beside what came.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from heedful.lm.optim import Stepper

USUAL = 32  # lengths of gradients that are remembered
FEWEST = 6  # of them, before any is called unusual
LEARNED = 0.5  # share of a new measurement in the factor


class Unsafe(StrEnum):
    """Why a step was left out."""

    NOT_A_NUMBER = "the gradient is not a number"
    CREDIT = "a credit is beyond what credits can be"
    JUDGE = "the reward is not what it was an iteration ago"
    LENGTH = "the gradient is far longer than usual"
    DRIFT = "the answers would move too far at once"
    VIOLATION = "violations would become more frequent"


class SafetySettings(BaseModel):
    """What a step may do."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    credit: float = Field(30.0, gt=0)
    """Largest credit of a token; among n answers none is better than the others by more than the root of n."""

    rise: float = Field(1.5, gt=0)
    """Rise of the mean reward from one iteration to the next, in deviations of the start's answers."""

    fall: float = Field(0.4, gt=0)
    """Fall of it: a policy that learns from a reward does not lose much of it at once."""

    length: float = Field(8.0, gt=1)
    """Longest gradient, in medians of the last ones."""

    drift: float = Field(0.6, gt=0)
    """Nats that an answer may be from where the iteration began, as foretold."""

    violation: float = Field(0.01, gt=0)
    """Rise of the share of violations by one step, as foretold."""

    patience: int = Field(8, ge=1)
    """Steps left out in a row that end the run."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one step."""

    unsafe: Unsafe | None
    length: float  # of the gradient
    drift: float = 0.0  # foretold, in nats an answer, since the iteration began
    violation: float = 0.0  # foretold change of the share of violations by this step


class SafeUpdater:
    """Takes the steps of a run that are safe, and counts those that are not."""

    def __init__(self, stepper: Stepper, settings: SafetySettings) -> None:
        self._stepper, self._settings = stepper, settings
        self._lengths: deque[float] = deque(maxlen=USUAL)
        self._factor: float | None = None  # nats per unit of squared displacement
        self._start: list[Tensor] = []
        self._violation: list[Tensor] | None = None
        self._reward: float | None = None  # mean of the last iteration that was not odd
        self._odd = False  # whether this one is
        self._square = 0.0  # of the displacement since the iteration began, before its factor
        self.in_a_row = 0
        self.left_out: Counter[Unsafe] = Counter()

    @property
    def spent(self) -> bool:
        """Whether the run should end."""
        return self.in_a_row >= self._settings.patience

    def state(self) -> dict[str, object]:
        """All that it knows between iterations."""
        return {
            "lengths": list(self._lengths),
            "factor": self._factor,
            "reward": self._reward,
            "in_a_row": self.in_a_row,
            "left_out": {reason.name: count for reason, count in self.left_out.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._lengths = deque(state["lengths"], maxlen=USUAL)
        self._factor, self._reward = state["factor"], state["reward"]
        self.in_a_row = state["in_a_row"]
        self.left_out = Counter({Unsafe[name]: count for name, count in state["left_out"].items()})

    def begin(self, reward: float | None = None, violation: Sequence[Tensor] | None = None) -> None:
        """An iteration begins here: what its answers got on average, and how the share of violations rises with each
        weight, where that is known."""
        known = self._reward
        if reward is None or known is None:
            self._odd = False
        else:
            self._odd = not known - self._settings.fall <= reward <= known + self._settings.rise
        self._reward = known if self._odd or reward is None else reward
        self._start = [weight.detach().clone() for weight in self._stepper.weights]
        self._violation = None if violation is None else list(violation)
        self._square = 0.0

    def saw(self, drift: float) -> None:
        """How far answers really were from where the iteration began, before the step that comes now."""
        if self._square > 0 and drift > 0:
            found = drift / self._square
            self._factor = found if self._factor is None else self._factor + LEARNED * (found - self._factor)

    def update(self, largest_credit: float = 0.0) -> Verdict:
        """Take the step that the gathered gradients ask for, or drop them."""
        verdict, square = self._look(largest_credit)
        if verdict.unsafe is not None:
            self._stepper.forget()
            self.left_out[verdict.unsafe] += 1
            self.in_a_row += 1
            return verdict
        self._stepper.update()
        self._lengths.append(verdict.length)
        self._square = square
        self.in_a_row = 0
        return verdict

    def _look(self, largest_credit: float) -> tuple[Verdict, float]:
        settings = self._settings
        length = self._stepper.gradient_length()
        if not length < float("inf"):
            return Verdict(Unsafe.NOT_A_NUMBER, length), 0.0
        if self._odd:
            return Verdict(Unsafe.JUDGE, length), 0.0
        if not largest_credit <= settings.credit:
            return Verdict(Unsafe.CREDIT, length), 0.0
        if len(self._lengths) >= FEWEST and length > settings.length * median(self._lengths):
            return Verdict(Unsafe.LENGTH, length), 0.0
        slopes: Sequence[Tensor | None] = self._violation or [None] * len(self._start)
        squares: list[Tensor] = []
        rises: list[Tensor] = []
        for weight, start, slope, (move, curvature) in zip(
            self._stepper.weights, self._start, slopes, self._stepper.proposed(), strict=True
        ):
            if slope is not None:
                rises.append(_dot(slope, move))
            squares.append(_dot(move.add_(weight.detach()).sub_(start).square_(), curvature))
        square, violation = (float(torch.stack(one).sum()) if one else 0.0 for one in (squares, rises))
        drift = square * (self._factor or 0.0)
        if drift > settings.drift:
            return Verdict(Unsafe.DRIFT, length, drift, violation), square
        if violation > settings.violation:
            return Verdict(Unsafe.VIOLATION, length, drift, violation), square
        return Verdict(None, length, drift, violation), square


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return torch.dot(one.flatten(), other.flatten())
