"""A command as a judge: it reads one answer as JSON, and its exit status or its last line is the score."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from heedful.errors import TrainingFailed
from heedful.rewards.sandbox import Ended, SandboxSettings, require, run, side_by_side
from heedful.rewards.scores import Columns, Scores, scores

Read = Callable[[Ended], float | None]  # raises ValueError with the reason where there is no score


class CommandSettings(BaseModel):
    """Which command, and how its word is read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    command: tuple[str, ...] = Field(min_length=1)
    """Program and arguments, without a shell. It reads {"prompt", "answer", "columns"} as one line of JSON. What
    begins with `./` is a file beside the mixture's, and is shown to it."""

    score: Literal["number", "exit"] = "number"
    """number: the last line that it prints, `null` where it does not apply; a status other than 0 is a failure.
    exit: 1 if it ends with status 0, 0 if with another."""

    failed: float | None = None
    """What an answer is worth on which the command is stopped, or says no number; nothing: that ends the run."""

    sandbox: SandboxSettings | None = None
    """Its limits; nothing: those of the mixture."""


class Command:
    """Runs once for each answer, some side by side."""

    def __init__(self, settings: CommandSettings, folder: Path, limits: SandboxSettings) -> None:
        """Files are named from `folder`; `limits` are for a command that says none of its own."""
        own = (settings.sandbox or limits).beside(folder)
        require(own)
        files = {word: (folder / word).resolve() for word in settings.command if word.startswith("./")}
        self._command = [str(files.get(word, word)) for word in settings.command]
        self._limits = own.model_copy(update={"readable": (*own.readable, *files.values())})
        self._failed = settings.failed
        self._read: Read = last_line if settings.score == "number" else passed

    def score(self, prompts: Sequence[Any], answers: Sequence[str], columns: Columns | None = None) -> Scores:
        """`quality`, and `unscored` where it does not apply."""
        texts = [
            json.dumps(
                {
                    "prompt": prompt,
                    "answer": answer,
                    "columns": {name: values[place] for name, values in (columns or {}).items()},
                }
            )
            for place, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
        ]
        return judged(self._command, texts, self._read, self._limits, failed=self._failed)


def judged(
    command: Sequence[str],
    texts: Sequence[str],
    read: Read,
    limits: SandboxSettings,
    *,
    failed: float | None,
) -> Scores:
    """One run for each text."""

    def one(numbered: tuple[int, str]) -> float | None:
        answer, text = numbered
        ended = run(command, text, limits)
        try:
            return read(ended)
        except ValueError as error:
            if failed is None:
                raise TrainingFailed(
                    f"command {command[0]!r} has no score for answer {answer}: {error}; "
                    "say with `failed` what such an answer is worth"
                ) from error
            return failed

    return scores(side_by_side(one, enumerate(texts, start=1), limits))


def last_line(ended: Ended) -> float | None:
    """The number on the last line; None for `null`."""
    if ended.code != 0:
        raise ValueError(f"it {ended.words}")
    said = ended.output.strip().rpartition("\n")[2].strip()
    if said == "null":
        return None
    try:
        value = float(said)
    except ValueError:
        raise ValueError(f"its last line is {said[:200]!r}, not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"its last line is {said[:200]!r}, not a finite number")
    return value


def passed(ended: Ended) -> float:
    """1 for status 0, 0 for another."""
    if ended.code is None:
        raise ValueError(f"it {ended.words}")
    return float(ended.code == 0)
