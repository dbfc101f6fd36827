"""Find what belongs to a person, or opens a door, in a text; put a mark in its place.

Everything that has a check digit, a range or a form is held against it: a number that fails is somebody's
order. Where the digits alone do not tell, the word before them has to. What needs a language model to be seen,
such as names and streets, is not found here.

Ordinary prose is passed over quickly, and no text, however it is made, takes more than time in proportion to
its length: every repetition has an end, or can begin only at the edge of a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from heedful.guards import checks, cues, phones, secrets
from heedful.guards.cues import Cue
from heedful.guards.hits import Hit, Kind, apart

CHECKED, FORMED, BEHIND = 0.99, 0.95, 0.85  # a check digit; a form; only the word before it

# Digits, blanks and signs as other scripts and careful typists write them, each for one of ours.
_OTHERS = (
    "٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹０１２３４５６７８９" + "\u00a0\u2007\u2009\u202f\u3000" + "‐‑‒–−－" + "＠．：＋（）"
)
_OURS = 3 * "0123456789" + 5 * " " + 6 * "-" + "@.:+()"
_FOREIGN = str.maketrans(_OTHERS, _OURS)
_ANY_FOREIGN = re.compile(f"[{re.escape(_OTHERS)}]")

_LETTER = "A-Za-z0-9_À-ɏ"
_EMAIL = re.compile(
    rf"(?<![{_LETTER}.+%\-])[{_LETTER}](?:[{_LETTER}.+%\-]|'(?=[{_LETTER}]))*+@"
    rf"(?:[{_LETTER}][{_LETTER}\-]*+\.){{1,8}}(?P<top>[A-Za-z]{{2,24}})(?![{_LETTER}])"
)
_SPELT = re.compile(
    rf"(?<![{_LETTER}.+%\-])[{_LETTER}.+%\-]{{1,64}}+ ?[(\[]at[)\]] ?"
    rf"(?:[{_LETTER}\-]{{1,63}}+ ?[(\[]dot[)\]] ?){{1,4}}[A-Za-z]{{2,24}}(?![{_LETTER}])",
    re.IGNORECASE,
)
_FILES = frozenset(
    {"png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "css", "js", "mjs", "ts", "map", "json", "html"}
)

# Seven digits close together: something may be here. Every pattern here that begins with a digit and has no
# alternative to it is skipped through at the speed of memory: that is why hints begin with one.
_DENSE = re.compile(r"\d(?:[ ./()\-]{0,3}\d){6,}+", re.ASCII)
_MARGIN = 40  # characters around them that may belong to it
_V4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)", re.ASCII)
_V6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}|:)(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])", re.ASCII)
_V6_HINT = re.compile(r":[0-9A-Fa-f]{0,4}:")
_PRODUCT = re.compile(r"[A-Za-z]/$|[=~<>]=?$|\bv$", re.IGNORECASE)
_EDGE, _EDGE_END = r"(?<!\w)(?<!\d[.,\-])", r"(?!\w)(?![.,\-]\d)"
_CARD = re.compile(
    rf"{_EDGE}(?:\d{{4}}(?P<four>[ \-])\d{{4}}(?P=four)\d{{4}}(?P=four)\d{{4}}(?:(?P=four)\d{{3}}(?!\d))?"
    r"|\d{4}(?P<six>[ \-])\d{6}(?P=six)\d{4,5}|\d{14,19})(?!\w)",
    re.ASCII,
)
_IBAN = re.compile(r"(?<!\w)[A-Za-z]{2}\d{2}(?=[ \-]?[A-Za-z0-9]{4})", re.ASCII)
_SSN = re.compile(rf"{_EDGE}(\d{{3}})([ \-]?)(\d{{2}})\2(\d{{4}}){_EDGE_END}", re.ASCII)

# (numbers of this form, their check, the sign that they need before them)
_IDS = tuple(
    (re.compile(rf"{_EDGE}(?:{form}){_EDGE_END}", re.ASCII), check, needs)
    for form, check, needs in (
        (r"\d{8}[ \-]?[A-Z]|[XYZ][ \-]?\d{7}[ \-]?[A-Z]", checks.spanish, False),
        (r"\d{3}\.\d{3}\.\d{3}-\d{2}", checks.brazilian, False),
        (r"[12] ?\d\d ?[0-9]\d ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d", checks.french, False),
        (r"(?:19|20)?\d{6}[\-+]\d{4}", checks.swedish, False),
        (r"\d{6}[\-+A]\d{3}[0-9A-Y]", checks.finnish, False),
        (r"\d{9}", checks.dutch, True),
        (r"\d{11}|\d{2} \d{3} \d{3} \d{3}", checks.german, True),
        (r"\d{11}", checks.brazilian, True),
        (r"\d{11}", checks.polish, True),
        (r"\d{3}[ \-]?\d{3}[ \-]?\d{4}", checks.british, True),
        (r"[2-9]\d{3}[ \-]?\d{4}[ \-]?\d{4}", checks.indian, True),
        (r"\d{3}[ \-]?\d{3}[ \-]?\d{3}", checks.canadian, True),
    )
)
_HINT = re.compile(
    r"\d(?:(?:[ ./()\-]{0,3}\d){6}|\.\d{1,3}\.\d{1,3}\.\d|\d[A-Z]\d\d[A-Z]\d{3}[A-Z])", re.ASCII
)
_ITALIAN = re.compile(r"(?<!\w)[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z](?!\w)", re.ASCII)
_MRZ = re.compile(
    r"(?<!\w)(?:P[A-Z<][A-Z<]{3}[A-Z<]{39}|[A-Z0-9<]{9}\d[A-Z<]{3}\d{7}[MFX<]\d{7}[A-Z0-9<]{15}\d)(?![\w<])",
    re.ASCII,
)

# Words before a date of birth; what is left of the word counts as its gap to the date.
_BORN = (
    *(
        "born",
        "birth",
        "dob",
        "d.o.b",
        "gebor",
        "geboor",
        "geburt",
        "geb.",
        "naiss",
        "nacim",
        "nacid",
        "nato ",
    ),
    *("nata ", "nascit", "nascim", "nascid", "urodz", "syntyn"),
)
_BORN_ELSEWHERE = (
    *(
        "né le",
        "née le",
        "nací",
        "född",
        "født",
        "fødsel",
        "生年月",
        "出生",
        "рожд",
        "родил",
        "doğum",
        "출생",
    ),
)
_MONTH = r"[A-Za-zÀ-ɏа-яА-Я]{3,12}\.?"
_DATE = re.compile(
    r"(?P<ymd>(?P<y>(?:18|19|20)\d\d)[./\-](?P<m>\d{1,2})[./\-](?P<d>\d{1,2}))(?!\d)"
    r"|(?P<a>\d{1,2})[./\-](?P<b>\d{1,2})[./\-](?P<c>(?:18|19|20)\d\d|\d\d)(?!\d)"
    rf"|\d{{1,2}}(?:\.|st|nd|rd|th|º|er)? ?(?:de |of )?{_MONTH},? (?:de )?(?:18|19|20)\d\d(?!\d)"
    rf"|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? (?:18|19|20)\d\d(?!\d)"
    r"|(?:18|19|20)\d\d ?[年년] ?\d{1,2} ?[月월] ?\d{1,2} ?[日일]"
)
_DIGIT = re.compile(r"\d", re.ASCII)
_YEAR = re.compile(r"\d(?:\d{3}|[./\-]\d)", re.ASCII)
_GAP = 24  # characters between the word and the date
_REACH = 60  # characters between the word and the year
_DAY = 20  # characters between the day and the year

_MARK = re.compile(r"\[(" + "|".join(kind.upper() for kind in Kind) + r")_(\d{1,9})\]")


def find(text: str) -> tuple[Hit, ...]:
    """What is personal in the text, in its order; nothing overlaps."""
    plain = text if text.isascii() or not _ANY_FOREIGN.search(text) else text.translate(_FOREIGN)
    small = plain.lower()
    if len(small) != len(plain):  # one letter, the Turkish İ, becomes two
        small = plain.replace("İ", "I").lower()
    return apart((*_emails(plain, small), *secrets.find(plain, small), *_numbers(plain, small)))


def redacted(text: str) -> str:
    """The text with a mark in the place of each find, such as `[EMAIL_1]`."""
    return Redactor()(text)


def marked(text: str) -> bool:
    """Whether something stands in the text in somebody's place."""
    return "[" in text and _MARK.search(text) is not None


