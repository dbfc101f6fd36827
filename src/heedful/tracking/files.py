"""Runs as files: <root>/<run>/run.jsonl, and curves.png when the run has finished.

Each line is one JSON object: {"params": ...}, {"step": 3, "values": {"loss": 0.7}}, {"artifact": "/path"} or
{"outcome": "finished"}. A line is one write, so that a killed process leaves at most one torn line, the last.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import SupportsFloat

from heedful.errors import Corrupt, InvalidInput, NotFound, Unavailable

log = logging.getLogger(__name__)

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
LINES, PICTURE = "run.jsonl", "curves.png"

Curve = tuple[tuple[int, float], ...]  # (step, value), by step


class FilesTracking:
    """One directory per run under `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def start(self, run: str, params: Mapping[str, object]) -> FilesTrack:
        if not RUN_NAME.fullmatch(run):
            raise InvalidInput(
                f"{run!r} cannot name a run: use letters, digits, dots, dashes and underscores"
            )
        directory = self._root / run
        with _translated(directory):
            directory.mkdir(parents=True, exist_ok=True)
            _drop_torn_line(directory / LINES)
        track = FilesTrack(directory)
        track.write({"params": params})
        return track


class FilesTrack:
    """One run's directory, open for more lines."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def log(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        said = {name: _sayable(_number(name, step, value)) for name, value in values.items()}
        self.write({"step": int(step), "values": said})

    def artifact(self, path: Path) -> None:
        if not path.exists():
            raise NotFound(f"the artifact {path} does not exist")
        self.write({"artifact": str(path.resolve())})

    def finish(self, outcome: str = "finished") -> None:
        self.write({"outcome": outcome})
        try:
            draw_curves(self.directory)
        except Exception as error:  # noqa: BLE001 - a picture must not cost a run that has finished
            log.warning("curves not drawn", extra={"directory": str(self.directory), "reason": str(error)})

    def write(self, line: Mapping[str, object]) -> None:
        data = (json.dumps(line, default=str, ensure_ascii=False) + "\n").encode()
        # Opened for each line: a run logs a few lines a second, and a track then needs no closing.
        with _translated(self.directory), (self.directory / LINES).open("ab", buffering=0) as file:
            file.write(data)


def read_curves(directory: Path) -> dict[str, Curve]:
    """What a run logged: metric to (step, value) pairs by step; the later value where a step came twice."""
    curves: dict[str, dict[int, float]] = {}
    for number, line in enumerate(_whole_lines(directory / LINES), start=1):
        try:
            content = json.loads(line)
            if not isinstance(content, dict):
                raise TypeError("it is not an object")
            if "step" in content:
                for name, value in content["values"].items():
                    curves.setdefault(name, {})[int(content["step"])] = float(value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Corrupt(f"line {number} of {directory / LINES} cannot be read: {error}") from error
    return {name: tuple(sorted(points.items())) for name, points in curves.items()}


def draw_curves(directory: Path) -> Path | None:
    """Draw a run's curves beside its lines; None when nothing was logged. Needs matplotlib."""
    curves = read_curves(directory)
    if not curves:
        return None
    from heedful.tracking import drawing  # here, because a server that only reads runs does without it

    target = directory / PICTURE
    with _translated(directory):
        drawing.draw(curves, target, title=directory.name)
    return target


def _number(name: str, step: int, value: SupportsFloat) -> float:
    if not name or not name.isprintable():
        raise InvalidInput(f"{name!r} cannot name a metric")
    try:
        if isinstance(value, (bool, str)):
            raise TypeError(f"{type(value).__name__} is not a number")
        return float(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{name} at step {step} is {value!r}, which is not a number") from error


def _sayable(value: float) -> float | str:
    # JSON has no NaN and no infinity; float() reads them back from these words.
    return value if math.isfinite(value) else str(value)


def _whole_lines(path: Path) -> list[bytes]:
    """The lines that were written to their end: the last is torn when its writer was killed."""
    if not path.is_file():
        raise NotFound(f"{path} does not exist: no run was tracked there")
    with _translated(path):
        return path.read_bytes().split(b"\n")[:-1]


def _drop_torn_line(path: Path) -> None:
    """So that the next line does not continue half of another."""
    if path.is_file():
        whole = path.read_bytes().rfind(b"\n") + 1
        os.truncate(path, whole)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"tracking cannot use {path}: {error}") from error
