"""What starting costs: the CPU seconds of `heedful --help`, and which modules load torch that should not.

`heedful --help` is run in fresh processes, user and system time of the whole process together. Then every
module of the package outside the allow-list is imported in fresh processes, in batches: whoever brings torch
or transformers in is named, and the batch goes on without it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

HELP_BOUND = 0.3  # CPU seconds
RUNS = 15
HEAVY = ("torch", "transformers")
# Modules whose work is tensors. Everything else is imported by the server or the command line.
MAY_LOAD_TORCH = (
    "heedful.lm.*",
    "heedful.rewards.doubt",
    "heedful.rewards.ensemble_fit",
    "heedful.rewards.finding",
    "heedful.rewards.fit",
    "heedful.rewards.learning",
    "heedful.rewards.lessons",
    "heedful.rewards.losses",
    "heedful.rewards.model",
    "heedful.rewards.refresh",
    "heedful.rewards.report",
    "heedful.training.dpo",
    "heedful.training.credit",
    "heedful.training.breadth",
    "heedful.training.critic",
    "heedful.training.experience",
    "heedful.training.grpo",
    "heedful.training.kto",
    "heedful.training.losses",
    "heedful.training.online",
    "heedful.training.ppo",
    "heedful.training.practice",
    "heedful.training.returns",
    "heedful.training.safety",
    "heedful.training.sft",
    "heedful.training.starting",
    "heedful.training.watched",
)
NOT_MODULES = ("heedful.store.migrations.env",)  # alembic runs it, nobody imports it

_CHILD = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
    found = [heavy for heavy in json.loads(sys.argv[2]) if heavy in sys.modules]
    if found:
        print(json.dumps([name, found]))
        break
"""


def modules() -> list[str]:
    """Every module of the package by its dotted name, read off the files: nothing is imported for it."""
    import heedful

    root = Path(str(heedful.__file__)).parent
    names = []
    for file in sorted(root.rglob("*.py")):
        parts = ("heedful", *file.relative_to(root).with_suffix("").parts)
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in names if name not in NOT_MODULES]


def allowed(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in MAY_LOAD_TORCH)


def loaded_by(names: Sequence[str]) -> dict[str, list[str]]:
    """Which of these modules load something heavy, and what, each found in a process that had none of it."""
    found: dict[str, list[str]] = {}
    rest = list(names)
    while rest:
        child = subprocess.run(
            [sys.executable, "-c", _CHILD, json.dumps(rest), json.dumps(HEAVY)],
            capture_output=True,
            text=True,
            check=False,
        )
        if child.returncode != 0:
            raise RuntimeError(child.stderr.strip().splitlines()[-1])
        if not child.stdout.strip():
            return found
        name, heavy = json.loads(child.stdout)
        found[name] = heavy
        rest = rest[rest.index(name) + 1 :]
    return found


def help_cpu_seconds() -> float:
    """Of one fresh process, everything that it and its children used."""
    # Two processes, because only a child's own time can be told apart from ours.
    code = (
        "import resource, subprocess, sys\n"
        "asked = [sys.executable, '-m', 'heedful.cli', '--help']\n"
        "subprocess.run(asked, stdout=subprocess.DEVNULL, check=True)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "100"},
    )
    return float(said.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs of --help")
    quick = parser.parse_args().quick
    help_cpu_seconds()  # byte code is written once
    n = 5 if quick else RUNS
    seconds = sorted(help_cpu_seconds() for _ in range(n))
    # The median's own error: half the distance between the quartiles, per root of n.
    error = (seconds[(3 * n) // 4] - seconds[n // 4]) / 2 / n**0.5
    median = statistics.median(seconds)
    heavy = loaded_by([name for name in modules() if not allowed(name)])
    result = {
        "n": n,
        "help_cpu_seconds": round(median, 3),
        "help_cpu_error": round(error, 3),
        "help_cpu_bound": HELP_BOUND,
        "modules": len(modules()),
        "torch_imported_by": sorted(heavy),
        "ok": median <= HELP_BOUND + (error if quick else 0.0) and not heavy,
    }
    print("RESULT " + json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
