"""Runs that are killed at random moments and go on end with the very weights and figures of one that was not.

For each of SFT, reward, DPO, KTO, GRPO and PPO: one run left alone, then runs that are killed (`kill -9`, and once
more with SIGTERM) until one of them ends. Every child is a fork of this process, which has the libraries loaded
already, so that kills fall on training and not on imports. Weights and the figures of every step (`metrics.jsonl`;
of those that practise their curve, their steps and all that was said) are compared byte by byte.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heedful.lm.load import save
from heedful.lm.records import write_records
from heedful.lm.tiny import TinyShape, make_tiny
from heedful.rewards import fit
from heedful.rewards.sparse import fit as sparse
from heedful.training import dpo, grpo, kto, ppo, sft

WORDS = ("my", "order", "is", "late", "where", "parcel", "broke", "today", "help", "please")
ENDS = ("thank you.", "go away.", "give me your card.")
LONGEST = 300.0  # seconds for one task
SLOWEST_LEAVE = 10.0  # seconds from SIGTERM to the end of the process

Run = Callable[..., dict[str, Any]]
WEIGHTS = "model/model.safetensors"
LEARNED = (WEIGHTS, "metrics.jsonl")
PRACTISED = (WEIGHTS, "curve.jsonl", "steps.jsonl", "answers.jsonl", "audits.jsonl", "samples.jsonl")
PRACTICE = {
    "prompts": "rows.jsonl",
    "reward_model": "judge/reward",
    "iterations": 40,
    "group": 4,
    "max_tokens": 8,
    "epochs": 1,
    "brake": None,
    "constraint": {"bound": 0.2},
    "audit": {"auditor": "resume:people", "every": 3, "pairs": 8, "patience": 100, "brake": None},
}
TASKS: dict[str, tuple[Run, dict[str, Any], tuple[str, ...]]] = {
    "sft": (sft.run, {"demonstrations": "rows.jsonl", "steps": 400}, LEARNED),
    "reward": (
        fit.run,
        {"preferences": "rows.jsonl", "safety": "rows.jsonl", "epochs": 40},
        ("reward/backbone/model.safetensors", "metrics.jsonl"),
    ),
    "dpo": (dpo.run, {"preferences": "rows.jsonl", "epochs": 40}, LEARNED),
    "kto": (kto.run, {"thumbs": "rows.jsonl", "epochs": 40}, LEARNED),
    "grpo": (grpo.run, PRACTICE, PRACTISED),
    "ppo": (ppo.run, PRACTICE | {"kl_target": 0.5}, PRACTISED),
}


class Readers:
    """People who like long words."""

    def compare(self, prompts: Any, first: list[str], second: list[str], *, once: str) -> list[float | None]:
        longest = [[max(map(len, text.split()), default=0) for text in texts] for texts in (first, second)]
        return [0.5 if a == b else float(a > b) for a, b in zip(*longest, strict=True)]


def people(asked: str) -> Readers:
    return Readers()


def prepared(root: Path, seed: int) -> None:
    chance, rows = random.Random(seed), []
    for _ in range(80):
        good, bad, other = (
            f"[{chance.choice('ab')}] {' '.join(chance.choices(WORDS, k=4))} {e}" for e in ENDS
        )
        prompt = [{"role": "user", "content": " ".join(chance.choices(WORDS, k=chance.randint(1, 9)))}]
        up = chance.random() < 0.6
        row = {"prompt": prompt, "chosen": good, "rejected": bad, "answer": good if up else other}
        rows.append(row | {"up": up, "violation": int(not up), "weight": chance.choice((0.5, 1.0, 2.0))})
    write_records(root / "rows.jsonl", rows)
    texts = [str(row[name]) for row in rows for name in ("chosen", "rejected")] + [" ".join(WORDS)] * 20
    save(make_tiny(texts, shape=TinyShape(width=32, layers=2, heads=2, vocabulary=400)), root / "base")
    order = {name: str(root / "rows.jsonl") for name in ("preferences", "safety")}
    sparse.run(order, root / "judge", lambda step, figures: None)


def carry_out(root: Path, task: str, work: Path) -> None:
    run, wanted, _ = TASKS[task]
    files = ("rows.jsonl", "judge/reward")
    spec = {name: str(root / value) if value in files else value for name, value in wanted.items()}
    spec |= {"model": str(root / "base"), "rate": 1e-3, "batch": 8, "save_seconds": 0.02, "seed": 3}
    run(spec, work, lambda step, figures: None)


def started(root: Path, task: str, work: Path) -> Any:
    child = multiprocessing.get_context("fork").Process(target=carry_out, args=(root, task, work))
    child.start()
    return child


def trial(root: Path, task: str, how: signal.Signals, kills: int, chance: random.Random) -> dict[str, Any]:
    """Kill until there were enough kills, then let it end."""
    work, whole, done, slowest = root / f"{task}-{how.name}", root / f"{task}-whole", 0, 0.0
    begun = time.monotonic()
    if not whole.exists():
        started(root, task, whole).join()
    lost = 0
    while True:
        child = started(root, task, work)
        child.join(chance.uniform(0.02, 0.35) if done < kills else None)
        if not child.is_alive():
            if child.exitcode != 0:
                raise RuntimeError(f"{task} ended with code {child.exitcode}")
            if done >= kills or time.monotonic() - begun > LONGEST:
                break
            lost += 1  # it ended before its kill: once more from the start
            if not same(whole, work, task):
                break
            work = root / f"{task}-{how.name}-{lost}"
            continue
        os.kill(child.pid, how)
        asked = time.monotonic()
        child.join()
        slowest = max(slowest, time.monotonic() - asked)
        done += 1
    return {"kills": done, "bit_equal": same(whole, work, task), "slowest_leave_s": round(slowest, 2)}


def same(one: Path, other: Path, task: str) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in TASKS[task][2])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of each task and each signal")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    chosen = parser.parse_args()
    kills = 5 if chosen.quick else chosen.kills
    chance, found = random.Random(chosen.seed), {}
    with tempfile.TemporaryDirectory(prefix="heedful-resume-") as name:
        prepared(Path(name), chosen.seed)
        for task in chosen.tasks:
            for how in (signal.SIGKILL, signal.SIGTERM):
                found[f"{task}_{how.name.lower()}"] = one = trial(Path(name), task, how, kills, chance)
                print(task, how.name, one, flush=True)
    result = {
        "kills": sum(one["kills"] for one in found.values()),
        "bit_equal": all(one["bit_equal"] for one in found.values()),
        "slowest_leave_s": max(one["slowest_leave_s"] for one in found.values()),
        "least_kills": min(one["kills"] for one in found.values()),
        "tasks": found,
    }
    result["ok"] = (
        result["bit_equal"] and result["least_kills"] >= kills and result["slowest_leave_s"] <= SLOWEST_LEAVE
    )
    print(f"RESULT {json.dumps(result)}")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
