"""Let a reward model learn a little from what came in lately, if a holdout shows that it does not get worse by it.

A task: `run(spec, work, track)`. Rows wait in a buffer. When there are enough, a sample of them, the newest first of
all, is mixed with old rows, and the model goes a few steps on from its own weights. Then it is held against the model
before it, and against two older ones: the first that this buffer refreshed, and the best since, because many falls that
are each too small to see add up. What holds becomes the new model, in a directory of its own; the sample has taught.
What does not hold is dropped, the sample goes into quarantine with the reason, and the model before stays what it
was: nothing is ever written where it lies.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from heedful.buffer.directory import DirectoryBuffer
from heedful.buffer.recent import RecentSettings
from heedful.errors import InvalidInput, TrainingFailed
from heedful.lm import columns, digests, state
from heedful.lm.flat import require_room
from heedful.lm.layout import Tree
from heedful.lm.loop import Track, set_up
from heedful.lm.records import key_of, read_records, write_records
from heedful.lm.splits import Rows
from heedful.rewards.bounds import Bounds
from heedful.rewards.data import Data, decided, said, texts
from heedful.rewards.finding import doubt_of, scale_like
from heedful.rewards.grading import graded
from heedful.rewards.guard import (
    Finding,
    GuardSettings,
    Holdout,
    Scores,
    compared,
    figures,
    idle,
    prompt_of,
    require_enough,
    scored,
)
from heedful.rewards.learning import LessonSettings, taught
from heedful.rewards.loading import card_in
from heedful.rewards.loading import load as load_any
from heedful.rewards.model import RewardModel, load
from heedful.rewards.scale import Scale

MARKS = "marks.json"  # in the buffer: the first model and the best one
UNFIT = "longer than the model reads, or about something of which it tells nothing"
SOURCES: Mapping[str, str] = {"quality": "preferences_replay", "safety": "safety_replay"}
LOSSES: Mapping[str, str] = {"quality": "log_loss", "safety": "flag_loss"}
LESSON = "lesson.jsonl"  # in the run's directory: what was learned from
Gained = Mapping[str, list[Finding]]  # by which model it was held against


class RefreshSpec(LessonSettings):
    """Which model, from which rows, held against what."""

    model: Path
    """Directory of the reward model that is in use."""

    buffer: Path
    """Directory in which rows wait, and stay when they have taught or were refused."""

    preferences: Path | None = None
    """JSONL of new pairs for the buffer, as for a fit. `at` says when a row came in (seconds, or a date with a
    time zone), never later than the file was written; where it says nothing, then."""

    safety: Path | None = None
    """JSONL of new flags for the buffer, likewise."""

    preferences_holdout: Path
    """JSONL of pairs whose better answer is known, by experts or as gold questions. Nothing ever learns from them."""

    safety_holdout: Path | None = None
    """JSONL of flags that are known likewise; needed where the model tells violations."""

    preferences_replay: Path | None = None
    """JSONL of pairs that the model learned from before."""

    safety_replay: Path | None = None
    """JSONL of flags likewise; needed where the model tells violations."""

    replay: float = Field(0.5, ge=0, lt=1)
    """Share of old rows beside the new ones, of each objective: without them what is new drives out what is known."""

    sample: int = Field(256, ge=1)
    """Rows taken from the buffer for one refresh, at most."""

    recent: RecentSettings = RecentSettings()
    """How much waits, and how fast it fades."""

    guard: GuardSettings = GuardSettings()
    """By how much a figure may fall."""

    anchor: Path | None = None
    """Directory of the model that no later one may be worse than; nothing: the first that this buffer refreshed."""

    bounds: Bounds = Bounds()
    """What the report must show, or later stops refuse the model."""

    epochs: float = Field(1.0, gt=0)
    """Passes over what is learned."""

    rate: float = Field(1e-4, gt=0)
    """Highest learning rate of the backbone; for pretrained models use far less."""

    head_rate: float = Field(1e-3, gt=0)
    """Highest learning rate of the heads."""

    warmup: int = Field(2, ge=0)
    """Steps over which the rate rises."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a refresh learns from."""

    new: Rows  # from the buffer
    old: Rows

    @property
    def data(self) -> Data:
        rows = [*self.new, *self.old]
        pairs, flags = ([row for row in rows if _kind(row) == kind] for kind in ("quality", "safety"))
        return Data(pairs, [], flags)


