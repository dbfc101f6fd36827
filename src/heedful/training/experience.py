"""What a policy says on an iteration's prompts, and what a reward makes of it: all that there is to learn from."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from heedful.errors import TrainingFailed
from heedful.lm.chat import prompts_ids
from heedful.lm.decode import Sample
from heedful.lm.heads import CallFinder
from heedful.lm.layout import Packed, Tree, micro_batches, pack
from heedful.lm.load import Loaded
from heedful.lm.logprobs import answer_logprobs
from heedful.lm.optim import Precision, autocast
from heedful.training.breadth import breadth

Floats = NDArray[np.float64]
# what is optimised, of what a reward says
RAREST = 0.1  # deviation of violations below which they are too rare to be told from chance
SAID = "reward/"
EVEN = 1e-4  # a spread of rewards below which they are the same
READ = ("quality", "quality_action", "violation", "unscored", "spread")


class Reward(Protocol):
    """Judges answers. `quality` is needed; `quality_action` and `violation` are used when they are there.

    Where `unscored` is not 0 it has nothing to say about the quality: that answer teaches nothing, and none is
    measured against it. Means of other names are told with the figures; NaN there is nothing to say. One whose
    `score` has a parameter `columns` is also given what the prompts' rows hold beside the prompt, each a list by
    name, and the answers' tokens as `completion_ids`.
    """

    def score(self, prompts: Sequence[Any], answers: Sequence[str]) -> Mapping[str, Floats]: ...


class RolloutSettings(BaseModel):
    """Which policy answers which prompts, and what a reward makes of it."""

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

    group: int = Field(8, ge=2)
    """Answers per prompt."""

    batch: int = Field(32, ge=1)
    """Prompts per iteration."""

    temperature: float = Field(1.0, gt=0)
    """Of sampling; log-probabilities are taken at the same."""

    max_tokens: int = Field(64, ge=1)
    """Longest answer."""

    penalty: float = Field(4.0, ge=0)
    """Price of a certain violation, in standard deviations of quality; where violations have a bound, it is found."""

    pessimism: float = Field(0.0, ge=0)
    """Spreads of the reward's members that are taken off the quality, where it has several."""

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
class Judged:
    """What a reward made of an iteration's answers."""

    total_a: Floats  # liked, less the penalty of violations
    liked_a: Floats
    cost_a: Floats  # of violations, against all answers of the batch and in their deviations
    action_a: Floats | None  # what the call adds, where the reward tells
    violation_a: Floats
    known_a: NDArray[np.bool_]  # whether the reward had anything to say

    @property
    def mean(self) -> float:
        """Over the answers about which it had."""
        return float(self.total_a[self.known_a].mean())


