"""Several judges as one: reward models, functions, commands and checks, under weights and constraints.

`quality` is the weighted mean of what the parts say about an answer; a part that has nothing to say about one
drops out of that mean, it never counts as 0. A part may also be a bound: an answer outside of it is a violation,
or, where the bound has a price, that much worse. What each part said is told under its name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from heedful.errors import InvalidInput, Misconfigured
from heedful.lm.columns import said
from heedful.rewards import checks
from heedful.rewards.commands import Command, CommandSettings
from heedful.rewards.loading import load as load_model
from heedful.rewards.programs import Program
from heedful.rewards.sandbox import SandboxSettings
from heedful.rewards.scores import Columns, Floats, Scores, ToldJudge

RESERVED = ("quality", "quality_action", "violation", "doubt", "unscored")
EVEN = 1e-9  # a spread below it is none


class ModelSource(BaseModel):
    """A fitted reward model: its quality or its violation, by the part's objective."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: Path
    """Directory of the reward model."""

    device: str = "cpu"
    """Where it computes."""


class FunctionSource(BaseModel):
    """A function with the signature that TRL's trainers call."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    function: str
    """Dotted path: package.module:function."""


def _kind(source: Any) -> str | None:
    """Which source it is: the key that says what is asked, or the check's name."""
    told = vars(source) if isinstance(source, BaseModel) else source
    if not isinstance(told, Mapping):
        return None
    named = [key for key in ("model", "function", "command") if key in told]
    return named[0] if named else str(told.get("check"))


Source = Annotated[
    Annotated[ModelSource, Tag("model")]
    | Annotated[FunctionSource, Tag("function")]
    | Annotated[CommandSettings, Tag("command")]
    | Annotated[checks.SchemaCheck, Tag("schema")]
    | Annotated[checks.PatternCheck, Tag("pattern")]
    | Annotated[checks.LengthCheck, Tag("length")]
    | Annotated[checks.CompilesCheck, Tag("compiles")]
    | Annotated[checks.LintCheck, Tag("lint")]
    | Annotated[checks.ExamCheck, Tag("tests")],
    Discriminator(
        _kind,
        custom_error_type="source",
        custom_error_message="say `model`, `function`, `command`, or `check` with one of schema, pattern, length, "
        "compiles, lint, tests",
    ),
]


class Part(BaseModel):
    """One judge, and what its word counts for."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Its scores are told under it."""

    source: Source
    """Who judges: `model`, `function`, `command` or `check`."""

    objective: Literal["quality", "violation"] = "quality"
    """quality: the more the better. violation: a probability; the worst of these parts counts."""

    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    """In the mean of quality; 0: its bounds alone count."""

    normalise: Literal["none", "group", "reference"] = "none"
    """In standard deviations: group: of the answers to the same prompt; reference: of the mixture's `reference`."""

    at_least: float | None = None
    """Lower bound of its own number, before normalising."""

    at_most: float | None = None
    """Upper bound of its own number, before normalising."""

    price: float | None = Field(None, gt=0)
    """What an answer outside of the bounds loses in quality; nothing: it is a violation."""

    @model_validator(mode="after")
    def _sound(self) -> Part:
        if self.name in RESERVED:
            raise ValueError(f"{self.name} is a name of the mixture's own: take another")
        if self.objective == "violation" and (self.weight != 1 or self.normalise != "none"):
            raise ValueError("a violation is a probability: it has no weight and is not normalised")
        if self.price is not None and self.at_least is None and self.at_most is None:
            raise ValueError("a price needs a bound: at_least or at_most")
        return self

    def broken(self, values: Floats) -> Floats:
        """1 where a number is out of bounds; what has none breaks nothing."""
        below = values < (-np.inf if self.at_least is None else self.at_least)
        above = values > (np.inf if self.at_most is None else self.at_most)
        return (below | above).astype(np.float64)


