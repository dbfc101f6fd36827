"""Optimise a policy against a reward, with a brake.

A task: `run(spec, work, track)`. Group-relative policy optimisation: n answers per prompt, each judged
against the others. What the reward model says is a stand-in for what people want, and the further the
policy moves the less it is worth; so the run stops at a distance from the start (measured best brake with
no labels at all), keeps the last weights within it, and leaves its whole curve behind to be looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from heedful.dotted import resolve
from heedful.errors import InvalidInput, TrainingFailed
from heedful.lm.columns import prompts as practice
from heedful.lm.decode import Sampler
from heedful.lm.heads import CallFinder
from heedful.lm.layout import micro_batches, pack
from heedful.lm.load import Loaded, load, save
from heedful.lm.logprobs import answer_logprobs
from heedful.lm.optim import Stepper, autocast
from heedful.lm.records import write_records
from heedful.training.constraint import ConstraintSettings, Price
from heedful.training.experience import Experience, Figures, Reward, RolloutSettings, judge
from heedful.training.losses import clipped_policy_loss, kl_k3
from heedful.training.safety import SafetySettings, SafeUpdater, Verdict

Track = Callable[[int, Mapping[str, float]], None]


class GrpoSpec(RolloutSettings):
    """Which policy, on which prompts, for which reward, how far."""

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

    kl: float = Field(0.2, ge=0)
    """Price of one nat of distance to the start, in group standard deviations of reward."""

    brake: float | None = Field(2.0, gt=0)
    """Stop when an answer is on average this many nats from the start; None: never."""

    constraint: ConstraintSettings | None = None
    """A bound on the share of violations, whose price is then found while training; nothing: `penalty` is the price."""

    safety: SafetySettings = SafetySettings()
    """What a step may do; one that would do more is left out."""


def run(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """Train and save; returns {"model", "curve", "answers", "iterations", "stopped", "kl", ...}."""
    settings = GrpoSpec.model_validate(spec)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    policy, reference = (
        load(settings.model, device=settings.device, trust_remote_code=settings.trust_remote_code)
        for _ in range(2)
    )
    rows = practice(settings.prompts)
    if not rows:
        raise InvalidInput(f"{settings.prompts} holds no prompts", field="prompts")
    if taken := sorted({"prompts", "completions", "completion_ids"} & {name for row in rows for name in row}):
        raise InvalidInput(
            f"{settings.prompts} has a column {taken[0]!r}, which rewards know as another thing"
        )
    reward: Reward = resolve(settings.reward, "reward")(settings.reward_model)
    done = _optimise(policy, reference, reward, rows, settings, track)
    curve, kept = done.curve, done.kept
    save(policy, work / "model")
    write_records(work / "curve.jsonl", (figures.row() for figures in curve))
    write_records(work / "answers.jsonl", done.said)
    write_records(work / "steps.jsonl", done.steps)
    return {
        "model": str(work / "model"),
        "curve": str(work / "curve.jsonl"),
        "answers": str(work / "answers.jsonl"),
        "steps": str(work / "steps.jsonl"),
        "iterations": kept,
        "stopped": done.stopped,
        "left_out": dict(done.left_out),
        "kl": curve[kept].kl,
        "reward_before": curve[0].reward,
        "reward_after": curve[kept].reward,
        "violation_before": curve[0].violation,
        "violation_after": curve[kept].violation,
    }


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
    left_out: Counter[str] = field(default_factory=Counter)  # steps, by reason


def _optimise(
    policy: Loaded,
    reference: Loaded,
    reward: Reward,
    rows: list[dict[str, Any]],
    settings: GrpoSpec,
    track: Track,
) -> Done:
    """Leaves the kept weights in `policy`."""
    random = np.random.default_rng(settings.seed)
    sampler = Sampler(policy)
    calls = CallFinder(policy.tokenizer)
    stepper = Stepper(
        [(settings.rate, policy.model.parameters())],
        steps=settings.iterations * settings.minibatches * settings.epochs,
        warmup=settings.warmup,
    )
    updater = SafeUpdater(stepper, settings.safety)
    price = None if settings.constraint is None else Price(settings.constraint)
    done, good = Done(), _weights(policy)
    for iteration in range(settings.iterations + 1):  # the last round only looks
        chosen = [rows[i] for i in random.integers(len(rows), size=settings.batch)]
        seed = int(random.integers(2**31))
        answers = sampler.sample(
            [row["prompt"] for row in chosen],
            settings.group,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            seed=seed,
        )
        experience, figures = judge(
            iteration,
            policy,
            reference,
            reward,
            calls,
            chosen,
            answers,
            settings,
            None if price is None else price.value,
        )
        if price is not None:
            price.saw(experience.violation_a.tolist())
        done.curve.append(figures)
        done.said += [
            {"iteration": iteration, "prompt": row["prompt"], "answer": sample.text}
            for row, group in zip(chosen, answers, strict=True)
            for sample in group
        ]
        track(iteration, figures.row() | {"iterations": float(settings.iterations)})
        if settings.brake is not None and figures.kl > settings.brake:
            _restore(policy, good)
            done.stopped = "brake"
            break
        done.kept = iteration
        if iteration < settings.iterations:
            good = _weights(policy)
            verdicts = _update(policy, experience, stepper, updater, settings, random)
            done.steps += [{"iteration": iteration, **asdict(verdict)} for verdict in verdicts]
            if updater.spent:
                _restore(policy, good)
                done.stopped = "unsafe"
                break
    done.left_out = Counter({reason.value: count for reason, count in updater.left_out.items()})
    return done


def _update(
    policy: Loaded,
    experience: Experience,
    stepper: Stepper,
    updater: SafeUpdater,
    settings: GrpoSpec,
    random: np.random.Generator,
) -> list[Verdict]:
    """`epochs` passes over the groups that carry a signal, in `minibatches` steps each; ends early where no step is
    safe any more."""
    telling = [place for place, one in enumerate(experience.advantages) if bool(one.any())]
    if not telling:
        return []
    updater.begin(_violation_slope(policy, experience, stepper, settings))
    parts = (
        part.tolist()
        for _ in range(settings.epochs)
        for part in np.array_split(random.permutation(telling), min(settings.minibatches, len(telling)))
    )
    safe = takewhile(lambda _: not updater.spent, parts)
    return [_step(policy, experience, stepper, updater, settings, part) for part in safe]


def _violation_slope(
    policy: Loaded, experience: Experience, stepper: Stepper, settings: GrpoSpec
) -> list[Tensor] | None:
    """By each weight, of the share of violations among the policy's answers; None where all are alike."""
    excess_a = experience.violation_a - experience.violation_a.mean()
    if not bool(excess_a.abs().max() > 1e-6):
        return None
    done = 0
    for cut in micro_batches([len(tree) for tree in experience.trees], settings.micro_tokens):
        packed = pack([experience.trees[one] for one in cut]).to(settings.device)
        own_a = excess_a[done : done + packed.answers].to(settings.device)
        done += packed.answers
        with autocast(settings.precision, settings.device):
            logps = answer_logprobs(policy.model, packed, temperature=settings.temperature)
        ((logps * own_a[packed.answer_m]).sum() / len(excess_a)).backward()
    slope = [
        torch.zeros_like(weight) if weight.grad is None else weight.grad.clone() for weight in stepper.weights
    ]
    stepper.forget()
    return slope


