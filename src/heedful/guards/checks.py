"""Check digits and ranges: what tells a card, an account or a person's number from any other row of digits.

Every function takes the bare characters, without blanks, points or dashes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date

_LENGTHS = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27
DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28
IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22
MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24
SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
"""
IBAN_LENGTHS: Mapping[str, int] = {one[:2]: int(one[2:]) for one in _LENGTHS.split()}
# First and last prefix, and the lengths that go with it.
CARDS: tuple[tuple[str, str, frozenset[int]], ...] = (
    ("4", "4", frozenset({16, 19})),  # Visa; its numbers of 13 digits are gone, article codes look like them
    ("51", "55", frozenset({16})),  # Mastercard
    ("2221", "2720", frozenset({16})),
    ("34", "34", frozenset({15})),  # American Express
    ("37", "37", frozenset({15})),
    ("6011", "6011", frozenset(range(16, 20))),  # Discover
    ("644", "659", frozenset(range(16, 20))),
    ("300", "305", frozenset(range(14, 20))),  # Diners Club
    ("36", "36", frozenset(range(14, 20))),
    ("38", "39", frozenset(range(14, 20))),
    ("3528", "3589", frozenset(range(16, 20))),  # JCB
    ("62", "62", frozenset(range(16, 20))),  # UnionPay
    ("2200", "2204", frozenset(range(16, 20))),  # Mir
    ("50", "50", frozenset({16, 18, 19})),  # Maestro
    ("56", "58", frozenset({16, 18, 19})),
    ("6304", "6304", frozenset({16, 18, 19})),
    ("67", "67", frozenset({16, 18, 19})),
)
LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"  # of a Spanish number, by its rest
HETU = "0123456789ABCDEFHJKLMNPRSTUVWXY"  # of a Finnish one
# How the characters of an Italian tax code count in odd places.
_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
# Verhoeff's two tables: multiplication in a group of ten, and a permutation by place.
_TIMES = (
    *("0123456789", "1234067895", "2340178956", "3401289567", "4012395678"),
    *("5987604321", "6598710432", "7659821043", "8765932104", "9876543210"),
)
_PLACES = (
    *("0123456789", "1576283094", "5803796142", "8916043527"),
    *("9453126870", "4286573901", "2793806415", "7046913258"),
)


def luhn(digits: str) -> bool:
    doubled = (2 * int(digit) for digit in digits[-2::-2])
    total = sum(map(int, digits[-1::-2])) + sum(n - 9 if n > 9 else n for n in doubled)
    return total % 10 == 0


def card(digits: str) -> bool:
    return (
        any(
            len(digits) in lengths and first <= digits[: len(first)] <= last for first, last, lengths in CARDS
        )
        and luhn(digits)
        and len(set(digits)) > 1
    )


def iban(account: str) -> bool:
    """ISO 13616: the country's length, and 1 modulo 97."""
    if IBAN_LENGTHS.get(account[:2]) != len(account):
        return False
    return int("".join(str(int(one, 36)) for one in account[4:] + account[:4])) % 97 == 1


def ssn(digits: str) -> bool:
    """A US social security number has no check digit, but ranges that were never given out."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def weighed(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))


def spanish(number: str) -> bool:
    """DNI: eight digits and a letter. NIE: a letter for the first digit."""
    digits = str("XYZ".find(number[0])) + number[1:8] if number[0] in "XYZ" else number[:8]
    return LETTERS[int(digits) % 23] == number[-1]


def dutch(digits: str) -> bool:
    """BSN: the eleven test, whose last digit counts against."""
    return int(digits) > 0 and weighed(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def german(digits: str) -> bool:
    """Tax id: ISO 7064 modulo 11, 10; of the first ten digits one comes twice or three times."""
    most = Counter(digits[:10]).most_common(2)
    if digits[0] == "0" or most[0][1] not in (2, 3) or most[1][1] != 1:
        return False
    rest = 10
    for digit in digits[:10]:
        rest = ((int(digit) + rest) % 10 or 10) * 2 % 11
    return (11 - rest) % 10 == int(digits[10])


def french(number: str) -> bool:
    """NIR: thirteen digits, then 97 less their rest; Corsica has letters."""
    digits = number[:13].replace("2A", "19").replace("2B", "18")
    return digits.isdigit() and 97 - int(digits) % 97 == int(number[13:])


def italian(code: str) -> bool:
    """Codice fiscale: odd places count by a table, even ones by value."""
    values = [int(one, 36) if one.isdigit() else ord(one) - ord("A") for one in code[:15]]
    odd = sum(_ODD[value] for value in values[::2])  # a digit counts as the letter in its place
    return chr(ord("A") + (odd + sum(values[1::2])) % 26) == code[15]


def brazilian(digits: str) -> bool:
    """CPF: two check digits, the second over the first."""
    if len(set(digits)) == 1:
        return False
    return all(
        weighed(digits[:n], tuple(range(n + 1, 1, -1))) * 10 % 11 % 10 == int(digits[n]) for n in (9, 10)
    )


def polish(digits: str) -> bool:
    """PESEL: the date of birth, whose month tells the century, and a check digit."""
    month = int(digits[2:4]) % 20
    return 1 <= month <= 12 and weighed(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def british(digits: str) -> bool:
    """NHS number: modulo 11."""
    return len(set(digits)) > 1 and weighed(digits, (10, 9, 8, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def swedish(digits: str) -> bool:
    """Personnummer: a date (a coordination number's day is 60 more) and Luhn over the last ten digits."""
    ten = digits[-10:]
    day = int(ten[4:6])
    return luhn(ten) and _is_date(ten[:2], ten[2:4], f"{day - 60 if day > 60 else day:02d}")


def finnish(number: str) -> bool:
    """Henkilötunnus: a date, a sign for the century, three digits and the rest modulo 31."""
    digits = number[:6] + number[7:10]
    return HETU[int(digits) % 31] == number[10] and _is_date(number[4:6], number[2:4], number[:2])


def indian(digits: str) -> bool:
    """Aadhaar: Verhoeff."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_TIMES[check][int(_PLACES[place % 8][int(digit)])])
    return check == 0


def canadian(digits: str) -> bool:
    """SIN: Luhn; nobody's begins with 0 or 8."""
    return digits[0] not in "08" and luhn(digits)


def passport(line: str) -> bool:
    """The second line of a passport's machine-readable zone: ICAO 9303, four check digits."""
    parts = ((line[:9], line[9]), (line[13:19], line[19]), (line[21:27], line[27]))
    whole = line[:10] + line[13:20] + line[21:43]
    return all(_icao(text) == check for text, check in (*parts, (whole, line[43])))


def _icao(text: str) -> str:
    values = (0 if one == "<" else int(one, 36) for one in text)
    return str(sum(value * (7, 3, 1)[place % 3] for place, value in enumerate(values)) % 10)


def _is_date(year: str, month: str, day: str) -> bool:
    try:
        date(
            2000 + int(year), int(month), int(day)
        )  # a leap year every four, as in every century that counts
    except ValueError:
        return False
    return True