class Redactor:
    """Redacts the texts of one record: the same value gets the same mark in all of them.

    Marks that are in a text already, because it was redacted before, keep their numbers, and nothing new gets
    one of those.
    """

    def __init__(self) -> None:
        self._marks: dict[tuple[Kind, str], str] = {}
        self._last: dict[Kind, int] = dict.fromkeys(Kind, 0)

    def __call__(self, text: str) -> str:
        if "[" in text:
            for kind, number in _MARK.findall(text):
                known = Kind(kind.lower())
                self._last[known] = max(self._last[known], int(number))
        pieces, at = [], 0
        for hit in find(text):
            pieces += [text[at : hit.start], self._mark(hit.kind, text[hit.start : hit.end])]
            at = hit.end
        return "".join((*pieces, text[at:])) if pieces else text

    def _mark(self, kind: Kind, value: str) -> str:
        # A card written with blanks and without is one card.
        same = (kind, value if kind is Kind.SECRET else re.sub(r"[\W_]", "", value).casefold())
        if same not in self._marks:
            self._last[kind] += 1
            self._marks[same] = f"[{kind.upper()}_{self._last[kind]}]"
        return self._marks[same]


# -- one kind after the other --------------------------------------------------------------------------------


def _emails(text: str, small: str) -> Iterator[Hit]:
    if "@" in text:
        for match in _EMAIL.finditer(text):
            if match["top"].lower() not in _FILES and not match[0].startswith("git@"):
                yield Hit(Kind.EMAIL, match.start(), match.end(), FORMED)
    if "(at)" in small or "[at]" in small:
        yield from (Hit(Kind.EMAIL, *one.span(), BEHIND) for one in _SPELT.finditer(text))


