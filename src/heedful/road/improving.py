"""Stop 5: the policy learns, from what people showed it or from the judge.

What comes out of it goes through stop 6 at once: no weights are left without a name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from heedful.domain.content import Message
from heedful.domain.ids import AgentId, DatasetId, Digest, PolicyId, RewardModelId, TenantId
from heedful.domain.models import Policy, RewardModel, Standing
from heedful.domain.preference import Dataset
from heedful.engine.protocol import Progress
from heedful.errors import Conflict, InvalidInput
from heedful.preferences import freeze as freezing
from heedful.road.fitting import why_refused
from heedful.road.parts import Parts
from heedful.road.records import get
from heedful.road.registering import register, validate
from heedful.road.steps import run_once, weights_of


def imitate(
    parts: Parts,
    tenant: TenantId,
    agent: AgentId,
    dataset: DatasetId,
    *,
    parent: PolicyId | None,
    once: str,
    overrides: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Policy:
    """A policy that answers as the demonstrations do, from its parent's weights or from nothing."""
    data = get(parts, Dataset, tenant, dataset)
    if "demonstrations.train" not in data.files:
        raise InvalidInput(f"dataset {dataset!r} has no demonstrations to learn from", field="dataset")
    trees = {} if parent is None else {"model": weights_of(get(parts, Policy, tenant, parent))}
    run = run_once(
        parts,
        "heedful.training.sft:run",
        lambda at: {
            **parts.learn.sft,
            **(overrides or {}),
            "demonstrations": at["demonstrations.train"],
            **({"model": at["model"]} if trees else {}),
            "seed": parts.learn.seed,
        },
        tenant=tenant,
        once=once,
        files={"demonstrations.train": data.files["demonstrations.train"]},
        trees=trees,
        progress=progress,
    )
    return register(parts, tenant, agent, run, parent=parent, reward=None, datasets=(dataset,))


def improve(
    parts: Parts,
    tenant: TenantId,
    policy: PolicyId,
    reward: RewardModelId,
    prompts: Sequence[Sequence[Message]],
    *,
    once: str,
    progress: Progress | None = None,
) -> Policy:
    """The policy practises on prompts that people sent, and the reward model says how well it did."""
    start = get(parts, Policy, tenant, policy)
    judge = get(parts, RewardModel, tenant, reward)
    if judge.standing is Standing.REFUSED:
        raise Conflict(f"reward model {reward!r} may not teach: {why_refused(parts, judge)}")
    train, held_out = _practice(parts, prompts)
    run = run_once(
        parts,
        f"heedful.training.{parts.learn.algorithm}:run",
        lambda at: {
            **parts.learn.practice,
            "model": at["model"],
            "reward": "heedful.rewards.loading:load",
            "reward_model": at["reward"],
            "prompts": at["prompts"],
            "seed": parts.learn.seed,
        },
        tenant=tenant,
        once=once,
        files={"prompts": train},
        trees={"model": weights_of(start), "reward": judge.digest},
        progress=progress,
    )
    tuned = register(parts, tenant, start.agent, run, parent=policy, reward=reward, datasets=(judge.dataset,))
    return validate(parts, tenant, tuned.id, prompts=held_out, once=f"{once}/validate")


def _practice(parts: Parts, prompts: Sequence[Sequence[Message]]) -> tuple[Digest, Digest]:
    """Prompts to practise on and prompts to be tested on, as JSON lines in the blobs; none is in both."""
    sides: dict[str, list[str]] = {"train": [], "holdout": []}
    for prompt in prompts:
        line = json.dumps({"prompt": [{"role": message.role, "content": message.text} for message in prompt]})
        sides[freezing.split_of(prompt, holdout=parts.datasets.holdout)].append(line)
    if not all(sides.values()):
        counts = {side: len(lines) for side, lines in sides.items()}
        raise Conflict(f"{len(prompts)} prompts make {counts}: both sides need some; let the fleet work more")
    train, held_out = (
        Digest(parts.blobs.put_bytes("".join(f"{line}\n" for line in sides[side]).encode())) for side in sides
    )
    return train, held_out
