"""A log, piece by piece: lines of JSON one at a time, and spans gathered to traces as far as memory goes.

Nothing here holds a whole file. A trace whose spans lie too far apart in it is told in two parts, as it may be
when it comes live.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from heedful.feedback.formats.found import Problem
from heedful.feedback.formats.spans import Span

SPANS = 20_000  # that wait for the rest of their trace
BYTES = 32 * 2**20  # of the log, that these may have been
TOGETHER = 1000  # spans that are handed on at once


@dataclass(frozen=True, slots=True)
class Item:
    """One record of a log."""

    where: str
    value: Any
    size: int  # bytes that it took


def items(lines: Iterable[tuple[str, bytes]], problems: list[Problem]) -> Iterator[Item]:
    """Each line's JSON, and each piece of a list on its own. Lines that do not read go to `problems`."""
    for where, line in lines:
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            problems.append(Problem(where=where, reason=f"it is not JSON: {error}"))
            continue
        if not isinstance(value, list):
            yield Item(where, value, len(line))
            continue
        for place, one in enumerate(value):
            yield Item(
                f"{where}, item {place + 1}" if where else f"item {place + 1}", one, len(line) // len(value)
            )


def gathered(spans: Iterable[tuple[Span, int]]) -> Iterator[list[Span]]:
    """The same spans, those of one trace together."""
    waiting: OrderedDict[str, list[tuple[Span, int]]] = OrderedDict()
    count = size = 0
    for span, bytes in spans:
        waiting.setdefault(span.trace, []).append((span, bytes))
        waiting.move_to_end(span.trace)
        count, size = count + 1, size + bytes
        if count <= SPANS and size <= BYTES:
            continue
        out: list[Span] = []
        while waiting and (count > SPANS // 2 or size > BYTES // 2):
            _, oldest = waiting.popitem(last=False)
            count, size = count - len(oldest), size - sum(one for _, one in oldest)
            out += [one for one, _ in oldest]
        yield out
    out = []
    for trace in waiting.values():
        out += [one for one, _ in trace]
        if len(out) >= TOGETHER:
            yield out
            out = []
    if out:
        yield out