def _step(
    policy: Loaded,
    experience: Experience,
    stepper: Stepper,
    updater: SafeUpdater,
    settings: GrpoSpec,
    groups: list[int],
) -> Verdict:
    answers = sum(len(experience.trees[one].answers) for one in groups)
    lengths = [len(experience.trees[one]) for one in groups]
    drift, largest = 0.0, 0.0
    for cut in micro_batches(lengths, settings.micro_tokens):
        some = [groups[one] for one in cut]
        packed = pack([experience.trees[one] for one in some]).to(settings.device)
        old, reference, advantages = (
            torch.cat([values[one] for one in some])
            for values in (experience.old, experience.reference, experience.advantages)
        )
        with autocast(settings.precision, settings.device):
            logps = answer_logprobs(policy.model, packed, temperature=settings.temperature)
        if stepper.taken == 0 and float((logps.detach() - old).abs().max()) > 1e-3:
            raise TrainingFailed("the ratio of the first step is not 1: the same weights gave other numbers")
        drift += float(kl_k3(old, logps.detach())) / answers
        largest = max(largest, float(advantages.abs().max()))
        loss = clipped_policy_loss(logps, old, advantages, clip=settings.clip)
        ((loss + settings.kl * kl_k3(logps, reference)) / answers).backward()
    updater.saw(drift)
    return updater.update(largest)


def _weights(loaded: Loaded) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in loaded.model.state_dict().items()}


def _restore(loaded: Loaded, weights: Mapping[str, Tensor]) -> None:
    loaded.model.load_state_dict(weights)