class MixtureSettings(BaseModel):
    """All the parts. Files are named from the folder that this one lies in."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    parts: tuple[Part, ...] = Field(min_length=1)
    """Who judges."""

    reference: Path | None = None
    """JSONL of {"prompt", "answer"} and columns: the starting policy's answers, for `normalise: reference`."""

    sandbox: SandboxSettings = Field(default_factory=SandboxSettings)
    """Limits of commands, and of checks that run code, where they say none of their own."""

    @model_validator(mode="after")
    def _sound(self) -> MixtureSettings:
        names = [part.name for part in self.parts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two parts are called {', '.join(twice)}")
        if not any(part.objective == "quality" and part.weight > 0 for part in self.parts):
            raise ValueError("no part says what is good: give one the objective quality and a weight")
        relative = [part.name for part in self.parts if part.normalise == "reference"]
        if relative and self.reference is None:
            raise ValueError(f"{', '.join(relative)}: `normalise: reference` needs the mixture's `reference`")
        return self


@dataclass(frozen=True, slots=True)
class Scale:
    """What is subtracted from a number, and what it is multiplied with."""

    shift: float | Floats = 0.0
    slope: float | Floats = 1.0

    def of(self, values: Floats) -> Floats:
        return (values - self.shift) * self.slope


class Mixture:
    """`score` is all that a user of it needs."""

    def __init__(self, settings: MixtureSettings, folder: Path = Path()) -> None:
        self._parts = settings.parts
        self._judges: dict[str, ToldJudge] = {}
        for part in self._parts:
            if _key(part) not in self._judges:
                self._judges[_key(part)] = _judge(part.source, folder, settings.sandbox)
        self._reference: dict[str, Scale] = {}
        if settings.reference is not None:
            self._reference = self._measured(folder / settings.reference)

    def score(self, prompts: Sequence[Any], answers: Sequence[str], columns: Columns | None = None) -> Scores:
        """`quality`, `violation`, `unscored` where no part knows the quality, and every part's own numbers.

        A part's number is NaN where it has nothing to say. `quality_action` is there where a reward model has it.
        """
        told = {key: judge.score(prompts, answers, columns) for key, judge in self._judges.items()}
        own = {part.name: _numbers(part, told[_key(part)]) for part in self._parts}
        good = [part for part in self._parts if part.objective == "quality"]
        scales = [self._scale(part, own[part.name], prompts) for part in good]
        quality_pa = [scale.of(own[part.name]) for part, scale in zip(good, scales, strict=True)]
        weight_pa = np.array([part.weight * ~np.isnan(own[part.name]) for part in good])
        mixed = {
            "quality": _mean(quality_pa, weight_pa) - _paid(self._parts, own),
            "violation": _worst(self._parts, own),
            "unscored": (weight_pa.sum(0) == 0).astype(np.float64),
        }
        if any("quality_action" in told[_key(part)] for part in good):
            none = np.zeros(len(answers))
            action_pa = [
                told[_key(part)].get("quality_action", none) * scale.slope
                for part, scale in zip(good, scales, strict=True)
            ]
            mixed["quality_action"] = _mean(action_pa, weight_pa)
        return own | mixed

    def _scale(self, part: Part, values: Floats, prompts: Sequence[Any]) -> Scale:
        match part.normalise:
            case "none":
                return Scale()
            case "group":
                return _within_groups(values, prompts)
            case "reference":
                return self._reference[part.name]

    def _measured(self, file: Path) -> dict[str, Scale]:
        """What the starting policy's answers get: fixed from here on, and the same wherever the file is."""
        rows = said(file)
        names = sorted({name for row in rows for name in row} - {"prompt", "answer"})
        columns = {name: [row.get(name) for row in rows] for name in names}
        relative = [part for part in self._parts if part.normalise == "reference"]
        told = {
            key: self._judges[key].score(
                [row["prompt"] for row in rows], [row["answer"] for row in rows], columns
            )
            for key in dict.fromkeys(map(_key, relative))
        }
        return {part.name: _over_all(part, _numbers(part, told[_key(part)]), file) for part in relative}


class Model:
    """A reward model as a judge. What is no number there is an error: it knows something about every answer."""

    def __init__(self, directory: Path, device: str) -> None:
        self._directory = directory
        self._model = load_model(directory, device=device)

    def score(self, prompts: Sequence[Any], answers: Sequence[str], columns: Columns | None = None) -> Scores:
        said = self._model.score(prompts, answers, columns=columns)
        for name, values in said.items():
            if not np.isfinite(values).all():
                first = int(np.argmin(np.isfinite(values)))
                raise InvalidInput(
                    f"reward model {str(self._directory)!r} says {name} {values[first]} about answer {first + 1}"
                )
        return said


def load(file: str | Path) -> Mixture:
    """The mixture that a YAML file describes."""
    path = Path(file)
    try:
        settings = MixtureSettings.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} is neither YAML nor JSON: {error}") from error
    except ValidationError as error:
        raise InvalidInput(f"{file}: {'; '.join(map(_told, error.errors()))}") from None
    return Mixture(settings, path.absolute().parent)


