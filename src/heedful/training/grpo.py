"""Optimise a policy against a reward, with a brake.

A task: `run(spec, work, track)`. Group-relative policy optimisation: n answers per prompt, each judged
against the others. What the reward model says is a stand-in for what people want, and the further the
policy moves the less it is worth; so the run stops at a distance from the start (measured best brake with
no labels at all), keeps the last weights within it, and leaves its whole curve behind to be looked at.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from heedful.errors import InvalidInput, Misconfigured, TrainingFailed
from heedful.lm.chat import prompts_ids
from heedful.lm.decode import Sample, Sampler
from heedful.lm.heads import CallFinder
from heedful.lm.layout import Rows, lay_out
from heedful.lm.load import Loaded, load, save
from heedful.lm.logprobs import answer_logprobs
from heedful.lm.optim import Precision, Stepper, autocast
from heedful.lm.records import read_records, write_records
from heedful.training.losses import clipped_policy_loss, group_advantages, kl_k3, split_credit

Track = Callable[[int, Mapping[str, float]], None]
Floats = NDArray[np.float64]


class Reward(Protocol):
    """Judges answers. `quality` is needed; `quality_action` and `violation` are used when they are there."""

    def score(self, prompts: Sequence[Any], answers: Sequence[str]) -> Mapping[str, Floats]: ...


class GrpoSpec(BaseModel):
    """Which policy, on which prompts, for which reward, how far."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: str
    """Directory or hub name of the policy to start from; also the reference that it is held to."""

    prompts: Path
    """JSONL of {"prompt"}."""

    reward: str = "heedful.rewards.model:load"
    """Dotted path of a function that takes `reward_model` and returns a Reward."""

    reward_model: str
    """What that function is given: usually the directory of a reward model."""

    iterations: int = Field(14, ge=1)
    """Rounds of sampling and updating."""

    group: int = Field(8, ge=2)
    """Answers per prompt."""

    batch: int = Field(32, ge=1)
    """Prompts per iteration."""

    minibatches: int = Field(2, ge=1)
    """Parts that the answers of an iteration are cut into, one optimiser step each."""

    epochs: int = Field(3, ge=1)
    """Times that the answers of an iteration are gone through."""

    rate: float = Field(4e-4, gt=0)
    """Highest learning rate; for pretrained models use far less."""

    warmup: int = Field(5, ge=0)
    """Steps over which the rate rises."""

    temperature: float = Field(1.0, gt=0)
    """Of sampling; log-probabilities are taken at the same."""

    max_tokens: int = Field(64, ge=1)
    """Longest answer."""

    clip: float = Field(0.2, gt=0)
    """How far a token's probability may move for gain within one iteration."""

    kl: float = Field(0.2, ge=0)
    """Price of one nat of distance to the start, in group standard deviations of reward."""

    brake: float | None = Field(2.0, gt=0)
    """Stop when an answer is on average this many nats from the start; None: never."""

    penalty: float = Field(4.0, ge=0)
    """Price of a certain violation, in standard deviations of quality."""

    truncated: float = Field(1.0, ge=0)
    """Price of an answer that does not end by itself."""

    split: bool = True
    """Credit the opening call with its own quality and the prose with the rest (needs `quality_action`)."""

    call_weight: float = Field(2.0, ge=0)
    """How much the credit of the call counts: it is one token among many, and decides most."""

    seed: int = 0
    """The same seed and spec give the same weights on the same machine."""

    threads: int = Field(1, ge=1)
    """Torch threads."""

    device: str = "cpu"
    """Where to compute."""

    precision: Precision = "auto"
    """bfloat16 autocast in updates, or not; auto asks the processor."""

    trust_remote_code: bool = False
    """Allow code that ships with the model."""


