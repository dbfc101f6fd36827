"""Something personal in a text: what it is, where it stands, how sure we are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    EMAIL = "email"
    PHONE = "phone"
    CARD = "card"
    IBAN = "iban"
    SSN = "ssn"
    IP = "ip"
    SECRET = "secret"  # keys, tokens, passwords
    ID = "id"  # a national number with a check digit
    BIRTH_DATE = "birth_date"


@dataclass(frozen=True, slots=True)
class Hit:
    kind: Kind
    start: int
    end: int
    confidence: float  # 0 to 1


def apart(hits: Iterable[Hit]) -> tuple[Hit, ...]:
    """Hits that do not overlap, in the order of the text: the surer wins, of equals the longer."""
    starts: list[int] = []
    kept: list[Hit] = []
    for hit in sorted(hits, key=lambda one: (-one.confidence, one.start - one.end, one.start)):
        place = bisect_left(starts, hit.start)
        free_before = place == 0 or kept[place - 1].end <= hit.start
        free_behind = place == len(kept) or hit.end <= kept[place].start
        if free_before and free_behind:
            starts.insert(place, hit.start)
            kept.insert(place, hit)
    return tuple(kept)


def places(text: str, word: str) -> Iterator[int]:
    """Where the word stands. Many times faster than a regular expression of many words."""
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + len(word))
