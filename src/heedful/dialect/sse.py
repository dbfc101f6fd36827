"""Server-sent events: bytes that arrive in any pieces, to the data of each event, and back."""

from __future__ import annotations

from typing import Any

import orjson

from heedful.errors import Unavailable

DONE = b"data: [DONE]\n\n"
LONGEST = 16 << 20  # bytes of one event: whoever sends more does not mean well


class Reader:
    """Takes bytes as they come and gives the data of every event that is complete.

    Each byte is looked at once, however small the pieces of a large event are.
    """

    def __init__(self, *, longest: int = LONGEST) -> None:
        self._longest = longest
        self._rest = bytearray()
        self._seen = 0  # bytes of the rest in which no event ends
        self._carriage = False  # the last byte was a carriage return: it ended its line already

    def take(self, piece: bytes) -> list[bytes]:
        if self._carriage and piece:
            piece, self._carriage = piece.removeprefix(b"\n"), False
        if b"\r" in piece:
            self._carriage = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._rest += piece
        events = self._ended()
        if len(self._rest) > self._longest:
            raise Unavailable(f"an event of the stream has more than {self._longest} bytes")
        return [data for event in events if (data := _data(event)) is not None]

    def _ended(self) -> list[bytes]:
        end = self._rest.rfind(b"\n\n", max(0, self._seen - 1))
        if end < 0:
            self._seen = len(self._rest)
            return []
        events = bytes(self._rest[:end]).split(b"\n\n")
        del self._rest[: end + 2]
        self._seen = len(self._rest)
        return events


def _data(event: bytes) -> bytes | None:
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def event(data: Any) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


def named(data: dict[str, Any]) -> bytes:
    """An event with its type in front, as the Responses API has it."""
    return b"event: " + str(data["type"]).encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"
