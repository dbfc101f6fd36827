"""A reward model's report card from files, without a server: one model directory, one file of judgements.

The figures are those of `rewards/report.py`; here is what they are computed from. Where a row has several
answers on a side, the worst of the chosen is held against the best of the rejected.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from heedful.errors import InvalidInput
from heedful.lm import columns, digests
from heedful.rewards import explaining, report
from heedful.rewards.bounds import Bounds, verdict
from heedful.rewards.caching import MOST, Cached
from heedful.rewards.judge import Floats, Judge, Prompt, checked
from heedful.rewards.probes import PROBES, Finding, ProbeSettings, probe
from heedful.rewards.suites import suite

Track = Callable[[int, Mapping[str, float]], None]
SPREADS = ("spread", "doubt")  # scores that say how little the model knows, the first that there is
NOTHING = "(nothing)"  # of a row that does not say it


class ExamSpec(BaseModel):
    """Which model, judged by what, and what it must reach."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: Path
    """Directory of the reward model."""

    data: Path
    """JSONL: rows with `chosen` and `rejected`, and rows with `answer` and `score` or `violation`."""

    elsewhere: Path | None = None
    """JSONL of answers or pairs of another kind: is the model less sure there?"""

    slices: tuple[str, ...] = ()
    """Fields of the rows for each of whose values accuracy is told; a dot leads into a table."""

    noise: float | None = Field(None, ge=0, lt=0.5)
    """Share of choices that are the wrong way round, where it is known and the rows carry no votes."""

    objective: str = "quality"
    """Which of the model's scores is examined."""

    loader: str = "heedful.rewards.loading:load"
    """Dotted path of the function that loads a model from a directory."""

    cache: Path | None = None
    """File that keeps scores; nothing: they are computed anew."""

    most_cached: int = Field(MOST, ge=1)
    """Samples that it keeps at most."""

    probed: int = Field(200, ge=0)
    """Pairs whose answers are changed in style and scored again; 0: none."""

    explained: int = Field(0, ge=0)
    """Of the worst-judged pairs, how many are explained sentence by sentence."""

    bounds: Bounds = Bounds()
    """What the model must reach."""

    probes: ProbeSettings = ProbeSettings()
    """What no probe may do to it."""

    seed: int = 0
    """For the probes."""

    threads: int = Field(1, ge=1)
    """Threads of this process."""

    device: str = "cpu"
    """Where the model runs."""


@dataclass(frozen=True, slots=True)
class Examined:
    """A comparison and what the model made of it: the answers that decided it, and by how much."""

    row: Mapping[str, Any]
    prompt: Prompt
    chosen: str
    rejected: str
    difference: float  # of the scores


@dataclass(frozen=True, slots=True)
class Doubts:
    """How little the model knows, as it says itself."""

    of_answers: Floats
    of_pairs: Floats  # the larger of the two that decided


def run(spec: Mapping[str, Any], track: Track = lambda step, figures: None) -> dict[str, Any]:
    """Load, score, and tell: every figure by name, whether the model passed, and what it missed."""
    asked = ExamSpec.model_validate(spec)
    digest = digests.of_directory(asked.model)
    _threads(asked.threads)
    elsewhere = {} if asked.device == "cpu" else {"device": asked.device}
    judge = _loader(asked.loader)(asked.model, **elsewhere)
    unit = getattr(getattr(judge, "scale", None), "unit", 1.0)
    if asked.cache is not None:
        judge = Cached(judge, digest, asked.cache, most=asked.most_cached)
    return {"model": str(asked.model), "digest": digest} | examine(judge, asked, track, unit=unit)