@dataclass(frozen=True, slots=True)
class Mark:
    """A model that stays a measure; the digest says that it is still the same."""

    directory: str
    digest: str

    @classmethod
    def at(cls, directory: Path) -> Mark:
        return cls(str(directory.resolve()), digests.of_directory(directory))


def run(spec: dict[str, Any], work: Path, track: Track) -> dict[str, Any]:
    """Refresh, or not; returns {"outcome", "reward", "why", "against", "sampled", "waiting", "quarantined", "stopped"}.

    `outcome` is accepted, refused, or waiting where too little has come in; `reward` is the model to use from now on.
    """
    settings = RefreshSpec.model_validate(spec)
    set_up(settings)
    if (work / "reward").exists() and not (work / state.FOLDER).is_dir():
        raise InvalidInput(
            f"{work / 'reward'} is there, and no model is written over: give another directory"
        )
    model, buffer = _opened(settings), DirectoryBuffer(settings.buffer, settings.recent)
    holdout, replay = _holdout(settings, model), _replay(settings)
    new = _arrived(settings)
    _require_apart(
        holdout,
        {
            "the new rows": [row for _, row in new],
            "the replay": replay,
            f"{str(settings.buffer)!r}": [*(row for _, row in buffer.waiting()), *buffer.went("taught")],
        },
    )
    buffer.put(new)
    lesson = _lesson(settings, model, buffer, replay, work)
    if not lesson.new:
        few = f"{len(buffer.waiting())} rows wait, and {settings.recent.fewest} are the fewest that are learned from"
        return _result("waiting", settings.model, buffer, why=[few])
    marks, before = _marks(settings), scored(model, holdout)
    key = key_of(spec, work / LESSON, settings.preferences_holdout, settings.safety_holdout)
    try:
        stopped = taught(model, lesson.data, settings, work, track, key)
        if stopped != "done":
            return _result("stopped", settings.model, buffer, stopped=stopped)
        model.scale = Scale()
        after = scored(model, holdout)
        gained = _gained(after, before, holdout, marks, settings)
    except TrainingFailed as error:  # such rows would come again and again
        return _refused(settings, buffer, lesson, work, [str(error)], {})
    why = [one.told(name) for name, found in gained.items() for one in found if not one.held]
    why += idle(gained["former"], {LOSSES[_kind(row)] for row in lesson.new})
    if why:
        return _refused(settings, buffer, lesson, work, why, gained)
    report = graded(model, holdout.pairs, holdout.flags, settings.bounds)
    _finish(model, before, after, holdout, [*replay, *buffer.went("taught"), *lesson.new])
    _save(model, work / "reward", report | {"refreshed": {"from": str(settings.model), **_rows(gained)}})
    buffer.move(lesson.new, "taught")
    _mark(settings, marks, gained, work / "reward")
    state.discard(work)
    return _result("accepted", work / "reward", buffer, **_told(lesson, gained))


def _refused(
    settings: RefreshSpec, buffer: DirectoryBuffer, lesson: Lesson, work: Path, why: list[str], gained: Gained
) -> dict[str, Any]:
    buffer.move(lesson.new, "quarantine", why="; ".join(why))
    state.discard(work)
    return _result("refused", settings.model, buffer, why=why, **_told(lesson, gained))


def _told(lesson: Lesson, gained: Gained) -> dict[str, Any]:
    return {"against": _rows(gained), "sampled": len(lesson.new), "old": len(lesson.old)}


def _result(outcome: str, reward: Path, buffer: DirectoryBuffer, **more: Any) -> dict[str, Any]:
    counts = {"waiting": len(buffer.waiting()), "quarantined": len(buffer.went("quarantine"))}
    known = {"why": [], "against": {}, "sampled": 0, "old": 0, "stopped": "done"}
    return {"outcome": outcome, "reward": str(reward)} | known | counts | more


