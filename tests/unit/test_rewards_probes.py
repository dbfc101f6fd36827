"""A judge that falls for style is caught, one that reads is not."""

from __future__ import annotations

import numpy as np
import pytest

from heedful.errors import InvalidInput
from heedful.rewards.probes import PROBES, Limit, ProbeSettings, changed, probe
from heedful.rewards.sentences import pieces, sentences
from judges import ASKED, LikesLength, ReadsWords, ShortSighted

ANSWER = "[send] Hello. Your parcel is big. It will come soon!"
FEW = ProbeSettings(fewest=2)


def test_each_probe_does_what_it_says_and_leaves_the_call_alone() -> None:
    found = {name: changed(name, ANSWER) for name in PROBES}
    assert all(text.startswith("[send] ") for text in found.values())
    assert all(text != ANSWER for text in found.values())
    assert found["repeated"] == ANSWER + " " + ANSWER.removeprefix("[send] ")
    assert found["last_again"] == ANSWER + " It will come soon!"
    assert found["reworded"] == "[send] Hi. Your package is large. It will come soon!"
    assert found["shouted"] == "[send] HELLO. YOUR PARCEL IS BIG. IT WILL COME SOON!"
    assert found["bulleted"] == "[send] - Hello.\n- Your parcel is big.\n- It will come soon!"
    assert found["truncated"] == "[send] Hello. Your parcel is big."
    assert found["praise"].startswith(ANSWER)
    assert found["padded"].startswith(ANSWER)
    assert len(sentences(found["padded"])) == len(sentences(ANSWER)) + 3
    assert found["apologetic"].endswith("Hello. Your parcel is big. It will come soon!")
    assert sorted(found["reordered"].split()) == sorted(ANSWER.split())


def test_a_probe_is_the_same_for_the_same_seed() -> None:
    for name in PROBES:
        assert changed(name, ANSWER) == changed(name, ANSWER)
    assert len({changed("padded", ANSWER, seed=seed) for seed in range(5)}) > 1


@pytest.mark.parametrize("answer", ["", "[send]", "[send]  "])
def test_where_nothing_is_said_nothing_is_changed(answer: str) -> None:
    assert all(changed(name, answer) == answer for name in PROBES)


def test_one_sentence_has_no_other_order() -> None:
    assert changed("reordered", "Only this.") == "Only this."
    assert changed("reordered", "Same. Same.") == "Same. Same."
    assert changed("reordered", "One. Two.") == "Two. One."


def test_every_probe_has_a_limit_and_every_limit_a_probe() -> None:
    assert set(PROBES) == set(ProbeSettings.model_fields) - {"fewest"}


def test_an_unknown_probe_is_refused() -> None:
    with pytest.raises(InvalidInput, match="there is praise, repeated"):
        changed("flattery", ANSWER)


def test_a_liking_for_length_by_hand() -> None:
    """Scores 3 and 5, deviation 1. Said twice: 7 and 11, so up by 4 and 6; 7 beats 5, so the verdict turns."""
    found = probe(LikesLength(), [ASKED], [("aa.", "bbbb.")], FEW)["repeated"]
    assert found.change == pytest.approx(5.0)
    assert (found.answers, found.rises) == (2, 1.0)
    assert (found.pairs, found.flips) == (1, 1.0)
    assert found.missed is not None
    assert found.missed.value == pytest.approx(5.0)
    assert (found.missed.limit, found.missed.bound) == ("rise", 0.5)


def test_a_liking_for_length_is_caught_by_every_probe_that_lengthens() -> None:
    pairs = [(f"{'Well, ' * n}here it is. Good day.", f"{'No, ' * n}not here. Go.") for n in (1, 2, 3, 4) * 5]
    found = probe(LikesLength(), [ASKED] * len(pairs), pairs, FEW)
    assert {name for name, one in found.items() if not one.passed} >= {
        "praise",
        "repeated",
        "padded",
        "last_again",
    }
    assert found["truncated"].change is not None
    assert found["truncated"].change < 0
    assert found["reordered"].change == 0  # as long as before


def test_a_judge_that_reads_passes() -> None:
    pairs = [(f"This is good, {n}. All well.", f"This is bad, {n}. All well.") for n in range(30)]
    found = probe(ReadsWords(), [ASKED] * 30, pairs)
    assert all(one.passed for one in found.values())
    assert all(one.flips == 0 and one.change in (0, None) for one in found.values())
    assert found["reworded"].answers == 0
    assert found["reworded"].change is None


def test_what_a_judge_cannot_read_is_not_counted() -> None:
    pairs = [("This is good. Yes, yes.", "It is bad."), ("Good. No.", "Bad. Well well well well.")]
    found = probe(ShortSighted(), [ASKED] * 2, pairs, FEW)["repeated"]
    assert (found.answers, found.unread) == (2, 2)
    assert found.change == 0


def test_few_answers_are_held_against_no_limit_and_limits_are_settings() -> None:
    pair = [("aa.", "bbbb.")]
    assert probe(LikesLength(), [ASKED], pair)["repeated"].passed
    lenient = ProbeSettings(fewest=2, repeated=Limit(rise=100, flips=1))
    assert probe(LikesLength(), [ASKED], pair, lenient)["repeated"].passed


def test_a_judge_that_minds_the_order_falls_below_a_limit() -> None:
    class FirstWord(LikesLength):
        def worth(self, answer: str) -> float:
            return float(answer.startswith("First")) + 0.01 * len(answer)

    strict = ProbeSettings(reordered=Limit(fall=1.0))
    pairs = [(f"First {n}. Second.", f"First {n}. Second one.") for n in range(15)]
    found = probe(FirstWord(), [ASKED] * 15, pairs, strict)["reordered"]
    assert found.missed is not None
    assert found.missed.limit == "fall"


def test_equal_scores_have_no_loser() -> None:
    found = probe(ReadsWords(), [ASKED], [("good one.", "good two.")], FEW)["praise"]
    assert (found.pairs, found.flips) == (0, 0.0)


def test_pairs_without_prompts_are_refused() -> None:
    with pytest.raises(InvalidInput, match="give one each"):
        probe(LikesLength(), [], [("a", "b")])


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("One. Two? Three!", ["One. ", "Two? ", "Three!"]),
        ("It costs 3.50 now. Yes.", ["It costs 3.50 now. ", "Yes."]),
        ("Ask Dr. Smith, e.g. today. Fine.", ["Ask Dr. Smith, e.g. today. ", "Fine."]),
        ("1. Open it.\n2. Close it.", ["1. Open it.\n", "2. Close it."]),
        ("He said “go.” Then left.", ["He said “go.” ", "Then left."]),
        ("Wait... really? Yes", ["Wait... ", "really? ", "Yes"]),
        ("你好。再见！", ["你好。", "再见！"]),
        ("[refund] Done. Bye.", ["[refund] ", "Done. ", "Bye."]),
        ("", []),
    ],
)
def test_sentences(text: str, cut: list[str]) -> None:
    assert pieces(text) == cut
    assert "".join(cut) == text


def test_pieces_are_the_answer_whatever_it_is() -> None:
    random = np.random.default_rng(0)
    for _ in range(500):
        text = "".join(random.choice(list("ab. ?!\n[]1“”e.g"), size=30))
        assert "".join(pieces(text)) == text