def _numbers(text: str, small: str) -> Iterator[Hit]:
    if "::" in text or _V6_HINT.search(text):
        yield from _addresses_6(text)
    if "<<" in text:
        yield from _passports(text)
    if not _DIGIT.search(text):
        return
    if _HINT.search(text):
        for start, end in _windows(text):
            yield from _cards(text, small, start, end)
            yield from _ibans(text, start, end)
            yield from _ssns(text, small, start, end)
            yield from _ids(text, small, start, end)
            yield from phones.find(text, small, start, end)
        yield from _addresses_4(text, small)
        for match in _ITALIAN.finditer(text):
            if checks.italian(match[0]):
                yield Hit(Kind.ID, match.start(), match.end(), CHECKED)
    if _YEAR.search(text):
        yield from _births(text, small)


def _windows(text: str) -> Iterator[tuple[int, int]]:
    """Where digits stand close together, with what may belong to them on both sides."""
    begun = until = -1
    for match in _DENSE.finditer(text):
        start, end = max(0, match.start() - _MARGIN), min(len(text), match.end() + _MARGIN)
        if start > until:
            if until >= 0:
                yield begun, until
            begun = start
        until = end
    if until >= 0:
        yield begun, until


def _cards(text: str, small: str, start: int, end: int) -> Iterator[Hit]:
    for match in _CARD.finditer(text, start, end):
        first, last = match.span()
        digits = re.sub(r"\D", "", match[0])
        if len(digits) == 19 and not match[0].isdigit() and not checks.card(digits):
            digits, last = digits[:16], last - 4  # the last group is something else
        if not checks.card(digits):
            continue
        if match[0].isdigit() and cues.before(small, first) is Cue.THING:
            continue
        yield Hit(Kind.CARD, first, last, CHECKED)


def _ibans(text: str, start: int, end: int) -> Iterator[Hit]:
    for match in _IBAN.finditer(text, start, end):
        length = checks.IBAN_LENGTHS.get(match[0][:2].upper())
        if length is None:
            continue
        account, at = "", match.start()
        while len(account) < length and at < len(text):
            one = text[at]
            if one.isascii() and one.isalnum():
                account += one.upper()
            elif one not in " -":
                break
            at += 1
        if checks.iban(account) and not text[at : at + 1].isalnum():
            yield Hit(Kind.IBAN, match.start(), at, CHECKED)