def _judge(source: Source, folder: Path, limits: SandboxSettings) -> ToldJudge:
    match source:
        case ModelSource():
            return Model(folder / source.model, source.device)
        case FunctionSource():
            return Program(source.function)
        case CommandSettings():
            return Command(source, folder, limits)
        case _:
            return checks.judge_of(source, folder, limits)


def _key(part: Part) -> str:
    """Parts with the same source share its judge, and what it said."""
    return part.source.model_dump_json()


def _numbers(part: Part, told: Mapping[str, Floats]) -> Floats:
    """The part's own, as its source says them; NaN where it has nothing to say."""
    name = part.objective if isinstance(part.source, ModelSource) else "quality"
    if name not in told:
        raise Misconfigured(f"part {part.name}: its reward model knows {', '.join(told)}, and no {name}")
    values = np.where(told.get("unscored", np.zeros(len(told[name]))) > 0, np.nan, told[name])
    if part.objective == "violation" and (odd := np.flatnonzero((values < 0) | (values > 1))).size:
        raise InvalidInput(
            f"part {part.name} says {values[odd[0]]} about answer {odd[0] + 1}: a violation is a probability"
        )
    return values


def _mean(values: Sequence[Floats], weight_pa: Floats) -> Floats:
    """Over the parts that have something to say; 0 where none has."""
    total = (np.nan_to_num(np.array(values)) * weight_pa).sum(0)
    weight = weight_pa.sum(0)
    mean: Floats = total / np.where(weight == 0, 1.0, weight)
    return mean


def _paid(parts: Sequence[Part], own: Mapping[str, Floats]) -> Floats:
    """What each answer loses for the bounds that it breaks and that have a price."""
    paid = np.zeros_like(own[parts[0].name])
    for part in parts:
        if part.price is not None:
            paid += part.price * part.broken(own[part.name])
    return paid


def _worst(parts: Sequence[Part], own: Mapping[str, Floats]) -> Floats:
    """The likeliest violation of an answer; one that breaks a bound without a price is one for certain."""
    said = [np.nan_to_num(own[part.name]) for part in parts if part.objective == "violation"]
    broken = [part.broken(own[part.name]) for part in parts if part.price is None]
    none = np.zeros_like(own[parts[0].name])
    worst: Floats = np.max([none, *said, *broken], axis=0)
    return worst


def _within_groups(values: Floats, prompts: Sequence[Any]) -> Scale:
    """Of the answers to each prompt; where they are all the same, nothing is left of them."""
    shift, slope = np.zeros(len(values)), np.zeros(len(values))
    groups: dict[str, list[int]] = {}
    for place, prompt in enumerate(prompts):
        groups.setdefault(json.dumps(prompt, sort_keys=True), []).append(place)
    for places in groups.values():
        known = values[places][~np.isnan(values[places])]
        if known.size and known.std() > EVEN:
            shift[places], slope[places] = known.mean(), 1.0 / known.std()
    return Scale(shift, slope)


def _over_all(part: Part, values: Floats, file: Path) -> Scale:
    known = values[~np.isnan(values)]
    if len(known) < 2 or known.std() < EVEN:
        raise InvalidInput(
            f"part {part.name}: {len(known)} answers of {file} have a number and all the same: "
            "give answers that differ, or another `normalise`"
        )
    return Scale(float(known.mean()), 1.0 / float(known.std()))


def _told(error: Any) -> str:
    return (
        f"{'.'.join(map(str, error['loc'])) or 'the mixture'}: {error['msg'][:1].lower()}{error['msg'][1:]}"
    )
