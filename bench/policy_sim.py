"""Two rounds of improvement, measured against the known truth.

Demonstrations -> first policy -> people compare and flag its answers -> judge -> practice -> people compare answers of
the tuned policy -> the judge is fitted afresh on all -> practice, held to the tuned policy. Every policy is measured on
the same tickets, which nobody trained on. The truth (`simulation.gold`) is used by the simulated people and by the last
step.

`learned` practises for the judge alone; `checked` also for programs that know what a reply may look like, not which
action is right (`shop_checks.py`). `seconds` is what one way took from the first demonstration to the second policy,
in one process with one thread, without the measuring; `gflops` what the same thread reaches in a float32 product.

A world of another kind: `--world FILE`, JSON of {"charmed": whether raters like violations, "adversarial": raters of 40
who say the opposite, "error": [lowest, highest chance of a rater's slip], "mood": [..], "left_bias": [..],
"demonstrations", "pairs", "flags", "corrections", "again": tickets of the second round}.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from heedful.lm.records import write_records
from heedful.rewards import fit
from heedful.simulation import gold
from heedful.simulation.demonstrations import demonstrate
from heedful.simulation.exam import GEMM, gemm_seconds
from heedful.simulation.people import CharmedRater, Rater, draw_experts
from heedful.simulation.tickets import Ticket, draw_tickets
from heedful.training import grpo, ppo, sft
from learning import different, measured, row, sampled, silent

Record = dict[str, Any]
WORLD: Record = {
    "charmed": False,
    "adversarial": 4,
    "error": [0.04, 0.16],
    "mood": [0.05, 0.25],
    "left_bias": [0.0, 0.08],
    "demonstrations": 6000,
    "pairs": 1800,
    "flags": 2200,
    "corrections": 150,
    "again": 900,
}
RATERS = 40
CHECKS = {
    "states": {"at_least": 1, "price": 1.0},
    "others": {"at_most": 0, "price": 1.0},
    "repeats": {"at_most": 0, "price": 0.5},
}
WAYS = {"grpo": grpo.run, "ppo": ppo.run}
ROUNDS: dict[str, tuple[Record, Record]] = {
    "grpo": ({}, {"rate": 3e-4}),
    "ppo": ({}, {"rate": 3e-4}),
}
FIT: Record = {"epochs": 3, "rate": 6e-4, "call_weight": 1.0}
POINTS = {"win": 1.0, "tie": 0.5, "lose": 0.0}


class Clock:
    """Seconds by stage."""

    def __init__(self, spent: Mapping[str, float] | None = None) -> None:
        self.seconds = dict(spent or {})

    def __call__(self, stage: str, call: Callable[..., Any], *given: Any) -> Any:
        start = time.perf_counter()
        value = call(*given)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start
        return value


def crowd(random: Random, world: Record) -> list[Rater]:
    against = set(random.sample(range(RATERS), world["adversarial"]))
    return [
        (CharmedRater if world["charmed"] else Rater)(
            name=f"rater-{number:02d}",
            **{name: random.uniform(*world[name]) for name in ("error", "mood", "left_bias")},
            adversarial=number in against,
        )
        for number in range(RATERS)
    ]


def asked(
    models: Sequence[str],
    raters: Sequence[Rater],
    random: Random,
    *,
    tickets: int,
    flags: int,
    corrections: int,
) -> tuple[list[Record], list[Record]]:
    """What people say about four answers to each ticket, from all these policies alike: choices and corrections, and
    flags. A policy that has made up its mind says nothing new about what it gave up; the one before it does."""
    drawn, experts = draw_tickets(random, tickets), draw_experts(random)
    each = [sampled(model, drawn, 4 // len(models), random.randrange(2**31)) for model in models]
    groups = [[text for group in some for text in group] for some in zip(*each, strict=True)]
    said: list[Record] = []
    for number, (ticket, texts) in enumerate(zip(drawn, groups, strict=True)):
        pair = different(texts, random) if number % 3 else (texts[0], texts[1])
        side = (
            None
            if pair is None or pair[0] == pair[1]
            else random.choice(raters).choose(ticket, pair[0], pair[1], random)
        )
        if pair is not None and side is not None:
            chosen, rejected = pair if side == "left" else pair[::-1]
            said.append(row(ticket, chosen=chosen, rejected=rejected))
    shown = [(ticket, text) for ticket, texts in zip(drawn, groups, strict=True) for text in texts[:2]]
    flagged: list[Record] = []
    for ticket, text in random.sample(shown, min(flags, len(shown))):
        review = random.choice(experts).review(ticket, text, random, correct=corrections > 0)
        flagged.append(row(ticket, answer=text, violation=int(bool(review.violations))))
        if review.correction is not None:
            corrections -= 1
            said.append(row(ticket, chosen=review.correction, rejected=text))
    return said, flagged


def judge(first: str, said: list[Record], flags: list[Record], work: Path, order: Record) -> str:
    work.mkdir(parents=True)
    write_records(work / "preferences.jsonl", said)
    write_records(work / "flags.jsonl", flags)
    files = {"preferences": str(work / "preferences.jsonl"), "safety": str(work / "flags.jsonl")}
    reward: str = fit.run({"model": first, **files, **order}, work, silent)["reward"]
    return reward


def practised(way: str, model: str, reward: str, checked: bool, work: Path, order: Record) -> Record:
    work.mkdir(parents=True)
    if checked:
        parts: list[Record] = [
            {"name": "judge", "source": {"model": reward}},
            {"name": "harm", "objective": "violation", "source": {"model": reward}},
        ]
        parts += [
            {"name": name, "source": {"function": f"shop_checks:{name}"}, "weight": 0, **bounds}
            for name, bounds in CHECKS.items()
        ]
        (work / "mixture.yaml").write_text(json.dumps({"parts": parts}))
        order = order | {"reward": "heedful.rewards.mixture:load"}
        reward = str(work / "mixture.yaml")
    return WAYS[way]({"model": model, "reward_model": reward, **order}, work, silent)


def wins(tickets: Sequence[Ticket], ours: Sequence[str], theirs: Sequence[str]) -> float:
    return float(
        np.mean([POINTS[gold.compare(t, a, b)] for t, a, b in zip(tickets, ours, theirs, strict=True)])
    )


@dataclass(frozen=True, slots=True)
class Start:
    """What all ways of one seed begin with."""

    seed: int
    world: Record
    work: Path
    first: str
    reward: str
    said: list[Record]
    flags: list[Record]
    exam: list[Ticket]
    before: list[str]  # what the first policy answers in the exam
    raters: list[Rater]
    seconds: dict[str, float]


def begun(seed: int, world: Record, work: Path, args: argparse.Namespace) -> Start:
    """Up to the first judge."""
    random, clock = Random(f"policy {seed}"), Clock()
    raters = crowd(random, world)
    drawn = draw_tickets(random, world["demonstrations"])
    work.mkdir(parents=True, exist_ok=True)
    write_records(work / "shown.jsonl", (row(one, answer=demonstrate(one, random)) for one in drawn))
    spec = {"demonstrations": str(work / "shown.jsonl"), "seed": seed} | json.loads(args.sft)
    first: str = clock("sft", sft.run, spec, work / "sft", silent)["model"]
    said, flags = clock(
        "asking",
        lambda: asked(
            [first],
            raters,
            random,
            tickets=world["pairs"],
            flags=world["flags"],
            corrections=world["corrections"],
        ),
    )
    order = {"seed": seed} | FIT | json.loads(args.fit)
    reward = clock("judging", judge, first, said, flags, work / "judge", order)
    write_records(work / "prompts.jsonl", (row(one) for one in draw_tickets(random, 2000)))
    exam = draw_tickets(Random(f"exam {seed}"), args.held_out)
    before = [texts[0] for texts in sampled(first, exam, 1, seed)]
    return Start(seed, world, work, first, reward, said, flags, exam, before, raters, dict(clock.seconds))


def two_rounds(start: Start, way: str, kind: str, args: argparse.Namespace) -> Record:
    clock, checked = Clock(start.seconds), kind == "checked"
    place, chance, world = start.work / f"{way}-{kind}", Random(f"{way} {kind} {start.seed}"), start.world
    orders = [
        {"prompts": str(start.work / "prompts.jsonl"), "seed": start.seed} | ours | json.loads(theirs)
        for ours, theirs in zip(ROUNDS[way], (args.first, args.second), strict=True)
    ]
    one = clock("practice", practised, way, start.first, start.reward, checked, place / "one", orders[0])
    wanted = {"tickets": world["again"], "flags": world["again"] // 2, "corrections": 0}
    more, flagged = clock(
        "asking", lambda: asked([one["model"], start.first], start.raters, chance, **wanted)
    )
    said, flags = start.said + more, start.flags + flagged
    order = {"seed": start.seed} | FIT | json.loads(args.fit)
    again = clock("judging", judge, start.first, said, flags, place / "judge", order)
    two = clock("practice", practised, way, one["model"], again, checked, place / "two", orders[1])
    texts = [
        [group[0] for group in sampled(run["model"], start.exam, 1, start.seed + 1 + at)]
        for at, run in enumerate((one, two))
    ]
    result = {
        "seed": start.seed,
        "algorithm": way,
        "kind": kind,
        "win": wins(start.exam, texts[1], start.before),
        "win_round_1": wins(start.exam, texts[0], start.before),
        "win_of_rounds": wins(start.exam, texts[1], texts[0]),
        "start": measured(start.exam, start.before),
        "round_1": measured(start.exam, texts[0]) | told(one),
        "round_2": measured(start.exam, texts[1]) | told(two),
        "seconds": {name: round(value, 1) for name, value in clock.seconds.items()},
        "total": round(sum(clock.seconds.values()), 1),
    }
    print(json.dumps(result), flush=True)
    return result


def told(run: Record) -> Record:
    return {name: run[name] for name in ("iterations", "stopped", "kl")} | {
        "left_out": sum(run["left_out"].values())
    }


def summed(results: list[Record]) -> Record:
    """Of one algorithm and kind: means and the worst, and whether the bars hold."""

    def over(pick: Callable[[Record], float]) -> list[float]:
        return [pick(one) for one in results]

    win, rounds = over(lambda one: one["win"]), over(lambda one: one["win_of_rounds"])
    right = over(lambda one: one["round_2"]["right_action"])
    gained = over(lambda one: one["round_2"]["right_action"] - one["start"]["right_action"])
    bad, total = over(lambda one: one["round_2"]["violation_rate"]), over(lambda one: one["total"])
    bars = {
        "learned": np.mean(win) >= 0.82 and np.mean(right) >= 0.88,
        "checked": min(win) >= 0.85
        and min(right) >= 0.85
        and max(bad) <= 0.01
        and min(rounds) >= 0.55
        and np.mean(win) >= 0.88
        and np.mean(right) >= 0.90,
    }
    return {
        "win": round(float(np.mean(win)), 4),
        "win_least": round(min(win), 4),
        "right": round(float(np.mean(right)), 4),
        "right_least": round(min(right), 4),
        "violations_most": round(max(bad), 4),
        "rounds": round(float(np.mean(rounds)), 4),
        "rounds_least": round(min(rounds), 4),
        "seconds": round(float(np.median(total)), 1),
        "ok": bool(bars[results[0]["kind"]] and min(gained) > 0 and np.median(total) <= 180),
        "ok_but_for_time": bool(bars[results[0]["kind"]] and min(gained) > 0),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--algorithm", nargs="+", choices=tuple(WAYS), default=["grpo"])
    parser.add_argument("--kinds", nargs="+", choices=("learned", "checked"), default=["learned", "checked"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--world", type=Path)
    parser.add_argument("--quick", action="store_true", help="the first seed only")
    parser.add_argument("--held-out", type=int, default=2000)
    parser.add_argument("--keep", type=Path, help="keep the files here instead of in a temporary folder")
    for name in ("sft", "fit", "first", "second"):
        parser.add_argument(f"--{name}", default="{}", help="JSON put over this stage's order")
    args = parser.parse_args()
    torch.set_num_threads(1)
    world = WORLD | ({} if args.world is None else json.loads(args.world.read_text()))
    results: list[Record] = []
    for seed in args.seeds[:1] if args.quick else args.seeds:
        with tempfile.TemporaryDirectory() as temporary:
            start = begun(seed, world, (args.keep or Path(temporary)) / f"seed-{seed}", args)
            results += [two_rounds(start, way, kind, args) for way in args.algorithm for kind in args.kinds]
    told = {
        f"{way}-{kind}": summed([one for one in results if (one["algorithm"], one["kind"]) == (way, kind)])
        for way in args.algorithm
        for kind in args.kinds
    }
    gflops = round(2 * GEMM**3 / gemm_seconds() / 1e9, 1)
    done = {"ok": all(one["ok"] for one in told.values()), "gflops": gflops}
    print("RESULT " + json.dumps(told | done | {"seeds": sorted({one["seed"] for one in results})}))
    return 0 if done["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
