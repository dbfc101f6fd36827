"""Rows as other trainers write them, in the one form that ours take.

A prompt is text or a list of messages; an answer is text, or messages that end with the assistant's. Where `chosen` and
`rejected` are whole conversations, what they share is the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from heedful.errors import InvalidInput
from heedful.lm.records import read_records

Row = dict[str, Any]
GROUPS = ("product", "segment", "language")  # for whom an answer was meant
Messages = list[dict[str, str]]


def demonstrations(path: Path) -> list[Row]:
    """{"prompt", "answer", "weight"} from `prompt` with `answer` or `completion`, or from `messages`."""
    return _each(path, _demonstration)


def pairs(path: Path) -> list[Row]:
    """{"prompt", "chosen", "rejected", "weight"}, decided ones only."""
    return _each(path, _decided)


def judgements(path: Path) -> list[Row]:
    """As `pairs`, and what a row says of its `margin`, of a `tie`, and of whom the answers were meant for."""
    return _each(path, lambda record: _pair(record) | _verdict(record) | _groups(record))


def rankings(path: Path) -> list[Row]:
    """{"prompt", "ranking", "weight"}: best first, each place a list of answers that are equally good."""
    return _each(path, lambda record: _ranking(record) | _groups(record))


def flags(path: Path) -> list[Row]:
    """{"prompt", "answer", "violation", "weight"}: a flag is true, false, or a share from 0 to 1."""
    return _each(path, lambda record: _demonstration(record) | {"violation": _flag(record)})


def prompts(path: Path) -> list[Row]:
    """{"prompt"}, with all else that a row says."""

    def made(record: Mapping[str, Any]) -> Row:
        return dict(record) | {"prompt": _messages(_one(record, "prompt"), "prompt")}

    return _each(path, made, weighed=False)


def compared(path: Path) -> list[Row]:
    """{"prompt", "chosen": [...], "rejected": [...]} of the rows that have them, with all else that they say.
    A benchmark's row may have several answers on a side, as a list of texts."""
    return _each(path, _compared, where=lambda record: "chosen" in record)


def said(path: Path) -> list[Row]:
    """{"prompt", "answer"} of all other rows, with all else that they say: a score, a flag."""
    return _each(
        path,
        lambda record: dict(record) | _demonstration(record),
        where=lambda record: "chosen" not in record,
    )


def thumbs(path: Path) -> list[Row]:
    """{"prompt", "answer", "up", "weight"} from `prompt`, `answer` or `completion`, and `up` or `label`."""
    return _each(path, _thumb)


def _each(
    path: Path,
    made: Callable[[Mapping[str, Any]], Row],
    where: Callable[[Mapping[str, Any]], bool] = lambda _: True,
    *,
    weighed: bool = True,
) -> list[Row]:
    rows = []
    for number, record in enumerate(read_records(path), start=1):
        if not where(record):
            continue
        try:
            rows.append(made(record) | ({"weight": _weight(record)} if weighed else {}))
        except InvalidInput as error:
            raise InvalidInput(f"{path}: row {number} {error}") from None
    return rows


def _demonstration(record: Mapping[str, Any]) -> Row:
    if "messages" in record:
        *prompt, last = _messages(record["messages"], "messages")
        if last["role"] != "assistant" or not prompt:
            raise InvalidInput("has `messages` that do not end with an answer of the assistant's")
        return {"prompt": prompt, "answer": last["content"]}
    return {
        "prompt": _messages(_one(record, "prompt"), "prompt"),
        "answer": _text(_one(record, "answer", "completion")),
    }


def _pair(record: Mapping[str, Any]) -> Row:
    chosen, rejected = _one(record, "chosen"), _one(record, "rejected")
    if "prompt" in record:
        prompt = _messages(record["prompt"], "prompt")
        return {"prompt": prompt, "chosen": _text(chosen), "rejected": _text(rejected)}
    one, other = _messages(chosen, "chosen"), _messages(rejected, "rejected")
    if one[:-1] != other[:-1] or len(one) < 2:
        raise InvalidInput(
            "has no `prompt`, and `chosen` and `rejected` share no conversation before their answers"
        )
    return {"prompt": one[:-1], "chosen": one[-1]["content"], "rejected": other[-1]["content"]}


