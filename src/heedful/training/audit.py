"""People look at the policy while it practises, and what they prefer decides when to stop and which state to keep.

A reward model is wrong in ways that it cannot see itself, and a policy finds them; asked a few dozen times along the
way, people see them (measured: a run that keeps the state which they like best is hardly worse than its best one, while
the best reward is the worst of guides). Every look compares the policy with its start and with the best state so far;
all answers of all looks are added up in one scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from heedful.errors import InvalidInput
from heedful.stats.strengths import Strengths, strengths

SURE = 2.0  # standard errors by which a state is known to be worse than another


class Auditor(Protocol):
    """Asks people. For each prompt: 1 where they prefer the first answer, 0 the second, 0.5 neither, None: nobody said.

    `once` names the look: asked again after a crash, it is the same question.
    """

    def compare(
        self, prompts: Sequence[Any], first: Sequence[str], second: Sequence[str], *, once: str
    ) -> Sequence[float | None]: ...


class AuditSettings(BaseModel):
    """Who looks, how often, at how much."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    auditor: str
    """Dotted path of a function that takes `asked` and returns an Auditor."""

    asked: str = ""
    """What that function is given."""

    every: int = Field(3, ge=1)
    """Iterations from one look to the next."""

    nats: float = Field(1.0, gt=0)
    """Distance from the last look at which the next one comes at once, however few iterations that took."""

    pairs: int = Field(64, ge=4)
    """Pairs of a look: a quarter against the start, the rest against the best state so far."""

    patience: int = Field(2, ge=1)
    """Looks without a better state that end the run; one that is surely worse ends it at once."""

    brake: float | None = Field(5.0, gt=0)
    """Nats from the start at which the run stops all the same; where nobody answers, the run's own `brake` holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What people said at one of them."""

    iteration: int
    kl: float
    reward: float
    asked: int
    answered: int
    against_start: float | None  # share of answers that preferred the policy; None: none answered
    against_best: float | None
    strength: float  # in logits of being preferred to the start, from all looks so far
    error: float  # standard error of that
    best: int  # iteration of the best state, this one included


class Audit:
    """All looks of a run."""

    def __init__(self, settings: AuditSettings, auditor: Auditor) -> None:
        self._settings, self._auditor = settings, auditor
        self._iterations = [0]  # of the states that were looked at; the start is the first
        self._won = np.zeros((1, 1))
        self._best = 0  # place of the best state
        self._waited = 0  # looks since it was found
        self._worse = False  # whether the last one was surely worse than it
        self.answered = True  # whether anybody did, the last time
        self.heard = False  # whether anybody ever did

    @property
    def best(self) -> int:
        """Iteration of the best state."""
        return self._iterations[self._best]

    @property
    def over(self) -> bool:
        """Whether going on is a waste."""
        return self._worse or self._waited >= self._settings.patience

    def look(
        self,
        iteration: int,
        prompts: Sequence[Any],
        current: Sequence[str],
        start: Sequence[str],
        best: Sequence[str],
        *,
        kl: float,
        reward: float,
    ) -> Look:
        """Ask about this state. `start` answers the first prompts and `best` the rest; while the start is the best,
        both are its answers."""
        if not len(prompts) == len(current) == len(start) + len(best):
            raise InvalidInput(f"{len(prompts)} prompts with {len(current)} answers of the policy")
        said = list(self._auditor.compare(prompts, current, [*start, *best], once=f"audit-{iteration:06d}"))
        if len(said) != len(prompts):
            raise InvalidInput(f"the auditor said {len(said)} things about {len(prompts)} pairs")
        if odd := [one for one in said if one is not None and not 0 <= one <= 1]:
            raise InvalidInput(f"the auditor said {odd[0]}: 1, 0, or what lies between")
        parts = said[: len(start)], said[len(start) :]
        place = len(self._iterations)
        self._iterations.append(iteration)
        self._won = np.pad(self._won, (0, 1))
        for part, other in zip(parts, (0, self._best), strict=True):
            known = [one for one in part if one is not None]
            self._won[place, other] += sum(known)
            self._won[other, place] += len(known) - sum(known)
        self.answered = any(one is not None for one in said)
        self.heard |= self.answered
        found = strengths(self._won)
        if self.answered:
            self._judge(place, found)
        return Look(
            iteration=iteration,
            kl=kl,
            reward=reward,
            asked=len(said),
            answered=sum(one is not None for one in said),
            against_start=_share(parts[0]),
            against_best=_share(parts[1]),
            strength=float(found.mean[place]),
            error=float(np.sqrt(found.covariance[place, place])),
            best=self.best,
        )

    def _judge(self, place: int, found: Strengths) -> None:
        before = self._best
        kept = (0, before, place)  # the states whose weights there still are
        self._best = max(kept, key=lambda one: found.mean[one])
        self._waited = 0 if self._best == place else self._waited + 1
        more, error = found.difference(place, before)
        self._worse = self._best != place and more < -SURE * error

    def state(self) -> dict[str, Any]:
        """All that it knows between looks."""
        return {
            "iterations": self._iterations,
            "won": self._won.tolist(),
            "best": self._best,
            "waited": self._waited,
            "worse": self._worse,
            "answered": self.answered,
            "heard": self.heard,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._iterations, self._won = list(state["iterations"]), np.array(state["won"])
        self._best, self._waited = state["best"], state["waited"]
        self._worse, self.answered, self.heard = state["worse"], state["answered"], state["heard"]


def _share(said: Sequence[float | None]) -> float | None:
    known = [one for one in said if one is not None]
    return sum(known) / len(known) if known else None