def _rows(gained: Gained) -> dict[str, Any]:
    return {name: {one.figure: one.row() for one in found} for name, found in gained.items()}


# -- what there is -------------------------------------------------------------------------------------------


def _opened(settings: RefreshSpec) -> RewardModel:
    kind = card_in(settings.model).get("kind")
    if kind is not None:
        raise InvalidInput(
            f"{str(settings.model)!r} is a reward model of kind {kind!r}, which is not taught bit by bit: fit it anew",
            field="model",
        )
    return load(settings.model, device=settings.device)


def _holdout(settings: RefreshSpec, model: RewardModel) -> Holdout:
    found = Holdout(
        decided(columns.judgements(settings.preferences_holdout)),
        columns.flags(settings.safety_holdout) if settings.safety_holdout else [],
    )
    require_enough(found, settings.guard, model.objectives)
    return found


def _replay(settings: RefreshSpec) -> Rows:
    pairs, flags = settings.preferences_replay, settings.safety_replay
    return [*(columns.judgements(pairs) if pairs else ()), *(columns.flags(flags) if flags else ())]


def _arrived(settings: RefreshSpec) -> list[tuple[float, dict[str, Any]]]:
    """New rows, and the seconds when each came in."""
    found = []
    for file, rows_in in ((settings.preferences, columns.judgements), (settings.safety, columns.flags)):
        if file is not None:
            rows, written = rows_in(file), file.stat().st_mtime
            for number, (row, record) in enumerate(zip(rows, read_records(file), strict=True), start=1):
                at = _seconds(record.get("at", written), f"{file}: row {number}")
                found.append((min(at, written), row))  # one from the future would stay the newest for ever
    return found


