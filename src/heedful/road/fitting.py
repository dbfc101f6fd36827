"""Stop 4: the dataset becomes a judge."""

from __future__ import annotations

from dataclasses import replace

from heedful.domain.ids import DatasetId, PolicyId, TenantId
from heedful.domain.models import Policy, RewardModel, Standing
from heedful.domain.preference import Dataset
from heedful.engine.protocol import Progress
from heedful.errors import Conflict
from heedful.evaluation import gates
from heedful.registry import versions
from heedful.road.parts import Parts
from heedful.road.records import act, get
from heedful.road.steps import made_by, run_once, weights_of
from heedful.store.protocol import Batch

FIT_FROM = {  # files of a dataset -> what the fitting task calls them
    "preferences.train": "preferences",
    "preferences.holdout": "preferences_holdout",
    "labels.train": "safety",
    "labels.holdout": "safety_holdout",
}


def fit(
    parts: Parts,
    tenant: TenantId,
    dataset: DatasetId,
    backbone: PolicyId,
    *,
    once: str,
    progress: Progress | None = None,
) -> RewardModel:
    """A reward model with its report. One below its bounds is kept, marked refused, and teaches nobody."""
    data = get(parts, Dataset, tenant, dataset)
    base = get(parts, Policy, tenant, backbone)
    known_pairs = sum(rows for name, rows in data.rows.items() if name.startswith("preferences."))
    if known_pairs < parts.datasets.min_preferences or "preferences.train" not in data.files:
        raise Conflict(
            f"dataset {dataset!r} has {known_pairs} preferences: nothing is learned from fewer than "
            f"{parts.datasets.min_preferences} (datasets.min_preferences); let people judge more"
        )
    run = run_once(
        parts,
        "heedful.rewards.fit:run",
        lambda at: {
            **parts.learn.reward,
            **{field: at[name] for name, field in FIT_FROM.items() if name in at},
            "model": at["model"],
            "seed": parts.learn.seed,
        },
        tenant=tenant,
        once=once,
        files={name: digest for name, digest in data.files.items() if not name.startswith("demonstrations")},
        trees={"model": weights_of(base)},
        progress=progress,
    )
    known = made_by(parts, RewardModel, tenant, run.id)
    if known is not None:
        return known
    report = {name.removeprefix("report."): value for name, value in run.figures.items()}
    passed = all(finding.passed for finding in gates.of_reward(report, parts.gates))
    model = replace(
        versions.reward_model(
            run.outputs["reward"],
            tenant=tenant,
            version=versions.next_version(parts.store.find(RewardModel, tenant, limit=None)),
            at=parts.clock.now(),
            dataset=dataset,
            backbone=backbone,
            run=run.id,
            report=report,
            objectives=("quality", "safety") if "labels.train" in data.files else ("quality",),
        ),
        standing=Standing.VALIDATED if passed else Standing.REFUSED,
    )
    parts.store.commit(Batch(add=(model,), acts=(act(parts, tenant, "loop", "reward.fitted", model),)))
    return model


def why_refused(parts: Parts, judge: RewardModel) -> str:
    """Each bound that its report missed, with the value. Where the bounds have moved since, only that it was."""
    return gates.missed(gates.of_reward(judge.report, parts.gates)) or "it was refused when it was fitted"
