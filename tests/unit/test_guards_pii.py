"""What is personal in a text: found by form and check digit, told from what only looks like it, and marked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.guards import checks, pii
from heedful.guards.hits import Hit, Kind, apart

ROWS = [
    json.loads(line)
    for line in (Path(__file__).resolve().parents[1] / "data" / "pii.jsonl").read_text().splitlines()
]
CARD = "4111 1111 1111 1111"


def kinds(text: str) -> list[str]:
    return [str(hit.kind) for hit in pii.find(text)]


# --- the labelled texts ----------------------------------------------------------------------------------


def test_most_is_found_and_little_else() -> None:
    right = wrong = missed = 0
    for row in ROWS:
        wanted = {tuple(hit) for hit in row["hits"]}
        found = {(str(hit.kind), hit.start, hit.end) for hit in pii.find(row["text"])}
        right, wrong, missed = (
            right + len(wanted & found),
            wrong + len(found - wanted),
            missed + len(wanted - found),
        )
    assert len(ROWS) >= 250
    assert right / (right + wrong) >= 0.95
    assert right / (right + missed) >= 0.9


def test_every_kind_is_among_the_labelled_and_has_texts_that_only_look_like_it() -> None:
    assert {hit[0] for row in ROWS for hit in row["hits"]} == set(Kind)
    assert sum(not row["hits"] for row in ROWS) > 100


@pytest.mark.parametrize(
    "text",
    [
        "order number 112-7654321-1234567",
        "tracking 1Z999AA10123456784",
        "version 10.2.0.1 of 2024-03-01",
        "ISBN 978-3-16-148410-0",
        "it costs 1.299,00 € or $1,299.99",
        "on 05-12-2024 at 10:30",
        "order 4539578763621486",  # its check digit is right
    ],
)
def test_numbers_of_things_are_left_alone(text: str) -> None:
    assert pii.find(text) == ()


# --- check digits ----------------------------------------------------------------------------------------

VALID: list[tuple[Callable[[str], bool], str]] = [
    (checks.card, "4111111111111111"),
    (checks.card, "378282246310005"),
    (checks.iban, "DE89370400440532013000"),
    (checks.iban, "NO9386011117947"),
    (checks.spanish, "12345678Z"),
    (checks.dutch, "111222333"),
    (checks.german, "65929970489"),
    (checks.brazilian, "52998224725"),
    (checks.polish, "44051401359"),
    (checks.british, "9434765919"),
    (checks.swedish, "8112189876"),
    (checks.indian, "234123412346"),
    (checks.canadian, "130692544"),
]


@pytest.mark.parametrize(("check", "number"), VALID, ids=lambda value: getattr(value, "__name__", value))
def test_one_wrong_digit_is_noticed(check: Callable[[str], bool], number: str) -> None:
    assert check(number)
    for place, old in enumerate(number):
        if old.isdigit():
            for new in "0123456789":
                wrong = number[:place] + new + number[place + 1 :]
                assert check(wrong) == (new == old), wrong


def test_a_corsican_and_a_finnish_and_an_italian_number_have_letters() -> None:
    assert checks.french("2850576008008" + f"{97 - 2850576008008 % 97:02d}")
    assert checks.french("185052A008006" + f"{97 - 1850519008006 % 97:02d}")
    assert checks.finnish("131052-308T")
    assert not checks.finnish("131052-308U")
    assert checks.italian("RSSMRA85T10A562S")
    assert not checks.italian("RSSMRA85T10A562T")
    assert checks.passport("L898902C36UTO7408122F1204159ZE184226B<<<<<10")


def test_social_security_numbers_that_were_never_given_out_are_none() -> None:
    assert checks.ssn("219099999")
    assert not any(map(checks.ssn, ("000123456", "666123456", "900123456", "123001234", "123450000")))


# --- marks -----------------------------------------------------------------------------------------------


def test_the_same_value_has_the_same_mark_in_all_texts_of_a_record() -> None:
    redact = pii.Redactor()
    first = redact("I am ann@example.com, not bob@example.com")
    second = redact(f"Dear Ann@Example.com, your card {CARD} (4111111111111111) was charged")
    assert first == "I am [EMAIL_1], not [EMAIL_2]"
    assert second == "Dear [EMAIL_1], your card [CARD_1] ([CARD_1]) was charged"


def test_a_text_that_was_redacted_stays_as_it_is_and_its_marks_keep_their_numbers() -> None:
    once = pii.redacted(f"ann@example.com paid with {CARD}")
    assert pii.redacted(once) == once
    assert pii.redacted(once + ", says bob@example.com") == once + ", says [EMAIL_2]"
    assert pii.marked(once)
    assert not pii.marked("see [1] and [EMAIL]")


@given(st.text() | st.text("0123456789 .-/+()@abcXYZ:[]_<=\n"))
def test_nothing_but_what_was_found_is_changed(text: str) -> None:
    hits = pii.find(text)
    assert all(0 <= hit.start < hit.end <= len(text) for hit in hits)
    assert all(one.end <= other.start for one, other in pairwise(hits))
    rest = "".join(
        text[a:b]
        for a, b in zip([0, *(h.end for h in hits)], [*(h.start for h in hits), len(text)], strict=True)
    )
    assert pii.redacted(text) == text or hits
    assert len(rest) == len(text) - sum(hit.end - hit.start for hit in hits)


def test_of_two_finds_in_one_place_the_surer_stays() -> None:
    sure, likely, beside = Hit(Kind.IBAN, 2, 20, 0.99), Hit(Kind.PHONE, 0, 30, 0.8), Hit(Kind.IP, 20, 25, 0.9)
    assert apart([likely, beside, sure]) == (sure, beside)


# --- other ways to write ---------------------------------------------------------------------------------


def test_digits_and_signs_of_other_scripts_count_as_ours() -> None:
    assert kinds("カード番号は４１１１　１１１１　１１１１　１１１１です") == ["card"]
    assert kinds("tél. 06\u202f39\u202f98\u202f12\u202f34") == ["phone"]
    assert kinds("ann＠example．com") == ["email"]
    assert kinds("هاتف ٠٥٠ ١٢٣ ٤٥٦٧") == ["phone"]


def test_a_letter_that_grows_when_it_is_made_small_moves_nothing() -> None:
    text = "İİİ password: Tr0ub4dor&3"
    (hit,) = pii.find(text)
    assert text[hit.start : hit.end] == "Tr0ub4dor&3"


def test_a_private_key_that_was_cut_off_goes_to_the_end() -> None:
    text = "-----BEGIN PRIVATE KEY-----\nMIIEvgIBADANBgkqhkiG9w0BAQ"
    assert pii.redacted(text) == "[SECRET_1]"


# --- time ------------------------------------------------------------------------------------------------

LONG = 250_000
HOSTILE = {
    name: (piece * LONG)[:LONG]
    for name, piece in {
        "digits": "1",
        "digits apart": "1 ",
        "dashes": "12-",
        "at": "@",
        "half an address": "a@",
        "labels": "a.",
        "numbers with dots": "1.",
        "colons": ":",
        "hexadecimal": "a1:",
        "plus": "+1 ",
        "parentheses": "(0",
        "begun keys": "-----BEGIN PRIVATE KEY-----",
        "begun accounts": "DE89",
        "password": "password: ",
        "token": "token=",
        "begun tokens": "eyJaaaaaaaaaaaaaaaaaaaa.",
        "addresses": "://a:",
        "born": "born 1 1985 ",
        "angles": "P<",
        "call": "call 0171 39200 ",
        "letters": "a",
        "blanks": " ",
        "spelt": "a (at) b (dot) ",
        "Arabic digits": "١",
        "quotes": "a'",
    }.items()
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_takes_more_time_than_its_length_deserves(name: str) -> None:
    began = time.thread_time()
    pii.find(HOSTILE[name])
    assert time.thread_time() - began < 5  # one or two as a rule; anything worse than linear takes hours
