"""Does the sparse reward model know what real people prefer, and does it see through length?

Each debate (or, of a plain JSONL, each tenth of the prompts) is judged by a model that was fitted to all the others,
and held against two plain judges of the same pairs: a logistic regression on TF-IDF of words and pairs of words with
the text's length beside it, and the longer text. `difference` is the share of pairs won over the regression, paired,
with an interval over whole debates. `shorter_won` is accuracy where people chose the shorter text; `frontier` shows
what `balance` buys there and what it costs. Bounds: the difference is above 0 by the interval's lower end, and
somewhere on the frontier shorter_won is at least .45 with a total of .75 or more.

`--data` takes a folder with `arguments.jsonl.gz` and `pairs.jsonl.gz` (UKPConvArg1, the strict pairs), or a JSONL of
{"prompt", "chosen", "rejected"}; `--train` and `--test` take two such files. Of those nothing is promised but that the
model is not clearly worse than the regression.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from heedful.lm import columns
from heedful.lm.records import write_records
from heedful.rewards.report import ranked_right
from heedful.rewards.sparse import fit, model
from heedful.stats.intervals import cluster_bootstrap

Rows = list[dict[str, Any]]
Floats = NDArray[np.float64]
BALANCES = (0.25, 0.5, 0.75, 1.0)
TENTHS = 10


def debates(folder: Path) -> tuple[Rows, list[str]]:
    """Strict pairs, and the debate of each."""

    def read(name: str) -> Rows:
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    texts = {(one["topic"], one["arg_id"]): one["text"] for one in read("arguments")}
    rows, groups = [], []
    for pair in read("pairs"):
        if pair["in_strict"] and pair["gold"] in ("a1", "a2"):
            better, worse = ("a1", "a2") if pair["gold"] == "a1" else ("a2", "a1")
            chosen, rejected = (texts[pair["topic"], pair[side]] for side in (better, worse))
            prompt = [{"role": "user", "content": pair["topic"].replace("-", " ").replace("_", ": ")}]
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
            groups.append(pair["debate"])
    return rows, groups


def pairs(file: Path) -> tuple[Rows, list[str]]:
    """Decided pairs of a JSONL, and their prompts."""
    rows = [row for row in columns.judgements(file) if not row.get("tie")]
    return rows, [json.dumps(row["prompt"], sort_keys=True) for row in rows]


def parts(groups: Sequence[str], most: int) -> Iterator[tuple[list[int], list[int]]]:
    """What to fit on and what to judge: group by group, or so many groups at a time that there are `most` parts."""
    names = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    count = min(len(names), most)
    for part in range(count):
        judged = [place for place, group in enumerate(groups) if names[group] % count == part]
        yield sorted(set(range(len(groups))) - set(judged)), judged


def fitted(rows: Rows, work: Path, **settings: Any) -> tuple[model.SparseModel, float]:
    write_records(work / "pairs.jsonl", rows)
    order = {"preferences": str(work / "pairs.jsonl"), "held_out": 0.0} | settings
    done = fit.run(order, work, lambda step, figures: None)
    return model.load(done["reward"]), done["strengths"]["quality"]


def gaps(judge: model.SparseModel, rows: Rows) -> Floats:
    prompts = [row["prompt"] for row in rows]
    better, worse = (
        judge.score(prompts, [row[side] for row in rows])["quality"] for side in ("chosen", "rejected")
    )
    return better - worse


def plain(known: Rows, judged: Rows) -> Floats:
    """The regression that has to be beaten."""
    texts = [row[side] for row in known for side in ("chosen", "rejected")]
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit(sorted(set(texts)))

    def differences(rows: Rows) -> Any:
        def seen(side: str) -> Any:
            length = np.log1p([[len(row[side])] for row in rows])
            return sparse.hstack([words.transform([row[side] for row in rows]), length]).tocsr()

        return seen("chosen") - seen("rejected")

    signs = np.where(np.arange(len(known)) % 2, 1.0, -1.0)
    found = LogisticRegression(fit_intercept=False, max_iter=1000)
    found.fit(differences(known).multiply(signs[:, None]).tocsr(), signs)
    gap: Floats = differences(judged) @ found.coef_[0]
    return gap


def measure(
    rows: Rows, groups: Sequence[str], sides: Sequence[tuple[list[int], list[int]]], frontier: bool
) -> dict[str, Any]:
    asked = (0.0, *(BALANCES if frontier else ()))
    ours = {balance: np.full(len(rows), np.nan) for balance in asked}
    theirs = np.full(len(rows), np.nan)
    for known, judged in sides:
        to_fit, to_judge = [rows[place] for place in known], [rows[place] for place in judged]
        theirs[judged] = plain(to_fit, to_judge)
        strength: float | None = None
        for balance in asked:
            with tempfile.TemporaryDirectory() as work:
                judge, strength = fitted(to_fit, Path(work), balance=balance, strength=strength)
            ours[balance][judged] = gaps(judge, to_judge)
        won = [ranked_right(gap[judged]).mean() for gap in (ours[0.0], theirs)]
        print(
            f"{groups[judged[0]][:40]:40s} {len(judged):5d} pairs  {won[0]:.3f}, plain {won[1]:.3f}",
            flush=True,
        )
    seen = np.array(sorted(place for _, judged in sides for place in judged))
    lengths = np.array([len(row["chosen"]) - len(row["rejected"]) for row in rows])[seen]
    clusters = [groups[place] for place in seen]
    right, plainly = ranked_right(ours[0.0][seen]), ranked_right(theirs[seen])
    total = interval(right, clusters)
    difference = interval(right - plainly, clusters)
    return {
        "pairs": len(seen),
        "groups": len(set(clusters)),
        "accuracy": total[0],
        "low": total[1],
        "high": total[2],
        "baseline": mean(plainly),
        "longer_wins": mean(ranked_right(lengths.astype(float))),
        "difference": difference[0],
        "difference_low": difference[1],
        "difference_high": difference[2],
        "longer_won": mean(right[lengths > 0]),
        "shorter_won": mean(right[lengths < 0]),
        "baseline_shorter_won": mean(plainly[lengths < 0]),
        "frontier": [
            {
                "balance": balance,
                "accuracy": mean(ranked_right(gap[seen])),
                "shorter_won": mean(ranked_right(gap[seen][lengths < 0])),
            }
            for balance, gap in ours.items()
        ],
    }


def mean(values: NDArray[Any]) -> float:
    return round(float(values.mean()), 4) if len(values) else float("nan")


def interval(values: NDArray[Any], clusters: Sequence[str]) -> tuple[float, float, float]:
    found = cluster_bootstrap(values.tolist(), list(clusters), random=np.random.default_rng(0))
    return round(found.estimate, 4), round(found.lower, 4), round(found.upper, 4)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of debates, or a JSONL of pairs")
    parser.add_argument("--train", type=Path, help="JSONL to fit to; with --test")
    parser.add_argument("--test", type=Path, help="JSONL to judge")
    parser.add_argument("--quick", action="store_true", help="without the frontier")
    chosen = parser.parse_args()
    if (chosen.train is None) != (chosen.test is None) or (chosen.data is None and chosen.train is None):
        parser.error("give --data, or --train and --test")
    start = time.perf_counter()
    if chosen.train is not None:
        known, known_groups = pairs(chosen.train)
        judged, judged_groups = pairs(chosen.test)
        rows, groups = known + judged, known_groups + judged_groups
        sides = [(list(range(len(known))), list(range(len(known), len(rows))))]
    else:
        folder = chosen.data.is_dir()
        rows, groups = debates(chosen.data) if folder else pairs(chosen.data)
        sides = list(parts(groups, len(groups) if folder else TENTHS))
    result = measure(rows, groups, sides, frontier=not chosen.quick)
    promised = chosen.data is not None and chosen.data.is_dir()
    seen_through = any(one["shorter_won"] >= 0.45 and one["accuracy"] >= 0.75 for one in result["frontier"])
    result["seconds"] = round(time.perf_counter() - start)
    result["ok"] = (
        result["difference_low"] > 0 and (seen_through or chosen.quick)
        if promised
        else result["difference_high"] > 0
    )
    print("RESULT " + json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
