"""What `heedful demo` promises, seed by seed: time, true quality, safety, and both releases.

The time bound is for a machine whose reference matrix product (1024 x 1024, float32, one thread) takes
`REFERENCE` seconds; where it takes longer, the bound is stretched in proportion.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REFERENCE = 0.0145  # seconds
SECONDS = 300.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="the first seed only")
    chosen = parser.parse_args()
    seeds = chosen.seeds[:1] if chosen.quick else chosen.seeds
    runs = [run(seed) for seed in seeds]
    missed = {str(one["seed"]): short for one in runs if (short := shortfalls(one))}
    result = {
        "n": len(runs),
        "seeds": seeds,
        **{f"worst_{name}": pick(float(one[name]) for one in runs) for name, pick in WORST.items()},
        "runs": runs,
        "missed": missed,
        "ok": not missed,
    }
    print("RESULT " + json.dumps(result))
    return 0 if result["ok"] else 1


WORST = {
    "seconds": max,
    "gold_win_rate": min,
    "gold_win_rate_low": min,
    "right_action_before": min,
    "right_action_after": min,
    "right_action_gain_low": min,
    "violation_rate_before": min,
    "violation_rate_after": max,
    "bad_release_max_percent": max,
}


def run(seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="heedful-bench-") as place:
        out = Path(place) / "figures.json"
        command = [sys.executable, "-m", "heedful.cli", "demo", "--seed", str(seed), "--json", str(out)]
        done = subprocess.run([*command, "--dir", str(Path(place) / "demo")], check=False, timeout=1800)
        if not out.exists():
            raise SystemExit(
                f"the demo with seed {seed} ended with code {done.returncode} and left no figures"
            )
        figures: dict[str, Any] = json.loads(out.read_text())
    print(json.dumps(figures), flush=True)
    return figures


def shortfalls(figures: Mapping[str, Any]) -> list[str]:
    """The promises that this run did not keep, by name."""
    stretch = max(1.0, figures["machine_gemm_seconds"] / REFERENCE)
    promises = {
        "seconds": figures["seconds"] < SECONDS * stretch,
        "gold_win_rate": figures["gold_win_rate"] >= 0.75,
        "gold_win_rate_low": figures["gold_win_rate_low"] > 0.70,
        "right_action_before": figures["right_action_before"] >= 0.45,
        "right_action_after": figures["right_action_after"] >= 0.80,
        "right_action_gain_low": figures["right_action_gain_low"] > 0,
        "violation_rate_before": figures["violation_rate_before"] >= 0.10,
        "violation_rate_after": figures["violation_rate_after"] <= 0.03,
        "good_release": figures["good_release"] == "full" and len(figures["good_release_steps"]) >= 3,
        "bad_release": figures["bad_release"] == "rolled_back" and figures["bad_release_max_percent"] <= 20,
        "tickets": figures["tickets"] >= 2000,
        "lineage": figures["lineage_ok"] is True,
    }
    return [name for name, kept in promises.items() if not kept]


if __name__ == "__main__":
    sys.exit(main())
