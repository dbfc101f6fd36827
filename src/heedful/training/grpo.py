"""Optimise a policy against a reward, with a brake.

A task: `run(spec, work, track)`. Group-relative policy optimisation: n answers per prompt, each judged
against the others. What the reward model says is a stand-in for what people want, and the further the
policy moves the less it is worth; so the run stops at a distance from the start (measured best brake with
no labels at all), keeps the last weights within it, and leaves its whole curve behind to be looked at.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from heedful.dotted import resolve
from heedful.errors import InvalidInput, TrainingFailed
from heedful.lm.chat import prompts_ids
from heedful.lm.columns import prompts as practice
from heedful.lm.decode import Sample, Sampler
from heedful.lm.heads import CallFinder
from heedful.lm.layout import Packed, Tree, micro_batches, pack
from heedful.lm.load import Loaded, load, save
from heedful.lm.logprobs import answer_logprobs
from heedful.lm.optim import Precision, Stepper, autocast
from heedful.lm.records import write_records
from heedful.training.losses import clipped_policy_loss, group_advantages, kl_k3, split_credit

Track = Callable[[int, Mapping[str, float]], None]
Floats = NDArray[np.float64]
READ = ("quality", "quality_action", "violation", "unscored")  # what is optimised, of what a reward says


class Reward(Protocol):
    """Judges answers. `quality` is needed; `quality_action` and `violation` are used when they are there.

    Where `unscored` is not 0 it has nothing to say about the quality: that answer teaches nothing, and none is
    measured against it. Means of other names are told with the figures; NaN there is nothing to say. One whose
    `score` has a parameter `columns` is also given what the prompts' rows hold beside the prompt, each a list by
    name, and the answers' tokens as `completion_ids`.
    """

    def score(self, prompts: Sequence[Any], answers: Sequence[str]) -> Mapping[str, Floats]: ...


class GrpoSpec(BaseModel):
    """Which policy, on which prompts, for which reward, how far."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: str
    """Directory or hub name of the policy to start from; also the reference that it is held to."""

    prompts: Path
    """JSONL of {"prompt"}; what else a row holds, a reward is given that asks for `columns`."""

    reward: str = "heedful.rewards.loading:load"
    """Dotted path of a function that takes `reward_model` and returns a Reward; of programs mixed with models:
    heedful.rewards.mixture:load."""

    reward_model: str
    """What that function is given: usually the directory of a reward model, or a mixture's file."""

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

    micro_tokens: int = Field(8192, ge=1)
    """Tokens that are computed at once; a step with more is cut into parts."""

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
    """Answers of one iteration, p prompts times g answers; per prompt: its tree, and per token of its answers how
    likely it was, how likely it is to the reference, and what it is credited with."""

    trees: list[Tree]
    old: list[Tensor]
    reference: list[Tensor]
    advantages: list[Tensor]

    def add(self, trees: Sequence[Tree], old_m: Tensor, reference_m: Tensor, advantages_m: Tensor) -> None:
        sizes = [sum(map(len, tree.answers)) for tree in trees]
        self.trees.extend(trees)
        for kept, values in (
            (self.old, old_m),
            (self.reference, reference_m),
            (self.advantages, advantages_m),
        ):
            kept.extend(values.split(sizes))


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
    unscored: float  # share of answers about which the reward had nothing to say; not in the means above
    reward_length_correlation: float
    told: dict[str, float]  # means of what else the reward said, by name

    def row(self) -> dict[str, Any]:
        """Flat, for people and plots."""
        row = asdict(self)
        return row | {f"reward/{name}": value for name, value in row.pop("told").items()}


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
    curve, said, kept, stopped = _optimise(policy, reference, reward, rows, settings, track)
    save(policy, work / "model")
    write_records(work / "curve.jsonl", (figures.row() for figures in curve))
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
    rows: list[dict[str, Any]],
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
        chosen = [rows[i] for i in random.integers(len(rows), size=settings.batch)]
        seed = int(random.integers(2**31))
        answers = sampler.sample(
            [row["prompt"] for row in chosen],
            settings.group,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            seed=seed,
        )
        experience, figures = _judge(iteration, policy, reference, reward, calls, chosen, answers, settings)
        curve.append(figures)
        said += [
            {"iteration": iteration, "prompt": row["prompt"], "answer": sample.text}
            for row, group in zip(chosen, answers, strict=True)
            for sample in group
        ]
        track(iteration, figures.row() | {"iterations": float(settings.iterations)})
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
    finder: CallFinder,
    rows: list[dict[str, Any]],
    answers: list[list[Sample]],
    settings: GrpoSpec,
) -> tuple[Experience, Figures]:
    """Score the answers and turn the scores into advantages per token."""
    flat = [sample for group in answers for sample in group]
    scores = _scores(reward, [row for row, group in zip(rows, answers, strict=True) for _ in group], flat)
    known = scores.get("unscored", np.zeros(len(flat))) == 0
    if not known.any():
        raise TrainingFailed(f"the reward had nothing to say about any answer of iteration {iteration}")
    cut = np.array([sample.finish_reason == "length" for sample in flat], dtype=np.float64)
    violation = scores.get("violation", np.zeros(len(flat)))
    total = scores["quality"] - settings.penalty * violation - settings.truncated * cut
    if not np.isfinite(total[known]).all():
        raise TrainingFailed(f"the reward of iteration {iteration} is no finite number for every answer")
    prompts = [row["prompt"] for row in rows]
    trees = [
        Tree(prompt, [sample.token_ids for sample in group])
        for prompt, group in zip(prompts_ids(policy.tokenizer, prompts), answers, strict=True)
    ]
    calls = torch.tensor([finder.length(sample.token_ids) for sample in flat])
    call, rest = _advantages(total, known, scores, settings)
    experience = Experience([], [], [], [])
    done = 0
    for some in micro_batches([len(tree) for tree in trees], settings.micro_tokens):
        part = [trees[one] for one in some]
        packed = pack(part).to(settings.device)
        here = slice(done, done + packed.answers)
        done = here.stop
        old_m, reference_m = _likelihoods(policy, reference, packed, flat[here], settings)
        rest_a, call_a, calls_a = (one[here].to(settings.device) for one in (rest, call, calls))
        credit_m = split_credit(rest_a, call_a, calls_a, packed)
        experience.add(part, old_m, reference_m, credit_m)
    old_m, reference_m = torch.cat(experience.old), torch.cat(experience.reference)
    tokens = np.array([len(sample.token_ids) for sample in flat], dtype=np.float64)
    figures = Figures(
        iteration=iteration,
        reward=float(total[known].mean()),
        quality=float(scores["quality"][known].mean()),
        violation=float(violation.mean()),
        kl=float(kl_k3(old_m, reference_m)) / len(flat),
        tokens=float(tokens.mean()),
        truncated=float(cut.mean()),
        silent_groups=float(np.mean([not bool(one.any()) for one in experience.advantages])),
        unscored=float(1 - known.mean()),
        reward_length_correlation=_correlation(total[known], tokens[known]),
        told={
            name: float(np.nanmean(values))
            for name, values in scores.items()
            if name not in READ and not np.isnan(values).all()
        },
    )
    return experience, figures


