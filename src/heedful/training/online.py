"""Practise: answer, be judged, learn, again; with a brake, and with a price of violations that is found on the way.

What the reward model says is a stand-in for what people want, and the further the policy moves the less it is worth;
so the run stops at a distance from the start (measured best brake with no labels at all), keeps the last weights
within it, and leaves its whole curve behind to be looked at. How is learned from an iteration is a learner's affair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from heedful.dotted import resolve
from heedful.errors import InvalidInput
from heedful.lm.columns import prompts as practice
from heedful.lm.decode import Sampler
from heedful.lm.heads import CallFinder
from heedful.lm.load import Loaded, load, save
from heedful.lm.logprobs import answer_logprobs
from heedful.lm.optim import Stepper, autocast
from heedful.lm.records import write_records
from heedful.training.constraint import ConstraintSettings, Price
from heedful.training.experience import Experience, Figures, Reward, RolloutSettings, gather
from heedful.training.safety import SafetySettings, SafeUpdater, Verdict

Track = Callable[[int, Mapping[str, float]], None]
TAKEN = {"prompts", "completions", "completion_ids"}  # names that rewards know as another thing


class OnlineSettings(RolloutSettings):
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
    """Stop when an answer is on average this many nats from the start; None: never."""

    constraint: ConstraintSettings | None = None
    """A bound on the share of violations, whose price is then found while training; nothing: `penalty` is the price."""

    safety: SafetySettings = SafetySettings()
    """What a step may do; one that would do more is left out."""


class Learner(Protocol):
    """Changes the policy by what was experienced."""

    updater: SafeUpdater

    def learn(self, experience: Experience, random: np.random.Generator) -> Sequence[Verdict]: ...

    def figures(self) -> Mapping[str, float]:
        """What there is to tell of the last lesson, by name."""
        ...


@dataclass(slots=True)
class Done:
    """What a run did."""

    curve: list[Figures] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)  # at each point of the curve
    steps: list[dict[str, Any]] = field(
        default_factory=list
    )  # what was foretold of each, and whether it was taken
    kept: int = 0  # updates that are in the weights
    stopped: str = "done"
    left_out: dict[str, int] = field(default_factory=dict)  # steps, by reason


def run(
    settings: OnlineSettings,
    learner_of: Callable[[Loaded], Learner],
    work: Path,
    track: Track,
) -> dict[str, Any]:
    """Train and save; returns {"model", "curve", "answers", "steps", "iterations", "stopped", "kl", ...}."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    policy, reference = (
        load(settings.model, device=settings.device, trust_remote_code=settings.trust_remote_code)
        for _ in range(2)
    )
    rows = practice(settings.prompts)
    if not rows:
        raise InvalidInput(f"{settings.prompts} holds no prompts", field="prompts")
    if taken := sorted(TAKEN & {name for row in rows for name in row}):
        raise InvalidInput(
            f"{settings.prompts} has a column {taken[0]!r}, which rewards know as another thing"
        )
    reward: Reward = resolve(settings.reward, "reward")(settings.reward_model)
    done = _practise(policy, reference, reward, rows, learner_of(policy), settings, track)
    save(policy, work / "model")
    write_records(work / "curve.jsonl", (figures.row() for figures in done.curve))
    write_records(work / "answers.jsonl", done.said)
    write_records(work / "steps.jsonl", done.steps)
    first, last = done.curve[0], done.curve[done.kept]
    return {
        **{name: str(work / f"{name}.jsonl") for name in ("curve", "answers", "steps")},
        "model": str(work / "model"),
        "iterations": done.kept,
        "stopped": done.stopped,
        "left_out": done.left_out,
        "kl": last.kl,
        "reward_before": first.reward,
        "reward_after": last.reward,
        "violation_before": first.violation,
        "violation_after": last.violation,
    }


def _practise(
    policy: Loaded,
    reference: Loaded,
    reward: Reward,
    rows: list[dict[str, Any]],
    learner: Learner,
    settings: OnlineSettings,
    track: Track,
) -> Done:
    """Leaves the kept weights in `policy`."""
    random = np.random.default_rng(settings.seed)
    sampler, calls = Sampler(policy), CallFinder(policy.tokenizer)
    price = None if settings.constraint is None else Price(settings.constraint)
    done, good = Done(), _weights(policy)
    for iteration in range(settings.iterations + 1):  # the last round only looks
        chosen = [rows[i] for i in random.integers(len(rows), size=settings.batch)]
        answers = sampler.sample(
            [row["prompt"] for row in chosen],
            settings.group,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            seed=int(random.integers(2**31)),
        )
        value = None if price is None else price.value
        experience, figures = gather(
            iteration, policy, reference, reward, calls, chosen, answers, settings, value
        )
        if price is not None:
            price.saw(experience.judged.violation_a.tolist())
        done.curve.append(figures)
        done.said += [
            {"iteration": iteration, "prompt": row["prompt"], "answer": sample.text}
            for row, group in zip(chosen, answers, strict=True)
            for sample in group
        ]
        track(iteration, figures.row() | dict(learner.figures()) | {"iterations": float(settings.iterations)})
        if settings.brake is not None and figures.kl > settings.brake:
            _restore(policy, good)
            done.stopped = "brake"
            break
        done.kept = iteration
        if iteration < settings.iterations:
            good = _weights(policy)
            verdicts = learner.learn(experience, random)
            done.steps += [{"iteration": iteration, **asdict(verdict)} for verdict in verdicts]
            if learner.updater.spent:
                _restore(policy, good)
                done.stopped = "unsafe"
                break
    counted = Counter(learner.updater.left_out)
    done.left_out = {reason.value: count for reason, count in counted.items()}
    return done


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


def _weights(loaded: Loaded) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in loaded.model.state_dict().items()}


def _restore(loaded: Loaded, weights: Mapping[str, Tensor]) -> None:
    loaded.model.load_state_dict(weights)
