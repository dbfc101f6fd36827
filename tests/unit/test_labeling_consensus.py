"""Verdicts and raters, with numbers that are worked out by hand in each docstring."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import make_choice, make_violation
from heedful.domain.feedback import Feedback
from heedful.domain.ids import PersonId
from heedful.labeling import consensus, raters

PRIOR = 0.75  # log-odds log(3)


def choices(*said: tuple[str, str | None]) -> list[Feedback]:
    return [make_choice(chosen=chosen, by=by) for by, chosen in said]


def verdict(
    said: list[Feedback], quorum: int = 1, trust: dict[str, float] | None = None
) -> consensus.Sum | None:
    known = {PersonId(rater): value for rater, value in (trust or {}).items()}
    return consensus.of_choices(said, reliability=known, prior=PRIOR, quorum=quorum)


def check(
    *said: tuple[str, str | None], quorum: int = 1, trust: dict[str, float] | None = None
) -> consensus.Sum | None:
    known = {PersonId(rater): value for rater, value in (trust or {}).items()}
    checks = [make_violation(category, by=by) for by, category in said]
    return consensus.of_checks(checks, reliability=known, prior=PRIOR, quorum=quorum)


def test_one_choice_is_believed_as_far_as_its_rater() -> None:
    """Odds 3 to 1: probability 3/4."""
    found = verdict(choices(("ann", "turn_2")))
    assert found is not None
    assert found.chosen == "turn_2"
    assert found.confidence == pytest.approx(0.75)


def test_agreement_multiplies_odds() -> None:
    """Odds 3 * 3 * 3 / 3 = 9 to 1 for three against one."""
    found = verdict(choices(("ann", "turn_1"), ("bob", "turn_1"), ("cy", "turn_2"), ("di", "turn_1")))
    assert found is not None
    assert found.chosen == "turn_1"
    assert found.confidence == pytest.approx(0.9)


def test_two_careful_people_outvote_three_careless_ones() -> None:
    """Odds 9 * 9 = 81 against 1.5 ** 3 = 3.375: 24 to 1."""
    trust = {"ann": 0.9, "bob": 0.9, "x": 0.6, "y": 0.6, "z": 0.6}
    said = choices(
        *((by, "turn_1") for by in ("ann", "bob")),
        *((by, "turn_2") for by in ("x", "y", "z")),
    )
    found = verdict(said, trust=trust)
    assert found is not None
    assert found.chosen == "turn_1"
    assert found.confidence == pytest.approx(24 / 25)


def test_who_is_mostly_wrong_speaks_for_the_other_side() -> None:
    found = verdict(choices(("contrary", "turn_1")), trust={"contrary": 0.2})
    assert found is not None
    assert found.chosen == "turn_2"
    assert found.confidence == pytest.approx(0.8)


def test_a_dead_heat_no_difference_and_too_few_answers_give_no_verdict() -> None:
    assert verdict(choices(("ann", "turn_1"), ("bob", "turn_2"))) is None
    assert verdict(choices(("ann", None), ("bob", None))) is None
    assert verdict(choices(("ann", "turn_1")), quorum=2) is None
    assert verdict([]) is None
    found = verdict(
        choices(("ann", "turn_1"), ("bob", None)), quorum=2
    )  # it counts, and pulls to neither side
    assert found is not None
    assert found.confidence == pytest.approx(0.75)


def test_one_person_is_one_voice_with_the_last_word() -> None:
    twice = choices(("ann", "turn_1"), ("ann", "turn_2"))
    assert verdict(twice, quorum=2) is None
    found = verdict(twice)
    assert found is not None
    assert found.chosen == "turn_2"
    assert found.confidence == pytest.approx(0.75)


def test_half_a_confidence_is_half_the_evidence() -> None:
    """Odds 3 ** 0.5."""
    found = verdict([make_choice(confidence=0.5)])
    assert found is not None
    assert found.confidence == pytest.approx(math.sqrt(3) / (1 + math.sqrt(3)))


@given(st.lists(st.tuples(st.floats(0.02, 0.98), st.booleans()), min_size=1, max_size=8))
def test_mirrored_answers_give_the_mirrored_verdict(votes: list[tuple[float, bool]]) -> None:
    trust = {f"r{i}": value for i, (value, _) in enumerate(votes)}

    def asked(flip: bool) -> consensus.Sum | None:
        return verdict(
            choices(
                *((f"r{i}", "turn_1" if left != flip else "turn_2") for i, (_, left) in enumerate(votes))
            ),
            trust=trust,
        )

    one, other = asked(False), asked(True)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert one.confidence == pytest.approx(other.confidence)
        assert one.confidence >= 0.5
        assert {one.chosen, other.chosen} == {"turn_1", "turn_2"}


def test_a_check_finds_the_category_with_most_weight() -> None:
    """Odds 3 * 3 * 10 / 3 = 30 that it is broken; the card with odds 10, the promise with 3 * 3 = 9."""
    found = check(("ann", "promise"), ("bob", "promise"), ("cy", "card"), ("di", None), trust={"cy": 10 / 11})
    assert found is not None
    assert found.category == "card"
    assert found.confidence == pytest.approx(30 / 31)


def test_a_clean_answer_has_no_category() -> None:
    found = check(("ann", None), ("bob", None), ("cy", "card"))
    assert found is not None
    assert found.category is None
    assert found.confidence == pytest.approx(0.75)
    assert check(("ann", None), ("bob", "card")) is None
    assert check(("ann", None), quorum=2) is None


def test_disbelieved_words_name_nothing() -> None:
    """A rater who is mostly wrong says "clean": broken, perhaps, but nobody says by what."""
    contrary = {"contrary": 0.2, "worse": 0.1}
    assert check(("contrary", None), trust=contrary) is None
    assert check(("contrary", "card"), ("worse", None), trust=contrary) is None
    found = check(("contrary", "card"), trust=contrary)
    assert found is not None
    assert found.category is None
    assert found.confidence == pytest.approx(0.8)


def test_reliability_is_the_share_of_right_answers_shrunk_to_the_prior() -> None:
    """(right + 0.75 * 8) / (asked + 8)."""
    assert raters.reliability(raters.Tested(rater=PersonId("new"), right=0, asked=0)) == 0.75
    assert raters.reliability(raters.Tested(rater=PersonId("good"), right=12, asked=12)) == pytest.approx(
        18 / 20
    )
    assert raters.reliability(raters.Tested(rater=PersonId("bad"), right=0, asked=16)) == pytest.approx(
        6 / 24
    )
    known = raters.reliabilities(
        [raters.Tested(rater=PersonId("ann"), right=1, asked=2)], prior=0.5, weight=2
    )
    assert known == {"ann": 0.5}
