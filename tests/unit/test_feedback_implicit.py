"""What users do next, read from the conversation: signs, their confidence, and what each is about."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedful.errors import InvalidInput
from heedful.feedback.implicit import (
    KINDS,
    Line,
    Sign,
    edit_distance,
    latest,
    reply_times,
    signs,
    signs_of_edit,
)

DATA = Path(__file__).resolve().parents[1] / "data" / "implicit_dev.jsonl"
NOON = datetime(2025, 3, 3, 12, tzinfo=UTC)


def talk(*texts: str) -> list[Line]:
    """User and agent in turns; the user begins."""
    return [Line(role="user" if at % 2 == 0 else "assistant", text=text) for at, text in enumerate(texts)]


def kinds(*texts: str) -> list[str]:
    return [sign.kind for sign in latest(talk(*texts))]


WEIGHT = ("How heavy is the X200?", "The X200 comes in black and silver.")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("What I meant is what the X200 weighs in kilograms", "rephrase"),
        ("how heavy is the x200??", "repeat"),
        ("thats not what i asked", "correction"),
        ("try again", "regenerate"),
        ("nvm, i'll look it up myself", "abandon"),
        ("thx, that helped a lot", "thanks"),
        ("let me talk to a real person", "escalate"),
    ],
)
def test_each_kind_is_read_from_a_plain_case_and_is_about_the_answer_before(said: str, kind: str) -> None:
    (sign,) = latest(talk(*WEIGHT, said))
    assert (sign.kind, sign.line, sign.about, sign.value) == (kind, 2, 1, None)
    assert 0.5 <= sign.confidence <= 1


@pytest.mark.parametrize(
    "said",
    [
        "And how heavy is the X100?",
        "How long does its battery last?",
        "Black, please",
        "Which one is more popular?",
        "Could you compare it with the X300? Thanks in advance",
        "oh great, thanks, very helpful 🙄",
        'Translate this: "I want to speak to a human."',
        "My boss said that's wrong. How do I reply?",
        "Give me another example, but with cameras and in French",
    ],
)
def test_what_goes_on_from_an_answer_is_no_sign(said: str) -> None:
    assert kinds(*WEIGHT, said) == []


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Vielen Dank, das hat geklappt", "thanks"),
        ("Das stimmt nicht", "correction"),
        ("Ich möchte mit einem Menschen sprechen", "escalate"),
        ("Bitte nochmal", "regenerate"),
        ("Muchas gracias, ya funciona", "thanks"),
        ("Eso no es correcto", "correction"),
        ("Quiero hablar con un supervisor", "escalate"),
        ("Inténtalo otra vez", "regenerate"),
        ("Merci beaucoup, ça marche", "thanks"),
        ("C'est faux", "correction"),
        ("Je veux parler à un conseiller", "escalate"),
        ("Encore une fois, s'il vous plaît", "regenerate"),
        ("Muito obrigada, deu certo", "thanks"),
        ("Isso está errado", "correction"),
        ("Quero falar com um atendente", "escalate"),
        ("Tenta de novo", "regenerate"),
    ],
)
def test_four_more_languages_are_heard(said: str, kind: str) -> None:
    assert kinds("?", "X200", said) == [kind]


def test_no_after_a_question_is_an_answer_and_elsewhere_a_correction() -> None:
    assert kinds("I need a router.", "Do you need it today?", "No, it can wait until Monday") == []
    assert kinds("When was it built?", "It was built in 1951.", "No, it was built in 1961") == ["correction"]


def test_a_thank_you_in_a_request_is_manners_and_after_an_answer_a_confirmation() -> None:
    assert kinds("Can you check this? Thanks!") == []
    assert kinds("Which key?", "Return.", "Can you check this? Thanks!") == []
    assert kinds("Which key?", "Return.", "Thanks!") == ["thanks"]


def test_a_wish_beside_try_again_makes_it_a_new_request() -> None:
    poem = ("Write a poem about rain.", "Rain, rain, rain.")
    assert kinds(*poem, "Try again") == ["regenerate"]
    assert kinds(*poem, "Another one about snow") == []
    assert kinds(*poem, "Try again but make it shorter") == []


def test_one_word_of_substance_exchanged_is_a_new_question() -> None:
    assert kinds("What was revenue in Q1?", "4 million.", "What was revenue in Q2?") == []
    assert kinds("What was revenue in Q1?", "Revenue is income.", "what was the revenue in Q1") == ["repeat"]


MISSED = ("Can I freeze hummus?", "Hummus is a spread made from chickpeas.")
ANSWERED = ("Can I freeze hummus?", "Yes, for up to four months.")


@pytest.mark.parametrize(
    "said",
    [
        "I made too much of it. Does it survive in the freezer?",
        "Is it okay to put hummus in the freezer?",
        "I know what it is. May I freeze the rest?",
        "To be more precise: what happens to it at minus 18 degrees?",
    ],
)
def test_a_question_that_was_not_answered_is_rephrased_in_words_of_all_kinds(said: str) -> None:
    assert kinds(*MISSED, said) == ["rephrase"]


@pytest.mark.parametrize("said", ["How do I thaw it?", "Can I freeze guacamole?", "Does it lose its taste?"])
def test_after_an_answer_that_gave_what_was_wanted_a_question_is_a_new_one(said: str) -> None:
    assert kinds(*ANSWERED, said) == []


def test_another_subject_after_an_answer_that_missed_is_no_rephrasing() -> None:
    assert kinds(*MISSED, "What will the weather be like in Hamburg tomorrow?") == []


def test_an_explanation_answers_who_asked_for_one_and_nobody_else() -> None:
    said = "I want to store it. For how many days is the hummus good?"
    assert kinds("What is hummus?", MISSED[1], said) == []
    assert kinds("How long does hummus keep?", MISSED[1], said) == ["rephrase"]


@pytest.mark.parametrize(
    ("asked", "answered", "said"),
    [
        ("What's the capital of Australia?", "It is Sydney.", "It's Canberra."),
        ("How many legs does a lobster have?", "A lobster has eight legs.", "Ten, counting the claws"),
        ("How much is 15% of 240?", "It is 34.", "36, surely? 10% is 24."),
        ("Set an alarm for 6:30.", "Alarm set for 18:30.", "Morning, not evening"),
        ("Sum these: 12, 15, 20", "The sum is 45.", "I count 47"),
        ("Name three rivers.", "Rhine, Elbe, Oder and Main.", "That's four rivers"),
    ],
)
def test_a_correction_may_be_the_right_answer_alone(asked: str, answered: str, said: str) -> None:
    assert kinds(asked, answered, said) == ["correction"]


def test_a_form_sent_again_with_other_contents_is_the_next_task() -> None:
    form = "Classify the ticket below. Reply with one word. Ticket: {}"
    said = form.format('"That is wrong, I want a manager!"'), form.format('"The screen stays black."')
    assert kinds(said[0], "BILLING", said[1]) == []


def test_the_same_words_around_another_attachment_are_no_repeat() -> None:
    first, second = "Explain this log:\n```\nERROR 1\n```", "Explain this log:\n```\nERROR 2\n```"
    assert kinds(first, "It failed.", second) == []
    assert kinds(first, "It failed.", first) == ["repeat"]


def test_a_repeat_is_about_the_answer_that_the_question_got_the_first_time() -> None:
    lines = talk("Is the pool heated?", "We have a pool.", "ok", "Good.", "Is the pool heated?")
    assert [(sign.kind, sign.line, sign.about) for sign in latest(lines)] == [("repeat", 4, 1)]


def test_a_question_asked_again_the_next_day_is_a_new_one() -> None:
    asked = [
        Line(role="user", text="What is on my calendar today?", at=NOON),
        Line(role="assistant", text="Two meetings.", at=NOON),
    ]
    assert latest([*asked, Line(role="user", text=asked[0].text, at=NOON + timedelta(hours=1))])
    assert not latest([*asked, Line(role="user", text=asked[0].text, at=NOON + timedelta(days=1))])


def test_a_question_of_the_agent_left_open_for_long_was_abandoned() -> None:
    lines = [
        Line(role="user", text="Cancel my appointment with Dr. Weiss", at=NOON),
        Line(role="assistant", text="There are two. Which one do you mean?", at=NOON),
        Line(role="user", text="How warm will it get this weekend?", at=NOON + timedelta(days=1)),
    ]
    (sign,) = latest(lines)
    assert (sign.kind, sign.line, sign.about) == ("abandon", 2, 1)
    soon = Line(role="user", text=lines[2].text, at=NOON + timedelta(minutes=1))
    assert latest([*lines[:2], soon]) == ()


def test_who_never_came_back_has_left_once_it_is_late_or_somebody_notes_it() -> None:
    lines = [
        Line(role="user", text="Cancel my appointment", at=NOON),
        Line(role="assistant", text="There are two. Which one do you mean?", at=NOON),
    ]
    assert latest(lines) == signs(lines, now=NOON + timedelta(hours=1)) == ()
    (sign,) = signs(lines, now=NOON + timedelta(days=1))
    assert (sign.kind, sign.line, sign.about) == ("abandon", 1, 1)
    note = Line(role="system", text="Chat closed due to inactivity.")
    assert [(sign.kind, sign.line, sign.about) for sign in latest([*lines, note])] == [("abandon", 2, 1)]
    answered = [lines[0], Line(role="assistant", text="Done, it is cancelled.", at=NOON)]
    assert signs(answered, now=NOON + timedelta(days=1)) == ()
    assert latest(talk("Is the server up?", "There was no response from it.")) == ()


def test_a_message_gives_one_sign_at_most_and_the_last_step_holds() -> None:
    assert kinds(*WEIGHT, "No, that's wrong again. Get me a manager!") == ["escalate"]


def test_a_whole_conversation_is_read_message_by_message() -> None:
    lines = talk(
        "Who wrote Faust?", "Schiller.", "No, it was Goethe.", "You are right: Goethe.", "Thanks, that helps"
    )
    assert [(sign.kind, sign.line, sign.about) for sign in signs(lines)] == [
        ("correction", 2, 1),
        ("thanks", 4, 3),
    ]
    assert signs(lines)[-1:] == latest(lines)


def test_a_demand_for_a_person_counts_before_any_answer_and_a_complaint_does_not() -> None:
    (sign,) = latest(talk("I want to speak to a human"))
    assert (sign.kind, sign.about) == ("escalate", None)
    assert latest(talk("How do I file a complaint?")) == ()


def test_there_may_be_nothing_to_read() -> None:
    assert latest([]) == signs([]) == reply_times([]) == signs_of_edit([], "text") == ()
    assert latest([Line(role="assistant", text="Hello!"), Line(role="tool", text="that is wrong")]) == ()
    assert latest(talk("", "", "")) == ()


def test_the_conversations_that_the_rules_were_written_with_are_read_well() -> None:
    right = dict.fromkeys(KINDS, 0)
    found, shown = dict(right), dict(right)
    for text in DATA.read_text().splitlines():
        row = json.loads(text)
        lines = [
            Line(
                role=message["role"],
                text=message["content"],
                at=datetime.fromisoformat(message["at"]) if "at" in message else None,
            )
            for message in row["messages"]
        ]
        said = {sign.kind for sign in latest(lines)}
        for kind in KINDS:
            found[kind] += kind in said
            shown[kind] += kind == row["signal"]
            right[kind] += kind in said and kind == row["signal"]
    assert min(shown.values()) >= 30
    assert min(right[kind] / found[kind] for kind in KINDS) >= 0.97
    # A rephrasing that is only likely is left out on purpose: precision before recall.
    assert min(right[kind] / shown[kind] for kind in KINDS) >= 0.75


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), st.text(max_size=200)), max_size=6)
)
def test_nothing_that_people_may_write_breaks_it(messages: list[tuple[str, str]]) -> None:
    lines = [Line(role=role, text=text) for role, text in messages]
    for sign in signs(lines):
        assert lines[sign.line].role == "user" or sign.kind == "abandon"
        assert sign.about is None or lines[sign.about].role == "assistant"


@pytest.mark.parametrize(
    "long",
    [
        "really " * 30_000,
        "a" * 200_000,
        '"' * 100_000,
        "not " * 50_000 + "?",
        "is it? " * 30_000,
        "🙏" * 50_000,
    ],
)
def test_a_huge_message_costs_no_more_than_a_long_one(long: str) -> None:
    started = time.perf_counter()
    latest(talk(long, long, long + "x"))
    assert time.perf_counter() - started < 2


# --- what is measured ---------------------------------------------------------------------------------------


def counted(old: list[str], new: list[str]) -> int:
    """The textbook's table, row by row."""
    before = list(range(len(new) + 1))
    for at, one in enumerate(old, start=1):
        row = [at]
        for place, other in enumerate(new, start=1):
            row.append(min(before[place] + 1, row[-1] + 1, before[place - 1] + (one != other)))
        before = row
    return before[-1]


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_the_edit_distance_is_the_textbooks(old: list[str], new: list[str]) -> None:
    longest = max(len(old), len(new), 1)
    assert edit_distance(" ".join(old), " ".join(new)) == counted(old, new) / longest


