"""What the child process does: read the spec, run the task, leave the result."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from heedful.lifeline import die_with_parent

RESULT, ERROR, PROGRESS, SPEC = "result.json", "error.txt", "progress.jsonl", "spec.json"


def write_atomically(path: Path, text: str) -> None:
    beside = path.with_suffix(".tmp")
    with beside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def main() -> int:
    work = Path(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when we stop
    die_with_parent()
    order = json.loads((work / SPEC).read_text())
    module, name = order["task"].split(":")
    with (work / PROGRESS).open("a", buffering=1) as log:
        log.write("\n")  # ends a line that a killed predecessor tore

        def track(step: int, values: Mapping[str, float]) -> None:
            log.write(json.dumps({"step": step, **values}) + "\n")

        try:
            result = getattr(importlib.import_module(module), name)(order["spec"], work, track)
        except Exception:  # noqa: BLE001 - whatever it is, the parent tells it
            write_atomically(work / ERROR, traceback.format_exc())
            return 1
    write_atomically(work / RESULT, json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
