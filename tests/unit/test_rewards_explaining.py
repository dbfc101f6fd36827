"""Which sentence raised a score, and which lowered it."""

from __future__ import annotations

import pytest

from heedful.errors import InvalidInput
from heedful.rewards.explaining import explain
from judges import ASKED, ReadsWords


def test_each_sentence_has_the_effect_that_it_has() -> None:
    """good is worth 1, bad -2: the score is -1, and would be -2 and 1 without them."""
    (found,) = explain(ReadsWords(), ASKED, ["[send] All good. So bad. The end."])
    assert found.score == -1.0
    assert [(piece.text, piece.effect) for piece in found.pieces] == [
        ("[send] ", 0.0),
        ("All good. ", 1.0),
        ("So bad. ", -2.0),
        ("The end.", 0.0),
    ]
    strongest = found.strongest()
    assert strongest is not None
    assert strongest.text == "So bad. "


def test_what_two_sentences_say_alike_neither_is_said_to_do() -> None:
    (found,) = explain(ReadsWords(), ASKED, ["All good. Really good."])
    assert [piece.effect for piece in found.pieces] == [0.0, 0.0]


def test_everything_is_asked_in_one_call_with_one_prompt() -> None:
    judge = ReadsWords()
    found = explain(judge, ASKED, ["Good. Bad.", "", "One."])
    ((prompts, answers),) = judge.asked
    assert answers == ["Good. Bad.", "Bad.", "Good. ", "", "One.", ""]
    assert all(prompt is ASKED for prompt in prompts)
    assert ["".join(piece.text for piece in one.pieces) for one in found] == ["Good. Bad.", "", "One."]
    assert found[1].strongest() is None


def test_a_name_that_the_model_does_not_give_is_refused() -> None:
    with pytest.raises(InvalidInput, match="gives no 'safety': it gives quality"):
        explain(ReadsWords(), ASKED, ["Good."], name="safety")
    with pytest.raises(InvalidInput, match="no answer"):
        explain(ReadsWords(), ASKED, [])