def examine(
    judge: Judge, asked: ExamSpec, track: Track = lambda step, figures: None, *, unit: float = 1.0
) -> dict[str, Any]:
    """The card. `unit` turns a difference of scores into log-odds: scores may be in standard deviations."""
    pairs, rows = _read(asked)
    steps = count(1)

    def told() -> None:
        track(next(steps), {"steps": 2 + (len(PROBES) if asked.probed and pairs else 0)})

    card: dict[str, Any] = {
        "data": str(asked.data),
        "data_digest": digests.of_file(asked.data),
        "objective": asked.objective,
        "bounds": asked.bounds.model_dump(),
    }
    failed: dict[str, Any] = {}
    if pairs:
        examined, doubts = _compared(judge, pairs, asked.objective)
        card |= _figures(examined, asked, unit)
        failed |= verdict(card["quality"], asked.bounds)["failed"]
        if doubts is not None:
            card["disagreement"] = report.disagreement(
                doubts.of_answers,
                _doubts_elsewhere(judge, asked.elsewhere),
                report.ranked_right(_differences(examined)),
                doubts.of_pairs,
            )
        told()
        if asked.probed:
            found = _probed(judge, examined[: asked.probed], asked, told)
            card["probes"] = {name: asdict(one) | {"passed": one.passed} for name, one in found.items()}
            failed |= _missed(found)
        if asked.explained:
            worst = sorted(examined, key=lambda one: one.difference)[: asked.explained]
            card["explained"] = [
                _explained(judge, one, asked.objective) for one in worst if one.difference < 0
            ]
    card |= _of_answers(judge, rows, asked.objective)
    told()
    plain: dict[str, Any] = _plain(card | {"passed": not failed, "failed": failed})
    return plain


def _read(asked: ExamSpec) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Comparisons with a winner, and all other rows."""
    pairs = [row for row in columns.compared(asked.data) if not row.get("tie")]
    rows = columns.said(asked.data)
    if not pairs and not rows:
        raise InvalidInput(f"{asked.data} has nothing to examine a model with", field="data")
    if not pairs and asked.slices:
        raise InvalidInput(f"{asked.data} has no pairs to slice", field="slices")
    return pairs, rows


def _loader(path: str) -> Callable[..., Judge]:
    module, _, name = path.partition(":")
    try:
        found: Callable[..., Judge] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInput(
            f"loader: {path!r} is no function that can be imported, as package.module:name ({error})"
        ) from error
    return found


def _figures(examined: Sequence[Examined], asked: ExamSpec, unit: float) -> dict[str, Any]:
    """What the differences alone tell."""
    differences = _differences(examined) * unit
    prompts = [_key(one.prompt) for one in examined]
    card: dict[str, Any] = {
        "quality": report.pair_report(
            differences,
            np.array([float(len(one.chosen)) for one in examined]),
            np.array([float(len(one.rejected)) for one in examined]),
            prompts,
        ),
        "reliability": report.reliability(differences),
        "raters": _raters(examined, report.ranked_right(differences), asked.noise),
        "slices": {
            field: report.slices(differences, _values(examined, field), prompts) for field in asked.slices
        },
    }
    if any("subset" in one.row for one in examined):
        card["suite"] = suite(differences, [str(one.row.get("subset", NOTHING)) for one in examined])
    return card


def _probed(
    judge: Judge, examined: Sequence[Examined], asked: ExamSpec, told: Callable[[], None]
) -> dict[str, Finding]:
    return probe(
        judge,
        [one.prompt for one in examined],
        [(one.chosen, one.rejected) for one in examined],
        asked.probes,
        name=asked.objective,
        seed=asked.seed,
        told=told,
    )


def _missed(found: Mapping[str, Finding]) -> dict[str, Any]:
    """As bounds are: by name, with value and limit."""
    return {
        f"probes.{name}.{one.missed.limit}": {"value": one.missed.value, "limit": one.missed.bound}
        for name, one in found.items()
        if one.missed is not None
    }


def _compared(
    judge: Judge, rows: Sequence[Mapping[str, Any]], objective: str
) -> tuple[list[Examined], Doubts | None]:
    """The comparisons; and, where the model tells them, its doubts."""
    texts = [(row["prompt"], text) for row in rows for text in (*row["chosen"], *row["rejected"])]
    said = judge.score([prompt for prompt, _ in texts], [text for _, text in texts])
    scores, doubts = checked(said, objective), _first(said)
    found, largest, start = [], [], 0
    for row in rows:
        between = start + len(row["chosen"])
        end = between + len(row["rejected"])
        low = start + int(scores[start:between].argmin())
        high = between + int(scores[between:end].argmax())
        difference = float(scores[low] - scores[high])
        found.append(Examined(row, row["prompt"], texts[low][1], texts[high][1], difference))
        if doubts is not None:
            largest.append(float(max(doubts[low], doubts[high])))
        start = end
    return found, None if doubts is None else Doubts(doubts, np.array(largest))


def _doubts_elsewhere(judge: Judge, elsewhere: Path | None) -> Floats:
    if elsewhere is None:
        return np.array([])
    texts = [(row["prompt"], row["answer"]) for row in columns.said(elsewhere)]
    texts += [
        (row["prompt"], text)
        for row in columns.compared(elsewhere)
        for text in (*row["chosen"], *row["rejected"])
    ]
    found = _first(judge.score([prompt for prompt, _ in texts], [text for _, text in texts]))
    return np.array([]) if found is None else found


def _of_answers(judge: Judge, rows: Sequence[Mapping[str, Any]], objective: str) -> dict[str, Any]:
    """Against the scores and flags that answers were given."""
    given = [row for row in rows if _number(row.get("score"))]
    flagged = [row for row in rows if row.get("violation") is not None]
    card: dict[str, Any] = {}
    if given:
        said = judge.score([row["prompt"] for row in given], [row["answer"] for row in given])
        scores = np.array([float(row["score"]) for row in given])
        card["correlation"] = report.correlation(checked(said, objective), scores)
    if flagged:
        said = judge.score([row["prompt"] for row in flagged], [row["answer"] for row in flagged])
        flags = np.array([float(bool(row["violation"])) for row in flagged])
        card["safety"] = report.flag_report(checked(said, "violation"), flags)
    if rows and not card:
        raise InvalidInput("the rows without `chosen` have neither a numeric `score` nor a `violation`")
    return card


def _raters(examined: Sequence[Examined], right: Floats, noise: float | None) -> dict[str, Any] | None:
    """What the raters' own agreement allows: by their votes, else by the share that agreed, else by a known noise."""
    votes = [_votes(one.row) for one in examined]
    if any(votes):
        some = [place for place, both in enumerate(votes) if both]
        known = [both for both in votes if both]
        agreed = np.array([own / (own + other) for own, other in known])
        ceilings = np.array([report.ceiling_of_votes(*both) for both in known])
        return {"by": "votes", **report.against_raters(right[some], agreed, ceilings)}
    shares = [_agreement(one.row) for one in examined]
    some = [place for place, share in enumerate(shares) if share is not None]
    if some:
        agreed = np.array([share for share in shares if share is not None])
        most = np.maximum(agreed, 1 - agreed)
        return {"by": "agreement", **report.against_raters(right[some], agreed, most)}
    return None if noise is None else {"by": "noise", **report.against_noise(right, noise)}


