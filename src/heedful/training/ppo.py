"""Proximal policy optimisation: a critic foretells what answers will be worth, and tokens are credited with more.

A task: `run(spec, work, track)`. The distance to the start is paid token by token inside the reward, so that it
reaches the tokens that moved; the answer's worth comes with its last token, the call's with the last of the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from heedful.errors import TrainingFailed
from heedful.lm.load import Loaded, load
from heedful.lm.logprobs import answer_logprobs
from heedful.lm.optim import Stepper, autocast
from heedful.training import practice
from heedful.training.breadth import price_of_distance
from heedful.training.critic import Critic, explained
from heedful.training.experience import Experience
from heedful.training.grpo import UNEQUAL
from heedful.training.leash import Leash
from heedful.training.losses import clipped_policy_loss, kl_k3
from heedful.training.online import OnlineSettings, Track, violation_slope
from heedful.training.returns import advantages, token_rewards, value_loss, whitened
from heedful.training.safety import SafeUpdater, Verdict


class PpoSpec(OnlineSettings):
    """Which policy, on which prompts, for which reward, how far."""

    group: int = Field(4, ge=1)
    """Answers per prompt; they are not held against one another."""

    batch: int = Field(64, ge=1)
    """Prompts per iteration."""

    kl: float = Field(0.1, ge=0)
    """First price of a nat of distance to the start, in the reward's own unit."""

    kl_target: float | None = Field(None, gt=0)
    """Nats that an answer should be from the start, to which the price is moved; nothing: the price stays."""

    discount: float = Field(1.0, gt=0, le=1)
    """What a token's reward is worth one token earlier."""

    trace: float = Field(0.95, ge=0, le=1)
    """How far credit reaches back: 0 trusts the critic, 1 only the rewards."""

    most: float = Field(10.0, gt=0)
    """Largest reward of an answer, in standard deviations of the start's; what is beyond it is cut."""

    critic_rate: float = Field(1e-3, gt=0)
    """Highest learning rate of the critic."""

    value_clip: float = Field(0.5, gt=0)
    """How far the critic's word on a token may move for gain within one iteration."""


