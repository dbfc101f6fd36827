"""How far the signs that are read from conversations can be believed: precision and recall, sign by sign.

Every row of the data is a conversation with the sign that its last user message shows, or none. Each kind is
judged alone: found where it is named counts for it, found where it is not named counts against it. Without
`--data` the holdout is read where there is one, else the conversations that the rules were written with.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from heedful.feedback.implicit import KINDS, Line, edit_distance, latest

PRECISION_BOUND, RECALL_BOUND = 0.8, 0.5
ENOUGH = 5  # rows that show a kind; with fewer it is reported and not judged
HERE = Path(__file__).resolve().parents[1] / "tests" / "data"
DATA: Mapping[str, Path] = {"holdout": HERE / "implicit_holdout.jsonl", "dev": HERE / "implicit_dev.jsonl"}

ROLES: Mapping[str, str] = {
    other: role
    for role, others in {"user": "user human customer", "assistant": "assistant agent ai bot model"}.items()
    for other in others.split()
}
ALIASES: Mapping[str, str] = {
    other: kind
    for kind, others in {
        "rephrase": "rephrase rephrasing rephrased reformulate reformulation rephrased_question",
        "repeat": "repeat repeated repetition repeated_question repeat_question",
        "correction": "correction correct corrected correcting user_correction",
        "regenerate": "regenerate regeneration regenerated retry try_again",
        "abandon": "abandon abandonment abandoned abandoning give_up",
        "thanks": "thanks thank thank_you gratitude thanking",
        "escalate": "escalate escalation escalated escalating human_handoff",
    }.items()
    for other in others.split()
}
NOTHING = frozenset({"none", "null", "no_signal", "neutral", "other", ""})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    lines: tuple[Line, ...]
    now: datetime | None  # when the conversation was looked at
    shown: frozenset[str]  # kinds


def kinds(named: object) -> frozenset[str]:
    """One name, a list of names, or nothing."""
    names = named if isinstance(named, list) else [named]
    found = set()
    for name in names:
        plain = "" if name is None else str(name).strip().lower().replace("-", "_").replace(" ", "_")
        if plain in NOTHING:
            continue
        if plain not in ALIASES:
            raise ValueError(f"{name!r} is no kind of sign: there are {', '.join(KINDS)}")
        found.add(ALIASES[plain])
    return frozenset(found)


def moment(said: object) -> datetime | None:
    """ISO or seconds since 1970; without a zone it is UTC."""
    if said is None:
        return None
    if isinstance(said, int | float):
        return datetime.fromtimestamp(said, UTC)
    at = datetime.fromisoformat(str(said))
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def line(message: Mapping[str, object]) -> Line:
    role = str(message["role"])
    text = message.get("content", message.get("text"))
    if isinstance(text, list):  # parts, as some APIs have them
        text = "\n".join(str(part["text"]) for part in text if isinstance(part, dict) and "text" in part)
    at = moment(message.get("at", message.get("timestamp")))
    return Line(role=ROLES.get(role, role), text="" if text is None else str(text), at=at)


def read(path: Path) -> list[Row]:
    rows = []
    for number, text in enumerate(path.read_text().splitlines(), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
            shown = kinds(row["signals"] if "signals" in row else row["signal"])
            lines = tuple(line(message) for message in row["messages"])
            rows.append(Row(lines=lines, now=moment(row.get("now")), shown=shown))
        except (KeyError, TypeError, ValueError) as error:
            raise SystemExit(f"{path}, line {number}: {error!r}") from error
    return rows


def measured(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    right: Counter[str] = Counter()
    found: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    for row in rows:
        said = {sign.kind for sign in latest(row.lines, now=row.now)}
        right.update(said & row.shown)
        found.update(said)
        shown.update(row.shown)
    figures = {}
    for kind in KINDS:
        precision = right[kind] / found[kind] if found[kind] else 0.0
        recall = right[kind] / shown[kind] if shown[kind] else 0.0
        both = precision + recall
        figures[kind] = {
            "precision": round(precision, 3),
            "recall": round(recall, 3),
            "f1": round(2 * precision * recall / both, 3) if both else 0.0,
            "n": shown[kind],
        }
    return figures


def edit_seconds(words: int = 10_000) -> float:
    """For a draft and a text that have hardly a word in common: the slowest case of many methods."""
    chance = random.Random(7)
    draft, sent = (" ".join(str(chance.randrange(3000)) for _ in range(words)) for _ in range(2))
    started = time.perf_counter()
    edit_distance(draft, sent)
    return time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="JSON lines: messages, and signal or signals")
    parser.add_argument("--quick", action="store_true", help="the same: it takes a second or two")
    given: Path | None = parser.parse_args(arguments).data
    if given is not None and not given.is_file():
        parser.error(f"--data: there is no file {given}")
    named = next((name for name in DATA if DATA[name].is_file()), None)
    if given is None and named is None:
        parser.error(f"there is no {DATA['dev']}: name a file with --data")
    rows = read(given or DATA[str(named)])
    started = time.perf_counter()
    figures = measured(rows)
    seconds = time.perf_counter() - started
    for kind, figure in figures.items():
        print(f"{kind:11} " + "  ".join(f"{name} {value:g}" for name, value in figure.items()))
    judged = [figure for figure in figures.values() if figure["n"] >= ENOUGH]
    precision = min((figure["precision"] for figure in judged), default=0.0)
    recall = min((figure["recall"] for figure in judged), default=0.0)
    result = {
        "n": len(rows),
        "data": given.name if given else named,
        "without_sign": sum(not row.shown for row in rows),
        "signals": figures,
        "precision_min": precision,
        "precision_bound": PRECISION_BOUND,
        "recall_min": recall,
        "recall_bound": RECALL_BOUND,
        "milliseconds_each": round(1000 * seconds / max(1, len(rows)), 2),
        "edit_10000_words_seconds": round(edit_seconds(), 3),
        "ok": bool(judged) and precision >= PRECISION_BOUND and recall >= RECALL_BOUND,
    }
    print("RESULT " + json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