def _votes(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """`votes` for the chosen and for the rejected, as {"chosen", "rejected"} or in that order; two at least."""
    found = row.get("votes")
    both = [found.get("chosen", 0), found.get("rejected", 0)] if isinstance(found, Mapping) else found
    if both is None:
        return None
    if not isinstance(both, list) or len(both) != 2 or not all(_number(one) and one >= 0 for one in both):
        raise InvalidInput(f"votes of {found!r}: how many were for the chosen and how many for the rejected")
    return (float(both[0]), float(both[1])) if sum(both) >= 2 else None


def _agreement(row: Mapping[str, Any]) -> float | None:
    found = row.get("agreement")
    if found is None:
        return None
    if not _number(found) or not 0 <= found <= 1:
        raise InvalidInput(
            f"an agreement of {found!r}: the share of raters who chose as the row says, 0 to 1"
        )
    return float(found)


def _values(examined: Sequence[Examined], field: str) -> list[str]:
    found = [_within(one.row, field.split(".")) for one in examined]
    if all(value is None for value in found):
        known = sorted({name for one in examined for name in one.row})
        raise InvalidInput(f"no row says {field!r}: there is {', '.join(known)}", field="slices")
    return [NOTHING if value is None else str(value) for value in found]


def _within(row: Any, path: Sequence[str]) -> Any:
    for name in path:
        row = row.get(name) if isinstance(row, Mapping) else None
    return row


def _explained(judge: Judge, one: Examined, objective: str) -> dict[str, Any]:
    sides = explaining.explain(judge, one.prompt, [one.chosen, one.rejected], name=objective)
    return {
        "prompt": [dict(message) for message in one.prompt],
        "difference": one.difference,
        "chosen": asdict(sides[0]),
        "rejected": asdict(sides[1]),
    }


def _first(said: Mapping[str, Floats]) -> Floats | None:
    return next((np.asarray(said[name]) for name in SPREADS if name in said), None)


def _differences(examined: Sequence[Examined]) -> Floats:
    return np.array([one.difference for one in examined])


def _key(prompt: Prompt) -> str:
    return json.dumps(prompt, sort_keys=True, ensure_ascii=False)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _plain(value: Any) -> Any:
    """As JSON has it: what is no number is null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)
