"""Server-sent events: bytes that arrive in any pieces, to the data of each event, and back."""

from __future__ import annotations

from typing import Any

import orjson

from heedful.errors import Unavailable

DONE = b"data: [DONE]\n\n"
LONGEST = 16 << 20  # bytes of one event: whoever sends more does not mean well


class Reader:
    """Takes bytes as they come and gives the data of every event that is complete."""

    def __init__(self, *, longest: int = LONGEST) -> None:
        self._longest = longest
        self._rest = b""

    def take(self, piece: bytes) -> list[bytes]:
        text = self._rest + piece
        if b"\r" in text:
            if text.endswith(b"\r"):  # its line feed may be in the next piece
                text, kept = text[:-1], b"\r"
            else:
                kept = b""
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        else:
            kept = b""
        *events, rest = text.split(b"\n\n")
        self._rest = rest + kept
        if len(self._rest) > self._longest:
            raise Unavailable(f"an event of the stream has more than {self._longest} bytes")
        return [data for event in events if (data := _data(event)) is not None]


def _data(event: bytes) -> bytes | None:
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def event(data: Any) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


def named(data: dict[str, Any]) -> bytes:
    """An event with its type in front, as the Responses API has it."""
    return b"event: " + str(data["type"]).encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"