@dataclass(frozen=True, slots=True)
class Experience:
    """Answers of one iteration, p prompts times g answers, flattened to b rows."""

    rows: Rows
    old_logps_bt: Tensor
    reference_bt: Tensor
    advantages_bt: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one iteration looked like, before its update."""

    iteration: int
    reward: float  # what is optimised: quality - penalty * violation - truncated
    quality: float
    violation: float
    kl: float  # nats per answer to the start
    tokens: float  # per answer
    truncated: float  # share of answers cut off
    silent_groups: float  # share of prompts whose answers all got the same reward
    reward_length_correlation: float


def run(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """Train and save; returns {"model", "curve", "answers", "iterations", "stopped", "kl", ...}."""
    settings = GrpoSpec.model_validate(spec)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    policy, reference = (
        load(settings.model, device=settings.device, trust_remote_code=settings.trust_remote_code)
        for _ in range(2)
    )
    prompts = [record["prompt"] for record in read_records(settings.prompts, "prompt")]
    if not prompts:
        raise InvalidInput(f"{settings.prompts} holds no prompts", field="prompts")
    reward = _resolve(settings.reward)(settings.reward_model)
    curve, said, kept, stopped = _optimise(policy, reference, reward, prompts, settings, track)
    save(policy, work / "model")
    write_records(work / "curve.jsonl", (asdict(figures) for figures in curve))
    write_records(work / "answers.jsonl", said)
    return {
        "model": str(work / "model"),
        "curve": str(work / "curve.jsonl"),
        "answers": str(work / "answers.jsonl"),
        "iterations": kept,
        "stopped": stopped,
        "kl": curve[kept].kl,
        "reward_before": curve[0].reward,
        "reward_after": curve[kept].reward,
        "violation_before": curve[0].violation,
        "violation_after": curve[kept].violation,
    }


def _optimise(
    policy: Loaded,
    reference: Loaded,
    reward: Reward,
    prompts: list[Any],
    settings: GrpoSpec,
    track: Track,
) -> tuple[list[Figures], list[dict[str, Any]], int, str]:
    """Leaves the kept weights in `policy`.

    Returns the curve, what was said at each point of it, how many updates are in the weights, why it ended.
    """
    random = np.random.default_rng(settings.seed)
    sampler = Sampler(policy)
    calls = CallFinder(policy.tokenizer)
    stepper = Stepper(
        [(settings.rate, policy.model.parameters())],
        steps=settings.iterations * settings.minibatches * settings.epochs,
        warmup=settings.warmup,
    )
    curve: list[Figures] = []
    said: list[dict[str, Any]] = []
    kept, good = 0, _weights(policy)
    for iteration in range(settings.iterations + 1):  # the last round only looks
        chosen = [prompts[i] for i in random.integers(len(prompts), size=settings.batch)]
        seed = int(random.integers(2**31))
        answers = sampler.sample(
            chosen,
            settings.group,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            seed=seed,
        )
        experience, figures = _judge(iteration, policy, reference, reward, calls, chosen, answers, settings)
        curve.append(figures)
        said += [
            {"iteration": iteration, "prompt": prompt, "answer": sample.text}
            for prompt, group in zip(chosen, answers, strict=True)
            for sample in group
        ]
        track(iteration, asdict(figures) | {"iterations": float(settings.iterations)})
        if settings.brake is not None and figures.kl > settings.brake:
            _restore(policy, good)
            return curve, said, kept, "brake"
        kept = iteration
        if iteration < settings.iterations:
            good = _weights(policy)
            _update(policy, experience, stepper, settings, random)
    return curve, said, kept, "done"


def _judge(
    iteration: int,
    policy: Loaded,
    reference: Loaded,
    reward: Reward,
    calls: CallFinder,
    prompts: list[Any],
    answers: list[list[Sample]],
    settings: GrpoSpec,
) -> tuple[Experience, Figures]:
    """Score the answers and turn the scores into advantages per token."""
    flat = [sample for group in answers for sample in group]
    repeated = [prompt for prompt, group in zip(prompts, answers, strict=True) for _ in group]
    scores = reward.score(repeated, [sample.text for sample in flat])
    cut = np.array([sample.finish_reason == "length" for sample in flat], dtype=np.float64)
    violation = scores.get("violation", np.zeros(len(flat)))
    total = scores["quality"] - settings.penalty * violation - settings.truncated * cut

    rows = lay_out(
        prompts_ids(policy.tokenizer, repeated), [s.token_ids for s in flat], device=settings.device
    )
    old_bt = _spread([sample.logprobs for sample in flat], rows)
    with torch.inference_mode(), autocast(settings.precision, settings.device) as lower:
        reference_bt = answer_logprobs(reference.model, rows, temperature=settings.temperature)
        if lower is not None:  # the sampler is more exact than the trainer: compare like with like
            old_bt = answer_logprobs(policy.model, rows, temperature=settings.temperature)
    advantages_bt = _credit(total, scores, [calls.length(s.token_ids) for s in flat], rows, settings)
    tokens = np.array([len(sample.token_ids) for sample in flat], dtype=np.float64)
    figures = Figures(
        iteration=iteration,
        reward=float(total.mean()),
        quality=float(scores["quality"].mean()),
        violation=float(violation.mean()),
        kl=float(kl_k3(old_bt, reference_bt, rows.answer_bt)),
        tokens=float(tokens.mean()),
        truncated=float(cut.mean()),
        silent_groups=float((advantages_bt == 0).view(len(prompts), -1).all(1).float().mean()),
        reward_length_correlation=_correlation(total, tokens),
    )
    return Experience(rows, old_bt.clone(), reference_bt.clone(), advantages_bt), figures


def _credit(
    total: Floats, scores: Mapping[str, Floats], calls: Sequence[int], rows: Rows, settings: GrpoSpec
) -> Tensor:
    """Advantages per token.

    The call is credited with what it adds, the prose with what is left: or a rude answer that happens to
    follow a right call would be praised for it.
    """
    device = rows.ids_bt.device
    action = scores.get("quality_action") if settings.split else None
    rest = total if action is None else total - action

    def relative(values: Floats) -> Tensor:
        rewards_pg = torch.from_numpy(values).float().view(-1, settings.group)
        return group_advantages(rewards_pg).flatten().to(device)

    advantages = relative(rest)
    call_advantages = advantages if action is None else settings.call_weight * relative(action)
    lengths = torch.tensor(calls, device=device)
    return split_credit(advantages, call_advantages, lengths, rows.answer_bt, rows.first())


def _update(
    policy: Loaded, experience: Experience, stepper: Stepper, settings: GrpoSpec, random: np.random.Generator
) -> None:
    """`epochs` passes over the answers that carry a signal, in `minibatches` steps each."""
    telling = (experience.advantages_bt != 0).any(1).nonzero()[:, 0]
    if len(telling) == 0:
        return
    parts = [
        part
        for _ in range(settings.epochs)
        for part in telling[torch.from_numpy(random.permutation(len(telling))).to(telling.device)].chunk(
            settings.minibatches
        )
    ]
    for part in parts:
        rows = _trimmed(experience.rows, part)
        width = rows.ids_bt.shape[1]
        old, reference, advantages = (
            tensor[part, :width]
            for tensor in (experience.old_logps_bt, experience.reference_bt, experience.advantages_bt)
        )
        with autocast(settings.precision, settings.device):
            logps = answer_logprobs(policy.model, rows, temperature=settings.temperature)
        if stepper.taken == 0 and float(((logps.detach() - old) * rows.answer_bt).abs().max()) > 1e-3:
            raise TrainingFailed("the ratio of the first step is not 1: the same weights gave other numbers")
        loss = clipped_policy_loss(logps, old, advantages, rows.answer_bt, clip=settings.clip)
        loss = loss + settings.kl * kl_k3(logps, reference, rows.answer_bt)
        stepper.step(loss)


def _trimmed(rows: Rows, part: Tensor) -> Rows:
    """Some of the rows, without columns that none of them fills."""
    width = int(rows.mask_bt[part].sum(1).max())
    return Rows(rows.ids_bt[part, :width], rows.mask_bt[part, :width], rows.answer_bt[part, :width])


def _spread(logps: Sequence[Sequence[float]], rows: Rows) -> Tensor:
    """Per-answer numbers at the places of the answer's tokens, bt."""
    flat = torch.tensor([value for row in logps for value in row], device=rows.ids_bt.device)
    return torch.zeros(rows.ids_bt.shape, device=flat.device).masked_scatter(rows.answer_bt, flat)


def _correlation(a: Floats, b: Floats) -> float:
    """Pearson's; 0 where one of the two does not vary."""
    if a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _weights(loaded: Loaded) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in loaded.model.state_dict().items()}


def _restore(loaded: Loaded, weights: Mapping[str, Tensor]) -> None:
    loaded.model.load_state_dict(weights)


def _resolve(path: str) -> Callable[[str], Reward]:
    """The function behind "package.module:name"."""
    module, found, name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module), name) if found else None
    except (ImportError, AttributeError) as error:
        raise Misconfigured(f"no reward at {path!r}: {error}") from error
    if not callable(function):
        raise Misconfigured(f"{path!r} is not a function: write it as package.module:function")
    result: Callable[[str], Reward] = function
    return result