def _scores(
    reward: Reward, rows: Sequence[dict[str, Any]], samples: Sequence[Sample]
) -> Mapping[str, Floats]:
    """What the reward says about each answer; `rows` has one for each of them."""
    prompts, answers = [row["prompt"] for row in rows], [sample.text for sample in samples]
    if "columns" not in inspect.signature(reward.score).parameters:
        return reward.score(prompts, answers)
    names = sorted({name for row in rows for name in row} - {"prompt"})
    columns: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in names}
    columns["completion_ids"] = [list(sample.token_ids) for sample in samples]
    asked: Any = reward  # the protocol says when it takes columns
    scores: Mapping[str, Floats] = asked.score(prompts, answers, columns=columns)
    return scores


def _likelihoods(
    policy: Loaded, reference: Loaded, packed: Packed, samples: Sequence[Sample], settings: GrpoSpec
) -> tuple[Tensor, Tensor]:
    """Of each token, to the policy that drew it and to the reference, m."""
    with torch.inference_mode(), autocast(settings.precision, settings.device) as lower:
        reference_m = answer_logprobs(reference.model, packed, temperature=settings.temperature)
        if lower is None:
            told = [value for sample in samples for value in sample.logprobs]
            return torch.tensor(told, device=settings.device), reference_m.clone()
        # The sampler is more exact than the trainer: compare like with like.
        old_m = answer_logprobs(policy.model, packed, temperature=settings.temperature)
    return old_m.clone(), reference_m.clone()


def _advantages(
    total: Floats, known: NDArray[np.bool_], scores: Mapping[str, Floats], settings: GrpoSpec
) -> tuple[Tensor, Tensor]:
    """Advantages of each answer's call and of the rest of it.

    The call is credited with what it adds, the prose with what is left: or a rude answer that happens to
    follow a right call would be praised for it.
    """
    action = scores.get("quality_action") if settings.split else None
    rest = total if action is None else total - action

    def relative(values: Floats) -> Tensor:
        values = np.where(known, values, np.nan)
        return group_advantages(torch.from_numpy(values).float().view(-1, settings.group)).flatten()

    advantages = relative(rest)
    return (advantages if action is None else settings.call_weight * relative(action)), advantages


def _update(
    policy: Loaded, experience: Experience, stepper: Stepper, settings: GrpoSpec, random: np.random.Generator
) -> None:
    """`epochs` passes over the groups that carry a signal, in `minibatches` steps each."""
    telling = [place for place, one in enumerate(experience.advantages) if bool(one.any())]
    for _ in range(settings.epochs if telling else 0):
        for part in np.array_split(random.permutation(telling), min(settings.minibatches, len(telling))):
            _step(policy, experience, stepper, settings, part.tolist())


def _step(
    policy: Loaded, experience: Experience, stepper: Stepper, settings: GrpoSpec, groups: list[int]
) -> None:
    answers = sum(len(experience.trees[one].answers) for one in groups)
    lengths = [len(experience.trees[one]) for one in groups]
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
        loss = clipped_policy_loss(logps, old, advantages, clip=settings.clip)
        ((loss + settings.kl * kl_k3(logps, reference)) / answers).backward()
    stepper.check(float(stepper.update()))


def _correlation(a: Floats, b: Floats) -> float:
    """Pearson's; 0 where one of the two does not vary."""
    if a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _weights(loaded: Loaded) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in loaded.model.state_dict().items()}


def _restore(loaded: Loaded, weights: Mapping[str, Tensor]) -> None:
    loaded.model.load_state_dict(weights)
