"""What is taken from a record before it is kept: what is personal, or every word."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from factories import make_allocation, make_episode, make_feedback, make_judgement, make_message, make_turn
from heedful.domain.capture import Capture
from heedful.domain.content import AudioPart, ImagePart, Message, Role, Sampling, TextPart, Tokens, ToolCall
from heedful.domain.episode import AgentView, Episode, Turn, World
from heedful.domain.feedback import (
    Correction,
    DeadLetter,
    Demonstration,
    Feedback,
    Flag,
    Form,
    Rating,
    Thumbs,
)
from heedful.domain.guard import Decision, Ruling
from heedful.feedback import capture
from heedful.feedback.settings import CaptureSettings
from heedful.store import codec

EMAIL, CARD = "ann@example.com", "4111 1111 1111 1111"
SAID = f"I am {EMAIL}, my card is {CARD}"
BARE_CARD = 4111111111111111
PERSONAL = ("example.com", "1111")
REDACTED, METADATA = Capture.REDACTED, Capture.METADATA
DIGEST = "sha256:" + "0" * 64


def whole_turn(**given: Any) -> Turn:
    """Something personal in every place where somebody can put a text."""
    call = ToolCall(id="call_1", name="charge", arguments=json.dumps({"card": BARE_CARD, "to": EMAIL}))
    parts = (
        TextPart(text=SAID),
        ImagePart(url=f"https://pictures.example/x?user={EMAIL}"),
        ImagePart(digest=DIGEST, media_type="image/png"),  # type: ignore[arg-type]
        AudioPart(digest=DIGEST, media_type="audio/wav", transcript=SAID),  # type: ignore[arg-type]
    )
    return make_turn(
        **{
            "request": (
                make_message(SAID, name=EMAIL),
                Message(role=Role.USER, content=parts),
                Message(role=Role.ASSISTANT, tool_calls=(call,)),
                Message(
                    role=Role.TOOL,
                    content=f'{{"note": "ann\\u0040example.com {CARD}"}}',
                    tool_call_id="call_1",
                ),
            ),
            "answer": f"I wrote to {EMAIL}",
            "tool_calls": (call,),
            "tokens": Tokens(ids=(1, 2), logprobs=(-0.1, -0.2)),
            "sampling": Sampling(
                temperature=0.5, stop=(EMAIL,), extra={"tools": [{"for": [EMAIL, BARE_CARD]}]}
            ),
            "allocation": make_allocation(),
            "rulings": (Ruling(guard="pii", decision=Decision.ALLOW, reason=f"saw {EMAIL}", score=0.1),),
            "view": AgentView(state=(1.0, 4111111111111111.0), actions=(f"mailed {EMAIL}",), progress=0.5),
            "world": World(environment={EMAIL: {"card": BARE_CARD}}, safety={"distance": 1.0}),
            "metadata": {"customer": EMAIL},
            "latency": 0.3,
            **given,
        }
    )


def whole_episode() -> Episode:
    return make_episode(metadata={"who": EMAIL}, world=World(environment={"card": CARD}), segment="gold")


def whole_feedback(said: Form) -> Feedback:
    judgement = make_judgement(reason=f"{EMAIL} is in it", suggestion=SAID)
    return make_feedback(
        said, judgement=judgement, metadata={"page": f"https://shop.example/?u={EMAIL}"}, turn="turn_1"
    )


FORMS: list[Form] = [
    Correction(text=SAID, kind="fact"),
    Flag(reason=SAID),
    Demonstration(prompt=(make_message(SAID),), answer=SAID),
    Rating(value=4, aspect="tone"),
    Thumbs(up=True),
]
RECORDS: list[Any] = [whole_turn(), whole_episode(), *map(whole_feedback, FORMS)]


def plain(record: Any) -> str:
    """As it would be written down, without what is a number of ours."""
    return codec.encode(record).decode().replace("4111111111111111.0", "")


# --- all three -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", RECORDS, ids=lambda one: getattr(one, "said", one).__class__.__name__)
@pytest.mark.parametrize("level", [REDACTED, METADATA])
def test_nothing_personal_is_left_anywhere_and_it_reads_back(record: Any, level: Capture) -> None:
    taken = capture.captured(record, level)
    assert not [one for one in PERSONAL if one in plain(taken)]
    assert codec.decode(type(record), codec.encode(taken)) == taken
    assert taken.capture is level


@pytest.mark.parametrize("record", RECORDS, ids=lambda one: getattr(one, "said", one).__class__.__name__)
def test_what_was_taken_stays_taken_and_twice_is_once(record: Any) -> None:
    redacted, bare = capture.captured(record, REDACTED), capture.captured(record, METADATA)
    assert capture.captured(record, Capture.FULL) == record
    assert capture.captured(redacted, REDACTED) == redacted == capture.captured(redacted, Capture.FULL)
    assert capture.captured(bare, REDACTED) == bare
    assert codec.digest(capture.captured(record, REDACTED)) == codec.digest(redacted)


def test_a_field_that_nobody_thought_of_is_noticed_here() -> None:
    """Whoever adds a field to a record says here whether it stays without its words, and empties it if not."""
    known = {
        Turn: {
            *(
                "request",
                "answer",
                "tool_calls",
                "tokens",
                "sampling",
                "rulings",
                "view",
                "world",
                "metadata",
            ),
        },
        Episode: {"world", "metadata"},
        Feedback: {"said", "judgement", "metadata"},
    }
    labels = {"state", "name"}  # of ours, or of the operator's
    for kind, emptied in known.items():
        names = {field.name for field in dataclasses.fields(kind)}
        assert names - emptied - capture.KEPT - labels == set(), kind


# --- redacted --------------------------------------------------------------------------------------------


def test_a_turns_texts_are_numbered_together_so_that_it_stays_readable() -> None:
    taken = capture.of_turn(whole_turn(), REDACTED)
    assert taken.request[0].text == "I am [EMAIL_1], my card is [CARD_1]"
    assert taken.answer == "I wrote to [EMAIL_1]"
    assert json.loads(taken.tool_calls[0].arguments) == {"card": "[CARD_1]", "to": "[EMAIL_1]"}
    assert json.loads(taken.request[3].text) == {"note": "[EMAIL_1] [CARD_1]"}
    assert taken.view is not None
    assert taken.view.state == (1.0, 4111111111111111.0)
    assert (taken.sampling.temperature, taken.latency, taken.id) == (0.5, 0.3, taken.id)


def test_pictures_and_recordings_are_left_out_because_nobody_can_look_into_them() -> None:
    content = capture.of_turn(whole_turn(), REDACTED).request[1].content
    assert isinstance(content, tuple)
    assert [one.text for one in content if isinstance(one, TextPart)] == [
        "I am [EMAIL_1], my card is [CARD_1]",
        "[image]",
        "[audio] I am [EMAIL_1], my card is [CARD_1]",
    ]
    assert content[1] == ImagePart(url="https://pictures.example/x?user=[EMAIL_1]")
    assert capture.keeps_bytes(Capture.FULL)
    assert not capture.keeps_bytes(REDACTED)


def test_token_ids_go_when_the_answer_changed_and_stay_when_it_did_not() -> None:
    tokens = Tokens(ids=(1,), logprobs=(-0.1,))
    assert capture.of_turn(make_turn(answer=EMAIL, tokens=tokens), REDACTED).tokens is None
    assert capture.of_turn(make_turn(answer="Done.", tokens=tokens), REDACTED).tokens == tokens


def test_json_that_is_too_deep_to_look_through_is_dropped() -> None:
    deep: Any = EMAIL
    for _ in range(500):
        deep = [deep]
    taken = capture.of_episode(make_episode(world=World(environment={"deep": deep})), REDACTED)
    assert EMAIL not in plain(taken)
    bottomless = "[" * 100_000
    assert capture.of_turn(make_turn(answer=bottomless), REDACTED).answer == bottomless


# --- metadata only ---------------------------------------------------------------------------------------


def test_a_turn_without_words_keeps_who_how_long_and_every_number() -> None:
    turn = whole_turn()
    taken = capture.of_turn(turn, METADATA)
    assert [one.role for one in taken.request] == [one.role for one in turn.request]
    assert all(one.content is None for one in taken.request)
    lengths = [len(one.text) for one in turn.request]
    assert taken.metadata == {
        "request_characters": " ".join(map(str, lengths)),
        "answer_characters": str(len(turn.answer)),
    }
    assert (taken.answer, taken.tokens) == ("", None)
    assert [(call.name, call.arguments) for call in taken.tool_calls] == [("charge", "")]
    same = ("policy", "allocation", "usage", "latency", "finish", "rewards", "at", "agent", "index")
    assert [getattr(taken, name) for name in same] == [getattr(turn, name) for name in same]


def test_feedback_without_words_is_still_what_it_was() -> None:
    correction = capture.of_feedback(whole_feedback(Correction(text=SAID, kind="fact")), METADATA)
    assert correction.said == Correction(text=capture.WITHHELD, kind="fact")
    assert correction.metadata == {"characters": str(len(SAID))}
    assert correction.judgement == make_judgement()
    assert capture.of_feedback(whole_feedback(Flag(reason=SAID)), METADATA).said == Flag(reason="")
    shown = capture.of_feedback(whole_feedback(FORMS[2]), METADATA)
    assert shown.metadata == {"characters": f"{len(SAID)} {len(SAID)}"}
    rating = Rating(value=4, aspect="tone")
    assert capture.of_feedback(whole_feedback(rating), METADATA).said == rating


# --- asked again -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", list(Capture))
def test_the_same_request_is_known_again_as_far_as_it_can_be(level: Capture) -> None:
    request = (make_message(SAID), make_message("And now?"))
    kept = capture.of_turn(make_turn(request=request), level)
    assert capture.same_request(kept, request)
    assert not capture.same_request(kept, (make_message(SAID), make_message("And then what?")))


def test_an_answer_that_lost_words_cannot_be_given_again() -> None:
    clean, personal = make_turn(answer="Done."), make_turn(answer=EMAIL)
    assert capture.has_text(personal)
    assert capture.has_text(capture.of_turn(clean, REDACTED))
    assert not capture.has_text(capture.of_turn(personal, REDACTED))
    assert not capture.has_text(capture.of_turn(clean, METADATA))


def test_a_dead_letter_is_redacted_or_only_counted() -> None:
    letter = DeadLetter(
        id="otlp:1", tenant="acme", payload=json.dumps({"said": SAID}), origin="otlp",  # type: ignore[arg-type]
        reason=f"by is {EMAIL!r}", first_seen=make_turn().at, last_seen=make_turn().at,
    )  # fmt: skip
    redacted = capture.of_letter(letter, REDACTED)
    assert json.loads(redacted.payload) == {"said": "I am [EMAIL_1], my card is [CARD_1]"}
    assert redacted.reason == "by is '[EMAIL_1]'"
    assert capture.of_letter(letter, METADATA).payload == capture.WITHHELD


def test_a_tenant_has_its_own_level_and_days_or_the_default() -> None:
    settings = CaptureSettings.model_validate(
        {
            "default": "redacted",
            "tenants": {"acme": "metadata"},
            "retention_days": 30,
            "tenants_retention": {"acme": None},
        }
    )
    assert (settings.of("acme"), settings.of("globex")) == (METADATA, REDACTED)  # type: ignore[arg-type]
    assert (settings.days("acme"), settings.days("globex")) == (None, 30)  # type: ignore[arg-type]
