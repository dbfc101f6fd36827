"""Small real tasks for the engine, each one behaviour that a training run can have."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Track = Callable[[int, Mapping[str, float]], None]


def _begun(work: Path) -> int:
    """Leave a line with this process' id; how many processes have begun here."""
    with (work / "begun").open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len((work / "begun").read_text().splitlines())


def add(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    _begun(work)
    (work / "sum.txt").write_text(str(spec["a"] + spec["b"]))
    track(1, {"sum": spec["a"] + spec["b"]})
    return {"sum": spec["a"] + spec["b"], "file": str(work / "sum.txt")}


def refuse(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    _begun(work)
    print("noise on the way")
    raise ValueError("the third row has no prompt")


def vanish(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """Ends without a result, as `sys.exit` deep in a library does."""
    print("cannot go on", file=sys.stderr, flush=True)
    sys.exit(4)


def be_killed(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """kill -9 in the middle of its report, `times` times; then it goes on and ends."""
    begun = _begun(work)
    track(begun, {"begun": begun})
    if begun <= spec["times"]:
        time.sleep(0.3)  # the parent has read the whole line by now
        with (work / "progress.jsonl").open("a") as file:
            file.write('{"step": 7, "lo')
        os.kill(os.getpid(), signal.SIGKILL)
    return {"begun": begun}


def last(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """Goes on until somebody ends it."""
    _begun(work)
    while True:
        time.sleep(0.02)


def count(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    for step in range(spec["steps"]):
        track(step, {"loss": 1 / (1 + step)})
        time.sleep(spec.get("seconds", 0.0))
    return {}


def look_around(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """What a task sees of its caller."""
    return {"pid": os.getpid(), "seen": sys.modules[__name__].__dict__.get("LEFT_BY_THE_CALLER")}


def clumsy(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """Gives back what no JSON can say."""
    return {"work": work}


def echo(messages: Any) -> str:
    """A scripted policy."""
    return f"You said: {messages[-1].text}"


def stumble(messages: Any) -> str:
    raise RuntimeError("the script has no rule for this")