def run(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """Train and save; returns {"model", "curve", "answers", "steps", "iterations", "stopped", "kl", ...}."""
    settings = PpoSpec.model_validate(spec)
    return practice.run(settings, lambda policy: ActorCritic(policy, settings), work, track)


@dataclass(frozen=True, slots=True)
class Lesson:
    """Per prompt, of each token of its answers."""

    credit: list[Tensor]
    returns: list[Tensor]
    values: list[Tensor]  # as the critic saw them when the answers were given
    known: list[Tensor]


class ActorCritic:
    """Learns from how answers compare with what was foretold of them."""

    def __init__(self, policy: Loaded, settings: PpoSpec) -> None:
        self._policy, self._settings = policy, settings
        steps = settings.iterations * settings.minibatches * settings.epochs
        self._stepper = Stepper(
            [(settings.rate, policy.model.parameters())], steps=steps, warmup=settings.warmup
        )
        self._critic = Critic(
            load(settings.model, device=settings.device, trust_remote_code=settings.trust_remote_code)
        )
        self._critics_stepper = Stepper(
            [(settings.critic_rate, self._critic.parameters())], steps=steps, warmup=settings.warmup
        )
        self._leash = Leash(settings.kl, settings.kl_target)
        self._told: dict[str, float] = {}
        self.updater = SafeUpdater(self._stepper, settings.safety)
        self.modules: Mapping[str, nn.Module] = {"critic": self._critic}
        self.steppers: Mapping[str, Stepper] = {"policy": self._stepper, "critic": self._critics_stepper}

    def figures(self) -> Mapping[str, float]:
        return self._told

    def state(self) -> dict[str, Any]:
        return {"price": self._leash.price, "told": self._told}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._leash.price, self._told = state["price"], dict(state["told"])

    def learn(self, experience: Experience, random: np.random.Generator) -> list[Verdict]:
        """`epochs` passes over all answers, in `minibatches` steps each; ends early where no step is safe any more."""
        settings = self._settings
        lesson = self.lesson(experience)
        slope = violation_slope(self._policy, experience, self._stepper, settings)
        self.updater.begin(experience.judged.mean, slope)
        places = len(experience.trees)
        parts = (
            part.tolist()
            for _ in range(settings.epochs)
            for part in np.array_split(random.permutation(places), min(settings.minibatches, places))
        )
        safe = takewhile(lambda _: not self.updater.spent, parts)
        return [self._step(experience, lesson, part) for part in safe]

    def lesson(self, experience: Experience) -> Lesson:
        """What there is to learn, with the critic as it is now."""
        settings, judged, device = self._settings, experience.judged, self._settings.device
        values: list[Tensor] = []
        sizes = [sum(map(len, tree.answers)) for tree in experience.trees]
        with torch.inference_mode(), autocast(settings.precision, device):
            for some in experience.parts(settings.micro_tokens):
                packed = experience.packed(some, device)
                values += self._critic(packed).split([sizes[one] for one in some])
        lengths = [len(answer) for tree in experience.trees for answer in tree.answers]
        old_m, reference_m, values_m = (
            torch.cat(part).clone() for part in (experience.old, experience.reference, values)
        )
        distance_m = old_m - reference_m
        self._leash.saw(float(distance_m.sum()) / len(lengths))
        price = experience.price
        total = judged.total_a if price is None else judged.liked_a - price * judged.cost_a
        scale = 1.0 + (price or 0.0)
        total_a, action_a = (
            torch.from_numpy(np.where(judged.known_a, part, 0.0)).float().to(device) / scale
            for part in (total, np.zeros_like(total) if judged.action_a is None else judged.action_a)
        )
        rest_a = (total_a - action_a).clamp(-settings.most, settings.most)
        call_a = settings.call_weight * action_a.clamp(-settings.most, settings.most)
        rewards_m = token_rewards(
            rest_a,
            call_a,
            torch.cat(experience.calls),
            distance_m,
            lengths,
            price_of_distance(self._leash.price, experience.leash),
        )
        credit_m = advantages(rewards_m, values_m, lengths, discount=settings.discount, trace=settings.trace)
        returns_m = credit_m + values_m
        known_a = torch.from_numpy(judged.known_a).to(device)
        known_m = known_a.repeat_interleave(torch.tensor(lengths, device=device))
        self._told = {
            "kl_price": self._leash.price,
            "explained": explained(values_m, returns_m, known_m),
        }
        parts = (whitened(credit_m, known_m), returns_m, values_m, known_m)
        return Lesson(*(list(part.split(sizes)) for part in parts))

    def _step(self, experience: Experience, lesson: Lesson, prompts: list[int]) -> Verdict:
        settings = self._settings
        answers = sum(len(experience.trees[one].answers) for one in prompts)
        tokens = sum(len(lesson.credit[one]) for one in prompts)
        drift, missed = 0.0, 0.0
        for some in experience.parts(settings.micro_tokens, prompts):
            packed = experience.packed(some, settings.device)
            old, credit_m, returns_m, values_m, known_m = (
                torch.cat([part[one] for one in some])
                for part in (experience.old, lesson.credit, lesson.returns, lesson.values, lesson.known)
            )
            with autocast(settings.precision, settings.device):
                logps = answer_logprobs(self._policy.model, packed, temperature=settings.temperature)
                now_m = self._critic(packed)
            if self._stepper.taken == 0 and float((logps.detach() - old).abs().max()) > UNEQUAL:
                raise TrainingFailed(
                    "the ratio of the first step is not 1: the same weights gave other numbers"
                )
            drift += float(kl_k3(old, logps.detach())) / answers
            (clipped_policy_loss(logps, old, credit_m, clip=settings.clip) / tokens).backward()
            error = value_loss(now_m, values_m, returns_m, known_m, clip=settings.value_clip) / tokens
            missed += float(error.detach())
            error.backward()
        self._told["value_loss"] = missed
        self.updater.saw(drift)
        verdict = self.updater.update(float(torch.cat([lesson.credit[one] for one in prompts]).abs().max()))
        if verdict.unsafe is None:
            self._critics_stepper.check(float(self._critics_stepper.update()))
        else:  # what the policy may not learn from, its critic may not either
            self._critics_stepper.forget()
        return verdict
