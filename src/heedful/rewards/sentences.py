"""An answer in pieces: its opening call, and its sentences. Put together again they are the answer."""

from __future__ import annotations

import re

CALL = re.compile(r"\s*\[[^\]\n]{1,120}\]\s*")
END = re.compile(r"""[.!?…]+["'”’»)\]]*(?:\s+|$)|[。！？]+["”’」』）]*\s*|\s*\n\s*""")
SHORTENED = frozenset(
    (
        "dr",
        "mr",
        "mrs",
        "ms",
        "prof",
        "st",
        "vs",
        "etc",
        "e.g",
        "i.e",
        "approx",
        "inc",
        "ltd",
        "co",
        "jr",
        "sr",
    )
)
LAST_WORD = re.compile(r"[\w.]+$")


def call_and_rest(answer: str) -> tuple[str, str]:
    """What is called at the opening, as `[refund]`, and what is said after it."""
    found = CALL.match(answer)
    return (found.group(), answer[found.end() :]) if found else ("", answer)


def sentences(text: str) -> list[str]:
    """Each with the space behind it. A full stop after an abbreviation or a number ends none."""
    pieces, start = [], 0
    for end in END.finditer(text):
        if end.end() < len(text) and _goes_on(text[start : end.start()], end.group()):
            continue
        pieces.append(text[start : end.end()])
        start = end.end()
    return [piece for piece in (*pieces, text[start:]) if piece]


def pieces(answer: str) -> list[str]:
    """The call, where there is one, and the sentences."""
    call, rest = call_and_rest(answer)
    return ([call] if call else []) + sentences(rest)


def _goes_on(before: str, end: str) -> bool:
    """Whether the full stop belongs to what stands before it: `e.g.`, `J.`, or `1.` at the head of an item."""
    word = LAST_WORD.search(before)
    if word is None or end.strip() != ".":
        return False
    last = word.group()
    initial = len(last) == 1 and last.isupper() and last != "I"
    return last.lower() in SHORTENED or initial or (last.isdigit() and before.strip() == last)