def _decided(record: Mapping[str, Any]) -> Row:
    if record.get("tie"):
        raise InvalidInput("is a tie: here only pairs teach of which one answer is better, leave it out")
    return _pair(record)


def _verdict(record: Mapping[str, Any]) -> Row:
    tie, margin = (0 if record.get(name) is None else record[name] for name in ("tie", "margin"))
    if not isinstance(tie, bool) and tie not in (0, 1):
        raise InvalidInput(f"says tie={tie!r}: true or false")
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin < float("inf"):
        raise InvalidInput(f"has margin {margin!r}: a number from 0 up")
    if tie and margin:
        raise InvalidInput(f"is a tie with a margin of {margin}: of a tie neither answer is ahead")
    return ({"tie": True} if tie else {}) | ({"margin": float(margin)} if margin else {})


def _ranking(record: Mapping[str, Any]) -> Row:
    given = _one(record, "ranking")
    places = [[one] if isinstance(one, str) else one for one in given] if isinstance(given, list) else []
    right = all(
        isinstance(place, list) and place and all(isinstance(one, str) for one in place) for place in places
    )
    if len(places) < 2 or not right:
        raise InvalidInput(
            "has a `ranking` that is not a list of two or more places, best first: each a text or a list of texts"
        )
    return {"prompt": _messages(_one(record, "prompt"), "prompt"), "ranking": places}


def _groups(record: Mapping[str, Any]) -> Row:
    named = {name: record[name] for name in GROUPS if record.get(name) is not None}
    for name, value in named.items():
        if not isinstance(value, str) or not value:
            raise InvalidInput(f"has {name} {value!r}: a text, or nothing")
    return named


def _compared(record: Mapping[str, Any]) -> Row:
    chosen, rejected = _several(_one(record, "chosen")), _several(_one(record, "rejected"))
    if "prompt" in record and chosen and rejected:
        return dict(record) | {
            "prompt": _messages(record["prompt"], "prompt"),
            "chosen": chosen,
            "rejected": rejected,
        }
    pair = _pair(record)
    return dict(record) | pair | {"chosen": [pair["chosen"]], "rejected": [pair["rejected"]]}


def _several(value: Any) -> list[str]:
    """One text or a list of them; messages are none."""
    texts = [value] if isinstance(value, str) else value
    right = isinstance(texts, list) and all(isinstance(one, str) for one in texts)
    return list(texts) if right else []


def _thumb(record: Mapping[str, Any]) -> Row:
    up = _one(record, "up", "label")
    if not isinstance(up, bool) and up not in (0, 1):
        raise InvalidInput(f"says up={up!r}: true or false")
    return _demonstration(record) | {"up": bool(up)}


def _flag(record: Mapping[str, Any]) -> float:
    flag = _one(record, "violation")
    if not isinstance(flag, int | float) or not 0 <= flag <= 1:
        raise InvalidInput(f"has violation {flag!r}: true, false, or a share from 0 to 1")
    return float(flag)


def _one(record: Mapping[str, Any], *names: str) -> Any:
    for name in names:
        if record.get(name) is not None:
            return record[name]
    raise InvalidInput(
        f"has no {' or '.join(f'`{name}`' for name in names)}; it has {', '.join(record) or 'nothing'}"
    )


def _messages(value: Any, name: str) -> Messages:
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    right = isinstance(value, list) and all(
        isinstance(one, dict) and isinstance(one.get("role"), str) and isinstance(one.get("content"), str)
        for one in value
    )
    if not right or not value:
        raise InvalidInput(
            f"has a `{name}` that is neither text nor a list of messages with role and content"
        )
    return [{"role": one["role"], "content": one["content"]} for one in value]


def _text(value: Any) -> str:
    """Of an answer; as messages it is the last one."""
    return value if isinstance(value, str) else _messages(value, "answer")[-1]["content"]


def _weight(record: Mapping[str, Any]) -> float:
    weight = record.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
        raise InvalidInput(f"has weight {weight!r}: a number from 0 up")
    return float(weight)
