"""Look at foreign JSON field by field, and say which one cannot be and what would.

Checks, not shapes: what passes is kept as it was sent, because an answer repeats much of its request and an
upstream may understand what we do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from heedful.errors import InvalidInput

Json = Any  # whatever the parser can return
Check = Callable[[Json, str], Json]  # a value and its path; gives the value back, or raises InvalidInput

LONGEST_SHOWN = 80  # characters of a value that we repeat


def refused(field: str, why: str) -> InvalidInput:
    return InvalidInput(f"{field} {why}", field=field)


def shown(value: Json) -> str:
    """A value as an error may repeat it."""
    match value:
        case None:
            return "missing"
        case dict():
            return "an object"
        case list():
            return "a list"
        case _:
            return repr(value)[:LONGEST_SHOWN]


def text(value: Json, field: str) -> str:
    if not isinstance(value, str):
        raise refused(field, f"is {shown(value)}: send text")
    return value


def word(value: Json, field: str) -> str:
    if not isinstance(value, str) or not value:
        raise refused(field, f"is {shown(value)}: send text that is not empty")
    return value


def flag(value: Json, field: str) -> bool:
    if not isinstance(value, bool):
        raise refused(field, f"is {shown(value)}: send true or false")
    return value


def mapping(value: Json, field: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise refused(field, f"is {shown(value)}: send an object")
    return value


def sequence(value: Json, field: str) -> list[Json]:
    if not isinstance(value, list):
        raise refused(field, f"is {shown(value)}: send a list")
    return value


def number(low: float, high: float) -> Check:
    def check(value: Json, field: str) -> float:
        # A bool is an int to Python: true is not 1 to anyone else.
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise refused(field, f"is {shown(value)}: send a number from {low:g} to {high:g}")
        return value

    return check


def whole(low: int, high: float = math.inf) -> Check:
    bounds = f"from {low} to {high:g}" if high < math.inf else f"of at least {low}"

    def check(value: Json, field: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise refused(field, f"is {shown(value)}: send a whole number {bounds}")
        return value

    return check


def one_of(*values: str) -> Check:
    def check(value: Json, field: str) -> str:
        if not isinstance(value, str) or value not in values:
            raise refused(field, f"is {shown(value)}: send {listed(values)}")
        return value

    return check


def optional(given: Mapping[str, Json], under: str, checks: Mapping[str, Check]) -> None:
    """Every field of `checks` that is there passes its check; null is as good as missing."""
    for name, check in checks.items():
        if given.get(name) is not None:
            check(given[name], f"{under}.{name}" if under else name)


def listed(names: Collection[str]) -> str:
    """As a sentence says it: `a`, `a or b`, `a, b or c`."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
