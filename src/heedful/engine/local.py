"""Run tasks in child processes of this machine, one at a time per core that we may use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heedful.domain.ids import RunId
from heedful.engine.child import ERROR, PROGRESS, RESULT, SPEC, write_atomically
from heedful.engine.protocol import Progress
from heedful.errors import TrainingFailed

POLL = 0.1  # seconds between looks at a child's progress
STARTS = 3  # of one run, as long as something kills the child: the out-of-memory killer does not get tired


class LocalEngine:
    """Work directories lie under `root`, named by run."""

    def __init__(self, root: Path, *, at_once: int = 1) -> None:
        self._root = root
        self._turnstile = threading.BoundedSemaphore(at_once)
        self._closing = False

    def close(self) -> None:
        self._closing = True

    def work(self, run: RunId) -> Path:
        return self._root / run.replace("/", "%")  # which no id has in it: one directory a run, none outside

    def run(
        self, task: str, spec: Mapping[str, Any], *, run: RunId, progress: Progress | None = None
    ) -> dict[str, Any]:
        work = self.work(run)
        work.mkdir(parents=True, exist_ok=True)
        with self._turnstile:
            done = _result(work)
            if done is None:
                write_atomically(work / SPEC, json.dumps({"task": task, "spec": spec}))
                (work / ERROR).unlink(missing_ok=True)
                done = self._carry_out(work, task, progress)
            return done

    def _carry_out(self, work: Path, task: str, progress: Progress | None) -> dict[str, Any]:
        for _ in range(STARTS):
            seen = _size(work / PROGRESS)  # what an earlier start reported is not reported again
            code = self._watch(self._start(work), work, progress, seen)
            result = _result(work)
            if code == 0 and result is not None:
                return result
            if code >= 0:
                break  # it ended by itself, and would again
        error = work / ERROR
        words = (error.read_text() if error.exists() else _tail(work / "output.log")).strip()
        raise TrainingFailed(
            f"{task} ended with code {code} in {work}: {words.splitlines()[-1] if words else 'no words'}"
        )

    def _start(self, work: Path) -> subprocess.Popen[bytes]:
        self._leave_if_closing()
        with (work / "output.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "heedful.engine.child", str(work)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            )

    def _watch(self, child: subprocess.Popen[bytes], work: Path, progress: Progress | None, seen: int) -> int:
        """Hand on progress until the child ends; its code."""
        try:
            while True:
                try:
                    child.wait(timeout=POLL)
                except subprocess.TimeoutExpired:
                    self._leave_if_closing()
                    seen = _report(work, seen, progress)
                    continue
                _report(work, seen, progress)
                break
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
            if child.stdin is not None:
                child.stdin.close()
        return child.returncode

    def _leave_if_closing(self) -> None:
        if self._closing:
            raise SystemExit("the engine closes")  # not an outcome: the run starts again


def _result(work: Path) -> dict[str, Any] | None:
    try:
        result: dict[str, Any] = json.loads((work / RESULT).read_text())
    except FileNotFoundError:
        return None
    return result


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tail(path: Path, size: int = 2000) -> str:
    return path.read_bytes()[-size:].decode(errors="replace") if path.exists() else ""


def _report(work: Path, seen: int, progress: Progress | None) -> int:
    """Hand on the lines that came since `seen`; a torn last line waits for its rest."""
    path = work / PROGRESS
    if progress is None or not path.exists():
        return seen
    with path.open("rb") as file:
        file.seek(seen)
        fresh = file.read()
    whole = fresh[: fresh.rfind(b"\n") + 1]
    for line in filter(None, whole.splitlines()):
        try:
            values = json.loads(line)
        except ValueError:
            continue  # torn by a kill: the next child went on below it
        progress(int(values.pop("step")), values)
    return seen + len(whole)
