"""Runs of `heedful train` as they lie on disk: what each was asked for, from which data, and what came of it.

Every run leaves a card, `run.json`, in its directory; the curves and the answers lie beside it. Cards are compared by
what differs between them.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from heedful.errors import InvalidInput, NotFound
from heedful.lm import digests

CARD = "run.json"
DATA = (
    *("demonstrations", "thumbs", "prompts", "rankings", "reference"),
    *(f"{kind}{side}" for kind in ("preferences", "safety") for side in ("", "_holdout", "_replay")),
)
MODELS = ("model", "reward_model", "anchor")
VERSIONS = ("heedful", "torch", "transformers")
SHORT = 12  # of a digest, for people


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCard:
    """What a run was, and what came of it."""

    method: str
    spec: Mapping[str, Any]
    digests: Mapping[str, str]  # of the files and models that it names
    versions: Mapping[str, str]
    began: str  # of the process that ended it: a run that was cut off has others before
    seconds: float
    result: Mapping[str, Any] = field(default_factory=dict)


def digests_of(spec: Mapping[str, Any]) -> dict[str, str]:
    """Of every file and every directory of a model that an order names; what is on a hub has its name alone."""
    found = {}
    for name in (*DATA, *MODELS):
        path = Path(str(spec[name])) if spec.get(name) else None
        if path is not None and path.is_file():
            found[name] = digests.of_file(path)
        elif path is not None and path.is_dir():
            found[name] = digests.of_directory(path)
    return found


def leave(
    out: Path,
    method: str,
    spec: Mapping[str, Any],
    inputs: Mapping[str, str],
    began: datetime,
    seconds: float,
    result: Mapping[str, Any],
) -> RunCard:
    """Write a run's card into its directory."""
    card = RunCard(
        method=method,
        spec=spec,
        digests=inputs,
        versions={name: version(name) for name in VERSIONS} | {"python": platform.python_version()},
        began=began.astimezone(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        result=result,
    )
    out.mkdir(parents=True, exist_ok=True)
    beside = out / f"{CARD}.tmp"
    beside.write_text(json.dumps(asdict(card), indent=2, default=str) + "\n", encoding="utf-8")
    beside.replace(out / CARD)
    return card


def read(directory: Path) -> RunCard:
    """The card of the run in this directory."""
    try:
        told = json.loads((directory / CARD).read_text(encoding="utf-8"))
        return RunCard(**told)
    except FileNotFoundError:
        raise NotFound(
            f"{directory} holds no run: give the --out of a `heedful train` that has ended"
        ) from None
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"{directory / CARD} is no card of a run: {error}") from error


def lines(directory: Path, name: str) -> list[dict[str, Any]]:
    """What a run told line by line (`curve`, `audits`, `samples`); nothing where it told none."""
    file = directory / f"{name}.jsonl"
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]


# -- side by side --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compared:
    """Several runs: what they were asked for where it differs, their data, and every figure that came of them."""

    runs: tuple[str, ...]
    settings: dict[str, tuple[Any, ...]]
    data: dict[str, tuple[str | None, ...]]
    figures: dict[str, tuple[Any, ...]]

    def row(self) -> dict[str, Any]:
        return asdict(self)


def compare(directories: Sequence[Path]) -> Compared:
    """Runs by what differs between them."""
    if len(directories) < 2:
        raise InvalidInput("one run has nothing to be compared with: name two or more", field="runs")
    cards = [read(one) for one in directories]
    asked = [{"method": card.method} | _flat(card.spec) for card in cards]
    settings = {
        name: _each(asked, name)
        for name in _names(asked)
        if name not in (*DATA, *MODELS)
        and len({json.dumps(value, default=str) for value in _each(asked, name)}) > 1
    }
    data = {
        name: _each([card.digests for card in cards], name) for name in _names([c.digests for c in cards])
    }
    results = [
        {
            name: value
            for name, value in _flat(card.result).items()
            if isinstance(value, int | float) or name == "stopped"
        }
        | {"seconds": card.seconds}
        for card in cards
    ]
    figures = {name: _each(results, name) for name in _names(results)}
    return Compared(tuple(map(str, directories)), settings, data, figures)


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """All that any of them has, in the order in which it comes."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _each(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[Any, ...]:
    return tuple(row.get(name) for row in rows)


def _flat(told: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in told.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return flat