def test_edit_distance_counts_words_and_marks_and_no_white_space() -> None:
    assert edit_distance("", " \n") == 0
    assert edit_distance("We ship  today.", "We ship today.") == 0
    assert edit_distance("We ship today.", "We ship tomorrow.") == 1 / 4
    assert edit_distance("", "something") == edit_distance("all new", "quite other") == 1
    assert edit_distance("今日は雨", "今日は雪") == 1 / 4


def test_ten_thousand_words_are_compared_at_once() -> None:
    draft = " ".join(f"w{at % 3001}" for at in range(10_000))
    sent = " ".join(f"w{at * 7 % 2999}" for at in range(10_000))
    started = time.perf_counter()
    assert 0 < edit_distance(draft, sent) <= 1
    assert time.perf_counter() - started < 2


def test_an_edit_is_surest_where_the_draft_was_used_as_it_was_or_thrown_away() -> None:
    draft = "Dear Ms. Okafor, your parcel left our house this morning and arrives on Friday. Kind regards"
    lines = talk("Draft a reply", draft)
    (kept,) = signs_of_edit(lines, draft)
    (changed,) = signs_of_edit(lines, draft.replace("this morning and arrives on Friday", "at nine"))
    (thrown,) = signs_of_edit(lines, "I will call her instead, this needs no letter at all")
    assert (kept.kind, kept.line, kept.about, kept.value) == ("edit", 1, 1, 0)
    assert 0 < (changed.value or 0) < (thrown.value or 0)
    assert changed.confidence < kept.confidence == thrown.confidence


