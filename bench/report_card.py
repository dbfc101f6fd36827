"""Does the report card tell a judge that reads from one that likes length, and what does a second look cost?

Two reward models with the same backbone, settings and answers: one is fitted to what people chose, the other
to the longer answer of each pair. Both are examined on the same held-out choices of people. The card must pass
the first and refuse the second, by its bound on shorter answers and by a probe. The same card is made once
more with the scores kept: the model must not be asked again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import torch

from heedful.commands import examining
from heedful.lm.records import write_records
from heedful.rewards import fit
from heedful.rewards.model import RewardModel
from heedful.simulation.demonstrations import demonstrate
from heedful.simulation.people import draw_raters
from heedful.simulation.tickets import draw_tickets
from heedful.training import sft
from learning import Record, different, row, sampled, silent

APART = 5  # characters by which an answer is the longer one


def compared(first: str, random: Random, count: int) -> list[Record]:
    """What raters chose among answers of the first policy."""
    raters, tickets = draw_raters(random), draw_tickets(random, count)
    found = []
    for ticket, texts in zip(tickets, sampled(first, tickets, 4, random.randrange(2**31)), strict=True):
        pair = different(texts, random)
        side = random.choice(raters).choose(ticket, *pair, random) if pair else None
        if pair and side:
            chosen, rejected = pair if side == "left" else pair[::-1]
            found.append(row(ticket, chosen=chosen, rejected=rejected))
    return found


def longer(pairs: list[Record]) -> list[Record]:
    """The same answers, as somebody would choose who only looks at their length."""
    found = []
    for pair in pairs:
        short, long = sorted((pair["chosen"], pair["rejected"]), key=len)
        if len(long) - len(short) >= APART:
            found.append(pair | {"chosen": long, "rejected": short})
    return found


def examined(name: str, first: str, pairs: list[Record], held_out: Path, work: Path, seed: int) -> Record:
    """Fit, examine, and examine again with the scores kept."""
    (work / name).mkdir()
    write_records(work / name / "pairs.jsonl", pairs)
    spec: dict[str, Any] = {"model": first, "preferences": str(work / name / "pairs.jsonl"), "seed": seed}
    reward = fit.run(spec | {"preferences_holdout": str(held_out)}, work / name, silent)["reward"]
    order = {"model": reward, "data": held_out, "cache": work / name / "scores.db"}
    asked = 0
    honest = RewardModel.score

    def counted(self: RewardModel, prompts: Any, answers: Any, **rest: Any) -> Any:
        nonlocal asked
        scores = honest(self, prompts, answers, **rest)
        asked += len(answers)
        return scores

    RewardModel.score = counted  # type: ignore[method-assign]  # counts what was really scored
    try:
        started = time.perf_counter()
        card = examining.run(order)
        once, first_asked = time.perf_counter() - started, asked
        started = time.perf_counter()
        again = examining.run(order)
        twice, second_asked = time.perf_counter() - started, asked - first_asked
    finally:
        RewardModel.score = honest  # type: ignore[method-assign]
    quality = card["quality"]
    return {
        "passed": card["passed"],
        "failed": sorted(card["failed"]),
        "pairs": quality["pairs"],
        "accuracy": quality["accuracy"],
        "accuracy_low": quality["accuracy_low"],
        "shorter_won": quality["accuracy_when_shorter_won"],
        "padded_change": card["probes"]["padded"]["change"],
        "padded_flips": card["probes"]["padded"]["flips"],
        "same_again": again == card,
        "scored": first_asked,
        "scored_again": second_asked,
        "seconds": round(once, 2),
        "seconds_again": round(twice, 2),
    }


def one_seed(seed: int, args: argparse.Namespace, work: Path) -> Record:
    random = Random(seed)
    shown = [
        row(ticket, answer=demonstrate(ticket, random))
        for ticket in draw_tickets(random, args.demonstrations)
    ]
    write_records(work / "demonstrations.jsonl", shown)
    spec = {"demonstrations": str(work / "demonstrations.jsonl"), "seed": seed, "steps": args.steps}
    first = str(sft.run(spec, work / "sft", silent)["model"])
    pairs = compared(first, random, args.pairs)
    write_records(work / "held-out.jsonl", compared(first, random, args.held_out))
    judges = {"reads": pairs, "likes_length": longer(pairs)}
    return {
        "seed": seed,
        **{
            name: examined(name, first, own, work / "held-out.jsonl", work, seed)
            for name, own in judges.items()
        },
    }


def right(found: Record) -> bool:
    """The one passes, the other is refused for its length, and nothing is scored twice."""
    reads, likes = found["reads"], found["likes_length"]
    caught = "min_shorter_won" in likes["failed"] and any(
        one.startswith("probes.") for one in likes["failed"]
    )
    kept = all(one["same_again"] and one["scored_again"] == 0 for one in (reads, likes))
    return bool(reads["passed"] and caught and kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--demonstrations", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--pairs", type=int, default=2500)
    parser.add_argument("--held-out", type=int, default=500)
    parser.add_argument("--quick", action="store_true", help="the first seed, with less of everything")
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.steps, args.pairs, args.held_out = args.seeds[:1], 500, 1500, 300
    torch.set_num_threads(1)
    found = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as work:
            found.append(one_seed(seed, args, Path(work)))
        print(json.dumps(found[-1]), flush=True)
    print("RESULT " + json.dumps({"ok": all(map(right, found)), "seeds": found}))


if __name__ == "__main__":
    main()
