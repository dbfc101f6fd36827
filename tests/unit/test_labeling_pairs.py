"""Which two of several answers are shown."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from heedful.labeling.pairs import opening, pair


def picked(*answers: str, seed: int = 0) -> tuple[str, str] | None:
    return pair(answers, text=str, random=Random(seed))


def test_an_opening_is_the_leading_call_or_the_first_word() -> None:
    assert opening(" [refund 12] I sent it.") == "[refund 12]"
    assert opening("[open without end") == "[open without end]"
    assert opening("Sorry about that") == "Sorry"
    assert opening("  ") == ""


def test_answers_that_do_different_things_come_first() -> None:
    answers = ("[refund] done", "[refund] it is done", "[cancel] done")
    for seed in range(20):
        two = picked(*answers, seed=seed)
        assert two is not None
        assert "[cancel] done" in two


def test_equal_answers_teach_nothing() -> None:
    assert picked("same", "same", "same") is None
    assert picked("alone") is None
    assert picked() is None


def test_no_side_is_favoured() -> None:
    """1,000 coin tosses: 500 within 3 sigma of 48."""
    left = Counter((picked("[a]", "[b]", seed=seed) or ("", ""))[0] for seed in range(1000))
    assert abs(left["[a]"] - 500) < 48


@given(st.lists(st.sampled_from(["[a] x", "[a] y", "[b] x", "hello"]), max_size=6), st.integers())
def test_a_pair_is_two_different_answers_whenever_there_are_two(answers: list[str], seed: int) -> None:
    two = picked(*answers, seed=seed)
    assert (two is None) == (len(set(answers)) < 2)
    if two is not None:
        assert two[0] != two[1]
        assert set(two) <= set(answers)
        openings = {opening(answer) for answer in answers}
        assert (opening(two[0]) != opening(two[1])) == (len(openings) > 1)
