"""What all ways of practising share: how long, how far and how safely, and what a learner is.

How the iterations go is in `practice.py`; how is learned from one is a learner's affair (`grpo.py`, `ppo.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from heedful.lm.budget import BudgetSettings
from heedful.lm.load import Loaded
from heedful.lm.logprobs import answer_logprobs
from heedful.lm.optim import Stepper, autocast
from heedful.training.audit import AuditSettings
from heedful.training.breadth import BreadthSettings
from heedful.training.constraint import ConstraintSettings
from heedful.training.experience import Experience, RolloutSettings
from heedful.training.safety import SafetySettings, SafeUpdater, Verdict

Track = Callable[[int, Mapping[str, float]], None]


class OnlineSettings(RolloutSettings, BudgetSettings):
    """How long is practised, how far, and how safely."""

    iterations: int = Field(14, ge=1)
    """Rounds of sampling and updating."""

    minibatches: int = Field(2, ge=1)
    """Parts that the answers of an iteration are cut into, one optimiser step each."""

    epochs: int = Field(3, ge=1)
    """Times that the answers of an iteration are gone through."""

    rate: float = Field(4e-4, gt=0)
    """Highest learning rate; for pretrained models use far less."""

    warmup: int = Field(5, ge=0)
    """Steps over which the rate rises."""

    clip: float = Field(0.2, gt=0)
    """How far a token's probability may move for gain within one iteration."""

    brake: float | None = Field(2.0, gt=0)
    """Stop when an answer is on average this many nats from the start; None: never. Where people look, `audit.brake`
    holds instead."""

    audit: AuditSettings | None = None
    """People who look at the policy along the way, and so decide which of its states is kept; nothing: nobody."""

    breadth: BreadthSettings | None = BreadthSettings()
    """How narrow the policy's choice of words may become; nothing: as narrow as it likes."""

    keep_every: int | None = Field(None, ge=1)
    """Leave the weights of every so many iterations in `checkpoints`; nothing: the last good ones alone."""

    constraint: ConstraintSettings | None = None
    """A bound on the share of violations, whose price is then found while training; nothing: `penalty` is the price."""

    safety: SafetySettings = SafetySettings()
    """What a step may do; one that would do more is left out."""

    save_seconds: float = Field(60.0, ge=0)
    """Time between two states from which a run that was cut off goes on."""


class Learner(Protocol):
    """Changes the policy by what was experienced."""

    updater: SafeUpdater
    modules: Mapping[str, nn.Module]  # that it moves beside the policy
    steppers: Mapping[str, Stepper]

    def learn(self, experience: Experience, random: np.random.Generator) -> Sequence[Verdict]: ...

    def figures(self) -> Mapping[str, float]:
        """What there is to tell of the last lesson, by name."""
        ...

    def state(self) -> dict[str, Any]:
        """What it knows beside weights and optimisers, as JSON can hold it."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


def violation_slope(
    policy: Loaded, experience: Experience, stepper: Stepper, settings: RolloutSettings
) -> list[Tensor] | None:
    """By each weight, of the share of violations among the policy's answers; None where all are alike."""
    violation_a = torch.from_numpy(experience.judged.violation_a).float().to(settings.device)
    excess_a = violation_a - violation_a.mean()
    if not bool(excess_a.abs().max() > 1e-6):
        return None
    excess = experience.of_answers(excess_a)
    for some in experience.parts(settings.micro_tokens):
        packed = experience.packed(some, settings.device)
        own_a = torch.cat([excess[one] for one in some])
        with autocast(settings.precision, settings.device):
            logps = answer_logprobs(policy.model, packed, temperature=settings.temperature)
        ((logps * own_a[packed.answer_m]).sum() / experience.answers).backward()
    slope = [
        torch.zeros_like(weight) if weight.grad is None else weight.grad.clone() for weight in stepper.weights
    ]
    stepper.forget()
    return slope
