"""Whole steps of practising, GRPO's and PPO's: answers are sampled, judged, held against the reference, learned from.

One step is one iteration with one optimiser step over all of its answers. The reward is a trivial one and costs nothing
to speak of, and everything that could end the run early is off; what a step is looked at for stays on.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

GROUP = 8  # answers per prompt
REPLY = 96  # tokens of an answer: a random model seldom ends one
KL = 0.02
RATE = 1e-4


class Words:
    """How many different words an answer has, as a share of all that it could: no answer is judged to be odd."""

    def score(self, prompts: Sequence[Any], answers: Sequence[str]) -> Mapping[str, Any]:
        return {"quality": np.array([len(set(answer.split())) / REPLY for answer in answers])}


def words(_: str) -> Words:
    return Words()


def practised(
    task: str,
    made: Any,
    prompts: Sequence[str],
    *,
    batch: int,
    steps: int,
    warm: int,
    order: Path,
    **common: Any,
) -> dict[str, Any]:
    """What is measured of the steps behind the first `warm`; `order` gets the prompts as they were drawn."""
    from heedful.lm.decode import Sampler
    from heedful.lm.load import save
    from heedful.training import grpo, ppo

    marks: list[float] = []
    sampling: list[tuple[float, float]] = []  # when, and for how long
    Sampler.sample = _timed(Sampler.sample, sampling)  # type: ignore[method-assign]
    run = {"grpo": grpo.run, "ppo": ppo.run}[task]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        save(made, work / "start")
        (work / "prompts.jsonl").write_text("".join(json.dumps({"prompt": one}) + "\n" for one in prompts))
        spec = {
            "model": str(work / "start"),
            "prompts": str(work / "prompts.jsonl"),
            "reward": "_practice:words",
            "reward_model": "",
            "group": GROUP,
            "batch": batch // GROUP,
            "max_tokens": REPLY,
            "truncated": 0.0,
            "iterations": steps,
            "minibatches": 1,
            "epochs": 1,
            "rate": RATE,
            "warmup": 0,
            "kl": KL,
            "brake": None,
            "breadth": None,
        }
        # The figures of an iteration come between its answers and its update: from one to the next is a whole step.
        done = run(spec | common, work / "run", lambda *_: marks.append(time.perf_counter()))
        curve, answers = (
            [json.loads(line) for line in Path(done[one]).read_text().splitlines()]
            for one in ("curve", "answers")
        )
    if done["iterations"] != steps or done["left_out"]:
        raise RuntimeError(f"not the work that was asked for: {done}")
    drawn = [answers[place]["prompt"][0]["content"] for place in range(0, len(answers), GROUP)]
    order.write_text("".join(json.dumps({"prompt": one}) + "\n" for one in drawn))
    seconds, count = marks[-1] - marks[warm], steps - warm
    sampled = sum(spent for begun, spent in sampling if marks[warm] <= begun < marks[-1])
    completion = sum(row["tokens"] for row in curve[warm + 1 :]) / count
    prompt = sum(len(one.split()) for one in drawn[(warm + 1) * (batch // GROUP) :]) * GROUP / batch / count
    return {
        "samples_per_s": round(count * batch / seconds, 3),
        "tokens_per_s": round(count * batch * (prompt + completion) / seconds),
        "seconds_per_step": round(seconds / count, 3),
        "sampling_share": round(sampled / seconds, 3),
        "completion_tokens": round(completion, 2),
        "prompt_tokens": round(prompt, 2),
    }


def _timed(inner: Callable[..., Any], spent: list[tuple[float, float]]) -> Callable[..., Any]:
    def timed(*given: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        try:
            return inner(*given, **named)
        finally:
            spent.append((begun, time.perf_counter() - begun))

    return timed
