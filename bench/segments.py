"""Segments with a taste of their own: is a judge that leans towards each ever worse than the shared one?

Seven segments bring fifty pairs each to a crowd's fifteen hundred. Four of them want a little that the crowd does
not (regret, brevity, store credit, no greeting), one wants the opposite of all, two want what all want. One reward
model is fitted to all pairs; then its accuracy on fresh pairs of each segment is taken with the segment named and
without. `difference` is the mean over segments, with an interval over seeds' segments; `tasteless` is the same in a
world where nobody differs.

What was found: the opposite is heard, the small tastes are not. A tiny model's states behind call and answer hardly
say whether regret was expressed or how long the answer was: not even a hundred and fifty fresh pairs made a leaning
that helped there, so none is given, and nobody is worse off.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from ensemble import first_policy
from heedful.lm.records import write_records
from heedful.rewards import fit
from heedful.rewards.model import RewardModel
from heedful.rewards.model import load as load_reward
from heedful.simulation import gold
from heedful.simulation.replies import Reply, parse
from heedful.simulation.tickets import draw_ticket
from heedful.stats.intervals import cluster_bootstrap
from learning import different, row, sampled, silent

Record = dict[str, Any]
SLIP = 0.1  # share of choices that are the wrong way round
TASTES: Mapping[str, Callable[[Reply], float]] = {
    "gentle": lambda reply: 1.5 * bool(reply.count("sorry")),
    "brisk": lambda reply: -0.6 * len(reply.parts),
    "thrifty": lambda reply: 2.0 * (reply.action == "credit") - 1.0 * (reply.action == "refund"),
    "distant": lambda reply: -1.5 * bool(reply.count("greeting")),
    "contrary": lambda reply: 0.0,
    "like all": lambda reply: 0.0,
    "like all too": lambda reply: 0.0,
}


def worth(ticket: Any, text: str, segment: str | None, tastes: bool) -> float:
    own = TASTES[segment](parse(text)) if tastes and segment else 0.0
    sign = -1.0 if tastes and segment == "contrary" else 1.0
    return sign * gold.utility(ticket, text) + own


def compared(
    first: str, random: Random, count: int, segment: str | None, tastes: bool, slip: float
) -> list[Record]:
    """Pairs of the first policy's answers as these people would have it."""
    tickets = [draw_ticket(random) for _ in range(count)]
    groups = sampled(first, tickets, 4, random.randrange(2**31))
    found = []
    for ticket, texts in zip(tickets, groups, strict=True):
        pair = different(texts, random) if random.random() < 0.5 else (texts[0], texts[1])
        if pair is None:
            continue
        a, b = (worth(ticket, text, segment, tastes) for text in pair)
        if abs(a - b) < 0.1:
            continue
        chosen, rejected = pair if (a > b) != (random.random() < slip) else pair[::-1]
        found.append(
            row(ticket, chosen=chosen, rejected=rejected) | ({"segment": segment} if segment else {})
        )
    return found


def right(model: RewardModel, pairs: list[Record], *, named: bool) -> list[float]:
    prompts = [pair["prompt"] for pair in pairs]
    columns = {"segment": [pair["segment"] for pair in pairs]} if named else None
    better, worse = (
        model.score(prompts, [pair[side] for pair in pairs], columns=columns)["quality"]
        for side in ("chosen", "rejected")
    )
    return [float(one) for one in (better > worse) + 0.5 * (better == worse)]


def trial(first: str, work: Path, seed: int, args: argparse.Namespace, *, tastes: bool) -> Record:
    random = Random(500 + seed)
    pairs = compared(first, random, args.pairs, None, tastes, SLIP)
    for segment in TASTES:
        found: list[Record] = []
        while len(found) < args.own:
            found += compared(first, random, args.own, segment, tastes, SLIP)
        pairs += found[: args.own]
    random.shuffle(pairs)
    work.mkdir()
    write_records(work / "pairs.jsonl", pairs)
    done = fit.run(
        {"model": first, "preferences": str(work / "pairs.jsonl"), "seed": seed, "held_out": 0.0},
        work / "fit",
        silent,
    )
    model = load_reward(done["reward"])
    result: Record = {"leaning": model.leanings is not None, "segments": {}}
    for segment in TASTES:
        fresh = compared(first, random, args.held_out, segment, tastes, 0.0)
        shared, own = (right(model, fresh, named=named) for named in (False, True))
        result["segments"][segment] = {"pairs": len(fresh), "shared": np.mean(shared), "own": np.mean(own)}
    return result


def difference(results: list[Record], kind: str) -> Record:
    gaps, seeds = [], []
    for result in results:
        for figures in result[kind]["segments"].values():
            gaps.append(float(figures["own"] - figures["shared"]))
            seeds.append(result["seed"])
    found = cluster_bootstrap(gaps, list(range(len(gaps))), random=np.random.default_rng(0))
    return {"mean": round(found.estimate, 4), "low": round(found.lower, 4), "high": round(found.upper, 4)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="the first seed alone")
    parser.add_argument("--demonstrations", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=400, help="of the first policy")
    parser.add_argument("--pairs", type=int, default=1500, help="of the crowd")
    parser.add_argument("--own", type=int, default=50, help="pairs of each segment")
    parser.add_argument("--held-out", type=int, default=300, help="fresh tickets of each segment")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for seed in args.seeds[:1] if args.quick else args.seeds:
        start = time.process_time()
        with tempfile.TemporaryDirectory() as temporary:
            work = Path(temporary)
            for part in ("base", "sft"):
                (work / part).mkdir()
            first = first_policy(seed, work, Random(seed), None, args)
            result: Record = {"seed": seed}
            result["tastes"] = trial(first, work / "tastes", seed, args, tastes=True)
            result["tasteless"] = trial(first, work / "tasteless", seed, args, tastes=False)
        results.append(result | {"cpu_seconds": round(time.process_time() - start)})
        print(json.dumps(results[-1], default=float), flush=True)
    found = {kind: difference(results, kind) for kind in ("tastes", "tasteless")}
    by_segment = {
        segment: {
            name: round(float(np.mean([one["tastes"]["segments"][segment][name] for one in results])), 3)
            for name in ("shared", "own")
        }
        for segment in TASTES
    }
    worst = min(figures["own"] - figures["shared"] for figures in by_segment.values())
    summary = {
        "difference": found["tastes"]["mean"],
        "difference_low": found["tastes"]["low"],
        "tasteless_difference": found["tasteless"]["mean"],
        "tasteless_low": found["tasteless"]["low"],
        "worst_segment": round(worst, 3),
        "segments": by_segment,
        "own_pairs": args.own,
        "n": len(results),
        "seeds": [result["seed"] for result in results],
        "ok": found["tastes"]["mean"] >= 0 and worst >= -0.01 and found["tasteless"]["mean"] >= -0.002,
    }
    print("RESULT " + json.dumps(summary))
    return 0 if summary["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