def _ssns(text: str, small: str, start: int, end: int) -> Iterator[Hit]:
    for match in _SSN.finditer(text, start, end):
        if not checks.ssn(match[1] + match[3] + match[4]):
            continue
        cue = cues.before(small, match.start())
        if cue is Cue.SSN or (match[2] == "-" and cue not in (Cue.THING, Cue.ID)):
            yield Hit(Kind.SSN, match.start(), match.end(), FORMED if match[2] else BEHIND)


def _ids(text: str, small: str, start: int, end: int) -> Iterator[Hit]:
    for form, check, needs in _IDS:
        for match in form.finditer(text, start, end):
            if not check(re.sub(r"[ .\-+]", "", match[0]) if check is not checks.finnish else match[0]):
                continue
            cue = cues.before(small, match.start())
            if cue is Cue.ID or (not needs and cue is not Cue.THING):
                yield Hit(Kind.ID, match.start(), match.end(), CHECKED)


def _addresses_4(text: str, small: str) -> Iterator[Hit]:
    for match in _V4.finditer(text):
        try:
            address = IPv4Address(match[0])
        except AddressValueError:
            continue
        nobodys = (
            address.is_loopback or address.is_unspecified or address.is_multicast or match[0][:3] == "255"
        )
        product = _PRODUCT.search(text[max(0, match.start() - 4) : match.start()])
        if nobodys or product or cues.before(small, match.start(), reach=28) in (Cue.VERSION, Cue.THING):
            continue
        yield Hit(Kind.IP, match.start(), match.end(), FORMED)


def _addresses_6(text: str) -> Iterator[Hit]:
    for match in _V6.finditer(text):
        groups = [group for group in match[0].split(":") if group]
        if len(groups) < 3 and match[0][:1].lower() not in ("2", "f"):
            continue
        if not any(map(str.isdigit, match[0])):
            continue
        try:
            address = IPv6Address(match[0])
        except AddressValueError:
            continue
        if not (address.is_loopback or address.is_unspecified or address.is_multicast):
            yield Hit(Kind.IP, match.start(), match.end(), FORMED)


def _passports(text: str) -> Iterator[Hit]:
    """The two lines that machines read: the first has the name, the second has check digits."""
    for match in _MRZ.finditer(text):
        if (match[0][0] == "P" and match[0][43] == "<") or checks.passport(match[0]):
            yield Hit(Kind.ID, match.start(), match.end(), CHECKED)


def _births(text: str, small: str) -> Iterator[Hit]:
    words = (*_BORN, *(() if text.isascii() else _BORN_ELSEWHERE))
    for year in _YEAR.finditer(text):
        day = _DIGIT.search(text, max(0, year.start() - _DAY), year.start()) or _DIGIT.match(
            text, year.end() + 1
        )
        if day is None:
            continue  # a year alone, as in most prose
        first = max(0, year.start() - _REACH)
        before = small[first : year.start()]
        for word in words:
            at = before.rfind(word)
            if at < 0 or (word[0].isascii() and before[at - 1 : at].isalpha()):
                continue  # or it is the end of another word: "stillborn", "senato"
            behind = first + at + len(word)
            found = _DATE.search(text, behind, behind + _GAP + 30)
            if found is None or found.start() > behind + _GAP or not _real(found):
                continue
            if not any(map(str.isdigit, text[behind : found.start()])):
                yield Hit(Kind.BIRTH_DATE, found.start(), found.end(), BEHIND)


def _real(found: re.Match[str]) -> bool:
    """Whether the calendar has such a day; of two numbers before a year either may be the month."""
    if found["ymd"]:
        return _day(found["y"], found["m"], found["d"])
    if found["a"]:
        year = found["c"] if len(found["c"]) == 4 else "20" + found["c"]
        return _day(year, found["b"], found["a"]) or _day(year, found["a"], found["b"])
    return True


def _day(year: str, month: str, day: str) -> bool:
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return False
    return True
