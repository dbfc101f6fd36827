"""Whatever can score answers, as those who only ask it see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from heedful.errors import InvalidInput
from heedful.rewards.scale import Scale

Floats = NDArray[np.floating[Any]]
Prompt = Sequence[Mapping[str, str]]  # messages with role and content


class Judge(Protocol):
    """A reward model, or what stands for one: one number per answer, under each name that it knows."""

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> Mapping[str, Floats]: ...


class Fitted(Judge, Protocol):
    """A reward model of any kind."""

    scale: Scale
    objectives: tuple[str, ...]

    def score(
        self,
        prompts: Sequence[Prompt],
        answers: Sequence[str],
        *,
        columns: Mapping[str, Sequence[Any]] | None = None,
    ) -> dict[str, NDArray[np.float64]]: ...


def scores(judge: Judge, prompts: Sequence[Prompt], answers: Sequence[str], name: str) -> Floats:
    """What the judge says under one name."""
    return checked(judge.score(prompts, answers), name)


def checked(said: Mapping[str, Floats], name: str) -> Floats:
    """What was said under a name; refused where there is nothing under it, or something that is no number."""
    if name not in said:
        raise InvalidInput(f"the model gives no {name!r}: it gives {', '.join(said) or 'nothing'}")
    values = np.asarray(said[name], dtype=float)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise InvalidInput(
            f"{name!r} of {len(wrong)} answers is not a finite number, the first of answer {wrong[0] + 1}: "
            "the model may have diverged"
        )
    return values