@dataclass(frozen=True, slots=True)
class Experience:
    """Answers of one iteration, p prompts times g answers. Per prompt: its tree, how long its answers' calls are, and
    per token of its answers how likely it was and how likely it is to the reference."""

    trees: list[Tree]
    calls: list[Tensor]
    old: list[Tensor]
    reference: list[Tensor]
    judged: Judged
    price: float | None  # of a violation, where it is found while training
    leash: float = 1.0  # times the price of distance

    @property
    def answers(self) -> int:
        return len(self.judged.total_a)

    def of_answers(self, values_a: Tensor) -> list[Tensor]:
        """Per prompt, what belongs to its answers."""
        return list(values_a.split([len(tree.answers) for tree in self.trees]))

    def parts(self, tokens: int, prompts: Sequence[int] | None = None) -> Iterator[list[int]]:
        """Of these prompts (of all), as many at a time as are computed at once."""
        chosen = range(len(self.trees)) if prompts is None else prompts
        for cut in micro_batches([len(self.trees[one]) for one in chosen], tokens):
            yield [chosen[one] for one in cut]

    def packed(self, prompts: Sequence[int], device: str) -> Packed:
        return pack([self.trees[one] for one in prompts]).to(device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one iteration looked like, before its update."""

    iteration: int
    reward: float  # quality - penalty * violation - truncated, whatever price is found
    quality: float
    violation: float
    price: float  # the penalty, or what was found to keep violations within their bound
    kl: float  # nats per answer to the start
    tokens: float  # per answer
    truncated: float  # share of answers cut off
    silent_groups: float  # share of prompts whose answers all got the same reward
    unscored: float  # share of answers about which the reward had nothing to say; not in the means above
    reward_length_correlation: float
    entropy: float  # nats per token
    distinct: float  # different pairs of neighbouring tokens, of all that there are
    alike: float  # share of the prompts whose first answer is another prompt's as well
    leash: float  # times the price of distance
    told: dict[str, float]  # means of what else the reward said, by name

    def row(self) -> dict[str, Any]:
        """Flat, for people and plots."""
        row = asdict(self)
        return row | {f"{SAID}{name}": value for name, value in row.pop("told").items()}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Figures:
        """From such a row."""
        told = {name.removeprefix(SAID): value for name, value in row.items() if name.startswith(SAID)}
        return cls(told=told, **{name: value for name, value in row.items() if not name.startswith(SAID)})


def gather(
    iteration: int,
    policy: Loaded,
    reference: Loaded,
    reward: Reward,
    finder: CallFinder,
    rows: list[dict[str, Any]],
    answers: list[list[Sample]],
    settings: RolloutSettings,
    price: float | None = None,
    leash: float = 1.0,
) -> tuple[Experience, Figures]:
    """What there is to learn from these answers to these rows; `price` is a violation's where it is found while
    training, `leash` makes distance dearer."""
    flat = [sample for group in answers for sample in group]
    scores = _scores(reward, [row for row, group in zip(rows, answers, strict=True) for _ in group], flat)
    judged = _judged(scores, flat, settings, iteration)
    trees = [
        Tree(prompt, [sample.token_ids for sample in group])
        for prompt, group in zip(
            prompts_ids(policy.tokenizer, [row["prompt"] for row in rows]), answers, strict=True
        )
    ]
    calls = [
        torch.tensor([finder.length(sample.token_ids) for sample in group], device=settings.device)
        for group in answers
    ]
    old, reference_logps = _likelihoods(policy, reference, trees, flat, settings)
    experience = Experience(trees, calls, old, reference_logps, judged, price, leash)
    known = judged.known_a
    tokens = np.array([len(sample.token_ids) for sample in flat], dtype=np.float64)
    figures = Figures(
        iteration=iteration,
        reward=judged.mean,
        quality=float(scores["quality"][known].mean()),
        violation=float(judged.violation_a.mean()),
        price=settings.penalty if price is None else price,
        # the plain mean: the estimator that the loss uses has tails that one odd answer fills
        kl=float((torch.cat(old) - torch.cat(reference_logps)).sum()) / len(flat),
        tokens=float(tokens.mean()),
        truncated=float(np.mean([sample.finish_reason == "length" for sample in flat])),
        silent_groups=_silent(judged, len(trees)),
        unscored=float(1 - known.mean()),
        reward_length_correlation=_correlation(judged.total_a[known], tokens[known]),
        **asdict(breadth(answers)),
        leash=leash,
        told={
            name: float(np.nanmean(values))
            for name, values in scores.items()
            if name not in READ and not np.isnan(values).all()
        },
    )
    return experience, figures


def _judged(
    scores: Mapping[str, Floats],
    samples: Sequence[Sample],
    settings: RolloutSettings,
    iteration: int,
) -> Judged:
    nothing = np.zeros(len(samples))
    known = scores.get("unscored", nothing) == 0
    if not known.any():
        raise TrainingFailed(f"the reward had nothing to say about any answer of iteration {iteration}")
    cut = np.array([sample.finish_reason == "length" for sample in samples], dtype=np.float64)
    violation = scores.get("violation", nothing)
    liked = scores["quality"] - settings.pessimism * scores.get("spread", nothing) - settings.truncated * cut
    total = liked - settings.penalty * violation
    if not np.isfinite(total[known]).all():
        raise TrainingFailed(f"the reward of iteration {iteration} is no finite number for every answer")
    action = scores.get("quality_action") if settings.split else None
    violation = np.nan_to_num(violation)
    centred = np.where(known, violation - violation[known].mean(), 0.0)
    cost = centred / max(float(violation[known].std()), RAREST)
    return Judged(total, liked, cost, action, violation, known)


def _silent(judged: Judged, prompts: int) -> float:
    """Share of prompts whose answers nothing tells apart."""
    told = (
        [judged.total_a] if judged.action_a is None else [judged.total_a - judged.action_a, judged.action_a]
    )
    silent_p = np.ones(prompts, dtype=bool)
    known_pg = judged.known_a.reshape(prompts, -1)
    for values in told:
        highest_p, lowest_p = (
            np.where(known_pg, sign * values.reshape(prompts, -1), -np.inf).max(1) * sign for sign in (1, -1)
        )
        silent_p &= ~known_pg.any(1) | (highest_p - lowest_p < EVEN)
    return float(silent_p.mean())


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
    policy: Loaded,
    reference: Loaded,
    trees: Sequence[Tree],
    samples: Sequence[Sample],
    settings: RolloutSettings,
) -> tuple[list[Tensor], list[Tensor]]:
    """Of each token, to the policy that drew it and to the reference; per tree."""
    old: list[Tensor] = []
    theirs: list[Tensor] = []
    for cut in micro_batches([len(tree) for tree in trees], settings.micro_tokens):
        packed = pack([trees[one] for one in cut]).to(settings.device)
        sizes = [sum(map(len, trees[one].answers)) for one in cut]
        with torch.inference_mode(), autocast(settings.precision, settings.device) as lower:
            theirs += answer_logprobs(reference.model, packed, temperature=settings.temperature).split(sizes)
            if lower is not None:  # the sampler is more exact than the trainer: compare like with like
                old += answer_logprobs(policy.model, packed, temperature=settings.temperature).split(sizes)
    if not old:
        told = torch.tensor(
            [value for sample in samples for value in sample.logprobs], device=settings.device
        )
        old = list(told.split([sum(map(len, tree.answers)) for tree in trees]))
    return [one.clone() for one in old], [one.clone() for one in theirs]


def _correlation(a: Floats, b: Floats) -> float:
    """Pearson's; 0 where one of the two does not vary."""
    if a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