def _seconds(at: Any, where: str) -> float:
    if isinstance(at, int | float) and not isinstance(at, bool):
        return float(at)
    try:
        moment = datetime.fromisoformat(at)
    except (TypeError, ValueError):
        raise InvalidInput(f"{where} has at={at!r}: seconds, or a date as 2026-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        raise InvalidInput(f"{where} has at={at!r} without a time zone: add one, such as Z")
    return moment.astimezone(UTC).timestamp()


def _require_apart(holdout: Holdout, others: Mapping[str, Rows]) -> None:
    """What is learned from says nothing new of itself."""
    known = holdout.prompts
    for name, rows in others.items():
        shared = sorted({prompt_of(row) for row in rows} & known)
        if shared:
            raise InvalidInput(
                f"{name} and the holdout share {len(shared)} prompts, the first {shared[0][:200]}: leave them out of "
                "one of the two",
                field="preferences_holdout",
            )


def _kind(row: Mapping[str, Any]) -> str:
    """Which objective it is about."""
    return "safety" if "violation" in row else "quality"


# -- what is learned -----------------------------------------------------------------------------------------


def _lesson(
    settings: RefreshSpec, model: RewardModel, buffer: DirectoryBuffer, replay: Rows, work: Path
) -> Lesson:
    """Drawn once: a run that is gone on with finds it beside its states, whatever came in since."""
    file = work / LESSON
    if (work / state.FOLDER).is_dir() and file.is_file():
        drawn = read_records(file, "new", "row")
        return Lesson(*([one["row"] for one in drawn if one["new"] is new] for new in (True, False)))
    random = np.random.default_rng(settings.seed)
    drawn = buffer.waiting().sample_recent(settings.sample, random)
    unfit = [row for row in drawn if not _fits(row, model)]
    buffer.move(unfit, "quarantine", why=UNFIT)
    new = [row for row in drawn if row not in unfit]
    if not new:
        return Lesson([], [])
    known = [*replay, *buffer.went("taught")]
    wanted = round(len(new) * settings.replay / (1 - settings.replay))
    old = [row for kind in model.objectives for row in _drawn(known, kind, wanted, random)]
    work.mkdir(parents=True, exist_ok=True)
    rows = [{"new": True, "row": row} for row in new] + [{"new": False, "row": row} for row in old]
    write_records(file, rows)
    return Lesson(new, old)


def _fits(row: dict[str, Any], model: RewardModel) -> bool:
    """One row that the model cannot learn from must not keep all others from it."""
    prompts, answers = model.encode([row["prompt"]], texts(row))
    try:
        require_room(model.backbone, [Tree(prompts[0], answers)])
    except InvalidInput:
        return False
    return _kind(row) in model.objectives


def _drawn(known: Rows, kind: str, wanted: int, random: np.random.Generator) -> Rows:
    """Old rows about one objective; of each that the model tells, also where nothing new came in about it: the backbone
    that all of them read from moves."""
    there = [row for row in known if _kind(row) == kind]
    if wanted and not there:
        source = SOURCES[kind]
        raise InvalidInput(
            f"replay asks for old rows about {kind} and there are none: give {source}, or replay=0",
            field=source,
        )
    chosen = random.choice(len(there), min(wanted, len(there)), replace=False) if wanted else ()
    return [there[place] for place in chosen]


# -- what it is held against ---------------------------------------------------------------------------------


def _marks(settings: RefreshSpec) -> dict[str, Mark]:
    """The first model and the best one, as they were."""
    file = settings.buffer / MARKS
    if settings.anchor is not None or not file.is_file():
        first = Mark.at(settings.anchor or settings.model)
        return {"first": first, "best": first}
    marks = {name: Mark(**mark) for name, mark in json.loads(file.read_text(encoding="utf-8")).items()}
    for name, mark in marks.items():
        if not Path(mark.directory).is_dir() or Mark.at(Path(mark.directory)) != mark:
            raise InvalidInput(
                f"{mark.directory!r}, the {name} model that this buffer refreshed, is gone or is no longer what it "
                "was: put it back, or name the one that no other may be worse than (anchor)",
                field="anchor",
            )
    return marks


def _gained(
    after: Scores, before: Scores, holdout: Holdout, marks: Mapping[str, Mark], settings: RefreshSpec
) -> Gained:
    """Against each model; one that is two of them is asked once."""
    known = {Mark.at(settings.model).digest: before}
    for mark in marks.values():
        if mark.digest not in known:
            known[mark.digest] = scored(load_any(mark.directory, device=settings.device), holdout)
    earlier = {"former": before} | {name: known[mark.digest] for name, mark in marks.items()}
    now = figures(after, holdout)
    return {
        name: compared(now, figures(said, holdout), holdout, settings.guard, seed=settings.seed)
        for name, said in earlier.items()
    }


def _mark(settings: RefreshSpec, marks: Mapping[str, Mark], gained: Gained, reward: Path) -> None:
    """The best is a model that is surely ahead of the one that was: a measure that only rises."""
    found = {one.figure: one for one in gained["best"]}
    ahead = (
        found["log_loss"].gained and found["accuracy"].gain >= 0
        if "log_loss" in found
        else found["flag_loss"].gained
    )
    kept = dict(marks) | ({"best": Mark.at(reward)} if ahead else {})
    beside = (settings.buffer / MARKS).with_suffix(".writing")
    beside.write_text(json.dumps({name: asdict(mark) for name, mark in kept.items()}), encoding="utf-8")
    beside.replace(settings.buffer / MARKS)


# -- what it becomes -----------------------------------------------------------------------------------------


def _finish(model: RewardModel, before: Scores, raw: Scores, holdout: Holdout, known: Rows) -> None:
    """Its scale stays the one that policies are used to, and its doubt is about the weights that it now has."""
    rows, pairs = [*holdout.pairs, *holdout.flags], len(holdout.pairs)
    if "quality" in raw:
        zeros_m = model.each(*said(rows)).mean(0) if model.members > 1 else np.zeros(0)
        odds_p = raw["quality"][:pairs] - raw["quality"][pairs : 2 * pairs]
        model.scale = scale_like(before, raw, zeros_m, odds_p)
    if model.doubt is not None:
        model.doubt = doubt_of(model, known, rows) or model.doubt


def _save(model: RewardModel, directory: Path, report: Mapping[str, Any]) -> None:
    """Whole, or not there."""
    beside = directory.with_name(f"{directory.name}.writing")
    for place in (beside, directory):  # of this very run, when it was cut off
        shutil.rmtree(place, ignore_errors=True)
    model.save(beside, report=report)
    beside.rename(directory)
