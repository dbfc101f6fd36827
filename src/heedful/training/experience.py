"""What a policy says on an iteration's prompts, and what each token of it is credited with.

Answers are drawn, a reward judges them, and its scores become credits: of an answer against the others to the same
prompt, of its call by what the call adds. A violation has a price of its own, which is never measured within a group:
of answers that are all unsafe none would be better than the others.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
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
from heedful.training.losses import group_advantages, kl_k3, split_credit

Floats = NDArray[np.float64]
# what is optimised, of what a reward says
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
class Experience:
    """Answers of one iteration, p prompts times g answers; per prompt: its tree, and per token of its answers how
    likely it was, how likely it is to the reference, and what it is credited with."""

    trees: list[Tree]
    old: list[Tensor]
    reference: list[Tensor]
    advantages: list[Tensor]
    violation_a: Tensor  # of each answer

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
    price: float  # of a certain violation
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


def judge(
    iteration: int,
    policy: Loaded,
    reference: Loaded,
    reward: Reward,
    finder: CallFinder,
    rows: list[dict[str, Any]],
    answers: list[list[Sample]],
    settings: RolloutSettings,
    price: float | None = None,
) -> tuple[Experience, Figures]:
    """Score the answers and turn the scores into advantages per token; `price` is a violation's where that is found
    while training."""
    flat = [sample for group in answers for sample in group]
    scores = _scores(reward, [row for row, group in zip(rows, answers, strict=True) for _ in group], flat)
    known = scores.get("unscored", np.zeros(len(flat))) == 0
    if not known.any():
        raise TrainingFailed(f"the reward had nothing to say about any answer of iteration {iteration}")
    cut = np.array([sample.finish_reason == "length" for sample in flat], dtype=np.float64)
    violation = scores.get("violation", np.zeros(len(flat)))
    doubted = settings.pessimism * scores.get("spread", np.zeros(len(flat)))
    liked = scores["quality"] - doubted - settings.truncated * cut
    total = liked - (settings.penalty if price is None else price) * violation
    if not np.isfinite(total[known]).all():
        raise TrainingFailed(f"the reward of iteration {iteration} is no finite number for every answer")
    prompts = [row["prompt"] for row in rows]
    trees = [
        Tree(prompt, [sample.token_ids for sample in group])
        for prompt, group in zip(prompts_ids(policy.tokenizer, prompts), answers, strict=True)
    ]
    calls = torch.tensor([finder.length(sample.token_ids) for sample in flat])
    call, rest = _advantages(total if price is None else liked, known, scores, settings)
    if price is not None:
        rest = _constrained(rest, torch.from_numpy(np.where(known, violation, np.nan)).float(), price)
    experience = Experience([], [], [], [], torch.from_numpy(np.nan_to_num(violation)).float())
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
        price=settings.penalty if price is None else price,
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
    policy: Loaded, reference: Loaded, packed: Packed, samples: Sequence[Sample], settings: RolloutSettings
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
    total: Floats, known: NDArray[np.bool_], scores: Mapping[str, Floats], settings: RolloutSettings
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


def _constrained(advantages_a: Tensor, violation_a: Tensor, price: float) -> Tensor:
    """Against all answers of the batch, and divided by what the price adds, so that a high one makes no long step
    (Dai et al. 2023, "Safe RLHF", equation 13)."""
    cost_a = (violation_a - violation_a.nanmean()).nan_to_num()
    return (advantages_a - price * cost_a) / (1.0 + price)


def _correlation(a: Floats, b: Floats) -> float:
    """Pearson's; 0 where one of the two does not vary."""
    if a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
