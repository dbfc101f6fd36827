"""Let a policy and its parent answer the same held-out prompts, and let the reward model compare.

A task for the engine: it loads weights, so it runs in a child process. The reward model is the one that
trained the policy, so its opinion is flattering; what this gate catches is a policy that even its teacher
dislikes, or that breaks rules more often than before. What people think of it, only the release can tell.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from heedful.dotted import resolve


class OfflineSpec(BaseModel):
    """Two policies, a judge, and prompts that neither has trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    policy: Path
    """Directory of the new policy."""

    parent: Path
    """Directory of the policy that it grew from."""

    reward: str
    """Dotted path of the function that loads a judge from a directory."""

    reward_model: Path
    """The judge's directory."""

    prompts: Path
    """JSON lines with a `prompt` each."""

    limit: int = Field(300, ge=1)
    """Prompts used at most."""

    max_tokens: int = Field(64, ge=1)
    """Longest answer."""

    threads: int = Field(1, ge=1)
    """Threads of this process."""

    seed: int = 0
    """For sampling."""


def run(
    spec: dict[str, Any], work: Path, track: Callable[[int, Mapping[str, float]], None]
) -> dict[str, Any]:
    import torch

    from heedful.lm.decode import Sampler
    from heedful.lm.load import load

    asked = OfflineSpec.model_validate(spec)
    torch.set_num_threads(asked.threads)
    with asked.prompts.open() as file:
        prompts = [json.loads(line)["prompt"] for line in file][: asked.limit]
    judge = resolve(asked.reward, "reward")(asked.reward_model)
    scores = {}
    for step, side in enumerate(("parent", "policy")):
        sampler = Sampler(load(str(getattr(asked, side))))
        answers = [
            one[0].text for one in sampler.sample(prompts, 1, max_tokens=asked.max_tokens, seed=asked.seed)
        ]
        scores[side] = judge.score(prompts, answers)
        track(step, {f"quality_{side}": float(scores[side]["quality"].mean())})
    violations = {  # of a judge that was never shown any there are none, and the gate that asks for them says so
        name: float((scores[side]["violation"] > 0.5).mean())
        for name, side in (("violations", "policy"), ("violations_parent", "parent"))
        if "violation" in scores[side]
    }
    difference = scores["policy"]["quality"] - scores["parent"]["quality"]
    return {
        "win_rate": float(((difference > 0) + 0.5 * (difference == 0)).mean()),
        "quality": float(scores["policy"]["quality"].mean()),
        "quality_parent": float(scores["parent"]["quality"].mean()),
        **violations,
        "prompts": len(prompts),
    }
