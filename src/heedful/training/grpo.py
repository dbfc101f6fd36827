"""Group-relative policy optimisation: n answers per prompt, each judged against the others.

A task: `run(spec, work, track)`. With `baseline: others` an answer is held against the mean of the others and not
divided by their spread, which is RLOO.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from heedful.errors import TrainingFailed
from heedful.lm.load import Loaded
from heedful.lm.logprobs import answer_logprobs
from heedful.lm.optim import Stepper, autocast
from heedful.training import practice
from heedful.training.breadth import price_of_distance
from heedful.training.credit import Baseline, credits
from heedful.training.experience import Experience
from heedful.training.losses import clipped_policy_loss, kl_k3
from heedful.training.online import OnlineSettings, Track, violation_slope
from heedful.training.safety import SafeUpdater, Verdict

UNEQUAL = 1e-3  # nats by which the same weights may give other log-probabilities


class GrpoSpec(OnlineSettings):
    """Which policy, on which prompts, for which reward, how far."""

    kl: float = Field(0.2, ge=0)
    """Price of one nat of distance to the start, in group standard deviations of reward."""

    baseline: Baseline = "group"
    """What an answer is held against: `group`, in standard deviations of all answers to its prompt (GRPO); `others`,
    the mean of the others (RLOO)."""


def run(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """Train and save; returns {"model", "curve", "answers", "steps", "iterations", "stopped", "kl", ...}."""
    settings = GrpoSpec.model_validate(spec)
    return practice.run(settings, lambda policy: Relative(policy, settings), work, track)


class Relative:
    """Learns from how answers to one prompt compare."""

    def __init__(self, policy: Loaded, settings: GrpoSpec) -> None:
        self._policy, self._settings = policy, settings
        self._stepper = Stepper(
            [(settings.rate, policy.model.parameters())],
            steps=settings.iterations * settings.minibatches * settings.epochs,
            warmup=settings.warmup,
        )
        self.updater = SafeUpdater(self._stepper, settings.safety)
        self.modules: Mapping[str, nn.Module] = {}
        self.steppers: Mapping[str, Stepper] = {"policy": self._stepper}

    def figures(self) -> Mapping[str, float]:
        return {}

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass

    def learn(self, experience: Experience, random: np.random.Generator) -> list[Verdict]:
        """`epochs` passes over the groups that carry a signal, in `minibatches` steps each; ends early where no step
        is safe any more."""
        settings = self._settings
        credit = self.credit(experience)
        telling = [place for place, one in enumerate(credit) if bool(one.any())]
        if not telling:
            return []
        slope = violation_slope(self._policy, experience, self._stepper, settings)
        self.updater.begin(experience.judged.mean, slope)
        parts = (
            part.tolist()
            for _ in range(settings.epochs)
            for part in np.array_split(random.permutation(telling), min(settings.minibatches, len(telling)))
        )
        safe = takewhile(lambda _: not self.updater.spent, parts)
        return [self._step(experience, credit, part) for part in safe]

    def credit(self, experience: Experience) -> list[Tensor]:
        """Per prompt, of each token of its answers."""
        return credits(experience, self._settings, self._settings.baseline)

    def _step(self, experience: Experience, credit: list[Tensor], groups: list[int]) -> Verdict:
        settings = self._settings
        answers = sum(len(experience.trees[one].answers) for one in groups)
        drift, distance = 0.0, price_of_distance(settings.kl, experience.leash)
        for some in experience.parts(settings.micro_tokens, groups):
            packed = experience.packed(some, settings.device)
            old, reference, credit_m = (
                torch.cat([values[one] for one in some])
                for values in (experience.old, experience.reference, credit)
            )
            with autocast(settings.precision, settings.device):
                logps = answer_logprobs(self._policy.model, packed, temperature=settings.temperature)
            if self._stepper.taken == 0 and float((logps.detach() - old).abs().max()) > UNEQUAL:
                raise TrainingFailed(
                    "the ratio of the first step is not 1: the same weights gave other numbers"
                )
            drift += float(kl_k3(old, logps.detach())) / answers
            loss = clipped_policy_loss(logps, old, credit_m, clip=settings.clip)
            ((loss + distance * kl_k3(logps, reference)) / answers).backward()
        self.updater.saw(drift)
        return self.updater.update(float(torch.cat([credit[one] for one in groups]).abs().max()))
