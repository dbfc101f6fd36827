"""Try settings within bounds and keep the best: seeded, budgeted, and gone on with after a stop.

Settings are drawn by a Latin hypercube, so that few trials already reach into every part of every range. Only the
best trial's model is kept; what every trial was asked and came to stands in `trials.jsonl`, and the best one's
settings in `best.yaml`, which `heedful train --config` takes.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from scipy.stats import qmc

from heedful.commands import teaching
from heedful.errors import HeedfulError, InvalidInput

WIDE = 10.0  # a range whose end is so many times its beginning is gone through by its logarithm


@dataclass(frozen=True, slots=True)
class Goal:
    """Which figure of a result is wanted, and whether low or high."""

    path: str  # such as report.quality.log_loss
    highest: bool

    def of(self, result: Mapping[str, Any]) -> float:
        value: Any = result
        for step in self.path.split("."):
            if not isinstance(value, Mapping) or step not in value:
                known = ", ".join(value) if isinstance(value, Mapping) else "nothing below it"
                raise InvalidInput(
                    f"the result has no {self.path!r}: at {step!r} it has {known}", field="metric"
                )
            value = value[step]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidInput(f"{self.path!r} is {value!r}: a metric is a number", field="metric")
        return float(value)

    def better(self, one: float, other: float) -> bool:
        return one > other if self.highest else one < other


GOALS: Mapping[str, Goal] = {
    "sft": Goal("held_out_loss", highest=False),
    "reward": Goal("report.quality.log_loss", highest=False),
    "ensemble": Goal("report.quality.log_loss", highest=False),
    "sparse": Goal("report.quality.log_loss", highest=False),
    "dpo": Goal("held_out.accuracy", highest=True),
    "grpo": Goal("reward_after", highest=True),
    "ppo": Goal("reward_after", highest=True),
    "kto": Goal("held_out.accuracy", highest=True),
}
KEPT_BACK = {"dpo": 0.1, "kto": 0.1}  # share of the prompts, where the method itself keeps nothing back


def goal_of(method: str, path: str | None, *, highest: bool) -> Goal:
    """What was asked for, or what the method is usually judged by."""
    if method not in GOALS:
        raise InvalidInput(f"{method} is not swept: there is {', '.join(GOALS)}", field="method")
    return GOALS[method] if path is None else Goal(path, highest)


@dataclass(frozen=True, slots=True)
class Dial:
    """One setting, and what it may be: any of some values, or from one number up to another."""

    name: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False

    def at(self, share: float) -> Any:
        """Its value so far along, from 0 up to 1."""
        if self.values:
            return self.values[min(int(share * len(self.values)), len(self.values) - 1)]
        if self.low > 0 and self.high >= WIDE * self.low:
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + (self.high - self.low) * share
        return round(value) if self.whole else float(f"{value:.4g}")


def dial(text: str) -> Dial:
    """From NAME=LOW..HIGH or NAME=VALUE,VALUE."""
    name, equals, said = text.partition("=")
    if not equals or not name or not said:
        raise InvalidInput(f"{text!r} is neither NAME=LOW..HIGH nor NAME=VALUE,VALUE", field="vary")
    if ".." not in said:
        return Dial(name, values=tuple(yaml.safe_load(one) for one in said.split(",")))
    ends = said.split("..")
    try:
        low, high = (float(end) for end in ends)
    except ValueError:
        raise InvalidInput(f"{text!r}: a range is two numbers with .. between them", field="vary") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InvalidInput(f"{text!r}: a range goes from a number up to a larger one", field="vary")
    return Dial(name, low=low, high=high, whole=all(end.strip().lstrip("-").isdigit() for end in ends))


def drawn(dials: Sequence[Dial], trials: int, seed: int) -> list[dict[str, Any]]:
    """What each trial sets."""
    shares = qmc.LatinHypercube(len(dials), rng=seed).random(trials)
    return [{one.name: one.at(share) for one, share in zip(dials, row, strict=True)} for row in shares]


@dataclass(frozen=True, slots=True)
class Trial:
    number: int
    values: dict[str, Any]
    figure: float | None = None  # None where it came to none
    why: str | None = None  # it did not

    def row(self) -> dict[str, Any]:
        return {"trial": self.number, "values": self.values, "figure": self.figure, "why": self.why}


@dataclass(frozen=True, slots=True)
class Sweep:
    """What came of it."""

    goal: Goal
    trials: tuple[Trial, ...]
    best: Trial | None
    model: str | None  # directory of the best trial

    def row(self) -> dict[str, Any]:
        return {
            "metric": self.goal.path,
            "best": None if self.best is None else self.best.row(),
            "model": self.model,
            "trials": [trial.row() for trial in self.trials],
        }


def run(
    method: str,
    spec: dict[str, Any],
    dials: Sequence[Dial],
    out: Path,
    track: Callable[[int, Mapping[str, float]], None],
    *,
    goal: Goal,
    trials: int,
    seconds: float | None,
    seed: int,
) -> Sweep:
    """Trials one after the other; those that `out` remembers are not repeated. Stops when its time is over."""
    if not dials:
        raise InvalidInput(
            "nothing to vary: give --vary NAME=LOW..HIGH or NAME=A,B,C, once or more", field="vary"
        )
    if method in KEPT_BACK:
        spec = {"held_out": KEPT_BACK[method]} | spec
    for one in dials:
        teaching.check(method, spec | {one.name: one.at(0.0)})
    asked = {
        "method": method,
        "spec": spec,
        "vary": [repr(one) for one in dials],
        "seed": seed,
        "trials": trials,
    }
    out.mkdir(parents=True, exist_ok=True)
    _same_or_new(out / "sweep.json", asked)
    done = _remembered(out / "trials.jsonl")
    until = None if seconds is None else time.monotonic() + seconds
    for number, values in enumerate(drawn(dials, trials, seed)):
        if number < len(done):
            continue
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            break
        trial = _trial(method, spec | values, number, values, out, track, goal, left)
        if trial is None:
            break
        done.append(trial)
        with (out / "trials.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(trial.row()) + "\n")
        _keep_best(out, spec, done, goal)
    best = _best(done, goal)
    return Sweep(goal, tuple(done), best, None if best is None else str(_place(out, best)))


def _trial(
    method: str,
    spec: dict[str, Any],
    number: int,
    values: dict[str, Any],
    out: Path,
    track: Callable[[int, Mapping[str, float]], None],
    goal: Goal,
    left: float | None,
) -> Trial | None:
    """None when its time was over before it was done: it can be gone on with."""
    from heedful.lm import state
    from heedful.lm.budget import Spent

    place = out / f"{number:03d}"
    budget = {} if left is None else {"seconds": min(left, spec.get("seconds") or left)}
    try:
        result = teaching.run(method, spec | budget, place, track, resume=(place / state.FOLDER).is_dir())
    except InvalidInput:
        raise  # a setting that is none is wrong in every trial
    except HeedfulError as error:  # it diverged: that is a result
        return Trial(number, values, why=str(error))
    if result["stopped"] in get_args(Spent):
        return None
    return Trial(number, values, figure=goal.of(result))


def _same_or_new(file: Path, asked: dict[str, Any]) -> None:
    text = json.dumps(asked, sort_keys=True, default=str)
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise InvalidInput(
            f"{file.parent} holds another sweep: give another --out, or remove it", field="out"
        )
    file.write_text(text, encoding="utf-8")


def _remembered(file: Path) -> list[Trial]:
    if not file.exists():
        return []
    rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return [Trial(row["trial"], row["values"], row["figure"], row["why"]) for row in rows]


def _best(trials: Sequence[Trial], goal: Goal) -> Trial | None:
    best: tuple[float, Trial] | None = None
    for trial in trials:
        if trial.figure is not None and (best is None or goal.better(trial.figure, best[0])):
            best = (trial.figure, trial)
    return None if best is None else best[1]


def _keep_best(out: Path, spec: dict[str, Any], trials: Sequence[Trial], goal: Goal) -> None:
    """Its settings for the next run, and its model; of all others only the figures."""
    best = _best(trials, goal)
    for trial in trials:
        if trial is not best:
            shutil.rmtree(_place(out, trial), ignore_errors=True)
    if best is not None:
        (out / "best.yaml").write_text(yaml.safe_dump(spec | best.values), encoding="utf-8")


def _place(out: Path, trial: Trial) -> Path:
    return out / f"{trial.number:03d}"
