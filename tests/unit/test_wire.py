"""What goes over HTTP becomes what the domain means, and nothing else does."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from heedful import wire
from heedful.dialect import chat
from heedful.domain.content import Message, Role
from heedful.domain.feedback import (
    Behaviour,
    Choice,
    Completion,
    Confirmation,
    Correction,
    Demonstration,
    Efficiency,
    Feedback,
    Flag,
    Form,
    Judgement,
    Ranking,
    Rating,
    Source,
    Thumbs,
    Violation,
)
from heedful.domain.ids import QueueId, TenantId, TurnId
from heedful.domain.taxonomy import Severity
from heedful.errors import InvalidInput, Malformed
from heedful.service.door import body
from heedful.wire import FORMS, ChatRequest, FeedbackIn

ACME = TenantId("acme")
NOW = datetime(2026, 6, 1, tzinfo=UTC)
A, B = TurnId("turn_a"), TurnId("turn_b")
EXAMPLES: tuple[Form, ...] = (
    Rating(value=4, aspect="tone"),
    Thumbs(up=False),
    Choice(shown=(A, B), chosen=B, strength=0.5),
    Ranking(places=((A,), (B,))),
    Correction(text="It left on Monday.", kind="fact"),
    Confirmation(strength=0.5),
    Flag(reason="odd"),
    Demonstration(prompt=(Message(role=Role.USER, content="Hi"),), answer="Hello"),
    Violation(category="promise.unauthorised", severity=Severity.HIGH),
    Completion(completed=True, quality=0.5),
    Efficiency(seconds=2.5, tokens=100),
    Behaviour(kind="rephrase", value=0.3),
)


def heard(**sent: Any) -> Feedback:
    checked: FeedbackIn = body.checked(FeedbackIn, {"turn": "turn_a"} | sent)
    return checked.to_domain(tenant=ACME, id="feedback_1", at=NOW)


def test_the_wire_knows_every_form_of_the_domain() -> None:
    assert {form for form, _ in FORMS.values()} == set(get_args(Form)) == {type(one) for one in EXAMPLES}


@pytest.mark.parametrize("form", EXAMPLES, ids=lambda form: form.form)
def test_a_form_comes_out_as_it_went_in(form: Form) -> None:
    sent = FeedbackIn.of(form, turn="turn_a").model_dump(mode="json", exclude_none=True)
    assert heard(**sent).said == form


def test_a_judgement_has_every_field_of_the_domains() -> None:
    assert set(wire.JudgementIn.model_fields) == {one.name for one in fields(Judgement)}
    sent = FeedbackIn.of(
        Thumbs(up=True), turn="turn_a", judgement=Judgement(queue=QueueId("q"), opened_at=NOW)
    )
    assert heard(**sent.model_dump(mode="json")).judgement == Judgement(queue=QueueId("q"), opened_at=NOW)


@pytest.mark.parametrize(("form", "source"), [(name, usual) for name, (_, usual) in FORMS.items()])
def test_without_a_source_the_forms_usual_one_is_taken(form: str, source: Source) -> None:
    example = next(one for one in EXAMPLES if one.form == form)
    sent = FeedbackIn.of(example, turn="turn_a").model_dump(mode="json", exclude_none=True)
    assert heard(**sent).source is source


def test_every_field_of_ours_explains_itself() -> None:
    ours = [shape for shape in wire.shapes() if issubclass(shape, wire.Shape)]
    silent = [f"{s.__name__}.{n}" for s in ours for n, f in s.model_fields.items() if not f.description]
    assert len(ours) > 30
    assert silent == []


THUMB = {"form": "thumbs", "up": True}


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"said": THUMB, "confidense": 1}, "confidense"),
        ({"said": THUMB | {"ups": 1}}, "said.ups"),
        ({"said": {"form": "thumbs"}}, "said.up"),
        ({"said": {"form": "thumbs", "up": 1}}, "said.up"),
        ({"said": {"form": "applause"}}, "said"),
        ({"said": {}}, "said"),
        ({}, "said"),
        ({"said": THUMB, "confidence": 2}, "confidence"),
        ({"said": THUMB, "confidence": "1"}, "confidence"),
        ({"said": THUMB, "id": "a b"}, "id"),
        ({"said": THUMB, "id": "a\n"}, "id"),
        ({"said": THUMB, "id": 7}, "id"),
        ({"said": THUMB, "at": "2026-06-01T12:00:00"}, "at"),
        ({"said": THUMB, "at": "0001-01-01T00:00:00+14:00"}, "at"),
        ({"said": THUMB, "metadata": {"a": 1}}, "metadata.a"),
        ({"said": {"form": "rating", "value": 9}}, "said.value"),
        ({"said": {"form": "rating", "value": True}}, "said.value"),
        ({"said": {"form": "choice", "shown": ["a", "b"], "chosen": "c"}}, "said.chosen"),
        ({"said": {"form": "choice", "shown": ["a", 2], "chosen": None}}, "said.shown.1"),
        ({"said": {"form": "efficiency", "tokens": 2**70}}, "said.tokens"),
        (
            {"said": {"form": "demonstration", "prompt": [{"role": "judge"}], "answer": "x"}},
            "said.prompt.0.role",
        ),
        ({"said": THUMB, "judgement": {"queue": []}}, "judgement.queue"),
    ],
)
def test_wrong_feedback_is_refused_by_the_name_of_its_field(sent: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        heard(**sent)
    assert caught.value.field == field
    assert field.rpartition(".")[2] in str(caught.value)


def test_a_chat_request_keeps_what_it_does_not_know() -> None:
    asked: dict[str, Any] = {
        "model": "resolver",
        "messages": [{"role": "user", "content": "Hi", "cache": True}],
        "max_tokens": 5,
        "max_completion_tokens": 7,
        "stop": "END",
        "response_format": {"type": "json_object"},
        "user": "u",
    }
    body.checked(ChatRequest, asked)
    sampling = chat.sampling_of(asked)
    assert sampling.extra == {"response_format": {"type": "json_object"}}
    assert (sampling.max_tokens, sampling.stop) == (7, ("END",))


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"messages": [{"role": "user", "content": "x"}]}, "model"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": [{"role": "king"}]}, "messages.0.role"),
        ({"model": "m", "messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        (
            {"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages.0.content.0.text",
        ),
        ({"model": "m", "messages": [{"role": "user"}], "n": 0}, "n"),
        ({"model": "m", "messages": [{"role": "user"}], "temperature": "hot"}, "temperature"),
    ],
)
def test_a_wrong_chat_request_is_refused_by_the_name_of_its_field(sent: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        body.checked(ChatRequest, sent)
    assert caught.value.field == field


# -- before any shape: can it be read at all? ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "field", "why"),
    [
        (b'{"a":{"b":["x","y\\u0000"]}}', "a.b.1", "NUL"),
        (b'{"a":{"k\\u0000":1}}', "a.a key", "NUL"),
        (b'{"a":{"b":"\xff"}}', "a.b", "UTF-8"),
        (b'{"a":["\\ud800"]}', "a.0", "surrogate"),
        (b'{"a":NaN}', "a", "JSON does not know"),
        (b'{"a":{"b":-Infinity}}', "a.b", "JSON does not know"),
        (b'{"a":1e999}', "a", "JSON does not know"),
        (b'{"a":', "body", "not JSON"),
        (b"\xff\xfe", "body", "UTF-8"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, ".".join(["a"] * 64), "64 levels"),
        (b"[" * 100_000 + b"]" * 100_000, "body", "64 levels"),
    ],
    ids=["nul", "nul in a key", "utf8", "surrogate", "nan", "inf", "huge", "cut", "bytes", "deep", "deepest"],
)
def test_what_cannot_be_kept_is_found_before_anything_looks_at_it(sent: bytes, field: str, why: str) -> None:
    with pytest.raises(Malformed, match=why) as caught:
        body.parse(sent)
    assert caught.value.field == field


def test_what_can_be_kept_is_read() -> None:
    assert body.parse('{"a": ["ü", "\\\\u0000", 1.5, null]}'.encode()) == {"a": ["ü", "\\u0000", 1.5, None]}


def test_shapes_are_found() -> None:
    assert all(issubclass(shape, BaseModel) for shape in wire.shapes())
