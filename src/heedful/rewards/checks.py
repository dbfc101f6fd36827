"""Ready-made checks of an answer: 1 where it passes, 0 where not.

What only looks at the text is done here. What reads or runs code of an answer is done within walls
(`rewards/sandbox.py`), where the worst that the code can do is fail.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from heedful.errors import InvalidInput, Misconfigured
from heedful.rewards.commands import Read, judged, last_line, passed
from heedful.rewards.sandbox import Ended, SandboxSettings, require
from heedful.rewards.scores import Columns, Scores, scores

EXAM = Path(__file__).with_name("exam.py")
COMPILE = "import sys; compile(sys.stdin.buffer.read(), 'answer.py', 'exec')"
FENCE = re.compile(r"^```[ \t]*([\w+-]*)[^\n]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
PYTHON = ("", "py", "python", "python3")


class CheckSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SchemaCheck(CheckSettings):
    """The answer is JSON of a shape; alone, or in one fenced block."""

    check: Literal["schema"]
    """`schema`."""

    shape: dict[str, Any] | Path
    """A JSON Schema, or the file that holds one."""


class PatternCheck(CheckSettings):
    """A regular expression is found in the answer, or is not."""

    check: Literal["pattern"]
    """`pattern`."""

    pattern: str
    """As Python's `re` writes it; `.` stops at line ends, `^` and `$` at those of the whole."""

    absent: bool = False
    """Whether it must not be found."""


class LengthCheck(CheckSettings):
    """The answer is neither too short nor too long."""

    check: Literal["length"]
    """`length`."""

    of: Literal["characters", "words", "lines"] = "words"
    """What is counted."""

    shortest: int = Field(0, ge=0)
    """Fewest."""

    longest: int | None = Field(None, ge=0)
    """Most; nothing: no bound."""

    @model_validator(mode="after")
    def _in_order(self) -> LengthCheck:
        if self.longest is not None and self.longest < self.shortest:
            raise ValueError(f"longest {self.longest} is below shortest {self.shortest}")
        return self


class CodeCheck(CheckSettings):
    """Python in fenced blocks, or the whole answer where nothing is fenced. No code at all does not pass."""

    sandbox: SandboxSettings | None = None
    """Limits; nothing: those of the mixture."""


class CompilesCheck(CodeCheck):
    """The answer's Python is Python."""

    check: Literal["compiles"]
    """`compiles`."""


class LintCheck(CodeCheck):
    """`ruff check` finds nothing in the answer's Python."""

    check: Literal["lint"]
    """`lint`."""

    select: tuple[str, ...] = ()
    """Rules, as ruff names them; none: its own choice."""


class ExamCheck(CodeCheck):
    """The share of tests that the answer's Python passes; they find it as the module `answer`."""

    check: Literal["tests"]
    """`tests`."""

    file: Path
    """The test file, as pytest reads it."""


TextCheck = SchemaCheck | PatternCheck | LengthCheck
AnyCheck = TextCheck | CompilesCheck | LintCheck | ExamCheck


class TextJudge:
    """Looks at each answer's text."""

    def __init__(self, passes: Callable[[str], bool]) -> None:
        self._passes = passes

    def score(self, prompts: Sequence[Any], answers: Sequence[str], columns: Columns | None = None) -> Scores:
        return scores([float(self._passes(answer)) for answer in answers])


class CodeJudge:
    """Gives each answer's code to a command. Code that does not come through it is worth nothing."""

    def __init__(
        self, command: Sequence[str], read: Read, limits: SandboxSettings, text: Callable[[str], str] = str
    ) -> None:
        require(limits)
        self._command, self._read, self._limits, self._text = command, read, limits, text

    def score(self, prompts: Sequence[Any], answers: Sequence[str], columns: Columns | None = None) -> Scores:
        codes = [code_of(answer) for answer in answers]
        there = [place for place, code in enumerate(codes) if code.strip()]
        texts = [self._text(codes[place]) for place in there]
        quality = np.zeros(len(answers))
        quality[there] = judged(self._command, texts, self._read, self._limits, failed=0.0)["quality"]
        return {"quality": quality, "unscored": np.zeros(len(answers))}


