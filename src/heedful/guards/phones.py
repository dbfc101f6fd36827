"""Telephone numbers: international ones by country code and length, national ones by how countries write them.

A row of digits that only might be a number is one only behind a word such as "call" or "Handy"; what follows
"order" or "tracking" is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from heedful.guards import cues
from heedful.guards.cues import Cue
from heedful.guards.hits import Hit, Kind

SURE, LIKELY, SAID = 0.9, 0.8, 0.7  # by country code; by its shape; by the word before it

# By country code: how many digits a number has, the code included.
_LENGTHS = """
1:11 7:11 20:11-12 27:11 30:12 31:11 32:10-11 33:11 34:11 36:10-11 39:9-13 41:11 43:8-14 44:11-12 45:10 46:9-12
47:10 48:11 49:9-14 52:12-13 54:12-13 55:12-13 61:11 64:10-12 65:10 81:11-12 82:10-12 86:11-13 90:12 91:12
351:12 353:10-12 358:8-13 966:11-12 971:11-12
"""
LENGTHS: Mapping[str, tuple[int, int]] = {
    code: (int(lengths.split("-")[0]), int(lengths.split("-")[-1]))
    for code, _, lengths in (one.partition(":") for one in _LENGTHS.split())
}
# Codes of three digits begin with one of these; those of two that are not above begin with 2, 4, 5, 6 or 9.
_THREE = re.compile(r"2[1-69]|3[578]|42|5[09]|6[7-9]|8[0578]|9[679]|[24569]")
_OTHERS = (8, 15)
_NOBODYS = (99, 0)

_GAP = r"[ ./\-]"
_START = r"(?<![\w+])(?<!\d[ .,/:\-])"
_END = r"(?!\w)(?![.,:/\-]\d)"
_INTERNATIONAL = re.compile(
    r"(?<![\w+])(?:\+|(?<!\d[ .,/\-])00(?=[1-9]))[ ]?"
    rf"(?P<rest>\(?\d{{1,4}}\)?(?:{_GAP}{{0,2}}(?:\(\d{{1,5}}\)|\d{{1,12}})){{1,9}})",
    re.ASCII,
)
_GROUP = re.compile(r"\(?\d+\)?")
_TRUNK = re.compile(
    rf"{_START}(?:\(0[1-9]\d{{0,4}}\)[ ]?|0[1-9]\d{{0,4}}{_GAP})\d{{1,8}}(?:{_GAP}\d{{1,6}}){{0,4}}{_END}",
    re.ASCII,
)
_SHAPED = re.compile(
    rf"{_START}(?:"
    r"(?:1[ .\-]?)?\([2-9]\d\d\)[ ]?[2-9]\d\d[ .\-]\d{4}"  # North America
    r"|(?:1[ .\-])?(?P<area>[2-9]\d\d)(?P<by>[ .\-])(?P<office>[2-9]\d\d)(?P=by)\d{4}"
    r"|\([1-9]\d\) ?9?\d{4}-\d{4}"  # Brazil
    r"|8[ \-]?\(\d{3}\)[ \-]?\d{3}[ \-]\d\d[ \-]\d\d"  # Russia
    r"|1[3-9]\d(?P<cn>[ \-])\d{4}(?P=cn)\d{4}"  # China
    rf"){_END}",
    re.ASCII,
)
_BARE = re.compile(
    rf"{_START}(?:\d{{2,5}}(?:(?P<gap>[ .\-])\d{{2,6}}(?:(?P=gap)\d{{2,4}}){{0,3}})|\d{{8,12}}){_END}",
    re.ASCII,
)
_DATE = re.compile(
    r"\d{1,2}(?P<day>[./\- ])\d{1,2}(?P=day)(?:19|20)\d\d(?!\d)"
    r"|(?:19|20)\d\d(?P<year>[./\-])\d\d?(?P=year)\d\d?(?!\d)"
)


def find(text: str, small: str, start: int, end: int) -> Iterator[Hit]:
    """Numbers between `start` and `end`; `small` is the text in small letters."""
    for match in _INTERNATIONAL.finditer(text, start, end):
        yield from _international(text, small, match)
    for match in _TRUNK.finditer(text, start, end):
        if _national(match[0]) and cues.before(small, match.start()) is not Cue.THING:
            yield Hit(Kind.PHONE, match.start(), match.end(), LIKELY)
    for match in _SHAPED.finditer(text, start, end):
        special = (match["area"] or "")[1:] == "11" or (match["office"] or "")[1:] == "11"
        if not special and cues.before(small, match.start()) not in (Cue.THING, Cue.SSN, Cue.ID):
            yield Hit(Kind.PHONE, match.start(), match.end(), LIKELY)
    for match in _BARE.finditer(text, start, end):
        digits = sum(map(str.isdigit, match[0]))
        if 7 <= digits <= 12 and not _DATE.match(match[0]) and cues.before(small, match.start()) is Cue.PHONE:
            yield Hit(Kind.PHONE, match.start(), match.end(), SAID)


def _international(text: str, small: str, match: re.Match[str]) -> Iterator[Hit]:
    """As many groups of digits as the country's numbers have; what stands behind them is something else."""
    digits, best = "", None
    for group in _GROUP.finditer(match["rest"]):
        if digits and group[0] == "(0)":
            continue  # dialled only inside the country
        digits += group[0].strip("()")
        fewest, most = _length(digits)
        if len(digits) > most:
            break
        if len(digits) >= fewest:
            best = match.start("rest") + group.end()
    if best is None or text[best : best + 1].isalnum():
        return
    if match[0][0] == "0" and cues.before(small, match.start()) is Cue.THING:
        return
    yield Hit(Kind.PHONE, match.start(), best, SURE)


def _length(digits: str) -> tuple[int, int]:
    """Of a whole number that begins so; a code that nobody has makes no number."""
    for size in (1, 2, 3):
        if digits[:size] in LENGTHS:
            return LENGTHS[digits[:size]]
    return _OTHERS if _THREE.match(digits) else _NOBODYS


def _national(number: str) -> bool:
    """Nine to twelve digits, of which those behind the area code are written alike; not a date."""
    if _DATE.match(number) or not 9 <= sum(map(str.isdigit, number)) <= 12:
        return False
    area = re.match(r"\(?\d+\)?", number)
    assert area is not None
    gaps = re.findall(r"\D", number[area.end() + 1 :])
    return len(set(gaps)) <= 1
