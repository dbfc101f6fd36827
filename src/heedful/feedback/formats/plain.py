"""Foreign values made plain: text without NUL characters, numbers that are numbers, moments in UTC.

What is optional and cannot be read is left out; what is needed and cannot be read raises `InvalidInput`. Nothing
here goes down into a value by calling itself: a log may be nested deeper than our stack.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from heedful.errors import InvalidInput

PLAIN = 1e11  # seconds since 1970 are fewer than this for three thousand years; more are milliseconds
PIECES = 100_000  # values inside one record that is taken apart


def text(value: Any) -> str | None:
    """Text that says something; None for anything else."""
    return clean(value) if isinstance(value, str) and value.strip() else None


def name(value: Any) -> str | None:
    """As `text`, and numbers too: some people count their users."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(value)


def clean(value: str) -> str:
    return value.replace("\0", "\ufffd") if "\0" in value else value


def number(value: Any) -> float | None:
    """Finite; a number in quotes counts."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def whole(value: Any) -> int | None:
    """A count: not negative, and what databases call an integer."""
    found = number(value)
    return int(found) if found is not None and found.is_integer() and 0 <= found < 2**53 else None


def first(mapping: Mapping[str, Any], *names: str) -> Any:
    """The first of these that is there and not null."""
    return next((mapping[one] for one in names if mapping.get(one) is not None), None)


def parsed(value: Any) -> Any:
    """JSON that came as text is what it says; other text is itself."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """JSON that is an object; an empty one for anything else."""
    found = parsed(value)
    return found if isinstance(found, dict) else {}


def as_text(value: Any) -> str:
    """Text as it is, nothing as nothing, anything else as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return clean(value)
    try:
        return clean(orjson.dumps(value, default=str).decode())
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a value cannot be written as JSON: {error}") from error


def moment(value: Any) -> datetime | None:
    """ISO 8601 (UTC unless it says otherwise), or seconds or milliseconds since 1970."""
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value.strip())
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        seconds = number(value)
        if seconds is None or seconds <= 0:
            return None
        return datetime.fromtimestamp(seconds / 1000 if seconds > PLAIN else seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def flat(value: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a": {"b": [1]}}` as `{"a.b.0": 1}`, in the order in which it stood."""
    found: dict[str, Any] = {}
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        path, one = waiting.pop()
        inner = _inner(one)
        if inner is None:
            found[path] = one
        else:
            waiting.extend(reversed([(f"{path}.{key}" if path else str(key), item) for key, item in inner]))
        if len(found) + len(waiting) > PIECES:
            raise InvalidInput(f"it holds more than {PIECES} values")
    return found


def _inner(value: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(value, dict) and value:
        return list(value.items())
    if isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        return list(enumerate(value))
    return None


def numbered(attributes: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """`prefix.0.role`, `prefix.0.content`, `prefix.1.role` … as a list of `{"role": …, "content": …}`."""
    found: dict[int, dict[str, Any]] = {}
    for key, value in under(attributes, prefix):
        place, _, rest = key.partition(".")
        if place.isascii() and place.isdigit() and len(place) < 9 and rest:
            found.setdefault(int(place), {})[rest] = value
    return [found[place] for place in sorted(found)]


def under(attributes: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """What stands under this prefix, by the rest of its name."""
    start = prefix + "."
    return ((key[len(start) :], value) for key, value in attributes.items() if key.startswith(start))