def judge_of(check: AnyCheck, folder: Path, limits: SandboxSettings) -> TextJudge | CodeJudge:
    """Files are named from `folder`; `limits` are for code that says none of its own."""
    match check:
        case SchemaCheck():
            return TextJudge(_schema(check.shape if isinstance(check.shape, dict) else folder / check.shape))
        case PatternCheck():
            return TextJudge(_pattern(check))
        case LengthCheck():
            return TextJudge(lambda answer: _fits(answer, check))
        case CompilesCheck():
            command = (sys.executable, "-I", "-S", "-c", COMPILE)
            return CodeJudge(command, passed, (check.sandbox or limits).beside(folder))
        case LintCheck():
            rules = [f"--select={','.join(check.select)}"] if check.select else []
            ruff = ("ruff", "check", "--isolated", "--no-cache", "--quiet", *rules, "-")
            return CodeJudge(ruff, _clean, (check.sandbox or limits).beside(folder))
        case ExamCheck():
            if importlib.util.find_spec("pytest") is None:  # or every answer would fail
                raise Misconfigured("the check `tests` needs pytest: pip install pytest")
            tests = _text(folder / check.file)
            own = (check.sandbox or limits).beside(folder)
            own = own.model_copy(update={"readable": (*own.readable, EXAM)})
            return CodeJudge(
                (sys.executable, "-I", "-S", str(EXAM)),
                last_line,
                own,
                lambda code: json.dumps({"code": code, "tests": tests}),
            )


def code_of(answer: str) -> str:
    """Its Python: the fenced blocks one after the other, or all of it where nothing is fenced."""
    blocks = FENCE.findall(answer)
    if not blocks:
        return answer
    return "\n".join(text for language, text in blocks if language.lower() in PYTHON)


def _schema(shape: dict[str, Any] | Path) -> Callable[[str], bool]:
    try:
        import jsonschema
        import referencing
    except ImportError as error:
        raise Misconfigured("the check `schema` needs jsonschema: pip install 'heedful[train]'") from error
    if isinstance(shape, Path):
        try:
            shape = json.loads(_text(shape))
        except json.JSONDecodeError as error:
            raise InvalidInput(f"{shape} is not JSON: {error}") from error
    kind = jsonschema.validators.validator_for(shape, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(shape)
    except jsonschema.SchemaError as error:
        raise InvalidInput(f"`shape` is no JSON Schema: {error.message}", field="shape") from error
    validator = kind(shape, registry=referencing.Registry())  # a registry of nothing: no reference is fetched

    def passes(answer: str) -> bool:
        blocks = FENCE.findall(answer)
        try:
            value = json.loads(blocks[0][1] if len(blocks) == 1 else answer, parse_constant=_refused)
        except (ValueError, RecursionError):
            return False
        try:
            return bool(validator.is_valid(value))
        except referencing.exceptions.Unresolvable as error:
            raise InvalidInput(f"`shape` points at what is not in it: {error}", field="shape") from error

    return passes


def _pattern(check: PatternCheck) -> Callable[[str], bool]:
    try:
        pattern = re.compile(check.pattern)
    except re.error as error:
        raise InvalidInput(f"{check.pattern!r} is no regular expression: {error}", field="pattern") from error
    return lambda answer: (pattern.search(answer) is None) == check.absent


def _fits(answer: str, check: LengthCheck) -> bool:
    counted = {"characters": len(answer), "words": len(answer.split()), "lines": len(answer.splitlines())}
    length = counted[check.of]
    return check.shortest <= length and (check.longest is None or length <= check.longest)


def _clean(ended: Ended) -> float:
    """ruff ends with 1 when it found something, with 2 when it was asked for nonsense."""
    if ended.code not in (None, 0, 1):
        raise Misconfigured(f"ruff cannot check: it {ended.words}")
    return passed(ended)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{str(file)!r} cannot be read: {error}") from error


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