def test_an_edit_is_about_a_message_of_the_agent() -> None:
    lines = talk("Draft a reply", "Dear all", "shorter", "Hi")
    assert [sign.about for sign in signs_of_edit(lines, "Dear all", about=1)] == [1]
    for about in (0, 4, -1):
        with pytest.raises(InvalidInput, match="about is"):
            signs_of_edit(lines, "Dear all", about=about)


def test_reply_times_are_seconds_between_an_answer_and_the_next_message() -> None:
    lines = [
        Line(role="user", text="Hi", at=NOON),
        Line(role="assistant", text="Hello", at=NOON + timedelta(seconds=2)),
        Line(role="user", text="One", at=NOON + timedelta(seconds=32)),
        Line(role="user", text="Two", at=NOON + timedelta(seconds=40)),
        Line(role="assistant", text="Yes"),
        Line(role="user", text="Three", at=NOON + timedelta(seconds=50)),
    ]
    assert [(sign.line, sign.about, sign.value) for sign in reply_times(lines)] == [(2, 1, 30.0)]


def test_a_time_without_a_zone_and_a_sign_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidInput, match="without a time zone"):
        Line(role="user", text="Hi", at=NOON.replace(tzinfo=None))
    with pytest.raises(InvalidInput, match="now is"):
        latest([], now=NOON.replace(tzinfo=None))
    with pytest.raises(InvalidInput, match="kind is 'anger'"):
        Sign(kind="anger", line=0, about=None, confidence=0.5)
    with pytest.raises(InvalidInput, match="confidence is 2"):
        Sign(kind="thanks", line=0, about=None, confidence=2)
