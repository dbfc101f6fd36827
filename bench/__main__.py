"""Run every bench quickly, and write what was measured, where and when, to docs/figures.md.

A bench is a script in this folder whose last line is `RESULT {json}` with `"ok": true` or `false`; files
whose names start with `_` are helpers. Each runs in a process of its own, one after the other, so that none
disturbs another's figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "figures.md"
LIMIT_SECONDS = 900  # three times what a quick run may take: the machine may be slow, not stuck


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one bench said; None where it said nothing that can be read."""

    name: str
    about: str
    result: Mapping[str, object] | None
    seconds: float

    @property
    def ok(self) -> bool:
        return self.result is not None and self.result.get("ok") is True


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", help="benches to run, by file name without .py; all by default")
    parser.add_argument("--full", action="store_true", help="without --quick: hours, for a release")
    chosen = parser.parse_args(arguments)
    scripts = {path.stem: path for path in sorted(HERE.glob("*.py")) if not path.stem.startswith("_")}
    if unknown := sorted(set(chosen.names) - set(scripts)):
        parser.error(f"no bench named {', '.join(unknown)}; there are: {', '.join(scripts)}")
    names = chosen.names or [name for name, script in scripts.items() if not needs_data(script)]
    measured = [run(scripts[name], quick=not chosen.full) for name in names]
    if not chosen.names:  # a page of some of the figures would pass for all of them
        PAGE.write_text(page(measured, quick=not chosen.full))
        print(f"written: {PAGE.relative_to(HERE.parent)}")
    return 0 if all(figures.ok for figures in measured) else 1


def run(script: Path, *, quick: bool) -> Figures:
    print(f"{script.stem} …", flush=True)
    started = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, str(script), *(["--quick"] if quick else [])],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            cwd=HERE.parent,
            timeout=LIMIT_SECONDS if quick else None,
        )
        result = parsed(done.stdout)
    except subprocess.TimeoutExpired:
        result = None
    seconds = time.monotonic() - started
    figures = Figures(name=script.stem, about=about(script), result=result, seconds=seconds)
    print(f"{script.stem}: {'ok' if figures.ok else 'NOT OK'}, {seconds:.0f} s", flush=True)
    return figures


def needs_data(script: Path) -> bool:
    """Whether it measures real people's data, which is not part of this project."""
    return "give --data" in script.read_text()


def parsed(output: str) -> Mapping[str, object] | None:
    """The figures of the last line, if it is one."""
    last = output.rstrip().rpartition("\n")[2]
    if not last.startswith("RESULT "):
        return None
    try:
        result = json.loads(last.removeprefix("RESULT "))
    except json.JSONDecodeError:
        return None
    return result if isinstance(result, dict) else None


def about(script: Path) -> str:
    """The first line of the script's docstring."""
    for line in script.read_text().splitlines():
        if line.startswith('"""'):
            return line.strip('"').strip()
    return ""


def page(measured: Sequence[Figures], *, quick: bool) -> str:
    how = (
        "`make bench`: every bench with `--quick`"
        if quick
        else "`python -m bench --full`: every bench in full"
    )
    lines = [
        "# Figures",
        "",
        f"Written by {how}.",
        "",
        "| machine | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in machine().items()),
    ]
    if not measured:
        lines += ["", "Nothing has been measured yet."]
    for figures in measured:
        verdict = "holds" if figures.ok else "**does not hold**"
        lines += ["", f"## {figures.name}", "", f"{figures.about}", "", f"{verdict}, {figures.seconds:.0f} s"]
        if figures.result is None:
            lines += ["", "It ended without figures."]
            continue
        lines += ["", "| figure | value |", "|---|---|"]
        lines += [f"| `{key}` | {shown(value)} |" for key, value in figures.result.items() if key != "ok"]
    return "\n".join(lines) + "\n"


def machine() -> Mapping[str, str]:
    """What a reader needs to compare, and nothing that tells which machine it was."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
    }


def processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str):
        return value.replace("|", "\\|")
    return f"`{json.dumps(value)}`" if isinstance(value, list | dict) else str(value)


if __name__ == "__main__":
    sys.exit(main())
